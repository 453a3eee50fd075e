//! Guards against a check of partitions that does not read bounds as servers write them: rows at the
//! very edge of every simple kind, which a server put where they are, must be right where they are.

use crate::PGARK;
use crate::support::{Server, ok};

pub(crate) const SCHEMA: &str = r#"
SET TimeZone = 'Asia/Phnom_Penh';
CREATE TABLE days (at date) PARTITION BY RANGE (at);
CREATE TABLE days_old PARTITION OF days FOR VALUES FROM (MINVALUE) TO ('0001-01-01');
CREATE TABLE days_new PARTITION OF days FOR VALUES FROM ('0001-01-01') TO ('infinity');
CREATE TABLE days_rest PARTITION OF days DEFAULT;
INSERT INTO days VALUES ('-infinity'), ('0044-03-15 BC'), ('0001-12-31 BC'), ('0001-01-01'),
    ('5874897-12-31'), ('infinity'), (NULL);

CREATE TABLE moments ("At" timestamptz) PARTITION BY RANGE ("At");
CREATE TABLE moments_1 PARTITION OF moments FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
CREATE TABLE moments_2 PARTITION OF moments FOR VALUES FROM ('2024-01-02') TO (MAXVALUE);
INSERT INTO moments VALUES ('2024-01-01'), ('2024-01-01 23:59:59.999999'), ('2024-01-02'),
    ('2024-01-02 00:00:00.1'), ('infinity');

CREATE TABLE numbers (n numeric) PARTITION BY RANGE (n);
CREATE TABLE numbers_1 PARTITION OF numbers FOR VALUES FROM (-10.50) TO (0);
CREATE TABLE numbers_2 PARTITION OF numbers FOR VALUES FROM (0) TO (MAXVALUE);
INSERT INTO numbers VALUES (-10.5), (-10.499), (-0.001), (-0.0), (1e20), ('NaN');

CREATE TABLE pairs (b int8, a int4) PARTITION BY RANGE (a, b);
CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES FROM (MINVALUE, MINVALUE) TO (-5, 10);
CREATE TABLE pairs_2 PARTITION OF pairs FOR VALUES FROM (-5, 10) TO (7, MAXVALUE);
CREATE TABLE pairs_3 PARTITION OF pairs FOR VALUES FROM (7, MAXVALUE) TO (MAXVALUE, MAXVALUE);
INSERT INTO pairs (a, b) VALUES (-6, 99), (-5, 9), (-5, 10), (0, -1), (7, 9e18), (8, -1);

CREATE TABLE words (w varchar(20), day date) PARTITION BY LIST (w);
CREATE TABLE words_1 PARTITION OF words FOR VALUES IN ('it''s', E'back\\slash', NULL, '');
CREATE TABLE words_2 PARTITION OF words FOR VALUES IN ('a, b', ')', 'ខ្មែរ', 'NULL')
    PARTITION BY RANGE (day);
CREATE TABLE words_2_old PARTITION OF words_2 FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE words_2_new PARTITION OF words_2 DEFAULT;
CREATE TABLE words_rest PARTITION OF words DEFAULT;
INSERT INTO words (w) VALUES ('it''s'), (E'back\\slash'), (NULL), (''), ('null'), ('its');
INSERT INTO words VALUES ('a, b', '2019-12-31'), (')', '2020-01-01'), ('ខ្មែរ', NULL),
    ('NULL', '2000-01-01');

CREATE TABLE flags (f boolean) PARTITION BY LIST (f);
CREATE TABLE flags_yes PARTITION OF flags FOR VALUES IN (true);
CREATE TABLE flags_no PARTITION OF flags FOR VALUES IN (false, NULL);
INSERT INTO flags VALUES (true), (false), (NULL);

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE moods (m mood, u uuid) PARTITION BY LIST (m);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES IN ('sad');
CREATE TABLE moods_2 PARTITION OF moods FOR VALUES IN ('ok') PARTITION BY RANGE (u);
CREATE TABLE moods_2_1 PARTITION OF moods_2
    FOR VALUES FROM (MINVALUE) TO ('80000000-0000-0000-0000-000000000000');
CREATE TABLE moods_2_2 PARTITION OF moods_2
    FOR VALUES FROM ('80000000-0000-0000-0000-000000000000') TO (MAXVALUE);
INSERT INTO moods VALUES ('sad', NULL), ('ok', '7fffffff-ffff-ffff-ffff-ffffffffffff'),
    ('ok', '80000000-0000-0000-0000-000000000000');
"#;

const OF_THE_SERVER: &str = r"
CREATE TABLE hashed (id int) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT generate_series(1, 20);
CREATE TABLE lower (w text) PARTITION BY LIST (lower(w));
CREATE TABLE lower_a PARTITION OF lower FOR VALUES IN ('a');
INSERT INTO lower VALUES ('A');
CREATE TABLE sorted (w text) PARTITION BY RANGE (w);
CREATE TABLE sorted_all PARTITION OF sorted FOR VALUES FROM ('a') TO ('z');
INSERT INTO sorted VALUES ('b');
";

/// Codes and tables of all findings.
fn told(server: &Server, database: &str) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parts.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(database), "-o"]).arg(&file));
    let json = ok(server.pgark(PGARK).args(["verify", "--json"]).arg(&file)).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let mut told: Vec<_> =
        findings.iter().map(|one| (text(&one["code"]), text(&one["table"]))).collect();
    told.sort();
    told
}

#[test]
fn rows_are_where_a_server_put_them() {
    for major in [14, 18] {
        let server = Server::shared(major);
        let simple = server.database("parts");
        server.psql_bytes(&simple, SCHEMA.as_bytes());
        assert_eq!(told(server, &simple), [], "server {major}");

        let open = server.database("parts");
        server.psql_bytes(&open, OF_THE_SERVER.as_bytes());
        let tables = ["public.hashed", "public.lower", "public.sorted"];
        let notes = tables.map(|table| ("N606".to_owned(), table.to_owned()));
        assert_eq!(told(server, &open), notes, "server {major}");
    }
}

/// A row that a server itself holds in the wrong partition: the bound was changed under it.
#[test]
fn a_row_in_the_wrong_partition() {
    let server = Server::shared(17);
    let database = server.database("parts");
    server.psql_bytes(
        &database,
        b"CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
        CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20);
        INSERT INTO t VALUES (5), (15);
        UPDATE pg_class SET relpartbound = (SELECT relpartbound FROM pg_class WHERE relname = 't_1')
            WHERE relname = 't_2';",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("parts.pgark");
    let made = crate::support::run(
        server.pgark(PGARK).args(["create", &server.url(&database), "-o"]).arg(&file),
    );
    assert_eq!(made.code, Some(1), "{}", made.stderr);
    let said = crate::support::run(server.pgark(PGARK).arg("verify").arg(&file));
    assert_eq!(said.code, Some(1));
    for words in ["E612", "public.t_2", "id = 15", "FOR VALUES FROM (0) TO (10)"] {
        assert!(
            said.stdout.contains(words) || said.stderr.contains(words),
            "{words}: {}",
            said.stdout
        );
    }
}
