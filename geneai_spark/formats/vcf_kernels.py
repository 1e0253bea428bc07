"""Compiled loops over the lines, first columns and INFO of VCF text; no Spark, no Python objects.

Arrays: R records of a chunk, K INFO keys. Positions are int32 indices into `buf` (uint8, ends with
a newline). A record's first fault is noted in `fault`, int32 of shape (R, 3): code, which INFO key
or FORMAT field, where (a count, or a 1-based column); code 0 is a good record.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from geneai_spark.formats.text_kernels import DOT, hash_key

# Faults; vcf_records turns them into words.
COLUMNS, CHROM, POS, ID, REF, ALT, QUAL, FILTER = 1, 2, 3, 4, 5, 6, 7, 8
INFO, INFO_TYPE, INFO_COUNT, INFO_FLAG, FORMAT = 9, 10, 11, 12, 13
SAMPLES, SUBFIELDS, GT, ALLELE, PHASE = 14, 15, 16, 17, 18
VALUE_TYPE, VALUE_COUNT, ENCODING, INFO_NEGATIVE = 19, 20, 21, 22

TAB, NEWLINE, RETURN, COLON, COMMA, SLASH, PIPE = 9, 10, 13, 58, 44, 47, 124

_jit = njit(cache=True, nogil=True)


@_jit
def note(fault, row, code, which, where):
    """Note the first fault of a record."""
    if fault[row, 0] == 0:
        fault[row, 0] = code
        fault[row, 1] = which
        fault[row, 2] = where


#: Four bytes at any address: as a packed record NumPy and Numba load it unaligned.
WORD = np.dtype([("bits", "<u4")])


def words(buf):
    """Views of `buf` as 4-byte words that begin at bytes 0, 1, 2 and 3."""
    return tuple(buf[k : k + (buf.size - k) // 4 * 4].view(WORD) for k in range(4))


@_jit
def _diploid(buf, words, p, n, calls, c, phase, h, unphased):
    """Convert n genotypes of the form `0|1`, alleles 0 to 7 or `.`, TAB-separated, from p on.

    Writes pairs of allele bytes at calls[c], phase bits at phase[h]; `unphased` is scratch (n).
    Only bit operations, on four bytes at once, so that the compiler makes vector code of them.

    Returns:
        The OR of the alleles (not less than the greatest), or -1 if the text has another form.
    """
    bad = np.uint32(0)
    seen = np.uint32(0)
    some_unphased = np.uint32(0)
    some_phased = np.uint32(0)
    low = np.uint32(0x00010001)
    for i in range(n):
        x = words[p // 4 + i].bits ^ np.uint32(0x09307C30)  # "0|0" and TAB become zeros
        if i == n - 1:
            x &= np.uint32(0x00FFFFFF)  # the last is followed by the line's end
        dot = (x >> np.uint32(4)) & low  # bit 4 tells `.` (0x1E) from the digits 0 to 7
        slash = (x >> np.uint32(8)) & np.uint32(1)  # `/` is 0x53 here
        wrong = (x & np.uint32(0xFFF800F8)) ^ (dot * np.uint32(0x18))
        wrong |= (x ^ np.uint32(0x00060006)) & (dot * np.uint32(7))
        wrong |= ((x >> np.uint32(8)) & np.uint32(0xFF)) ^ (slash * np.uint32(0x53))
        bad = np.uint32(bad | wrong)
        seen = np.uint32(seen | (x & np.uint32(0x00070007) & ~(dot * np.uint32(7))))
        some_unphased = np.uint32(some_unphased | slash)
        some_phased = np.uint32(some_phased | (slash ^ np.uint32(1)))
        pair = (x & np.uint32(0x00FF00FF)) | (dot * np.uint32(0xFF))
        calls[c + i] = np.uint16(pair | (pair >> np.uint32(8)))
        unphased[i] = np.uint8(slash)
    if bad:
        return -1
    if some_unphased and some_phased:
        bits = 0
        for i in range(n):
            bits |= np.int64(unphased[i] == 0) << (i & 7)
            if i & 7 == 7:
                phase[h + (i >> 3)] = bits
                bits = 0
        if n & 7:
            phase[h + (n >> 3)] = bits
    else:
        phase[h : h + (n + 7) // 8] = 0 if some_unphased else 0xFF
        if n & 7 and not some_unphased:
            phase[h + (n >> 3)] = (1 << (n & 7)) - 1
    return np.int64((seen | (seen >> np.uint32(16))) & np.uint32(7))


@_jit
def scan_lines(
    buf, words, pos, n_columns, n_samples, convert, cols, ends, top, calls, phase, fault
):
    """Find the columns of lines, and convert genotypes on the way where they are plain.

    Args:
        words: from `words(buf)`.
        pos: where the first line starts.
        n_columns: columns that the header has.
        n_samples: samples that the header has.
        convert: whether FORMAT `GT` with all samples in order is to be converted here.
        cols: out (capacity, 10), starts of the first ten columns; each ends one before the next.
        ends: out, end of each line without its line break.
        top: out, a bound of the alleles of a converted record, -1 where not converted.
        calls: out, int8 (capacity, n_samples, 2) flat, as uint16; phase: out, bits, flat.

    Returns:
        (records found, position of the next line); stops when `cols` is full.
    """
    n = 0
    size = buf.size
    wide = (n_samples + 7) // 8
    unphased = np.empty(n_samples, np.uint8)
    while pos < size and n < cols.shape[0]:
        if buf[pos] == NEWLINE or (buf[pos] == RETURN and buf[pos + 1] == NEWLINE):
            pos += 1
            continue
        cols[n, 0] = pos
        top[n] = -1
        c = 1
        p = pos
        found = False
        while c < 10 or n_columns < 10:
            byte = buf[p]
            p += 1
            if byte == TAB:
                if c < 10:
                    cols[n, c] = p
                c += 1
            elif byte == NEWLINE:
                found = True
                break
        if not found and convert and cols[n, 9] - cols[n, 8] == 3:
            end = p + 4 * n_samples - 1  # the loads reach one byte further
            if (
                end < size
                and (buf[end] == NEWLINE or buf[end] == RETURN)
                and buf[p - 3] == 71
                and buf[p - 2] == 84
            ):
                top[n] = _diploid(
                    buf, words[p % 4], p, n_samples, calls, n * n_samples, phase, n * wide, unphased
                )
                if top[n] >= 0:
                    p = end
        if not found:
            while buf[p] != NEWLINE:
                p += 1
            p += 1
        pos = p
        end = p - 1
        if end > cols[n, 0] and buf[end - 1] == RETURN:
            end -= 1
        ends[n] = end
        for i in range(min(c, 10), 10):
            cols[n, i] = end + 1
        if c != min(n_columns, 10):
            note(fault, n, COLUMNS, n_columns, c)
        n += 1
    return n, pos


@_jit
def parse_positions(buf, start, end, fault, out):
    """Parse POS: digits alone, at most 2^31 - 1."""
    for r in range(start.size):
        value = 0
        good = start[r] < end[r] <= start[r] + 10
        for p in range(start[r], end[r] if good else start[r]):
            digit = np.int64(buf[p]) - 48
            good &= 0 <= digit <= 9
            value = value * 10 + digit
        if not good or value > 2147483647:
            note(fault, r, POS, 0, 0)
            value = 0
        out[r] = value


@_jit
def key_table(keys, key_ends, table):
    """Fill an open-addressing table (a power of two long, all -1) with the keys' numbers."""
    mask = np.uint64(table.size - 1)
    for k in range(key_ends.size):
        h = hash_key(keys, key_ends[k - 1] if k else 0, key_ends[k])
        while table[h & mask] >= 0:
            h += np.uint64(1)
        table[h & mask] = k


