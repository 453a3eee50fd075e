//! What no server at hand writes any more, what is refused, and hostile input. Dumps of servers 14
//! to 18 are compared with their databases in tests/suite/ddl.rs.

use proptest::prelude::*;

use super::*;
use crate::format::manifest::{Match, Name, TableKind, TypeKind};

fn declare(sql: &str) -> Result<Declared, DdlError> {
    let mut found = Declarations::new();
    for piece in statements(sql) {
        if let Piece::Statement(statement) = piece? {
            found.statement(statement)?;
        }
    }
    found.finish()
}

fn name(name: &str) -> Name {
    Name::new("public", name)
}

/// As `pg_dump` 9.6 wrote before the search path was emptied (2018), identity and partitions not
/// yet there, and with a view that is a table first.
const OLD: &str = include_str!("old_dump.sql");

/// Guards against a dump of a server before 2018 being refused, or read into wrong schemas.
#[test]
fn a_dump_with_a_search_path() {
    let found = declare(OLD).unwrap();
    let database = found.database.unwrap();
    assert_eq!((database.name.as_str(), database.provider.as_str()), ("shop", "libc"));
    assert_eq!(database.collate.as_deref(), Some("km_KH"));
    assert_eq!(database.ctype.as_deref(), Some("C"));
    assert_eq!(found.client_encoding.as_deref(), Some("LATIN1"));
    let tables: Vec<String> = found.tables.iter().map(|table| table.name.to_string()).collect();
    assert_eq!(tables, ["\"Other s\".items", "public.items", "public.with_oids"]);
    assert_eq!(found.enums[0].labels, ["sad\\", "o'k"]);
    let items = &found.tables[1];
    let types: Vec<&str> = items.columns.iter().map(|column| column.sql_type.as_str()).collect();
    assert_eq!(
        types,
        [
            "integer",
            "public.mood",
            "public.mood[]",
            "public.code",
            "public.temps",
            "public.geometry(Point,4326)",
            "text"
        ]
    );
    assert_eq!(items.columns[2].base.name, name("_mood"));
    assert_eq!((items.columns[3].not_null, items.columns[3].typmod), (true, Some(11)));
    assert_eq!(items.columns[4].base.kind, TypeKind::Range);
    assert_eq!(items.columns[6].collation.as_ref().unwrap().name, Name::new("pg_catalog", "C"));
    assert_eq!(items.unique[0].name, "items_name");
    assert_eq!(found.tables[0].columns[1].base.name, name("mood"));
    assert_eq!(found.foreign_keys[0].references, name("items"));
    assert_eq!(found.foreign_keys[0].table, Name::new("Other s", "items"));
    assert_eq!(found.foreign_keys[0].match_type, Match::Full);
    let sequence = &found.sequences[0];
    assert_eq!(sequence.value, Some((41, true)));
    assert_eq!(sequence.owned_by.as_ref().unwrap().table, name("items"));
    let notes = found.notes.join("\n");
    assert!(notes.contains("table public.with_oids has OIDs"), "{notes}");
    assert!(notes.contains("type public.geometry is an extension's"), "{notes}");
    assert_eq!(found.notes.len(), 2, "{notes}");
}

/// Version 10 made partitions in one statement.
#[test]
fn partitions_in_one_statement() {
    let found = declare(
        "SELECT pg_catalog.set_config('search_path', '', false);
        CREATE TABLE public.p (id integer NOT NULL, at date DEFAULT now(), CONSTRAINT c CHECK (id > 0))
        PARTITION BY RANGE (at);
        CREATE TABLE public.p1 PARTITION OF public.p (
            at DEFAULT '2017-01-01'::date NOT NULL,
            CONSTRAINT own CHECK (id < 9)
        )
        FOR VALUES FROM ('2017-01-01') TO (MAXVALUE);
        CREATE TABLE public.p2 PARTITION OF public.p
        FOR VALUES FROM (MINVALUE) TO ('2017-01-01');
        ALTER TABLE ONLY public.p2 ADD CONSTRAINT p2_pkey PRIMARY KEY (id);",
    )
    .unwrap();
    let [p, p1, p2] = found.tables.as_slice() else { panic!() };
    assert_eq!((p.kind, p1.kind), (TableKind::Partitioned, TableKind::Plain));
    assert_eq!(p1.partition_of, Some(name("p")));
    assert_eq!(p1.partition_bound.as_deref(), Some("FOR VALUES FROM ('2017-01-01') TO (MAXVALUE)"));
    let checks: Vec<&str> = p1.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(checks, ["c", "own"]);
    assert_eq!(p1.columns[1].default.as_deref(), Some("'2017-01-01'::date"));
    assert!(p1.columns[1].not_null && !p2.columns[1].not_null && p2.primary_key.is_some());
    assert_eq!(p2.columns[1].default.as_deref(), Some("now()"));
}

