//! Environments by name. Guards against a latest that is not what it says, a database replaced
//! that nobody meant, archives removed that somebody needs, and settings that have no effect.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::PGARK;
use crate::support::{Ran, Server, dump, ok, run};

/// A project: a folder with a `pgark.toml`, and a database.
pub(crate) struct Project {
    pub(crate) server: &'static Server,
    pub(crate) database: String,
    folder: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new(major: u32) -> Self {
        let server = Server::shared(major);
        let database = server.database("profiled");
        server.psql(
            &database,
            "CREATE TABLE account (id integer PRIMARY KEY, name text);
             INSERT INTO account SELECT i, md5(i::text) FROM generate_series(1, 200) i;
             CREATE TABLE image (id integer PRIMARY KEY, file bytea, owner integer REFERENCES account);
             INSERT INTO image SELECT i, CASE WHEN i > 3 THEN decode(repeat(md5(i::text), 100), 'hex') ELSE '' END, i
                FROM generate_series(1, 20) i;
             CREATE TABLE story (id integer, image integer); INSERT INTO story VALUES (1, 7), (2, 8);
             CREATE TABLE nothing (i integer)",
        );
        Self { server, database, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes the file: `more` belongs to the profile `staging`.
    pub(crate) fn config(&self, more: &str) {
        let host = self.server.socket_dir().display().to_string();
        let text = format!(
            "[[reference]]\ntable = \"story\"\ncolumn = \"image\"\nreferences = \"image.id\"\n\n\
             [profile.staging]\nhost = \"{host}\"\nport = {}\nuser = \"postgres\"\ndbname = \"{}\"\n{more}\n",
            self.server.port(),
            self.database
        );
        std::fs::write(self.path("pgark.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pgark(&self, args: &[&str]) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // A profile leads to its own database, whatever the shell has.
        command.env("PGHOST", "/nonexistent").env("PGDATABASE", "nonexistent");
        command.env_remove("PGUSER").env("HOME", self.folder.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.pgark(args))
    }

    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        ok(&mut self.pgark(args))
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }
}

/// Makes an archive of a profile as if at this second.
fn at(second: u64) -> [String; 4] {
    ["create".into(), "staging".into(), "--created".into(), second.to_string()]
}

/// Friday, 2026-11-27 00:00 UTC.
const START: u64 = 1_795_737_600;

pub(crate) fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr))
}

#[test]
fn an_archive_of_a_profile() {
    for major in [14, 18] {
        let it = Project::new(major);
        it.config("dir = \"archives\"\naliases = [\"sit\"]");
        std::fs::create_dir(it.path("deep")).unwrap();
        let mut command = it.pgark(&["create", "sit", "--created", &START.to_string()]);
        let ran = ok(command.current_dir(it.path("deep")));
        let name = "backup_staging_20261127_000000.pgark";
        let latest = "backup_staging_latest.pgark";
        assert_eq!(it.names("archives"), [name, &format!("{name}.verdict"), latest]);
        assert_eq!(std::fs::read_link(it.path("archives").join(latest)).unwrap(), Path::new(name));
        assert_eq!(std::fs::metadata(it.path("archives")).unwrap().mode() & 0o777, 0o700);
        // Tables that rules are about or that have images, then what others refer to.
        let lines: Vec<&str> = ran.stdout.lines().map(str::trim).collect();
        let first = lines.iter().position(|line| line.contains("images")).unwrap();
        assert_eq!(
            lines[first..first + 5],
            [
                "20  images: 17 with bytes, 3 without",
                "2  stories",
                "200  accounts",
                "2  references (1 declared, 1 by rules): all resolve",
                "1 table is empty",
            ],
            "{}",
            ran.stdout
        );
        let said = "; dbname=sit means a database of that name):";
        assert!(ran.stderr.contains(said) && ran.stderr.contains("pgark.toml"), "{}", ran.stderr);
        let inspected = json(&it.ok(&["inspect", "staging", "--json"]));
        assert_eq!(inspected["source"]["profile"], "staging");
        assert_eq!(inspected["created"], START);
        assert_eq!(inspected["rules"]["references"].as_array().unwrap().len(), 1);

        // An older one does not become the latest, nor does one that was not verified.
        it.ok(&at(START - 100).each_ref().map(String::as_str));
        it.ok(&["create", "staging", "--no-read-back"]);
        assert_eq!(std::fs::read_link(it.path("archives").join(latest)).unwrap(), Path::new(name));
        let made = json(&it.ok(&["create", "staging", "--json"]));
        assert_eq!(made["profile"], "staging");
        assert!(made["latest"].as_str().unwrap().ends_with(latest));
        assert_eq!(made["holdings"][0]["blobs"][0]["with_bytes"], 17);

        // dbname= leads to a database of that name, and so does what is in no file.
        let ran = it.run(&["create", "dbname=staging"]);
        assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
        let ran = it.run(&["create", "other"]);
        assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
    }
}

