//! Targets that are not what the archive holds when the restore comes to compare them. Guards
//! against a comparison that says yes whatever it reads: every row here was loaded, and something
//! in the archive or in the target changed one afterwards, as a faulty server or somebody else
//! would.

use std::path::PathBuf;

use crate::PGARK;
use crate::support::{Ran, Server, ok, run};

struct Setting {
    server: &'static Server,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

/// An archive that changes what is restored from it: refreshing its view, which comes after the
/// rows, runs `change` wherever it is not the source. Nothing of it fails.
fn spoiled(major: u32, change: &str) -> Setting {
    let server = Server::shared(major);
    let source = server.database("differs_source");
    server.psql(
        &source,
        &format!(
            "CREATE TABLE t (id integer PRIMARY KEY, v text);
             INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 50) i;
             CREATE TABLE calm (id integer); INSERT INTO calm VALUES (1), (2);
             CREATE SEQUENCE s; SELECT setval('s', 40);
             SELECT lo_from_bytea(4711, 'large');
             CREATE FUNCTION change() RETURNS integer LANGUAGE plpgsql AS $f$ BEGIN
               IF current_database() <> '{source}' THEN {change} END IF; RETURN 1; END $f$;
             CREATE MATERIALIZED VIEW changing AS SELECT public.change() AS one"
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    Setting { server, file, _dir: dir }
}

impl Setting {
    fn restore(&self, target: &str, options: &[&str]) -> Ran {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(target)]);
        run(command.args(options))
    }

    /// A database with something in it that is to be replaced.
    fn old(&self) -> String {
        let name = self.server.database("differs_old");
        self.server.psql(&name, "CREATE TABLE old (x integer); INSERT INTO old VALUES (1), (2)");
        name
    }

    fn assert_old(&self, name: &str) {
        assert_eq!(self.server.psql(name, "SELECT count(*) FROM old"), "2");
    }

    fn databases(&self, name: &str) -> Vec<String> {
        let sql =
            format!("SELECT datname FROM pg_database WHERE datname ~ '^{name}(_|$)' ORDER BY 1");
        self.server.psql("postgres", &sql).lines().map(ToOwned::to_owned).collect()
    }
}

const LOST: &str = "DELETE FROM public.t WHERE id = 7;";
/// What changes, and the words it must be named with.
const CHANGES: [(&str, &[&str]); 5] = [
    (LOST, &["public.t", "49 rows where the archive has 50"]),
    ("UPDATE public.t SET v = 'other' WHERE id = 7;", &["public.t", "50 rows in both"]),
    ("INSERT INTO public.t VALUES (51, 'more');", &["public.t", "51 rows where"]),
    ("PERFORM pg_catalog.setval('public.s', 41);", &["public.s", "at 41, the archive's at 40"]),
    ("PERFORM pg_catalog.lo_put(4711, 0, 'LARGE');", &["large objects"]),
];

#[test]
fn a_plain_restore_says_which_table() {
    for (change, words) in CHANGES {
        let it = spoiled(17, change);
        let target = it.server.database("differs");
        let ran = it.restore(&target, &[]);
        assert_eq!(ran.code, Some(1), "{change}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("NOT EQUAL."), "{}", ran.stdout);
        for word in words {
            assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
        }
        assert!(!ran.stdout.contains("calm"), "{}", ran.stdout);
    }
}

#[test]
fn nothing_is_replaced_by_what_is_not_equal() {
    for (change, words) in CHANGES {
        let it = spoiled(16, change);
        let old = it.old();
        let ran = it.restore(&old, &["--swap", "--yes"]);
        assert_eq!(ran.code, Some(1), "{change}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("NOT RESTORED."), "{}", ran.stdout);
        assert!(ran.stdout.contains("dropped again"), "{}", ran.stdout);
        for word in words {
            assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
        }
        it.assert_old(&old);
        assert_eq!(it.databases(&old), std::slice::from_ref(&old));
    }
}

#[test]
fn nothing_is_created_that_is_not_equal() {
    let it = spoiled(18, LOST);
    let ran = it.restore("postgres", &["--create", "differs_never", "--json"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report.get("database").is_none_or(serde_json::Value::is_null), "{report}");
    assert_eq!(report["equal"], false, "{report}");
    assert_eq!(it.databases("differs_never"), [""; 0]);
}

/// What cannot be dropped is named, with what to run.
#[test]
fn what_is_left_is_named() {
    let keep = "EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database());";
    let it = spoiled(18, &format!("{LOST} {keep}"));
    let old = it.old();
    let ran = it.restore(&old, &["--swap", "--yes"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    it.assert_old(&old);
    let databases = it.databases(&old);
    assert_eq!(databases.len(), 2, "{databases:?}");
    let left = &databases[1];
    assert!(left.contains("_pgark_new_"), "{databases:?}");
    assert!(!ran.stdout.contains("dropped again"), "{}", ran.stdout);
    for word in ["NOT RESTORED.", "public.t", &format!("DROP DATABASE \"{left}\"")] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    it.server.psql("postgres", &format!("ALTER DATABASE {left} IS_TEMPLATE false"));
    it.server.psql("postgres", &format!("DROP DATABASE {left}"));
}

/// A trigger that acts in every session changes what is loaded into a table that is there.
#[test]
fn rows_that_the_target_changes_are_seen() {
    let server = Server::shared(15);
    let tables = "CREATE TABLE t (id integer PRIMARY KEY, v text); CREATE TABLE calm (id integer)";
    let source = server.database("differs_source");
    server.psql(
        &source,
        &format!("{tables}; INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO calm VALUES (1)"),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let target = server.database("differs_data");
    server.psql(
        &target,
        &format!(
            "{tables};
             CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               NEW.v := upper(NEW.v); RETURN NEW; END $$;
             CREATE TRIGGER always BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change();
             ALTER TABLE t ENABLE ALWAYS TRIGGER always"
        ),
    );
    let mut command = server.pgark(PGARK);
    command.arg("restore").arg(&file).args(["--to", &server.url(&target), "--data-only"]);
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    for word in ["NOT EQUAL.", "public.t", "2 rows in both, but not the same"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("calm"), "{}", ran.stdout);
}
