"""Compiled loops over SAM text: fields of each line found, checked, numbers parsed.

`buf` is uint8 and ends with a newline, `newline` (L) holds the positions of its newlines. What a
record breaks is told by a *rule*, the same for SAM and BAM (`bam_kernels`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, nogil=True)

# fmt: off
(
    GOOD, BLANK, FIELDS, HEADER, RECORD, NAME, FLAGS, CONTIG, POSITION, MAPQ, CIGAR, MATE_CONTIG,
    MATE_POSITION, TEMPLATE, SEQUENCE, QUALITY, QUALITY_LENGTH, CIGAR_LENGTH, TAG, TAG_TWICE,
) = range(20)
#: Columns of the numbers of a record; NONE stands for null.
FLAG, START, MAPPING, MATE_START, LENGTH, END = range(6)
#: The texts of a line whose places `read_lines` tells.
READ_NAME, CONTIG_NAME, CIGAR_TEXT, MATE_NAME, BASES, SCORES, GROUP, TAGS = range(8)
# fmt: on
NONE = -1
UNMAPPED = 4  # flag
LONGEST_NAME = 254
HIGHEST = 2**31 - 1  # position, length of a template
_WRONG = -(1 << 40)  # no number
_TAB, _CR, _STAR, _EQUAL = 9, 13, 42, 61
_OPERATIONS = np.zeros(128, np.int64)  # 0: none; bit 1: one, bit 2 uses query, bit 4 reference
for _letter, _uses in zip("MIDNSHP=X", (7, 3, 5, 5, 3, 1, 1, 7, 7), strict=True):
    _OPERATIONS[ord(_letter)] = _uses


@_jit
def printable(buf, start, end, low):
    """Whether all bytes are printable ASCII from `low` (32 with space, 33 without) on."""
    good = True
    for p in range(start, end):
        good &= (buf[p] >= low) & (buf[p] <= 126)
    return good


@_jit
def is_key(one, two):
    """Whether two bytes can name a tag."""
    upper = one & 0xDF
    letter = upper >= 65 and upper <= 90
    upper = two & 0xDF
    return letter and ((upper >= 65 and upper <= 90) or (two >= 48 and two <= 57))


@_jit
def _number(buf, start, end, low, high):
    """The integer that a text is; _WRONG where it is none from low to high."""
    p = start
    minus = p < end and buf[p] == 45
    p += minus
    if p == end or end - p > 10:
        return _WRONG
    value = 0
    while p < end:
        digit = np.int64(buf[p]) - 48
        if digit < 0 or digit > 9:
            return _WRONG
        value = value * 10 + digit
        p += 1
    value = -value if minus else value
    return value if low <= value <= high else _WRONG


@_jit
def _is_float(buf, start, end):
    p = start
    if p < end and (buf[p] == 45 or buf[p] == 43):
        p += 1
    special = (105, 110, 102), (110, 97, 110)  # inf, nan
    for word in special:
        if end - p == 3:
            same = True
            for i in range(3):
                same &= (buf[p + i] | 32) == word[i]
            if same:
                return True
    digits = 0
    while p < end and 48 <= buf[p] <= 57:
        p += 1
        digits += 1
    if p < end and buf[p] == 46:
        p += 1
        while p < end and 48 <= buf[p] <= 57:
            p += 1
            digits += 1
    if digits == 0:
        return False
    if p < end and (buf[p] | 32) == 101:
        p += 1
        if p < end and (buf[p] == 45 or buf[p] == 43):
            p += 1
        if p == end:
            return False
        while p < end and 48 <= buf[p] <= 57:
            p += 1
    return p == end


@_jit
def _is_int(buf, start, end):
    p = start
    if p < end and (buf[p] == 45 or buf[p] == 43):
        p += 1
    if p == end:
        return False
    while p < end and 48 <= buf[p] <= 57:
        p += 1
    return p == end


@_jit
def _is_array(buf, start, end):
    """Whether a text is the value of a B tag: a type, then numbers after commas."""
    if start == end:
        return False
    kind = buf[start]
    known = False
    for one in (99, 67, 115, 83, 105, 73, 102):  # cCsSiIf
        known |= kind == one
    p = start + 1
    while known and p < end:
        if buf[p] != 44:
            return False
        q = p + 1
        while q < end and buf[q] != 44:
            q += 1
        fits = _is_float(buf, p + 1, q) if kind == 102 else _is_int(buf, p + 1, q)
        if not fits:
            return False
        p = q
    return known


@_jit
def is_hex(buf, start, end):
    """Whether a text is pairs of hexadecimal digits."""
    good = (end - start) % 2 == 0
    for p in range(start, end):
        letter = buf[p] & 0xDF
        good &= (48 <= buf[p] <= 57) or (65 <= letter <= 70)
    return good


@_jit
def _good_tag(buf, start, end):
    """Whether a field is a tag: `XX:TYPE:value`."""
    if end - start < 5 or buf[start + 2] != 58 or buf[start + 4] != 58:
        return False
    if not is_key(buf[start], buf[start + 1]):
        return False
    kind, p = buf[start + 3], start + 5
    if kind == 105:  # i
        return _is_int(buf, p, end)
    if kind == 90:  # Z
        return printable(buf, p, end, 32)
    if kind == 65:  # A
        return end - p == 1 and printable(buf, p, end, 33)
    if kind == 102:  # f
        return _is_float(buf, p, end)
    if kind == 72:  # H
        return is_hex(buf, p, end)
    return kind == 66 and _is_array(buf, p, end)


@_jit
def _cigar(buf, start, end):
    """Bases of query and reference that a CIGAR uses; (-1, -1) where it is none."""
    query = reference = 0
    p = start
    while p < end:
        length, digits = 0, 0
        while p < end and 48 <= buf[p] <= 57 and digits < 10:
            length = length * 10 + np.int64(buf[p]) - 48
            digits += 1
            p += 1
        if digits == 0 or p == end or buf[p] > 127 or length >= 1 << 28:
            return -1, -1
        uses = _OPERATIONS[buf[p]]
        if uses == 0:
            return -1, -1
        query += length if uses & 2 else 0
        reference += length if uses & 4 else 0
        p += 1
    return query, reference


@_jit
def reach(flags, start, operations, reference):
    """Position behind an alignment's last base, as samtools has it: never less than one base."""
    if start == NONE or operations == 0 or flags & UNMAPPED:
        return NONE
    return start + max(reference, 1)


