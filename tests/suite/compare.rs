//! An archive against a live database and against another archive.
//!
//! Guards against a comparison that says "all there" of a database that has lost something, and
//! against statements that do not bring it back.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, ok, root, run};

/// A database, and an archive of it as it was at first.
struct Setting {
    server: &'static Server,
    database: String,
    dir: tempfile::TempDir,
    file: PathBuf,
}

impl Setting {
    fn new(major: u32, stem: &str, load: impl Fn(&Server, &str)) -> Self {
        let server = Server::shared(major);
        let database = server.database(stem);
        load(server, &database);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("before.pgark");
        let setting = Self { server, database, dir, file };
        setting.archive("before.pgark");
        setting
    }

    fn sql(major: u32, stem: &str, sql: &str) -> Self {
        Self::new(major, stem, |server, database| {
            server.psql(database, sql);
        })
    }

    fn archive(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let url = self.server.url(&self.database);
        ok(self.server.pgark(PGARK).args(["create", &url, "-o"]).arg(&path));
        path
    }

    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    fn compare(&self, args: &[&str]) -> Ran {
        self.compare_with(&self.server.url(&self.database), args)
    }

    fn compare_with(&self, with: &str, args: &[&str]) -> Ran {
        let mut command = self.server.pgark(PGARK);
        run(command.arg("compare").arg(&self.file).args(["--with", with]).args(args))
    }

    fn json(&self, code: i32) -> Value {
        let ran = self.compare(&["--json", "--full"]);
        assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Runs what `--sql` prints; everything has to be as in the archive afterwards.
    fn bring_back(&self) -> String {
        let ran = self.compare(&["--sql"]);
        assert_eq!(ran.code, Some(1), "{}\n{}", ran.stdout, ran.stderr);
        self.psql(&ran.stdout);
        ran.stdout
    }
}

fn table<'a>(json: &'a Value, name: &str) -> &'a Value {
    let mut tables = json["tables"].as_array().unwrap().iter();
    tables.find(|table| table["name"] == name).unwrap_or_else(|| panic!("no {name} in {json}"))
}

fn figures(json: &Value, name: &str) -> [u64; 3] {
    ["only_here", "changed", "only_there"].map(|field| table(json, name)[field].as_u64().unwrap())
}

/// The whole story: images are lost, references to them with it, and all comes back.
#[test]
fn lost_images_come_back() {
    for major in [14, 18] {
        let setting = Setting::new(major, "compare_sample", load_sample);
        let equal = setting.compare(&[]);
        assert_eq!(equal.code, Some(0), "{}\n{}", equal.stdout, equal.stderr);
        assert!(equal.stdout.contains("EQUAL."), "{}", equal.stdout);

        let lost = setting.psql(
            "DELETE FROM image WHERE \"fileId\" IN (SELECT \"imageId\" FROM template_translation \
             WHERE \"imageId\" IS NOT NULL ORDER BY id LIMIT 12) RETURNING 1",
        );
        let lost = u64::try_from(lost.lines().count()).unwrap();
        assert!(lost > 0);
        setting.psql("DELETE FROM template WHERE id = (SELECT min(\"templateId\") FROM template_translation)");
        let json = setting.json(1);
        assert_eq!(json["verdict"], "missing");
        assert_eq!(json["objects"].as_array().unwrap().len(), 0);
        assert_eq!(figures(&json, "image"), [lost, 0, 0]);
        let translation = table(&json, "template_translation");
        let columns = translation["changed_columns"].as_array().unwrap();
        assert_eq!(columns.len(), 1);
        assert_eq!(columns[0]["name"], "imageId");
        assert_eq!(columns[0]["rows"], columns[0]["now_null"]);
        assert!(figures(&json, "template_translation")[0] > 0, "translations went with a template");
        assert_eq!(figures(&json, "user"), [0, 0, 0]);

        let words = setting.compare(&[]);
        assert!(words.stdout.contains("MISSING."), "{}", words.stdout);
        assert!(words.stdout.contains("imageId"), "{}", words.stdout);
        assert!(words.stdout.lines().count() < 60, "one screen or so:\n{}", words.stdout);

        let sql = setting.bring_back();
        assert!(!sql.contains("DELETE"));
        let again = setting.compare(&[]);
        assert_eq!(again.code, Some(0), "{}", again.stdout);
    }
}