/// A latest that leads to a new archive before it was verified would be worse than none.
#[test]
fn a_failure_leaves_the_latest_and_runs_the_command_for_it() {
    let it = Project::new(15);
    let hook =
        |name: &str| format!("{name} = \"cat > {name}.json; env | grep PGARK_ > {name}.env\"");
    it.config(&format!("{}\n{}", hook("on_success"), hook("on_failure")));
    it.ok(&at(START).each_ref().map(String::as_str));
    let latest = it.path("backups/backup_staging_latest.pgark");
    let before = std::fs::read_link(&latest).unwrap();
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(it.path("on_success.json")).unwrap()).unwrap();
    assert_eq!((&told["command"], &told["ok"]), (&"create".into(), &true.into()));
    let env = std::fs::read_to_string(it.path("on_success.env")).unwrap();
    let file = it.path("backups/backup_staging_20261127_000000.pgark");
    for wanted in
        ["PGARK_PROFILE=staging", "PGARK_EXIT=0", &format!("PGARK_ARCHIVE={}", file.display())]
    {
        assert!(env.contains(wanted), "{env}");
    }
    assert!(!it.path("on_failure.json").exists());

    // The same second again: the name is taken.
    let ran = it.run(&at(START).each_ref().map(String::as_str));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(it.path("on_failure.json")).unwrap()).unwrap();
    assert_eq!((&told["ok"], &told["error"]["exit"]), (&false.into(), &3.into()));
    assert_eq!(std::fs::read_link(&latest).unwrap(), before);

    // Faults of the data are saved as they are, and told as a failure.
    it.psql("INSERT INTO story VALUES (3, 4711)");
    std::fs::remove_file(it.path("on_failure.json")).unwrap();
    let ran = it.run(&at(START + 60).each_ref().map(String::as_str));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("1 row lead nowhere"), "{}", ran.stdout);
    assert!(it.path("on_failure.json").exists());
    assert!(std::fs::read_link(&latest).unwrap().ends_with("backup_staging_20261127_000100.pgark"));
    let listed = it.run(&["list", "staging"]);
    assert_eq!(listed.code, Some(0));
    assert!(listed.stdout.contains("whole, data has faults"), "{}", listed.stdout);

    // A command that fails is heard of: the copy it was to make is not there.
    it.psql("DELETE FROM story WHERE id = 3");
    it.config("on_success = [\"false\"]");
    let ran = it.run(&["create", "staging", "--json"]);
    assert_eq!(ran.code, Some(3));
    let told = json(&ran);
    assert_eq!((&told["ok"], &told["verified"]), (&false.into(), &true.into()));
    assert!(told["hook_failed"].as_str().unwrap().contains("exit status: 1"));
    assert!(ran.stderr.contains("on_success of profile staging: it ended with"), "{}", ran.stderr);
}

