"""Indexes of sorted BGZF files: which parts hold the records of a region (.tbi and .csi).

Source: the Tabix and CSI version 1 specifications (samtools/hts-specs). A bin covers a stretch of a
contig and lists chunks of the file, pairs of virtual offsets, in which its records lie.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geneai_spark import filesystems
from geneai_spark.errors import FormatError, StorageError
from geneai_spark.formats import bgzf
from geneai_spark.genome import Interval

SUFFIXES = (".tbi", ".csi")


@dataclass(frozen=True)
class Index:
    """An index: for each contig the chunks of its bins, and where records from a place on begin.

    `bins`: contig -> bin number -> (n, 2) virtual offsets. `floors`: contig -> bin number (CSI) or
    16 KiB window (TBI) -> the least virtual offset of a record that overlaps it.
    """

    min_shift: int
    depth: int
    bins: dict[str, dict[int, NDArray[np.uint64]]]
    floors: dict[str, dict[int, int]]
    linear: bool

    def ranges(self, intervals: Sequence[Interval]) -> list[bgzf.Range]:
        """Parts of the file that hold every record that overlaps one of `intervals`.

        They may hold other records too. Sorted, without overlap; each begins and ends at a line.
        """
        found: list[tuple[int, int]] = []
        for one in intervals:
            bins = self.bins.get(one.contig, {})
            floor = self._floor(one)
            for number in self._overlapping(one, bins):
                found += [(max(int(a), floor), int(b)) for a, b in bins[number] if int(b) > floor]
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return [bgzf.Range(a, b, at_line=True, closed=True) for a, b in merged if b > a]

    def _overlapping(self, one: Interval, bins: dict[int, Any]) -> list[int]:
        start, end = max(0, one.start), max(0, one.end - 1)
        out, first = [], 0
        for level in range(self.depth + 1):
            shift = self.min_shift + 3 * (self.depth - level)
            low, high = first + (start >> shift), first + (end >> shift)
            out += [
                number for number in bins if low <= number <= high and number < first + 8**level
            ]
            first += 8**level
        return out

    def _floor(self, one: Interval) -> int:
        floors = self.floors.get(one.contig, {})
        start = max(0, one.start)
        if self.linear:
            window = start >> 14
            return floors.get(window, max(floors.values(), default=0) if floors else 0)
        first, number = (8**self.depth - 1) // 7, 0
        number = first + (start >> self.min_shift)
        while number not in floors and number > 0:
            number = (number - 1) >> 3
        return floors.get(number, 0)


def find(uri: str) -> Index | None:
    """The index that stands beside a file (`FILE.tbi`, `FILE.csi`), or None."""
    for suffix in SUFFIXES:
        try:
            source = filesystems.open_input(uri + suffix)
        except StorageError:
            continue
        try:
            data = b"".join(text for text, _ in bgzf.inflate_blocks(source, uri + suffix))
        finally:
            source.close()
        return parse(data, uri + suffix)
    return None


def parse(data: bytes, file: str) -> Index:
    """Parse an index's inflated bytes.

    Raises:
        FormatError: neither a TBI nor a CSI index, or cut short.
    """
    try:
        if data[:4] == b"TBI\x01":
            return _parse_tbi(data)
        if data[:4] == b"CSI\x01":
            return _parse_csi(data)
    except (struct.error, ValueError, IndexError) as error:
        raise FormatError(file, "a whole index", f"its end within ({error})") from None
    raise FormatError(file, "an index (TBI or CSI)", repr(data[:4]))


def _names(data: bytes) -> list[str]:
    return [name.decode() for name in data.split(b"\0")[:-1]]


def _chunks(data: bytes, at: int, count: int) -> NDArray[np.uint64]:
    return np.frombuffer(data, "<u8", 2 * count, at).reshape(count, 2)


def _parse_tbi(data: bytes) -> Index:
    n_contigs, *_, length = struct.unpack_from("<8i", data, 4)
    names = _names(data[36 : 36 + length])
    at = 36 + length
    bins: dict[str, dict[int, NDArray[np.uint64]]] = {}
    floors: dict[str, dict[int, int]] = {}
    for contig in names[:n_contigs]:
        (n_bins,) = struct.unpack_from("<i", data, at)
        at += 4
        bins[contig] = {}
        for _ in range(n_bins):
            number, count = struct.unpack_from("<Ii", data, at)
            bins[contig][number] = _chunks(data, at + 8, count)
            at += 8 + 16 * count
        (n_windows,) = struct.unpack_from("<i", data, at)
        offsets = np.frombuffer(data, "<u8", n_windows, at + 4)
        floors[contig] = {i: int(offset) for i, offset in enumerate(offsets)}
        at += 4 + 8 * n_windows
    return Index(14, 5, bins, floors, linear=True)


def _parse_csi(data: bytes) -> Index:
    min_shift, depth, length = struct.unpack_from("<3i", data, 4)
    auxiliary = data[16 : 16 + length]
    names = _names(auxiliary[28 : 28 + struct.unpack_from("<i", auxiliary, 24)[0]])
    (n_contigs,) = struct.unpack_from("<i", data, 16 + length)
    at = 20 + length
    bins: dict[str, dict[int, NDArray[np.uint64]]] = {}
    floors: dict[str, dict[int, int]] = {}
    for contig in names[:n_contigs]:
        (n_bins,) = struct.unpack_from("<i", data, at)
        at += 4
        bins[contig], floors[contig] = {}, {}
        for _ in range(n_bins):
            number, floor, count = struct.unpack_from("<IQi", data, at)
            bins[contig][number] = _chunks(data, at + 16, count)
            floors[contig][number] = floor
            at += 16 + 16 * count
    return Index(min_shift, depth, bins, floors, linear=False)