#[test]
fn lost_changed_and_new_rows_are_told_apart() {
    let setting = Setting::sql(
        17,
        "compare_rows",
        "CREATE TABLE t (a int, b text, c numeric, PRIMARY KEY (b, a));
         INSERT INTO t SELECT i, 'k' || i % 3, i / 7.0 FROM generate_series(1, 3000) i;
         CREATE TABLE same AS SELECT * FROM t;
         CREATE SEQUENCE s; SELECT setval('s', 50);
         CREATE SEQUENCE forward; SELECT setval('forward', 5);",
    );
    setting.psql(
        "DELETE FROM t WHERE a IN (7, 8);
         UPDATE t SET c = NULL WHERE a = 100; UPDATE t SET c = 5 WHERE a BETWEEN 200 AND 219;
         INSERT INTO t VALUES (5000, 'it''s \"new\"', 1);
         SELECT setval('s', 20); SELECT setval('forward', 9);",
    );
    let json = setting.json(1);
    assert_eq!(figures(&json, "t"), [2, 21, 1]);
    assert_eq!(table(&json, "t")["state"], "changed");
    assert_eq!(table(&json, "same")["state"], "equal");
    let t = table(&json, "t");
    assert_eq!(t["key"], serde_json::json!(["b", "a"]));
    assert_eq!(t["changed_columns"], serde_json::json!([{"name": "c", "rows": 21, "now_null": 1}]));
    let examples = t["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 24);
    assert_eq!(examples[0]["kind"], "only-here");
    assert_eq!(examples[0]["key"][1]["here"], "7");
    let null = examples.iter().find(|example| example["key"][1]["here"] == "100").unwrap();
    assert_eq!(null["kind"], "changed");
    assert_eq!(null["cells"].as_array().unwrap().len(), 1);
    assert!(null["cells"][0]["here"].as_str().unwrap().starts_with("14.28"));
    assert!(null["cells"][0].get("there").is_none());
    assert_eq!(examples[23]["key"][0]["there"], "it's \"new\"");
    let sequences = json["sequences"].as_array().unwrap();
    let behind = |name| sequences.iter().find(|seq| seq["name"] == name).unwrap()["behind"].clone();
    assert_eq!((behind("s"), behind("forward")), (Value::Bool(true), Value::Bool(false)));
    // What the library prints as it is has to be in the documents too.
    let document = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let undocumented = |value: &Value| {
        let names = value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        names.into_iter().find(|name| !document.contains(&format!("`{name}`")))
    };
    for value in [&json, t, null, &null["cells"][0], &sequences[0], &sequences[0]["here"]] {
        assert_eq!(undocumented(value), None);
    }
    let few = setting.compare(&["--json"]);
    let few: Value = serde_json::from_str(&few.stdout).unwrap();
    assert_eq!(table(&few, "t")["examples"].as_array().unwrap().len(), 2 + 5 + 1);

    // Only what is NULL now.
    let lost = setting.compare(&["--sql=lost"]).stdout;
    assert_eq!(lost.matches("INSERT INTO").count(), 2);
    assert_eq!(lost.matches("UPDATE").count(), 1);
    setting.bring_back();
    let json = setting.json(1);
    assert_eq!(figures(&json, "t"), [0, 0, 1]);
    assert_eq!(json["verdict"], "all-there");
    assert_eq!(json["sequences"].as_array().unwrap().len(), 1);
    let words = setting.compare(&[]).stdout;
    assert!(words.contains("ALL THERE."), "{words}");
}

#[test]
fn rows_without_a_key_are_multisets() {
    let setting = Setting::sql(
        16,
        "compare_bag",
        "CREATE TABLE bag (a int, b bytea);
         INSERT INTO bag SELECT i % 3, decode(repeat('ab', 100), 'hex') FROM generate_series(1, 12) i;
         INSERT INTO bag VALUES (NULL, NULL), (NULL, NULL);
         CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
         CREATE TABLE one_unique (id int NOT NULL UNIQUE, v text); INSERT INTO one_unique VALUES (1, 'a');",
    );
    setting.psql(
        "DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE a = 1 LIMIT 3);
         DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE a IS NULL LIMIT 1);
         INSERT INTO bag VALUES (2, decode(repeat('ab', 100), 'hex'));
         DELETE FROM nothing WHERE ctid = (SELECT ctid FROM nothing LIMIT 1);
         UPDATE one_unique SET v = 'b';",
    );
    let json = setting.json(1);
    assert_eq!(figures(&json, "bag"), [4, 0, 1]);
    assert_eq!(figures(&json, "nothing"), [1, 0, 0]);
    assert_eq!(figures(&json, "one_unique"), [0, 1, 0]);
    setting.bring_back();
    let json = setting.json(1);
    assert_eq!(figures(&json, "bag"), [0, 0, 1]);
    assert_eq!(table(&json, "nothing")["state"], "equal");
}

