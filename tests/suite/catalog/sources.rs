//! What databases of these tests, and of those of `ddl`, are made of.

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

pub(crate) const LARGE: &str = "
CREATE TABLE big (id int, a bytea, t text, b bytea);
ALTER TABLE big ALTER a SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, '\\x01', 'one', NULL);
INSERT INTO big SELECT 2, decode(repeat('0123456789abcdef', 5242880), 'hex'), E'two\\t', decode('ff', 'hex');
INSERT INTO big VALUES (3, NULL, NULL, '\\x');
INSERT INTO big SELECT 4, decode(repeat('00', 20000000), 'hex'), 'four', decode(repeat('01', 15000000), 'hex');
SELECT lo_from_bytea(1000, '\\x00ff'); SELECT lo_from_bytea(2000, decode(repeat('ab', 70000), 'hex'));
SELECT lo_create(3000); COMMENT ON LARGE OBJECT 1000 IS 'it''s'; GRANT SELECT ON LARGE OBJECT 1000 TO PUBLIC;";

/// Every kind of object whose owner, privileges or settings are not in its definition.
pub(crate) const OBJECTS: &str = r#"
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
