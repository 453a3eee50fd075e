-- Every kind of object that pg_dump knows, as far as the server's version (14 to 18) has it, in the
-- shapes that are restored in a way of their own: postponed, in two steps, with a state, by another
-- grantor. For psql, into an empty UTF8 database. It ends by counting: a kind of object, or a state
-- of one, that nothing has is an error. Values are the business of fixtures/types.
\set QUIET on
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 150000 AS v15,
       current_setting('server_version_num')::int >= 160000 AS v16,
       current_setting('server_version_num')::int >= 170000 AS v17,
       current_setting('server_version_num')::int >= 180000 AS v18 \gset
SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS icu \gset
SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) AS lz4 \gset

-- Roles belong to the whole server: several of these databases share them.
DO $$ BEGIN CREATE ROLE eo_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
DO $$ BEGIN CREATE ROLE "EO ""Reader"""; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
DO $$ BEGIN CREATE ROLE eo_middle; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;

-- Schemas, extensions -------------------------------------------------------------------------

CREATE SCHEMA eo AUTHORIZATION eo_owner;
CREATE SCHEMA "EO ""two""; --";
CREATE SCHEMA ext;
COMMENT ON SCHEMA eo IS 'a schema';
COMMENT ON SCHEMA public IS 'another comment';
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE EXTENSION unaccent SCHEMA ext;
CREATE EXTENSION file_fdw SCHEMA ext;
COMMENT ON EXTENSION hstore IS 'a comment of our own';
-- An extension's object with privileges of our own.
GRANT EXECUTE ON FUNCTION ext.similarity(text, text) TO "EO ""Reader""";
REVOKE EXECUTE ON FUNCTION ext.similarity(text, text) FROM PUBLIC;

-- Languages, access methods, transforms ---------------------------------------------------------

-- Functions of its own: of those in pg_catalog pg_dump says nothing, and the language is lost.
CREATE FUNCTION eo.plours_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION eo.plours_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION eo.plours_validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE plours HANDLER eo.plours_handler INLINE eo.plours_inline VALIDATOR eo.plours_validator;
COMMENT ON LANGUAGE plours IS 'a language';
GRANT USAGE ON LANGUAGE plours TO "EO ""Reader""";
CREATE FUNCTION eo.in_plours() RETURNS integer LANGUAGE plours AS 'BEGIN RETURN 1; END';
CREATE ACCESS METHOD eo_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD eo_hash TYPE INDEX HANDLER hashhandler;
CREATE OPERATOR CLASS eo.int_ops DEFAULT FOR TYPE integer USING eo_hash AS OPERATOR 1 =, FUNCTION 1 hashint4(integer);
COMMENT ON ACCESS METHOD eo_heap IS 'an access method';
CREATE FUNCTION eo.from_sql(internal) RETURNS internal LANGUAGE internal STRICT IMMUTABLE AS 'prsd_lextype';
CREATE FUNCTION eo.to_sql(internal) RETURNS bigint LANGUAGE internal STRICT IMMUTABLE AS 'int4recv';
CREATE TRANSFORM FOR bigint LANGUAGE sql (FROM SQL WITH FUNCTION eo.from_sql(internal), TO SQL WITH FUNCTION eo.to_sql(internal));
COMMENT ON TRANSFORM FOR bigint LANGUAGE sql IS 'a transform';

-- Types -----------------------------------------------------------------------------------------