@_jit
def _good_bases(buf, start, end):
    good = True
    for p in range(start, end):
        upper = buf[p] & 0xDF
        good &= (upper >= 65 and upper <= 90) or buf[p] == _EQUAL or buf[p] == 46
    return good


@_jit
def _read_line(buf, start, end, row, spans, numbers, seen):
    """Check one line and fill its row; returns the rule that it breaks and its number of tags."""
    field = np.empty(12, np.int64)  # where each begins; the twelfth: the tags
    found, p = 0, start
    while found < 11:
        field[found] = p
        found += 1
        while p < end and buf[p] != _TAB:
            p += 1
        if p == end:
            p += 1  # no field follows
            break
        p += 1
    if found < 11:
        return (HEADER if buf[start] == 64 else FIELDS), 0
    field[11] = p
    stop = field[1:] - 1
    for i in range(11):
        if field[i] == stop[i]:
            return FIELDS, 0
    name, name_end = field[0], stop[0]
    if name_end - name > LONGEST_NAME or buf[name] == 64 or not printable(buf, name, name_end, 33):
        return NAME, 0
    flags = _number(buf, field[1], stop[1], 0, 65535)
    if flags == _WRONG:
        return FLAGS, 0
    if not printable(buf, field[2], stop[2], 33):
        return CONTIG, 0
    position = _number(buf, field[3], stop[3], 0, HIGHEST)
    if position == _WRONG:
        return POSITION, 0
    mapping = _number(buf, field[4], stop[4], 0, 255)
    if mapping == _WRONG:
        return MAPQ, 0
    query = reference = operations = 0
    if not (stop[5] - field[5] == 1 and buf[field[5]] == _STAR):
        operations = 1
        query, reference = _cigar(buf, field[5], stop[5])
        if query < 0:
            return CIGAR, 0
    if not printable(buf, field[6], stop[6], 33):
        return MATE_CONTIG, 0
    mate = _number(buf, field[7], stop[7], 0, HIGHEST)
    if mate == _WRONG:
        return MATE_POSITION, 0
    length = _number(buf, field[8], stop[8], -HIGHEST, HIGHEST)
    if length == _WRONG:
        return TEMPLATE, 0
    bases = stop[9] - field[9]
    if bases == 1 and buf[field[9]] == _STAR:
        bases = 0
    elif not _good_bases(buf, field[9], stop[9]):
        return SEQUENCE, 0
    if not printable(buf, field[10], stop[10], 33):
        return QUALITY, 0
    scores = stop[10] - field[10]
    if not (scores == 1 and buf[field[10]] == _STAR) and scores != bases:
        return QUALITY_LENGTH, 0
    if operations and bases and query != bases:
        return CIGAR_LENGTH, 0
    spans[row, GROUP, 0] = NONE
    tags, p = 0, field[11]
    while p <= end:
        q = p
        while q < end and buf[q] != _TAB:
            q += 1
        if not _good_tag(buf, p, q):
            return TAG, 0
        key = np.int64(buf[p]) << 7 | buf[p + 1]
        if seen[key] == row + 1:
            return TAG_TWICE, 0
        seen[key] = row + 1
        if buf[p] == 82 and buf[p + 1] == 71 and buf[p + 3] == 90:  # RG:Z
            spans[row, GROUP, 0], spans[row, GROUP, 1] = p + 5, q
        tags += 1
        p = q + 1
    for text, i in (
        (READ_NAME, 0), (CONTIG_NAME, 2), (CIGAR_TEXT, 5), (MATE_NAME, 6), (BASES, 9), (SCORES, 10)
    ):  # fmt: skip
        spans[row, text, 0], spans[row, text, 1] = field[i], stop[i]
        if stop[i] - field[i] == 1 and buf[field[i]] == _STAR:
            spans[row, text, 0] = NONE
    if stop[6] - field[6] == 1 and buf[field[6]] == _EQUAL:
        spans[row, MATE_NAME] = spans[row, CONTIG_NAME]
    spans[row, TAGS, 0], spans[row, TAGS, 1] = field[11], end
    numbers[row, FLAG], numbers[row, START] = flags, position - 1
    numbers[row, MAPPING], numbers[row, MATE_START] = mapping, mate - 1
    numbers[row, LENGTH] = length
    numbers[row, END] = reach(flags, position - 1, operations, reference)
    return GOOD, tags


