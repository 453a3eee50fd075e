//! Snapshot, catalog, schema and plan on real servers. Guards against rows that are not read and
//! nobody says so, values that change on their way, and SQL that no server takes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of their functions")]

mod reading;
mod schema;
pub(crate) mod sources;

use std::time::Duration;

use pgark::format::manifest::{Column, Match, Name, Table, TableKind, TypeKind};
use pgark::format::rows;
use pgark::pg::catalog::{
    Catalog, count_large_objects, large_objects, read_large_object, read_sequences,
};
use pgark::pg::plan::{Part, PartRows, copy_sql, count_sql, plan};
use pgark::pg::tuple;
use pgark::pg::{
    BigField, BigRows, CopyOut, Params, PgError, Session, Snapshot, contents, dump_schema,
};

use self::sources::{LARGE, OBJECTS, SHAPES, SHAPES_15, SHAPES_18, TYPES};
use crate::support::{MAJORS, Options, Server, bin_dir};

const WAIT: Duration = Duration::from_secs(20);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn params(server: &Server, database: &str) -> Params {
    Params::resolve(Some(&server.url(database))).unwrap()
}

fn as_role(server: &Server, database: &str, role: &str) -> Params {
    Params::resolve(Some(&server.url(database).replace("postgres@", &format!("{role}@")))).unwrap()
}

fn table<'a>(catalog: &'a Catalog, name: &str) -> &'a Table {
    catalog.tables.iter().find(|table| table.name == Name::new("s", name)).unwrap()
}

fn names(error: &PgError) -> String {
    error.to_string()
}

/// The rows of a part as COPY text, `bytea` in hex.
async fn copy_text(session: &Session, table: &Table, part: &Part) -> Vec<u8> {
    let sql = copy_sql(table, part);
    let mut out = Vec::new();
    match part.rows {
        PartRows::Text => {
            let mut copy = CopyOut::text(session, &sql).await.unwrap();
            while let Some(run) = copy.next(1 << 16).await.unwrap() {
                out.extend_from_slice(&run);
            }
        }
        PartRows::Binary => {
            let columns: Vec<bool> = table.stored_columns().map(Column::is_bytea).collect();
            let mut copy = CopyOut::binary(session, &sql).await.unwrap();
            while let Some(run) = copy.next(1 << 16).await.unwrap() {
                binary_rows(&run, &columns, &mut out);
            }
        }
        PartRows::Big => panic!("big rows are not copied"),
    }
    out
}

fn binary_rows(run: &[u8], bytea: &[bool], out: &mut Vec<u8>) {
    let mut tuples = tuple::Tuples::new(run, u16::try_from(bytea.len()).unwrap());
    let mut fields = Vec::new();
    while tuples.next_into(&mut fields).unwrap() {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            match field {
                None => out.extend_from_slice(b"\\N"),
                Some(value) if bytea[at] => rows::inline_bytea(out, value),
                Some(value) => rows::escape_into(out, value),
            }
        }
        out.push(b'\n');
    }
}

