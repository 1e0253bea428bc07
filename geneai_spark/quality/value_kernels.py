# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"
"""Compiled sums of a FORMAT number (DP, GQ) per record and per sample, from the packed bytes.

The bytes are read where they are (``genotypes`` describes them): type byte, then a value a sample.
A value counts wherever there is one, whether or not the genotype is called, as bcftools stats and
Hail's ``dp_stats`` have it. Sums of samples are of integers, or of floats rounded to 1/256: exact
in float64, so that the order of records makes no difference.
"""

from __future__ import annotations

import numba
import numpy as np

N, SUM, SQUARES, LEAST, GREATEST = range(5)
GRAIN = 256.0
MISSING = -(2**31)


@numba.njit(cache=True, nogil=True)
def add_values(data, starts, lengths, valid, sums, of_records):
    """Sum a column up.

    Args:
        data: bytes of the column.
        starts, lengths, valid: where each record's value is, and whether it has one.
        sums: float64, shape (5, samples), added to: count, sum, sum of squares, least, greatest.
        of_records: float64, shape (records, 5), filled with the same for each record.

    Returns:
        The first record whose value is no number a sample, else -1.
    """
    samples = sums.shape[1]
    whole, real = np.empty(samples, np.int32), np.empty(samples, np.float64)
    for r in range(len(starts)):
        of_records[r, :3], of_records[r, LEAST], of_records[r, GREATEST] = 0.0, np.inf, -np.inf
        if not valid[r]:
            continue
        if lengths[r] < 1:
            return r
        code, body = data[starts[r]], data[starts[r] + 1 : starts[r] + lengths[r]]
        size = 1 if code == 1 else 2 if code == 2 else 4 if code == 3 or code == 5 else 0
        if size == 0 or len(body) != size * samples:
            return r
        if code == 5:
            _floats(body, real)
            _add_floats(real, sums, of_records[r])
            continue
        if code == 1:
            for s in range(samples):
                value = np.int32(np.int8(body[s]))
                whole[s] = MISSING if value < -126 else value
        elif code == 2:
            for s in range(samples):
                value = np.int32(np.int16(np.uint16(body[2 * s]) | np.uint16(body[2 * s + 1]) << 8))
                whole[s] = MISSING if value < -32766 else value
        else:
            for s in range(samples):
                value = np.int32(_word(body, s))
                whole[s] = MISSING if value < MISSING + 2 else value
        _add_integers(whole, sums, of_records[r])
    return -1


@numba.njit(cache=True, nogil=True)
def _word(body, s):
    return (
        np.uint32(body[4 * s])
        | np.uint32(body[4 * s + 1]) << np.uint32(8)
        | np.uint32(body[4 * s + 2]) << np.uint32(16)
        | np.uint32(body[4 * s + 3]) << np.uint32(24)
    )


@numba.njit(cache=True, nogil=True)
def _floats(body, out):
    words = np.empty(len(out), np.uint32)
    for s in range(len(out)):
        words[s] = _word(body, s)
    values = words.view(np.float32)
    for s in range(len(out)):
        out[s] = values[s]


@numba.njit(cache=True, nogil=True)
def _add_integers(values, sums, of_record):
    n, total, squares = 0, np.int64(0), np.int64(0)
    least, greatest = np.int32(2**31 - 1), np.int32(MISSING)
    for s in range(len(values)):  # branchless
        value = values[s]
        there = value != MISSING
        wide = np.int64(value if there else 0)
        n += there
        total += wide
        squares += wide * wide
        least = min(least, value if there else np.int32(2**31 - 1))
        greatest = max(greatest, value)
    if n:
        of_record[N], of_record[SUM], of_record[SQUARES] = n, total, squares
        of_record[LEAST], of_record[GREATEST] = least, greatest
    for s in range(len(values)):
        value = values[s]
        there = value != MISSING
        real = np.float64(value if there else 0)
        sums[0, s] += 1.0 if there else 0.0
        sums[1, s] += real
        sums[2, s] += real * real
        sums[3, s] = min(sums[3, s], real if there else np.inf)
        sums[4, s] = max(sums[4, s], real if there else -np.inf)


@numba.njit(cache=True, nogil=True)
def _add_floats(values, sums, of_record):
    for s in range(len(values)):
        value = values[s]
        if np.isnan(value):
            continue
        rounded = np.rint(value * GRAIN) / GRAIN
        of_record[N] += 1
        of_record[SUM] += value
        of_record[SQUARES] += value * value
        of_record[LEAST] = min(of_record[LEAST], value)
        of_record[GREATEST] = max(of_record[GREATEST], value)
        sums[0, s] += 1
        sums[1, s] += rounded
        sums[2, s] += rounded * rounded
        sums[3, s] = min(sums[3, s], value)
        sums[4, s] = max(sums[4, s], value)
