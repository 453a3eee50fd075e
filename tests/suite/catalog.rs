//! Snapshot, catalog, schema and plan on real servers. Guards against rows that are not read and
//! nobody says so, values that change on their way, and SQL that no server takes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of their functions")]

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

pub(crate) const TYPES: &str = r#"
CREATE SCHEMA s;
CREATE EXTENSION hstore SCHEMA s;
CREATE EXTENSION citext SCHEMA s;
CREATE TYPE s.mood AS ENUM ('sad', 'b''x', 'happy');
CREATE DOMAIN s.short AS varchar(5);
CREATE DOMAIN s.shorter AS s.short NOT NULL;
CREATE DOMAIN s.mood_d AS s.mood;
CREATE DOMAIN s.bytes AS bytea;
CREATE DOMAIN s.ints AS int[];
CREATE DOMAIN s.fixed AS char(4);
CREATE DOMAIN s.bits AS bit(3);
CREATE TYPE s.pair AS (a int, "b c" text);
CREATE DOMAIN s.pair_d AS s.pair;
CREATE DOMAIN s.span AS int4range;
CREATE DOMAIN s.spans AS int4multirange;
CREATE TYPE s.trange AS RANGE (subtype = text);
CREATE TABLE s.types (
  id int, txt text, m s.mood, md s.mood_d, ma s.mood[], b bytea, cur refcursor, bd s.bytes, ba bytea[], ad s.ints,
  f s.fixed, bi bit(3), bid s.bits, vb varbit(5), p s.pair, pa s.pair[], pd s.pair_d,
  r int4range, rd s.span, mr int4multirange, mrd s.spans, tr s.trange, rc regclass, rt regtype[],
  ac aclitem, aca aclitem[], ch "char", n name, x xml, tv tsvector, tq tsquery, mo money,
  ci s.citext, hs s.hstore, bp char(5), i2 int2vector, ov oidvector, lsn pg_lsn, tz timestamptz,
  tza timestamptz[], itv interval, j json, jb jsonb, jp jsonpath, pt point, pol polygon, mac macaddr,
  mac8 macaddr8, ip inet, net cidr, u uuid, num numeric(10,2), f4 float4, f8 float8, t tid, xx xid8,
  snap pg_snapshot, dt date, tm timetz, sd s.shorter, "weird ""col""" int, big int8, bo bool);
INSERT INTO s.types VALUES (1, E'a\tb\nc\\d\r\\.', 'b''x', 'happy', '{sad,NULL}', '\x00ff5c', 'a%s', '\xdead',
  ARRAY['\x01'::bytea, NULL], '{1,NULL}', 'ab', '101', '110', '11', '(1,"x ""y")', '{"(1,\"a b\")",NULL}',
  '(2,z)', '[1,3)', '[2,)', '{[1,2),[5,7)}', '{}', '["a b",c]', 'pg_class', '{int4,text}',
  '=r/postgres', '{=r/postgres,postgres=w/postgres}', 'q', 'na me', '<a>&amp;</a>', 'a b:2A', 'a & !b',
  '-1234.56', 'CiT', 'a=>1,"b c"=>NULL', 'ab', '1 2', '3 4', '0/16B3748', 'infinity',
  '{2024-02-29 12:00:00.123456+02,-infinity}', '-1 year 2 mons 3.5 s', '{"a" :1}', '{"b": 2}',
  '$.a[*]', '(1e-5,2)', '((0,0),(1,1),(1,0))', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '10.0.0.1/8', '10.0.0.0/8', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'NaN', '1.1', '-0', '(1,2)',
  '123', '10:20:10,14', '0044-03-15 BC', '12:00:00+05:30', 'ab', 7, -9223372036854775808, true);
INSERT INTO s.types (id, sd) VALUES (2, 'x'), (3, '');
"#;

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

pub(crate) const SHAPES: &str = r"
CREATE SCHEMA s;
CREATE COLLATION s.ci (provider = libc, locale = 'POSIX');
CREATE DOMAIN s.code AS varchar(7) NOT NULL;
CREATE DOMAIN s.code2 AS s.code;
CREATE TYPE s.mood AS ENUM ('b', 'a');
ALTER TYPE s.mood ADD VALUE 'first' BEFORE 'b';
CREATE TABLE s.parent (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code s.code2, gone int,
  name text COLLATE s.ci DEFAULT 'it''s', tags s.mood[], n numeric(8,3),
  twice int GENERATED ALWAYS AS (3 * 2) STORED, CONSTRAINT positive CHECK (id > 0));
