"""Every read of a million simulated ones, and of real ones, is stored as pysam reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pysam
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from geneai_spark import store, tables
from geneai_spark.filesystems import source_id
from geneai_spark.ingest.reads import ingest_reads

PAIRS, LENGTH, BLOCK = 500_000, 100, 100_000
DIGITS = 15  # of a read's md5, hexadecimal: sums of a million stay whole


class Told(NamedTuple):
    """Reads, bases, and the sum over the reads of a hash of name, sequence and quality."""

    reads: int
    bases: int
    digest: int


def by_pysam(path: str) -> Told:
    reads = bases = digest = 0
    with pysam.FastxFile(path) as file:
        for one in file:
            text = f"{one.name}\t{one.sequence}\t{one.quality}".encode()
            digest += int(hashlib.md5(text).hexdigest()[:DIGITS], 16)
            reads, bases = reads + 1, bases + len(one.sequence)
    return Told(reads, bases, digest)


def by_table(rows: DataFrame, *by: str) -> dict[Any, Told]:
    """The same of stored rows, by the values of columns."""
    text = F.concat_ws("\t", "readName", "sequence", "quality")
    number = F.conv(F.substring(F.md5(text), 1, DIGITS), 16, 10).cast("decimal(20,0)")
    sums = F.count("*"), F.sum(F.length("sequence")), F.sum(number)
    found = rows.groupBy(*by).agg(*sums).collect()
    return {row[0]: Told(*map(int, row[-3:])) for row in found}


def simulate(folder: Path) -> list[str]:
    """Two BGZF files of mates: names that count up, random bases with some N, random scores."""
    rng = np.random.default_rng(11)
    paths = [str(folder / f"sim_R{mate}.fastq.gz") for mate in (1, 2)]
    for mate, path in zip((1, 2), paths, strict=True):
        with pysam.BGZFile(path, "wb1") as file:
            for first in range(0, PAIRS, BLOCK):
                head, end = b"@sim:0000000", b" %d:N:0:ACGT\n" % mate
                parts = [np.tile(np.frombuffer(head + end, np.uint8), (BLOCK, 1))]
                numbers = np.arange(first, first + BLOCK)[:, None] // 10 ** np.arange(6, -1, -1)
                parts[0][:, len(head) - 7 : len(head)] = 48 + numbers % 10
                bases = np.frombuffer(b"ACGTACGTACGTACGN", np.uint8)
                scores = np.frombuffer(b"FFFFFFF:FFFF,F#@", np.uint8)
                for letters, after in ((bases, b"\n+\n"), (scores, b"\n")):
                    drawn = rng.integers(0, 16, (BLOCK, LENGTH), np.uint8)
                    parts += [letters[drawn], np.tile(np.frombuffer(after, np.uint8), (BLOCK, 1))]
                file.write(np.hstack(parts).tobytes())
    return paths


def test_ingest__a_million_reads_in_pairs_as_pysam_reads_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    home, paths = str(tmp_path / "wh"), simulate(tmp_path)
    told = ingest_reads(spark, home, paths)
    counts = [told[f"records_{name}"] for name in ("in", "stored", "rejected")]
    assert (counts, told["pairs"]) == ([2 * PAIRS, 2 * PAIRS, 0], 1)
    rows = store.read(spark, tables.READS, home)
    assert by_table(rows, "mate") == {1: by_pysam(paths[0]), 2: by_pysam(paths[1])}
    # mates share their key and name: both keys' sums are those of half the reads
    keys = rows.groupBy("mate").agg(F.sum(F.xxhash64("pairKey", "readName").cast("decimal(20,0)")))
    assert len({row[1] for row in keys.collect()}) == 1
    assert rows.where("readName = 'sim:0123456'").groupBy("pairKey").count().collect()[0][1] == 2


def test_ingest__real_reads_as_pysam_reads_them(
    spark: SparkSession, tmp_path: Path, shared_data: Path
) -> None:
    home, files = str(tmp_path / "wh"), sorted((shared_data / "reads").glob("*.fastq"))
    told = ingest_reads(spark, home, [str(path) for path in files])
    assert (told["files"], told["records_rejected"]) == (len(files), 0) and files
    rows = store.read(spark, tables.READS, home)
    assert by_table(rows, "sourceId") == {source_id(str(p)): by_pysam(str(p)) for p in files}


def test_by_table__sees_one_changed_read(spark: SparkSession) -> None:
    columns = ("readName", "sequence", "quality")
    rows = [(0, f"r{i}", "ACGT", "IIII") for i in range(5)]
    rows += [(1, *row[1:]) for row in rows]
    for at in range(len(columns)):  # as group 1, but for one text
        changed = [list(row[1:]) for row in rows[:5]]
        changed[3][at] = changed[3][at][:-1] + "X"
        rows += [(2 + at, *row) for row in changed]
    found = by_table(spark.createDataFrame(rows, ["which", *columns]), "which")
    assert found[0] == found[1] and len({told.digest for told in found.values()}) == 4
    assert {told[:2] for told in found.values()} == {(5, 20)}
