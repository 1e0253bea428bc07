# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"
"""Compiled loops over decoded genotypes; ``genotypes`` documents what they compute.

The diploid loops have no branches, so that the compiler turns them into vector instructions
(3 billion genotypes a second on one core against 0.1 billion with branches).
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def dosages(decoded, allele):
    """See ``genotypes.dosages``; ``allele`` < 0 counts every ALT."""
    records, samples, ploidy = decoded.shape
    out = np.empty((records, samples), np.float32)
    nan = np.float32(np.nan)
    for r in range(records):
        if ploidy == 2:  # branchless: the compiler makes vector instructions of it
            for s in range(samples):
                a, b = decoded[r, s, 0], decoded[r, s, 1]
                missing = (a < 0) | (b == -1)
                if allele < 0:
                    n = np.float32(np.int32(a > 0) + np.int32(b > 0))
                else:
                    n = np.float32(np.int32(a == allele) + np.int32(b == allele))
                out[r, s] = nan if missing else n
        else:
            for s in range(samples):
                n, missing = np.float32(0), decoded[r, s, 0] < 0
                for p in range(ploidy):
                    a = decoded[r, s, p]
                    missing |= a == -1
                    n += np.float32((a == allele) if allele >= 0 else (a > 0))
                out[r, s] = nan if missing else n
    return out


@numba.njit(cache=True, nogil=True)
def allele_counts(flat, n_alleles):
    """See ``genotypes.allele_counts``; ``flat`` is (records, samples x ploidy)."""
    records, size = flat.shape
    out = np.zeros((records, n_alleles), np.int32)
    for r in range(records):
        if n_alleles <= 8:  # a pass per allele, in vector instructions
            for a in range(n_alleles):
                n = np.int32(0)
                for j in range(size):
                    n += np.int32(flat[r, j] == a)
                out[r, a] = n
        else:
            for j in range(size):
                a = flat[r, j]
                if 0 <= a < n_alleles:
                    out[r, a] += 1
    return out


@numba.njit(cache=True, nogil=True)
def genotype_counts(decoded):
    """See ``genotypes.genotype_counts``."""
    records, samples, ploidy = decoded.shape
    out = np.zeros((records, 3), np.int32)
    for r in range(records):
        called, hom_ref, hom_alt = np.int32(0), np.int32(0), np.int32(0)
        if ploidy == 2:
            for s in range(samples):
                a, b = decoded[r, s, 0], decoded[r, s, 1]
                ok = (a >= 0) & (b != -1)
                same = ok & ((a == b) | (b == -2))
                called += np.int32(ok)
                hom_ref += np.int32(same & (a == 0))
                hom_alt += np.int32(same & (a > 0))
        else:
            for s in range(samples):
                a = decoded[r, s, 0]
                ok, same = a >= 0, True
                for p in range(1, ploidy):
                    b = decoded[r, s, p]
                    ok &= b != -1
                    same &= (b == a) | (b == -2)
                called += np.int32(ok)
                hom_ref += np.int32(ok & same & (a == 0))
                hom_alt += np.int32(ok & same & (a > 0))
        out[r, 0], out[r, 1], out[r, 2] = hom_ref, called - hom_ref - hom_alt, hom_alt
    return out
