#!/usr/bin/env python3
"""How large thin archives are: a database of images and rows, a full archive, and after each of
several kinds of change a thin one on it. Makes the table of docs/measurements.md.

    bench/run.sh thin.py        (any server of .cache/postgresql: --bin DIR --pgark FILE)
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

from measure import Server

# Random bytes: 10,000 values, half of them under 8 KB, one in fifty of several chunks; and rows.
FILL = """
CREATE FUNCTION noise(seed int, bytes int) RETURNS bytea LANGUAGE sql AS
  $$ SELECT string_agg(sha256(int4send(seed * 40000 + n)), '') FROM generate_series(0, bytes / 32) n $$;
CREATE TABLE image (id int PRIMARY KEY, name text NOT NULL, media_type text NOT NULL, file bytea NOT NULL);
ALTER TABLE image ALTER COLUMN file SET STORAGE EXTERNAL;
INSERT INTO image SELECT i, 'image ' || i, 'image/jpeg',
  noise(i, CASE WHEN i % 50 = 0 THEN 700000 WHEN i % 5 = 0 THEN 60000 ELSE 1000 + i % 13000 END)
  FROM generate_series(1, {images}) i;
CREATE TABLE item (id int PRIMARY KEY, image int NOT NULL, changed timestamptz NOT NULL, words text NOT NULL);
INSERT INTO item SELECT i, i % {images} + 1, '2026-01-01'::timestamptz + i * interval '1 second', md5(i::text) || ' of ' || i % 100
  FROM generate_series(1, {rows}) i;
ANALYZE;
"""

CHANGES = [
    ("nothing", ""),
    ("1 % of the images and of the rows are new",
     """INSERT INTO image SELECT i, 'image ' || i, 'image/jpeg', noise(i, CASE WHEN i % 50 = 0 THEN 700000 WHEN i % 5 = 0 THEN 60000 ELSE 1000 + i % 13000 END)
        FROM generate_series({images} + 1, {images} + {images} / 100) i;
        INSERT INTO item SELECT i, i % {images} + 1, now(), md5(i::text) FROM generate_series({rows} + 1, {rows} + {rows} / 100) i;"""),
    ("1 % of the images replaced, 1 % of the rows updated, side by side",
     """UPDATE image SET file = noise(id + 20000, length(file)) WHERE id BETWEEN 5001 AND 5000 + {images} / 100;
        UPDATE item SET changed = now() WHERE id BETWEEN 30001 AND 30000 + {rows} / 100;"""),
    ("1 % of the images and of the rows deleted, side by side",
     """DELETE FROM image WHERE id BETWEEN 7001 AND 7000 + {images} / 100;
        DELETE FROM item WHERE id BETWEEN 100001 AND 100000 + {rows} / 100;"""),
    ("1 % of the images replaced, 1 % of the rows updated, all over",
     """UPDATE image SET file = noise(id + 40000, length(file)) WHERE id % 100 = 7;
        UPDATE item SET changed = now() WHERE id % 100 = 7;"""),
    ("no value, but the rows of both tables in another order",
     """CREATE INDEX by_words ON item (words); CLUSTER item USING by_words; DROP INDEX by_words;
        CREATE INDEX by_name ON image (md5(name)); CLUSTER image USING by_name; DROP INDEX by_name;"""),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--pgark", required=True)
    parser.add_argument("--images", help="not used: all is made by SQL")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--rows", type=int, default=600000)
    options = parser.parse_args()
    scale = {"images": options.count, "rows": options.rows}
    with Server(os.path.abspath(options.bin)) as server, tempfile.TemporaryDirectory() as folder:

        def pgark(*arguments):
            began = time.monotonic()
            child = subprocess.Popen([os.path.abspath(options.pgark), *arguments], env=server.env, cwd=folder,
                                     stdout=subprocess.PIPE, text=True)
            out = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise SystemExit(f"{arguments}: exit {child.returncode}: {out}")
            return json.loads(out), time.monotonic() - began, usage.ru_maxrss / 1024

        def create(name, *more):
            return pgark("create", "dbname=shop", "-o", name, "--json", "--no-read-back", *more)

        server.run("createdb", "shop")
        server.sql("shop", FILL.format(**scale))
        full, seconds, memory = create("full.pgark")
        whole = full["bytes"]
        print(f"full: {whole / 1e6:.1f} MB, {full['rows']:,} rows, {seconds:.1f} s, {memory:.0f} MiB", flush=True)
        print("| changed since the base | thin archive | of the full one | taken from the base | peak memory |")
        print("|---|---|---|---|---|")
        base = "full.pgark"
        for number, (what, sql) in enumerate(CHANGES):
            server.sql("shop", sql.format(**scale) or "SELECT 1")
            name = f"thin{number}.pgark"
            thin, seconds, memory = create(name, "--base", base)
            now, _, _ = create(f"full{number}.pgark")
            base = f"full{number}.pgark"
            print(f"| {what} | {thin['bytes'] / 1e6:.2f} MB | {100 * thin['bytes'] / now['bytes']:.2f} % | "
                  f"{thin['taken_bytes'] / 1e6:.1f} MB | {memory:.0f} MiB |", flush=True)
            if number:
                verified, _, memory = pgark("verify", name, "--json")
                assert verified["ok"]
                print(f"<!-- verify: {memory:.0f} MiB -->", flush=True)
            for old in (f"full{number - 2}.pgark", f"thin{number - 1}.pgark"):
                if os.path.exists(os.path.join(folder, old)):
                    os.remove(os.path.join(folder, old))


if __name__ == "__main__":
    main()
