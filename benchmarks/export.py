"""Time Delta -> VCF beside bcftools, side by side in one run. See README.md.

.venv/bin/python benchmarks/export.py [--runs 3] [--folder .cache/bench] [FILE ...]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import measure

MB = 1e6
TO_REACH = 100.0  # MB of text per CPU second, uncompressed
HERE = Path(__file__).resolve().parent
HIPSTER = HERE.parent.parent / "shared" / "data" / "cohort" / "hipster.vcf.bgz"


def cpu(command: list[str], log: Path) -> float:
    """CPU seconds of a command; SystemExit where it fails."""
    usage = measure.run(command, log)
    if usage.returncode != 0:
        raise SystemExit(f"{command[:3]} failed: see {log}")
    return usage.cpu


def compare(source: Path, runs: int, scratch: Path) -> None:
    """Export a file's tables, and copy the file by bcftools, as plain text and as BGZF."""
    log, warehouse = scratch / "log.txt", scratch / "warehouse"
    script = [sys.executable, str(HERE / "run_geneai.py")]
    cpu([*script, "ingest", str(source), str(warehouse)], log)
    bcf = scratch / "source.bcf"
    cpu(["bcftools", "view", "-Ou", "-o", str(bcf), str(source)], log)
    text = subprocess.run(
        ["bash", "-c", 'bcftools view "$0" | wc -c', str(source)], capture_output=True, check=True
    )
    size = int(text.stdout) / MB
    for name, ending, kind in (("plain", ".vcf", "v"), ("BGZF", ".vcf.gz", "z")):
        targets = [str(scratch / f"ours{i}{ending}") for i in range(3)]

        def ours(times: int, targets: list[str] = targets) -> float:
            command = [*script, "export", str(warehouse), *targets[:times]]
            return statistics.median(cpu(command, log) for _ in range(runs))

        def theirs(source: Path, kind: str = kind) -> float:
            command = ["bcftools", "view", f"-O{kind}", "-o", str(scratch / "theirs"), str(source)]
            return statistics.median(cpu(command, log) for _ in range(runs))

        once, thrice = ours(1), ours(3)
        rates = [size / s for s in (once, (thrice - once) / 2, theirs(source), theirs(bcf))]
        print(
            f"{source.name}, {size:,.0f} MB of text, to {name}, MB/CPU-s: geneai {rates[0]:.0f} "
            f"gross, {rates[1]:.0f} once more (to reach, plain: {TO_REACH:.0f}); bcftools from VCF "
            f"{rates[2]:.0f}, from BCF {rates[3]:.0f}; ratio {rates[1] / rates[3]:.2f} to the last"
        )


def main() -> None:
    """Run everybody on each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    known = [given.folder / "sim.vcf.bgz", given.folder / "rich.vcf.bgz", HIPSTER]
    for source in given.files or [path for path in known if path.exists()]:
        scratch = given.folder / "scratch-export"
        scratch.mkdir(parents=True)
        try:
            compare(source, given.runs, scratch)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
