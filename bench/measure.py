#!/usr/bin/env python3
"""Measures whole commands on a database of real images and ordinary rows, side by side.

Makes the database on a throwaway server, runs pgark and PostgreSQL's own tools in alternation, and
prints medians: wall time, processor time of the command and of the server, peak memory, size. Run
it through bench/measure.sh, which gets what is needed.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
SCHEMA = """
CREATE TABLE account (id integer PRIMARY KEY, name text NOT NULL, "createdAt" timestamptz NOT NULL);
CREATE TABLE image (
    id integer PRIMARY KEY, "fileId" varchar(255) NOT NULL UNIQUE, file bytea NOT NULL,
    "mimeType" varchar(255) NOT NULL, "fileHash" varchar(32) NOT NULL);
CREATE TABLE notification (
    id bigint PRIMARY KEY, "accountId" integer NOT NULL REFERENCES account (id),
    "imageId" varchar(255) REFERENCES image ("fileId"), title text NOT NULL, sent boolean NOT NULL,
    "createdAt" timestamptz NOT NULL);
CREATE INDEX ON notification ("accountId");
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help="directory of the server's programs")
    parser.add_argument("--images", required=True, help="directory of images, searched through")
    parser.add_argument("--pgark", required=True, help="the pgark binary")
    parser.add_argument("--scale", type=float, default=float(os.environ.get("SCALE", "1")),
                        help="gigabytes of images, repeats included (default: 1, or $SCALE)")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each command (default: 3)")
    parser.add_argument("--only-pgark", action="store_true", help="not the peers: for memory on large data")
    parser.add_argument("--memory", default="256M", help="pgark's --memory (default: 256M)")
    parser.add_argument("--keep", metavar="FILE", help="copy the archive there, to profile verify with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgark-bench.") as work, Server(options.bin) as server:
        measure(options, server, work)


def measure(options, server, work):
    images, rows = apart(lambda: fill(options, server))
    print(machine())
    print(f"{server.run('postgres', '--version').strip()}; {images}; {rows:,} other rows; "
          f"median of {options.runs}\n")
    commands = list(plan(options, server, work))
    results = {command.name: [] for command in commands}
    # In alternation, so that a machine that becomes slower is so for all.
    for _ in range(options.runs):
        for command in commands:
            if command.target:
                server.sql("postgres", "DROP DATABASE IF EXISTS target WITH (FORCE)")
                server.sql("postgres", "CREATE DATABASE target TEMPLATE template0")
            elif command.result:
                remove(command.result)
            if command.before:
                command.before()
            measured = timed(server, command.name, command.argv)
            results[command.name].append(measured + (size(command.result),))
    if options.keep:
        shutil.copyfile(f"{work}/bench.pgark", options.keep)
    print("| command | time | own CPU | server CPU | peak memory | size |")
    print("|---|---|---|---|---|---|")
    times, sizes = {}, {}
    for name, runs in results.items():
        wall, own, other, peak, length = (statistics.median(column) for column in zip(*runs))
        times[name], sizes[name] = wall, length
        stored = f"{length / 1e6:,.0f} MB" if length else ""
        print(f"| {name} | {wall:.2f} s | {own:.2f} s | {other:.2f} s | {int(peak) >> 20} MiB | {stored} |")
    print()
    for ours, theirs in RATIOS:
        if ours in times and theirs in times:
            print(f"{ours} / {theirs}: {times[ours] / times[theirs]:.2f}")
    dumps = [sizes[name] for name in sizes if name.startswith("pg_dump") and sizes[name]]
    if dumps:
        print(f"size of the archive / of the smaller dump: {sizes['pgark create'] / min(dumps):.2f}")
    print(f"repair: {sizes['pgark create'] / 1e6 / times['pgark repair']:.0f} MB/s")


RATIOS = (
    ("pgark create", "pgark create, no parity"),
    ("pgark create", "pg_dump -Fc"),
    ("pgark create", "pg_dump -Fd -j2"),
    ("pgark create", "pg_dump -Fd -j2 zstd:1"),
    ("pgark create", "pg_dump piped to restic"),
    ("pgark create", "pg_dump piped to borg"),
    ("pgark verify", "sha256 of the archive"),
    ("pgark verify", "restic check --read-data"),
    ("pgark verify", "borg check --verify-data"),
    ("pgark restore", "pg_restore -j2"),
    ("pgark compare", "COPY by the server (limit)"),
)


class Command:
    """A command that is measured."""

    def __init__(self, name, argv, result=None, target=False, before=None):
        self.name, self.argv = name, argv
        # What it makes, which is removed first; whether it wants a new target database; what is to
        # be done first.
        self.result, self.target, self.before = result, target, before


