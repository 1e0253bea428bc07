"""Peak resident memory of every process while a VCF is ingested. See README.md.

.venv/bin/python benchmarks/memory.py [FILE] [--limit-mb 1000]

Exit status 1 where a Python worker went over the limit.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import contenders
import ingest
import measure

MB = 1e6


def main() -> None:
    """Ingest the file once and print the peaks, largest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="default: the simulated sim.vcf.bgz")
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--limit-mb", type=float, default=1000.0, help="for each Python worker")
    given = parser.parse_args()
    file = given.file or given.folder / "sim.vcf.bgz"
    if not file.exists():
        raise SystemExit(f"no {file}: run `make bench-data`")
    target, log = given.folder / "memory-out", given.folder / "memory-log.txt"
    ours = contenders.geneai("ingest")
    ingest.remove(target)
    ingest.remove(log)
    usage = measure.run(ours.command(file, [target]), log)
    if usage.returncode != 0:
        raise SystemExit(f"ingestion failed: see {log}")
    size, records = ingest.text_of(file)
    if (stored := ours.rows(target)) != records:
        raise SystemExit(f"stored {stored} of {records} records")
    ingest.remove(target)
    ingest.remove(log)

    print(f"{file.name}: {size / MB:,.0f} MB of text, {records:,} records, all stored")
    kinds = Counter(process.kind for process in usage.processes)
    for kind in ("jvm", "python"):
        peaks = sorted((p.peak_rss for p in usage.processes if p.kind == kind), reverse=True)
        print(f"{kind}, {kinds[kind]} processes, peak resident MB each: " + mb(peaks))
    largest = max(usage.worker_peaks)
    print(f"largest Python worker: {largest / MB:.0f} MB (limit {given.limit_mb:g} MB)")
    raise SystemExit(largest / MB > given.limit_mb)


def mb(sizes: list[int]) -> str:
    """Sizes in MB, with commas."""
    return ", ".join(f"{size / MB:.0f}" for size in sizes)


if __name__ == "__main__":
    main()
