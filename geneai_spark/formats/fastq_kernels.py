"""Compiled loops over FASTQ text: records found by their structure, names, keys of pairs.

`buf` is uint8 and ends with a newline, `newline` (L) holds the positions of its newlines. Line i
runs from the byte behind newline i - 1 to newline i, less a carriage return before it.

A *record* is four lines: `@` and a name, a sequence, `+`, a quality as long as the sequence. Every
rule is looked at, so that a quality line that begins with `@` is no header: the line after it would
have to be a sequence, and in a good file that is a header, whose `@` no sequence holds.
"""

from __future__ import annotations

import numpy as np
from numba import njit

AT, PLUS, CR = 64, 43, 13
HIGHEST = 126  # of a quality or name: the last printable ASCII character

GOOD, HEADER, NAME, SEQUENCE, SEPARATOR, LENGTH, QUALITY, SHORT = range(8)
LONGEST_BAD = 64  # lines of text without a header that count as one malformed record

_jit = njit(cache=True, nogil=True)


@_jit
def line_start(newline, i):
    """Position of the first byte of line i."""
    return newline[i - 1] + 1 if i > 0 else np.int64(0)


@_jit
def line_end(buf, newline, i):
    """Position behind the last byte of line i: its newline, or a carriage return before that."""
    end = newline[i]
    if end > line_start(newline, i) and buf[end - 1] == CR:
        end -= 1
    return end


@_jit
def name_end(buf, start, end):
    """Position behind a read name that begins at start: a space or tab, or the line's end."""
    p = start
    while p < end and buf[p] != 32 and buf[p] != 9:
        p += 1
    return p


# Loops over bases and qualities go over slices, whose indices cannot be negative, and keep to
# bytes: only so are they vectorised (7 to 16 times as fast).


@_jit
def _bad_sequence(text):
    """Whether a byte is neither a letter nor one of `.`, `-`, `*`."""
    furthest = np.uint8(0)
    for p in range(text.size):
        furthest = max(furthest, np.uint8((text[p] | np.uint8(32)) - np.uint8(97)))
    if furthest < 26:
        return False
    for byte in text:
        letter = np.uint8((byte | np.uint8(32)) - np.uint8(97)) < np.uint8(26)
        if not (letter or byte == 46 or byte == 45 or byte == 42):
            return True
    return False


@_jit
def _bad_range(text, low):
    """Whether a byte is outside low..HIGHEST."""
    furthest = np.uint8(0)
    for p in range(text.size):
        furthest = max(furthest, np.uint8(text[p] - low))
    return furthest > np.uint8(HIGHEST - low)


@_jit
def check(buf, newline, i, low):
    """The first rule that lines i to i + 3 break as a record, GOOD if none; i + 3 must exist."""
    start, end = line_start(newline, i), line_end(buf, newline, i)
    if end == start or buf[start] != AT:
        return HEADER
    third = newline[i + 1] + 1
    if buf[third] != PLUS:
        return SEPARATOR
    sequence, sequence_end = newline[i] + 1, line_end(buf, newline, i + 1)
    quality, quality_end = newline[i + 2] + 1, line_end(buf, newline, i + 3)
    if sequence_end - sequence != quality_end - quality:
        return LENGTH
    after = name_end(buf, start + 1, end)
    if after == start + 1 or _bad_range(buf[start + 1 : after], np.uint8(33)):
        return NAME
    if _bad_sequence(buf[sequence:sequence_end]):
        return SEQUENCE
    if _bad_range(buf[quality:quality_end], low):
        return QUALITY
    return GOOD


@_jit
def _like_header(buf, newline, i):
    """Whether line i begins with `@` and the line two below, if there is one, with `+`."""
    if i + 2 >= newline.size:
        return False
    return buf[line_start(newline, i)] == AT and buf[newline[i + 1] + 1] == PLUS


