"""Hail's part of the ingest benchmark: run by Hail's own Python, see README.md.

    python run_hail.py empty
    python run_hail.py write FILE OUT...   # once for each OUT

`empty` starts and stops a session, so that its cost can be told apart.
"""

from __future__ import annotations

import sys

import hail as hl

mode, *paths = sys.argv[1:]
hl.init(
    master="local[2]",
    quiet=True,
    log="/dev/null",
    spark_conf={"spark.driver.memory": "4g", "spark.ui.enabled": "false"},
)
if mode == "write":
    source, *targets = paths
    for target in targets:
        hl.import_vcf(source, force_bgz=True, reference_genome="GRCh37").write(target)
elif mode != "empty":
    raise SystemExit(f"unknown mode {mode!r}: empty or write")
hl.stop()
