--
-- PostgreSQL database dump
--

\restrict x
-- Dumped from database version 17.6
-- Dumped by pg_dump version 17.6
SET client_encoding = 'LATIN1';
SET standard_conforming_strings = on;
CREATE TABLE public.größe (
    id integer NOT NULL,
    b bytea,
    at timestamp with time zone
);
--
-- Name: 7; Type: BLOB METADATA; Schema: -; Owner: me
--

SELECT pg_catalog.lo_create('7');
ALTER LARGE OBJECT 7 OWNER TO me;
--
-- Data for Name: größe; Type: TABLE DATA; Schema: public; Owner: me
--

COPY public.größe (id, b, at) FROM stdin;
1	\\x00ff	2024-01-01 00:00:00+02
2	\N	\N
\.
--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;
SELECT pg_catalog.lo_open('7', 131072);
SELECT pg_catalog.lowrite(0, '\x0102');
SELECT pg_catalog.lo_close(0);
COMMIT;
REVOKE ALL ON LARGE OBJECT 7 FROM me;
GRANT SELECT ON LARGE OBJECT 7 TO PUBLIC;
COMMENT ON LARGE OBJECT 7 IS 'ä';
-- PostgreSQL database dump complete
--

\unrestrict x
