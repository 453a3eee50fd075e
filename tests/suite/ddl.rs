//! What the DDL of `pg_dump` declares, against the catalog of the database that it is of, field by
//! field. Guards against a type, a key or a reference that a dump says and we do not read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgark::format::manifest::{Name, Table};
use pgark::pg::catalog::Catalog;
use pgark::pg::{Params, Snapshot};
use pgark::source::ddl::{
    DatabaseFacts, Declarations, Declared, DeclaredSequence, Piece, statements,
};

use super::catalog::sources::{SHAPES, SHAPES_15, SHAPES_18, TYPES};
use super::roundtrip::load_sample;
use crate::support::{Server, bin_dir, root};

fn catalog(server: &Server, database: &str) -> Catalog {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let params = Params::resolve(Some(&server.url(database))).unwrap();
    runtime.block_on(async {
        let snapshot = Snapshot::take(&params, Duration::from_secs(20)).await.unwrap();
        snapshot.read_catalog().await.unwrap()
    })
}

/// What a dump of the schema declares, columns in the order in which its rows come.
fn declared(sql: &str) -> Declared {
    let mut found = Declarations::new();
    for piece in statements(sql) {
        if let Piece::Statement(statement) = piece.unwrap() {
            found.statement(statement).unwrap();
        }
    }
    found.finish().unwrap()
}

/// Every difference, a line each.
fn differences(catalog: &Catalog, declared: &Declared) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut differ = |what: String, live: String, ours: String| {
        if live != ours {
            out.insert(format!("{what}: {live} / {ours}"));
        }
    };
    differ("enums".into(), format!("{:?}", catalog.enums), format!("{:?}", declared.enums));
    let ours: BTreeMap<&Name, &Table> = declared.tables.iter().map(|it| (&it.name, it)).collect();
    let names = |tables: &[Table]| -> Vec<String> {
        tables.iter().map(|table| table.name.to_string()).collect()
    };
    differ(
        "tables".into(),
        format!("{:?}", names(&catalog.tables)),
        format!("{:?}", names(&declared.tables)),
    );
    for live in &catalog.tables {
        let Some(ours) = ours.get(&live.name) else { continue };
        let name = &live.name;
        let columns = |table: &Table| -> Vec<String> {
            table.columns.iter().map(|column| column.name.clone()).collect()
        };
        differ(
            format!("columns of {name}"),
            format!("{:?}", columns(live)),
            format!("{:?}", columns(ours)),
        );
        for column in &live.columns {
            let Some(other) = ours.columns.iter().find(|it| it.name == column.name) else {
                continue;
            };
            // A field that is new is compared too: each is in the text of `Debug`.
            let fields =
                |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
            let (a, b) = (fields(format!("{column:#?}")), fields(format!("{other:#?}")));
            for (a, b) in a.iter().zip(&b) {
                differ(format!("{name}.{}", column.name), a.trim().into(), b.trim().into());
            }
            differ(
                format!("{name}.{} lines", column.name),
                a.len().to_string(),
                b.len().to_string(),
            );
        }
        let rest = |table: &Table| {
            let rest = Table { columns: Vec::new(), data: None, ..table.clone() };
            format!("{rest:#?}").lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (a, b) = (rest(live), rest(ours));
        for (a, b) in a.iter().zip(&b) {
            differ(format!("{name}"), a.trim().into(), b.trim().into());
        }
        differ(format!("{name} lines"), a.len().to_string(), b.len().to_string());
    }
    let keys = |keys: &[_]| format!("{keys:#?}");
    differ("foreign keys".into(), keys(&catalog.foreign_keys), keys(&declared.foreign_keys));
    let sequences = |found: Vec<String>| format!("{found:#?}");
    differ(
        "sequences".into(),
        sequences(
            (catalog.sequences.iter())
                .map(|it| format!("{} {} {:?}", it.name, it.increment, it.owned_by))
                .collect(),
        ),
        sequences(
            (declared.sequences.iter())
                .map(|it| format!("{} {} {:?}", it.name, it.increment, it.owned_by))
                .collect(),
        ),
    );
    let mut notes = catalog.notes.clone();
    notes.sort();
    // An archive of the database itself has its settings, one of its dump has not.
    let mut ours = declared.notes.clone();
    ours.retain(|note| !note.contains("ALTER DATABASE ... SET"));
    differ("notes".into(), format!("{notes:?}"), format!("{ours:?}"));
    let database = declared.database.clone().unwrap_or_default();
    let source = &catalog.source;
    for (what, live, ours) in [
        ("name", Some(&source.database), Some(&database.name)),
        ("encoding", Some(&source.encoding), database.encoding.as_ref()),
        ("collate", Some(&source.collate), database.collate.as_ref()),
        ("ctype", Some(&source.ctype), database.ctype.as_ref()),
        ("provider", Some(&source.locale_provider), Some(&database.provider)),
        ("locale", source.locale.as_ref(), database.locale.as_ref()),
        ("client encoding", Some(&source.encoding), declared.client_encoding.as_ref()),
    ] {
        differ(what.into(), format!("{live:?}"), format!("{ours:?}"));
    }
    out
}

