#!/usr/bin/env python3
"""Damages backups of one database, and tells who notices.

Each try damages a fresh copy in one way, at a place drawn from a fixed seed. The same is done to an
archive of pgark, to a dump of pg_dump -Fc, and to the pack files of a restic repository that holds
the plain dump (a place is drawn from the bytes of all packs together). Run by scripts/damage.sh.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import types

import measure

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help="directory of the server's programs")
    parser.add_argument("--images", required=True, help="directory of images, searched through")
    parser.add_argument("--pgark", required=True, help="the pgark binary")
    parser.add_argument("--scale", type=float, default=0.03, help="gigabytes of images (default: 0.03)")
    parser.add_argument("--tries", type=int, default=20, help="of each kind of damage (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="(default: 1)")
    parser.add_argument("--only", default="", help="kinds of damage whose name has this in it")
    parser.add_argument("--no-peers", action="store_true", help="pgark alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgark-damage.") as work:
        os.chmod(work, 0o755)
        with measure.Server(options.bin) as server:
            told, rows = measure.fill(types.SimpleNamespace(**vars(options)), server)
            subjects = [Archive(options, server, work)]
            if not options.no_peers:
                subjects += [Dump(server, work), Restic(server, work)]
        print(f"{told}; {rows:,} other rows; seed {options.seed}")
        sizes = ", ".join(f"{subject.name} {subject.size() / 1e6:.1f} MB" for subject in subjects)
        print(f"{sizes}\n")
        sys.exit(campaign(options, subjects))


def flip(luck, data):
    at = luck.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1:]


def zeroed(length):
    def damage(luck, data):
        at = luck.randrange(max(1, len(data) - length)) // 512 * 512
        return data[:at] + bytes(min(length, len(data) - at)) + data[at + length:]
    return damage


def scattered(luck, data):
    out = bytearray(data)
    for _ in range(20):
        at = luck.randrange(len(out)) // 4096 * 4096
        out[at:at + 4096] = luck.randbytes(len(out[at:at + 4096]))
    return bytes(out)


def cut(luck, data):
    return data[:luck.randrange(len(data) // 2, len(data))]


def cut_little(luck, data):
    return data[:len(data) - luck.randrange(1, 20_000)]


def inserted(luck, data):
    at = luck.randrange(len(data))
    return data[:at] + luck.randbytes(1) + data[at:]


def removed(luck, data):
    at = luck.randrange(len(data) - 512) // 512 * 512
    return data[:at] + data[at + 512:]


def cuts(luck, data):
    for _ in range(3):
        at, length = luck.randrange(len(data)), luck.randrange(1, 4096)
        data = data[:at] + (luck.randbytes(length) + data[at:] if luck.randrange(2) else data[at + length:])
    return data


def as_text(luck, data):
    return data.replace(b"\n", b"\r\n")


def appended(luck, data):
    return data + luck.randbytes(1000)


KINDS = [
    ("one bit flipped", flip),
    ("a sector of 4 KiB zeroed", zeroed(4096)),
    ("256 KiB zeroed", zeroed(256 << 10)),
    ("20 sectors of 4 KiB overwritten", scattered),
    ("up to 20 kB missing at the end", cut_little),
    ("up to half missing at the end", cut),
    ("one byte inserted", inserted),
    ("512 bytes taken out", removed),
    ("3 cuts: up to 4 kB put in or taken out", cuts),
    ("sent in text mode", as_text),
    ("1000 bytes appended", appended),
]


def campaign(options, subjects):
    columns = [column for subject in subjects for column in subject.columns]
    print("| damage | tries | " + " | ".join(columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    missed = 0
    for name, damage in KINDS:
        if options.only not in name:
            continue
        seen = dict.fromkeys(columns, 0)
        for number in range(options.tries):
            for subject in subjects:
                # The same luck for each, and for each kind and try luck of its own.
                luck = random.Random(f"{options.seed} {name} {number}")
                for column, found in subject.tried(damage, luck).items():
                    seen[column] += found
        missed += options.tries - seen[columns[0]]
        print(f"| {name} | {options.tries} | " + " | ".join(str(seen[column]) for column in columns) + " |", flush=True)
    return 1 if missed else 0


def fails(argv, env=None):
    return subprocess.run(argv, env=env, **QUIET).returncode != 0


class Archive:
    """An archive of pgark."""

    name = "pgark"
    columns = ("pgark verify: found", "pgark repair: identical", "or salvaged")

    def __init__(self, options, server, work):
        self.pgark, self.path = options.pgark, os.path.join(work, "a.pgark")
        self.fixed = os.path.join(work, "fixed.pgark")
        subprocess.run([self.pgark, "create", "bench", "-o", self.path], env=server.env, check=True, **QUIET)
        with open(self.path, "rb") as file:
            self.good = file.read()

    def size(self):
        return len(self.good)

    def tried(self, damage, luck):
        with open(self.path, "wb") as file:
            file.write(damage(luck, self.good))
        found = fails([self.pgark, "verify", self.path])
        repair = [self.pgark, "repair", self.path, "-o", self.fixed, "--force"]
        whole = not fails(repair) and digest(self.fixed) == hashlib.sha256(self.good).digest()
        salvaged = whole
        if not whole:
            measure.remove(self.fixed)
            fails([*repair, "--salvage"])
            salvaged = os.path.exists(self.fixed) and not fails([self.pgark, "verify", self.fixed, "--quick"])
        return dict(zip(self.columns, (found, whole, salvaged)))


class Dump:
    """A dump of pg_dump -Fc."""

    name = "pg_dump -Fc"
    columns = ("pg_restore --list: found", "pg_restore to SQL: found")

    def __init__(self, server, work):
        self.restore, self.path = server.path("pg_restore"), os.path.join(work, "dump")
        server.run("pg_dump", "-Fc", "-f", self.path, "bench")
        with open(self.path, "rb") as file:
            self.good = file.read()

    def size(self):
        return len(self.good)

    def tried(self, damage, luck):
        with open(self.path, "wb") as file:
            file.write(damage(luck, self.good))
        listed = fails([self.restore, "--list", self.path])
        return dict(zip(self.columns, (listed, fails([self.restore, "-f", "/dev/null", self.path]))))


class Restic:
    """A repository of restic with the plain dump in it."""

    name = "restic"
    columns = ("restic check --read-data: found",)

    def __init__(self, server, work):
        self.repo = os.path.join(work, "restic")
        self.env = {**os.environ, "RESTIC_PASSWORD": "test", "RESTIC_REPOSITORY": self.repo,
                    "RESTIC_CACHE_DIR": os.path.join(work, "cache")}
        plain = os.path.join(work, "dump.sql")
        server.run("pg_dump", "-f", plain, "bench")
        for argv in (["restic", "init"], ["restic", "backup", plain]):
            subprocess.run(argv, env=self.env, check=True, **QUIET)
        os.remove(plain)
        self.packs = []
        for folder, _, names in sorted(os.walk(os.path.join(self.repo, "data"))):
            self.packs += [os.path.join(folder, name) for name in sorted(names)]

    def size(self):
        return sum(os.path.getsize(pack) for pack in self.packs)

    def tried(self, damage, luck):
        place = random.Random(luck.random()).randrange(self.size())
        for pack in self.packs:
            if place < os.path.getsize(pack):
                break
            place -= os.path.getsize(pack)
        with open(pack, "rb") as file:
            good = file.read()
        os.chmod(pack, 0o644)
        try:
            with open(pack, "wb") as file:
                file.write(damage(luck, good))
            return {self.columns[0]: fails(["restic", "check", "--read-data"], self.env)}
        finally:
            with open(pack, "wb") as file:
                file.write(good)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()


if __name__ == "__main__":
    if not shutil.which("restic") and "--no-peers" not in sys.argv:
        sys.exit("damage.py: restic is missing: install it, or leave the peers out with --no-peers")
    main()