/// Guards against an output function that is not the one COPY calls, or that cannot be called on a
/// domain or a polymorphic type.
#[test]
fn binary_reading_gives_what_copy_prints() {
    for major in MAJORS {
        let server = Server::shared(major);
        let db = server.database("types");
        server.psql(&db, TYPES);
        // A column of every type the server knows, NULL: its query must at least be accepted.
        server.psql(&db, "
            SELECT 'CREATE TABLE s.every (file bytea, ' || string_agg(
                       format('c%s %s', oid, format_type(oid, NULL)), ', ' ORDER BY oid) || ')'
            FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
              AND typtype IN ('b', 'r', 'm') AND typname !~ '^_?pg_(toast|temp)' AND typrelid = 0
              AND typelem NOT IN (SELECT oid FROM pg_type WHERE typrelid <> 0 OR typtype = 'p') \\gexec
            INSERT INTO s.every (file) VALUES ('\\x00'), (NULL);");
        block_on(async {
            let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            let session = snapshot.join().await.unwrap();
            let parts = plan(&catalog);
            for name in ["types", "every"] {
                let at = catalog.tables.iter().position(|t| t.name.name == name).unwrap();
                let part = parts.iter().find(|part| part.table == at).unwrap();
                assert_eq!(part.rows, PartRows::Binary);
                let read = copy_text(&session, &catalog.tables[at], part).await;
                // The same session settings, straight from COPY.
                let mut copy =
                    CopyOut::text(&session, &format!("COPY s.{name} TO STDOUT")).await.unwrap();
                let mut expected = Vec::new();
                while let Some(run) = copy.next(1 << 16).await.unwrap() {
                    expected.extend_from_slice(&run);
                }
                assert!(expected.len() > 10);
                assert_eq!(
                    String::from_utf8_lossy(&read),
                    String::from_utf8_lossy(&expected),
                    "{name} on {major}"
                );
            }
        });
    }
}

/// Guards against keys that are none, columns that are gone, domains lost, and against rows of
/// children being read with their parents.
#[test]
fn the_catalog_says_what_is_there() {
    for major in MAJORS {
        let server = Server::shared(major);
        let db = server.database("shapes");
        server.psql(&db, SHAPES);
        if major >= 15 {
            server.psql(&db, SHAPES_15);
        }
        if major >= 18 {
            server.psql(&db, SHAPES_18);
        }
        block_on(async {
            let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            let mut sorted: Vec<_> = catalog.tables.iter().map(|t| &t.name).collect();
            sorted.sort();
            assert!(sorted.iter().eq(&catalog.tables.iter().map(|t| &t.name).collect::<Vec<_>>()));

            let parent = table(&catalog, "parent");
            let columns: Vec<&str> = parent.columns.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(columns, ["id", "code", "name", "tags", "n", "twice"]);
            assert_eq!(parent.stored_columns().count(), 5);
            let [id, code, name, tags, n, twice] = parent.columns.as_slice() else { panic!() };
            assert!(id.identity && id.not_null && !name.not_null && twice.generated);
            assert_eq!(
                (code.base.name.name.as_str(), code.typmod, code.not_null),
                ("varchar", Some(11), true)
            );
            assert_eq!(code.domain, Some(Name::new("s", "code2")));
            assert_eq!(code.sql_type, "s.code2");
            let collation = name.collation.as_ref().unwrap();
            assert_eq!(
                (collation.name.clone(), collation.deterministic),
                (Name::new("s", "ci"), true)
            );
            assert_eq!(name.default.as_deref(), Some("'it''s'::text"));
            assert_eq!((tags.base.kind, tags.storage.as_str()), (TypeKind::Array, "external"));
            assert_eq!(tags.element.as_ref().unwrap().kind, TypeKind::Enum);
            assert_eq!((n.sql_type.as_str(), id.typmod), ("numeric(8,3)", None));
            assert_eq!(parent.primary_key.as_ref().unwrap().columns, ["id"]);
            let unique: Vec<_> =
                parent.unique.iter().map(|k| (k.name.as_str(), k.constraint)).collect();
            assert_eq!(unique, [("by_name", false)]);
            assert_eq!(parent.unique[0].columns, ["name"]);
            let checks: Vec<_> =
                parent.checks.iter().map(|c| (c.name.as_str(), c.validated)).collect();
            assert_eq!(checks, [("later", false), ("positive", true)]);

            let child = table(&catalog, "child");
            assert!(child.primary_key.is_none());
            assert_eq!(child.unique.len(), 2, "{:?}", child.unique);
            assert_eq!(table(&catalog, "target").primary_key.as_ref().unwrap().columns, ["b", "a"]);
            assert_eq!(table(&catalog, "heir").inherits, [Name::new("s", "target")]);
            let parts = table(&catalog, "parts");
            assert_eq!(
                (parts.kind, parts.partition_key.as_deref()),
                (TableKind::Partitioned, Some("RANGE (at)"))
            );
            assert_eq!(table(&catalog, "parts_rest").partition_bound.as_deref(), Some("DEFAULT"));
            assert_eq!(table(&catalog, "parts_1").partition_of, Some(Name::new("s", "parts")));
            assert!(table(&catalog, "fleeting").unlogged);
            for absent in ["mat", "view", "foreigner"] {
                assert!(!catalog.tables.iter().any(|table| table.name.name == absent));
            }
            assert!(
                catalog.notes.iter().any(|note| note.contains("s.foreigner")),
                "{:?}",
                catalog.notes
            );

            let foreign: Vec<String> = catalog
                .foreign_keys
                .iter()
                .map(|k| {
                    format!("{} {} {} {}", k.table, k.columns.join(","), k.validated, k.enforced)
                })
                .collect();
            let mut expected = vec![
                "s.child a,b true true",
                "s.child y false true",
                "s.parts id true true",
                "s.refer id true true",
            ];
            if major >= 18 {
                expected.insert(2, "s.loose id false false");
            }
            assert_eq!(foreign, expected);
            let pair = &catalog.foreign_keys[0];
            assert_eq!(
                (pair.match_type, pair.referenced_columns.join(",")),
                (Match::Full, "a,b".to_owned())
            );
            assert_eq!(catalog.enums[0].labels, ["first", "b", "a"]);
            if major >= 15 {
                assert!(table(&catalog, "nd").unique[0].nulls_not_distinct);
            }
            if major >= 18 {
                let late = table(&catalog, "late");
                assert!(!late.columns[0].not_null && late.columns[1].generated);
                assert!(table(&catalog, "temporal").primary_key.is_none());
                assert!(table(&catalog, "temporal").columns[1].not_null);
                assert!(
                    catalog
                        .notes
                        .iter()
                        .any(|note| note.contains("booking") && note.contains("periods"))
                );
            }
            assert_eq!(catalog.source.encoding, "UTF8");
            assert!(
                catalog.source.snapshot_time.ends_with('Z') && catalog.source.lsn.contains('/')
            );

            // Every row once: each table's own, none of its children's.
            let session = snapshot.join().await.unwrap();
            let mut counted = Vec::new();
            for part in plan(&catalog) {
                let table = &catalog.tables[part.table];
                let counted_rows: i64 =
                    session.client().query_one(&count_sql(table, &part), &[]).await.unwrap().get(0);
                let text = copy_text(&session, table, &part).await;
                assert_eq!(
                    i64::try_from(rows::rows(&text).count()),
                    Ok(counted_rows),
                    "{}",
                    table.name
                );
                counted.push((table.name.name.clone(), counted_rows));
            }
            for (name, rows) in [
                ("nothing", 2),
                ("target", 1),
                ("heir", 1),
                ("parts_1", 1),
                ("parts_rest", 1),
                ("parent", 5),
            ] {
                assert!(counted.contains(&(name.to_owned(), rows)), "{name}: {counted:?}");
            }
            assert!(!counted.iter().any(|(name, _)| name == "parts"));

            let sequences = read_sequences(snapshot.lead(), &catalog.sequences).await.unwrap();
            let find = |name: &str| sequences.iter().find(|s| s.name.name == name).unwrap();
            assert_eq!(
                (find("down").last_value, find("down").is_called, find("down").increment),
                (-4, true, -3)
            );
            assert_eq!((find("fresh").last_value, find("fresh").is_called), (7, false));
            let owner = find("parent_id_seq").owned_by.as_ref().unwrap();
            assert_eq!((owner.table.name.as_str(), owner.column.as_str()), ("parent", "id"));
            assert_eq!(find("child_x_seq").owned_by.as_ref().unwrap().column, "x");
            assert!(find("down").owned_by.is_none());
            snapshot.check_rewrites().await.unwrap();
        });
    }
}

/// Guards against a table that was truncated or rewritten after the snapshot reading as empty.
#[test]
fn a_rewritten_table_is_named() {
    for major in MAJORS {
        let server = Server::shared(major);
        let db = server.database("rewritten");
        server.psql(
            &db,
            "CREATE TABLE t (id int, old int); INSERT INTO t VALUES (1); CREATE TABLE u (id int)",
        );
        block_on(async {
            let exporter = Session::open(&params(server, &db)).await.unwrap();
            for (change, word) in [
                ("TRUNCATE t", "public.t (rewritten"),
                ("ALTER TABLE t DROP COLUMN old; ALTER TABLE t ADD COLUMN old int", "columns old"),
                ("ALTER TABLE u RENAME TO v; CREATE TABLE u (id int)", "public.u (renamed"),
                ("DROP TABLE u", "u"),
            ] {
                exporter.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
                let row =
                    exporter.client().query_one("SELECT pg_export_snapshot()", &[]).await.unwrap();
                let id: String = row.get(0);
                server.psql(&db, change);
                let taken = Snapshot::take_from(&params(server, &db), Some(&id), WAIT).await;
                let error = taken.err().unwrap();
                assert!(names(&error).contains(word), "{change} on {major}: {error}");
                exporter.run("end", "ROLLBACK").await.unwrap();
                // A new snapshot sees the change as it is.
                Snapshot::take(&params(server, &db), WAIT)
                    .await
                    .unwrap()
                    .check_rewrites()
                    .await
                    .unwrap();
            }
            // Two that join the same snapshot say the same of it.
            exporter.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
            let row =
                exporter.client().query_one("SELECT pg_export_snapshot()", &[]).await.unwrap();
            let id: String = row.get(0);
            let mut sources = Vec::new();
            for _ in 0..2 {
                let joined =
                    Snapshot::take_from(&params(server, &db), Some(&id), WAIT).await.unwrap();
                sources.push(joined.read_catalog().await.unwrap().source);
            }
            assert_eq!(sources[0], sources[1]);
        });
    }
}

/// Guards against rows that the role may not see being left out, and against errors that do not
/// say of which table.
#[test]
fn what_cannot_be_read_is_named() {
    for major in MAJORS {
        let server = Server::shared(major);
        let db = server.database("refused");
        let role = format!("reader_{major}");
        server.psql(&db, &format!("
            CREATE ROLE {role} LOGIN; CREATE SCHEMA hidden;
            CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE hidden.c (id int);
            CREATE TABLE secured (id int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
            CREATE SEQUENCE seq;
            GRANT SELECT ON b, secured, hidden.c TO {role};
            SELECT lo_create(4711); SELECT lo_create(4712); GRANT SELECT ON LARGE OBJECT 4712 TO {role};"));
        let reader = as_role(server, &db, &role);
        block_on(async {
            let error = Snapshot::take(&reader, WAIT).await.err().unwrap();
            assert!(
                names(&error)
                    .ends_with("read tables: hidden.c (USAGE on its schema), public.a (SELECT)"),
                "{error}"
            );
            server.psql(
                &db,
                &format!("GRANT SELECT ON a TO {role}; GRANT USAGE ON SCHEMA hidden TO {role}"),
            );
            let error = Snapshot::take(&reader, WAIT).await.err().unwrap();
            assert!(
                names(&error).contains("row security")
                    && names(&error).ends_with(": public.secured"),
                "{error}"
            );
            server.psql(&db, "ALTER TABLE secured DISABLE ROW LEVEL SECURITY");
            let snapshot = Snapshot::take(&reader, WAIT).await.unwrap();
            let error = snapshot.read_catalog().await.err().unwrap();
            assert!(names(&error).ends_with("large objects: 4711"), "{error}");
            server.psql(&db, "SELECT lo_unlink(4711)");
            let snapshot = Snapshot::take(&reader, WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            assert_eq!(catalog.large_objects, 1);
            let error = read_sequences(snapshot.lead(), &catalog.sequences).await.err().unwrap();
            assert!(names(&error).ends_with("sequences: public.seq"), "{error}");
        });
    }
}

/// Guards against waiting for ever for a lock, and against an error that names no table.
#[test]
fn a_locked_table_is_named() {
    let server = Server::shared(18);
    let db = server.database("locked");
    server.psql(&db, "CREATE TABLE free (id int); CREATE TABLE held (id int)");
    block_on(async {
        let holder = Session::open(&params(server, &db)).await.unwrap();
        holder.run("lock", "BEGIN; LOCK TABLE public.held").await.unwrap();
        let short = Duration::from_millis(200);
        let error = Snapshot::take(&params(server, &db), short).await.err().unwrap();
        assert!(names(&error).contains("public.held (locked by process"), "{error}");
        assert!(!names(&error).contains("free"), "{error}");
        holder.run("end", "ROLLBACK").await.unwrap();

        // Somebody waits behind our lock for a stronger one: those who join must not wait for ever.
        let snapshot = Snapshot::take(&params(server, &db), short).await.unwrap();
        let waiter = Session::open(&params(server, &db)).await.unwrap();
        let waiting =
            tokio::spawn(async move { waiter.run("drop", "DROP TABLE public.held").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let session = snapshot.join().await.unwrap();
        let error = session.run("reading held", "SELECT FROM public.held").await.err().unwrap();
        assert!(names(&error).contains("55P03"), "{error}");
        let own = bin_dir(18).join("pg_dump");
        let error = dump_schema(&snapshot, own.to_str().unwrap()).await.err().unwrap();
        assert!(error.to_string().contains("held"), "{error}");
        drop(snapshot);
        waiting.await.unwrap().unwrap();
    });
}

/// Guards against an extension's own rows being taken for ours, and its configuration for its own.
#[test]
fn configuration_rows_of_extensions_are_ours() {
    for major in [14, 18] {
        let share = bin_dir(major).parent().unwrap().join("share");
        let server = Server::shared(major);
        let db = server.database("configured");
        // No extension shipped has configuration tables: make one of what is there.
        assert!(share.exists());
        server.psql(&db, "
            CREATE SCHEMA s; CREATE EXTENSION citext SCHEMA s;
            CREATE TABLE s.conf (id int, standard bool); CREATE TABLE s.data (id int); CREATE SEQUENCE s.seq;
            INSERT INTO s.conf VALUES (1, true), (2, false), (3, false); INSERT INTO s.data VALUES (1);
            ALTER EXTENSION citext ADD TABLE s.conf; ALTER EXTENSION citext ADD TABLE s.data;
            ALTER EXTENSION citext ADD SEQUENCE s.seq;
            UPDATE pg_extension SET extconfig = ARRAY['s.conf'::regclass::oid, 's.seq'::regclass::oid],
                extcondition = ARRAY['WHERE NOT standard', ''] WHERE extname = 'citext'");
        block_on(async {
            let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            assert_eq!(catalog.tables.len(), 1);
            let conf = table(&catalog, "conf");
            assert_eq!(
                (conf.kind, conf.condition.as_deref()),
                (TableKind::ExtensionConfig, Some("WHERE NOT standard"))
            );
            assert!(
                catalog
                    .notes
                    .iter()
                    .any(|note| note.contains("s.data belongs to extension citext"))
            );
            assert_eq!(catalog.sequences.len(), 1);
            let session = snapshot.join().await.unwrap();
            let text = copy_text(&session, conf, &plan(&catalog)[0]).await;
            assert_eq!(text, b"2\tf\n3\tf\n");
            let text = contents(&Session::open(&params(server, &db)).await.unwrap())
                .await
                .unwrap()
                .join("; ");
            assert_eq!(text, "schema s; extension citext");
        });
    }
}

/// Guards against bytes that are not UTF-8 stopping a backup of a database that holds such.
#[test]
fn sql_ascii_passes_through() {
    let options = Options { sql_ascii: true, ..Options::default() };
    let server = Server::start_with(16, &options);
    server.psql_bytes(
        "postgres",
        b"SET client_encoding = 'SQL_ASCII'; CREATE SCHEMA s;\
        CREATE TABLE s.plain (t text); INSERT INTO s.plain VALUES (E'\\351t\\351');\
        CREATE TABLE s.mixed (t text, b bytea); INSERT INTO s.mixed VALUES (E'\\351', '\\x00')",
    );
    block_on(async {
        let snapshot = Snapshot::take(&params(&server, "postgres"), WAIT).await.unwrap();
        let catalog = snapshot.read_catalog().await.unwrap();
        assert_eq!(catalog.source.encoding, "SQL_ASCII");
        let session = snapshot.join().await.unwrap();
        let mut text = Vec::new();
        for part in plan(&catalog) {
            text.extend(copy_text(&session, &catalog.tables[part.table], &part).await);
        }
        assert_eq!(text, b"\xe9\t\\\\x00\n\xe9t\xe9\n");
        let schema =
            dump_schema(&snapshot, bin_dir(16).join("pg_dump").to_str().unwrap()).await.unwrap();
        assert!(
            String::from_utf8(schema.pre).unwrap().contains("SET client_encoding = 'SQL_ASCII';")
        );
    });
}

/// Guards against unlogged tables, which a standby cannot read, being left out in silence, and
/// against a standby being no source at all.
#[test]
fn a_standby_can_be_read_but_for_unlogged_tables() {
    for major in [14, 18] {
        let server = Server::start(major);
        server.psql("postgres", r#"
            CREATE SCHEMA s; CREATE TABLE s.logged (id int, file bytea); CREATE UNLOGGED TABLE s.fleeting (id int);
            INSERT INTO s.logged SELECT g, decode(repeat('00', 3000), 'hex') FROM generate_series(1, 9) g;
            CREATE DATABASE clean TEMPLATE template0; CHECKPOINT;
            \c clean
            CREATE SCHEMA s; CREATE TABLE s.logged (id int); INSERT INTO s.logged VALUES (1);
            CREATE SEQUENCE s.seq; CHECKPOINT;
            COPY (SELECT 1) TO PROGRAM 'touch standby.signal; bin=$(dirname "$(cut -d" " -f1 postmaster.opts)"); (sleep 1; exec setsid "$bin/pg_ctl" -D . -l ../log -w -s -m fast restart) >/dev/null 2>&1 </dev/null &'"#);
        let standby = || {
            let output =
                server.tool("psql").args(["-Atc", "SELECT pg_is_in_recovery()"]).output().unwrap();
            output.stdout == b"t\n"
        };
        let tries = (0..300).find(|_| {
            std::thread::sleep(Duration::from_millis(100));
            standby()
        });
        assert!(tries.is_some(), "the server did not become a standby");
        block_on(async {
            let error = Snapshot::take(&params(&server, "postgres"), WAIT).await.err().unwrap();
            assert!(
                names(&error).contains("standby") && names(&error).ends_with(": s.fleeting"),
                "{error}"
            );
            let snapshot = Snapshot::take(&params(&server, "clean"), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            assert!(catalog.source.standby && !catalog.source.lsn.is_empty());
            let session = snapshot.join().await.unwrap();
            let text = copy_text(&session, table(&catalog, "logged"), &plan(&catalog)[0]).await;
            assert_eq!(text, b"1\n");
            assert_eq!(
                read_sequences(snapshot.lead(), &catalog.sequences).await.unwrap()[0].last_value,
                1
            );
            let own = bin_dir(major).join("pg_dump");
            let schema = dump_schema(&snapshot, own.to_str().unwrap()).await.unwrap();
            assert!(String::from_utf8(schema.pre).unwrap().contains("CREATE TABLE s.logged"));
            snapshot.check_rewrites().await.unwrap();
        });
    }
}