/// Names as COPY lists them, with dots or commas between.
fn names(mut list: &str) -> Vec<String> {
    let mut out = Vec::new();
    while !list.is_empty() {
        if let Some(rest) = list.strip_prefix('"') {
            let end = rest.replace("\"\"", "  ").find('"').unwrap();
            out.push(rest[..end].replace("\"\"", "\""));
            list = &rest[end + 1..];
        } else {
            let end = list.find([',', '.']).unwrap_or(list.len());
            out.push(list[..end].to_owned());
            list = &list[end..];
        }
        list = list.trim_start_matches([',', '.', ' ']);
    }
    out
}

fn compare(server: &Server, database: &str) -> BTreeSet<String> {
    let dump = server.pg_dump(database, &["--schema-only", "--create"]);
    compare_with(server, database, &dump)
}

fn compare_with(server: &Server, database: &str, dump: &str) -> BTreeSet<String> {
    let catalog = catalog(server, database);
    let mut declared = declared(dump);
    let mut copies = 0;
    // The rows' COPY has the order of the columns.
    for line in server.pg_dump(database, &["--data-only"]).lines() {
        let head = line.strip_prefix("COPY ").and_then(|line| line.strip_suffix(") FROM stdin;"));
        let Some((table, columns)) = head.and_then(|head| head.split_once(" (")) else { continue };
        let [schema, table] = names(table).try_into().unwrap();
        declared.set_order(&Name::new(schema, table), &names(columns)).unwrap();
        copies += 1;
    }
    assert!(copies > 0);
    differences(&catalog, &declared)
}

/// The catalog of a database that the dump was run in, against what the dump declares: what it
/// cannot say of its source, it has to say of what comes of it.
fn replayed(server: &Server, database: &str) -> BTreeSet<String> {
    let target = server.database("replayed");
    let dump = server.pg_dump(database, &["--schema-only"]);
    server.psql(&target, &dump);
    let mut declared = declared(&dump);
    let catalog = catalog(server, &target);
    // Which database it is, is not in this dump.
    let source = catalog.source.clone();
    declared.database = Some(DatabaseFacts {
        name: source.database,
        encoding: Some(source.encoding),
        collate: Some(source.collate),
        ctype: Some(source.ctype),
        provider: source.locale_provider,
        locale: source.locale,
    });
    differences(&catalog, &declared)
}

const VERSIONS: [u32; 4] = [14, 15, 17, 18];

#[test]
fn the_shapes_of_tables() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("shapes");
        server.psql(&database, SHAPES);
        if major >= 15 {
            server.psql(&database, SHAPES_15);
        }
        if major >= 18 {
            server.psql(&database, SHAPES_18);
        }
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
    }
}

#[test]
fn every_type() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("types");
        server.psql(&database, TYPES);
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
        let database = server.database("types");
        server.load(&database, &root().join("fixtures/types/all-types.sql"));
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
    }
}

#[test]
fn every_object() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("objects");
        server.load(&database, &root().join("tests/support/every_object.sql"));
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
    }
}

/// The session of a dump is in a time zone of its own, and bounds have its times.
#[test]
fn what_is_hard_to_read() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("hard");
        server.load(&database, &root().join("tests/support/hard_ddl.sql"));
        let zone = format!("ALTER DATABASE \"{database}\" SET timezone = 'Asia/Phnom_Penh'");
        server.psql("postgres", &zone);
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
        let found = replayed(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
    }
}

