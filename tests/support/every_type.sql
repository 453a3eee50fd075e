-- Every column type there is, values at their limits, and shapes of tables that have lost rows elsewhere.
CREATE ROLE every_type_reader;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('sad','ok','very happy');
CREATE TYPE comp AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN dbytea AS bytea;
CREATE TABLE all_text (id serial primary key, b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n numeric, n2 numeric(20,4), t text, v varchar(40), c char(10), nm name, j json, jb jsonb, u uuid, d date, ts timestamp, tz timestamptz, tm time, ttz timetz, iv interval, e mood, ci citext, po posint, ia int[], ta text[], cp comp, r int4range, mr int4multirange, x xml, tv tsvector, ip inet, ch "char", mo money, ma macaddr, bi bit(5), vb varbit, pt point, rc regclass, by bytea[]);
INSERT INTO all_text (b,i2,i4,i8,o,f4,f8,n,n2,t,v,c,nm,j,jb,u,d,ts,tz,tm,ttz,iv,e,ci,po,ia,ta,cp,r,mr,x,tv,ip,ch,mo,ma,bi,vb,pt,rc,by) VALUES
 (true,-32768,2147483647,-9223372036854775808,4294967295,'1e-45','5e-324','NaN',1.5,E'a\tb\nc\\d\r\b\f\v','v','c','nm','{"a": 1,  "a":2}','{"z":[1,2.50]}','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','infinity','-infinity','294276-12-31 23:59:59.999999+00','24:00:00','23:59:59.999999-15:59:59','1 year -2 mons 3 days 04:05:06.789','very happy','CiText',3,'{1,NULL,3}','{"a,b","\"",NULL}','(1,"x y")','[1,5)','{[1,2),[5,9)}','<a>&lt;</a>','''fat'':2 cat:3','192.168.0.1/24','a',12.34,'08:00:2b:01:02:03','10101','101','(1,2)','all_text','{"\\x00ff",NULL}'),
 (false,0,0,0,0,'-0','NaN','Infinity',-99999999999999.9999,E'\\.','','','','[]','null',NULL,'4714-11-24 BC','0044-03-15 12:00:00 BC','4714-11-24 00:00:00+00 BC','00:00:00','00:00:00+00','-1 days','sad','',1,'{}','{}',NULL,'empty','{}','','','::1',E'\\200',-0.01,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO all_text (n) VALUES ('-Infinity'),(0),(0.00),(1e100),(1e-100),(-1.50000),(10000),(99990000.0001),(NULL);
CREATE TABLE bin (id bigint GENERATED ALWAYS AS IDENTITY primary key, b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n numeric, n2 numeric(20,4), t text, v varchar(40), c char(10), nm name, j json, jb jsonb, u uuid, d date, ts timestamp, tz timestamptz, tm time, e mood, ci citext, po posint, file bytea, db dbytea, g int GENERATED ALWAYS AS (i4 / 2) STORED);
INSERT INTO bin (b,i2,i4,i8,o,f4,f8,n,n2,t,v,c,nm,j,jb,u,d,ts,tz,tm,e,ci,po) SELECT b,i2,i4,i8,o,f4,f8,n,n2,t,v,c,nm,j,jb,u,d,ts,tz,tm,e,ci,po FROM all_text ORDER BY id;
INSERT INTO bin (n,f8,f4,ts,tz,d,tm) SELECT (random()-0.5)::numeric * 10::numeric ^ (i % 40 - 20), exp(random()*1400-700), exp(random()*170-85), timestamp '-infinity' , '2000-01-01'::timestamptz + (random()-0.04) * interval '100000 years', date '2000-01-01' + ((random()-0.3)*2000000)::int, time '00:00' + random()*interval '24 hours' FROM generate_series(1,5000) i;
UPDATE bin SET file = decode(repeat('ab', (id % 200)::int), 'hex'), db = CASE WHEN id % 3 = 0 THEN decode(repeat(md5(id::text), (id % 300)::int),'hex') END;
INSERT INTO bin (i4, file) VALUES (7, ''), (8, '\x00'), (9, decode(repeat('00',64),'hex')), (10, decode(repeat('11',65),'hex')), (11, (SELECT string_agg(decode(md5(i::text),'hex'),''::bytea) FROM generate_series(1,65536) i));
CREATE TABLE hexed (id int, tags text[], file bytea, r comp);
INSERT INTO hexed SELECT i, ARRAY['a',i::text,NULL,E'b\\\t'], decode(repeat(md5(i::text),i % 400),'hex'), (i,'z')::comp FROM generate_series(1,2000) i;
CREATE TABLE nocols (); INSERT INTO nocols SELECT FROM generate_series(1,7);
CREATE TABLE norows (a int, b bytea);
CREATE TABLE "Weird ""T"" ünï" ("select" int primary key, "A b" text, "ts" timestamptz default now());
INSERT INTO "Weird ""T"" ünï" VALUES (1,'x'),(2,NULL);
CREATE TABLE part (id int, k text, primary key (id)) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (500);
CREATE TABLE part2 (k text, id int not null); ALTER TABLE part ATTACH PARTITION part2 FOR VALUES FROM (500) TO (2000);
INSERT INTO part SELECT i, 'k'||i FROM generate_series(0,1999) i;
CREATE TABLE parent (a int); CREATE TABLE child (b text) INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2,'c');
CREATE TABLE ref (id int primary key, bin_id bigint references bin, self int references ref, p int references part);
INSERT INTO ref VALUES (1, 1, 1, 3), (2,NULL,1,NULL);
CREATE SEQUENCE lone START 5; SELECT nextval('lone'), nextval('lone'); CREATE SEQUENCE untouched;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) c FROM bin;
CREATE INDEX ON all_text (t); CREATE INDEX ON bin (i4); CREATE INDEX ON bin (n); CREATE INDEX ON hexed(id);
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trigger fired'; END $$;
CREATE TRIGGER t BEFORE INSERT ON ref FOR EACH ROW EXECUTE FUNCTION trg();
ALTER TABLE ref ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON ref USING (false);
SELECT lo_from_bytea(50001, '\x0102'), lo_from_bytea(50002, ''), lo_from_bytea(50003, decode(repeat('ab', 70000),'hex')), lo_from_bytea(50004,  (SELECT string_agg(decode(md5(i::text),'hex'),''::bytea) FROM generate_series(1,1500000) i));
COMMENT ON LARGE OBJECT 50002 IS 'it''s empty'; GRANT SELECT ON LARGE OBJECT 50003 TO every_type_reader; GRANT SELECT ON LARGE OBJECT 50003 TO PUBLIC; ALTER LARGE OBJECT 50001 OWNER TO every_type_reader;
