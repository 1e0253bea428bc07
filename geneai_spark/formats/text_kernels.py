"""Compiled loops over bytes of text: checks, splits, copies and numbers; no Python objects.

Positions are int32 indices into `buf` (uint8, ends with a newline); a text is [start, end).
"""

from __future__ import annotations

import numpy as np
from numba import njit

DOT, MINUS, PLUS = 46, 45, 43
_TEN = 10.0 ** np.arange(23)

_jit = njit(cache=True, nogil=True)


@_jit
def _is_base(byte):
    upper = byte & 0xDF
    # IUPAC codes stand in real REF columns (GRCh37 has M and R): A C G T N and R Y S W K M B D H V
    return (
        upper == 65 or upper == 67 or upper == 71 or upper == 84 or upper == 78
        or upper == 82 or upper == 89 or upper == 83 or upper == 87 or upper == 75
        or upper == 77 or upper == 66 or upper == 68 or upper == 72 or upper == 86
    )  # fmt: skip


@_jit
def check_bases(buf, start, end, out):
    """out[i]: whether the text is one or more bases."""
    for i in range(start.size):
        good = end[i] > start[i]
        for p in range(start[i], end[i]):
            good &= _is_base(buf[p])
        out[i] = good


@_jit
def check_text(buf, start, end, allow_space, out):
    """out[i]: whether the text is not empty and holds no control character (and no space)."""
    for i in range(start.size):
        good = end[i] > start[i]
        for p in range(start[i], end[i]):
            good &= buf[p] > 32 or (allow_space and buf[p] == 32)
        out[i] = good


@_jit
def split(buf, start, end, separator, dot_is_empty):
    """Split texts: returns (offsets (R+1), starts, ends) of the elements; `.` may be no element."""
    n = start.size
    offsets = np.zeros(n + 1, np.int32)
    for r in range(n):
        count = 0
        if end[r] >= start[r] and not (
            dot_is_empty and end[r] - start[r] == 1 and buf[start[r]] == DOT
        ):
            count = 1
            for p in range(start[r], end[r]):
                count += buf[p] == separator
        offsets[r + 1] = offsets[r] + count
    starts = np.empty(offsets[n], np.int32)
    ends = np.empty(offsets[n], np.int32)
    for r in range(n):
        i = offsets[r]
        if offsets[r + 1] == i:
            continue
        starts[i] = start[r]
        for p in range(start[r], end[r]):
            if buf[p] == separator:
                ends[i] = p
                i += 1
                starts[i] = p + 1
        ends[i] = end[r]
    return offsets, starts, ends


@_jit
def gather(buf, start, end):
    """Copy texts together: returns (offsets (n+1), bytes), as Arrow lays strings out."""
    n = start.size
    offsets = np.zeros(n + 1, np.int32)
    for i in range(n):
        offsets[i + 1] = offsets[i] + max(0, end[i] - start[i])
    out = np.empty(offsets[n], np.uint8)
    for i in range(n):
        q = offsets[i]
        for p in range(start[i], end[i]):
            out[q] = buf[p]
            q += 1
    return offsets, out


@_jit
def integer_at(buf, p, end):
    """Parse an integer from p: returns (value, position after it, well-formed)."""
    negative = False
    if p < end and (buf[p] == 45 or buf[p] == 43):
        negative = buf[p] == 45
        p += 1
    first = p
    value = 0
    while p < end:
        digit = np.int64(buf[p]) - 48
        if digit < 0 or digit > 9:
            break
        value = min(value * 10 + digit, 1 << 40)
        p += 1
    # The two least values are the sentinels, reserved by the specification.
    if negative:
        value = -value
    return value, p, p > first and -2147483647 < value <= 2147483647


@_jit
def _word(buf, p, end, word):
    """Whether the letters at p, in either case, are `word` (upper case codes)."""
    if end - p < len(word):
        return False
    same = True
    for i in range(len(word)):
        same &= buf[p + i] & 0xDF == word[i]
    return same


@_jit
def float_at(buf, p, end):
    """Parse a decimal from p: returns (value, position after it, 1 exact, 2 rounded, 0 no number).

    Exact by Clinger's fast path: at most 15 digits and a power of ten that doubles hold.
    """
    negative = False
    if p < end and (buf[p] == 45 or buf[p] == 43):
        negative = buf[p] == 45
        p += 1
    mantissa = 0
    digits = 0
    exponent = 0
    any_digit = False
    after_dot = False
    while p < end:
        byte = buf[p]
        if byte == DOT and not after_dot:
            after_dot = True
        elif 48 <= byte <= 57:
            any_digit = True
            if digits < 18:
                mantissa = mantissa * 10 + (np.int64(byte) - 48)
                digits += mantissa > 0
                exponent -= after_dot
            else:
                digits += 1
                exponent += not after_dot
        else:
            break
        p += 1
    if not any_digit:
        value = 0.0
        good = 0
        if not after_dot:
            if _word(buf, p, end, (73, 78, 70, 73, 78, 73, 84, 89)):
                value, good, p = np.inf, 1, p + 8
            elif _word(buf, p, end, (73, 78, 70)):
                value, good, p = np.inf, 1, p + 3
            elif _word(buf, p, end, (78, 65, 78)):
                value, good, p = np.nan, 1, p + 3
        return -value if negative else value, p, good
    if p < end and (buf[p] == 101 or buf[p] == 69):
        power, after, good = integer_at(buf, p + 1, end)
        if not good:
            return 0.0, p, 0
        p = after
        exponent += min(max(power, -10000), 10000)
    value = float(mantissa)
    exact = digits <= 15 and -22 <= exponent <= 22
    if mantissa == 0:
        exact = True
    elif exact:
        value = value * _TEN[exponent] if exponent >= 0 else value / _TEN[-exponent]
    else:
        value = value * 10.0**exponent
    return -value if negative else value, p, 1 if exact else 2


@_jit
def parse_integers(buf, start, end, out, state):
    """Parse whole texts: state 0 missing (`.`), 1 good, 3 no integer."""
    for i in range(start.size):
        out[i] = 0
        if end[i] - start[i] == 1 and buf[start[i]] == DOT:
            state[i] = 0
            continue
        value, p, good = integer_at(buf, start[i], end[i])
        good &= p == end[i]
        state[i] = 1 if good else 3
        if good:
            out[i] = value


@_jit
def parse_floats(buf, start, end, out, state):
    """Parse whole texts: state 0 missing (`.`), 1 good, 2 good but rounded, 3 no number."""
    for i in range(start.size):
        out[i] = 0.0
        if end[i] - start[i] == 1 and buf[start[i]] == DOT:
            state[i] = 0
            continue
        value, p, good = float_at(buf, start[i], end[i])
        state[i] = good if good and p == end[i] else 3
        out[i] = value


@_jit
def hash_key(buf, start, end):
    """FNV-1a of a key."""
    h = np.uint64(14695981039346656037)
    for p in range(start, end):
        h = (h ^ np.uint64(buf[p])) * np.uint64(1099511628211)
    return h


@_jit
def is_dot(buf, start, end):
    """Whether each text is `.`, the missing value."""
    out = np.empty(start.size, np.bool_)
    for i in range(start.size):
        out[i] = end[i] - start[i] == 1 and buf[start[i]] == DOT
    return out


@_jit
def not_ascii(buf, start, end):
    """Numbers of the texts that hold a byte above 127."""
    out = np.zeros(start.size, np.bool_)
    for i in range(start.size):
        top = np.uint8(0)
        for p in range(start[i], end[i]):
            top |= buf[p]
        out[i] = top > 127
    return np.flatnonzero(out)
