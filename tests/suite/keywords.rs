//! Names that became keywords: an older server writes them without quotes. Guards against an
//! archive that only a server of its own version takes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::PGARK;
use crate::support::{MAJORS, Server, ok};

/// Names of every kind that 14 takes without quotes and newer servers do not.
const SCHEMA: &str = "
CREATE TABLE system_user (system_user text PRIMARY KEY DEFAULT 'json', json json, json_table integer CHECK (json_table > 0));
INSERT INTO system_user VALUES ('json', '{\"json\": 1}', 1), ('system_user', '2', 2);
CREATE INDEX json_array ON system_user ((json_table + 1), system_user DESC) WHERE json_table > 0;
CREATE TYPE json_value AS (json text, merge_action integer);
CREATE DOMAIN json_scalar AS integer CHECK (VALUE > 0);
CREATE TABLE json_object (json_query json_value, system_user text REFERENCES system_user, s json_scalar);
INSERT INTO json_object VALUES (ROW('json', 1), 'json', 3);
CREATE FUNCTION f(json text, json_exists integer DEFAULT 1) RETURNS TABLE(json_value integer, system_user text)
  LANGUAGE sql AS 'SELECT 1, $1';
COMMENT ON FUNCTION f(json text, json_exists integer) IS 'json and system_user';
CREATE FUNCTION json_serialize(INOUT json_scalar json, VARIADIC json_query integer[]) LANGUAGE sql AS $json$ SELECT $1 -- system_user $json$;
CREATE VIEW json_arrayagg AS SELECT system_user.system_user AS json_objectagg, json_object('{a,1}'::text[]) AS json,
  f.json_value, system_user.json::text AS t FROM system_user, f(json => system_user.system_user);
CREATE PROCEDURE merge_action(json integer) LANGUAGE sql BEGIN ATOMIC
  INSERT INTO system_user(system_user, json_table) SELECT 'p', $1 WHERE NOT EXISTS (SELECT FROM system_user WHERE system_user.system_user = 'p'); END;
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER system_user BEFORE UPDATE OF system_user ON system_user FOR EACH ROW WHEN (NEW.system_user <> OLD.system_user) EXECUTE FUNCTION act('system_user');
CREATE SEQUENCE json_query OWNED BY system_user.json_table;
GRANT SELECT (system_user) ON system_user TO PUBLIC;
CREATE STATISTICS json_table ON system_user, json_table FROM system_user;
CREATE RULE system_user AS ON DELETE TO json_object DO INSTEAD NOTHING";

#[test]
fn names_that_are_keywords_in_a_newer_version() {
    for (from, to) in [(14, 18), (14, 16), (15, 17), (16, 18)] {
        let (old, new) = (Server::shared(from), Server::shared(to));
        let source = old.database("keywords");
        // What is a keyword to the older one already is in quotes there.
        let schema = if from < 16 { SCHEMA.to_owned() } else { quoted(SCHEMA) };
        old.psql(&source, &schema);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        ok(old.pgark(PGARK).args(["create", &old.url(&source), "-o"]).arg(&file));
        for form in ["restored", "sql", "custom"] {
            let target = new.database(&format!("keywords_{form}"));
            load(new, &file, form, &target);
            compare(old, &source, new, &target);
        }
    }
}

/// Brings an archive into a database: by a restore, or as `psql` and `pg_restore` do an export.
fn load(new: &Server, file: &Path, form: &str, target: &str) {
    if form == "restored" {
        ok(new.pgark(PGARK).arg("restore").arg(file).args(["--to", &new.url(target)]));
        return;
    }
    let out = file.with_extension(form);
    ok(new.pgark(PGARK).arg("export").arg(file).args(["--format", form, "-o"]).arg(&out));
    let mut command = if form == "sql" {
        let mut psql = new.tool("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&out);
        psql
    } else {
        let mut restore = new.tool("pg_restore");
        restore.args(["--exit-on-error", "--no-owner"]).arg(&out);
        restore
    };
    ok(command.args(["-d", &new.url(target)]));
}

fn compare(old: &Server, source: &str, new: &Server, target: &str) {
    let rows = "SELECT string_agg(v::text, ';' ORDER BY v::text) FROM json_arrayagg v";
    assert_eq!(old.psql(source, rows), new.psql(target, rows), "{target}");
    for sql in [
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attrelid::regclass::text, attnum) FROM pg_attribute WHERE attrelid IN ('public.\"system_user\"'::regclass, '\"json_object\"'::regclass) AND attnum > 0",
        "SELECT string_agg(proname || pg_get_function_arguments(oid) || prosrc || coalesce(obj_description(oid), ''), ';' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE contype <> 'n' AND connamespace = 'public'::regnamespace",
    ] {
        let told = |text: String| text.replace('"', "");
        assert_eq!(told(old.psql(source, sql)), told(new.psql(target, sql)), "{target}");
    }
    new.psql(target, "CALL public.merge_action(7)");
    assert_eq!(new.psql(target, "SELECT count(*) FROM \"system_user\""), "3");
}

/// The same with every such name in quotes.
fn quoted(sql: &str) -> String {
    let body = sql.replace("json_object('{a,1}'", "JSON_OBJECT('{a,1}'");
    let mut out = String::new();
    for (at, piece) in body.split('\'').enumerate() {
        if at > 0 {
            out.push('\'');
        }
        if at % 2 == 1 {
            out.push_str(piece);
            continue;
        }
        let mut word = String::new();
        for c in piece.chars().chain(['\0']) {
            if c.is_alphanumeric() || matches!(c, '_' | '$') {
                word.push(c);
                continue;
            }
            let is_name =
                word == "system_user" || word.starts_with("json_") || word == "merge_action";
            let quote = if is_name { "\"" } else { "" };
            out.extend([quote, &word, quote]);
            word.clear();
            out.extend(Some(c).filter(|c| *c != '\0'));
        }
    }
    out
}

/// What became more of a keyword from one version to the next is known. A new version of the
/// server in the tests brings its words here.
#[test]
fn every_new_keyword_is_known() {
    let words = |major: u32| -> BTreeSet<String> {
        let sql = "SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'";
        Server::shared(major).psql("postgres", sql).lines().map(ToOwned::to_owned).collect()
    };
    let source =
        std::fs::read_to_string(crate::support::root().join("src/format/keywords.rs")).unwrap();
    let mut all = 0;
    for pair in MAJORS.windows(2) {
        let before = words(pair[0]);
        for word in words(pair[1]).difference(&before) {
            assert!(source.contains(&format!("(\"{word}\", {})", pair[1])), "{word}, {}", pair[1]);
            all += 1;
        }
    }
    assert_eq!(all, source.matches("    (\"").count());
}
