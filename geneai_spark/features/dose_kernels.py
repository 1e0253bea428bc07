# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc, no-untyped-call, call-arg"
"""Compiled loops over doses packed into bit planes; ``doses`` documents the planes.

In a pair of words (low, high) each bit is a genotype: 00 two REF, 10 het, 01 two ALT, 11 missing.
So ``low & ~high`` are heterozygotes and ``~low`` homozygotes, 64 at a time, and a sum over
samples is a count of bits: exact, and faster than a product of matrices.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

HOM_REF, HET, HOM_ALT, MISSED = 0, 1, 2, 3


@intrinsic
def ones(context, word):
    """Bits set in a word: LLVM's ``ctpop``, which becomes a vector instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@numba.njit(cache=True, nogil=True)
def pack(decoded, rows):
    """See ``doses.planes``: (records, samples, 2) alleles -> (records, 2, words)."""
    records, n = len(decoded), len(rows)
    words = (n + 63) // 64
    everyone = n == decoded.shape[1]  # rows ascend
    low, high = np.ones(words * 64, np.uint8), np.ones(words * 64, np.uint8)  # ends are missing
    out = np.empty((records, 2, words), np.uint64)
    for r in range(records):
        for s in range(n):
            row = s if everyone else rows[s]
            a, b = decoded[r, row, 0], decoded[r, row, 1]
            missing = (a < 0) | (b == -1)
            first, second = a > 0, b > 0
            low[s] = (first ^ second) | missing
            high[s] = (first & second) | missing
        gather(low, out[r, 0])
        gather(high, out[r, 1])
    return out


@numba.njit(cache=True, nogil=True)
def gather(flags, out):
    """Put bytes 0 or 1, 64 a word, into bits: eight at a time by a product that shifts each."""
    eights = flags.view(np.uint64)
    for w in range(len(out)):
        word = np.uint64(0)
        for i in range(8):
            byte = (eights[w * 8 + i] * np.uint64(0x0102040810204080)) >> np.uint64(56)
            word |= byte << np.uint64(8 * i)
        out[w] = word


