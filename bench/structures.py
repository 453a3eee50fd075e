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
import time

MEMORY = sys.argv[1] if len(sys.argv) > 1 else "256"
CHUNKS = sys.argv[2:] or ["1000000", "10000000", "100000000"]

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "pgark", "--example", "structures"], check=True)
meta = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
                                 check=True, stdout=subprocess.PIPE).stdout)
release = os.path.join(meta["target_directory"], "release")
structures = os.path.join(release, "examples", "structures")


def run(*command):
    """What a command prints, its seconds, and its peak of memory in MiB."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"structures.py: {' '.join(command)} failed")
    return out, time.monotonic() - began, usage.ru_maxrss / 1024


for chunks in CHUNKS:
    with tempfile.TemporaryDirectory(prefix="pgark-structures.", dir=os.environ.get("TMPDIR")) as work:
        path = os.path.join(work, "structures.pgark")
        out, seconds, peak = run(structures, "write", chunks, str(int(MEMORY) // 2), path)
        print(f"write: {out.strip()}", flush=True)
        out, _, _ = run(structures, "find", path, "1000000")
        print(f"find: {out.strip()}", flush=True)
        out, seconds, peak = run(os.path.join(release, "pgark"), "verify", path, "--json", "--memory", f"{MEMORY}M")
        report = json.loads(out)
        if report["findings"]:
            sys.exit(f"structures.py: {report['findings'][:3]}")
        print(f"verify: {seconds:.1f} s, peak {peak:.0f} MiB, {report['chunks']} chunks", flush=True)
