"""Compiled loops over the k-mers of reads: two bits a base, canonical, hashed.

A k-mer is coded with its first base highest (A 0, C 1, G 2, T 3), so that codes are in the order of
texts. Canonical is the lesser of a k-mer and its reverse complement. A base other than A, C, G, T
(in either case) breaks k-mers: none goes over it. `sequence` is bytes, read r at `starts[r]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

LONGEST = 31  # bases in 64 bits, two each
BREAK = 4


def _codes() -> Array:
    found = np.full(256, BREAK, np.uint8)
    for code, letters in enumerate(("Aa", "Cc", "Gg", "Tt")):
        found[[ord(letter) for letter in letters]] = code
    return found


CODE_OF = _codes()
_jit = njit(cache=True, nogil=True)


@_jit
def _rotate(x: Any, by: Any) -> Any:
    return (x << np.uint64(by)) | (x >> np.uint64(64 - by))


@_jit
def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


@_jit
def murmur(code: Any, k: Any, seed: Any) -> Any:
    """The first 64 bits of MurmurHash3 (x64, 128 bits) of a k-mer's text, k up to 31: sourmash's.

    Source: A. Appleby's public description of MurmurHash3_x64_128.
    """
    c1, c2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
    h1, h2 = np.uint64(seed), np.uint64(seed)
    k1, k2 = np.uint64(0), np.uint64(0)
    for i in range(k):
        base = (code >> np.uint64(2 * (k - 1 - i))) & np.uint64(3)
        letter = np.uint64(65)  # A
        if base == 1:
            letter = np.uint64(67)
        elif base == 2:
            letter = np.uint64(71)
        elif base == 3:
            letter = np.uint64(84)
        inside = i & 15
        if inside < 8:
            k1 |= letter << np.uint64(8 * inside)
        else:
            k2 |= letter << np.uint64(8 * (inside - 8))
        if inside == 15:  # a whole block
            h1 ^= _rotate(k1 * c1, 31) * c2
            h1 = (_rotate(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
            h2 ^= _rotate(k2 * c2, 33) * c1
            h2 = (_rotate(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
            k1, k2 = np.uint64(0), np.uint64(0)
    h2 ^= _rotate(k2 * c2, 33) * c1
    h1 ^= _rotate(k1 * c1, 31) * c2
    h1 ^= np.uint64(k)
    h2 ^= np.uint64(k)
    h1 += h2
    h2 += h1
    h1, h2 = _mix(h1), _mix(h2)
    return h1 + h2


@_jit
def kmers(
    sequence: Array, starts: Array, lengths: Array, rows: Array, code_of: Array, k: int
) -> Array:
    """Codes of all canonical k-mers of some reads, in order (uint64, n)."""
    room = np.int64(0)
    for r in rows:
        room += max(0, lengths[r] - k + 1)
    out = np.empty(room, np.uint64)
    n = 0
    full = (np.uint64(1) << np.uint64(2 * k)) - np.uint64(1)
    top = np.uint64(2 * (k - 1))
    for r in rows:
        known = 0
        ahead, back = np.uint64(0), np.uint64(0)
        for p in range(starts[r], starts[r] + lengths[r]):
            base = np.uint64(code_of[sequence[p]])
            if base == BREAK:
                known = 0
                continue
            ahead = ((ahead << np.uint64(2)) | base) & full
            back = (back >> np.uint64(2)) | ((np.uint64(3) - base) << top)
            known += 1
            if known >= k:
                out[n] = min(ahead, back)
                n += 1
    return out[:n]


@_jit
def sketched(codes: Array, k: int, seed: int, most: Any) -> Array:
    """Hashes of codes that do not exceed `most` (uint64, n)."""
    out = np.empty(codes.size, np.uint64)
    n = 0
    for i in range(codes.size):
        h = murmur(codes[i], k, seed)
        if h <= most:
            out[n] = h
            n += 1
    return out[:n]


@_jit
def add_counts(codes: Array, counts: Array) -> None:
    """Count codes: `counts` has a place for each of the 4 ** k."""
    for code in codes:
        counts[code] += 1
