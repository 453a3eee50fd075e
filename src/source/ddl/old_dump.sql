--
-- PostgreSQL database dump
--

-- Dumped from database version 9.6.2
-- Dumped by pg_dump version 9.6.2

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'LATIN1';
SET standard_conforming_strings = off;
SET check_function_bodies = false;
SET client_min_messages = warning;
SET escape_string_warning = off;
SET row_security = off;

DROP DATABASE shop;
CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'km_KH' LC_CTYPE = 'C';
ALTER DATABASE shop OWNER TO me;
\connect shop

CREATE SCHEMA "Other s";
CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;
COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL; procedural language';
CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;

SET search_path = public, pg_catalog;

CREATE TYPE mood AS ENUM (
    'sad\\',
    'o''k'
);
ALTER TYPE mood OWNER TO me;
CREATE TYPE temps AS RANGE (
    subtype = double precision
);
CREATE DOMAIN code AS character varying(7) NOT NULL
	CONSTRAINT code_check CHECK (((VALUE)::text <> ''::text));
CREATE FUNCTION f() RETURNS integer
    LANGUAGE sql
    AS $_$ SELECT 1; $_$;
SET default_tablespace = '';
SET default_with_oids = false;

CREATE TABLE items (
    id integer NOT NULL,
    m mood DEFAULT 'sad\\'::mood,
    ms mood[],
    c code,
    t temps,
    place geometry(Point,4326),
    name text COLLATE "C" DEFAULT 'it''s'::text
);
ALTER TABLE items OWNER TO me;
SET default_with_oids = true;
CREATE TABLE with_oids (
    id integer
)
WITH (autovacuum_enabled=off);
SET default_with_oids = false;
CREATE SEQUENCE items_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER TABLE items_id_seq OWNER TO me;
ALTER SEQUENCE items_id_seq OWNED BY items.id;
CREATE TABLE v (
    id integer,
    n bigint
);
ALTER TABLE ONLY v REPLICA IDENTITY NOTHING;
ALTER TABLE v OWNER TO me;

SET search_path = "Other s", pg_catalog;
CREATE TABLE items (
    id integer,
    of_public public.mood
);
SET search_path = public, pg_catalog;
ALTER TABLE ONLY items ALTER COLUMN id SET DEFAULT nextval('items_id_seq'::regclass);
SELECT pg_catalog.setval('items_id_seq', 41, true);
ALTER TABLE ONLY items
    ADD CONSTRAINT items_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX items_name ON items USING btree (name);
CREATE RULE "_RETURN" AS
    ON SELECT TO v DO INSTEAD  SELECT items.id,
    count(*) AS n
   FROM items
  GROUP BY items.id;
SET search_path = "Other s", pg_catalog;
ALTER TABLE ONLY items
    ADD CONSTRAINT items_id_fkey FOREIGN KEY (id) REFERENCES public.items(id) MATCH FULL;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
