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


#: A diploid genotype of int8 alleles, read as one little-endian 16-bit number.
HOM_REF, HET, HET_SWAPPED, HOM_ALT = 0x0000, 0x0100, 0x0001, 0x0101
NO_CALL, LONE_NO_CALL = 0xFFFF, 0xFEFF  # ./. and a lone .


@numba.njit(cache=True, nogil=True)
def code_counts(codes):
    """Count the usual genotypes of each record: int32, shape (records, 4).

    Args:
        codes: uint16, shape (records, samples): diploid genotypes, see ``HOM_REF``.

    Returns:
        0/0, 0/1 either way, 1/1, and missing. Where they do not add up to the samples, the
        record has others: more alleles, haploid ones, half calls. (12 billion genotypes a second.)
    """
    records, samples = codes.shape
    out = np.empty((records, 4), np.int32)
    for r in range(records):
        ref, het, alt, none = 0, 0, 0, 0
        for begin in range(0, samples, 32768):  # counters of 16 bits, as wide as the codes
            part = codes[r, begin : begin + 32768]
            a, b, c, d = np.uint16(0), np.uint16(0), np.uint16(0), np.uint16(0)
            for s in range(len(part)):
                code = part[s]
                a = np.uint16(a + np.uint16(code == HOM_REF))
                b = np.uint16(b + np.uint16((code == HET) | (code == HET_SWAPPED)))
                c = np.uint16(c + np.uint16(code == HOM_ALT))
                d = np.uint16(d + np.uint16((code == NO_CALL) | (code == LONE_NO_CALL)))
            ref, het, alt, none = ref + a, het + b, alt + c, none + d
        out[r, 0], out[r, 1], out[r, 2], out[r, 3] = ref, het, alt, none
    return out


@numba.njit(cache=True, nogil=True)
def tally(decoded, offsets, usual, classes, diploids, alleles):
    """See ``genotypes.tally``, which makes the arrays; ``usual`` is from ``code_counts``.

    Returns:
        The first record with an allele that it does not have, else -1.
    """
    records, samples, ploidy = decoded.shape
    for r in range(records):
        first, last = offsets[r], offsets[r + 1]
        if last - first >= 2 and usual[r].sum() == samples:
            ref, het, alt = usual[r, 0], usual[r, 1], usual[r, 2]
            classes[r, 0], classes[r, 1], classes[r, 2] = ref, het, alt
            diploids[r] = ref + het + alt
            for k in range(3):
                alleles[k, first], alleles[k, first + 1] = 2 * ref + het, 2 * alt + het
            alleles[3, first], alleles[3, first + 1] = ref, alt
            continue
        for s in range(samples):
            a, same, complete, width = decoded[r, s, 0], True, True, 0
            for p in range(ploidy):
                b = decoded[r, s, p]
                if b >= last - first:
                    return r
                if b >= 0:
                    alleles[0, first + b] += 1
                width += b != -2
                complete &= b != -1
                same &= (b == a) | (b == -2)
            if width == 0 or not complete:
                continue
            classes[r, 1 if not same else 0 if a == 0 else 2] += 1
            diploids[r] += width == 2
            for p in range(ploidy):
                b = decoded[r, s, p]
                if b >= 0:
                    alleles[1, first + b] += 1
                    alleles[2, first + b] += width == 2
            if same and width == 2:
                alleles[3, first + a] += 1
    return -1


@numba.njit(cache=True, nogil=True)
def missing_by_group(decoded, groups):
    """Count samples without a complete genotype: int32, shape (records, 2): groups 1 and 2.

    Args:
        decoded: from ``genotypes.calls``, shape (records, samples, ploidy).
        groups: int8, shape (samples,): 0 takes no part.
    """
    records, samples, ploidy = decoded.shape
    out = np.zeros((records, 2), np.int32)
    for r in range(records):
        one, two = np.int32(0), np.int32(0)
        for s in range(samples):
            missing = decoded[r, s, 0] < 0
            for p in range(1, ploidy):
                missing |= decoded[r, s, p] == -1
            one += np.int32(missing & (groups[s] == 1))
            two += np.int32(missing & (groups[s] == 2))
        out[r, 0], out[r, 1] = one, two
    return out
