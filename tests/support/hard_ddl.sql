-- Declarations in the shapes that are hard to read back from a dump: type modifiers, names that are
-- key words or hold what SQL is made of, expressions with words in them that end others, children,
-- keys that are none. For psql, into an empty UTF8 database; what tests/suite/ddl.rs compares.
\set QUIET on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 150000 AS v15,
       current_setting('server_version_num')::int >= 170000 AS v17,
       current_setting('server_version_num')::int >= 180000 AS v18 \gset
SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS icu \gset
SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) AS lz4 \gset

CREATE SCHEMA h;
CREATE SCHEMA "H.i ""j"";--'$$";
CREATE SCHEMA x;
CREATE EXTENSION citext SCHEMA x;
CREATE EXTENSION hstore SCHEMA x;
CREATE EXTENSION cube SCHEMA x;
CREATE EXTENSION earthdistance SCHEMA x;
CREATE EXTENSION ltree SCHEMA x;
CREATE EXTENSION isn SCHEMA x;
CREATE EXTENSION seg SCHEMA x;
CREATE EXTENSION lo SCHEMA x;
CREATE EXTENSION intarray SCHEMA x;
CREATE TABLE h.of_extensions (a x.citext, b x.citext[], c x.hstore, d x.cube, e x.earth, f x.ltree[], g x.lquery,
    h x.isbn13, i x.seg, j x.lo, k x.query_int, l x.lo[], m x.earth[]);

-- Type modifiers.
CREATE TABLE h.modified (c0 char, c1 char(1), c9 char(9), cc char(3)[], bp bpchar, v varchar, v9 varchar(9), va varchar(9)[],
    b bit, b3 bit(3), ba bit(3)[], vb bit varying, vb5 bit varying(5), "bit" "bit", "char" "char", "chars" "char"[],
    n numeric, n5 numeric(5), n52 numeric(5,2), n55 numeric(1000,1000), na numeric(9,3)[],
    t time, t0 time(0), tz time with time zone, tz6 time(6) with time zone, s timestamp, s3 timestamp(3), sz timestamptz, sz2 timestamptz(2), sa timestamptz(1)[],
    i interval, i2 interval(2), iy interval year, iym interval year to month, im interval month, id interval day, idh interval day to hour,
    idm interval day to minute, ids interval day to second, ids3 interval day to second(3), ih interval hour, ihm interval hour to minute,
    ihs interval hour to second(0), imi interval minute, ims interval minute to second(5), ise interval second, ise6 interval second(6), ia interval day to second(3)[],
    d date, u uuid, nm name, names name[], oids oidvector, ints int2vector, pt point, pts point[], js jsonb, j json, xm xml, tv tsvector,
    it information_schema.sql_identifier, yn information_schema.yes_or_no, cn information_schema.cardinal_number, row_of pg_catalog.pg_database);
\if :v15
ALTER TABLE h.modified ADD n_2 numeric(3,-2), ADD n57 numeric(5,7);
\endif

-- Names.
CREATE TYPE h."integer" AS ENUM ('int''s', E'back\\slash', 'a,b)', '$$', '');
CREATE TYPE h."time" AS (a int, "time zone" h."integer");
CREATE TYPE h."[]" AS ENUM ('x');
CREATE TABLE h.names ("constraint" int CONSTRAINT "check" CHECK ("constraint" > 0), "not" text, "null" text NOT NULL, "default" h."integer" DEFAULT 'a,b)', "primary" h."time",
    "Period" int, period int, "desc" int, "a.b" int, "a""b" int, "a,b" int, "(" int, ")" int, "'" int, "--" int, "/*" int, "$$" int, "$a$" int, "\" int, "with" int, "check" int, ";" int,
    "ខ្មែរ" text, "references" text, time_1 h."time"[], "integers" h."integer"[], brackets h."[]", bracketed h."[]"[]);
