//! What belongs to a database itself and not to what is in it: settings, comment, privileges,
//! owner. Guards against an application that finds another `search_path` after a restore, and
//! against a database that is there losing its own.

use std::path::PathBuf;

use crate::PGARK;
use crate::support::{Ran, Server, dump, ok, run};

struct Setting {
    server: &'static Server,
    source: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

/// Roles are the server's: each test has its own, by this prefix.
fn setting(major: u32, prefix: &str) -> Setting {
    let server = Server::shared(major);
    let source = server.database("properties_source");
    server.psql(
        "postgres",
        &format!(
            "CREATE ROLE {prefix}_owner; CREATE ROLE \"{prefix} \"\"Reader\"; CREATE ROLE {prefix}_third;
             ALTER DATABASE {source} OWNER TO {prefix}_owner;
             ALTER DATABASE {source} CONNECTION LIMIT 77;
             COMMENT ON DATABASE {source} IS 'it''s \\ the archive''s';
             REVOKE CONNECT, TEMPORARY ON DATABASE {source} FROM PUBLIC;
             GRANT CONNECT ON DATABASE {source} TO \"{prefix} \"\"Reader\" WITH GRANT OPTION;
             SET ROLE \"{prefix} \"\"Reader\"; GRANT CONNECT ON DATABASE {source} TO {prefix}_third; RESET ROLE;
             ALTER DATABASE {source} SET search_path = \"$user\", public, \"My, schema\";
             ALTER DATABASE {source} SET work_mem = '7MB';
             ALTER DATABASE {source} SET my.secret = 'a ''b''';
             ALTER DATABASE {source} SET default_transaction_read_only = on;
             ALTER ROLE \"{prefix} \"\"Reader\" IN DATABASE {source} SET DateStyle = 'German'"
        ),
    );
    // Reading only is the default here.
    let sql = "SET default_transaction_read_only = off; CREATE TABLE t (i integer); INSERT INTO t VALUES (1)";
    server.psql(&source, sql);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let ran = ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    assert!(!ran.stderr.contains("not in the archive"), "{}", ran.stderr);
    Setting { server, source, file, _dir: dir }
}

impl Setting {
    fn restore(&self, target: &str, options: &[&str]) -> Ran {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(target)]);
        run(command.args(options))
    }

    /// What belongs to a database, one line each: owner, limit, comment, privileges, settings.
    fn of(&self, database: &str) -> Vec<String> {
        let sql = format!(
            "SELECT x FROM pg_database d, LATERAL (VALUES
               ('owner ' || pg_get_userbyid(datdba)), ('limit ' || datconnlimit),
               ('comment ' || coalesce(shobj_description(oid, 'pg_database'), '-')),
               ('acl ' || coalesce(datacl::text, '-')),
               ('settings ' || coalesce((SELECT string_agg(setrole::regrole || ':' || setconfig::text, ';' ORDER BY setrole)
                FROM pg_db_role_setting s WHERE s.setdatabase = d.oid), '-'))) v(x)
             WHERE datname = '{database}'"
        );
        self.server.psql("postgres", &sql).lines().map(ToOwned::to_owned).collect()
    }
}

