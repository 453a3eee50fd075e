--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
SET standard_conforming_strings = off;
CREATE TABLE t (
    a integer,
    "B c" text DEFAULT 'x\\'
);
CREATE SEQUENCE s START WITH 1;
--
-- Data for Name: t; Type: TABLE DATA; Schema: -; Owner: me
--

INSERT INTO t (a, "B c") VALUES (1, 'a''\\b'), (-2, NULL);
INSERT INTO t (a, "B c") VALUES (3, E'é');
SELECT pg_catalog.setval('s', 3, true);
ALTER TABLE ONLY t ADD CONSTRAINT k UNIQUE (a);
-- PostgreSQL database dump complete
--