/// Guards against something that matters being passed over: each is an error that names it.
#[test]
fn what_is_not_understood_is_named() {
    let head = "CREATE TABLE s.t (id integer); CREATE SEQUENCE s.q; CREATE TYPE s.e AS ENUM ('a');";
    for (sql, words) in [
        ("CREATE TABLE s.t (id integer);", "table s.t is declared twice"),
        ("CREATE TYPE s.e AS ENUM ();", "type s.e is declared twice"),
        ("CREATE SEQUENCE s.q;", "sequence s.q is declared twice"),
        (
            "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE u (id integer);",
            "u has no schema, and search_path is empty",
        ),
        ("CREATE TABLE s.u (id s.nothing);", "type s.nothing is not declared before"),
        ("CREATE TABLE s.u (id text COLLATE s.nothing);", "collation s.nothing is not declared"),
        ("CREATE TABLE s.u (id integer) INHERITS (s.nothing);", "table s.nothing is not declared"),
        ("CREATE TABLE s.u OF s.nothing;", "composite type s.nothing is not declared"),
        ("CREATE TABLE s.u (LIKE s.t);", "is not understood"),
        ("CREATE TABLE s.u (id integer) FROBNICATE;", "\"FROBNICATE\" where the end is expected"),
        ("CREATE TABLE s.u AS SELECT 1;", "is not understood"),
        ("CREATE TEMPORARY TABLE s.u (id integer);", "\"TEMPORARY\" where what pg_dump creates"),
        ("CREATE HOLOGRAM s.h;", "\"HOLOGRAM\" where what pg_dump creates is expected"),
        ("ALTER TABLE s.nothing ADD CONSTRAINT c CHECK (true);", "table s.nothing is not declared"),
        ("ALTER TABLE s.t ALTER COLUMN no SET NOT NULL;", "column no of s.t is not declared"),
        ("ALTER TABLE s.t ADD COLUMN x integer;", "\"COLUMN\" where CONSTRAINT with a name"),
        ("ALTER TABLE s.t DROP COLUMN id;", "\"DROP\" where what pg_dump writes"),
        ("ALTER TABLE s.t ALTER COLUMN id TYPE text;", "\"TYPE\" where what pg_dump writes"),
        ("ALTER TABLE s.t RENAME TO u;", "\"RENAME\" where what pg_dump writes"),
        ("ALTER TABLE s.t ADD CONSTRAINT p PRIMARY KEY (no);", "column no of s.t is not declared"),
        (
            "ALTER TABLE s.t ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES s.t(id) MATCH PARTIAL;",
            "\"MATCH\" where the end is expected",
        ),
        (
            "ALTER TABLE s.t ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES s.t(id, id);",
            "more columns on one side",
        ),
        ("CREATE UNIQUE INDEX i ON s.nothing (id);", "table s.nothing is not declared"),
        ("CREATE UNIQUE INDEX i ON s.t (no);", "column no of s.t is not declared"),
        ("ALTER INDEX s.i ATTACH PARTITION s.j;", "index s.i is not declared"),
        ("ALTER SEQUENCE s.q OWNED BY s.t.no;", "column no of s.t is not declared"),
        ("ALTER SEQUENCE s.q RESTART;", "\"RESTART\" where"),
        ("ALTER TYPE s.e ADD VALUE 'b';", "where OWNER TO is expected"),
        ("SELECT pg_catalog.setval('s.nothing', 1, true);", "sequence s.nothing is not declared"),
        ("SELECT pg_catalog.lo_create('5');", "where setval or set_config is expected"),
        ("COPY s.t (id) FROM stdin;", "\"COPY\" where a statement of pg_dump"),
        ("INSERT INTO s.t VALUES (1);", "\"INSERT\" where a statement of pg_dump"),
        ("DROP TABLE s.t;", "\"DROP\" where a statement of pg_dump"),
        ("UPDATE pg_class SET relname = 'x';", "\"UPDATE\" where"),
        ("CREATE TABLE s.u (id integer", "the SQL ends within a statement"),
    ] {
        let error = declare(&format!("{head}{sql}")).unwrap_err().to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
    // Before anything is declared: `pg_dump --clean`.
    declare(
        "ALTER TABLE IF EXISTS ONLY s.t DROP CONSTRAINT IF EXISTS c;
        ALTER TABLE IF EXISTS s.t ALTER COLUMN id DROP DEFAULT;
        DROP TABLE IF EXISTS s.t;
        CREATE OR REPLACE VIEW s.v AS SELECT NULL::integer AS a;
        DROP SEQUENCE IF EXISTS s.q;
        CREATE VIEW s.v AS SELECT NULL::integer AS a;
        CREATE OR REPLACE VIEW s.v AS SELECT 1 AS a;",
    )
    .unwrap();
}

/// As servers with ICU write it; those that the tests run have none.
#[test]
fn what_icu_adds() {
    let found = declare(
        "CREATE DATABASE \"a b\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu \
         LOCALE = 'C' ICU_LOCALE = 'de-DE' ICU_RULES = '&a < g' TABLESPACE = fast CONNECTION LIMIT = 5 \
         IS_TEMPLATE = true;
        CREATE COLLATION s.no_case (provider = icu, deterministic = false, locale = 'und-u-ks-level2');
        CREATE COLLATION s.exact (provider = icu, locale = 'und');
        CREATE DOMAIN s.d AS text COLLATE s.no_case;
        CREATE TABLE s.t (a text COLLATE s.no_case, b text COLLATE s.exact, c s.d[],
            d text COLLATE pg_catalog.\"und-x-icu\", e text COLLATE \"default\");",
    )
    .unwrap();
    let database = found.database.unwrap();
    assert_eq!((database.name.as_str(), database.provider.as_str()), ("a b", "icu"));
    assert_eq!(database.locale.as_deref(), Some("de-DE"));
    assert_eq!(database.ctype.as_deref(), Some("C"));
    let collations: Vec<String> = (found.tables[0].columns.iter())
        .map(|column| column.collation.as_ref().unwrap())
        .map(|collation| format!("{} {}", collation.name, collation.deterministic))
        .collect();
    assert_eq!(
        collations,
        [
            "s.no_case false",
            "s.exact true",
            "s.no_case false",
            "pg_catalog.\"und-x-icu\" true",
            "pg_catalog.\"default\" true"
        ]
        .map(|it| it.replace("\"default\"", "default"))
    );
}

/// Guards against a foreign key to rows that are elsewhere being lost in silence.
#[test]
fn references_to_what_is_not_there_are_told() {
    let found = declare(
        "CREATE TABLE s.t (id integer);
        ALTER TABLE ONLY s.t ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES ext.t(id);",
    )
    .unwrap();
    assert!(found.foreign_keys.is_empty());
    let told = "foreign key f of s.t is not checked in the archive: the rows it refers to are not \
                in the archive";
    assert_eq!(found.notes, [told]);
}

/// Guards against settings of a role in the database being lost in silence.
#[test]
fn settings_of_roles_are_told() {
    for sql in [
        "ALTER ROLE me IN DATABASE shop SET work_mem TO '1MB';",
        "ALTER DATABASE shop SET \"TimeZone\" TO 'UTC';",
    ] {
        assert_eq!(declare(sql).unwrap().notes.len(), 1, "{sql}");
    }
    for sql in
        ["ALTER DATABASE shop OWNER TO me;", "ALTER USER MAPPING FOR me SERVER s OPTIONS (a 'b');"]
    {
        assert!(declare(sql).unwrap().notes.is_empty(), "{sql}");
    }
}

/// Guards against an order of columns that is not the rows'.
#[test]
fn the_order_of_rows() {
    let mut found = declare(
        "CREATE TABLE s.p (a integer, g integer GENERATED ALWAYS AS (a) STORED);
        CREATE TABLE s.t (b text) INHERITS (s.p);",
    )
    .unwrap();
    let (table, order) = (Name::new("s", "t"), |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    });
    let columns = |found: &Declared| -> Vec<String> {
        found.tables[1].columns.iter().map(|column| column.name.clone()).collect()
    };
    found.set_order(&table, &order(&["a", "b"])).unwrap();
    assert_eq!(columns(&found), ["a", "g", "b"]);
    found.set_order(&table, &order(&["b", "a"])).unwrap();
    assert_eq!(columns(&found), ["b", "a", "g"]);
    for wrong in [&["b"][..], &["b", "a", "g"], &["b", "a", "a"], &["b", "c"], &[]] {
        let mut found = found.clone();
        let error = found.set_order(&table, &order(wrong)).unwrap_err().to_string();
        assert!(error.contains("of s.t is not declared before \"the rows of s.t\""), "{error}");
    }
    assert!(found.set_order(&Name::new("s", "u"), &[]).is_err());
}

/// Guards against what every dump says twice being read in one place alone.
#[test]
fn what_follows_from_something_else() {
    let found = declare(
        "CREATE TYPE s.a_range AS RANGE (subtype = text); CREATE TYPE s.span AS RANGE (subtype = text);
        CREATE TABLE s.a (k integer, m s.a_multirange, n s.span_multirange, d integer DEFAULT 1);
        CREATE TABLE s.b (d integer DEFAULT 2);
        CREATE TABLE s.c (own integer) INHERITS (s.a, s.b);
        CREATE TABLE s.e () INHERITS (s.b, s.b);
        ALTER TABLE ONLY s.a ADD CONSTRAINT p PRIMARY KEY (k);
        ALTER TABLE s.b ADD CONSTRAINT here CHECK (d > 0) NO INHERIT;
        ALTER TABLE s.b ADD CONSTRAINT all_of_them CHECK (d > 1) NOT VALID;
        ALTER TABLE ONLY s.b ADD CONSTRAINT alone CHECK (d > 2);
        CREATE SEQUENCE s.down INCREMENT BY -2 MINVALUE -9 MAXVALUE 7;
        CREATE SEQUENCE s.up MINVALUE 3;",
    )
    .unwrap();
    let [a, _, c, e] = found.tables.as_slice() else { panic!() };
    assert!(a.columns[0].not_null && !c.columns[0].not_null);
    assert_eq!(a.columns[2].base.kind, TypeKind::Multirange);
    // Parents that do not agree.
    assert_eq!(c.columns[3].default, None);
    assert_eq!(e.columns[0].default.as_deref(), Some("2"));
    let checks: Vec<(&str, bool)> =
        c.checks.iter().map(|check| (check.name.as_str(), check.validated)).collect();
    assert_eq!(checks, [("all_of_them", false)]);
    let starts: Vec<i64> = found.sequences.iter().map(|sequence| sequence.start).collect();
    assert_eq!(starts, [7, 3]);
}

/// Guards against names and values in the right place by chance.
#[test]
fn versions_in_comments() {
    for (comment, identity) in [
        ("-- Dumped from database version 16.15 (Debian 16.15-1)\n", false),
        ("-- Dumped from database version 17.0\n", true),
        ("-- Dumped from database version 9.6.24\n", false),
        ("-- Dumped from database version 18beta1\n", true),
        ("", true),
    ] {
        let sql = format!(
            "{comment}CREATE TABLE s.p (id integer NOT NULL) PARTITION BY LIST (id);
            ALTER TABLE s.p ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s.q START WITH 1);
            CREATE TABLE s.p1 (id integer NOT NULL);
            ALTER TABLE ONLY s.p ATTACH PARTITION s.p1 FOR VALUES IN (1);"
        );
        let found = declare(&sql).unwrap();
        assert!(found.tables[0].columns[0].identity);
        assert_eq!(found.tables[1].columns[0].identity, identity, "{comment}");
    }
}