#[test]
fn a_new_database_is_what_pg_dump_create_says() {
    for major in [14, 18] {
        let it = setting(major, "made");
        let name = format!("{}_made", it.source);
        let ran = it.restore("postgres", &["--create", &name]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let theirs = it.server.pg_dump(&it.source, &["--create"]);
        let ours = it.server.pg_dump(&name, &["--create"]).replace(&name, &it.source);
        for words in ["CONNECTION LIMIT = 77", "my.secret", "DateStyle", "WITH GRANT OPTION"] {
            assert!(theirs.contains(words), "{words}: {theirs}");
        }
        dump::assert_same(&theirs, &ours, &name);
        assert_eq!(it.of(&it.source), it.of(&name));
        it.server.psql("postgres", &format!("DROP DATABASE {name}"));
    }
}

#[test]
fn a_database_that_is_there_keeps_its_own() {
    let it = setting(17, "there");
    let server = it.server;
    let target = server.database("properties");
    server.psql("postgres", &format!("COMMENT ON DATABASE {target} IS 'mine'"));
    let before = it.of(&target);
    let dry = it.restore(&target, &["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    let ran = it.restore(&target, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for told in [&dry.stdout, &ran.stderr] {
        // Wherever its lines break.
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in [
            "setting search_path",
            "setting DateStyle of role",
            "its comment",
            "its privileges",
            "--database-settings",
        ] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(!told.contains("a 'b'") && !told.contains("a ''b''"), "{told}");
    }
    assert_eq!(before, it.of(&target));
    // Asked for, all of it but the owner, who is somebody here.
    let other = server.database("properties");
    let ran = it.restore(&other, &["--database-settings"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let owner = |lines: Vec<String>| lines.join("\n").replace("there_owner", "postgres");
    assert_eq!(owner(it.of(&it.source)), owner(it.of(&other)));
    // And what it has is not told any more.
    let again = server.database("properties");
    server.psql(
        "postgres",
        &format!("DROP DATABASE {again}; ALTER DATABASE {other} RENAME TO {again}"),
    );
    server.psql(&again, "SET default_transaction_read_only = off; DROP TABLE t");
    let ran = it.restore(&again, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--database-settings"), "{}", ran.stderr);
}

#[test]
fn a_swap_takes_them_from_the_old_one_unless_asked() {
    let it = setting(16, "swap");
    let server = it.server;
    let target = server.database("properties");
    server.psql("postgres", &format!("ALTER DATABASE {target} SET work_mem = '9MB'"));
    let before = it.of(&target);
    let ran = it.restore(&target, &["--swap", "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(before, it.of(&target));
    assert!(ran.stderr.contains("--database-settings"), "{}", ran.stderr);
    let ran = it.restore(&target, &["--swap", "--yes", "--database-settings"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let owner = |lines: Vec<String>| lines.join("\n").replace("swap_owner", "postgres");
    assert_eq!(owner(it.of(&it.source)), owner(it.of(&target)));
}

#[test]
fn for_whom_is_respected() {
    let it = setting(15, "whom");
    let server = it.server;
    let ran = it.restore("postgres", &["--create", "whom_none", "--no-owner", "--no-privileges"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let found = it.of("whom_none");
    assert_eq!(&found[0], "owner postgres");
    assert_eq!(&found[3], "acl -");
    assert!(found[4].contains("German") && found[4].contains("7MB"), "{found:?}");
    server.psql("postgres", "CREATE ROLE whom_new; CREATE ROLE whom_reads");
    let roles = ["--role", "whom_owner=whom_new", "--role", "whom \"Reader=whom_reads"];
    let ran = it.restore("postgres", &[&["--create", "whom_roles"][..], &roles[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Quotes of a name that needs none now, and those around what has such in it.
    let plain = |lines: Vec<String>| lines.join("\n").replace(['"', '\\'], "");
    let expected = plain(it.of(&it.source)).replace("whom_owner", "whom_new");
    assert_eq!(expected.replace("whom Reader", "whom_reads"), plain(it.of("whom_roles")));
    // A part of an archive is not that database.
    let ran = it.restore("postgres", &["--create", "whom_part", "--table", "t"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(&it.of("whom_part")[4], "settings -");
    server.psql(
        "postgres",
        "DROP DATABASE whom_none; DROP DATABASE whom_roles; DROP DATABASE whom_part",
    );
}

#[test]
fn a_role_that_is_missing_is_named_first() {
    let it = setting(18, "miss");
    it.server.psql(
        "postgres",
        &format!("DROP DATABASE {}; DROP ROLE miss_owner, miss_third", it.source),
    );
    let ran = it.restore("postgres", &["--create", "miss_new"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for role in ["miss_owner", "miss_third"] {
        assert!(ran.stderr.contains(role), "{role}: {}", ran.stderr);
    }
    let ran = it.restore("postgres", &["--create", "miss_new", "--no-owner", "--no-privileges"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    it.server.psql("postgres", "DROP DATABASE miss_new");
}

/// What the server refuses is told, with what to run; and a swap does not find it out at the end.
#[test]
fn what_the_server_refuses_is_told() {
    let it = setting(17, "refuse");
    let server = it.server;
    server.psql(
        "postgres",
        &format!(
            "CREATE ROLE refuse_plain LOGIN CREATEDB; ALTER DATABASE {} SET log_statement = 'all'",
            it.source
        ),
    );
    ok(server
        .pgark(PGARK)
        .args(["create", &server.url(&it.source), "--force", "-o"])
        .arg(&it.file));
    let target = server.database("properties");
    server.psql("postgres", &format!("ALTER DATABASE {target} OWNER TO refuse_plain"));
    server.psql(&target, "CREATE TABLE old (x integer)");
    let restore = |options: &[&str]| {
        let url = server.url(&target).replace("postgres@", "refuse_plain@");
        let mut command = server.pgark(PGARK);
        command.arg("restore").arg(&it.file).args(["--to", &url]);
        command.args(["--no-owner", "--no-privileges"]);
        run(command.args(options))
    };
    let ran = restore(&["--create", "refuse_new"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    for word in [
        "DATABASE PROPERTIES refuse_new: setting log_statement",
        "ALTER DATABASE \"refuse_new\" SET \"log_statement\" TO 'all';",
        "WITH SOMETHING LEFT TO DO",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(it.of("refuse_new")[4].contains("7MB"));
    let ran = restore(&["--swap", "--yes", "--database-settings"]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    for word in ["setting log_statement", "dropped again", "nothing was replaced"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert_eq!(server.psql(&target, "SELECT count(*) FROM old"), "0");
    server.psql("postgres", "DROP DATABASE refuse_new");
}

#[test]
fn inspect_shows_them_and_no_secrets() {
    let it = setting(14, "shown");
    let ran = ok(it.server.pgark(PGARK).arg("inspect").arg(&it.file));
    for word in
        ["shown_owner", "CONNECT to shown \"Reader", "work_mem = 7MB", "my.secret = (not shown)"]
    {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("a 'b'"), "{}", ran.stdout);
}
