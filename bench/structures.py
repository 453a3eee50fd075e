#!/usr/bin/env python3
"""Time and peak memory of archives of very many chunks: writing, looking up, verifying.

    bench/structures.py [MEMORY [CHUNKS...]]

MEMORY in MiB, 256 if nothing is said: what `--memory` would be. The writer gets half of it, as `create`
gives it. CHUNKS are 1, 10 and 100 million; the last needs 40 GB of disk.
"""

import json
import os
import subprocess
import sys
import tempfile

MEMORY = sys.argv[1] if len(sys.argv) > 1 else "256"
CHUNKS = sys.argv[2:] or ["1000000", "10000000", "100000000"]

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
subprocess.run(["cargo", "build", "--release", "--locked", "--no-default-features", "--example", "structures"], check=True)
meta = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
                                 check=True, stdout=subprocess.PIPE).stdout)
structures = os.path.join(meta["target_directory"], "release", "examples", "structures")


def run(*arguments):
    out = subprocess.run([structures, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
    print(f"{arguments[0]}: {out.strip()}", flush=True)


for chunks in CHUNKS:
    with tempfile.TemporaryDirectory(prefix="pgark-structures.") as work:
        path = os.path.join(work, "structures.pgark")
        run("write", chunks, str(int(MEMORY) // 2), path)
        run("find", path, "1000000")
        run("verify", path, MEMORY)
