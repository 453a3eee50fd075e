//! The SQL schema as `pg_dump` writes it for us.

use super::*;

/// Guards against owners, privileges, tablespaces and comments that are lost between `pg_dump` and
/// our texts, and against statements that cannot be run one object at a time.
#[test]
fn the_schema_comes_back_object_by_object() {
    for major in MAJORS {
        let server = Server::start(major);
        let db = server.database("objects");
        let space = server.socket_dir().join("space");
        server.psql("postgres", "CREATE ROLE own_er SUPERUSER");
        server.psql("postgres", &format!("\\! mkdir -m 777 {}\n", space.display()));
        let mut command = server.tool("psql");
        command.args(["-c", &format!("CREATE TABLESPACE spa LOCATION '{}'", space.display())]);
        if !command.output().unwrap().status.success() {
            server.psql(
                "postgres",
                "SET allow_in_place_tablespaces = on; CREATE TABLESPACE spa LOCATION ''",
            );
        }
        server.psql(&db, &OBJECTS.replace("{role}", "own_er").replace("{space}", "spa"));
        server.psql(&db, "SELECT lo_create(5); COMMENT ON LARGE OBJECT 5 IS 'not here'; GRANT SELECT ON LARGE OBJECT 5 TO PUBLIC");
        let own = bin_dir(major).join("pg_dump");
        let (first, second) = block_on(async {
            let snapshot = Snapshot::take(&params(&server, &db), WAIT).await.unwrap();
            let first = dump_schema(&snapshot, own.to_str().unwrap()).await.unwrap();
            let second = dump_schema(&snapshot, own.to_str().unwrap()).await.unwrap();
            (first, second)
        });
        assert_eq!(first, second, "the text is not stable");
        for (text, objects) in
            [(&first.pre, &first.schema.pre_data), (&first.post, &first.schema.post_data)]
        {
            let mut end = 0;
            for object in objects {
                assert_eq!(object.offset, end);
                end += object.length;
            }
            assert_eq!(end, text.len() as u64);
        }
        let all = String::from_utf8([first.pre.clone(), first.post.clone()].concat()).unwrap();
        assert!(
            !all.contains("LARGE OBJECT 5")
                && !all.contains("lo_create")
                && !all.contains("transaction_timeout")
        );

        // What pg_restore prints of the same dump, but for settings, comments and quotes.
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        server
            .pg_dump(&db, &["-Fc", "-B", "--section=pre-data", "--section=post-data", "-f", path]);
        for (section, text) in [("pre-data", &first.pre), ("post-data", &first.post)] {
            let mut restore = server.tool("pg_restore");
            let output =
                restore.args(["-f", "-", &format!("--section={section}"), path]).output().unwrap();
            let expected = statements(&String::from_utf8(output.stdout).unwrap());
            let ours = statements(std::str::from_utf8(text).unwrap());
            for (ours, expected) in ours.iter().zip(&expected) {
                assert_eq!(ours, expected, "{section} on {major}");
            }
            assert_eq!(ours.len(), expected.len(), "{section} on {major}");
        }

        // Run object by object into an empty database, every other one in another session.
        let before = server.pg_dump(&db, &["--schema-only", "-B"]);
        let copy = server.database("copy");
        block_on(async {
            let sessions = [
                Session::open(&params(&server, &copy)).await.unwrap(),
                Session::open(&params(&server, &copy)).await.unwrap(),
            ];
            assert_eq!(contents(&sessions[0]).await.unwrap(), Vec::<String>::new());
            for (text, objects) in
                [(&first.pre, &first.schema.pre_data), (&first.post, &first.schema.post_data)]
            {
                for (at, object) in objects.iter().enumerate() {
                    let start = usize::try_from(object.offset).unwrap();
                    let end = start + usize::try_from(object.length).unwrap();
                    let sql = std::str::from_utf8(&text[start..end]).unwrap();
                    for (place, session) in sessions.iter().enumerate() {
                        if object.kind == "SETTINGS" || place == at % 2 {
                            session
                                .run(&format!("{} {}", object.kind, object.name), sql)
                                .await
                                .unwrap();
                        }
                    }
                }
            }
            let found = contents(&sessions[0]).await.unwrap().join("; ");
            for word in [
                "schema Odd",
                "relation ",
                "function ",
                "type ",
                "operator ",
                "operator class cls",
                "collation co",
                "conversion conv",
                "cast (",
                "text search configuration conf",
                "text search dictionary dict",
                "foreign-data wrapper fdw",
                "foreign server srv",
                "event trigger et",
                "publication pub",
                "default privileges",
                "subscription sub_",
                "operator family fam",
                "more of kind relation",
            ] {
                assert!(found.contains(word), "{word} not in {found}");
            }
        });
        let after = server.pg_dump(&copy, &["--schema-only", "-B"]);
        assert_eq!(lines(&after), lines(&before), "{major}");
    }
}

/// SQL without settings, comments and the quotes of identifiers.
fn statements(sql: &str) -> Vec<String> {
    let kept = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("--")
            && !line.starts_with("SET ")
            && !line.starts_with("SELECT pg_catalog.set_config")
            && !line.starts_with('\\')
    };
    // Up to version 15 it calls everything a table that ALTER TABLE takes.
    let plain = |line: &str| {
        let line = line.replace('"', "");
        let kinds = ["ALTER VIEW ", "ALTER MATERIALIZED VIEW ", "ALTER SEQUENCE "];
        match kinds.iter().find_map(|kind| line.strip_prefix(kind)) {
            Some(rest) if line.contains(" OWNER TO ") => format!("ALTER TABLE {rest}"),
            _ => line,
        }
    };
    sql.lines().filter(kept).map(plain).collect()
}

fn lines(dump: &str) -> Vec<&str> {
    dump.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect()
}

/// Guards against a `pg_dump` that is older than the server, and against a search that finds none
/// where there is one.
#[test]
fn an_older_pg_dump_is_refused() {
    let server = Server::shared(17);
    let db = server.database("dumpers");
    block_on(async {
        let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
        let old = bin_dir(16).join("pg_dump");
        let error = dump_schema(&snapshot, old.to_str().unwrap()).await.err().unwrap().to_string();
        assert!(error.contains("of version 16.") && error.contains("version 17"), "{error}");
        let new = format!("env 'SOME=a b' {}", bin_dir(18).join("pg_dump").display());
        let text = dump_schema(&snapshot, &new).await.unwrap();
        assert!(
            text.pg_dump_version.starts_with("pg_dump (PostgreSQL) 18."),
            "{}",
            text.pg_dump_version
        );
        let error = dump_schema(&snapshot, "echo").await.err().unwrap().to_string();
        assert!(error.contains("echo --version answers"), "{error}");
    });
}
