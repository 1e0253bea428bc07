# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc, no-untyped-call, call-arg"
"""Compiled loops of a random forest on doses in bit planes; `forest` documents the arrays.

A node's best split is found by counting bits: of a variant's heterozygotes and homozygotes among
the node's samples and among its cases. Where a node has few samples they are looked at one by one.
"""

from __future__ import annotations

import numba
import numpy as np

from geneai_spark.features.dose_kernels import ones

#: Samples a word above which counting bits is cheaper than looking at each sample.
FEW = 3
ONE = np.uint64(1)
STEP = np.uint64(0x9E3779B97F4A7C15)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def mix(word):
    """Scramble 64 bits: the last step of SplitMix64 (Steele, Lea and Flood 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def fill(planes, training, out):
    """Put the genotype that most training samples have, the rarer ALT dose among equals, for a
    missing one: planes (records, 2, words), training (words,) -> out, as planes.
    """
    records, _, words = planes.shape
    for r in range(records):
        het, alt, called = np.uint64(0), np.uint64(0), np.uint64(0)
        for w in range(words):
            low, high = planes[r, 0, w], planes[r, 1, w]
            het += ones(low & ~high & training[w])
            alt += ones(high & ~low & training[w])
            called += ones(~(low & high) & training[w])
        ref = called - het - alt
        low_fill = FULL if het > ref and het >= alt else np.uint64(0)
        high_fill = FULL if alt > ref and alt > het else np.uint64(0)
        for w in range(words):
            low, high = planes[r, 0, w], planes[r, 1, w]
            missing = low & high
            out[r, 0, w] = (low & ~missing) | (missing & low_fill)
            out[r, 1, w] = (high & ~missing) | (missing & high_fill)


@numba.njit(cache=True, nogil=True)
def count(planes, samples):
    """Heterozygotes and homozygotes of ALT, nothing missing, among the samples with a bit:
    (records, 2, words), (words,) -> int64 (records, 2).
    """
    out = np.zeros((len(planes), 2), np.int64)
    for r in range(len(planes)):
        for dose in range(2):
            for w in range(len(samples)):
                out[r, dose] += np.int64(ones(planes[r, dose, w] & samples[w]))
    return out


@numba.njit(cache=True, nogil=True)
def best_splits(
    planes, first, block, members, begin, cases, end, keys, rate, least, gain, which, cut
):
    """Improve each node's best split by the candidates among one block's variants.

    planes (records, 2, words), nothing missing; first: number of its first variant. A node's
    samples are members[begin:end], its cases the first of them, up to ``cases``. Candidates are
    drawn by the node's key and the block's number, each variant with probability ``rate``, by the
    gaps between them. gain, which, cut (nodes,): the best so far, changed; of equals, the earlier.
    """
    records, _, words = planes.shape
    everyone, case = np.empty(words, np.uint64), np.empty(words, np.uint64)
    rest = np.log1p(-rate) if rate < 1.0 else 0.0
    for k in range(len(begin)):
        b, c, e = begin[k], cases[k], end[k]
        n, n1 = e - b, c - b
        whole = (n1 * n1 + (n - n1) * (n - n1)) / n
        wide = n > FEW * words
        if wide:
            everyone[:] = 0
            case[:] = 0
            for m in range(b, e):
                s = members[m]
                bit = ONE << np.uint64(s & 63)
                everyone[s >> 6] |= bit
                if m < c:
                    case[s >> 6] |= bit
        state = mix(keys[k] + STEP * np.uint64(block + 1))
        best = gain[k]
        i = -1
        while True:
            if rate < 1.0:
                state += STEP
                uniform = (np.float64(mix(state) >> np.uint64(11)) + 1.0) / 9007199254740992.0
                i += 1 + int(np.log(uniform) / rest)
            else:
                i += 1
            if i >= records:
                break
            het, alt, het1, alt1 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
            if wide:
                for w in range(words):
                    low, high = planes[i, 0, w] & everyone[w], planes[i, 1, w] & everyone[w]
                    het += ones(low)
                    alt += ones(high)
                    het1 += ones(low & case[w])
                    alt1 += ones(high & case[w])
            else:
                for m in range(b, e):
                    s = members[m]
                    shift = np.uint64(s & 63)
                    low = (planes[i, 0, s >> 6] >> shift) & ONE
                    high = (planes[i, 1, s >> 6] >> shift) & ONE
                    het += low
                    alt += high
                    if m < c:
                        het1 += low
                        alt1 += high
            for above in range(2):  # right go doses above 0, above 1
                r, r1 = np.int64(alt), np.int64(alt1)
                if above == 0:
                    r += np.int64(het)
                    r1 += np.int64(het1)
                left, left1 = n - r, n1 - r1
                if r < least or left < least:
                    continue
                pure = (r1 * r1 + (r - r1) * (r - r1)) / r
                pure += (left1 * left1 + (left - left1) * (left - left1)) / left
                if pure - whole > best:
                    best = pure - whole
                    gain[k], which[k], cut[k] = best, first + i, above


@numba.njit(cache=True, nogil=True)
def sides(planes, row, cut, members, begin, end, out):
    """Whether samples of nodes go right, 1, or left, 0: out (members,).

    planes (rows, 2, words); row (nodes,): of planes, -1 where the node is not split.
    """
    for k in range(len(row)):
        if row[k] >= 0:
            for m in range(begin[k], end[k]):
                out[m] = dose_above(planes[row[k]], members[m], cut[k])


@numba.njit(cache=True, nogil=True)
def take_over(taken, begin, end, source, out):
    """Copy what some nodes' samples have."""
    for k in range(len(taken)):
        if taken[k]:
            for m in range(begin[k], end[k]):
                out[m] = source[m]


