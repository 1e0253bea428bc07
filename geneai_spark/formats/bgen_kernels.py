"""BGEN probabilities to genotypes: bits to integers, integers to probabilities and hard calls.

Source: the BGEN format 1.3, section on genotype data; hard calls as plink2 makes them
(``--hard-call-threshold``): a genotype is called where half the sum, over the alleles, of the
distances of their dosages from whole numbers is at most the threshold.
"""

from __future__ import annotations

import numba
import numpy as np

MISSING, ABSENT = -1, -2
GP_MISSING, GP_ABSENT = np.uint32(0x7F800001), np.uint32(0x7F800002)


@numba.njit(cache=True, nogil=True)
def unpack(raw, bits, out):
    """Numbers of `bits` bits each, lowest bit first, of bytes: shape (numbers,), int64."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(out.size):
        at = i * bits
        shift = at & 7
        value = np.uint64(0)
        for k in range((bits + shift + 7) >> 3):
            value |= np.uint64(raw[(at >> 3) + k]) << np.uint64(8 * k)
        out[i] = np.int64((value >> np.uint64(shift)) & mask)


@numba.njit(cache=True, nogil=True)
def _call(dosage, total, threshold, counts, ploidy):
    """Round allele dosages (times `total`) to `counts`; whether that is near enough."""
    distance, copies = 0.0, 0
    for a in range(dosage.size):
        counts[a] = int(np.floor(dosage[a] / total + 0.5))
        copies += counts[a]
        distance += abs(dosage[a] / total - counts[a])
    return copies == ploidy and distance <= 2 * threshold + 1e-9


@numba.njit(cache=True, nogil=True)
def unphased(values, explicit, top, ploidies, sizes, copies, places, threshold, calls, gp, bits):
    """Genotype probabilities of one variant.

    Args:
        values: stored numbers, sample after sample: of all genotypes, or of all but the last.
        explicit: whether the last is stored, too (layout 1).
        top: the number that is probability 1.
        ploidies: a byte a sample: ploidy, and 128 where it is missing.
        sizes: number of genotypes by ploidy.
        copies: copies of each allele by ploidy and genotype, shape (ploidies, genotypes, alleles).
        places: where a genotype stands among the results, shape (ploidies, genotypes).
        calls: allele indices to fill, shape (samples, widest ploidy).
        gp: probabilities to fill, float32, shape (samples, most genotypes); bits: the same memory
            as uint32. Of no width where they are not wanted.

    Returns:
        -1, or the number of a sample whose probabilities add up to more than 1.
    """
    n_alleles, at = copies.shape[2], 0
    dosage, counts = np.empty(n_alleles), np.empty(n_alleles, np.int64)
    for i in range(ploidies.size):
        ploidy = ploidies[i] & 63
        size = sizes[ploidy]
        stored = size if explicit else size - 1
        total = np.int64(0)
        for g in range(stored):
            total += values[at + g]
        missing = ploidies[i] >= 128 or ploidy == 0 or (explicit and total == 0)
        calls[i, :] = ABSENT
        calls[i, : max(ploidy, 1)] = MISSING
        if gp.shape[1]:
            bits[i, :] = GP_ABSENT
            bits[i, 0] = GP_MISSING
        if missing:
            at += stored
            continue
        if not explicit and total > top:
            return i
        dosage[:] = 0
        for g in range(size):
            value = values[at + g] if g < stored else top - total
            for a in range(n_alleles):
                dosage[a] += value * copies[ploidy, g, a]
            if gp.shape[1]:
                gp[i, places[ploidy, g]] = value / top
        at += stored
        if _call(dosage, total if explicit else top, threshold, counts, ploidy):
            p = 0
            for a in range(n_alleles):
                for _ in range(counts[a]):
                    calls[i, p] = a
                    p += 1
    return -1


@numba.njit(cache=True, nogil=True)
def phased(values, top, ploidies, sizes, order, steps, threshold, calls, bars, gp, bits):
    """Allele probabilities of each haplotype of one variant; arguments as of `unphased`.

    Args:
        order: an allele's number in the results.
        steps: number of the genotype that results from one of the ploidy below and one more
            allele, shape (ploidies, genotypes, alleles).
        bars: to be set where a genotype is phased, uint8, shape (samples, widest ploidy - 1).
    """
    n_alleles, at = order.size, 0
    dosage, counts = np.empty(n_alleles), np.empty(n_alleles, np.int64)
    best, seen = np.empty(64, np.int64), np.empty(n_alleles, np.int64)
    haplotype = np.empty((64, n_alleles))
    now, later = np.empty(max(1, gp.shape[1])), np.empty(max(1, gp.shape[1]))
    for i in range(ploidies.size):
        ploidy = ploidies[i] & 63
        calls[i, :] = ABSENT
        calls[i, : max(ploidy, 1)] = MISSING
        if gp.shape[1]:
            bits[i, :] = GP_ABSENT
            bits[i, 0] = GP_MISSING
        if ploidies[i] >= 128 or ploidy == 0:
            at += ploidy * (n_alleles - 1)
            continue
        dosage[:] = 0
        for h in range(ploidy):
            total = np.int64(0)
            for a in range(n_alleles):
                if a < n_alleles - 1:
                    value = values[at]
                    total += value
                    at += 1
                else:
                    value = top - total
                haplotype[h, order[a]] = value
                dosage[order[a]] += value
            if total > top:
                return i
            best[h] = np.argmax(haplotype[h])
        if _call(dosage, top, threshold, counts, ploidy):
            seen[:] = 0
            for h in range(ploidy):
                seen[best[h]] += 1
            if (seen == counts).all():
                for h in range(ploidy):
                    calls[i, h] = best[h]
                bars[i, : ploidy - 1] = 1
            else:  # two haplotypes as likely: which is which is not known
                p = 0
                for a in range(n_alleles):
                    for _ in range(counts[a]):
                        calls[i, p] = a
                        p += 1
        if gp.shape[1]:
            now[0] = 1.0
            for h in range(ploidy):
                later[: sizes[h + 1]] = 0.0
                for g in range(sizes[h]):
                    for a in range(n_alleles):
                        later[steps[h, g, a]] += now[g] * haplotype[h, a] / top
                now[: sizes[h + 1]] = later[: sizes[h + 1]]
            for g in range(sizes[ploidy]):
                gp[i, g] = now[g]
    return -1