@numba.njit(cache=True, nogil=True)
def take(planes, rows):
    """Doses of some samples: (records, 2, words) -> (records, 2, words of len(rows))."""
    records, n = len(planes), len(rows)
    words = (n + 63) // 64
    out = np.empty((records, 2, words), np.uint64)
    for r in range(records):
        for plane in range(2):
            for w in range(words):
                word = np.uint64(0)
                for bit in range(64):
                    s = w * 64 + bit
                    one = np.uint64(1)
                    if s < n:
                        one = planes[r, plane, rows[s] // 64] >> np.uint64(rows[s] % 64)
                    word |= (one & np.uint64(1)) << np.uint64(bit)
                out[r, plane, w] = word
    return out


@numba.njit(cache=True, nogil=True)
def counts(planes, n):
    """See ``doses.counts``: samples by genotype, int64 (records, 4)."""
    records, _, words = planes.shape
    out = np.empty((records, 4), np.int64)
    for r in range(records):
        het, alt, missing = np.uint64(0), np.uint64(0), np.uint64(0)
        for w in range(words):
            low, high = planes[r, 0, w], planes[r, 1, w]
            het += ones(low & ~high)
            alt += ones(high & ~low)
            missing += ones(low & high)
        out[r, HET], out[r, HOM_ALT] = het, alt
        out[r, MISSED] = np.int64(missing) - (64 * words - n)
        out[r, HOM_REF] = n - out[r, HET] - out[r, HOM_ALT] - out[r, MISSED]
    return out


@numba.njit(cache=True, nogil=True)
def look_up(planes, values, out):
    """Write ``values[record, genotype]`` for each sample into ``out`` (records, samples)."""
    records, n = out.shape
    for r in range(records):
        v0, v1, v2, v3 = values[r, 0], values[r, 1], values[r, 2], values[r, 3]
        for w in range((n + 63) // 64):
            low, high = planes[r, 0, w], planes[r, 1, w]
            for bit in range(min(64, n - w * 64)):
                l = (low >> np.uint64(bit)) & np.uint64(1)  # noqa: E741
                h = (high >> np.uint64(bit)) & np.uint64(1)
                out[r, w * 64 + bit] = (v3 if h else v1) if l else (v2 if h else v0)


@numba.njit(cache=True, nogil=True)
def look_up_by_column(planes, values, out):
    """Write ``values[column, genotype]`` into ``out`` (rows, columns): planes of samples."""
    rows, n = out.shape
    for r in range(rows):
        for w in range((n + 63) // 64):
            low, high = planes[r, 0, w], planes[r, 1, w]
            for bit in range(min(64, n - w * 64)):
                l = (low >> np.uint64(bit)) & np.uint64(1)  # noqa: E741
                h = (high >> np.uint64(bit)) & np.uint64(1)
                c = w * 64 + bit
                out[r, c] = values[c, l + 2 * h]


@numba.njit(cache=True, nogil=True)
def transpose(planes, n):
    """Turn variants' planes into samples': (records, 2, words) -> (n, 2, words of records)."""
    records = len(planes)
    words = (records + 63) // 64
    out = np.full((n, 2, words), np.uint64(0xFFFFFFFFFFFFFFFF))  # all missing
    square = np.empty(64, np.uint64)
    for plane in range(2):
        for w in range(words):
            for column in range((n + 63) // 64):
                for i in range(64):
                    r = w * 64 + i
                    full = np.uint64(0xFFFFFFFFFFFFFFFF)
                    square[i] = planes[r, plane, column] if r < records else full
                flip(square)
                for i in range(min(64, n - column * 64)):
                    out[column * 64 + i, plane, w] = square[i]
    return out


@numba.njit(cache=True, nogil=True, inline="always")
def flip(square):
    """Transpose 64 x 64 bits in place, by halves (Warren, Hacker's Delight, 7-3)."""
    width, mask = np.uint64(32), np.uint64(0x00000000FFFFFFFF)
    while width:
        k = np.uint64(0)
        while k < np.uint64(64):
            high = (square[k] >> width) ^ square[k + width]
            high &= mask
            square[k] ^= high << width
            square[k + width] ^= high
            k = (k + width + np.uint64(1)) & ~width
        width >>= np.uint64(1)
        mask ^= mask << width


@numba.njit(cache=True, nogil=True)
def squared_correlation(one, other):
    """Correlation, squared, of two variants' doses (2, words), over samples called in both.

    0 where one of them does not vary. All sums are integers.
    """
    n = x = y = xx = yy = xy = np.uint64(0)
    x_het = x_alt = y_het = y_alt = np.uint64(0)
    het_het = mixed = alt_alt = np.uint64(0)
    for w in range(one.shape[1]):
        l1, h1, l2, h2 = one[0, w], one[1, w], other[0, w], other[1, w]
        called = ~((l1 & h1) | (l2 & h2))
        l1, h1, l2, h2 = l1 & called, h1 & called, l2 & called, h2 & called
        n += ones(called)
        x_het, x_alt = x_het + ones(l1), x_alt + ones(h1)
        y_het, y_alt = y_het + ones(l2), y_alt + ones(h2)
        het_het += ones(l1 & l2)
        mixed += ones((l1 & h2) | (h1 & l2))
        alt_alt += ones(h1 & h2)
    x, xx = x_het + np.uint64(2) * x_alt, x_het + np.uint64(4) * x_alt
    y, yy = y_het + np.uint64(2) * y_alt, y_het + np.uint64(4) * y_alt
    xy = het_het + np.uint64(2) * mixed + np.uint64(4) * alt_alt
    covariance = np.float64(np.int64(n * xy) - np.int64(x * y))
    spread = np.float64(np.int64(n * xx - x * x)) * np.float64(np.int64(n * yy - y * y))
    return covariance * covariance / spread if spread > 0 else 0.0


@numba.njit(cache=True, nogil=True)
def prune(planes, positions, order, window, r2):
    """See ``ld.prune_block``: which records stay, bool (records,).

    Neighbours are tried from near to far, because near ones correlate most.
    """
    records = len(planes)
    kept = np.zeros(records, np.bool_)
    for i in order:
        below, above = i - 1, i + 1
        stays = True
        while stays:
            down = below >= 0 and positions[i] - positions[below] <= window
            up = above < records and positions[above] - positions[i] <= window
            if not (down or up):
                break
            if down:
                if kept[below] and squared_correlation(planes[i], planes[below]) > r2:
                    stays = False
                below -= 1
            if up and stays:
                if kept[above] and squared_correlation(planes[i], planes[above]) > r2:
                    stays = False
                above += 1
        kept[i] = stays
    return kept


@numba.njit(cache=True, nogil=True)
def pair_counts(one, other, out):
    """Add a stretch of variants to the counts of pairs of samples.

    Args:
        one: samples' planes, (samples, 2, words).
        other: the second samples' planes over the same variants.
        out: int32, (samples, second samples, 5): both het; het and hom; hom and het; both hom;
            opposite homozygotes, which the fourth includes.
    """
    words = one.shape[2]
    for i in range(len(one)):
        for j in range(len(other)):
            het_het = het_hom = hom_het = hom_hom = opposite = np.uint64(0)
            for w in range(words):
                l1, h1, l2, h2 = one[i, 0, w], one[i, 1, w], other[j, 0, w], other[j, 1, w]
                het1, het2 = l1 & ~h1, l2 & ~h2
                het_het += ones(het1 & het2)
                het_hom += ones(het1 & ~l2)
                hom_het += ones(~l1 & het2)
                hom_hom += ones(~l1 & ~l2)
                opposite += ones(~l1 & ~l2 & (h1 ^ h2))
            out[i, j, 0] += np.int32(het_het)
            out[i, j, 1] += np.int32(het_hom)
            out[i, j, 2] += np.int32(hom_het)
            out[i, j, 3] += np.int32(hom_hom)
            out[i, j, 4] += np.int32(opposite)
