"""Text of a range of a FASTQ file, cut into records, good and malformed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geneai_spark import filesystems
from geneai_spark.formats import bgzf
from geneai_spark.formats import fastq_kernels as kernels

Array = NDArray[Any]

REST = 1 << 62  # as the end of a range: all that follows
INTERLEAVED = 3  # as the mate of a file: both mates, in turn


@dataclass(frozen=True)
class FastqFile:
    """A FASTQ file and how it is to be read.

    Attributes:
        uri: where it is.
        size: stored bytes.
        compression: plain, gzip or bgzf, told from its bytes.
        phred: what was added to quality scores to make them characters: 33 or 64.
        mate: 0 single reads, 1 or 2 that half of pairs, INTERLEAVED both in turn.
        seed: goes into pair keys; the same for the two files of a pair.
    """

    uri: str
    size: int
    compression: str
    phred: int
    mate: int = 0
    seed: int = 0

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


class Cut(NamedTuple):
    """A chunk of text and the units it is cut into; see `fastq_kernels.find_units`."""

    chunk: bgzf.Chunk
    buf: Array
    newline: Array
    first: Array
    last: Array
    fault: Array


def cuts(source: bgzf.Input, file: FastqFile, part: bgzf.Range, chunk_bytes: int) -> Iterator[Cut]:
    """Text of a range, cut into units; what is not whole goes before the next text."""
    held = bgzf.Chunk(b"", [])
    for chunk in bgzf.chunks(source, file.uri, file.compression, part, chunk_bytes):
        cut, left = cut_text(_join(held, chunk), file, at_end=False)
        held = _tail(cut.chunk, left)
        yield cut
    if held.text:
        # An empty line more where the file ends: an empty quality needs no newline there.
        more = b"\n" if part.end >= REST else b""
        cut, _ = cut_text(bgzf.Chunk(held.text + more, held.marks), file, at_end=True)
        yield cut


def cut_text(chunk: bgzf.Chunk, file: FastqFile, *, at_end: bool) -> tuple[Cut, int]:
    """Cut text into units, up to the position in it that is returned."""
    buf = np.frombuffer(chunk.text, np.uint8)
    newline = np.flatnonzero(buf == 10)
    first, last, fault, left = kernels.find_units(buf, newline, np.uint8(file.phred), at_end)
    if file.mate == INTERLEAVED and not at_end:
        good = first[fault == kernels.GOOD]
        spans = kernels.locate(buf, newline, good, INTERLEAVED)
        _, decided = kernels.pair_up(buf, spans[:, 0], spans[:, 1], False)
        if decided < len(good):  # the last record waits for its mate
            left = int(good[decided])
            first, last, fault = (a[: np.searchsorted(first, left)] for a in (first, last, fault))
    at = int(newline[left - 1]) + 1 if left else 0
    return Cut(chunk, buf, newline[:left], first, last, fault), at


def _join(held: bgzf.Chunk, chunk: bgzf.Chunk) -> bgzf.Chunk:
    if not held.text:
        return chunk
    ahead = len(held.text)
    return bgzf.Chunk(
        held.text + chunk.text, [*held.marks, *((at + ahead, o) for at, o in chunk.marks)]
    )


def _tail(chunk: bgzf.Chunk, start: int) -> bgzf.Chunk:
    if start >= len(chunk.text):
        return bgzf.Chunk(b"", [])
    later = [(at - start, origin) for at, origin in chunk.marks if at > start]
    return bgzf.Chunk(chunk.text[start:], [(0, chunk.offset_of(start)), *later])


def offsets_of(cut: Cut) -> Array:
    """Offset in the file of each unit."""
    if not cut.first.size:
        return np.empty(0, np.int64)
    starts = np.where(cut.first > 0, cut.newline[cut.first - 1] + 1, 0)
    at, origin = np.array(cut.chunk.marks, np.int64).T
    mark = np.searchsorted(at, starts, side="right") - 1
    return np.asarray(origin[mark] + starts - at[mark])
