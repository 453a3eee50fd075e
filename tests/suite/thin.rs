//! Thin archives on a real server: a full archive, changes, thin ones on it. Guards against a thin
//! archive that holds less than the database, that is read without its base or with another, and
//! against a base that is removed while others need it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::PGARK;
use crate::support::{Ran, Server, dump, ok, root, run};

/// Images that do not compress, some of several chunks, rows that refer to them, and others.
const FILL: &str = "
    CREATE FUNCTION noise(seed int, blocks int) RETURNS bytea LANGUAGE sql AS
      $$ SELECT string_agg(sha256(int4send(seed * 10000 + n)), '') FROM generate_series(1, blocks) n $$;
    CREATE TABLE image (id int PRIMARY KEY, file bytea NOT NULL);
    INSERT INTO image SELECT i, noise(i, CASE WHEN i % 20 = 0 THEN 6000 ELSE 300 END)
      FROM generate_series(1, 400) i;
    CREATE TABLE item (id int PRIMARY KEY, image int REFERENCES image, words text);
    INSERT INTO item SELECT i, i % 400 + 1, repeat(md5(i::text), 3) FROM generate_series(1, 60000) i;
    SELECT lo_from_bytea(4711, noise(5000, 200));";
/// A hundredth of it changes: rows that are new, gone, and others than they were.
const CHANGE: &str = "
    INSERT INTO image SELECT i, noise(i, 300) FROM generate_series(401, 404) i;
    UPDATE item SET image = 404 WHERE id BETWEEN 30000 AND 30100;
    DELETE FROM item WHERE id BETWEEN 100 AND 200;
    INSERT INTO item SELECT i, 401, md5(i::text) FROM generate_series(60001, 60300) i;";

struct Shop {
    server: &'static Server,
    database: String,
    folder: tempfile::TempDir,
}

impl Shop {
    fn new(stem: &str) -> Self {
        let server = Server::shared(15);
        let database = server.database(stem);
        server.psql(&database, FILL);
        Self { server, database, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pgark(&self, args: &[&str]) -> Ran {
        run(self.server.pgark(PGARK).current_dir(self.folder.path()).args(args))
    }

    fn ok(&self, args: &[&str]) -> Ran {
        ok(self.server.pgark(PGARK).current_dir(self.folder.path()).args(args))
    }

    fn create(&self, name: &str, more: &[&str]) -> u64 {
        let url = self.server.url(&self.database);
        self.ok(&[&["create", &url, "-o", name], more].concat());
        self.path(name).metadata().unwrap().len()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args).stdout).unwrap()
    }

    /// Of each table: rows and digest.
    fn tables(&self, name: &str) -> Vec<(String, Value, Value)> {
        let seen = self.json(&["inspect", name, "--json"]);
        let table = |table: &Value| {
            (table["name"].to_string(), table["rows"].clone(), table["digest"].clone())
        };
        seen["tables"].as_array().unwrap().iter().map(table).collect()
    }

    fn recover(&self, args: &[&str]) -> Ran {
        let script = root().join("spec/recover.py");
        run(Command::new("python3").arg(script).args(args).current_dir(self.folder.path()))
    }
}