#[test]
fn a_profiles_database_is_replaced_and_kept() {
    for major in [15, 17] {
        let it = Project::new(major);
        it.config("");
        let none = it.run(&["restore", "staging", "--yes"]);
        assert_eq!(none.code, Some(3));
        assert!(none.stderr.contains("has no latest archive"), "{}", none.stderr);
        it.ok(&at(START).each_ref().map(String::as_str));
        let saved = it.server.pg_dump(&it.database, &[]);
        it.psql("DROP TABLE image; CREATE TABLE later AS SELECT 1 AS i");
        let changed = it.server.pg_dump(&it.database, &[]);

        // Nobody is there to be asked, and a look changes nothing.
        let ran = it.run(&["restore", "staging"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        let ran = it.ok(&["restore", "staging", "--dry-run"]);
        assert!(ran.stdout.contains("1. save what is there now to "), "{}", ran.stdout);
        assert_eq!(it.names("backups").len(), 3);
        dump::assert_same(&changed, &it.server.pg_dump(&it.database, &[]), "a look");

        let told = json(&it.ok(&["restore", "staging", "--yes", "--json"]));
        dump::assert_same(&saved, &it.server.pg_dump(&it.database, &[]), "restored");
        let safety = PathBuf::from(told["safety"].as_str().unwrap());
        let name = safety.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("backup_staging_safety_2"), "{name}");
        // The latest is still the latest: what was saved before a restore is a series of its own.
        let listed = json(&it.ok(&["list", "staging", "--json"]));
        let archives = listed["folders"][0]["archives"].as_array().unwrap();
        assert_eq!(archives.len(), 2);
        assert_eq!(archives[0]["latest"], true);
        assert_eq!(archives[1]["series"], "backup_staging_safety");
        assert_eq!(archives[1]["verdict"], "good");

        // And back, by the name of the file in the profile's folder.
        let ran = it.ok(&["restore", "staging", name, "--yes", "--no-safety"]);
        assert!(!ran.stdout.contains("the old data is in"), "{}", ran.stdout);
        dump::assert_same(&changed, &it.server.pg_dump(&it.database, &[]), "back");
        assert_eq!(it.names("backups").len(), 5);

        // A database that is not there yet is made; there is nothing to save.
        let before = it.database.clone();
        let it = Project { database: format!("{before}_new"), ..it };
        it.config("");
        let ran = it.ok(&["restore", "staging", "latest", "--yes"]);
        assert!(ran.stderr.contains("no such database yet"), "{}", ran.stderr);
        dump::assert_same(&saved, &it.server.pg_dump(&it.database, &[]), "new");
    }
}

/// What is there now cannot be saved: then it is not replaced.
#[test]
fn nothing_is_replaced_that_could_not_be_saved() {
    let it = Project::new(16);
    it.config("");
    it.ok(&at(START).each_ref().map(String::as_str));
    it.psql("CREATE TABLE later AS SELECT 1 AS i");
    // A pg_dump that is too old or fails is the most ordinary reason.
    let bin = it.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let fake =
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 16.99' && exit\nexit 1\n";
    std::fs::write(bin.join("pg_dump"), fake).unwrap();
    ok(Command::new("chmod").arg("+x").arg(bin.join("pg_dump")));
    let mut command = it.pgark(&["restore", "staging", "--yes"]);
    let ran = run(command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("could not be saved, and nothing was done"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--no-safety"), "{}", ran.stderr);
    assert_eq!(it.psql("SELECT i FROM later"), "1");
    assert_eq!(it.names("backups").len(), 3);
}

#[test]
fn a_protected_profile_is_named_again() {
    let it = Project::new(18);
    it.config("protected = true");
    it.ok(&at(START).each_ref().map(String::as_str));
    it.psql("CREATE TABLE later AS SELECT 1 AS i");
    let latest = it.path("backups/backup_staging_latest.pgark");
    let file = latest.to_str().unwrap();
    for (args, code, said) in [
        (&["restore", "staging"][..], 2, "protected profile has to be confirmed"),
        (&["restore", "staging", "--yes"], 2, "--yes is not enough"),
        (&["restore", "staging", "--yes-really", "production"], 2, "the profile is staging"),
        (&["restore", file, "--to", "staging", "--swap", "--yes"], 2, "--yes is not enough"),
        (&["restore", file, "--to", "staging"], 2, "protected profile has to be confirmed"),
        (&["restore", "staging", "--table", "image"], 2, "replaced as a whole"),
        (&["restore", file], 2, "not said where"),
        (&["restore", "stagin"], 2, "there is staging"),
    ] {
        let ran = it.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        assert_eq!(it.psql("SELECT i FROM later"), "1", "{args:?}");
    }
    let ran = it.ok(&["restore", "staging", "--yes-really", "staging"]);
    assert!(ran.stdout.contains("RESTORED AND EQUAL"), "{}", ran.stdout);
    assert_eq!(it.psql("SELECT to_regclass('later') IS NULL"), "t");
    // Beside it, nothing is protected.
    let beside = format!("{}_beside", it.database);
    it.ok(&["restore", "staging", "--create", &beside]);
    assert_eq!(it.server.psql(&beside, "SELECT count(*) FROM image"), "20");
}

/// Flips a bit in the middle of a file, whose length and time stay.
fn damage(path: &Path) {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn touch(path: &Path) {
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
}

#[test]
fn what_is_not_kept_goes_and_the_newest_good_one_stays() {
    const HOUR: u64 = 3600;
    let it = Project::new(16);
    it.config("keep = { last = 1, daily = 3 }");
    // Two a day, on five days.
    for day in 0..5 {
        for hour in [2, 14] {
            it.ok(&at(START + day * 24 * HOUR + hour * HOUR).each_ref().map(String::as_str));
        }
    }
    let backup = |day: u32, hour: u32| format!("backup_staging_202611{day:02}_{hour:02}0000.pgark");
    let there = || -> Vec<String> {
        let names = it.names("backups").into_iter();
        names.filter(|name| name.ends_with("0000.pgark")).collect()
    };
    let all = there();
    assert_eq!(all.len(), 10);
    std::fs::copy(it.path("backups").join(&all[0]), it.path("backups/mine.pgark")).unwrap();

    let ran = it.ok(&["prune", "staging", "--dry-run"]);
    assert!(ran.stdout.contains("7 archives of ") && ran.stdout.contains("would be removed"));
    let unasked = it.run(&["prune", "staging"]);
    assert_eq!(unasked.code, Some(2), "{}", unasked.stderr);
    assert_eq!(there(), all);

    // The newest is damaged, and nobody has noticed: nothing goes. Its verdict is from before.
    let newest = it.path("backups").join(all.last().unwrap());
    let whole = std::fs::read(&newest).unwrap();
    damage(&newest);
    touch(&newest);
    let ran = it.run(&["prune", "staging", "--yes"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("the newest, is not good: nothing was removed"), "{}", ran.stderr);
    let again = it.run(&["prune", "staging", "--yes"]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert_eq!(there(), all);
    let listed = it.run(&["list", "staging"]);
    assert_eq!(listed.code, Some(1));
    assert!(listed.stdout.contains("DAMAGED"), "{}", listed.stdout);

    // Whole again, but without a verdict: it is verified first. An older one is known to be
    // damaged, and stays for somebody to look at; the day before it keeps its place.
    std::fs::write(&newest, whole).unwrap();
    let older = it.path("backups").join(backup(28, 14));
    damage(&older);
    assert_eq!(it.run(&["verify", older.to_str().unwrap()]).code, Some(1));
    let ran = it.ok(&["prune", "staging", "--yes", "--json"]);
    assert!(ran.stderr.contains("the newest"), "{}", ran.stderr);
    let told = json(&ran);
    assert_eq!((&told["removed"], &told["dry_run"]), (&6.into(), &false.into()));
    let left = [
        backup(28, 14),
        backup(29, 14),
        backup(30, 14),
        "backup_staging_20261201_140000.pgark".into(),
    ];
    assert_eq!(there(), left);
    // Verdicts go with their archives, and nothing of somebody else's.
    let names = it.names("backups");
    assert_eq!(names.iter().filter(|name| name.ends_with(".verdict")).count(), 4);
    assert!(
        names.contains(&"mine.pgark".to_owned())
            && names.contains(&"backup_staging_latest.pgark".to_owned())
    );
    let ran = it.ok(&["prune", "staging", "--yes"]);
    assert!(ran.stdout.contains("Nothing is to be removed."), "{}", ran.stdout);

    // A folder has the limits of its profile, or those that are typed; never none.
    let ran = it.ok(&["prune", "backups", "--dry-run"]);
    assert!(ran.stdout.contains("1 archive with names of another kind: left alone"));
    it.config("");
    assert_eq!(it.run(&["prune", "backups", "--yes"]).code, Some(2));
    assert_eq!(it.run(&["prune", "backups", "--yes", "--keep-last", "0"]).code, Some(2));
    it.ok(&["prune", "backups", "--yes", "--keep-last", "1"]);
    assert_eq!(there(), [backup(28, 14), "backup_staging_20261201_140000.pgark".into()]);
}

/// Every field that is printed of a profile is in `docs/json.md`.
#[test]
fn the_documents_name_every_field() {
    let it = Project::new(18);
    it.config("on_success = \"false\"\nkeep = { last = 1 }");
    let document = std::fs::read_to_string(crate::support::root().join("docs/json.md")).unwrap();
    std::fs::create_dir(it.path("backups")).unwrap();
    std::fs::write(it.path("backups/backup_staging_20200101_000000.pgark"), "x").unwrap();
    for args in [
        &["create", "staging", "--json"][..],
        &["restore", "staging", "--yes", "--json"],
        &["list", "staging", "--json"],
        &["list", "nowhere", "--json"],
        &["prune", "staging", "--json", "--yes"],
    ] {
        let mut all = Vec::new();
        crate::support::fields(&json(&it.run(args)), &mut all);
        assert!(all.len() > 5, "{args:?}");
        for field in all {
            assert!(document.contains(&format!("`{field}`")), "{args:?}: {field}");
        }
    }
}

#[test]
fn verify_keeps_what_it_found_and_a_change_undoes_it() {
    let it = Project::new(17);
    it.config("");
    it.ok(&at(START).each_ref().map(String::as_str));
    let verdict = || {
        let listed = json(&it.run(&["list", "staging", "--json"]));
        listed["folders"][0]["archives"][0]["verdict"].as_str().unwrap().to_owned()
    };
    let file = it.path("backups/backup_staging_20261127_000000.pgark");
    assert_eq!(verdict(), "good");
    touch(&file);
    assert_eq!(verdict(), "none");
    // A quick look or other rules answer another question.
    it.ok(&["verify", "staging", "--quick"]);
    it.ok(&["verify", "staging", "--rules", "pgark.toml"]);
    assert_eq!(verdict(), "none");
    it.ok(&["verify", "staging"]);
    assert_eq!(verdict(), "good");
    damage(&file);
    assert_eq!(it.run(&["verify", "staging"]).code, Some(1));
    assert_eq!(verdict(), "damaged");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 2000]).unwrap();
    assert_eq!(verdict(), "unreadable");
    // Beside a file that is none of a profile's, nothing is left.
    let other = it.path("other.pgark");
    ok(it.server.pgark(PGARK).args(["create", &it.server.url(&it.database), "-o"]).arg(&other));
    it.ok(&["verify", "other.pgark"]);
    assert!(!it.path("other.pgark.verdict").exists());
}

#[test]
fn the_file_is_found_or_named_and_its_faults_have_lines() {
    let it = Project::new(14);
    it.config("keeps = 1");
    let ran = it.run(&["create", "staging"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("pgark.toml: line 11: unknown key \"keeps\"; there is keep"),
        "{}",
        ran.stderr
    );
    // What cannot be a profile's name does not need the file.
    let ran = it.run(&["create", &it.server.url(&it.database), "-o", "x.pgark"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    it.config("");
    let elsewhere = tempfile::tempdir().unwrap();
    let named = it.path("pgark.toml");
    let named = named.to_str().unwrap();
    let at = |args: &[&str]| {
        let mut command = it.pgark(args);
        command.current_dir(elsewhere.path());
        command
    };
    assert_eq!(run(&mut at(&["create", "staging"])).code, Some(3));
    ok(&mut at(&["create", "staging", "--config", named]));
    ok(at(&["list"]).env("PGARK_CONFIG", named));
    let ran = run(&mut at(&["list", "--config", "missing.toml"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    // Relative paths are the file's, not this folder's.
    assert_eq!(it.names("backups").len(), 3);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn init_writes_what_works_and_replaces_nothing() {
    let it = Project::new(15);
    let host = it.server.socket_dir().display().to_string();
    let url = format!(
        "postgres://postgres:hunter2@{}:{}/{}?schema=public",
        host.replace('/', "%2F"),
        it.server.port(),
        it.database
    );
    let mut command = it.pgark(&["init"]);
    for name in ["PGHOST", "PGPORT", "PGDATABASE"] {
        command.env_remove(name);
    }
    let ran = ok(command.env("DATABASE_URL", &url));
    assert!(
        ran.stderr.contains("DATABASE_URL of the environment: profile local"),
        "{}",
        ran.stderr
    );
    let text = std::fs::read_to_string(it.path("pgark.toml")).unwrap();
    assert!(!text.contains("hunter2") && !ran.stderr.contains("hunter2"), "{text}");
    it.ok(&["create", "local"]);
    assert_eq!(it.names("backups/local").len(), 3);
    let ran = it.run(&["init"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("is there already, and stays"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(it.path("pgark.toml")).unwrap(), text);
}
