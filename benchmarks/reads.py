"""Time FASTQ -> Delta beside pysam's reader, side by side in one run. See README.md.

.venv/bin/python benchmarks/reads.py [--pairs 1000000] [--runs 3] [--folder .cache/bench]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import measure
import numpy as np
import pysam

MB = 1e6
LENGTH = 150
TO_REACH = 80.0  # MB of text per CPU second
HERE = Path(__file__).resolve().parent
PYSAM = """import sys, pysam
for path in sys.argv[1:]:
    with pysam.FastxFile(path) as file:
        for read in file:
            read.name, read.sequence, read.quality
"""


def simulate(folder: Path, pairs: int, seed: int = 42) -> list[Path]:
    """Two files of mates, plain, and the same as BGZF; made once."""
    paths = [folder / f"sim{pairs}_R{mate}.fastq" for mate in (1, 2)]
    zipped = [path.with_suffix(".fastq.bgz") for path in paths]
    if all(path.exists() for path in (*paths, *zipped)):
        return [*paths, *zipped]
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    # Quality as recent machines give it: four values, mostly the best.
    for mate, path, other in zip((1, 2), paths, zipped, strict=True):
        with path.open("wb") as file:
            for start in range(0, pairs, 50_000):
                n = min(50_000, pairs - start)
                bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (n, LENGTH))]
                chosen = rng.choice(4, (n, LENGTH), p=(0.9, 0.05, 0.04, 0.01))
                scores = np.frombuffer(b"F:,#", np.uint8)[chosen]
                for i in range(n):
                    k = start + i
                    name = b"@A00:1:FLOW:1:%d:%d:%d %d:N:0:ACGT" % (k // 999, k % 999, 7 * k, mate)
                    lines = (name, bases[i].tobytes(), b"+", scores[i].tobytes(), b"")
                    file.write(b"\n".join(lines))
        pysam.tabix_compress(str(path), str(other), force=True)
    return [*paths, *zipped]


def cpu(command: list[str], log: Path) -> float:
    """CPU seconds of a command; SystemExit where it fails."""
    usage = measure.run(command, log)
    if usage.returncode != 0:
        raise SystemExit(f"{command[:3]} failed: see {log}")
    return usage.cpu


def main() -> None:
    """Run everybody, print MB of text per CPU second: gross, less an empty session, and warm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    given = parser.parse_args()
    plain1, plain2, bgzf1, bgzf2 = simulate(given.folder, given.pairs)
    size = (plain1.stat().st_size + plain2.stat().st_size) / MB
    scratch = given.folder / "scratch-reads"
    scratch.mkdir(exist_ok=True)
    log = scratch / "log.txt"
    script = [sys.executable, str(HERE / "run_geneai.py")]
    number = 0

    def ours(files: tuple[Path, Path], times: int) -> float:
        nonlocal number
        targets = [str(scratch / f"wh{number + i}") for i in range(times)]
        number += times
        seconds = cpu([*script, "reads", ",".join(map(str, files)), *targets], log)
        for target in targets:
            cpu(["rm", "-r", target], log)
        return seconds

    empty = statistics.median(cpu([*script, "empty"], log) for _ in range(given.runs))
    print(f"{2 * given.pairs:,} reads, {size:,.0f} MB of text; an empty session {empty:.1f} CPU s")
    for name, files in (("plain", (plain1, plain2)), ("bgzf", (bgzf1, bgzf2))):
        once = statistics.median(ours(files, 1) for _ in range(given.runs))
        thrice = statistics.median(ours(files, 3) for _ in range(given.runs))
        peer = statistics.median(
            cpu([sys.executable, "-c", PYSAM, *map(str, files)], log) for _ in range(given.runs)
        )
        rates = [size / s for s in (once, once - empty, (thrice - once) / 2)]
        print(
            f"{name}: geneai into Delta {once:.1f} CPU s, MB/CPU-s {rates[0]:.0f} gross, "
            f"{rates[1]:.0f} net, {rates[2]:.0f} warm (to reach {TO_REACH:.0f}); "
            f"pysam, reading alone: {size / peer:.0f}; ratio {rates[2] * peer / size:.2f} warm"
        )
    log.unlink()
    scratch.rmdir()


if __name__ == "__main__":
    main()
