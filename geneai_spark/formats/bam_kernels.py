"""Compiled loops over BAM records: found by their sizes, checked, turned into SAM's text.

`buf` is uint8 and holds records, each four bytes of its size and then so many bytes (SAM
specification, section 4.2). Rules and numbers are those of `sam_kernels`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from geneai_spark.formats import sam_kernels as sam

_jit = njit(cache=True, nogil=True)

FIXED = 32  # bytes of a record before its name
LONGEST = 1 << 28  # bytes of a record; what Arrow's 32-bit offsets bear once it is text
LONGEST_FLOAT = 16  # characters of a number as text
CHAIN = 8  # records that follow one another before a start is believed
#: What `measure` tells of a record beside its numbers.
NAME, CIGAR, CIGAR_COUNT, CIGAR_TEXT, BASES, SCORES, TAGS, TAG_COUNT, TAG_TEXT, FLOATS = range(10)

_OPERATIONS = np.frombuffer(b"MIDNSHP=X", np.uint8)
_USES = np.array([sam._OPERATIONS[letter] for letter in _OPERATIONS])
_CODES = np.frombuffer(b"=ACMGRSVTWYHKDBN", np.uint8)
_PAIRS = np.stack([np.repeat(_CODES, 16), np.tile(_CODES, 16)], axis=1)  # (256, 2) bases of a byte
_ABSENT = 255  # first quality of a read without


@_jit
def _u16(buf, p):
    return np.int64(buf[p]) | np.int64(buf[p + 1]) << 8


@_jit
def _u32(buf, p):
    return _u16(buf, p) | _u16(buf, p + 2) << 16


@_jit
def _i32(buf, p):
    value = _u32(buf, p)
    return value - (np.int64(1) << 32) if value >= 1 << 31 else value


@_jit
def _width(kind):
    """Bytes of a number of a type; 0: no such type."""
    if kind == 99 or kind == 67:  # c C
        return 1
    if kind == 115 or kind == 83:  # s S
        return 2
    if kind == 105 or kind == 73 or kind == 102:  # i I f
        return 4
    return 0


@_jit
def _integer(buf, p, kind):
    """The integer of a type at p."""
    if kind == 67:
        return np.int64(buf[p])
    if kind == 99:
        return np.int64(np.int8(buf[p]))
    if kind == 83:
        return _u16(buf, p)
    if kind == 115:
        return np.int64(np.int16(_u16(buf, p)))
    return _u32(buf, p) if kind == 73 else _i32(buf, p)


@_jit
def _digits(value):
    """Characters of an integer."""
    count = 1 if value >= 0 else 2
    value = abs(value)
    while value >= 10:
        value //= 10
        count += 1
    return count


@_jit
def _put(out, at, value):
    """Write an integer; the position behind it."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    count = _digits(value)
    for i in range(count):
        out[at + count - 1 - i] = 48 + value % 10
        value //= 10
    return at + count


@_jit
def _tag_end(buf, p, end):
    """Position behind the tag at p; -1 where it is none."""
    if end - p < 4 or not sam.is_key(buf[p], buf[p + 1]):
        return -1
    kind, p = buf[p + 2], p + 3
    if kind == 90 or kind == 72:  # Z H
        q = p
        while q < end and buf[q] != 0:
            q += 1
        good = sam.is_hex(buf, p, q) if kind == 72 else sam.printable(buf, p, q, 32)
        return q + 1 if good and q < end else -1
    if kind == 65:  # A
        return p + 1 if 33 <= buf[p] <= 126 else -1
    if kind == 66:  # B
        width = _width(buf[p])
        if width == 0 or end - p < 5:
            return -1
        q = p + 5 + width * _u32(buf, p + 1)
    else:
        width = _width(kind)
        if width == 0:
            return -1
        q = p + width
    return q if q <= end else -1