@_jit
def find_units(buf, newline, low, at_end):
    """Cut lines into records, good and malformed; blank lines between them are passed over.

    A malformed one runs to the next line that looks like a header, or for LONGEST_BAD lines.

    Args:
        low: least byte of a quality.
        at_end: no text follows; else lines whose record may not be whole are left.

    Returns:
        Line numbers at which units begin (n) and end (n), the rule that each breaks (n), and the
        first line that is left.
    """
    lines = newline.size
    first = np.empty(lines + 1, np.int64)
    last = np.empty(lines + 1, np.int64)
    fault = np.empty(lines + 1, np.uint8)
    n = 0
    i = 0
    while i < lines:
        if line_end(buf, newline, i) == line_start(newline, i):
            i += 1
            continue
        if i + 4 > lines and not at_end:
            break
        rule = check(buf, newline, i, low) if i + 4 <= lines else SHORT
        j = i + 4
        if rule != GOOD:
            j = i + 1
            limit = min(lines, i + LONGEST_BAD)
            while j < limit and not _like_header(buf, newline, j):
                j += 1
            if j + 1 >= lines and not at_end:
                break  # what follows may tell otherwise
        first[n], last[n], fault[n] = i, j, rule
        if rule != GOOD:
            while last[n] - i > 1 and line_end(buf, newline, last[n] - 1) == line_start(
                newline, last[n] - 1
            ):
                last[n] -= 1
            if last[n] - i < 4:
                fault[n] = HEADER if rule == HEADER else SHORT
        n += 1
        i = j
    return first[:n], last[:n], fault[:n], i


@_jit
def locate(buf, newline, line, mate):
    """Where the parts of good records are, that begin at lines `line` (n).

    Args:
        mate: 1 or 2: a name that ends in `/1` or `/2` loses that; 3: either; 0: neither.

    Returns:
        int64 (n, 6): start and end of name, sequence, quality.
    """
    out = np.empty((line.size, 6), np.int64)
    for r in range(line.size):
        i = line[r]
        start = line_start(newline, i) + 1
        end = name_end(buf, start, line_end(buf, newline, i))
        if mate > 0 and end - start > 2 and buf[end - 2] == 47:
            digit = buf[end - 1] - 48
            if (mate == 3 and (digit == 1 or digit == 2)) or (mate < 3 and digit == mate):
                end -= 2
        out[r, 0], out[r, 1] = start, end
        out[r, 2], out[r, 3] = newline[i] + 1, line_end(buf, newline, i + 1)
        out[r, 4], out[r, 5] = newline[i + 2] + 1, line_end(buf, newline, i + 3)
    return out


@_jit
def pair_up(buf, start, end, at_end):
    """Mates of interleaved records by their names: 1 and 2 of neighbours with one name, else 0.

    Returns:
        uint8 (n), and how many records are decided: the last one waits for the next, if any.
    """
    n = start.size
    mate = np.zeros(n, np.uint8)
    r = 0
    while r < n:
        if r + 1 == n:
            if not at_end:
                break
            r += 1
            continue
        same = end[r] - start[r] == end[r + 1] - start[r + 1]
        p, q = start[r], start[r + 1]
        while same and p < end[r]:
            same = buf[p] == buf[q]
            p += 1
            q += 1
        if same:
            mate[r], mate[r + 1] = 1, 2
            r += 2
        else:
            r += 1
    return mate, r


@_jit
def hash_names(buf, start, end, seed):
    """A 64-bit key of each name (int64, n): FNV-1a from `seed`, its bits mixed at the end."""
    out = np.empty(start.size, np.int64)
    for r in range(start.size):
        h = np.uint64(14695981039346656037) ^ seed
        for p in range(start[r], end[r]):
            h = (h ^ np.uint64(buf[p])) * np.uint64(1099511628211)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
        out[r] = np.int64(h)
    return out


@_jit
def digest(keys, factor):
    """A fingerprint of keys in their order (uint64): of `a` then `b` it is that of `a` times
    factor ** len(b), plus that of `b`.
    """
    h = np.uint64(0)
    for r in range(keys.size):
        h = h * factor + np.uint64(keys[r])
    return h


@_jit
def gather(buf, start, end, shift):
    """Copy texts together, `shift` taken from each byte: (offsets int32 (n + 1), bytes)."""
    n = start.size
    offsets = np.zeros(n + 1, np.int32)
    for i in range(n):
        offsets[i + 1] = offsets[i] + (end[i] - start[i])
    out = np.empty(offsets[n], np.uint8)
    for i in range(n):
        text, copy = buf[start[i] : end[i]], out[offsets[i] : offsets[i + 1]]
        if shift == 0:
            for p in range(text.size):
                copy[p] = text[p]
        else:
            for p in range(text.size):
                copy[p] = text[p] - shift
    return offsets, out


@_jit
def quality_range(buf, start, end):
    """Least and greatest byte of some texts; (255, 0) where they are empty."""
    least, greatest = np.uint8(255), np.uint8(0)
    for i in range(start.size):
        text = buf[start[i] : end[i]]
        for p in range(text.size):
            least = min(least, text[p])
            greatest = max(greatest, text[p])
    return least, greatest