@_jit
def scan_info(buf, start, end, keys, key_ends, table, value_start, value_end, other, fault):
    """Find the values of known keys in INFO.

    value_start, value_end: out (K, R); start -1 where the key is absent; end = start - 1 where it
    stands without `=`. other: out (R), whether the record has an unknown or a repeated key.
    """
    mask = np.uint64(table.size - 1)
    for r in range(start.size):
        other[r] = False
        value_start[:, r] = -1
        value_end[:, r] = -1
        p = start[r]
        stop = end[r]
        if stop - p == 1 and buf[p] == DOT:
            continue
        if stop <= p:
            note(fault, r, INFO, 0, 0)
        while p < stop:
            key = p
            while p < stop and buf[p] != 61 and buf[p] != 59:
                p += 1
            key_end = p
            value = p
            item_end = p - 1
            if p < stop and buf[p] == 61:
                p += 1
                value = p
                while p < stop and buf[p] != 59:
                    p += 1
                item_end = p
            if key_end == key:
                if p > key_end:  # "=value"; an empty item between semicolons is let pass
                    note(fault, r, INFO, 0, 0)
                p += 1
                continue
            p += 1
            h = hash_key(buf, key, key_end)
            known = -1
            while table[h & mask] >= 0:
                k = table[h & mask]
                first = key_ends[k - 1] if k else 0
                if key_ends[k] - first == key_end - key:
                    same = True
                    for i in range(key_end - key):
                        same &= keys[first + i] == buf[key + i]
                    if same:
                        known = k
                        break
                h += np.uint64(1)
            if known < 0 or value_start[known, r] >= 0:
                other[r] = True
            else:
                value_start[known, r] = value
                value_end[known, r] = item_end
