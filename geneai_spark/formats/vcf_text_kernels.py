"""Compiled loops that write VCF lines from packed genotypes and FORMAT values.

R records, F fields beside GT, S samples in the packed vectors, C of them chosen. What a packed
value is, see `genotypes`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

INT8, INT16, INT32, FLOAT, TEXT = 1, 2, 3, 5, 7
MISSING, PAD = np.iinfo(np.int32).min, np.iinfo(np.int32).min + 1
MISSING_FLOAT, PAD_FLOAT = 0x7F800001, 0x7F800002
TAB, NEWLINE, COLON, COMMA, DOT, MINUS, SLASH, PIPE = 9, 10, 58, 44, 46, 45, 47, 124

#: The character of an allele that takes one, by its int8 as a byte; 0 where it takes none or more.
_DIGIT = np.zeros(256, np.uint8)
_DIGIT[:10] = np.arange(48, 58)
_DIGIT[255] = DOT

_jit = njit(cache=True, nogil=True)


@_jit
def _put_integer(out, p, value):
    """Write a number; returns the position after it."""
    if value < 0:
        out[p] = MINUS
        p += 1
        value = -value
    if value < 10:
        out[p] = 48 + value
        return p + 1
    digits = 0
    rest = value
    while rest:
        rest //= 10
        digits += 1
    for i in range(p + digits - 1, p - 1, -1):
        out[i] = 48 + value % 10
        value //= 10
    return p + digits


@_jit
def _integer_at(data, at, kind):
    """A packed integer; the sentinels as those of int32."""
    if kind == INT8:
        value = np.int64(np.int8(data[at]))
        return value + 128 + MISSING if value < -126 else value
    if kind == INT16:
        value = np.int64(np.int16(np.uint16(data[at]) | np.uint16(data[at + 1]) << 8))
        return value + 32768 + MISSING if value < -32766 else value
    low = np.uint32(data[at]) | np.uint32(data[at + 1]) << 8
    return np.int64(np.int32(low | np.uint32(data[at + 2]) << 16 | np.uint32(data[at + 3]) << 24))


@_jit
def _genotype(data, start, width, size, phase, sample, out, p):
    """Write one genotype; returns the position after it."""
    bit = sample * (width - 1)
    before = p
    for j in range(width):
        at = start + (sample * width + j) * size
        if size == 1:
            allele = np.int64(np.int8(data[at]))
        else:
            allele = np.int64(np.int16(np.uint16(data[at]) | np.uint16(data[at + 1]) << 8))
        if allele == -2:
            break
        if j:
            one = bit + j - 1
            out[p] = PIPE if data[phase + (one >> 3)] >> (one & 7) & 1 else SLASH
            p += 1
        if allele < 0:
            out[p] = DOT
            p += 1
        else:
            p = _put_integer(out, p, allele)
    if p == before:
        out[p] = DOT
        p += 1
    return p


@_jit
def _diploids(data, start, phase, chosen, out, p):
    """Write the genotypes of a record that has GT alone, two alleles a call, int8."""
    for sample in chosen:
        at = start + 2 * sample
        first = _DIGIT[data[at]]
        second = _DIGIT[data[at + 1]]
        out[p] = TAB
        if first and second:
            out[p + 1] = first
            bar = data[phase + (sample >> 3)] >> (sample & 7) & 1
            out[p + 2] = PIPE if bar else SLASH
            out[p + 3] = second
            p += 4
        else:
            p = _genotype(data, start, 2, 1, phase, sample, out, p + 1)
    return p


@_jit
def _numbers(data, start, kind, count, sample, out, p, texts, text_at, number):
    """Write one sample's numbers; returns the position after them and whether any is there.

    `number` is the place of the field's first float among `texts`.
    """
    size = 4 if kind in (FLOAT, INT32) else kind
    there = False
    before = p
    for j in range(count):
        one = sample * count + j
        at = start + one * size
        if kind == FLOAT:
            bits = _integer_at(data, at, INT32)
            missing, end = bits == MISSING_FLOAT, bits == PAD_FLOAT
        else:
            bits = _integer_at(data, at, kind)
            missing, end = bits == MISSING, bits == PAD
        if end:
            break
        if j:
            out[p] = COMMA
            p += 1
            there = True
        if missing:
            out[p] = DOT
            p += 1
        elif kind == FLOAT:
            for q in range(text_at[number + one], text_at[number + one + 1]):
                out[p] = texts[q]
                p += 1
            there = True
        else:
            p = _put_integer(out, p, bits)
            there = True
    if p == before:
        out[p] = DOT
        p += 1
    return p, there


@_jit
def _text(data, cursor, stop, skip, out, p):
    """Write the text after `skip` TABs from `cursor`.

    Returns the position after it, where it ends in `data`, and whether it is more than `.`.
    """
    while skip:
        while data[cursor] != TAB:
            cursor += 1
        cursor += 1
        skip -= 1
    first = cursor
    while cursor < stop and data[cursor] != TAB:
        out[p] = data[cursor]
        p += 1
        cursor += 1
    there = not (cursor == first + 1 and data[first] == DOT)
    return p, cursor, there


@_jit
def write_lines(
    site, site_at, data, gt, width, size, phase, start, kind, count, number, texts, text_at,
    chosen, out, ends,
):  # fmt: skip
    """Write records as lines.

    Args:
        site: text of the columns up to FORMAT (INFO, where no sample is chosen) of all records, and
            site_at: (R + 1) where each begins.
        data: packed values of all columns.
        gt: (R) where the alleles begin, -1 without GT; width: (R) alleles a call; size: (R) bytes
            an allele; phase: (R) where the phases begin.
        start: (F, R) where the values begin, behind the type; -1 where the record lacks the field.
        kind: (F, R) their type; count: (F, R) values a sample, of
            a text its bytes; number: (F, R) place of the first
            one among the floats written out in texts, from text_at (floats + 1) on.
        chosen: (C) samples to write, ascending.
        out: bytes, large enough.
        ends: out (R), position after each line.
    """
    n_fields = start.shape[0]
    cursor = np.empty(n_fields, np.int64)
    passed = np.empty(n_fields, np.int64)
    here = np.empty(n_fields, np.int64)
    p = 0
    for r in range(gt.size):
        for q in range(site_at[r], site_at[r + 1]):
            out[p] = site[q]
            p += 1
        n_here = 0
        for f in range(n_fields):
            if start[f, r] >= 0:
                here[n_here] = f
                n_here += 1
                cursor[f] = start[f, r]
                passed[f] = 0
        if gt[r] >= 0 and n_here == 0 and width[r] == 2 and size[r] == 1:
            p = _diploids(data, gt[r], phase[r], chosen, out, p)
        else:
            for sample in chosen:
                out[p] = TAB
                p += 1
                first = True
                keep = p
                if gt[r] >= 0:
                    p = _genotype(data, gt[r], width[r], size[r], phase[r], sample, out, p)
                    first = False
                    keep = p
                for i in range(n_here):
                    f = here[i]
                    if not first:
                        out[p] = COLON
                        p += 1
                    if kind[f, r] == TEXT:
                        p, cursor[f], there = _text(
                            data, cursor[f], start[f, r] + count[f, r], sample - passed[f], out, p
                        )
                        passed[f] = sample
                    else:
                        p, there = _numbers(
                            data, start[f, r], kind[f, r], count[f, r], sample, out, p, texts,
                            text_at, number[f, r],
                        )  # fmt: skip
                    if there or first:
                        keep = p
                    first = False
                if first:  # no field at all
                    out[p] = DOT
                    keep = p + 1
                p = keep  # missing values at the end are left out
        out[p] = NEWLINE
        p += 1
        ends[r] = p
    return p
