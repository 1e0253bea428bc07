"""FASTQ text for tests, a naive reader of it, and what our reader makes of a file's ranges."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import pysam

from geneai_spark.formats import bgzf, fastq_parts, fastq_plan


class Read(NamedTuple):
    """A read as it stands in the file."""

    name: str
    sequence: str
    quality: str


def text(reads: list[Read], newline: str = "\n", comment: str = "", last: bool = True) -> bytes:
    """The reads as FASTQ, with or without the last newline."""
    lines = [line for r in reads for line in (f"@{r.name}{comment}", r.sequence, "+", r.quality)]
    return (newline.join(lines) + (newline if last and lines else "")).encode()


def naive(data: bytes) -> list[Read]:
    """A good file's reads, four lines at a time."""
    lines = [line.rstrip("\r") for line in data.decode().split("\n")]
    lines += [""] * 4
    groups = [lines[i : i + 4] for i in range(0, len(lines) - 4, 4)]
    return [Read(h[1:].split()[0], s, q) for h, s, plus, q in groups if h and plus[0] == "+"]


def write(path: Path, data: bytes, compression: str = bgzf.PLAIN, block: int = 1 << 15) -> str:
    """A file; BGZF in blocks of so many bytes of text."""
    if compression == bgzf.GZIP:
        path.write_bytes(gzip.compress(data))
    elif compression == bgzf.BGZF:
        with pysam.BGZFile(str(path), "wb") as out:
            for at in range(0, len(data), block):
                out.write(data[at : at + block])
                out.flush()
    else:
        path.write_bytes(data)
    return str(path)


def rows(parts: list[fastq_plan.Part], chunk_bytes: int = 1 << 24) -> tuple[list[Any], list[Any]]:
    """Good and rejected records of some ranges, in order."""
    good: list[Any] = []
    bad: list[Any] = []
    for part in parts:
        for one in fastq_parts.parse_part(part, "reject", chunk_bytes):
            good += one.records.to_pylist()
            bad += one.rejects.to_pylist()
    return good, bad


def reads(rows: list[Any]) -> list[Read]:
    """Rows of our reader, as the naive one has them."""
    return [Read(r["readName"], r["sequence"], r["quality"]) for r in rows]