-- A base type: a shell first, functions on it, and then itself.
CREATE TYPE eo.base;
CREATE FUNCTION eo.base_in(cstring) RETURNS eo.base LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION eo.base_out(eo.base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE eo.base (INPUT = eo.base_in, OUTPUT = eo.base_out, INTERNALLENGTH = VARIABLE, STORAGE = extended,
    COLLATABLE = true, CATEGORY = 'S', DEFAULT = 'a ''base''', DELIMITER = ';');
CREATE TYPE eo.shell;
CREATE TYPE eo.mood AS ENUM ('sad', 'it''s ok');
ALTER TYPE eo.mood ADD VALUE 'between' BEFORE 'it''s ok';
CREATE TYPE eo.empty_enum AS ENUM ();
CREATE TYPE eo.pair AS (a integer, b text COLLATE "C", gone integer);
ALTER TYPE eo.pair DROP ATTRIBUTE gone;
CREATE TYPE eo.textrange AS RANGE (subtype = text, collation = "C", multirange_type_name = eo.texts);
CREATE DOMAIN eo.positive AS integer DEFAULT 1 CONSTRAINT above CHECK (VALUE > 0);
CREATE DOMAIN eo.named AS text COLLATE "C" NOT NULL CHECK (VALUE <> '');
ALTER DOMAIN eo.positive ADD CONSTRAINT later CHECK (VALUE <> 13) NOT VALID;
COMMENT ON TYPE eo.base IS 'a base type';
COMMENT ON CONSTRAINT above ON DOMAIN eo.positive IS 'of a domain';
ALTER TYPE eo.mood OWNER TO eo_owner;
ALTER DOMAIN eo.positive OWNER TO eo_owner;
REVOKE USAGE ON TYPE eo.mood FROM PUBLIC;
GRANT USAGE ON DOMAIN eo.named TO "EO ""Reader""" WITH GRANT OPTION;

-- Collations, conversions, text search ------------------------------------------------------------

CREATE COLLATION eo.posix (provider = libc, locale = 'POSIX');
ALTER COLLATION eo.posix OWNER TO eo_owner;
COMMENT ON COLLATION eo.posix IS 'a collation';
\if :icu
CREATE COLLATION eo.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\if :v16
CREATE COLLATION eo.ruled (provider = icu, locale = 'und', rules = '&V << w <<< W');
\endif
\endif
\if :v17
CREATE COLLATION eo.built_in (provider = builtin, locale = 'C.UTF-8');
\endif
CREATE CONVERSION eo.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE DEFAULT CONVERSION eo.conv_default FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION eo.conv IS 'a conversion';
CREATE TEXT SEARCH PARSER eo.parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE eo.template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY eo.dict (TEMPLATE = eo.template, stopwords = 'english', Accept = false);
CREATE TEXT SEARCH CONFIGURATION eo.conf (PARSER = eo.parser);
ALTER TEXT SEARCH CONFIGURATION eo.conf ADD MAPPING FOR asciiword, word WITH ext.unaccent, eo.dict, pg_catalog.english_stem;
ALTER TEXT SEARCH CONFIGURATION eo.conf OWNER TO eo_owner;
COMMENT ON TEXT SEARCH CONFIGURATION eo.conf IS 'a configuration';
COMMENT ON TEXT SEARCH DICTIONARY eo.dict IS 'a dictionary';
COMMENT ON TEXT SEARCH PARSER eo.parser IS 'a parser';
COMMENT ON TEXT SEARCH TEMPLATE eo.template IS 'a template';

-- Functions, procedures, aggregates, operators, casts ---------------------------------------------

CREATE FUNCTION eo.strict_leak(a integer, OUT b integer, OUT c text) LANGUAGE sql STRICT IMMUTABLE LEAKPROOF PARALLEL RESTRICTED COST 3
    SET search_path = eo, pg_temp SET work_mem = '1MB' AS $f$ SELECT a, '$$'::text $f$;
CREATE FUNCTION eo.overloaded(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION eo.overloaded(text, VARIADIC integer[] DEFAULT '{1,2}') RETURNS SETOF integer LANGUAGE sql ROWS 7 AS 'SELECT unnest($2)';
CREATE FUNCTION eo.poly(anycompatible, anycompatiblearray) RETURNS anycompatible LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION eo.windowed() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE AS 'window_row_number';
CREATE FUNCTION eo.supported(integer) RETURNS integer LANGUAGE internal STRICT IMMUTABLE SUPPORT generate_series_int4_support AS 'int4up';
CREATE FUNCTION eo.transformed(bigint) RETURNS bigint TRANSFORM FOR TYPE bigint LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION eo."odd ""name"", $1"(" arg" integer DEFAULT 3, eo.named DEFAULT 'it''s') RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE eo.proc(IN a integer, INOUT b integer DEFAULT 2) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN b := a; END';
CREATE FUNCTION eo.atomic(a integer, b integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN a + b;
CREATE AGGREGATE eo.plain_agg(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', COMBINEFUNC = int4pl, PARALLEL = safe,
    MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = integer, MINITCOND = '0');
CREATE AGGREGATE eo.any_rows(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
CREATE AGGREGATE eo.ordered(double precision ORDER BY double precision) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_cont_float8_final, FINALFUNC_EXTRA = false);
CREATE AGGREGATE eo.hypothetical(VARIADIC "any" ORDER BY VARIADIC "any") (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
COMMENT ON FUNCTION eo.overloaded(integer) IS 'of one of two';
COMMENT ON PROCEDURE eo.proc(integer, integer) IS 'a procedure';
COMMENT ON AGGREGATE eo.any_rows(*) IS 'an aggregate';
ALTER FUNCTION eo.overloaded(text, integer[]) OWNER TO eo_owner;
ALTER PROCEDURE eo.proc(integer, integer) OWNER TO eo_owner;
ALTER AGGREGATE eo.ordered(double precision ORDER BY double precision) OWNER TO eo_owner;
REVOKE ALL ON FUNCTION eo.overloaded(integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE eo.proc(integer, integer) TO eo_middle WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION eo.any_rows() TO "EO ""Reader""";
-- Two operators that name each other: one is there before it is defined.
CREATE FUNCTION eo.base_lt(eo.base, eo.base) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_lt';
CREATE FUNCTION eo.base_gt(eo.base, eo.base) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_gt';
CREATE FUNCTION eo.base_le(eo.base, eo.base) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_le';
CREATE FUNCTION eo.base_ge(eo.base, eo.base) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_ge';
CREATE FUNCTION eo.base_eq(eo.base, eo.base) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'texteq';
CREATE FUNCTION eo.base_cmp(eo.base, eo.base) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'bttextcmp';
CREATE OPERATOR eo.< (LEFTARG = eo.base, RIGHTARG = eo.base, FUNCTION = eo.base_lt, COMMUTATOR = OPERATOR(eo.>), NEGATOR = OPERATOR(eo.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR eo.> (LEFTARG = eo.base, RIGHTARG = eo.base, FUNCTION = eo.base_gt, COMMUTATOR = OPERATOR(eo.<), NEGATOR = OPERATOR(eo.<=));
CREATE OPERATOR eo.<= (LEFTARG = eo.base, RIGHTARG = eo.base, FUNCTION = eo.base_le, COMMUTATOR = OPERATOR(eo.>=), NEGATOR = OPERATOR(eo.>));
CREATE OPERATOR eo.>= (LEFTARG = eo.base, RIGHTARG = eo.base, FUNCTION = eo.base_ge, COMMUTATOR = OPERATOR(eo.<=), NEGATOR = OPERATOR(eo.<));
CREATE OPERATOR eo.= (LEFTARG = eo.base, RIGHTARG = eo.base, FUNCTION = eo.base_eq, COMMUTATOR = OPERATOR(eo.=), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR eo.!!! (RIGHTARG = integer, FUNCTION = eo.overloaded);
ALTER OPERATOR eo.!!! (NONE, integer) OWNER TO eo_owner;
COMMENT ON OPERATOR eo.!!! (NONE, integer) IS 'a prefix operator';
CREATE OPERATOR FAMILY eo.family USING btree;
CREATE OPERATOR CLASS eo.base_ops DEFAULT FOR TYPE eo.base USING btree FAMILY eo.family AS
    OPERATOR 1 eo.<, OPERATOR 2 eo.<=, OPERATOR 3 eo.=, OPERATOR 4 eo.>=, OPERATOR 5 eo.>, FUNCTION 1 eo.base_cmp(eo.base, eo.base);
CREATE OPERATOR FAMILY eo.loose USING btree;
ALTER OPERATOR FAMILY eo.loose USING btree ADD OPERATOR 3 pg_catalog.= (integer, bigint), FUNCTION 1 (integer, bigint) btint48cmp(integer, bigint);
ALTER OPERATOR CLASS eo.base_ops USING btree OWNER TO eo_owner;
COMMENT ON OPERATOR CLASS eo.base_ops USING btree IS 'an operator class';
COMMENT ON OPERATOR FAMILY eo.loose USING btree IS 'an operator family';
CREATE CAST (eo.base AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (eo.pair AS eo.mood) WITH INOUT;
CREATE FUNCTION eo.to_base(integer) RETURNS eo.base LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::eo.base $$;
CREATE CAST (text AS eo.base) WITHOUT FUNCTION;
CREATE CAST (integer AS eo.base) WITH FUNCTION eo.to_base(integer) AS ASSIGNMENT;
COMMENT ON CAST (eo.base AS text) IS 'a cast';

-- Tables ------------------------------------------------------------------------------------------

CREATE TABLE eo.plain (id integer GENERATED BY DEFAULT AS IDENTITY (START 10 INCREMENT 10) PRIMARY KEY,
    b eo.base DEFAULT 'x'::eo.base UNIQUE, m eo.mood DEFAULT 'between', name eo.named DEFAULT 'n', big text, r eo.textrange,
    w integer DEFAULT eo.overloaded(2), doubled integer GENERATED ALWAYS AS (w * 2) STORED,
    CONSTRAINT w_positive CHECK (w > 0), CONSTRAINT "W ""small""" CHECK (w < 100000) NO INHERIT)
    WITH (fillfactor = 80, toast_tuple_target = 200, autovacuum_vacuum_threshold = 9, toast.autovacuum_enabled = false);
INSERT INTO eo.plain (b, name, big, r) SELECT ('b' || i)::eo.base, 'n' || i, repeat(i::text, 20), eo.textrange('a' || i, 'b' || i) FROM generate_series(1, 20) i;
ALTER TABLE eo.plain ALTER COLUMN big SET STORAGE EXTERNAL, ALTER COLUMN big SET STATISTICS 77, ALTER COLUMN w SET (n_distinct = 5);
\if :lz4
ALTER TABLE eo.plain ALTER COLUMN name SET COMPRESSION lz4;
\endif
ALTER TABLE eo.plain REPLICA IDENTITY USING INDEX plain_pkey;
ALTER TABLE eo.plain CLUSTER ON plain_b_key;
CREATE INDEX plain_stats ON eo.plain ((w + 1));
ALTER INDEX eo.plain_stats ALTER COLUMN 1 SET STATISTICS 42;
CREATE TABLE eo.nothing_identity (a integer NOT NULL UNIQUE);
ALTER TABLE eo.nothing_identity REPLICA IDENTITY NOTHING;
CREATE TABLE eo.full_identity (a integer);
ALTER TABLE eo.full_identity REPLICA IDENTITY FULL;
CREATE TABLE eo.other_am (a integer) USING eo_heap;
INSERT INTO eo.other_am VALUES (1), (2);
CREATE INDEX other_am_index ON eo.other_am USING eo_hash (a);
CREATE UNLOGGED TABLE eo.unlogged (id serial, t text);
INSERT INTO eo.unlogged (t) VALUES ('still here');
CREATE TABLE eo.typed OF eo.pair (a WITH OPTIONS NOT NULL DEFAULT 5, PRIMARY KEY (a), CHECK (b <> 'no'));
INSERT INTO eo.typed VALUES (1, 'one'), (2, NULL);
CREATE TABLE eo.no_columns ();
INSERT INTO eo.no_columns SELECT FROM generate_series(1, 5);
CREATE TABLE eo.of_rows (p eo.plain, ps eo.pair[]);
INSERT INTO eo.of_rows SELECT x, ARRAY[(1, 'a')::eo.pair] FROM eo.plain x WHERE id < 40;
CREATE TABLE "EO ""two""; --"."table; --" ("col""umn; --" integer, "ünï" text);
INSERT INTO "EO ""two""; --"."table; --" VALUES (1, E'\\.');
COMMENT ON TABLE eo.plain IS E'a table;\n-- with\n\\. lines';
COMMENT ON COLUMN eo.plain.name IS 'a column';
COMMENT ON CONSTRAINT w_positive ON eo.plain IS 'a constraint';
COMMENT ON INDEX eo.plain_pkey IS 'of the index of a key';

-- Inheritance: two parents, columns of its own before and after, constraints that are and are not inherited.
CREATE TABLE eo.parent_a (a integer NOT NULL DEFAULT 1, common text, CHECK (a > 0));
CREATE TABLE eo.parent_b (common text, b integer);
CREATE TABLE eo.child (own text, common text) INHERITS (eo.parent_a, eo.parent_b);
CREATE TABLE eo.grandchild () INHERITS (eo.child);
CREATE TABLE eo.adopted (z text, b integer, common text);
ALTER TABLE eo.adopted INHERIT eo.parent_b;
ALTER TABLE eo.child ALTER COLUMN a SET DEFAULT 9;
ALTER TABLE eo.parent_b ADD COLUMN late integer DEFAULT 3, DROP COLUMN b;
INSERT INTO eo.parent_a VALUES (1, 'pa'); INSERT INTO eo.parent_b VALUES ('pb', 1);
INSERT INTO eo.child (a, own, common, late) VALUES (2, 'own', 'c', 5); INSERT INTO eo.grandchild (own) VALUES ('g'); INSERT INTO eo.adopted VALUES ('z', 1, 'c', 2);

-- Partitions on three levels, by every strategy, with keys, indexes, defaults and triggers that differ below.
CREATE TABLE eo.parts (id bigint NOT NULL, at date NOT NULL, kind text NOT NULL DEFAULT 'p', v integer) PARTITION BY RANGE (at, (id % 10));
CREATE TABLE eo.parts_old PARTITION OF eo.parts FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2020-01-01', 0) PARTITION BY LIST (kind);
CREATE TABLE eo.parts_old_ab PARTITION OF eo.parts_old FOR VALUES IN ('a', 'b') PARTITION BY HASH (id);
CREATE TABLE eo.parts_old_ab_0 PARTITION OF eo.parts_old_ab FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE eo.parts_old_ab_1 PARTITION OF eo.parts_old_ab FOR VALUES WITH (MODULUS 2, REMAINDER 1) WITH (fillfactor = 50);
CREATE TABLE eo.parts_old_rest PARTITION OF eo.parts_old (kind DEFAULT 'rest') DEFAULT;
CREATE TABLE "EO ""two""; --".parts_new (kind text NOT NULL, v integer, gone text, at date NOT NULL, id bigint NOT NULL);
ALTER TABLE "EO ""two""; --".parts_new DROP COLUMN gone;
ALTER TABLE eo.parts ATTACH PARTITION "EO ""two""; --".parts_new FOR VALUES FROM ('2020-01-01', 0) TO (MAXVALUE, MAXVALUE);
CREATE TABLE eo.parts_keyed (id bigint, kind text, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE eo.parts_keyed_0 PARTITION OF eo.parts_keyed FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX parts_v ON eo.parts (v);
CREATE INDEX parts_only ON ONLY eo.parts (kind);
CREATE INDEX parts_old_only ON ONLY eo.parts_old (kind);
ALTER INDEX eo.parts_only ATTACH PARTITION eo.parts_old_only;
CREATE INDEX parts_extra ON eo.parts_old_ab_0 (at DESC);
ALTER TABLE eo.parts ADD CONSTRAINT parts_fk FOREIGN KEY (v) REFERENCES eo.parts_keyed;
ALTER TABLE eo.parts_old_rest ADD CHECK (v <> 13);
INSERT INTO eo.parts_keyed SELECT i, 'k' FROM generate_series(0, 9) i;
INSERT INTO eo.parts SELECT i, date '2019-01-01' + i * 20, (ARRAY['a', 'b', 'c'])[i % 3 + 1], i % 10 FROM generate_series(1, 60) i;
CREATE TABLE eo.parts_empty (a integer) PARTITION BY RANGE (a);
\if :v17
ALTER TABLE eo.parts_empty SET ACCESS METHOD eo_heap;
CREATE TABLE eo.parts_identity (id integer GENERATED ALWAYS AS IDENTITY, k integer) PARTITION BY LIST (k);
CREATE TABLE eo.parts_identity_1 PARTITION OF eo.parts_identity FOR VALUES IN (1);
INSERT INTO eo.parts_identity (k) VALUES (1), (1);
\endif

-- Constraints: deferrable, not validated, exclusion, foreign keys with every action, constraints on indexes.
CREATE TABLE eo.target (id integer PRIMARY KEY, x integer, y integer, CONSTRAINT xy UNIQUE (x, y) INCLUDE (id) DEFERRABLE INITIALLY DEFERRED, UNIQUE (x), UNIQUE (y, x));
CREATE TABLE eo.refers (id integer, c1 integer REFERENCES eo.target ON DELETE CASCADE ON UPDATE SET NULL, c2 integer DEFAULT 1 REFERENCES eo.target ON DELETE SET DEFAULT ON UPDATE RESTRICT DEFERRABLE,
    x integer, y integer, CONSTRAINT full_match FOREIGN KEY (y, x) REFERENCES eo.target (y, x) MATCH FULL DEFERRABLE INITIALLY DEFERRED, self integer, UNIQUE (id), FOREIGN KEY (self) REFERENCES eo.refers (id));
INSERT INTO eo.target SELECT i, i, i FROM generate_series(1, 10) i;
INSERT INTO eo.refers SELECT i, i, i, i, i, i FROM generate_series(1, 10) i;
INSERT INTO eo.refers (id, self) VALUES (11, 1);
CREATE TABLE eo.unchecked (a integer, b integer);
INSERT INTO eo.unchecked VALUES (-1, 999);
ALTER TABLE eo.unchecked ADD CONSTRAINT a_check CHECK (a > 0) NOT VALID, ADD CONSTRAINT b_fk FOREIGN KEY (b) REFERENCES eo.target NOT VALID;
CREATE TABLE eo.excluded (room integer, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0) DEFERRABLE, EXCLUDE USING hash (room WITH =) WHERE (room < 0));
INSERT INTO eo.excluded VALUES (1, '[2020-01-01,2020-01-02)'), (2, '[2020-01-01,2020-01-02)');
CREATE UNIQUE INDEX by_index ON eo.unchecked (a) INCLUDE (b) WITH (fillfactor = 60);
ALTER TABLE eo.unchecked ADD CONSTRAINT by_index_key UNIQUE USING INDEX by_index;
\if :v15
CREATE TABLE eo.nulls_equal (a integer, b integer, UNIQUE NULLS NOT DISTINCT (a), FOREIGN KEY (a, b) REFERENCES eo.target (y, x) ON DELETE SET NULL (b));
CREATE UNIQUE INDEX nulls_equal_index ON eo.nulls_equal (b) NULLS NOT DISTINCT;
\endif
\if :v18
CREATE TABLE eo.eighteen (a integer CONSTRAINT a_there NOT NULL, b integer REFERENCES eo.target NOT ENFORCED, c integer GENERATED ALWAYS AS (a * 2) VIRTUAL, CONSTRAINT c_free CHECK (a <> 13) NOT ENFORCED);
INSERT INTO eo.eighteen VALUES (13, 4711);
CREATE TABLE eo.eighteen_child (CONSTRAINT its_own NOT NULL a) INHERITS (eo.eighteen);
CREATE TABLE eo.not_null_later (a integer);
INSERT INTO eo.not_null_later VALUES (NULL);
ALTER TABLE eo.not_null_later ADD CONSTRAINT later NOT NULL a NOT VALID;
COMMENT ON CONSTRAINT later ON eo.not_null_later IS 'not yet';
CREATE TABLE eo.no_inherit_null (a integer, CONSTRAINT nn NOT NULL a NO INHERIT);
CREATE TABLE eo.temporal (id integer, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
CREATE TABLE eo.temporal_ref (id integer, valid daterange, FOREIGN KEY (id, PERIOD valid) REFERENCES eo.temporal (id, PERIOD valid));
\endif

-- Indexes.
CREATE INDEX plain_expr ON eo.plain (lower(name) COLLATE "C" DESC NULLS LAST, (w + 1), b eo.base_ops) INCLUDE (m) WHERE w > 1;
CREATE INDEX plain_gin ON eo.plain USING gin (big ext.gin_trgm_ops) WITH (fastupdate = off);
CREATE INDEX plain_gist ON eo.plain USING gist (big ext.gist_trgm_ops (siglen = 32));
CREATE INDEX plain_hash ON eo.plain USING hash (name);
CREATE INDEX plain_brin ON eo.plain USING brin (id int4_minmax_multi_ops (values_per_range = 16)) WITH (pages_per_range = 2);
CREATE INDEX "plain; ""spgist""" ON eo.plain USING spgist (big);
ALTER INDEX eo.plain_gin SET (gin_pending_list_limit = 128);
COMMENT ON INDEX eo.plain_expr IS 'an index';

-- Statistics.
CREATE STATISTICS eo.stats (ndistinct, mcv) ON x, y FROM eo.target;
CREATE STATISTICS "EO ""two""; --"."its expression" ON (x + y), (x * 2) FROM eo.target;
ALTER STATISTICS eo.stats SET STATISTICS 33;
ALTER STATISTICS eo.stats OWNER TO eo_owner;
COMMENT ON STATISTICS eo.stats IS 'statistics';

-- Sequences.
CREATE SEQUENCE eo.seq AS smallint START 5 INCREMENT -3 MINVALUE -100 MAXVALUE 100 CYCLE CACHE 4;
SELECT nextval('eo.seq'), nextval('eo.seq') \g /dev/null
CREATE SEQUENCE eo.owned OWNED BY eo.refers.id;
CREATE SEQUENCE eo.fresh START 7;
ALTER SEQUENCE eo.seq OWNER TO eo_owner;
GRANT USAGE ON SEQUENCE eo.seq TO "EO ""Reader""";
COMMENT ON SEQUENCE eo.seq IS 'a sequence';
\if :v15
CREATE UNLOGGED SEQUENCE eo.fleeting_seq;
SELECT nextval('eo.fleeting_seq') \g /dev/null
\endif

-- Views: what depends on a key is made after it; two that need each other are broken up.
CREATE VIEW eo.v_check AS SELECT id, w FROM eo.plain WHERE w > 0 WITH CASCADED CHECK OPTION;
CREATE VIEW eo.v_barrier WITH (security_barrier, check_option = local) AS SELECT v.id FROM eo.v_check v;
\if :v15
CREATE VIEW eo.v_invoker WITH (security_invoker = true) AS SELECT 1 AS one;
\endif
CREATE VIEW eo.v_by_key AS SELECT t.id, t.x, count(*) AS n FROM eo.target t GROUP BY t.id;
CREATE VIEW eo.v_on_by_key AS SELECT n FROM eo.v_by_key;
CREATE RECURSIVE VIEW eo.v_recursive (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM v_recursive WHERE n < 3;
CREATE VIEW eo.v_no_columns AS SELECT;
CREATE VIEW eo.v_cyclic AS SELECT 1 AS a, 'x'::text AS b;
CREATE FUNCTION eo.of_cyclic() RETURNS SETOF eo.v_cyclic LANGUAGE sql AS $$ SELECT 1, 'x'::text $$;
CREATE OR REPLACE VIEW eo.v_cyclic AS SELECT a, b FROM eo.of_cyclic();
CREATE FUNCTION eo.atomic_by_key() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT max(c) FROM (SELECT t.id, t.x + count(*) AS c FROM eo.target t GROUP BY t.id) s; END;
ALTER VIEW eo.v_check ALTER COLUMN w SET DEFAULT 12;
ALTER VIEW eo.v_check OWNER TO eo_owner;
GRANT SELECT (id) ON eo.v_check TO "EO ""Reader""";
COMMENT ON VIEW eo.v_check IS 'a view';
COMMENT ON COLUMN eo.v_check.id IS 'of a view';

-- Materialized views, in an order that names do not have, one after a key, one not filled, one with another access method.
CREATE MATERIALIZED VIEW eo.z_first AS SELECT id, x FROM eo.target;
CREATE UNIQUE INDEX z_first_id ON eo.z_first (id);
CREATE MATERIALIZED VIEW eo.y_second AS SELECT id + 1 AS id FROM eo.z_first;
CREATE VIEW eo.x_between AS SELECT id FROM eo.y_second;
CREATE MATERIALIZED VIEW eo.a_third USING eo_heap AS SELECT count(*) AS n FROM eo.x_between;
CREATE MATERIALIZED VIEW eo.m_by_key AS SELECT t.id, t.y, count(*) AS n FROM eo.target t GROUP BY t.id;
CREATE MATERIALIZED VIEW eo.unfilled AS SELECT 1 AS one WITH NO DATA;
ALTER MATERIALIZED VIEW eo.z_first OWNER TO eo_owner;
ALTER MATERIALIZED VIEW eo.z_first ALTER COLUMN x SET STATISTICS 11;
GRANT USAGE ON SCHEMA eo TO eo_owner; GRANT SELECT ON eo.target TO eo_owner;
COMMENT ON MATERIALIZED VIEW eo.z_first IS 'a materialized view';
CREATE STATISTICS eo.of_view ON id, x FROM eo.z_first;

-- Rules and triggers, in every state.
CREATE FUNCTION eo.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger acted on %', TG_TABLE_NAME; END $$;
CREATE FUNCTION eo.pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t_origin BEFORE INSERT OR UPDATE OF w, name ON eo.plain FOR EACH ROW WHEN (NEW.w > 0) EXECUTE FUNCTION eo.refuse('arg''s', 'two');
CREATE TRIGGER t_disabled BEFORE INSERT ON eo.plain FOR EACH STATEMENT EXECUTE FUNCTION eo.refuse();
CREATE TRIGGER t_replica BEFORE INSERT ON eo.plain FOR EACH STATEMENT EXECUTE FUNCTION eo.refuse();
CREATE TRIGGER t_always BEFORE INSERT ON eo.plain FOR EACH STATEMENT EXECUTE FUNCTION eo.refuse();
ALTER TABLE eo.plain DISABLE TRIGGER t_disabled, ENABLE REPLICA TRIGGER t_replica, ENABLE ALWAYS TRIGGER t_always;
CREATE TRIGGER t_tables AFTER UPDATE ON eo.target REFERENCING OLD TABLE AS o NEW TABLE AS "N n" FOR EACH STATEMENT EXECUTE FUNCTION eo.pass();
CREATE CONSTRAINT TRIGGER t_constraint AFTER INSERT ON eo.refers FROM eo.target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eo.pass();
CREATE TRIGGER t_truncate BEFORE TRUNCATE ON eo.target EXECUTE FUNCTION eo.refuse();
CREATE TRIGGER t_instead INSTEAD OF INSERT ON eo.v_check FOR EACH ROW EXECUTE FUNCTION eo.pass();
CREATE TRIGGER t_parts BEFORE INSERT ON eo.parts FOR EACH ROW EXECUTE FUNCTION eo.refuse();
ALTER TABLE eo.parts_old_ab_0 DISABLE TRIGGER t_parts;
ALTER TABLE eo.parts_old_rest ENABLE ALWAYS TRIGGER t_parts;
COMMENT ON TRIGGER t_origin ON eo.plain IS 'a trigger';
CREATE TABLE eo.log (t text, n integer);
INSERT INTO eo.log VALUES ('before', 1);
CREATE RULE r_also AS ON INSERT TO eo.full_identity DO ALSO INSERT INTO eo.log VALUES ('insert', NEW.a);
CREATE RULE r_nothing AS ON DELETE TO eo.full_identity WHERE OLD.a < 0 DO INSTEAD NOTHING;
CREATE RULE r_many AS ON UPDATE TO eo.full_identity DO ALSO (INSERT INTO eo.log VALUES ('a;b', NEW.a); NOTIFY "eo; log");
CREATE RULE r_instead AS ON INSERT TO eo.v_barrier DO INSTEAD INSERT INTO eo.log VALUES ('view', NEW.id) RETURNING n;
ALTER TABLE eo.full_identity DISABLE RULE r_nothing, ENABLE ALWAYS RULE r_many, ENABLE REPLICA RULE r_also;
COMMENT ON RULE r_also ON eo.full_identity IS 'a rule';

-- Row security.
ALTER TABLE eo.plain ENABLE ROW LEVEL SECURITY;
ALTER TABLE eo.log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE eo.unlogged FORCE ROW LEVEL SECURITY;
CREATE POLICY p_all ON eo.plain USING (true);
CREATE POLICY p_restrict ON eo.plain AS RESTRICTIVE FOR UPDATE TO eo_owner, "EO ""Reader""" USING (w > 0) WITH CHECK (EXISTS (SELECT FROM eo.target t WHERE t.id = plain.w));
CREATE POLICY "p ""insert"" TO me" ON eo.log FOR INSERT TO CURRENT_USER WITH CHECK (current_user = 'eo_owner');
CREATE POLICY p_none ON eo.log FOR DELETE USING (false);
COMMENT ON POLICY p_all ON eo.plain IS 'a policy';

-- Foreign data.
CREATE FOREIGN DATA WRAPPER eo_fdw OPTIONS (debug 'it''s');
CREATE SERVER eo_server TYPE 'a ''type''' VERSION '1.0' FOREIGN DATA WRAPPER eo_fdw OPTIONS (a 'b');
CREATE SERVER eo_real FOREIGN DATA WRAPPER file_fdw;
ALTER FOREIGN DATA WRAPPER eo_fdw OWNER TO postgres;
ALTER SERVER eo_real OWNER TO postgres;
CREATE USER MAPPING FOR PUBLIC SERVER eo_server;
CREATE USER MAPPING FOR "EO ""Reader""" SERVER eo_server OPTIONS (user 'it''s me', password 'secret');
CREATE FOREIGN TABLE eo.remote (id integer NOT NULL, t text OPTIONS (force_null 'true') COLLATE "C", CHECK (id > 0)) SERVER eo_real OPTIONS (filename '/no where/it''s', format 'csv');
ALTER FOREIGN TABLE eo.remote ALTER COLUMN t SET STATISTICS 5;
CREATE FOREIGN TABLE eo.remote_child () INHERITS (eo.parent_b) SERVER eo_server OPTIONS ("a b" 'c');
CREATE TRIGGER t_remote BEFORE INSERT ON eo.remote FOR EACH ROW EXECUTE FUNCTION eo.pass();
ALTER FOREIGN TABLE eo.remote OWNER TO eo_owner;
GRANT USAGE ON FOREIGN DATA WRAPPER eo_fdw TO "EO ""Reader""";
GRANT USAGE ON FOREIGN SERVER eo_server TO eo_middle WITH GRANT OPTION;
COMMENT ON FOREIGN DATA WRAPPER eo_fdw IS 'a wrapper';
COMMENT ON SERVER eo_server IS 'a server';
COMMENT ON FOREIGN TABLE eo.remote IS 'a foreign table';

-- Privileges: passed on by others, taken from the owner, on columns, default ones of every kind.
ALTER TABLE eo.refers OWNER TO eo_owner;
GRANT SELECT, UPDATE ON eo.refers TO eo_middle WITH GRANT OPTION;
GRANT INSERT (c1, c2), SELECT (id) ON eo.refers TO "EO ""Reader""" WITH GRANT OPTION;
SET ROLE eo_owner; GRANT USAGE ON SCHEMA eo TO eo_middle; RESET ROLE;
SET ROLE eo_middle; GRANT SELECT ON eo.refers TO "EO ""Reader"""; RESET ROLE;
REVOKE DELETE, TRUNCATE ON eo.refers FROM eo_owner;
REVOKE ALL ON eo.full_identity FROM postgres;
GRANT ALL ON "EO ""two""; --"."table; --" TO PUBLIC;
REVOKE CREATE, USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO "EO ""Reader""";
\if :v17
GRANT MAINTAIN ON eo.target TO "EO ""Reader""";
\endif
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner GRANT SELECT, INSERT ON TABLES TO "EO ""Reader""" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner IN SCHEMA eo GRANT EXECUTE ON FUNCTIONS TO eo_middle;
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner GRANT USAGE ON SCHEMAS TO eo_middle;
ALTER DEFAULT PRIVILEGES IN SCHEMA "EO ""two""; --" GRANT ALL ON SEQUENCES TO eo_middle;
\if :v18
ALTER DEFAULT PRIVILEGES FOR ROLE eo_owner GRANT SELECT ON LARGE OBJECTS TO "EO ""Reader""";
\endif

-- Publications, subscriptions.
SET client_min_messages = error;
CREATE PUBLICATION eo_some FOR TABLE eo.plain, ONLY eo.parent_a WITH (publish = 'insert, truncate');
CREATE PUBLICATION eo_all FOR ALL TABLES WITH (publish_via_partition_root = true);
CREATE PUBLICATION eo_none;
ALTER PUBLICATION eo_none OWNER TO postgres;
\if :v15
CREATE PUBLICATION eo_rows FOR TABLE eo.target (id, x) WHERE (id > 3 AND x <> 4), eo.typed WHERE (a > 0);
CREATE PUBLICATION eo_schema FOR TABLES IN SCHEMA eo, "EO ""two""; --";
\endif
\if :v18
CREATE PUBLICATION eo_generated FOR TABLE eo.eighteen WITH (publish_generated_columns = stored);
\endif
COMMENT ON PUBLICATION eo_some IS 'a publication';
CREATE SUBSCRIPTION eo_sub CONNECTION 'host=/nowhere dbname=''it\''s''' PUBLICATION p1, "P ""2""" WITH (connect = false, slot_name = NONE, enabled = false, binary = true, streaming = on, synchronous_commit = 'local');
COMMENT ON SUBSCRIPTION eo_sub IS 'a subscription';
-- Once it ran; a restored one must not run by itself.
CREATE SUBSCRIPTION "eo ""sub"" on" CONNECTION 'host=/nowhere' PUBLICATION p1 WITH (connect = false, slot_name = 'a_slot', enabled = false);
SET client_min_messages = warning;

-- Large objects.
SELECT lo_from_bytea(500001, '\x'), lo_from_bytea(500002, convert_to(repeat('large ', 100000), 'UTF8')), lo_create(4294967294) \g /dev/null
ALTER LARGE OBJECT 500002 OWNER TO eo_owner;
GRANT SELECT ON LARGE OBJECT 500002 TO eo_middle WITH GRANT OPTION;
SET ROLE eo_middle; GRANT SELECT ON LARGE OBJECT 500002 TO "EO ""Reader"""; RESET ROLE;
REVOKE UPDATE ON LARGE OBJECT 500002 FROM eo_owner;
COMMENT ON LARGE OBJECT 500001 IS 'a ''large'' object';

-- Owners.
ALTER TABLE eo.child OWNER TO eo_owner;
ALTER TABLE "EO ""two""; --".parts_new OWNER TO "EO ""Reader""";

-- Security labels, where a provider is loaded (the tests make one).
SELECT 'test_label' = ANY (string_to_array(coalesce(current_setting('eo.label_providers', true), ''), ',')) AS labels \gset
\if :labels
SECURITY LABEL FOR test_label ON TABLE eo.plain IS 'a ''table''';
SECURITY LABEL FOR test_label ON COLUMN eo.plain.name IS 'a column';
SECURITY LABEL FOR test_label ON FUNCTION eo.overloaded(integer) IS 'a function';
SECURITY LABEL FOR test_label ON SCHEMA eo IS 'a schema';
SECURITY LABEL FOR test_label ON TYPE eo.mood IS 'a type';
SECURITY LABEL FOR test_label ON VIEW eo.v_check IS 'a view';
SECURITY LABEL FOR test_label ON PUBLICATION eo_some IS 'a publication';
SECURITY LABEL FOR test_label ON LARGE OBJECT 500001 IS 'a large object';
\endif

-- Event triggers, last, since they act from here on.
CREATE FUNCTION eo.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'an event trigger acted on %', tg_tag; END $$;
CREATE FUNCTION eo.on_ddl_quiet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER eo_off ON ddl_command_start EXECUTE FUNCTION eo.on_ddl();
ALTER EVENT TRIGGER eo_off DISABLE;
CREATE EVENT TRIGGER eo_replica ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE INDEX') EXECUTE FUNCTION eo.on_ddl();
ALTER EVENT TRIGGER eo_replica ENABLE REPLICA;
CREATE EVENT TRIGGER eo_always ON sql_drop EXECUTE FUNCTION eo.on_ddl_quiet();
ALTER EVENT TRIGGER eo_always ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER eo_always IS 'an event trigger';
CREATE EVENT TRIGGER eo_rewrite ON table_rewrite EXECUTE FUNCTION eo.on_ddl();
\if :v17
CREATE EVENT TRIGGER eo_login ON login EXECUTE FUNCTION eo.on_ddl_quiet();
\endif
CREATE EVENT TRIGGER eo_on ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE INDEX', 'ALTER TABLE') EXECUTE FUNCTION eo.on_ddl();

-- Is every kind there, in every state? What a version does not have is not asked for.
DO $$
DECLARE missing text; v integer := current_setting('server_version_num')::integer / 10000;
BEGIN
    SELECT string_agg(what, ', ') INTO missing FROM (
        SELECT 'relation ' || k::text FROM unnest('{r,p,v,m,f,S,i,I,c}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_class WHERE relkind = k AND oid >= 16384)
        UNION ALL SELECT 'persistence ' || k::text FROM unnest('{p,u}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_class WHERE relkind = 'r' AND relpersistence = k AND oid >= 16384)
        UNION ALL SELECT 'replica identity ' || k::text FROM unnest('{d,n,f,i}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_class WHERE relkind = 'r' AND relreplident = k AND oid >= 16384)
        UNION ALL SELECT 'partition strategy ' || k::text FROM unnest('{r,l,h}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = k)
        UNION ALL SELECT 'function ' || k::text FROM unnest('{f,p,a,w}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_proc WHERE prokind = k AND oid >= 16384)
        UNION ALL SELECT 'aggregate ' || k::text FROM unnest('{n,o,h}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_aggregate WHERE aggkind = k AND aggfnoid >= 16384)
        UNION ALL SELECT 'type ' || k::text FROM unnest('{b,c,d,e,m,p,r}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_type WHERE typtype = k AND oid >= 16384)
        UNION ALL SELECT 'constraint ' || k::text FROM unnest('{c,f,p,u,t,x}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE contype = k AND oid >= 16384)
        UNION ALL SELECT 'constraint that is ' || s::text FROM (SELECT 'deferrable' AS s WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE condeferrable AND oid >= 16384)
            UNION ALL SELECT 'deferred' WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE condeferred AND oid >= 16384)
            UNION ALL SELECT 'not validated' WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE NOT convalidated AND oid >= 16384)
            UNION ALL SELECT 'not inherited' WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE connoinherit AND contype = 'c' AND oid >= 16384)) x
        UNION ALL SELECT 'trigger in state ' || k::text FROM unnest('{O,D,R,A}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = k AND oid >= 16384)
        UNION ALL SELECT 'rule in state ' || k::text FROM unnest('{O,D,R,A}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_enabled = k AND oid >= 16384)
        UNION ALL SELECT 'event trigger in state ' || k::text FROM unnest('{O,D,R,A}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled = k)
        UNION ALL SELECT 'event trigger on ' || k::text FROM unnest('{ddl_command_start,ddl_command_end,sql_drop,table_rewrite}'::text[] || CASE WHEN v >= 17 THEN '{login}'::text[] ELSE '{}' END) k WHERE NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtevent = k)
        UNION ALL SELECT 'policy for ' || k::text FROM unnest('{*,a,w,d}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_policy WHERE polcmd = k)
        UNION ALL SELECT 'cast by ' || k::text FROM unnest('{f,i,b}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_cast WHERE castmethod = k AND oid >= 16384)
        UNION ALL SELECT 'cast in context ' || k::text FROM unnest('{e,a,i}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_cast WHERE castcontext = k AND oid >= 16384)
        UNION ALL SELECT 'default privileges on ' || k::text FROM unnest('{r,S,f,T,n}'::"char"[] || CASE WHEN v >= 18 THEN '{L}'::"char"[] ELSE '{}' END) k WHERE NOT EXISTS (SELECT FROM pg_default_acl WHERE defaclobjtype = k)
        UNION ALL SELECT 'identity ' || k::text FROM unnest('{d}'::"char"[]) k WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attidentity = k)
        UNION ALL SELECT 'catalog ' || c::text FROM unnest('{pg_namespace,pg_extension,pg_language,pg_am,pg_transform,pg_operator,pg_opclass,pg_opfamily,pg_collation,pg_conversion,
            pg_ts_parser,pg_ts_template,pg_ts_dict,pg_ts_config,pg_statistic_ext,pg_foreign_data_wrapper,pg_foreign_server,pg_user_mapping,pg_publication,pg_subscription,
            pg_publication_rel,pg_default_acl,pg_largeobject_metadata}'::text[] || CASE WHEN v >= 15 THEN '{pg_publication_namespace}'::text[] ELSE '{}' END) c
        WHERE (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM pg_catalog.%I WHERE oid >= 16384', c), false, true, '')))[1]::text = '0'
    ) x (what);
    IF missing IS NOT NULL THEN RAISE EXCEPTION 'every_object.sql has no %', missing; END IF;
END $$;
