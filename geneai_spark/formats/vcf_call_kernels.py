"""Compiled loops over the sample columns of VCF lines: genotypes and other FORMAT values.

Shapes and faults are as in vcf_kernels: R records of a chunk, S chosen samples, F FORMAT fields.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from geneai_spark.formats.text_kernels import DOT, MINUS, PLUS, float_at
from geneai_spark.formats.vcf_kernels import (
    ALLELE,
    COLON,
    COMMA,
    GT,
    NEWLINE,
    PHASE,
    PIPE,
    RETURN,
    SAMPLES,
    SLASH,
    SUBFIELDS,
    TAB,
    VALUE_COUNT,
    VALUE_TYPE,
    note,
)  # fmt: skip

# Typed vectors: codes and sentinels as in BCF2 (VCF 4.3, section 6.3.3).
INT8, INT16, INT32, FLOAT, TEXT = 1, 2, 3, 5, 7
MISSING, PAD = np.iinfo(np.int32).min, np.iinfo(np.int32).min + 1
MISSING_FLOAT = 0x7F800001  # and the next is the float's padding
ANY, BY_GENOTYPE = -1, -2  # expected number of values

_jit = njit(cache=True, nogil=True)


@_jit
def tokenize(buf, rows, cols, ends, form, form_field, form_length, choice, position, fault):
    """Find where each chosen FORMAT value of each chosen sample starts.

    Args:
        rows: records to do.
        form: (R) which FORMAT the record has; form_field: (forms, longest) the field's number among
            the F chosen, -1 if not chosen; form_length: (forms) its keys.
        choice: (samples of the file) place among the chosen samples, -1 if not chosen.
        position: out (F, R, S), -1 where the value is left out.
    """
    n_samples = choice.size
    for r in rows:
        f = form[r]
        p = cols[r, 9]
        end = ends[r]
        sample = 0
        position[:, r, :] = -1
        while sample < n_samples and p <= end:
            s = choice[sample]
            k = 0
            if p == end or buf[p] == TAB:
                note(fault, r, SUBFIELDS, 0, sample + 10)
            while True:
                if k < form_length[f]:
                    field = form_field[f, k]
                    if s >= 0 and field >= 0:
                        position[field, r, s] = p
                while p < end and buf[p] != COLON and buf[p] != TAB:
                    p += 1
                k += 1
                if p >= end or buf[p] == TAB:
                    break
                p += 1
            if k > form_length[f]:
                note(fault, r, SUBFIELDS, k, sample + 10)
            sample += 1
            p += 1
        if sample != n_samples or p <= end:
            while p <= end:
                sample += p == end or buf[p] == TAB
                p += 1
            note(fault, r, SAMPLES, n_samples, sample)


@_jit
def _value_end(byte):
    return byte in (COLON, TAB, NEWLINE, RETURN)


@_jit
def _allele(buf, p):
    """One allele: returns (index, -1 if missing, or -3 if malformed; position after it)."""
    if buf[p] == DOT:
        return -1, p + 1
    value = -3
    while 48 <= buf[p] <= 57:
        value = min(max(value, 0) * 10 + np.int64(buf[p]) - 48, 1 << 20)
        p += 1
    return value, p


@_jit
def genotypes(buf, rows, position, columns, n_alt, leading, calls, phase, ploidy, wide, fault):
    """Convert genotypes of any form; records that need more room than (S, 2) int8 are marked.

    Args:
        position: (R, S) where each genotype starts, -1 if left out.
        columns: (S) 1-based sample column, for faults.
        leading: whether a phase may stand before the first allele (VCF 4.4).
        calls, phase: out, flat (R, S, 2) int8 and bits.
        ploidy: out (R, S), alleles of each call, 0 where the call is a lone `.`; may have no rows.
        wide: out (R), ploidy of records with more than two alleles a call or indices above 126.
    """
    n = position.shape[1]
    for r in rows:
        c = r * 2 * n
        bits = 0
        h = r * ((n + 7) // 8)
        longest = 2
        big = False
        for i in range(n):
            p = position[r, i]
            first, second, phased = -1, -2, False
            count = 1
            if p >= 0:
                prefix = 0
                if buf[p] == SLASH or buf[p] == PIPE:
                    prefix = buf[p]
                    p += 1
                all_phased = True
                first, p = _allele(buf, p)
                allele = first
                top = first
                while allele >= -1 and (buf[p] == SLASH or buf[p] == PIPE):
                    all_phased &= buf[p] == PIPE
                    if count == 1:
                        phased = buf[p] == PIPE
                    allele, p = _allele(buf, p + 1)
                    if count == 1:
                        second = allele
                    count += 1
                    top = max(top, allele)
                if allele == -3 or not _value_end(buf[p]) or (prefix and not leading):
                    note(fault, r, GT, 0, columns[i])
                elif top > n_alt[r]:
                    note(fault, r, ALLELE, n_alt[r], columns[i])
                elif prefix and (prefix == PIPE) != all_phased:
                    note(fault, r, PHASE, 0, columns[i])
                longest = max(longest, count)
                big |= top > 126
            if ploidy.shape[0]:
                ploidy[r, i] = 0 if count == 1 and first == -1 else min(count, 120)
            calls[c] = first
            calls[c + 1] = second
            c += 2
            bits |= np.int64(phased) << (i & 7)
            if i & 7 == 7:
                phase[h] = bits
                h += 1
                bits = 0
        if n & 7:
            phase[h] = bits
        wide[r] = longest if longest > 2 or big else 0


@_jit
def wide_genotypes(buf, position, alleles, phased):
    """Convert one record's genotypes: alleles out (S, ploidy) int16, phased out (S, ploidy - 1)."""
    for i in range(position.size):
        p = position[i]
        alleles[i, :] = -2
        phased[i, :] = False
        alleles[i, 0] = -1
        if p < 0:
            continue
        if buf[p] == SLASH or buf[p] == PIPE:
            p += 1
        alleles[i, 0], p = _allele(buf, p)
        j = 1
        while buf[p] == SLASH or buf[p] == PIPE:
            phased[i, j - 1] = buf[p] == PIPE
            alleles[i, j], p = _allele(buf, p + 1)
            j += 1


