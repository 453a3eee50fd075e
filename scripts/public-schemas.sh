#!/usr/bin/env bash
# Round trips of public projects' databases: fetches their SQL from GitHub, at the commits named
# here, loads it, and compares what comes back, on each version of PostgreSQL and from the oldest
# that loads it to the newest. Prints a Markdown table. Not a part of `make test`: it needs the
# network, and nothing of these projects is in this repository. With PUBLIC_SCHEMAS_MIRROR=DIR,
# bare repositories are taken from DIR/<owner>+<name>/repo instead.
#
#   scripts/public-schemas.sh [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prepare.sh build >&2
scripts/servers.sh 14 15 16 17 18 >&2
work=$(mktemp -d "${TMPDIR:-/tmp}/pgark-schemas.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The servers run as somebody else, and some of this is read by them.
chmod 755 "$work"
mkdir "$work/git" "$work/sql"

# repository OWNER/NAME COMMIT: its git directory in $git.
repository() {
    if [ -n "${PUBLIC_SCHEMAS_MIRROR:-}" ]; then
        git=$PUBLIC_SCHEMAS_MIRROR/${1/\//+}/repo
    else
        git=$work/git/${1/\//+}
        git init -q --bare "$git"
        git -C "$git" fetch -q --depth 1 "https://github.com/$1" "$2"
    fi
    commit=$2
}

# file PATH: to standard output.
file() { git -C "$git" show "$commit:$1"; }

# begin NAME LICENCE: a folder in $sql, if it is wanted.
begin() {
    sql=$work/sql/$1
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $1 "* ]]; then return 1; fi
    mkdir "$sql"
    echo "+ $1 ($2)" >&2
}
wanted=("$@")

# Sakila for PostgreSQL, with all its rows: partitions, triggers, domains, full text, materialized
# views.
if begin pagila MIT; then
    # Before it needed an extension that the test servers do not have.
    repository devrimgunduz/pagila fef9675714cfba1756df4719b5e36075a7ddf90e
    for name in schema data; do file "pagila-$name.sql"; done >"$sql/load.sql"
fi

# A shop of records, with all its rows.
if begin chinook MIT; then
    repository lerocha/chinook-database 7f67772503d71ba90f19283c38e93923addb43fa
    # It makes a database of its own and goes there.
    file ChinookDatabase/DataSources/Chinook_PostgreSql.sql |
        sed -E '/^(DROP DATABASE|CREATE DATABASE|\\c )/d' >"$sql/load.sql"
fi

# Another shop, with bytea columns.
if begin northwind 'Microsoft Public License'; then
    repository pthom/northwind_psql cd0ef28d66369fbe177778e604e4be0f153c9e5c
    file northwind.sql >"$sql/load.sql"
fi

# A web service's own tests: rows in tables of every shape, names in other scripts, foreign tables,
# overloaded functions, row security, domains with casts.
if begin postgrest MIT; then
    repository PostgREST/postgrest 4834678902681402a56c490f29947826e7ed5308
    for name in database roles schema jwt jsonschema privileges data; do
        # Without PostGIS, which the test servers do not have.
        file "test/spec/fixtures/$name.sql" |
            sed -E 's/extensions\.geometry(\([A-Z]+, 4326\))?/text/gI; s/extensions\.ST_GeomFromGeoJSON\(/(/I; /create extension if not exists postgis/Id' |
            sed -E '/DROP ROLE IF EXISTS/d; s/^CREATE ROLE ([a-z_]+)(.*);/DO $$ BEGIN CREATE ROLE \1\2; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;/' \
                >"$sql/$name.sql"
    done
    {
        echo 'SET check_function_bodies = off; \set PGUSER postgres'
        for name in database roles schema jwt jsonschema privileges data; do echo "\\ir $name.sql"; done
        # Views that select from themselves: pg_dump writes SQL for them that no server takes.
        echo 'DROP VIEW test.infinite_recursion, test.self_recursive_view;'
        # They have an argument called "json", a keyword since version 16, which version 14 itself
        # writes without quotes.
        echo 'DROP FUNCTION test.varied_arguments, test.varied_arguments_openapi;'
    } >"$sql/load.sql"
fi

# An encyclopedia of music: 300 tables in ten schemas, hundreds of functions, triggers and checks.
if begin musicbrainz 'GPL 2 or later'; then
    repository metabrainz/musicbrainz-server 11cd769a5935c243a48455bc3a21158179170368
    schemas='musicbrainz cover_art_archive documentation event_art_archive json_dump report sitemaps statistics wikidocs dbmirror2'
    {
        for name in $schemas; do echo "CREATE SCHEMA IF NOT EXISTS $name;"; done
        for name in Extensions CreateCollations CreateTypes CreateTables caa/CreateTables \
            eaa/CreateTables documentation/CreateTables json_dump/CreateTables report/CreateTables \
            sitemaps/CreateTables statistics/CreateTables wikidocs/CreateTables InsertDefaultRows \
            CreatePrimaryKeys caa/CreatePrimaryKeys documentation/CreatePrimaryKeys \
            eaa/CreatePrimaryKeys json_dump/CreatePrimaryKeys statistics/CreatePrimaryKeys \
            wikidocs/CreatePrimaryKeys CreateSearchConfiguration CreateFunctions \
            caa/CreateFunctions eaa/CreateFunctions CreateIndexes caa/CreateIndexes \
            eaa/CreateIndexes json_dump/CreateIndexes sitemaps/CreateIndexes \
            statistics/CreateIndexes CreateFKConstraints caa/CreateFKConstraints \
            documentation/CreateFKConstraints eaa/CreateFKConstraints \
            sitemaps/CreateFKConstraints CreateConstraints SetSequences CreateViews \
            caa/CreateViews eaa/CreateViews CreateTriggers caa/CreateTriggers \
            eaa/CreateTriggers CreateSearchIndexes; do
            mkdir -p "$(dirname "$sql/$name")"
            # The test servers have no ICU.
            file "admin/sql/$name.sql" | sed -E "s/provider = icu,/provider = libc,/; s/locale = '@col.*'/locale = 'C'/" \
                >"$sql/$name.sql"
            echo 'SET search_path = musicbrainz, public;'
            echo "\\ir $name.sql"
        done
    } >"$sql/load.sql"
fi

# A map of the world: enums, GiST indexes, a Rails structure.sql.
if begin openstreetmap 'GPL 2'; then
    repository openstreetmap/openstreetmap-website 9da0fa5ecbff8adc5e6e91c7cf22546755a91f77
    file db/structure.sql | sed -E '/(CREATE|COMMENT ON) EXTENSION.* postgis/d; s/public\.geometry\(Polygon,4326\)/polygon/' \
        >"$sql/load.sql"
fi

# An image board: functions, expression and trigram indexes, partial keys.
if begin danbooru 'BSD 2-Clause'; then
    repository danbooru/danbooru 06587d1f933502ae5d749c967787d44be3938846
    file db/structure.sql >"$sql/load.sql"
fi

# Billing: enums, partitions, views on views, many foreign keys.
if begin lago 'AGPL 3'; then
    repository getlago/lago-api 1b1c24a6a6c321d7900b05906bf1b20f706c97c2
    # Without an extension that the test servers do not have, and its template tables.
    file db/structure.sql | sed -E '/(CREATE|COMMENT ON) EXTENSION.* pg_partman/d' >"$sql/load.sql"
fi

table=$work/table.md
status=0
PGARK_SCHEMAS=$work/sql PGARK_MATRIX=$table \
    cargo test --locked --test suite given_schemas -- --ignored --nocapture >&2 || status=$?
cat "$table"
exit "$status"
