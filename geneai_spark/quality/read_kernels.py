"""Compiled loops over the reads of a file: histograms by position, adapters, hashes of beginnings.

Texts are bytes laid end to end (`data`), read r at `starts[r]`; a quality is as long as its
sequence. All sums are integers: neither the number of tasks nor their order shows in a result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

QUALITIES = 94  # of Phred+33: ! to ~
A, C, G, T, N, OTHER = range(6)
CLASSES = 6

#: What FastQC 0.12 looks for, by what our columns call it; all of one length.
ADAPTERS = {
    "illuminaUniversal": "AGATCGGAAGAG",
    "smallRna3": "TGGAATTCTCGG",
    "smallRna5": "GATCGTCGGACT",
    "nextera": "CTGTCTCTTATA",
    "polyA": "AAAAAAAAAAAA",
    "polyG": "GGGGGGGGGGGG",
}
ADAPTER_LENGTH = 12
_TAIL = (1 << 12) - 1  # of an adapter's code: its last six bases

#: Sequences are compared by so many first bases where they are longer than `CUT_FROM`.
CUT, CUT_FROM = 50, 75


def _classes() -> Array:
    """Class of each byte; `.` stands for N, lower case for upper."""
    found = np.full(256, OTHER, np.uint8)
    for code, letters in enumerate(("Aa", "Cc", "Gg", "Tt", "Nn.")):
        found[[ord(letter) for letter in letters]] = code
    return found


def _codes() -> Array:
    """Two bits a base of each adapter, the last base lowest: int64, shape (adapters,)."""
    bases = [["ACGT".index(base) for base in reversed(text)] for text in ADAPTERS.values()]
    return np.array(bases, np.int64) @ 4 ** np.arange(ADAPTER_LENGTH)


CLASS_OF = _classes()
ADAPTER_CODES = _codes()
MAY_END = np.zeros(_TAIL + 1, np.bool_)  # whether an adapter ends in six bases
MAY_END[ADAPTER_CODES & _TAIL] = True

_jit = njit(cache=True, nogil=True)


@_jit
def gc_length(length: Any) -> Any:
    """Bases of a read in which FastQC counts G and C: whole hundreds or thousands, if long."""
    if length > 1000:
        return length // 1000 * 1000
    if length > 100:
        return length // 100 * 100
    return length


@_jit
def add_reads(
    sequence: Array, starts: Array, lengths: Array, quality: Array, quality_starts: Array,
    rows: Array, classes: Array, codes: Array, may_end: Array,
    by_quality: Array, by_base: Array, means: Array, totals: Array, adapters: Array, gc: Array,
) -> Any:  # fmt: skip
    """Add reads to sums over a file's reads.

    Args:
        sequence, starts, lengths: the reads' sequences.
        quality, quality_starts: their qualities, Phred+33.
        rows: which reads (n).
        classes, codes, may_end: `CLASS_OF`, `ADAPTER_CODES`, `MAY_END`.
        by_quality: bases by position and quality (positions, QUALITIES); changed, as all that
            follow. Positions from the first; what lies beyond is in no sum by position.
        by_base: bases by position and class (positions, CLASSES).
        means: reads by mean quality, rounded down (QUALITIES); reads without bases are left out.
        totals: bases by class (CLASSES).
        adapters: reads by where an adapter first begins (adapters, positions).
        gc: of each of the reads, bases that `gc_length` takes of it, and G and C among these
            (n, 2).

    Returns:
        The first read with a quality that is none, where it stopped; -1 if there is none.
    """
    positions = by_quality.shape[0]
    full = np.int64((1 << 2 * ADAPTER_LENGTH) - 1)
    seen = np.zeros(codes.size, np.bool_)
    for k in range(rows.size):
        r = rows[k]
        length = lengths[r]
        s, q = starts[r], quality_starts[r]
        taken = gc_length(length)
        both, sum_of_scores = np.int64(0), np.int64(0)
        code, known = np.int64(0), 0
        seen[:] = False
        for p in range(length):
            what = np.int64(classes[sequence[s + p]])
            score = np.int64(quality[q + p]) - 33
            if score < 0 or score >= QUALITIES:
                return r
            sum_of_scores += score
            totals[what] += 1
            if p < positions:
                by_quality[p, score] += 1
                by_base[p, what] += 1
            if p < taken and C <= what <= G:
                both += 1
            if what > T:
                known = 0
                continue
            code = (code << 2 | what) & full
            known += 1
            if known >= ADAPTER_LENGTH and may_end[code & _TAIL]:
                begins = p - ADAPTER_LENGTH + 1
                for a in range(codes.size):
                    if code == codes[a] and not seen[a] and begins < positions:
                        seen[a] = True
                        adapters[a, begins] += 1
        if length:
            means[sum_of_scores // length] += 1
        gc[k, 0], gc[k, 1] = taken, both
    return -1


@_jit
def hash_beginnings(sequence: Array, starts: Array, lengths: Array, rows: Array) -> Array:
    """A 64-bit hash of what reads are compared by, in upper case (uint64, n): FNV-1a, mixed."""
    out = np.empty(rows.size, np.uint64)
    for k in range(rows.size):
        r = rows[k]
        length = CUT if lengths[r] > CUT_FROM else lengths[r]
        h = np.uint64(14695981039346656037)
        for p in range(starts[r], starts[r] + length):
            byte = sequence[p]
            if byte >= 97 and byte <= 122:
                byte -= np.uint8(32)
            h = (h ^ np.uint64(byte)) * np.uint64(1099511628211)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        out[k] = h ^ (h >> np.uint64(32))
    return out