@_jit
def read_lines(buf, newline):
    """Read every line.

    Returns:
        Where its texts are, int64 (L, 8, 2), start and end by READ_NAME … TAGS, a start of NONE
        for null; its numbers, int64 (L, 6), by FLAG … END; its number of tags (L); the rule that
        it breaks (L): only where that is GOOD is the rest filled.
    """
    n = newline.size
    spans = np.empty((n, 8, 2), np.int64)
    numbers = np.empty((n, 6), np.int64)
    tags = np.zeros(n, np.int64)
    rule = np.zeros(n, np.uint8)
    seen = np.zeros(1 << 14, np.int64)
    for i in range(n):
        start = newline[i - 1] + 1 if i > 0 else np.int64(0)
        end = newline[i]
        if end > start and buf[end - 1] == _CR:
            end -= 1
        if end == start:
            rule[i] = BLANK
            continue
        rule[i], tags[i] = _read_line(buf, start, end, i, spans, numbers, seen)
    return spans, numbers, tags, rule


@_jit
def split_tags(buf, start, end, total):
    """Tags of good lines: where the key and the value (`TYPE:…`) of each begin, and its end."""
    out = np.empty((total, 3), np.int64)
    n = 0
    for i in range(start.size):
        p = start[i]
        while p <= end[i]:
            q = p
            while q < end[i] and buf[q] != _TAB:
                q += 1
            out[n, 0], out[n, 1], out[n, 2] = p, p + 3, q
            n += 1
            p = q + 1
    return out