/// Guards against what other options, and a newer `pg_dump`, make of the same schema.
#[test]
fn whatever_pg_dump_is_told() {
    for (major, dumper) in [(14, 14), (14, 18), (17, 18), (18, 18)] {
        let server = Server::shared(major);
        let database = server.database("options");
        server.load(&database, &root().join("tests/support/hard_ddl.sql"));
        let mut options = vec![
            vec!["--clean", "--if-exists", "--create"],
            vec!["--create", "--no-owner", "--no-privileges", "--quote-all-identifiers"],
            vec!["--create", "--section=pre-data", "--section=post-data", "--no-comments"],
        ];
        if dumper == 18 {
            options.push(vec!["--create", "--statistics", "--no-data"]);
        }
        for mut options in options {
            if !options.contains(&"--section=pre-data") && !options.contains(&"--no-data") {
                options.push("--schema-only");
            }
            let mut pg_dump = std::process::Command::new(bin_dir(dumper).join("pg_dump"));
            server.environment(&mut pg_dump).args(&options).arg(&database);
            let dump = crate::support::ok(&mut pg_dump).stdout;
            let mut found = compare_with(server, &database, &dump);
            if options.contains(&"--quote-all-identifiers") {
                // Which the server then does in expressions and types too.
                found.retain(|it| {
                    let plain = it.replace(['"', '\\'], "");
                    let values = plain.split_once(": ").unwrap().1;
                    let middle = values.len().saturating_sub(3) / 2;
                    values.get(..middle) != values.get(middle + 3..)
                });
            }
            assert!(found.is_empty(), "{dumper} of {major} with {options:?}: {found:#?}");
        }
    }
}

