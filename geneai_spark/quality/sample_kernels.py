# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"
"""Compiled sums per sample over a batch of records, and what they need to know of an allele.

A usual record (0/0, 0/1, 1/1, missing) adds to three 16-bit counters of its class, in vector
instructions; a class is where the record lies and what its ALT allele changes. The sums that are
reported are sums of classes. Other records go one genotype at a time.
"""

from __future__ import annotations

import numba
import numpy as np

from geneai_spark.genotype_kernels import (
    HET,
    HET_SWAPPED,
    HOM_ALT,
    LONE_NO_CALL,
    NO_CALL,
)

#: Where a record lies. Autosomal and X: with two alleles, both seen; X and Y: outside PAR.
ELSEWHERE, AUTOSOMAL, ON_X, ON_Y = 0, 1, 2, 3
#: What an allele changes.
OTHER, TRANSITION, TRANSVERSION, INDEL = 0, 1, 2, 3
#: Rows of the sums, int64, shape (ROWS, samples).
VARIANTS, REF, HETS, ALT, AUTO, AUTO_HOM, AUTO_EXPECTED, TS, TV, INDELS, SINGLETONS = range(11)
X, X_HOM, X_EXPECTED, Y, Y_CALLED = range(11, 16)
ROWS = 16


@numba.njit(cache=True, nogil=True)
def changes(ref_bytes, ref_offsets, alt_bytes, alt_offsets, offsets):
    """Classify each allele: int8, shape (alleles,); REF, and what is no plain sequence: OTHER.

    As bcftools does: a substitution is one differing base between texts of one length; an indel
    is a stretch put in or taken out, after what both texts share on the left and right.

    Args:
        ref_bytes, ref_offsets: text of REF of each record, as Arrow keeps it.
        alt_bytes, alt_offsets: text of the ALT alleles, record after record.
        offsets: of the records' alleles, REF included, see ``genotypes.Tally``.
    """
    out = np.zeros(offsets[-1], np.int8)
    k = 0
    for r in range(len(offsets) - 1):
        ref = ref_bytes[ref_offsets[r] : ref_offsets[r + 1]]
        for j in range(offsets[r] + 1, offsets[r + 1]):
            out[j] = _change(ref, alt_bytes[alt_offsets[k] : alt_offsets[k + 1]])
            k += 1
    return out


@numba.njit(cache=True, nogil=True)
def _change(ref, alt):
    n, m = len(ref), len(alt)
    for base in alt:
        if not 65 <= base & 0xDF <= 90:  # <DEL>, *, breakends, a lone dot
            return OTHER
    if n == m:
        differing, where = 0, 0
        for i in range(n):
            if ref[i] & 0xDF != alt[i] & 0xDF:
                differing, where = differing + 1, i
        if differing != 1:
            return OTHER
        one, two = ref[where] & 0xDF, alt[where] & 0xDF
        if one > two:
            one, two = two, one
        if not _is_base(one) or not _is_base(two):
            return OTHER
        return (
            TRANSITION if (one == 65 and two == 71) or (one == 67 and two == 84) else TRANSVERSION
        )
    short = min(n, m)
    left, right = 0, 0
    while left < short and ref[left] & 0xDF == alt[left] & 0xDF:
        left += 1
    while right < short - left and ref[n - 1 - right] & 0xDF == alt[m - 1 - right] & 0xDF:
        right += 1
    return INDEL if left + right == short else OTHER


@numba.njit(cache=True, nogil=True)
def _is_base(byte):
    return byte == 65 or byte == 67 or byte == 71 or byte == 84