@_jit
def _integers(buf, position, room, values, counts):
    """One record's integers: values out (S * room), counts out (S), 0 where missing.

    Returns (-1, least, greatest), or (first sample at fault, ...), or (-2, ...): `room` too small.
    """
    low, high = 0, 0
    for i in range(position.size):
        p = position[i]
        base = i * room
        count = 0
        missing = True
        while p >= 0:
            if count == room:
                return -2, low, high
            byte = buf[p]
            if byte == DOT:
                values[base + count] = MISSING
                p += 1
            else:
                negative = byte == MINUS
                if negative or byte == PLUS:
                    p += 1
                first = p
                value = 0
                digit = np.int64(buf[p]) - 48
                while 0 <= digit <= 9:
                    value = value * 10 + digit
                    p += 1
                    digit = np.int64(buf[p]) - 48
                if negative:
                    value = -value
                if p == first or p > first + 10 or value > 2147483647 or value <= PAD:
                    return i, low, high
                missing = False
                low, high = min(low, value), max(high, value)
                values[base + count] = value
            count += 1
            byte = buf[p]
            if byte == COMMA:
                p += 1
            elif _value_end(byte):
                break
            else:
                return i, low, high
        if count == 0:
            values[base] = MISSING
        counts[i] = 0 if missing and count <= 1 else count
        for j in range(max(count, 1), room):
            values[base + j] = PAD
    return -1, low, high


@_jit
def _floats(buf, position, room, values, counts):
    """As `_integers`, for floats; values are float32, least and greatest are 0."""
    bits = values.view(np.int32)
    for i in range(position.size):
        p = position[i]
        base = i * room
        count = 0
        missing = True
        while p >= 0:
            if count == room:
                return -2, 0, 0
            if buf[p] == DOT and (buf[p + 1] == COMMA or _value_end(buf[p + 1])):
                bits[base + count] = MISSING_FLOAT
                p += 1
            else:
                number, p, state = float_at(buf, p, buf.size)
                if state == 0:
                    return i, 0, 0
                missing = False
                values[base + count] = number
            count += 1
            byte = buf[p]
            if byte == COMMA:
                p += 1
            elif _value_end(byte):
                break
            else:
                return i, 0, 0
        if count == 0:
            bits[base] = MISSING_FLOAT
        counts[i] = 0 if missing and count <= 1 else count
        for j in range(max(count, 1), room):
            bits[base + j] = MISSING_FLOAT + 1
    return -1, 0, 0


@_jit
def _miscounted(counts, expected, alleles, ploidy):
    """First sample whose number of values is not the expected one; -1 if none."""
    diploid = alleles * (alleles + 1) // 2
    for i in range(counts.size):
        count = counts[i]
        if count == 0 or count == expected:
            continue
        if expected != BY_GENOTYPE:
            return i
        calls = np.int64(ploidy[i]) if ploidy.size else 0
        if calls == 0:  # not told: haploid or diploid
            if count not in (alleles, diploid):
                return i
        elif calls != 2 or count != diploid:
            multisets = 1  # (alleles + calls - 1) over calls
            for j in range(calls):
                multisets = multisets * (alleles + j) // (j + 1)
            if count != multisets:
                return i
    return -1


