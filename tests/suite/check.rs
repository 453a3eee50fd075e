//! A live database against rules and against an archive. Guards against "all there" and "in order"
//! of a database that has lost something, and against a judgement of the same data that differs from
//! the one `verify` has of an archive.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgark::check::{self, CheckOptions, Given, RuleState};
use pgark::pg::Params;
use pgark::progress::{Progress, Silent};
use pgark::verify::ImageCheck;
use pgark::verify::rules::RuleFile;
use serde_json::Value;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, root, run};

struct Setting {
    server: &'static Server,
    database: String,
    dir: tempfile::TempDir,
}

impl Setting {
    fn new(major: u32, sql: &str) -> Self {
        let server = Server::shared(major);
        let database = server.database("check");
        server.psql(&database, sql);
        Self { server, database, dir: tempfile::tempdir().unwrap() }
    }

    fn sample(major: u32) -> Self {
        let setting = Self::new(major, "");
        load_sample(setting.server, &setting.database);
        setting
    }

    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    fn rules(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("rules.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn archive(&self, rules: Option<&PathBuf>) -> PathBuf {
        let path = self.dir.path().join("a.pgark");
        let mut create = self.server.pgark(PGARK);
        create.args(["create", &self.server.url(&self.database), "--force", "-o"]).arg(&path);
        if let Some(rules) = rules {
            create.arg("--rules").arg(rules);
        }
        let made = run(&mut create);
        assert!(path.exists(), "{}", made.stderr);
        path
    }

    fn check(&self, args: &[&str]) -> Ran {
        let mut command = self.server.pgark(PGARK);
        run(command.args(["check", &self.server.url(&self.database)]).args(args))
    }

    fn json(&self, code: i32, args: &[&str]) -> Value {
        let ran = self.check(&[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

/// Code, table, key, column and message of each finding about rules; not of what `verify` sees
/// without one.
fn told(findings: &Value) -> BTreeSet<Vec<String>> {
    let findings = findings.as_array().unwrap().iter();
    let ours = findings.filter(|finding| finding.get("rule").is_some());
    ours.map(|finding| {
        ["code", "table", "key", "column", "message", "count"]
            .map(|field| finding.get(field).map_or(String::new(), ToString::to_string))
            .to_vec()
    })
    .collect()
}

const ODD: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE target (id integer PRIMARY KEY, code varchar(20), m mood, n numeric, padded char(6), b bytea);
INSERT INTO target VALUES (1, 'one', 'sad', 1.0, 'ab', '\x01'), (2, 'two', 'ok', 2.50, 'cd', '\x02');
CREATE TABLE source (k text, id integer, a integer, code text, m mood, n numeric, padded char(3), b bytea,
                     PRIMARY KEY (k, id));
INSERT INTO source VALUES ('x', 1, 1, 'one', 'sad', 1.00, 'ab', '\x01'), ('x', 2, 2, '', 'ok', 2.5, 'cd', '\x02'),
    ('y', 1, NULL, NULL, NULL, NULL, NULL, NULL), ('y', 2, 3, 'drei', NULL, 2.51, 'abc', '\x03'),
    ('y', 3, 3, 'two', NULL, 2, 'ab', NULL);
CREATE TABLE parted (id integer, place text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 'one'), (2, 'two'), (11, 'eleven'), (12, 'one');
CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE other (k text COLLATE "POSIX", c text COLLATE "C" PRIMARY KEY); INSERT INTO other VALUES ('x', 'Y');
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
CREATE TABLE "Odd ""name" (id integer PRIMARY KEY, "the "" column" text, "is null" boolean);
INSERT INTO "Odd ""name" VALUES (1, 'it''s \ "so"', true), (2, NULL, false);
"#;

const ODD_RULES: &str = r#"
[[reference]]
table = "source"
column = "a"
references = "target.id"
[[reference]]
table = "source"
column = "code"
references = "target.code"
empty = "none"
[[reference]]
table = "source"
columns = ["a", "code"]
references = ["target.id", "target.code"]
[[reference]]
table = "source"
column = "m"
references = "target.m"
[[reference]]
table = "source"
column = "n"
references = "target.n"
[[reference]]
table = "source"
column = "padded"
references = "target.padded"
[[reference]]
table = "source"
column = "b"
references = "target.b"
[[reference]]
table = "parted_1"
column = "place"
references = "target.code"
[[reference]]
table = "target"
column = "id"
references = "parted.id"
[[reference]]
table = "source"
column = "k"
references = "other.k"
[[reference]]
table = "other"
column = "c"
references = "other.k"
[[reference]]
table = "child"
column = "id"
references = "parent.id"
[[count]]
table = "parted"
at_least = 5
[[count]]
table = "parent"
at_least = 2
[[count]]
table = "source"
where = { column = "code", is = "null" }
at_most = 0
[[count]]
table = "source"
where = { column = "code", is = "not null" }
at_least = 5
[[count]]
table = "target"
where = { column = "n", equals = "1.00" }
at_most = 0
[[count]]
table = "target"
where = { column = "m", equals = "happy" }
at_least = 1
[[count]]
table = "target"
where = { column = "padded", equals = "ab" }
at_most = 0
[[count]]
table = '"Odd ""name"'
where = { column = 'the " column', equals = "it's \\ \"so\"" }
at_most = 0
[[count]]
table = '"Odd ""name"'
where = { column = "is null", equals = true }
at_least = 2
"#;

/// The same data, the same rules, the same findings: in an archive offline and by the server.
#[test]
fn the_server_and_verify_agree() {
    for major in [14, 18] {
        let setting = Setting::new(major, ODD);
        let rules = setting.rules(ODD_RULES);
        let file = setting.archive(Some(&rules));
        let verified = run(setting.server.pgark(PGARK).args(["verify", "--json"]).arg(&file));
        let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
        let checked = setting.json(1, &["--rules", rules.to_str().unwrap()]);
        let (offline, live) = (told(&verified["findings"]), told(&checked["checked"]["findings"]));
        assert!(live.len() > 15, "{live:#?}");
        assert_eq!(live, offline, "server {major}");
        // From the archive's rules, by their way back from the manifest.
        let against = setting.json(1, &["--against", file.to_str().unwrap()]);
        assert_eq!(told(&against["checked"]["findings"]), live);
        assert_eq!(against["lost"], serde_json::json!([]));
    }
}

/// Every way in which a blob can be wrong, and blobs of many lengths.
#[test]
fn blobs_are_judged_as_in_an_archive() {
    for major in [14, 18] {
        let setting = Setting::sample(major);
        setting.psql(
            r#"CREATE TABLE file (id integer PRIMARY KEY, kind text, md5 text, sha1 text, sha256 text, b bytea, i bytea);
            INSERT INTO file (id, kind, md5, sha256, b, i)
                SELECT id, "mimeType", md5(file), encode(sha256(file), 'hex'), file, file FROM image;
            ALTER TABLE image DROP COLUMN "fileHash";
            INSERT INTO file VALUES (1001, 'image/png', NULL, NULL, NULL, '', ''), (1002, NULL, 'xyz', NULL, NULL, 'no image', 'no image'),
                (1003, 'text/plain', upper(md5('text')), 'a6312121e15caec74845b7ba5af23330d52d4ac0', '\x' || encode(sha256('text'), 'hex'), 'text', NULL),
                (1004, 'image/png; q=1', md5('other'), md5('other'), encode(sha256('other'), 'hex'), 'text', NULL),
                (1005, 'application/pdf', NULL, NULL, NULL, '%PDF-1.4', NULL);
            INSERT INTO file (id, kind, md5, i) SELECT 2000 + id, 'image/gif', md5('x'), substr(i, 1, length(i) - 30) FROM file WHERE id < 20"#,
        );
        let rules = setting.rules(
            r#"[[blob]]
table = "file"
column = "b"
not_empty = true
media_type = "kind"
checksum = { column = "md5", algorithm = "md5" }
[[blob]]
table = "file"
column = "b"
checksum = { column = "sha1", algorithm = "sha1" }
[[blob]]
table = "file"
column = "b"
checksum = { column = "sha256", algorithm = "sha256" }
[[blob]]
table = "file"
column = "i"
image = true
[[blob]]
table = "file"
column = "i"
media_type = "kind"
"#,
        );
        let file = setting.archive(Some(&rules));
        let verified = run(setting.server.pgark(PGARK).args(["verify", "--json"]).arg(&file));
        let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
        let checked = setting.json(1, &["--rules", rules.to_str().unwrap()]);
        let errors = |findings: &Value| {
            // What no rule asks for is not looked at in a live database.
            let mut told = told(findings);
            told.retain(|finding| finding[0].starts_with("\"E"));
            told
        };
        let live = errors(&checked["checked"]["findings"]);
        let codes: BTreeSet<&str> =
            live.iter().map(|finding| finding[0].trim_matches('"')).collect();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["E701", "E702", "E703", "E704"]);
        assert_eq!(live, errors(&verified["findings"]), "server {major}");
        assert!(checked["checked"]["images_damaged"].as_u64().unwrap() >= 19);
    }
}

/// Too long to be held as a whole: read in slices, its checksum and its type all the same.
#[test]
fn long_values() {
    let setting = Setting::new(
        16,
        "CREATE TABLE t (id integer PRIMARY KEY, kind text, sum text, b bytea);
         ALTER TABLE t ALTER b SET STORAGE EXTERNAL;
         INSERT INTO t SELECT 1, 'text/plain', NULL, convert_to(repeat('0123456789abcdef', 2500000), 'UTF8');
         UPDATE t SET sum = md5(b);
         INSERT INTO t SELECT 2, 'image/png', md5('x'), b FROM t WHERE id = 1",
    );
    let rules = setting.rules(
        "[[blob]]\ntable = 't'\ncolumn = 'b'\nmedia_type = 'kind'\nchecksum = { column = 'sum', algorithm = 'md5' }\n\
         [[blob]]\ntable = 't'\ncolumn = 'b'\nimage = true\n",
    );
    let checked = setting.json(1, &["--rules", rules.to_str().unwrap()]);
    let told: Vec<_> = told(&checked["checked"]["findings"])
        .into_iter()
        .map(|finding| format!("{} {}", finding[0], finding[2]).replace('"', ""))
        .collect();
    assert_eq!(told, ["E702 id = 2", "E703 id = 2", "E704 id = 1", "E704 id = 2"]);
    assert_eq!(checked["checked"]["rules"][0]["looked_at"], 2);
}

/// What no archive can decide: a type that only the server compares, by its own equality.
#[test]
fn types_that_only_the_server_knows() {
    let setting = Setting::new(
        15,
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
         CREATE DOMAIN ext.name AS ext.citext;
         CREATE TABLE a (id integer PRIMARY KEY, c ext.citext, d ext.name, n integer);
         CREATE TABLE b (c ext.citext, n text);
         INSERT INTO a VALUES (1, 'One', 'oNe', 1), (2, 'TWO', 'tWo', 2), (3, 'three', 'x', 3);
         INSERT INTO b VALUES ('ONE', '1'), ('two', '2')",
    );
    let rules = setting.rules(
        "[[reference]]\ntable = 'a'\ncolumn = 'c'\nreferences = 'b.c'\n\
         [[reference]]\ntable = 'a'\ncolumn = 'd'\nreferences = 'b.c'\n\
         [[reference]]\ntable = 'a'\ncolumn = 'n'\nreferences = 'b.n'\n\
         [[count]]\ntable = 'a'\nwhere = { column = 'c', equals = 'one' }\nat_most = 0\n",
    );
    let checked = setting.json(1, &["--rules", rules.to_str().unwrap()]);
    let states: Vec<_> = checked["checked"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| format!("{} {}", rule["state"], rule["broken"]).replace('"', ""))
        .collect();
    // The count asks for the text as it stands, as in an archive.
    assert_eq!(states, ["broken 1", "broken 1", "undecided 0", "holds 0"]);
    let told = told(&checked["checked"]["findings"]);
    assert!(told.iter().any(|finding| finding[0] == "\"N606\""), "{told:?}");
}

#[test]
fn sequences_and_foreign_keys() {
    let setting = Setting::new(
        16,
        "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (5);
         CREATE TABLE down (id integer GENERATED ALWAYS AS IDENTITY (INCREMENT -1)); INSERT INTO down DEFAULT VALUES;
         CREATE TABLE r (id integer PRIMARY KEY, t integer, u integer);
         INSERT INTO r VALUES (1, 5, 5), (2, 6, NULL), (3, NULL, 7);
         ALTER TABLE r ADD CONSTRAINT r_t FOREIGN KEY (t) REFERENCES t NOT VALID;
         ALTER TABLE r ADD CONSTRAINT r_u FOREIGN KEY (u) REFERENCES r NOT VALID",
    );
    let json = setting.json(0, &[]);
    let findings: Vec<_> = json["checked"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("{} {} {}", f["code"], f["key"], f["constraint"]).replace('"', ""))
        .collect();
    assert_eq!(
        findings,
        ["W605 id = 2 r_t", "W605 id = 1 r_u", "W605 id = 3 r_u", "W607 null null"]
    );
    assert_eq!(json["checked"]["unchecked_foreign_keys"], 2);
    assert_eq!(json["checked"]["sequences"], 2);
    assert_eq!(setting.json(1, &["--strict"])["ok"], false);
    setting.psql("SELECT setval('t_id_seq', 5); UPDATE r SET t = NULL, u = NULL");
    assert_eq!(setting.json(0, &["--strict"])["checked"]["findings"], serde_json::json!([]));
}

/// The whole story: a restart lost images, and the screen says so, and what to run.
#[test]
fn what_was_lost_since() {
    let setting = Setting::sample(16);
    let rules = root().join("fixtures/sample/pgark.toml");
    let file = setting.archive(Some(&rules));
    let against = ["--against", file.to_str().unwrap()];
    let calm = setting.check(&against);
    assert_eq!(calm.code, Some(0), "{}{}", calm.stdout, calm.stderr);
    assert!(calm.stdout.contains("ALL THERE. Nothing was lost since 20"), "{}", calm.stdout);

    // New rows are no fault.
    setting.psql(
        "INSERT INTO notification SELECT * FROM notification LIMIT 0;
         CREATE TABLE later AS SELECT generate_series(1, 3) AS i",
    );
    let new = setting.check(&against);
    assert_eq!(new.code, Some(0), "{}{}", new.stdout, new.stderr);
    assert!(new.stdout.contains("new since then: 3 rows in 1 table"), "{}", new.stdout);

    // Values that are others now are told, and a fault unless they are expected.
    setting.psql("UPDATE \"user\" SET email = 'x' || email WHERE id IN (1, 2)");
    let changed = setting.check(&against);
    assert_eq!(changed.code, Some(1), "{}", changed.stdout);
    assert!(changed.stdout.contains("ALL THERE, BUT NOT AS IT WAS."), "{}", changed.stdout);
    assert!(changed.stdout.contains("public.user.email in 2 rows"), "{}", changed.stdout);
    let allowed = setting.json(0, &[&against[..], &["--allow-changes"]].concat());
    assert_eq!(allowed["changed"], serde_json::json!(["public.user.email in 2 rows"]));
    setting.psql("UPDATE \"user\" SET email = substr(email, 2) WHERE id IN (1, 2)");

    setting.psql(
        "ALTER TABLE template_translation DISABLE TRIGGER ALL;
         UPDATE template_translation SET \"imageId\" = NULL WHERE id IN
             (SELECT id FROM template_translation WHERE \"imageId\" IS NOT NULL ORDER BY id LIMIT 12);
         DELETE FROM notification WHERE ctid IN (SELECT ctid FROM notification LIMIT 3);
         DROP TABLE later",
    );
    let lost = setting.check(&against);
    assert_eq!(lost.code, Some(1), "{}{}", lost.stdout, lost.stderr);
    // At the top: the database, and right behind it the verdict.
    let top: Vec<&str> = lost.stdout.lines().take(2).collect();
    assert!(top[1].starts_with("NOT ALL THERE. Something was lost since "), "{}", lost.stdout);
    for told in [
        "  3 rows of public.notification were lost",
        "  12 values of public.template_translation.imageId are NULL now",
    ] {
        assert!(lost.stdout.lines().any(|line| line == told), "{told}:\n{}", lost.stdout);
    }
    assert!(lost.stdout.lines().count() < 30, "one screen:\n{}", lost.stdout);
    assert!(lost.stdout.contains("--sql=lost"), "{}", lost.stdout);
    let json = setting.json(1, &against);
    assert_eq!(json["lost"].as_array().unwrap().len(), 2, "{}", json["lost"]);
    assert_eq!(json["comparison"]["verdict"], "missing");

    // What it says to run brings it back.
    let url = setting.server.url(&setting.database);
    let mut compare = setting.server.pgark(PGARK);
    compare.arg("compare").arg(&file).args(["--with", &url, "--sql=lost"]);
    let sql = run(&mut compare);
    setting.psql(&sql.stdout);
    let again = setting.check(&against);
    assert_eq!(again.code, Some(0), "{}", again.stdout);

    setting.psql("DROP TABLE notification CASCADE");
    let gone = setting.check(&against);
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stdout.contains("table public.notification is gone, with 500 rows"),
        "{}",
        gone.stdout
    );
}

/// Every field that `--json` prints is in `docs/json.md`.
#[test]
fn the_document_names_every_field() {
    let setting = Setting::sample(16);
    let file = setting.archive(Some(&root().join("fixtures/sample/pgark.toml")));
    setting.psql("DELETE FROM image WHERE id < 9; UPDATE \"user\" SET email = 'x' || email");
    let json = setting.json(1, &["--against", file.to_str().unwrap()]);
    let document = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let mut all = Vec::new();
    crate::support::fields(&json, &mut all);
    for field in all {
        assert!(document.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn what_could_not_be_checked() {
    let setting = Setting::new(16, "CREATE TABLE t (i integer)");
    let rules = setting.rules("[[count]]\ntable = 'nothing'\nat_least = 1\n");
    let unknown = setting.json(1, &["--rules", rules.to_str().unwrap()]);
    assert_eq!(unknown["checked"]["findings"][0]["code"], "E609");
    let nowhere = run(setting.server.pgark(PGARK).args(["check", "no_such_database"]));
    assert_eq!(nowhere.code, Some(3), "{}", nowhere.stderr);
    let rules = setting.rules("[[count]]\ntable = 't'\n");
    assert_eq!(setting.check(&["--rules", rules.to_str().unwrap()]).code, Some(2));
    assert_eq!(setting.check(&["--against", "no.pgark"]).code, Some(3));
    assert_eq!(setting.check(&["--allow-changes"]).code, Some(2));
    // Nothing is changed, whatever it looks at.
    setting.psql("CREATE FUNCTION w() RETURNS integer LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING i'");
    assert_eq!(setting.check(&[]).code, Some(0));
    assert_eq!(setting.psql("SELECT count(*) FROM t"), "0");
}

/// The library's own call, without the command.
#[test]
fn the_library_checks() {
    let setting = Setting::new(
        17,
        "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 30);
         CREATE TABLE r AS SELECT i FROM generate_series(1, 100) i",
    );
    let rules = RuleFile::parse(
        "[[reference]]\ntable = 'r'\ncolumn = 'i'\nreferences = 't.id'\n\
         [[count]]\ntable = 't'\nat_least = 30\nat_most = 30\n",
    );
    let rules = rules.unwrap();
    let params = Params::resolve(Some(&setting.server.url(&setting.database))).unwrap();
    let options = CheckOptions {
        jobs: 3,
        memory: 64 << 20,
        lock_timeout: Duration::from_secs(5),
        images: ImageCheck::Parts,
        snapshot: None,
    };
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let report = check::run(&params, Given::File(&rules), &options, &progress).unwrap();
    assert!(!report.ok);
    assert_eq!(report.rules[0].state, RuleState::Broken);
    assert_eq!((report.rules[0].looked_at, report.rules[0].broken), (100, 70));
    assert_eq!(report.rules[1].state, RuleState::Holds);
    // Twenty examples, and one that stands for the rest.
    assert_eq!(report.findings.len(), 21);
    assert_eq!(report.findings.iter().map(|finding| finding.count).sum::<u64>(), 70);
    assert_eq!(report.errors, 70);
    assert!(report.findings[0].key.as_ref().unwrap().starts_with("ctid = ("));
}