ALTER TABLE s.parent DROP COLUMN gone;
ALTER TABLE s.parent ADD CONSTRAINT later CHECK (id < 1000) NOT VALID;
ALTER TABLE s.parent ALTER COLUMN tags SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX by_name ON s.parent (name) INCLUDE (n);
CREATE UNIQUE INDEX partial_one ON s.parent (n) WHERE n > 0;
CREATE UNIQUE INDEX by_expression ON s.parent (lower(name));
CREATE TABLE s.child (a int, b int, x serial, y bigint UNIQUE, z int UNIQUE DEFERRABLE INITIALLY DEFERRED,
  EXCLUDE USING gist (point(a, b) WITH ~=));
CREATE TABLE s.target (a int, b int, PRIMARY KEY (b, a));
ALTER TABLE s.child ADD CONSTRAINT pair FOREIGN KEY (a, b) REFERENCES s.target (a, b) MATCH FULL;
ALTER TABLE s.child ADD CONSTRAINT self FOREIGN KEY (y) REFERENCES s.child (y) NOT VALID;
CREATE TABLE s.heir (extra text) INHERITS (s.target);
CREATE TABLE s.parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE s.parts_1 PARTITION OF s.parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE s.parts_rest (at date, id int);
ALTER TABLE s.parts ATTACH PARTITION s.parts_rest DEFAULT;
CREATE TABLE s.refer (id int REFERENCES s.parent);
ALTER TABLE s.parts ADD FOREIGN KEY (id) REFERENCES s.parent;
CREATE TABLE s.nothing ();
INSERT INTO s.nothing DEFAULT VALUES; INSERT INTO s.nothing DEFAULT VALUES;
CREATE UNLOGGED TABLE s.fleeting (id int);
CREATE MATERIALIZED VIEW s.mat AS SELECT 1 AS one;
CREATE VIEW s.view AS SELECT 1 AS one;
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE s.foreigner (id int) SERVER far;
INSERT INTO s.parent (code, name) SELECT g, g FROM generate_series(1, 5) g;
INSERT INTO s.target VALUES (1, 1); INSERT INTO s.heir VALUES (2, 2, 'x');
INSERT INTO s.parts VALUES (1, '2024-05-05'), (2, NULL);
CREATE SEQUENCE s.down INCREMENT -3;
SELECT nextval('s.down'), nextval('s.down');
CREATE SEQUENCE s.fresh START 7;
";

pub(crate) const SHAPES_15: &str = "CREATE TABLE s.nd (a int UNIQUE NULLS NOT DISTINCT)";

pub(crate) const SHAPES_18: &str = "
CREATE TABLE s.late (v int, w int GENERATED ALWAYS AS (v * 2) VIRTUAL);
INSERT INTO s.late VALUES (NULL);
ALTER TABLE s.late ADD CONSTRAINT nn NOT NULL v NOT VALID;
CREATE EXTENSION btree_gist SCHEMA s;
CREATE TABLE s.temporal (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE s.booking (id int, during daterange,
  FOREIGN KEY (id, PERIOD during) REFERENCES s.temporal (id, PERIOD during));
CREATE TABLE s.loose (id int REFERENCES s.parent NOT ENFORCED);
";

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

const LARGE: &str = "
CREATE TABLE big (id int, a bytea, t text, b bytea);
ALTER TABLE big ALTER a SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, '\\x01', 'one', NULL);
INSERT INTO big SELECT 2, decode(repeat('0123456789abcdef', 5242880), 'hex'), E'two\\t', decode('ff', 'hex');
INSERT INTO big VALUES (3, NULL, NULL, '\\x');
INSERT INTO big SELECT 4, decode(repeat('00', 20000000), 'hex'), 'four', decode(repeat('01', 15000000), 'hex');
SELECT lo_from_bytea(1000, '\\x00ff'); SELECT lo_from_bytea(2000, decode(repeat('ab', 70000), 'hex'));
SELECT lo_create(3000); COMMENT ON LARGE OBJECT 1000 IS 'it''s'; GRANT SELECT ON LARGE OBJECT 1000 TO PUBLIC;";