@_jit
def pack_numbers(
    buf, rows, position, columns, is_float, expected, n_alt, ploidy, field, out, offsets, cursor,
    fault,
):  # fmt: skip
    """Pack a numeric FORMAT field as typed vectors, the narrowest integers that hold a record.

    Args:
        rows: records that have the field, ascending; position: (R, S) as in `tokenize`.
        expected: (R) number of values, ANY or BY_GENOTYPE; ploidy as in `genotypes`.
        out: bytes; offsets: (rows + 1) into it; cursor: (2) next of `rows`, next byte; advanced.

    Returns:
        Whether all is done; if not, `out` is too short and `cursor` tells where to go on.
    """
    n = position.shape[1]
    room = 1
    values = np.empty(n, np.int32)
    counts = np.empty(n, np.int32)
    no_ploidy = np.empty(0, np.int8)
    while cursor[0] < rows.size:
        r = rows[cursor[0]]
        good = fault[r, 0] == 0
        low, high = 0, 0
        if good:
            if is_float:
                wrong, low, high = _floats(buf, position[r], room, values.view(np.float32), counts)
            else:
                wrong, low, high = _integers(buf, position[r], room, values, counts)
            if wrong == -2:
                room *= 2
                values = np.empty(n * room, np.int32)
                continue
            if wrong >= 0:
                note(fault, r, VALUE_TYPE, field, columns[wrong])
            elif expected[r] != ANY:
                told = ploidy[r] if ploidy.shape[0] else no_ploidy
                wrong = _miscounted(counts, expected[r], n_alt[r] + 1, told)
                if wrong >= 0:
                    note(fault, r, VALUE_COUNT, field, columns[wrong])
            good = wrong < 0
        size = 4
        if not is_float:
            size = 1 if low >= -126 and high <= 127 else 2 if low >= -32766 and high <= 32767 else 4
        longest = 1
        for i in range(n):
            longest = max(longest, counts[i])
        at = cursor[1]
        if good and at + 1 + n * longest * size > out.size:
            return False
        if good:
            out[at] = FLOAT if is_float else INT8 if size == 1 else INT16 if size == 2 else INT32
            at = _write(values, n, room, longest, size, out, at + 1)
        cursor[1] = at
        cursor[0] += 1
        offsets[cursor[0]] = at
    return True


@_jit
def _write(values, n, room, longest, size, out, at):
    """Write the first `longest` of each sample's `room` values, little-endian; returns the end."""
    if size == 1:
        for i in range(n):
            for j in range(i * room, i * room + longest):
                # the sentinels' low bytes are 0 and 1: the type's least value has 128 more
                value = values[j]
                out[at] = value + 128 if value <= PAD else value
                at += 1
    elif size == 2:
        for i in range(n):
            for j in range(i * room, i * room + longest):
                value = values[j]
                out[at] = value & 0xFF
                out[at + 1] = (value >> 8) + 128 if value <= PAD else value >> 8
                at += 2
    else:
        for i in range(n):
            for j in range(i * room, i * room + longest):
                value = values[j]
                out[at] = value & 0xFF
                out[at + 1] = (value >> 8) & 0xFF
                out[at + 2] = (value >> 16) & 0xFF
                out[at + 3] = (value >> 24) & 0xFF
                at += 4
    return at


@_jit
def pack_text(buf, rows, position, ends, fault):
    """Pack a text FORMAT field: type code, then the raw values joined by TAB.

    Returns (offsets (rows + 1), bytes).
    """
    n = position.shape[1]
    offsets = np.zeros(rows.size + 1, np.int32)
    out = np.empty(0, np.uint8)
    for write in (False, True):
        at = 0
        for k in range(rows.size):
            r = rows[k]
            if fault[r, 0] == 0:
                if write:
                    out[at] = TEXT
                at += 1
                for i in range(n):
                    p = position[r, i]
                    if i:
                        if write:
                            out[at] = TAB
                        at += 1
                    if p < 0:
                        if write:
                            out[at] = DOT
                        at += 1
                    while 0 <= p < ends[r] and buf[p] != COLON and buf[p] != TAB:
                        if write:
                            out[at] = buf[p]
                        at += 1
                        p += 1
            offsets[k + 1] = at
        if not write:
            out = np.empty(at, np.uint8)
    return offsets, out