/// Guards against depth costing memory, and against rings that end never.
#[test]
fn deep_and_in_rings() {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(1 << 18), close.repeat(1 << 18));
        declare(&format!(
            "CREATE TABLE s.t (a integer DEFAULT {open}1{close} NOT NULL, CONSTRAINT c CHECK ({open}a{close}));
            CREATE UNIQUE INDEX i ON s.t (({open}a{close})) WHERE {open}a{close};"
        ))
        .unwrap()
    };
    assert!(deep("(", ")").tables[0].columns[0].not_null);
    deep("ARRAY[", "]");
    // More closed than open.
    assert!(declare("CREATE TABLE s.t (a integer DEFAULT (1)));").is_err());
    let mut ring = String::from("CREATE TABLE s.a (i integer); CREATE TABLE s.b (i integer);");
    ring.push_str(
        "ALTER TABLE s.a INHERIT s.b; ALTER TABLE s.b INHERIT s.a; ALTER TABLE s.a INHERIT s.a;",
    );
    ring.push_str("ALTER TABLE s.a ADD CONSTRAINT c CHECK (i > 0);");
    assert_eq!(declare(&ring).unwrap().tables[1].checks.len(), 1);
    let domains: String = (0..2000)
        .map(|n| format!("CREATE DOMAIN s.d{} AS s.d{n};", n + 1))
        .collect::<Vec<_>>()
        .concat();
    let found = declare(&format!(
        "CREATE DOMAIN s.d0 AS numeric(3,1) NOT NULL; {domains} CREATE TABLE s.t (a s.d2000);"
    ))
    .unwrap();
    let column = &found.tables[0].columns[0];
    assert_eq!((column.typmod, column.not_null), (Some((3 << 16 | 1) + 4), true));
}