/// Guards against rows that are too big to be sent being lost, read twice or cut.
#[test]
fn big_rows_and_large_objects_come_in_slices() {
    for major in [14, 18] {
        let server = Server::shared(major);
        let db = server.database("large");
        server.psql(&db, LARGE);
        block_on(async {
            let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            let session = snapshot.join().await.unwrap();
            let parts = plan(&catalog);
            let (big, small): (Vec<_>, Vec<_>) =
                parts.iter().partition(|p| p.rows == PartRows::Big);
            let table = &catalog.tables[0];
            let mut text = Vec::new();
            for part in small {
                text.extend(copy_text(&session, table, part).await);
            }
            assert_eq!(
                String::from_utf8(text).unwrap(),
                "1\t\\\\x01\tone\t\\N\n3\t\\N\t\\N\t\\\\x\n"
            );
            let mut rows = BigRows::open(&session, table, big[0]).await.unwrap();
            assert_eq!(rows.len(), 2);
            let mut lengths = Vec::new();
            while let Some(row) = rows.next().await.unwrap() {
                let BigField::Bytea(length) = row.fields[1] else { panic!() };
                let mut read = Vec::new();
                while (read.len() as u64) < length {
                    read.extend(rows.slice(&row, 1, read.len() as u64).await.unwrap());
                }
                let expected: Vec<u8> = if row.fields[0] == BigField::Text(b"2".to_vec()) {
                    [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(5_242_880)
                } else {
                    vec![0; 20_000_000]
                };
                assert!(read == expected);
                lengths.push((length, row.fields[2].clone(), row.fields[3].clone()));
            }
            assert_eq!(
                lengths,
                [
                    (41_943_040, BigField::Text(b"two\t".to_vec()), BigField::Bytea(1)),
                    (20_000_000, BigField::Text(b"four".to_vec()), BigField::Bytea(15_000_000)),
                ][..]
            );

            // Made after the snapshot: not ours.
            server.psql(&db, "SELECT lo_create(1500)");
            assert_eq!(count_large_objects(&session).await.unwrap(), 3);
            let found = large_objects(&session, 0).await.unwrap();
            let facts: Vec<_> = found.iter().map(|o| (o.oid, o.head.len(), o.complete)).collect();
            assert_eq!(facts, [(1000, 2, true), (2000, 65_536, false), (3000, 0, true)]);
            assert_eq!(found[0].comment.as_deref(), Some("it's"));
            assert!(
                found[0].acl.as_deref().unwrap().contains("=r/postgres") && found[1].acl.is_none()
            );
            assert_eq!(
                read_large_object(&session, 2000, 65_536, 1 << 20).await.unwrap().len(),
                4464
            );
            assert!(large_objects(&session, 3000).await.unwrap().is_empty());
        });
    }
}

/// Every kind of object whose owner, privileges or settings are not in its definition.
const OBJECTS: &str = r#"
CREATE TABLE public.first (id int PRIMARY KEY);
CREATE SCHEMA "Odd ""Name""" AUTHORIZATION {role};
SET search_path = "Odd ""Name""";
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE DOMAIN d AS int CHECK (VALUE > 0);
CREATE FUNCTION f(a int, b text DEFAULT 'x', OUT c int) LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f(a text) RETURNS text LANGUAGE sql AS $$ SELECT 'it''s; -- no' || a $$;
CREATE PROCEDURE p(x int) LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int);
CREATE FUNCTION eq(d, d) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::int = $2::int';
CREATE OPERATOR === (LEFTARG = d, RIGHTARG = d, FUNCTION = eq);
CREATE OPERATOR FAMILY fam USING btree;
CREATE OPERATOR CLASS cls FOR TYPE mood USING btree FAMILY fam AS FUNCTION 1 btint4cmp(int, int);
CREATE TABLE t (id serial PRIMARY KEY, f mood DEFAULT 'a', "Name" text, n int GENERATED ALWAYS AS IDENTITY);
COMMENT ON TABLE t IS 'line one
line two';
COMMENT ON COLUMN t."Name" IS 'col';
CREATE INDEX idx ON t (lower("Name"));
COMMENT ON INDEX idx IS 'index comment';
CREATE TABLE elsewhere (id int) TABLESPACE {space};
CREATE TABLE here (id int);
CREATE INDEX there ON here (id) TABLESPACE {space};
CREATE TABLE parts (id int) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0) TABLESPACE {space};
CREATE VIEW v AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
CREATE UNIQUE INDEX m_id ON m (id);
CREATE MATERIALIZED VIEW m2 AS SELECT id FROM m;
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE STATISTICS st ON id, f FROM t;
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();
CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER et{role} ON ddl_command_end WHEN TAG IN ('ALTER LARGE OBJECT') EXECUTE FUNCTION ef();
COMMENT ON EVENT TRIGGER et{role} IS 'on an event trigger';
CREATE POLICY pol ON t USING (true); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE RULE r AS ON INSERT TO here DO ALSO NOTHING;
CREATE COLLATION co FROM "C";
CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION conf (COPY = simple);
CREATE CAST (mood AS d) WITH INOUT;
CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER srv FOREIGN DATA WRAPPER fdw;
CREATE FOREIGN TABLE ft (id int) SERVER srv; CREATE USER MAPPING FOR {role} SERVER srv;
CREATE PUBLICATION pub FOR TABLE t;
CREATE SUBSCRIPTION sub_{role} CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false);
GRANT SELECT ("Name") ON t TO {role}; GRANT EXECUTE ON FUNCTION f(text) TO {role}; REVOKE ALL ON FUNCTION f(text) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Odd ""Name""" GRANT SELECT ON TABLES TO {role};
REVOKE ALL ON SCHEMA public FROM PUBLIC;
DO $$ DECLARE o text; BEGIN
  FOREACH o IN ARRAY ARRAY['TYPE mood', 'DOMAIN d', 'FUNCTION f(int, text)', 'FUNCTION f(text)', 'PROCEDURE p(int)',
    'AGGREGATE agg(int)', 'OPERATOR === (d, d)', 'OPERATOR FAMILY fam USING btree', 'OPERATOR CLASS cls USING btree',
    'TABLE t', 'TABLE parts', 'VIEW v', 'MATERIALIZED VIEW m', 'STATISTICS st', 'COLLATION co', 'CONVERSION conv',
    'TEXT SEARCH DICTIONARY dict', 'TEXT SEARCH CONFIGURATION conf', 'FOREIGN TABLE ft', 'PUBLICATION pub']
  LOOP EXECUTE format('ALTER %s OWNER TO {role}', o); END LOOP; END $$;
"#;

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

/// Guards against block ranges that lose rows or give them twice on a real heap with TOAST.
#[test]
fn parts_give_every_row_once_and_in_order() {
    let server = Server::shared(15);
    let db = server.database("parts");
    server.psql(&db, "CREATE SCHEMA s; CREATE TABLE s.wide (id int, file bytea);
        ALTER TABLE s.wide ALTER file SET STORAGE EXTERNAL;
        INSERT INTO s.wide SELECT g, decode(repeat('0f', 500000), 'hex') FROM generate_series(1, 400) g;
        DELETE FROM s.wide WHERE id % 50 = 0; CREATE INDEX ON s.wide (id);");
    block_on(async {
        let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
        server.psql(&db, "INSERT INTO s.wide VALUES (0, '')");
        let catalog = snapshot.read_catalog().await.unwrap();
        let session = snapshot.join().await.unwrap();
        let parts = plan(&catalog);
        assert!(parts.len() >= 3, "{parts:?}");
        let mut ids = Vec::new();
        for part in parts.iter().filter(|part| part.rows == PartRows::Binary) {
            let sql = copy_sql(&catalog.tables[0], part);
            let mut copy = CopyOut::binary(&session, &sql).await.unwrap();
            while let Some(run) = copy.next(1 << 16).await.unwrap() {
                let mut tuples = tuple::Tuples::new(&run, 2);
                let mut fields = Vec::new();
                while tuples.next_into(&mut fields).unwrap() {
                    ids.push(
                        std::str::from_utf8(fields[0].unwrap()).unwrap().parse::<i32>().unwrap(),
                    );
                }
            }
        }
        assert_eq!(ids, (1..=400).filter(|id| id % 50 != 0).collect::<Vec<_>>());
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