@_jit
def _tag_text(buf, p, q):
    """Of the tag from p to q: the most characters of `TYPE:value`, and its number of floats."""
    kind = buf[p + 2]
    p += 3
    if kind == 90 or kind == 72:
        return 2 + q - 1 - p, 0
    if kind == 65:
        return 3, 0
    if kind == 102:
        return 2 + LONGEST_FLOAT, 1
    if kind != 66:
        return 2 + _digits(_integer(buf, p, kind)), 0
    count = _u32(buf, p + 1)
    if buf[p] == 102:
        return 3 + (1 + LONGEST_FLOAT) * count, count
    width, length = _width(buf[p]), 3 + count
    for i in range(count):
        length += _digits(_integer(buf, p + 5 + width * i, buf[p]))
    return length, 0


@_jit
def _is_long_cigar(buf, p, count, ref, position, bases, cigar):
    """Whether the tag at p is the CIGAR of more than 65,535 operations that a field cannot hold."""
    if buf[p] != 67 or buf[p + 1] != 71 or buf[p + 2] != 66:  # CG:B
        return False
    if not (buf[p + 3] == 73 or buf[p + 3] == 105) or count == 0 or ref < 0 or position < 0:
        return False
    first = _u32(buf, cigar)
    return first & 15 == 4 and first >> 4 == bases and _u32(buf, p + 4) >= count


@_jit
def _measure(buf, start, references, row, places, numbers, contigs, seen, mark):
    """Check one whole record and fill its row; the rule that it breaks.

    `seen` holds by tag the `mark` of the record that had it last.
    """
    p = start + 4
    end = p + _u32(buf, start)
    ref, position = _i32(buf, p), _i32(buf, p + 4)
    name_length, operations, flags = np.int64(buf[p + 8]), _u16(buf, p + 12), _u16(buf, p + 14)
    bases, mate_ref, mate = _i32(buf, p + 16), _i32(buf, p + 20), _i32(buf, p + 24)
    name = p + FIXED
    cigar = name + name_length
    sequence = cigar + 4 * operations
    scores = sequence + (bases + 1) // 2
    tags = scores + bases
    if bases < 0 or tags > end:
        return sam.RECORD
    if name_length < 1 or buf[cigar - 1] != 0 or not sam.printable(buf, name, cigar - 1, 33):
        return sam.NAME
    if ref < -1 or ref >= references:
        return sam.CONTIG
    if position < -1:
        return sam.POSITION
    if mate_ref < -1 or mate_ref >= references:
        return sam.MATE_CONTIG
    if mate < -1:
        return sam.MATE_POSITION
    has_scores = bases > 0 and buf[scores] != _ABSENT
    if has_scores:
        highest = np.uint8(0)
        for score in buf[scores:tags]:
            highest = max(highest, score)
        if highest > 93:
            return sam.QUALITY
    count = length = floats = 0
    long_cigar = sam.NONE
    q = tags
    while q < end:
        after = _tag_end(buf, q, end)
        if after < 0:
            return sam.TAG
        key = np.int64(buf[q]) << 7 | buf[q + 1]
        if seen[key] == mark:
            return sam.TAG_TWICE
        seen[key] = mark
        if _is_long_cigar(buf, q, operations, ref, position, bases, cigar):
            long_cigar = q
        else:
            more, inside = _tag_text(buf, q, after)
            length += more
            floats += inside
            count += 1
        q = after
    if long_cigar != sam.NONE:
        cigar, operations = long_cigar + 8, _u32(buf, long_cigar + 4)
    query = reference = text = 0
    for i in range(operations):
        one = _u32(buf, cigar + 4 * i)
        if one & 15 > 8:
            return sam.CIGAR
        uses = _USES[one & 15]
        query += one >> 4 if uses & 2 else 0
        reference += one >> 4 if uses & 4 else 0
        text += 1 + _digits(one >> 4)
    if operations and bases and query != bases:
        return sam.CIGAR_LENGTH
    places[row, NAME], places[row, CIGAR], places[row, CIGAR_COUNT] = name, cigar, operations
    places[row, CIGAR_TEXT], places[row, BASES] = text, bases
    places[row, SCORES] = bases if has_scores else 0
    places[row, TAGS], places[row, TAG_COUNT] = tags, count
    places[row, TAG_TEXT], places[row, FLOATS] = length, floats
    contigs[row, 0], contigs[row, 1] = ref, mate_ref
    numbers[row, sam.FLAG], numbers[row, sam.START] = flags, position
    numbers[row, sam.MAPPING], numbers[row, sam.MATE_START] = buf[p + 9], mate
    numbers[row, sam.LENGTH] = _i32(buf, p + 28)
    numbers[row, sam.END] = sam.reach(flags, position, operations, reference)
    return sam.GOOD