/// What statements are made of, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let fragments = [
        "CREATE ",
        "TABLE ",
        "ALTER ",
        "ONLY ",
        "s.t ",
        "s.u ",
        "(",
        ")",
        ",",
        ";",
        "integer ",
        "text ",
        "character varying(",
        "interval day to ",
        "numeric(",
        "-1",
        "9999999999999999999",
        "'a' ",
        "'",
        "\"",
        "$$",
        "E'\\",
        "NOT NULL ",
        "DEFAULT ",
        "CONSTRAINT ",
        "CHECK ",
        "PRIMARY KEY ",
        "FOREIGN KEY ",
        "REFERENCES ",
        "INHERITS ",
        "PARTITION OF ",
        "PARTITION BY RANGE ",
        "FOR VALUES ",
        "FROM ",
        "TO ",
        "IN ",
        "TYPE ",
        "AS ENUM ",
        "AS RANGE ",
        "DOMAIN ",
        "COLLATE ",
        "UNIQUE INDEX ",
        "ON ",
        "USING btree ",
        "ATTACH PARTITION ",
        "SEQUENCE ",
        "INCREMENT BY ",
        "OWNED BY ",
        "DATABASE ",
        "ENCODING = ",
        "SET ",
        "search_path = ",
        "SELECT pg_catalog.setval(",
        "COLUMN ",
        "ADD ",
        "GENERATED ALWAYS AS IDENTITY ",
        "STORED ",
        "[]",
        "[",
        ".",
        "::",
        "a ",
        "EXTENSION ",
        "x ",
        "é",
        "\n",
        "--",
        "/*",
        "OF ",
        "NULL ",
        "WITH ",
        "ខ្មែរ",
    ];
    proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..40)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    /// Guards against a panic and a loop without end.
    #[test]
    fn any_statement(parts in proptest::collection::vec(hostile(), 0..4)) {
        let mut found = Declarations::new();
        for part in &parts {
            let _ = found.statement(part);
        }
        let _ = found.finish();
        let _ = declare(&parts.concat());
    }

    /// The same for what is nearly a dump.
    #[test]
    fn any_change_of_a_dump(at in 0..OLD.len(), length in 0_usize..40, by in hostile()) {
        let (mut start, mut end) = (at, (at + length).min(OLD.len()));
        while !OLD.is_char_boundary(start) { start -= 1; }
        while !OLD.is_char_boundary(end) { end += 1; }
        let changed = format!("{}{by}{}", &OLD[..start], &OLD[end..]);
        let _ = declare(&changed);
    }
}