def plan(options, server, work):
    pgark, archive, dump = options.pgark, f"{work}/bench.pgark", f"{work}/dump"
    memory = ["--memory", options.memory, "--no-progress", "--quiet"]
    peers = not options.only_pgark
    yield Command("COPY by the server (limit)", ["bash", "-c", copy_limit(server)])
    yield Command("pgark create", [pgark, "create", "bench", "-o", archive, *memory], archive)
    for what, name, more in (("not read back", "2", ["--no-read-back"]), ("no parity", "3", ["--parity", "0"])):
        yield Command(f"pgark create, {what}", [pgark, "create", "bench", "-o", archive + name, *more, *memory],
                      archive + name)
    if peers:
        pg_dump = server.path("pg_dump")
        forms = {"-Fc": ["-Fc"], "-Fd -j2": ["-Fd", "-j2"]}
        # Compression by zstd came with version 16.
        if server.major >= 16:
            forms["-Fd -j2 zstd:1"] = ["-Fd", "-j2", "-Z", "zstd:1"]
        for number, (form, arguments) in enumerate(forms.items()):
            file = f"{dump}{number}"
            yield Command(f"pg_dump {form}", [pg_dump, *arguments, "-f", file, "bench"], file)
        yield from repositories(server, work)
    yield Command("pgark verify", [pgark, "verify", archive, *memory])
    openssl = shutil.which("openssl")
    yield Command("sha256 of the archive", [openssl, "dgst", "-sha256", archive] if openssl else ["sha256sum", archive])
    yield Command("pgark verify --quick", [pgark, "verify", "--quick", archive, "--quiet"])
    yield Command("pgark compare", [pgark, "compare", archive, "--with", "bench", *memory])
    fixed = f"{work}/fixed.pgark"
    yield Command("pgark repair", [pgark, "repair", archive + "d", "-o", fixed, *memory], fixed,
                  before=lambda: scatter(archive, archive + "d"))
    yield Command("pgark restore", [pgark, "restore", archive, "--to", "target", *memory], target=True)
    if peers:
        yield Command("pg_restore -j2", [server.path("pg_restore"), "-j2", "-d", "target", f"{dump}1"], target=True)


def repositories(server, work):
    """The ways by restic and borg, where these are there."""
    pg_dump = f"'{server.path('pg_dump')}' bench"
    server.env.update(RESTIC_PASSWORD="bench", RESTIC_CACHE_DIR=f"{work}/cache", BORG_BASE_DIR=f"{work}/borg.home",
                      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
    for tool, begin, take, check, what in (
        ("restic", "restic init -r", "restic backup -q --stdin -r", "restic check -q --read-data -r", "--read-data"),
        ("borg", "borg init -e none", "borg create --stdin-name bench.sql", "borg check --verify-data",
         "--verify-data"),
    ):
        if not shutil.which(tool):
            print(f"measure.py: no {tool} here: left out", file=sys.stderr)
            continue
        place = f"{work}/{tool}"
        end = "" if tool == "restic" else "::bench -"
        yield Command(f"pg_dump piped to {tool}",
                      ["bash", "-c", f"set -o pipefail; {pg_dump} | {take} {place}{end}"], place,
                      before=lambda begin=begin, place=place: quiet(server, f"{begin} {place}"))
        yield Command(f"{tool} check {what}", ["bash", "-c", f"{check} {place}"])


def quiet(server, line):
    subprocess.run(["bash", "-c", line], env=server.env, check=True, stdout=subprocess.DEVNULL)


def scatter(whole, damaged):
    """A copy with a byte changed in every 4 MB."""
    shutil.copyfile(whole, damaged)
    with open(damaged, "r+b") as file:
        for at in range(100_000, os.path.getsize(whole), 4_000_000):
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ 0x55]))


def copy_limit(server):
    psql = f"'{server.path('psql')}' -X -q -d bench -c"
    one = f"{psql} 'COPY image TO STDOUT (FORMAT binary)' >/dev/null"
    two = f"{psql} 'COPY notification TO STDOUT' >/dev/null"
    return f"{one} & {two} & wait"