@numba.njit(cache=True, nogil=True)
def add_usual(codes, usual, places, change, expected, sums):
    """Add the usual records to ``sums``.

    Args:
        codes: uint16, shape (records, samples), see ``genotype_kernels.HET``.
        usual: which records to take.
        places: ``AUTOSOMAL`` ..., shape (records,).
        change: ``TRANSITION`` ... of the first ALT allele, shape (records,).
        expected: expected homozygosity of the record, in units of ``EXPECTED_UNIT``.
        sums: int64, shape (ROWS, samples).
    """
    records, samples = codes.shape
    for start in range(0, records, 65535):  # as many as a counter of 16 bits takes
        stop = min(records, start + 65535)
        counts = np.zeros((16, 3, samples), np.uint16)
        taken = np.zeros(16, np.int64)
        for r in range(start, stop):
            if not usual[r]:
                continue
            kind = places[r] * 4 + change[r]
            taken[kind] += 1
            _count(codes[r], counts[kind, 0], counts[kind, 1], counts[kind, 2])
            if places[r] == AUTOSOMAL:
                _add_expected(codes[r], expected[r], sums[AUTO_EXPECTED])
            elif places[r] == ON_X:
                _add_expected(codes[r], expected[r], sums[X_EXPECTED])
        for kind in range(16):
            if taken[kind]:
                _add_class(kind // 4, kind % 4, taken[kind], counts[kind], sums)


@numba.njit(cache=True, nogil=True)
def _count(codes, hets, alts, missing):
    for s in range(len(codes)):
        code = codes[s]
        hets[s] = np.uint16(hets[s] + np.uint16((code == HET) | (code == HET_SWAPPED)))
        alts[s] = np.uint16(alts[s] + np.uint16(code == HOM_ALT))
        missing[s] = np.uint16(missing[s] + np.uint16((code == NO_CALL) | (code == LONE_NO_CALL)))


@numba.njit(cache=True, nogil=True)
def _add_expected(codes, expected, sums):
    for s in range(len(codes)):
        missing = (codes[s] == NO_CALL) | (codes[s] == LONE_NO_CALL)
        sums[s] += np.int64(0) if missing else expected


@numba.njit(cache=True, nogil=True)
def _add_class(place, change, taken, counts, sums):
    for s in range(sums.shape[1]):
        het, alt, missing = np.int64(counts[0, s]), np.int64(counts[1, s]), np.int64(counts[2, s])
        called = taken - missing
        sums[VARIANTS, s] += taken
        sums[REF, s] += called - het - alt
        sums[HETS, s] += het
        sums[ALT, s] += alt
        if place == AUTOSOMAL:
            sums[AUTO, s] += called
            sums[AUTO_HOM, s] += called - het
        elif place == ON_X:
            sums[X, s] += called
            sums[X_HOM, s] += called - het
        elif place == ON_Y:
            sums[Y, s] += taken
            sums[Y_CALLED, s] += called
        if change == TRANSITION:
            sums[TS, s] += het + alt
        elif change == TRANSVERSION:
            sums[TV, s] += het + alt
        elif change == INDEL:
            sums[INDELS, s] += het + alt


@numba.njit(cache=True, nogil=True)
def add_others(decoded, usual, offsets, places, change, expected, sums):
    """Add the records that are not usual; ``change`` is of every allele, shape (alleles,).

    Substitutions, indels and singletons count in genotypes of two alleles and more, and a
    genotype's substitution is that of its lowest ALT allele: as bcftools stats does.
    """
    records, samples, ploidy = decoded.shape
    for r in range(records):
        if usual[r]:
            continue
        carriers, carrier = 0, 0
        for s in range(samples):
            sums[VARIANTS, s] += 1
            sums[Y, s] += places[r] == ON_Y
            a, same, complete, width, lowest, indel = decoded[r, s, 0], True, True, 0, 0, False
            for p in range(ploidy):
                b = decoded[r, s, p]
                complete &= b != -1
                width += b != -2
                same &= (b == a) | (b == -2)
                if b > 0:
                    lowest = b if lowest == 0 or b < lowest else lowest
                    indel |= change[offsets[r] + b] == INDEL
            if width == 0 or not complete:
                continue
            sums[HETS if not same else REF if a == 0 else ALT, s] += 1
            if places[r] == AUTOSOMAL and width == 2:
                sums[AUTO, s] += 1
                sums[AUTO_HOM, s] += same
                sums[AUTO_EXPECTED, s] += expected[r]
            elif places[r] == ON_X:
                sums[X, s] += 1
                sums[X_HOM, s] += same
                sums[X_EXPECTED, s] += expected[r]
            elif places[r] == ON_Y:
                sums[Y_CALLED, s] += 1
            if lowest > 0 and width >= 2:
                carriers, carrier = carriers + 1, s
                sums[TS, s] += change[offsets[r] + lowest] == TRANSITION
                sums[TV, s] += change[offsets[r] + lowest] == TRANSVERSION
                sums[INDELS, s] += indel
        if carriers == 1:
            sums[SINGLETONS, carrier] += 1


@numba.njit(cache=True, nogil=True)
def add_singletons(codes, single, sums):
    """Find the one carrier of each usual record that ``single`` names."""
    for r in range(len(codes)):
        if single[r]:
            for s in range(codes.shape[1]):
                code = codes[r, s]
                if code in (HET, HET_SWAPPED, HOM_ALT):
                    sums[SINGLETONS, s] += 1
                    break
