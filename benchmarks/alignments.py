"""Time what a task does with a BAM file beside pysam's reader, in one process. See README.md.

.venv/bin/python benchmarks/alignments.py [--reads 400000] [--folder .cache/bench]
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pysam

from geneai_spark import tables
from geneai_spark.formats import sam_header, sam_parts
from geneai_spark.staging import FileWriter

LENGTH = 150
CONTIG = 100_000_000


def simulate(folder: Path, reads: int, seed: int = 42) -> Path:
    """A sorted BAM file of pairs as an aligner writes them; made once."""
    path = folder / f"sim{reads}.bam"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    header = {"SQ": [{"SN": "chr1", "LN": CONTIG}], "RG": [{"ID": "a", "SM": "NA1"}]}
    starts = np.sort(rng.integers(0, CONTIG - 1000, reads))
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for i, start in enumerate(starts):
            bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, LENGTH)].tobytes()
            chosen = rng.choice(4, LENGTH, p=(0.9, 0.05, 0.04, 0.01))
            one = pysam.AlignedSegment(out.header)
            one.query_name = f"A00:1:FLOW:1:{i // 999}:{i % 999}:{7 * i}"
            one.flag, one.reference_id, one.reference_start = 99, 0, int(start)
            one.mapping_quality = 60
            one.cigarstring = f"{LENGTH}M" if i % 9 else f"50M1I{LENGTH - 51}M"
            one.next_reference_id, one.next_reference_start = 0, int(start) + 200
            one.template_length = 350
            one.query_sequence = bases.decode()
            one.query_qualities = np.array([37, 25, 11, 2], np.uint8)[chosen].tolist()
            one.set_tags([("NM", i % 5), ("MD", str(LENGTH)), ("AS", 150 - i % 7), ("RG", "a")])
            out.write(one)
    return path


def cpu(function: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of this process, and what the function returns."""
    before = time.process_time()
    result = function()
    return time.process_time() - before, result


def main() -> None:
    """Print MB of inflated BAM per CPU second: parsing alone, with writing, and pysam."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=400_000)
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    given = parser.parse_args()
    pa.set_cpu_count(1)
    path = str(simulate(given.folder, given.reads))
    with gzip.open(path) as file:
        size = sum(len(text) for text in iter(lambda: file.read(1 << 20), b"")) / 1e6
    sam_parts.warm_up()
    (part,) = sam_parts.split(sam_header.inspect(path), None)

    def parse(folder: str | None = None) -> int:
        writer = FileWriter(folder, tables.ALIGNMENTS.statistics[:3]) if folder else None
        rows = 0
        for one in sam_parts.parse_part(part, "x", "fail"):
            rows += one.records.num_rows
            if writer and one.records.num_rows:
                writer.add(one.records)
        if writer:
            writer.close()
        return rows

    def write() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return parse(folder)

    def peer(strings: bool) -> int:
        rows = 0
        with pysam.AlignmentFile(path) as file:
            for one in file:
                rows += 1
                if strings:
                    _ = (
                        one.query_name, one.flag, one.reference_name, one.reference_start,
                        one.reference_end, one.mapping_quality, one.cigarstring,
                        one.next_reference_name, one.next_reference_start, one.template_length,
                        one.query_sequence, one.qual, one.get_tags(),
                    )  # fmt: skip
        return rows

    stored = Path(path).stat().st_size / 1e6
    print(f"{given.reads:,} reads, {size:,.0f} MB inflated, {stored:,.0f} stored")
    for name, function in (
        ("ours, parsing", parse),
        ("ours, parsing and writing Parquet", write),
        ("pysam, iterating alone", lambda: peer(False)),
        ("pysam, every field", lambda: peer(True)),
    ):
        seconds, rows = cpu(function)
        assert rows == given.reads
        print(f"{name}: {seconds:.2f} CPU s, {size / seconds:.0f} MB/CPU-s", flush=True)


if __name__ == "__main__":
    main()