@numba.njit(cache=True, nogil=True)
def part(split, goes, members, begin, cases, end, out, middle, left_cases, right_cases):
    """Part nodes' samples, in their order: who goes left first, of each side the cases first.

    split (nodes,): which are split; goes (members,): from :func:`sides`.
    """
    for k in range(len(begin)):
        if not split[k]:
            continue
        j = begin[k]
        for side in range(2):
            found = 0
            for m in range(begin[k], end[k]):
                if goes[m] == side:
                    out[j] = members[m]
                    j += 1
                    found += m < cases[k]
            if side == 0:
                middle[k], left_cases[k] = j, found
            else:
                right_cases[k] = found


@numba.njit(cache=True, nogil=True)
def dose_above(plane, sample, cut):
    """Whether a sample's dose is above 0 (cut 0), above 1 (cut 1): plane (2, words) -> 0, 1."""
    word, shift = sample >> 6, np.uint64(sample & 63)
    found = plane[1, word]
    if cut == 0:
        found |= plane[0, word]
    return np.int64((found >> shift) & ONE)


@numba.njit(cache=True, nogil=True)
def judge(members, begin, middle, end, truth, value, left, right, out):
    """What splits explain of samples that the tree was not grown on: their labels' departure from
    the node's share of cases, times what the split adds to it. truth -1: not known.
    """
    for k in range(len(begin)):
        total = 0.0
        for m in range(begin[k], end[k]):
            y = truth[members[m]]
            if y >= 0:
                added = (left[k] if m < middle[k] else right[k]) - value[k]
                total += added * (y - value[k])
        out[k] = total


@numba.njit(cache=True, nogil=True)
def settle(members, begin, end, value, votes, seen):
    """Add leaves' shares of cases to the votes of the samples that came there."""
    for k in range(len(begin)):
        for m in range(begin[k], end[k]):
            votes[members[m]] += value[k]
            seen[members[m]] += 1


@numba.njit(cache=True, nogil=True)
def predict(planes, roots, left, row, cut, value, out):
    """Mean over trees of the share of cases in the leaf: planes (rows, 2, words) -> out (n,)."""
    for s in range(len(out)):
        total = 0.0
        for root in roots:
            k = root
            while left[k] >= 0:
                k = left[k] + dose_above(planes[row[k]], s, cut[k])
            total += value[k]
        out[s] = total / len(roots)


@numba.njit(cache=True, nogil=True)
def descend(x, roots, left, right, feature, threshold, value, out):
    """Sum over trees of the leaf's value: x (samples, features) -> out (samples,)."""
    for s in range(len(x)):
        for root in roots:
            k = root
            while left[k] >= 0:
                k = left[k] if x[s, feature[k]] <= threshold[k] else right[k]
            out[s] += value[k]


@numba.njit(cache=True, nogil=True)
def correlate(one, others, samples, out):
    """Squared correlation of a variant's doses with others', nothing missing: (2, words),
    (records, 2, words) -> (records,), over the samples with a bit in ``samples`` (words,).
    """
    n = np.int64(0)
    for w in range(len(samples)):
        n += np.int64(ones(samples[w]))
    for r in range(len(others)):
        sx = sy = sxx = syy = sxy = 0
        for w in range(len(samples)):
            xl, xh = one[0, w] & samples[w], one[1, w] & samples[w]
            yl, yh = others[r, 0, w] & samples[w], others[r, 1, w] & samples[w]
            a, b = np.int64(ones(xl)), np.int64(ones(xh))
            c, d = np.int64(ones(yl)), np.int64(ones(yh))
            sx += a + 2 * b
            sxx += a + 4 * b
            sy += c + 2 * d
            syy += c + 4 * d
            sxy += np.int64(ones(xl & yl)) + 2 * np.int64(ones(xl & yh))
            sxy += 2 * np.int64(ones(xh & yl)) + 4 * np.int64(ones(xh & yh))
        x, y = n * sxx - sx * sx, n * syy - sy * sy
        cross = np.float64(n * sxy - sx * sy)
        out[r] = cross * cross / (np.float64(x) * np.float64(y)) if x > 0 and y > 0 else 0.0
