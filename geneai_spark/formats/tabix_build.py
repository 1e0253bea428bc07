"""Making the index of a sorted BGZF file of VCF, from what the writers of its parts tell.

Source: the Tabix and CSI version 1 specifications (samtools/hts-specs); see `tabix`, which reads
them. A part's index has offsets within the part; putting parts together shifts them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WINDOW = 14  # bits of a window of the linear index, and of the least bin
TBI_DEPTH = 5
#: A TBI index ends here: 512 Mb.
TBI_END = 1 << (WINDOW + 3 * TBI_DEPTH)
#: format VCF, columns of contig, begin and none of the end, comment character, lines to skip
_VCF = struct.pack("<6i", 2, 1, 2, 0, ord("#"), 0)


class PartIndex(NamedTuple):
    """Of the records of a part: chunks by bin, the first record of each window, and counts.

    Attributes:
        chunks: (n) of contig (int32), bin (int64), begin and end (virtual offsets, uint64).
        windows: (m) of contig, window, offset of the first record that overlaps it.
        counts: (k) of contig, records, begin of the first and end of the last.
    """

    chunks: tuple[Array, ...]
    windows: tuple[Array, ...]
    counts: tuple[Array, ...]


def depth_of(end: int) -> int:
    """Levels of bins that positions up to `end` need; more than `TBI_DEPTH` need a CSI index."""
    depth = TBI_DEPTH
    while end > 1 << (WINDOW + 3 * depth):
        depth += 1
    return depth


def index_part(contigs: Array, starts: Array, ends: Array, offsets: Array, depth: int) -> PartIndex:
    """Index the records of a part.

    Args:
        contigs: number of the contig, ascending; starts, ends: 0-based half-open, (records).
        offsets: (records + 1) virtual offsets where each record begins, and the last one ends.
        depth: of the bins.
    """
    begins = np.maximum(starts, 0)
    lasts = np.maximum(ends, begins + 1) - 1  # the last base
    bins = _bins(begins, lasts, depth)
    order = np.lexsort((offsets[:-1], bins, contigs))
    chunks = _joined(contigs[order], bins[order], offsets[:-1][order], offsets[1:][order])
    first, last = begins >> WINDOW, lasts >> WINDOW
    spans = last - first + 1
    record = np.repeat(np.arange(len(spans)), spans)
    window = first[record] + np.arange(len(record)) - np.repeat(np.cumsum(spans) - spans, spans)
    # Records are sorted: the first one that names a window has the least offset.
    longest = int(window.max(initial=0)) + 1
    _, one = np.unique(contigs[record] * np.int64(longest) + window, return_index=True)
    numbers, at, counts = np.unique(contigs, return_index=True, return_counts=True)
    return PartIndex(
        chunks,
        (contigs[record[one]], window[one], offsets[record[one]]),
        (numbers, counts, offsets[at], offsets[at + counts]),
    )


def assemble(parts: Iterable[tuple[PartIndex, int]], names: Sequence[str], depth: int) -> bytes:
    """The index file, not compressed yet: TBI, or CSI where `depth` is more than TBI's.

    Args:
        parts: in the file's order, with the byte at which each begins in the file.
        names: contigs by number; those without a record are left out.
    """
    held = [(one, np.uint64(base) << np.uint64(16)) for one, base in parts]
    chunks = [[*one.chunks[:2], *(c + base for c in one.chunks[2:])] for one, base in held]
    windows = [[*one.windows[:2], one.windows[2] + base] for one, base in held]
    totals = [[*one.counts[:2], *(c + base for c in one.counts[2:])] for one, base in held]
    contig, number, begin, end = _columns(chunks, 4)
    order = np.lexsort((begin, number, contig))
    contig, number, begin, end = _joined(*(c[order] for c in (contig, number, begin, end)))
    used = np.unique(contig)
    csi = depth > TBI_DEPTH
    body = []
    for one in used:
        mine = slice(*np.searchsorted(contig, [one, one + 1]))
        linear = _linear(*_of(one, _columns(windows, 3)))
        total, first, last = _of(one, _columns(totals, 4))
        body.append(_contig(number[mine], begin[mine], end[mine], linear, depth, csi))
        pseudo = _pseudo(depth, csi, int(first.min()), int(last.max()), int(total.sum()))
        body.append(pseudo)
        if not csi:
            body.append(struct.pack("<i", len(linear)) + linear.astype("<u8").tobytes())
    text = b"".join(names[int(one)].encode() + b"\0" for one in used)
    head = _VCF + struct.pack("<i", len(text)) + text
    count = struct.pack("<i", len(used))
    if csi:
        start = b"CSI\1" + struct.pack("<3i", WINDOW, depth, len(head)) + head + count
    else:
        start = b"TBI\1" + count + head
    return b"".join((start, *body, struct.pack("<Q", 0)))  # no record without a place


def _columns(rows: Sequence[Sequence[Array]], width: int) -> list[Array]:
    if not rows:
        return [np.empty(0, np.uint64 if i > 1 else np.int64) for i in range(width)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _of(contig: int, columns: Sequence[Array]) -> list[Array]:
    """Rows of one contig, without its number."""
    mine = columns[0] == contig
    return [column[mine] for column in columns[1:]]


def _bins(begins: Array, lasts: Array, depth: int) -> Array:
    """The least bin that holds each record: reg2bin of the specification."""
    out = np.zeros(len(begins), np.int64)
    open_ = np.ones(len(begins), np.bool_)
    for level in range(depth, 0, -1):
        shift = WINDOW + 3 * (depth - level)
        fits = open_ & (begins >> shift == lasts >> shift)
        out[fits] = (8**level - 1) // 7 + (begins[fits] >> shift)
        open_ &= ~fits
    return out


def _joined(contig: Array, number: Array, begin: Array, end: Array) -> tuple[Array, ...]:
    """Sorted chunks, those of a bin joined that touch or lie in one block."""
    if not len(contig):
        return contig, number, begin, end
    block = np.uint64(16)
    apart = (contig[1:] != contig[:-1]) | (number[1:] != number[:-1])
    apart |= begin[1:] >> block > end[:-1] >> block
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.concatenate([first[1:] - 1, [len(contig) - 1]])
    return contig[first], number[first], begin[first], end[last]


def _linear(window: Array, offset: Array) -> Array:
    """Least offset of each window; one that no record overlaps has that of the next."""
    out = np.full(int(window.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(out, window, offset)
    return np.minimum.accumulate(out[::-1])[::-1]


def _contig(number: Array, begin: Array, end: Array, linear: Array, depth: int, csi: bool) -> bytes:
    """The bins of a contig; room is left in their count for the one that counts records."""
    bins, first = np.unique(number, return_index=True)
    edges = [*first.tolist(), len(number)]
    out = [struct.pack("<i", len(bins) + 1)]
    pairs = np.stack([begin, end], axis=1).astype("<u8")
    for i, one in enumerate(bins.tolist()):
        mine = pairs[edges[i] : edges[i + 1]]
        floor = struct.pack("<Q", _floor(one, linear, depth)) if csi else b""
        out.append(struct.pack("<I", one) + floor + struct.pack("<i", len(mine)) + mine.tobytes())
    return b"".join(out)


def _floor(number: int, linear: Array, depth: int) -> int:
    """Least offset of a record that overlaps the bin."""
    level = 0
    while number >= (8 ** (level + 1) - 1) // 7:
        level += 1
    window = (number - (8**level - 1) // 7) << 3 * (depth - level)
    return int(linear[min(window, len(linear) - 1)])


def _pseudo(depth: int, csi: bool, first: int, last: int, count: int) -> bytes:
    """The bin beyond all others, by which ``bcftools index --stats`` counts records."""
    number = (8 ** (depth + 1) - 1) // 7 + 1
    floor = struct.pack("<Q", 0) if csi else b""
    return struct.pack("<I", number) + floor + struct.pack("<i4Q", 2, first, last, count, 0)