CREATE UNIQUE INDEX "by ""desc"" (x)" ON h.names ("desc" DESC, period, "Period" NULLS FIRST);
CREATE TABLE "H.i ""j"";--'$$"."t.""u"";--'$$" ("id" int PRIMARY KEY);
CREATE TABLE h.to_odd (id int REFERENCES "H.i ""j"";--'$$"."t.""u"";--'$$");
CREATE TABLE h.twelve45678901234567890123456789012345678901234567890123456789xyz (a int UNIQUE, b int);
CREATE TABLE x.names (id serial PRIMARY KEY, other int REFERENCES x.names);
-- Arrays whose names are taken.
CREATE TYPE h._taken AS ENUM ('a');
CREATE TYPE h.taken AS ENUM ('b');
CREATE TYPE h.later AS ENUM ('b');
CREATE TABLE h._later (a h.later[], b h.taken[], c h._taken[]);
CREATE TABLE h.of_rows (a h._later, b h._later[], c h.names[]);
CREATE VIEW h.a_view AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW h.a_matview AS SELECT 1 AS one;
CREATE UNIQUE INDEX a_matview_one ON h.a_matview (one);
CREATE TABLE h.of_views (a h.a_view, b h.a_matview[]);

-- Domains and collations.
CREATE COLLATION h.posix (provider = libc, locale = 'POSIX');
CREATE DOMAIN h.d_text AS text COLLATE h.posix DEFAULT 'it''s, (' NOT NULL CONSTRAINT "not null" CHECK (VALUE <> 'CHECK') CHECK (VALUE IS NOT NULL);
CREATE DOMAIN h.d_d AS h.d_text;
CREATE DOMAIN h.d_num AS numeric(7,2);
CREATE DOMAIN h.d_nums AS h.d_num[];
CREATE DOMAIN h.d_deep AS h.d_nums CHECK (cardinality(VALUE) < 10);
CREATE DOMAIN h.d_bytes AS bytea NOT NULL;
CREATE DOMAIN h.d_enum AS h."integer";
CREATE DOMAIN h.d_array_enum AS h."integer"[] DEFAULT '{}';
CREATE DOMAIN h.d_comp AS h."time";
CREATE TYPE h.fields AS (a varchar(3) COLLATE h.posix, b h.d_text, c h.d_num[]);
CREATE TABLE h.domains (a h.d_text, b h.d_d, c h.d_d[], d h.d_num, e h.d_nums, f h.d_deep, g h.d_deep[], h h.d_bytes, i h.d_bytes[], j h.d_enum, k h.d_array_enum, l h.d_comp,
    m h.d_text COLLATE "C", n text COLLATE "C", o text[] COLLATE h.posix, p h.fields, q varchar(5) COLLATE "POSIX");
CREATE TABLE h.typed OF h.fields (a WITH OPTIONS DEFAULT 'a, b' NOT NULL, c DEFAULT NULL, PRIMARY KEY (a), CONSTRAINT few CHECK (cardinality(c) < 5));
CREATE TYPE h.spans AS RANGE (subtype = h.d_num);
CREATE TYPE h.a_range AS RANGE (subtype = text, collation = "C", subtype_opclass = text_pattern_ops);
CREATE TABLE h.ranges (a h.spans, b h.spans[], c h.a_range, d int4range, e int4multirange[], f h.a_multirange, g h.spans_multirange[]);
\if :icu
CREATE COLLATION h.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN h.d_no_case AS text COLLATE h.no_case;
CREATE TABLE h.cases (a text COLLATE h.no_case PRIMARY KEY, b h.d_no_case UNIQUE, c h.d_no_case[], d text COLLATE "und-x-icu");
\endif

