#!/usr/bin/env python3
"""Time and peak memory of verifying very many keys and references (50 million of each by default).

    bench/keys.py [ROWS] [MEMORY]

Writes an archive with examples/many_keys.rs into a scratch folder; one key of it is there twice, one
reference points at nothing, and verify must find just these.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

ROWS = sys.argv[1] if len(sys.argv) > 1 else "50000000"
MEMORY = sys.argv[2] if len(sys.argv) > 2 else "256M"

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "pgark", "--example", "many_keys"], check=True)
meta = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
                                 check=True, stdout=subprocess.PIPE).stdout)
release = os.path.join(meta["target_directory"], "release")
with tempfile.TemporaryDirectory(prefix="pgark-keys.") as work:
    path = os.path.join(work, "keys.pgark")
    subprocess.run([os.path.join(release, "examples", "many_keys"), ROWS, path], check=True)
    began = time.monotonic()
    child = subprocess.Popen([os.path.join(release, "pgark"), "verify", path, "--json", "--memory", MEMORY],
                             stdout=subprocess.PIPE)
    report = json.loads(child.stdout.read())
    _, _, usage = os.wait4(child.pid, 0)
    found = sorted((finding["code"], finding.get("count", 1)) for finding in report["findings"])
    print(f"{int(ROWS):,} rows, {os.path.getsize(path) / 1e6:,.0f} MB, --memory {MEMORY}: "
          f"{time.monotonic() - began:.0f} s, peak {usage.ru_maxrss / 1024:.0f} MiB, found {found}")
    codes = [code for code, _ in found]
    sys.exit(0 if codes == ["E601", "E603"] else f"keys.py: one E601 and one E603 were to be found, not {codes}")