/// Guards against a database that a restore makes with another locale than it had. (The servers at
/// hand have no ICU: that is a unit test.)
#[test]
fn databases_of_every_provider() {
    for (major, options) in [
        (14, "LC_COLLATE 'C' LC_CTYPE 'POSIX' CONNECTION LIMIT 5"),
        (15, "LOCALE 'C' ENCODING 'SQL_ASCII'"),
        (17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_CTYPE 'C' ENCODING 'UTF8'"),
    ] {
        let server = Server::shared(major);
        let name = format!("a \"locale\" {}", options.len());
        let quoted = name.replace('"', "\"\"");
        server.psql(
            "postgres",
            &format!("CREATE DATABASE \"{quoted}\" TEMPLATE template0 {options}"),
        );
        server.psql(&name, "CREATE TABLE t (a text)");
        let found = compare(server, &name);
        assert!(found.is_empty(), "{major} {options}: {found:#?}");
    }
}

/// Guards against a sequence that stands elsewhere after a restore.
#[test]
fn values_of_sequences() {
    let server = Server::shared(17);
    let database = server.database("values");
    server.psql(&database, "
        CREATE SCHEMA \"S's\"; CREATE SEQUENCE \"S's\".\"q\"\"q'\\\" START 9 MINVALUE -5; CREATE SEQUENCE down INCREMENT -1;
        CREATE SEQUENCE up INCREMENT 5 START 3; CREATE TABLE t (a serial, b int GENERATED ALWAYS AS IDENTITY);
        SELECT nextval('down'), setval('\"S''s\".\"q\"\"q''\\\"', -3, false); INSERT INTO t VALUES (DEFAULT), (DEFAULT);");
    let whole = declared(&server.pg_dump(&database, &["--exclude-table-data=t"]));
    let shown = |found: Declared| -> Vec<String> {
        let sequences = found.sequences.into_iter().map(DeclaredSequence::into_sequence);
        sequences.map(|it| format!("{} {} {}", it.name, it.last_value, it.is_called)).collect()
    };
    let odd = "\"S's\".\"q\"\"q'\\\"";
    assert_eq!(
        shown(whole),
        [
            format!("{odd} -3 false"),
            "public.down -1 true".into(),
            "public.t_a_seq 2 true".into(),
            "public.t_b_seq 2 true".into(),
            "public.up 3 false".into(),
        ]
    );
    // Without its values, it stands where it begins.
    let schema = declared(&server.pg_dump(&database, &["--schema-only"]));
    assert_eq!(shown(schema)[..2], [format!("{odd} 9 false"), "public.down -1 false".into()]);
}

/// Databases of others, for `scripts/public-schemas.sh`: a folder each in `PGARK_SCHEMAS`, with a
/// `load.sql` for psql.
#[test]
#[ignore = "needs SQL from elsewhere; scripts/public-schemas.sh fetches it and runs this"]
fn given_schemas() {
    let given = std::env::var_os("PGARK_SCHEMAS").expect("PGARK_SCHEMAS names a folder");
    let mut failed = Vec::new();
    for folder in std::fs::read_dir(given).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut loaded = 0;
        for major in VERSIONS {
            let server = Server::shared(major);
            let database = server.database(&name);
            let mut psql = server.tool("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &database, "-f", "load.sql"]);
            if crate::support::run(psql.current_dir(&folder)).code != Some(0) {
                continue;
            }
            loaded += 1;
            let found = compare(server, &database);
            eprintln!("{name} on {major}: {} differences", found.len());
            if !found.is_empty() {
                failed.push(format!("{name} on {major}: {found:#?}"));
            }
        }
        assert!(loaded > 0, "{name} loads nowhere");
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

const UNSAID: &str = "
CREATE SCHEMA s;
CREATE TABLE s.parent (big text, small text, n numeric);
CREATE TABLE s.child (own int) INHERITS (s.parent);
CREATE TABLE s.adopted (n numeric, small text, big text);
ALTER TABLE s.adopted INHERIT s.parent;
ALTER TABLE ONLY s.parent ALTER big SET STORAGE EXTERNAL, ALTER n SET STORAGE EXTERNAL;
ALTER TABLE ONLY s.parent ALTER small SET COMPRESSION pglz;
CREATE TYPE s.z AS ENUM ();
CREATE TYPE s._z AS ENUM ();
CREATE TYPE s.b AS ENUM ();
CREATE TYPE s.a AS ENUM ();
CREATE TYPE s._a AS ENUM ();
ALTER TYPE s._z RENAME TO _b;
CREATE TABLE s.arrays (a s.a[], b s.b[], z s.z[]);
CREATE TABLE s.times (a timestamptz[] DEFAULT '{2020-01-01 00:00:00+00}');
CREATE EXTENSION citext SCHEMA s;
CREATE TABLE s.conf (id int, standard bool);
CREATE TABLE s.inner (id int);
CREATE SEQUENCE s.seq;
ALTER EXTENSION citext ADD TABLE s.conf;
ALTER EXTENSION citext ADD TABLE s.inner;
ALTER EXTENSION citext ADD SEQUENCE s.seq;
UPDATE pg_extension SET extconfig = ARRAY['s.conf'::regclass::oid], extcondition = ARRAY['WHERE NOT standard']
    WHERE extname = 'citext';
DROP SCHEMA public;
";

/// All that a dump does not say, so that we cannot know it; the list of the module's documentation.
/// Guards against one more that nobody has thought of, and against one less.
#[test]
fn what_a_dump_does_not_say() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("unsaid");
        server.psql(&database, UNSAID);
        let zone = format!("ALTER DATABASE \"{database}\" SET timezone = 'Asia/Phnom_Penh'");
        server.psql("postgres", &zone);
        let dump = server.pg_dump(&database, &["--schema-only", "--create"]);
        let found = differences(&catalog(server, &database), &declared(&dump));
        let mut what: Vec<&str> = found.iter().map(|it| it.split_once(": ").unwrap().0).collect();
        what.dedup();
        let expected = [
            // Columns of parents come first where the rows do not tell otherwise.
            "columns of s.adopted",
            // Tables and sequences of extensions that are no configuration; no schema public.
            "notes",
            // Storage and compression of columns that a child has from its parent: a server that
            // takes the dump back has the parent's too.
            "s.adopted.big",
            "s.adopted.n",
            "s.adopted.small lines",
            "s.adopted.small",
            // Names of arrays where other types had or have them: the order of making decides.
            "s.arrays.a",
            "s.arrays.b",
            "s.arrays.z",
            "s.child.big",
            "s.child.n",
            "s.child.small lines",
            "s.child.small",
            // The time zone of times within arrays, in a default.
            "s.times.a",
            // Configuration tables of extensions.
            "tables",
        ];
        assert_eq!(what, expected, "{major}: {found:#?}");
        let found: Vec<String> = replayed(server, &database).into_iter().collect();
        let only =
            found.first().is_some_and(|it| it.starts_with("s.times.a: ")) && found.len() == 1;
        assert!(only, "{major}: {found:#?}");
    }
}

#[test]
fn partitions_and_the_sample() {
    for major in VERSIONS {
        let server = Server::shared(major);
        let database = server.database("parts");
        server.psql(&database, super::partitions::SCHEMA);
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
        let database = server.database("sample");
        load_sample(server, &database);
        let found = compare(server, &database);
        assert!(found.is_empty(), "{major}: {found:#?}");
    }
}