-- Expressions.
CREATE FUNCTION h.f(a int DEFAULT 1, b text[] DEFAULT '{}') RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1; $$;
CREATE FUNCTION h.atomic(a int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN (SELECT 1) ELSE 2 END; SELECT 2; END;
CREATE PROCEDURE h.p(INOUT a int) LANGUAGE sql BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; END;
CREATE TABLE h.expressions (
    a bool DEFAULT (NOT (true AND 1 IS NOT NULL)) NOT NULL,
    b text DEFAULT ('NOT NULL, CHECK (' || ('x' COLLATE "C")),
    c int DEFAULT CASE WHEN 1 > 2 AND NOT true THEN 1 ELSE h.f(a => 2) END,
    d int[] DEFAULT ARRAY[1, 2, (3)]::int[],
    e text DEFAULT NULL::text,
    f text NULL DEFAULT E'\\''"$$;--/*',
    g jsonb DEFAULT '{"a": [1, 2]}',
    h timestamp DEFAULT (now() AT TIME ZONE 'UTC'),
    i timestamptz DEFAULT CURRENT_TIMESTAMP CHECK (i > '2000-01-01' AND NOT isfinite(i) IS NULL),
    j text DEFAULT CURRENT_USER NOT NULL,
    k int DEFAULT (ARRAY[1, 2])[1],
    l h."time" DEFAULT ROW(1, 'a,b)'),
    m int GENERATED ALWAYS AS (CASE WHEN c > 1 THEN c ELSE h.atomic(c) END) STORED NOT NULL,
    n text COLLATE "C" DEFAULT 'x' NOT NULL CONSTRAINT "n's" CHECK (n <> 'a;b' AND n ~ '^\w+$'),
    o interval DEFAULT '1 day 02:03:04',
    p bytea DEFAULT '\xdeadbeef',
    q bit(3) DEFAULT B'101',
    r numeric DEFAULT -1.5e-3,
    s "char" DEFAULT 'a',
    t uuid DEFAULT gen_random_uuid(),
    u int DEFAULT (-1),
    v text DEFAULT concat_ws(', '::text, VARIADIC ARRAY['NOT NULL', 'b']),
    w bool DEFAULT ((1 BETWEEN 0 AND 2) IS DISTINCT FROM NULL),
    x text GENERATED ALWAYS AS ('(' || (b COLLATE "C")) STORED,
    CHECK (a OR b IS NOT NULL), CONSTRAINT none CHECK (true) NO INHERIT, CONSTRAINT "a ""b""" CHECK (c <> ALL (ARRAY[1, 2])));
\if :v17
ALTER TABLE h.expressions ADD js text DEFAULT JSON_OBJECT('a': 1, 'b': NULL ABSENT ON NULL RETURNING text), ADD ja jsonb DEFAULT JSON_ARRAY('x', NULL NULL ON NULL RETURNING jsonb) NOT NULL;
\endif

-- Children.
CREATE TABLE h.mother (id int GENERATED BY DEFAULT AS IDENTITY (INCREMENT -2 MAXVALUE 100 START 50), name text DEFAULT 'm' NOT NULL, big text, twice int GENERATED ALWAYS AS (3 * 2) STORED,
    CONSTRAINT named CHECK (name <> ''), CONSTRAINT mine CHECK (id > -1000) NO INHERIT);
ALTER TABLE h.mother ALTER big SET STORAGE EXTERNAL;
\if :lz4
ALTER TABLE h.mother ALTER name SET COMPRESSION lz4;
\endif
CREATE TABLE h.father (name text DEFAULT 'm', age int DEFAULT 3, CONSTRAINT named CHECK (name <> ''));
CREATE TABLE h.kid (age int DEFAULT NULL, toy text) INHERITS (h.mother, h.father);
CREATE TABLE h.kid_of_kid (name text DEFAULT 'k') INHERITS (h.kid);
CREATE TABLE h.plain_kid () INHERITS (h.father);
CREATE TABLE h.late_kid (toy text, name text NOT NULL, age int, CONSTRAINT named CHECK (name <> ''));
ALTER TABLE h.late_kid INHERIT h.father;
ALTER TABLE h.mother ADD CONSTRAINT later CHECK (big <> 'later') NOT VALID;
ALTER TABLE h.kid ALTER toy SET NOT NULL, ALTER toy SET STORAGE MAIN;
ALTER TABLE h.father ALTER age SET NOT NULL;
\if :lz4
ALTER TABLE h.late_kid ALTER toy SET COMPRESSION pglz;
\endif
ALTER TABLE h.modified ALTER v SET STORAGE PLAIN, ALTER n SET STORAGE MAIN, ALTER js SET STORAGE EXTENDED;

-- Partitions, with indexes whole and in part.
CREATE TABLE h.log (at timestamptz NOT NULL, "Part" int, id int, note text DEFAULT 'p', UNIQUE (at, "Part"), CHECK (id > 0)) PARTITION BY RANGE (at, "Part");
CREATE TABLE h.log_1 PARTITION OF h.log FOR VALUES FROM ('2020-01-01', MINVALUE) TO ('2021-06-15 12:34:56.789', 5);
CREATE TABLE h.log_2 (note text, id int NOT NULL, at timestamptz NOT NULL, "Part" int, CONSTRAINT log_id_check CHECK (id > 0));
ALTER TABLE h.log ATTACH PARTITION h.log_2 FOR VALUES FROM ('2021-06-15 12:34:56.789', 5) TO ('infinity', MAXVALUE);
CREATE TABLE h.log_3 PARTITION OF h.log (note DEFAULT 'rest') DEFAULT PARTITION BY LIST (at);
CREATE TABLE h.log_3_1 PARTITION OF h.log_3 FOR VALUES IN ('1999-12-31 23:59:59-08', '0044-03-15 12:00 BC', '-infinity');
CREATE UNIQUE INDEX log_all ON h.log (at, "Part", id) INCLUDE (note);
CREATE UNIQUE INDEX log_some ON ONLY h.log (at, "Part", note);
CREATE UNIQUE INDEX log_some_1 ON h.log_1 (at, "Part", note);
ALTER INDEX h.log_some ATTACH PARTITION h.log_some_1;
CREATE TABLE h.hollow (a int PRIMARY KEY) PARTITION BY LIST (a);
CREATE TABLE h.hashes (a int, b text, PRIMARY KEY (b, a)) PARTITION BY HASH (a, b);
CREATE TABLE h.hashes_0 PARTITION OF h.hashes FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE h.to_hashes (a int, b text, FOREIGN KEY (b, a) REFERENCES h.hashes);
CREATE TABLE h.by_function (t text, at timestamptz) PARTITION BY LIST (lower(t));
CREATE TABLE h.by_function_a PARTITION OF h.by_function FOR VALUES IN ('2020-01-01 00:00:00+07', NULL);
CREATE TABLE h.identity_parts (id bigint GENERATED ALWAYS AS IDENTITY, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE h.identity_parts_1 PARTITION OF h.identity_parts FOR VALUES FROM (1) TO (2);
CREATE TABLE h.identity_parts_2 PARTITION OF h.identity_parts FOR VALUES FROM (2) TO (9) PARTITION BY RANGE (k);
CREATE UNLOGGED TABLE h.identity_parts_2_1 PARTITION OF h.identity_parts_2 FOR VALUES FROM (2) TO (3);
ALTER TABLE h.identity_parts ADD FOREIGN KEY (k) REFERENCES h.hollow;
ALTER TABLE h.identity_parts_1 ADD CONSTRAINT own_key FOREIGN KEY (k) REFERENCES h.hollow;

-- Keys and what is none.
CREATE TABLE h.keys (a int, b text, c text, d int, e point, f x.citext,
    CONSTRAINT "p k" PRIMARY KEY (b, a) INCLUDE (c) WITH (fillfactor = 50) DEFERRABLE INITIALLY DEFERRED, UNIQUE (d) DEFERRABLE, UNIQUE (c, a),
    EXCLUDE USING gist (e WITH ~=), EXCLUDE (d WITH =), EXCLUDE USING btree (a WITH =) WHERE (d > 0));
CREATE UNIQUE INDEX keys_pattern ON h.keys (b text_pattern_ops, c COLLATE "C" varchar_pattern_ops DESC NULLS LAST);
CREATE UNIQUE INDEX keys_citext ON h.keys (f);
CREATE UNIQUE INDEX keys_citext_pattern ON h.keys (f x.citext_pattern_ops);
CREATE UNIQUE INDEX keys_expression ON h.keys ((a + d));
CREATE UNIQUE INDEX keys_mixed ON h.keys (a, upper(b) COLLATE "C" DESC, c);
CREATE UNIQUE INDEX keys_partial ON h.keys (a) WHERE b IS NOT NULL AND c IN ('(', ')');
CREATE UNIQUE INDEX keys_include ON h.keys (a DESC) INCLUDE (b, c) WITH (fillfactor = 70);
CREATE INDEX keys_plain ON h.keys (a, lower(b));
CREATE OPERATOR CLASS h.reversed FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE UNIQUE INDEX keys_class ON h.keys (d h.reversed);
CREATE TABLE h.later_key (a int NOT NULL);
CREATE UNIQUE INDEX later_index ON h.later_key (a);
ALTER TABLE h.later_key ADD CONSTRAINT later_pkey PRIMARY KEY USING INDEX later_index;
CREATE TABLE h.refs (a int, b text, s int, t text, id int UNIQUE,
    CONSTRAINT "f k" FOREIGN KEY (t, s) REFERENCES h.keys (c, a) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (a) REFERENCES h.refs (id) ON DELETE SET DEFAULT ON UPDATE NO ACTION);
ALTER TABLE h.refs ADD CONSTRAINT unproven FOREIGN KEY (s) REFERENCES h.later_key NOT VALID;
\if :v15
CREATE TABLE h.nulls (a int, b int, UNIQUE NULLS NOT DISTINCT (a, b), UNIQUE NULLS DISTINCT (b));
CREATE UNIQUE INDEX nulls_index ON h.nulls (b, a) INCLUDE (a) NULLS NOT DISTINCT WITH (fillfactor = 90);
CREATE UNIQUE INDEX nulls_where ON h.nulls (b) NULLS NOT DISTINCT WHERE a > 0;
\endif
\if :v18
CREATE TABLE h.v18 (a int NOT NULL NO INHERIT, b int CONSTRAINT "b's" NOT NULL, c int GENERATED ALWAYS AS (a + 1) VIRTUAL, d int GENERATED ALWAYS AS (a) STORED,
    CONSTRAINT free CHECK (a > 0) NOT ENFORCED, e int REFERENCES h.later_key NOT ENFORCED);
CREATE TABLE h.v18_kid (a int) INHERITS (h.v18);
CREATE TABLE h.v18_named (CONSTRAINT own NOT NULL b, NOT NULL a) INHERITS (h.v18);
ALTER TABLE h.father ADD CONSTRAINT unproven NOT NULL name NOT VALID;
CREATE DOMAIN h.d_named AS int CONSTRAINT there NOT NULL CONSTRAINT big CHECK (VALUE > 9);
CREATE TABLE h.v18_domain (a h.d_named);
\endif

-- Sequences.
CREATE SEQUENCE h.up AS smallint INCREMENT 3 MINVALUE -5 START -2 CYCLE;
CREATE SEQUENCE h.down INCREMENT BY -9223372036854775808;
CREATE SEQUENCE h."seq's ""own""" OWNED BY h.names."a""b";
CREATE SEQUENCE h.none OWNED BY NONE;
SELECT setval('h."seq''s ""own"""', 7, false), setval('h.up', 1), nextval('h.down') \g /dev/null
ALTER TABLE h.refs ALTER id SET DEFAULT nextval('h.up');
CREATE UNLOGGED TABLE h.fleeting (id serial, t text UNIQUE);

-- Rows elsewhere.
CREATE FOREIGN DATA WRAPPER h_wrapper;
CREATE SERVER h_far FOREIGN DATA WRAPPER h_wrapper;
CREATE FOREIGN TABLE h.far (id int OPTIONS (a 'b, c') NOT NULL, t text COLLATE "C" DEFAULT 'x', CHECK (id > 0)) SERVER h_far OPTIONS (x 'y;)');
CREATE TABLE h.near () INHERITS (h.far);
CREATE FOREIGN TABLE h.far_part PARTITION OF h.by_function FOR VALUES IN ('far') SERVER h_far;
ALTER FOREIGN TABLE h.far ALTER t OPTIONS (SET_ME 'x');
CREATE TABLE h.of_far (a h.far[]);

-- A view that a function on it needs, so that it is made twice.
CREATE VIEW h.twice AS SELECT 1 AS a;
CREATE FUNCTION h.of_twice() RETURNS SETOF h.twice LANGUAGE sql AS 'SELECT 1;';
CREATE OR REPLACE VIEW h.twice AS SELECT a FROM h.of_twice();
INSERT INTO h.hollow SELECT WHERE false;