#[test]
fn what_changed_is_stored_and_all_comes_back() {
    let shop = Shop::new("thin");
    let full = shop.create("full.pgark", &[]);
    shop.server.psql(&shop.database, CHANGE);
    let thin = shop.create("thin.pgark", &["--base", "full.pgark"]);
    let again = shop.create("again.pgark", &[]);
    assert!(thin < full / 5 && thin < again / 5, "{thin} of {full} and {again} bytes");
    assert_eq!(shop.tables("thin.pgark"), shop.tables("again.pgark"));
    shop.ok(&["verify", "thin.pgark"]);
    shop.ok(&["compare", "thin.pgark", "--with", "again.pgark"]);

    // It restores as it was.
    let target = shop.server.database("thin_back");
    shop.ok(&["restore", "thin.pgark", "--to", &shop.server.url(&target)]);
    let dumped = |database: &str| shop.server.pg_dump(database, &[]);
    dump::assert_same(&dumped(&shop.database), &dumped(&target), "a thin archive");
    shop.ok(&["compare", "thin.pgark", "--with", &shop.server.url(&shop.database)]);

    // So does one on it, which takes nothing from it that it does not have itself.
    shop.server.psql(&shop.database, "INSERT INTO image SELECT 500, noise(500, 6000)");
    shop.create("third.pgark", &["--base", "thin.pgark"]);
    shop.ok(&["verify", "third.pgark"]);
    let bases = shop.json(&["inspect", "third.pgark", "--json"])["bases"].clone();
    assert_eq!(bases.as_array().unwrap().len(), 2);

    // Merged, it needs nothing any more.
    let told = shop.json(&["merge", "third.pgark", "-o", "merged.pgark", "--json"]);
    assert_eq!((&told["ok"], &told["command"]), (&true.into(), &"merge".into()));
    let alone = shop.path("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::rename(shop.path("merged.pgark"), alone.join("merged.pgark")).unwrap();
    shop.ok(&["verify", "alone/merged.pgark"]);
    assert_eq!(shop.tables("alone/merged.pgark"), shop.tables("third.pgark"));
    let features = shop.json(&["inspect", "alone/merged.pgark", "--json"])["features"].clone();
    assert_eq!(features, Value::Array(Vec::new()));
    let refused = shop.pgark(&["merge", "alone/merged.pgark", "-o", "no.pgark"]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("stands alone already"));
}

#[test]
fn a_base_is_found_or_asked_for() {
    let shop = Shop::new("thin_base");
    shop.create("full.pgark", &[]);
    shop.server.psql(&shop.database, CHANGE);
    shop.create("thin.pgark", &["--base", "full.pgark"]);
    shop.create("other.pgark", &[]);
    std::fs::create_dir(shop.path("away")).unwrap();
    std::fs::rename(shop.path("full.pgark"), shop.path("away/full.pgark")).unwrap();
    let named = shop.json(&["inspect", "away/full.pgark", "--json"])["manifest"].clone();
    let named = named.as_str().unwrap();

    // What needs no base goes on without.
    shop.ok(&["verify", "--quick", "thin.pgark"]);
    assert_eq!(shop.json(&["inspect", "thin.pgark", "--json"])["bases"][0]["manifest"], named);
    let repaired = shop.ok(&["repair", "thin.pgark", "-o", "repaired.pgark"]);
    assert!(repaired.stdout.contains("NOT DAMAGED"), "{}", repaired.stdout);
    assert_eq!(shop.recover(&["thin.pgark", "--list"]).code, Some(0));

    // What needs it says which one, and does nothing.
    let target = shop.server.database("thin_none");
    let url = shop.server.url(&target);
    for args in [
        &["verify", "thin.pgark"][..],
        &["restore", "thin.pgark", "--to", &url],
        &["cat", "thin.pgark", "item"],
        &["export", "thin.pgark", "-o", "no.sql"],
        &["extract", "thin.pgark", "--column", "image.file", "--to", "no"],
        &["compare", "thin.pgark", "--with", "other.pgark"],
        &["merge", "thin.pgark", "-o", "no.pgark"],
        &["create", &url, "-o", "no.pgark", "--base", "thin.pgark"],
    ] {
        let ran = shop.pgark(args);
        assert_eq!(ran.code, Some(3), "{args:?}\n{}\n{}", ran.stdout, ran.stderr);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(named), "{args:?}\n{said}");
    }
    assert!(!["no.sql", "no", "no.pgark"].iter().any(|name| shop.path(name).exists()));
    assert_eq!(
        shop.server.psql(&target, "SELECT count(*) FROM pg_class WHERE relname = 'item'"),
        "0"
    );
    let ran = shop.recover(&["thin.pgark", "--check"]);
    assert!(ran.code == Some(3) && ran.stderr.contains(named), "{}", ran.stderr);

    // With it, in a folder or as a file, all is as ever.
    for base in ["away", "away/full.pgark"] {
        shop.ok(&["verify", "thin.pgark", "--base", base]);
        shop.ok(&["compare", "thin.pgark", "--with", "other.pgark", "--base", base]);
    }
    shop.ok(&["restore", "thin.pgark", "--to", &url, "--base", "away"]);
    shop.ok(&["export", "thin.pgark", "-o", "all.sql", "--base", "away"]);
    let good = shop.recover(&["thin.pgark", "--check", "--base", "away/full.pgark"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);

    // Another one is told from it.
    let wrong = shop.pgark(&["verify", "thin.pgark", "--base", "other.pgark"]);
    assert!(wrong.code == Some(3) && wrong.stdout.contains("E211"), "{}", wrong.stdout);
    let wrong = shop.recover(&["thin.pgark", "--check", "--base", "other.pgark"]);
    assert!(wrong.code == Some(3) && wrong.stderr.contains("E211"), "{}", wrong.stderr);

    // Damage in it is told with what it hits, and by both readers.
    let mut bytes = std::fs::read(shop.path("away/full.pgark")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0);
    std::fs::write(shop.path("away/full.pgark"), bytes).unwrap();
    let hit = shop.pgark(&["verify", "thin.pgark", "--base", "away"]);
    assert_eq!(hit.code, Some(1), "{}", hit.stdout);
    assert!(
        hit.stdout.contains("in base 1") && hit.stdout.contains("public.image"),
        "{}",
        hit.stdout
    );
    let hit = shop.recover(&["thin.pgark", "--check", "--base", "away/full.pgark"]);
    assert_eq!(hit.code, Some(1), "{}", hit.stderr);
    // A new one on it is refused, for it would not be whole.
    let url = shop.server.url(&shop.database);
    let ran = shop.pgark(&["create", &url, "-o", "no.pgark", "--base", "away/full.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(!shop.path("no.pgark").exists());
}

#[test]
fn a_merge_that_is_killed_leaves_nothing() {
    let shop = Shop::new("thin_killed");
    shop.create("full.pgark", &[]);
    shop.server.psql(&shop.database, CHANGE);
    shop.create("thin.pgark", &["--base", "full.pgark"]);
    let mut killed = 0;
    for millis in [20, 60, 120, 200, 300, 400] {
        let mut command = shop.server.pgark(PGARK);
        command.current_dir(shop.folder.path()).args(["merge", "thin.pgark", "-o", "m.pgark"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        if child.wait().unwrap().code().is_none() {
            killed += 1;
            assert!(!shop.path("m.pgark").exists(), "after {millis} ms");
        } else {
            std::fs::remove_file(shop.path("m.pgark")).unwrap();
        }
    }
    assert!(killed > 1, "merge was faster than its killer");
    shop.ok(&["merge", "thin.pgark", "-o", "m.pgark"]);
}

#[test]
fn a_base_that_others_need_is_not_pruned() {
    let shop = Shop::new("thin_pruned");
    let url = shop.server.url(&shop.database);
    let text = format!("[profile.night]\nurl = {url:?}\ndir = 'backups'\nkeep = {{ last = 1 }}\n");
    std::fs::write(shop.path("pgark.toml"), text).unwrap();
    let day = |day: u64| (1_790_000_000 + day * 86_400).to_string();
    shop.ok(&["create", "night", "--created", &day(0)]);
    shop.ok(&["create", "night", "--created", &day(1)]);
    for later in 2..4 {
        shop.server.psql(&shop.database, &format!("DELETE FROM item WHERE id = {later}"));
        shop.ok(&["create", "night", "--base", "latest", "--created", &day(later)]);
    }
    let names = || {
        let listed = shop.json(&["list", "night", "--json"]);
        listed["folders"][0]["archives"].as_array().unwrap().len()
    };
    assert_eq!(names(), 4);
    shop.ok(&["prune", "night", "--yes"]);
    // The newest, the one it was made on, and the one that was made on. Nothing needs the first.
    assert_eq!(names(), 3);
    shop.ok(&["verify", "night"]);
    let list = shop.ok(&["list", "night"]).stdout;
    assert!(Path::new(&shop.path("backups")).is_dir() && list.contains("thin"), "{list}");
}