def timed(server, name, argv):
    before, start = server.cpu(), time.monotonic()
    child = subprocess.Popen(argv, env=server.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{name}: exit code {child.returncode}\n{said.decode(errors='replace')}")
    return wall, used.ru_utime + used.ru_stime, max(server.cpu() - before, 0.0), used.ru_maxrss << 10


def apart(work):
    """What `work` answers, done in a child: a command started from a process that was ever large
    has that one's peak memory in its account."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            status = 0
        except SystemExit as error:
            print(error, file=sys.stderr)
        except Exception:  # the child must not go on as the parent
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("measure.py: the database could not be made")
    return json.loads(said)


def fill(options, server):
    """Three tenths of the images are repeats, as in real tables."""
    found = []
    for folder, _, names in os.walk(options.images):
        for name in names:
            path = os.path.join(folder, name)
            kind = KINDS.get(os.path.splitext(name)[1].lower())
            if kind and not os.path.islink(path) and os.path.getsize(path) > 64:
                found.append((path, kind))
    if not found:
        sys.exit(f"measure.py: no images in {options.images}")
    found.sort()
    luck = random.Random(1)
    luck.shuffle(found)
    wanted, total, distinct, real, number, keys = int(options.scale * 1e9), 0, 0, 0, 0, []
    server.sql("postgres", "CREATE DATABASE bench TEMPLATE template0")
    server.sql("bench", SCHEMA)
    seen = []
    with Copy(server, "image") as copy:
        turn = 0
        while total < wanted:
            if seen and luck.random() < 0.3:
                data, kind = seen[luck.randrange(len(seen))]
            else:
                path, kind = found[turn % len(found)]
                with open(path, "rb") as file:
                    data = file.read()
                # There are not enough images for any scale: what comes again is random bytes of the
                # same length, so that it is no repeat. It is no image either, and is not decoded.
                if turn >= len(found):
                    data = hashlib.shake_256(f"{turn}".encode()).digest(len(data))
                turn += 1
                distinct += len(data)
                real += len(data) if turn <= len(found) else 0
                seen.append((data, kind))
                del seen[:-400]
            number += 1
            key = f"{luck.getrandbits(128):032x}"
            keys.append(key)
            total += len(data)
            copy.row(str(number), key, "\\\\x" + data.hex(), kind, hashlib.md5(data).hexdigest())
    accounts = 20_000
    with Copy(server, "account") as copy:
        for account in range(accounts):
            copy.row(str(account), f"account {account}", "2026-01-01 00:00:00+00")
    rows = int(1_000_000 * options.scale)
    with Copy(server, "notification") as copy:
        for row in range(rows):
            copy.row(str(row), str(luck.randrange(accounts)), luck.choice(keys) if row % 3 else "\\N",
                     f"Offer number {luck.randrange(5000)}: {luck.choice(WORDS)} {luck.choice(WORDS)}",
                     "t" if row % 7 else "f", f"2026-{row % 12 + 1:02}-{row % 28 + 1:02} 08:{row % 60:02}:00+00")
    server.sql("bench", "VACUUM ANALYZE")
    server.sql("bench", "CHECKPOINT")
    return (f"{number:,} images, {total / 1e9:.2f} GB, {distinct / 1e9:.2f} GB distinct "
            f"({real / 1e9:.2f} GB real images, the rest random bytes)", rows + accounts)


WORDS = "summer winter travel savings holiday transfer payment gift welcome reward".split()


def machine():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release().split('-')[0]}"


def size(path):
    if not path or not os.path.exists(path):
        return 0
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


class Copy:
    """Rows into a table, as COPY text."""

    def __init__(self, server, table):
        argv = [server.path("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "bench",
                "-c", f"COPY {table} FROM STDIN"]
        self.table, self.psql = table, subprocess.Popen(argv, env=server.env, stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def row(self, *fields):
        self.psql.stdin.write(("\t".join(fields) + "\n").encode())

    def __exit__(self, *_):
        self.psql.stdin.close()
        if self.psql.wait() != 0:
            sys.exit(f"measure.py: loading {self.table} failed")


class Server:
    """A throwaway server; it ends with this process."""

    def __init__(self, directory):
        self.bin = directory
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scripts", "throwaway.sh")
        settings = ["shared_buffers=1GB", "max_wal_size=4GB", "maintenance_work_mem=256MB"]
        self.leash = subprocess.Popen(["bash", script, directory, *settings],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.leash.stdout.readline().split()
        if ready[:1] != ["ready"]:
            sys.exit("measure.py: the server did not start")
        self.data = os.path.join(ready[1], "data")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        self.env.update(PGOPTIONS="-c client_min_messages=warning", PGHOST=ready[1], PGPORT="5432", PGUSER="postgres",
                        PATH=directory + os.pathsep + os.environ["PATH"])
        self.major = int(self.run("postgres", "--version").split()[2].split(".")[0])
        with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as file:
            self.pid = int(file.readline())
        self.known, self.watching = {}, True
        threading.Thread(target=self.watch, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watching = False
        self.leash.stdin.close()
        self.leash.wait()

    def path(self, program):
        return os.path.join(self.bin, program)

    def run(self, program, *arguments):
        return subprocess.run([self.path(program), *arguments], env=self.env, check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def sql(self, database, sql):
        self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql)

    def watch(self):
        """Sums the time of all backends: one that has ended is not in any figure of the system's."""
        tick = os.sysconf("SC_CLK_TCK")
        while self.watching:
            for entry in os.listdir("/proc"):
                if not entry.isdigit():
                    continue
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.pid:
                    self.known[entry] = (int(fields[11]) + int(fields[12])) / tick
            time.sleep(0.05)

    def cpu(self):
        time.sleep(0.1)
        return sum(self.known.copy().values())


if __name__ == "__main__":
    main()