#[test]
fn schemas_are_compared_object_by_object() {
    let setting = Setting::sql(
        18,
        "compare_schema",
        "CREATE TABLE a (id int PRIMARY KEY, gone text, kind int, moved text);
         INSERT INTO a VALUES (1, 'x', 2, 'm');
         CREATE TABLE lost (id int PRIMARY KEY); INSERT INTO lost VALUES (1), (2);
         CREATE TABLE to_parts (id int); INSERT INTO to_parts VALUES (1);
         CREATE INDEX by_kind ON a (kind); CREATE VIEW v AS SELECT 1 AS one;",
    );
    setting.psql(
        "DROP INDEX by_kind; DROP TABLE lost; ALTER TABLE a DROP gone, DROP moved;
         ALTER TABLE a ALTER kind TYPE bigint; ALTER TABLE a ADD added text, ADD moved text;
         UPDATE a SET moved = 'm';
         CREATE OR REPLACE VIEW v AS SELECT 2 AS one; CREATE TABLE extra AS SELECT 7 AS n;
         DROP TABLE to_parts; CREATE TABLE to_parts (id int) PARTITION BY LIST (id);",
    );
    let json = setting.json(1);
    let objects = json["objects"].as_array().unwrap();
    let state = |kind: &str, name: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind && object["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))["state"].clone()
    };
    assert_eq!(state("INDEX", "by_kind"), "only-here");
    assert_eq!(state("VIEW", "v"), "changed");
    assert_eq!(state("TABLE", "extra"), "only-there");
    assert_eq!(state("TABLE", "lost"), "only-here");
    assert_eq!(figures(&json, "lost"), [2, 0, 0]);
    assert_eq!(table(&json, "lost")["state"], "only-here");
    assert_eq!(figures(&json, "extra"), [0, 0, 1]);
    assert_eq!(table(&json, "to_parts")["other_kind"], true);
    // Columns are matched by name: what is left of the row is the same.
    assert_eq!(figures(&json, "a"), [0, 0, 0]);
    let columns: Vec<(&str, &str)> = table(&json, "a")["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["state"].as_str().unwrap()))
        .collect();
    assert_eq!(columns, [("gone", "only-here"), ("kind", "changed"), ("added", "only-there")]);
    let words = setting.compare(&["--no-schema"]);
    assert!(words.stdout.contains("column gone is not there"), "{}", words.stdout);
    assert!(words.stdout.contains("schema not compared"), "{}", words.stdout);
    let sql = setting.compare(&["--sql"]).stdout;
    assert!(sql.contains("-- Table public.lost is not there"), "{sql}");
}

/// Everything that makes quoting, order and identity hard, lost and brought back.
#[test]
fn statements_bring_everything_back() {
    for major in [14, 17] {
        let setting = Setting::sql(
            major,
            "compare_sql",
            r#"CREATE SCHEMA "odd ""schema";
            CREATE TABLE zebra (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "na""me" text,
                double int GENERATED ALWAYS AS (id * 2) STORED, file bytea, stamp timestamptz, tags text[], j jsonb);
            INSERT INTO zebra ("na""me", file, stamp, tags, j)
                SELECT E'it''s \\ back\nslash\t' || i, decode(repeat('00ff27', i * 5000), 'hex'),
                    '2020-01-01 12:00:00.5+02', ARRAY['a,b', '"', NULL, '\'], '{"a": "\\''"}' FROM generate_series(1, 4) i;
            INSERT INTO zebra (file) VALUES (''), ('\x5c78');
            CREATE TABLE "odd ""schema".aardvark (id int PRIMARY KEY, z int NOT NULL REFERENCES zebra, parent int REFERENCES "odd ""schema".aardvark);
            INSERT INTO "odd ""schema".aardvark VALUES (1, 1, NULL), (3, 2, NULL), (2, 2, 1), (4, 3, 4);
            UPDATE "odd ""schema".aardvark SET parent = 4 WHERE id = 1;
            CREATE TABLE ring_a (id int PRIMARY KEY, b int); CREATE TABLE ring_b (id int PRIMARY KEY, a int REFERENCES ring_a);
            INSERT INTO ring_a VALUES (1, NULL); INSERT INTO ring_b VALUES (1, 1); UPDATE ring_a SET b = 1;
            ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b;
            CREATE TABLE parts (id int PRIMARY KEY, r int REFERENCES zebra) PARTITION BY RANGE (id);
            CREATE TABLE aa_part PARTITION OF parts FOR VALUES FROM (0) TO (10); INSERT INTO parts VALUES (1, 1);
            SELECT lo_from_bytea(4711, '\x0102'); COMMENT ON LARGE OBJECT 4711 IS 'it''s';"#,
        );
        setting.psql(
            r#"DELETE FROM parts; UPDATE ring_a SET b = NULL; DELETE FROM ring_b; DELETE FROM ring_a;
            UPDATE "odd ""schema".aardvark SET parent = NULL; DELETE FROM "odd ""schema".aardvark;
            DELETE FROM zebra WHERE id <> 4; UPDATE zebra SET file = NULL, j = '{}'; SELECT lo_unlink(4711);"#,
        );
        let json = setting.json(1);
        assert_eq!(figures(&json, "zebra"), [5, 1, 0]);
        assert_eq!(json["large_objects"]["only_here"], 1);
        let sql = setting.bring_back();
        assert!(sql.contains("OVERRIDING SYSTEM VALUE"));
        assert!(!sql.contains("DELETE"));
        let again = setting.compare(&[]);
        assert_eq!(again.code, Some(0), "{}", again.stdout);
        let nothing = setting.compare(&["--sql"]);
        assert_eq!(nothing.code, Some(0));
        assert!(!nothing.stdout.contains("BEGIN"), "{}", nothing.stdout);
    }
}

/// What two archives say of each other without a server is what the database said.
#[test]
fn two_archives_without_a_database() {
    let setting = Setting::new(15, "compare_two", load_sample);
    setting.psql("UPDATE template_translation SET \"imageId\" = NULL WHERE id < 5; DELETE FROM notification WHERE id < 4");
    let live = setting.json(1);
    let after = setting.archive("after.pgark");
    let other = |with: &Path, args: &[&str]| {
        let mut command = std::process::Command::new(PGARK);
        // Nobody listens there: a server that is asked would be an error.
        command.env("PGHOST", "/nowhere");
        run(command.arg("compare").arg(&setting.file).arg("--with").arg(with).args(args))
    };
    let ran = other(&after, &["--json", "--full"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let mut archives: Value = serde_json::from_str(&ran.stdout).unwrap();
    archives["with"] = live["with"].clone();
    assert_eq!(archives, live);
    let same = other(&setting.file, &[]);
    assert_eq!(same.code, Some(0), "{}", same.stdout);
    let none = other(Path::new("nowhere.pgark"), &[]);
    assert_eq!(none.code, Some(3), "{}", none.stderr);
}

/// Sorting spills and reading is in several sessions: the answer is the same.
#[test]
fn little_memory_gives_the_same_answer() {
    let setting = Setting::sql(
        17,
        "compare_many",
        "CREATE TABLE many AS SELECT i, md5(i::text) AS t FROM generate_series(1, 400000) i;
         ALTER TABLE many ADD PRIMARY KEY (i);",
    );
    setting.psql(
        "DELETE FROM many WHERE i % 1000 = 0; UPDATE many SET t = 'x' WHERE i % 1000 = 1;
         INSERT INTO many SELECT i, '' FROM generate_series(500000, 500009) i;",
    );
    let ran = setting.compare(&["--json", "--memory", "64M", "--jobs", "3", "--no-schema"]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(figures(&json, "many"), [400, 400, 10]);
    assert_eq!(table(&json, "many")["examples"][0]["key"][0]["here"], "1000");
}

/// Ctrl-C ends it with 130, though the database keeps it waiting.
#[test]
fn an_interrupt_ends_it() {
    let setting = Setting::sql(17, "compare_int", "CREATE TABLE t (id int PRIMARY KEY)");
    let mut holder = setting.server.tool("psql");
    holder.args(["-X", "-q", "-d", &setting.database, "-c"]);
    holder.arg("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)");
    let mut holder = holder.stdout(std::process::Stdio::null()).spawn().unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 't'::regclass";
    while setting.psql(locked) != "1" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut command = setting.server.pgark(PGARK);
    let url = setting.server.url(&setting.database);
    let mut child =
        command.arg("compare").arg(&setting.file).args(["--with", &url]).spawn().unwrap();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
    while setting.psql(waiting) != "1" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = child.wait().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(ended.code(), Some(130));
}