@_jit
def walk(buf):
    """Positions of the whole records from 0 on, then the position that is left; and whether no
    record can begin there.
    """
    out = np.empty(buf.size // (4 + FIXED) + 2, np.int64)
    n = p = 0
    while p + 4 <= buf.size:
        size = _u32(buf, p)
        if size < FIXED or size > LONGEST:
            out[n] = p
            return out[: n + 1], True
        if p + 4 + size > buf.size:
            break
        out[n] = p
        n += 1
        p += 4 + size
    out[n] = p
    return out[: n + 1], False


@_jit
def measure(buf, start, references):
    """Check records that begin at `start` (n).

    Returns:
        places (n, 10), by NAME … FLOATS; numbers (n, 6), by FLAG … END of `sam_kernels`;
        references of read and mate (n, 2), -1: none; the rule that each breaks (n): only where
        that is GOOD is the rest filled.
    """
    n = start.size
    places = np.zeros((n, 10), np.int64)
    numbers = np.empty((n, 6), np.int64)
    contigs = np.empty((n, 2), np.int64)
    rule = np.empty(n, np.uint8)
    seen = np.zeros(1 << 14, np.int64)
    for i in range(n):
        rule[i] = _measure(buf, start[i], references, i, places, numbers, contigs, seen, i + 1)
    return places, numbers, contigs, rule


@_jit
def find_start(buf, references, at_end):
    """Position of the first record, as far as its own rules and those of the records behind it
    tell; -1: none found. It is to be proved: by records that are followed from the file's start.

    Args:
        at_end: the file ends with `buf`.
    """
    places, numbers = np.empty((1, 10), np.int64), np.empty((1, 6), np.int64)
    contigs, seen, mark = np.empty((1, 2), np.int64), np.zeros(1 << 14, np.int64), 0
    for first in range(buf.size - FIXED - 3):
        p, records = first, 0
        while records < CHAIN and p + 4 + FIXED <= buf.size:
            size = _u32(buf, p)
            if size < FIXED or p + 4 + size > buf.size:
                break
            mark += 1
            if _measure(buf, p, references, 0, places, numbers, contigs, seen, mark) != sam.GOOD:
                break
            p += 4 + size
            records += 1
        if records == CHAIN or (at_end and records and p == buf.size):
            return first
    return -1


@_jit
def floats(buf, end, places, total):
    """The float numbers of all tags of records that end at `end` (n), in order: float32 (total)."""
    bits = np.empty(total, np.uint32)
    n = 0
    for r in range(end.size):
        if places[r, FLOATS] == 0:
            continue
        p = places[r, TAGS]
        while p < end[r]:
            q = _tag_end(buf, p, end[r])
            if buf[p + 2] == 102:
                bits[n] = _u32(buf, p + 3)
                n += 1
            elif buf[p + 2] == 66 and buf[p + 3] == 102:
                for i in range(_u32(buf, p + 4)):
                    bits[n] = _u32(buf, p + 8 + 4 * i)
                    n += 1
            p = q
    return bits.view(np.float32)


@_jit
def _offsets(lengths):
    out = np.zeros(lengths.size + 1, np.int32)
    for i in range(lengths.size):
        out[i + 1] = out[i] + lengths[i]
    return out


@_jit
def write_reads(buf, places):
    """CIGARs, sequences and qualities as text: (offsets (n + 1), bytes) of each."""
    n = len(places)
    cigar_at = _offsets(places[:, CIGAR_TEXT])
    bases_at = _offsets(places[:, BASES])
    scores_at = _offsets(places[:, SCORES])
    cigar = np.empty(cigar_at[n], np.uint8)
    bases = np.empty(bases_at[n] + 1, np.uint8)  # one more for the second half of the last byte
    scores = np.empty(scores_at[n], np.uint8)
    for r in range(n):
        p, at = places[r, CIGAR], np.int64(cigar_at[r])
        for _ in range(places[r, CIGAR_COUNT]):
            one = _u32(buf, p)
            at = _put(cigar, at, one >> 4)
            cigar[at] = _OPERATIONS[one & 15]
            at += 1
            p += 4
        length = places[r, BASES]
        # Slices, whose indices cannot be negative: only so are these loops vectorised.
        p, at, bytes_ = places[r, TAGS] - length, np.int64(bases_at[r]), (length + 1) // 2
        packed, out = buf[p - bytes_ : p], bases[at : at + 2 * bytes_]
        for i in range(bytes_):
            out[2 * i], out[2 * i + 1] = _PAIRS[packed[i], 0], _PAIRS[packed[i], 1]
        at, length = np.int64(scores_at[r]), places[r, SCORES]
        read, out = buf[p : p + length], scores[at : at + length]
        for i in range(length):
            out[i] = read[i] + np.uint8(33)
    return cigar_at, cigar, bases_at, bases, scores_at, scores


@_jit
def write_tags(buf, end, places, float_at, float_text):
    """Tags as text.

    Args:
        end: where the records end (n).
        float_at, float_text: the texts of the numbers that `floats` gives, one after another.

    Returns:
        Keys: bytes (T, 2); values `TYPE:value`: offsets (T + 1) and bytes; where the value of tag
        RG is in these bytes, (n, 2), a start of NONE where there is none.
    """
    total = places[:, TAG_COUNT].sum()
    keys = np.empty((total, 2), np.uint8)
    offsets = np.zeros(total + 1, np.int32)
    out = np.empty(places[:, TAG_TEXT].sum(), np.uint8)
    group = np.full((end.size, 2), sam.NONE, np.int64)
    at, tag, number = np.int64(0), 0, 0
    for r in range(end.size):
        q = places[r, TAGS]
        while q < end[r]:
            p, q = q, _tag_end(buf, q, end[r])
            kind = buf[p + 2]
            if kind == 66 and p + 8 == places[r, CIGAR]:
                continue  # the CIGAR
            first = at
            keys[tag, 0], keys[tag, 1] = buf[p], buf[p + 1]
            integer = kind != 65 and kind != 90 and kind != 72 and kind != 66 and kind != 102
            out[at], out[at + 1] = (105 if integer else kind), 58
            at += 2
            if kind == 65:
                out[at] = buf[p + 3]
                at += 1
            elif kind == 90 or kind == 72:
                for i in range(p + 3, q - 1):
                    out[at] = buf[i]
                    at += 1
            elif kind == 66:
                kind = buf[p + 3]
                out[at] = kind
                at += 1
                width = _width(kind)
                for i in range(_u32(buf, p + 4)):
                    out[at] = 44
                    at += 1
                    if kind == 102:
                        for j in range(float_at[number], float_at[number + 1]):
                            out[at] = float_text[j]
                            at += 1
                        number += 1
                    else:
                        at = _put(out, at, _integer(buf, p + 8 + width * i, kind))
            elif kind == 102:
                for j in range(float_at[number], float_at[number + 1]):
                    out[at] = float_text[j]
                    at += 1
                number += 1
            else:
                at = _put(out, at, _integer(buf, p + 3, kind))
            if buf[p] == 82 and buf[p + 1] == 71 and kind == 90:  # RG:Z
                group[r, 0], group[r, 1] = first + 2, at
            tag += 1
            offsets[tag] = at
    return keys, offsets, out, group
