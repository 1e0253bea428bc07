# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"
"""Compiled exact tests on counts: Hardy-Weinberg, and Fisher's of a two by two table.

Both sum probabilities by the ratio of each to its neighbour, outwards from the observed one and
only as far as they matter: no factorials, no tables, steps in the order of the standard deviation.
"""

from __future__ import annotations

import numba
import numpy as np

TIE = 1e-8  # probabilities this close, relatively, are equal but for rounding
SMALL = 1e-20  # what adds less than this share adds nothing
HUGE = 1e290  # beyond it the observed one is as good as impossible: p is 0


@numba.njit(cache=True, nogil=True)
def hwe(hets, hom1, hom2):
    """Exact test of Hardy-Weinberg proportions: (p, mid-p).

    Given the alleles, the probability of each possible number of heterozygotes relative to the
    observed one; p sums those not above it. Mid-p counts the observed one, and those equal to it,
    half (as plink2 does). Without a genotype both are NaN.

    Source: Wigginton, Cutler, Abecasis 2005, Am J Hum Genet 76:887; mid-p: Graffelman and Moreno
    2013, Stat Appl Genet Mol Biol 12:433.
    """
    if hets + hom1 + hom2 == 0:
        return np.nan, np.nan
    rare, common = float(min(hom1, hom2)), float(max(hom1, hom2))
    tail, ties, centre = 1.0, 1.0, 0.0  # the observed one is 1
    for direction in range(2):
        h, a, b, weight = float(hets), rare, common, 1.0
        while True:
            if direction == 0:  # two heterozygotes fewer
                if h < 2.0:
                    break
                weight *= h * (h - 1.0) / (4.0 * (a + 1.0) * (b + 1.0))
                h, a, b = h - 2.0, a + 1.0, b + 1.0
            else:
                if a < 1.0:
                    break
                weight *= 4.0 * a * b / ((h + 2.0) * (h + 1.0))
                h, a, b = h + 2.0, a - 1.0, b - 1.0
            if weight > 1.0 + TIE:
                centre += weight
                if centre > HUGE:
                    return 0.0, 0.0
            else:
                tail += weight
                if weight > 1.0 - TIE:
                    ties += weight
                elif weight < SMALL * tail:  # beyond the mode for good: weights only fall
                    break
    total = tail + centre
    return min(1.0, tail / total), (tail - 0.5 * ties) / total


@numba.njit(cache=True, nogil=True)
def hwe_tests(offsets, diploids, copies, homozygous):
    """Test each ALT allele against all others together: two float64 arrays, an entry an ALT.

    Args: as in ``genotypes.Tally``: ``copies`` is its ``diploid``. A record without a complete
    diploid genotype has NaN.
    """
    records = len(diploids)
    p, mid = np.empty(offsets[-1] - records), np.empty(offsets[-1] - records)
    k = 0
    for r in range(records):
        for j in range(offsets[r] + 1, offsets[r + 1]):
            hets = copies[j] - 2 * homozygous[j]
            p[k], mid[k] = hwe(hets, homozygous[j], diploids[r] - hets - homozygous[j])
            k += 1
    return p, mid


@numba.njit(cache=True, nogil=True)
def fisher(a, b, c, d):
    """Fisher's exact test of [[a, b], [c, d]], two-sided: tables not more probable than this one.

    1 where a margin is empty, as scipy.stats.fisher_exact.
    """
    if a + b == 0 or c + d == 0 or a + c == 0 or b + d == 0:
        return 1.0
    tail, centre = 1.0, 0.0
    for direction in range(2):
        w, x, y, z, weight = float(a), float(b), float(c), float(d), 1.0
        while True:
            if direction == 0:
                if w < 1.0 or z < 1.0:
                    break
                weight *= w * z / ((x + 1.0) * (y + 1.0))
                w, x, y, z = w - 1.0, x + 1.0, y + 1.0, z - 1.0
            else:
                if x < 1.0 or y < 1.0:
                    break
                weight *= x * y / ((w + 1.0) * (z + 1.0))
                w, x, y, z = w + 1.0, x - 1.0, y - 1.0, z + 1.0
            if weight > 1.0 + TIE:
                centre += weight
                if centre > HUGE:
                    return 0.0
            else:
                tail += weight
                if weight < SMALL * tail:
                    break
    return min(1.0, tail / (tail + centre))


@numba.njit(cache=True, nogil=True)
def fisher_tests(missing, sizes):
    """Test missingness of two groups, for each record: float64, shape (records,).

    Args:
        missing: shape (records, 2): how many of each group are missing.
        sizes: the groups' sizes, shape (2,).
    """
    out = np.empty(len(missing))
    for r in range(len(missing)):
        a, b = missing[r, 0], missing[r, 1]
        if r and a == missing[r - 1, 0] and b == missing[r - 1, 1]:
            out[r] = out[r - 1]
        else:
            out[r] = fisher(a, sizes[0] - a, b, sizes[1] - b)
    return out
