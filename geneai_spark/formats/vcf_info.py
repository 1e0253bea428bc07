"""INFO to typed Arrow columns, and where a record ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geneai_spark.formats import text_kernels
from geneai_spark.formats import vcf_kernels as kernels
from geneai_spark.formats.vcf_layout import ANNOTATIONS, Column, Layout
from geneai_spark.formats.vcf_lines import Lines, list_array, rows_of
from geneai_spark.formats.vcf_reserved import Field

Array = NDArray[Any]

#: Reserved INFO keys that count or place something: below 0 they say nothing.
COUNTS = frozenset(["AC", "AD", "ADF", "ADR", "AF", "AN", "DP", "END", "MQ0", "NS"])


class InfoKeys:
    """The keys to find in INFO, laid out for the kernel."""

    def __init__(self, layout: Layout) -> None:
        # END gives `end`, and SVLEN may, whether or not their columns are asked for.
        extra = [k for k in ("END", "SVLEN") if k not in {c.field.key for c in layout.info}]
        self.fields = [c.field for c in layout.info] + [
            Field(k, "1" if k == "END" else ".", "Integer") for k in extra
        ]
        self.stored = {c.field.key for c in layout.info}
        keys = [field.key.encode() for field in self.fields]
        self.text = np.frombuffer(b"".join(keys), np.uint8)
        self.ends = np.cumsum([len(key) for key in keys]).astype(np.int32)
        self.table = np.full(4 << max(4, len(keys).bit_length()), -1, np.int32)
        kernels.key_table(self.text, self.ends, self.table)


def columns(lines: Lines, site: list[pa.Array], layout: Layout, keys: InfoKeys) -> list[pa.Array]:
    """INFO columns; sets `end` in `site` from END (or SVLEN from VCF 4.4 on)."""
    fields = keys.fields
    start, end = lines.span(7)
    value_start = np.empty((len(fields), lines.n), np.int32)
    value_end = np.empty((len(fields), lines.n), np.int32)
    other = np.empty(lines.n, np.bool_)
    kernels.scan_info(
        lines.buf, start, end, keys.text, keys.ends, keys.table,
        value_start, value_end, other, lines.fault,
    )  # fmt: skip
    columns: list[pa.Array] = []
    for k, one in enumerate(fields):
        array = _column(lines, layout, k, one, value_start[k], value_end[k], other)
        if one.key == "END":
            _set_end(site, array)
        elif one.key == "SVLEN" and layout.svlen_ends:
            _set_symbolic_end(site, array)
        if k < len(layout.info):
            parts = layout.info[k].parts
            columns.append(split_annotation(array, parts, layout.percent) if parts else array)
        else:
            other |= value_start[k] >= 0  # no column: kept as text
    undeclared = None
    if layout.info_rest and other.any():
        undeclared = [_other(lines, keys, r) if odd else None for r, odd in enumerate(other)]
    kind = layout.schema.field("INFO_undeclared").type
    columns.append(pa.array(undeclared, kind) if undeclared else pa.nulls(lines.n, kind))
    return columns


def split_annotation(array: pa.Array, names: Sequence[str], percent: bool) -> pa.ListArray:
    """A CSQ or ANN text, or list of texts, as structs; fields that are not there are null.

    Percent-encoding is undone last: what it stands for separates nothing.
    """
    if pa.types.is_string(array.type):
        array = pc.split_pattern(array, ",")
    items = pc.list_flatten(array)
    has = pc.list_value_length(pc.split_pattern(items, "|"))
    padded = pc.binary_join_element_wise(items, "|" * len(names), "")
    fields = pc.split_pattern(padded, "|")
    columns = [
        _decode(
            pc.if_else(
                pc.greater(has, i), pc.list_element(fields, i), pa.scalar(None, pa.string())
            ),
            percent,
        )
        for i in range(len(names))
    ]
    structs = pa.StructArray.from_arrays(columns, list(names))
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return list_array(offsets, structs, np.asarray(array.is_valid()))


def _column(
    lines: Lines, layout: Layout, k: int, one: Field, start: Array, end: Array, other: Array
) -> pa.Array:
    present = start >= 0
    bare = present & (end < start)
    if one.type == "Flag":
        return _flags(lines, k, present, bare, start, end, other)
    if not present.any():
        return pa.nulls(lines.n, Column(one, "").text_type)
    scalar = one.number == "1" or one.key in ANNOTATIONS
    text = one.type in ("String", "Character")
    # The commas, bars and escapes of an annotation mean something together: all stay or none.
    decode = layout.percent and one.key not in ANNOTATIONS and not layout.is_split(one.key)
    lines.note(np.flatnonzero(bare & (one.number != "0")), kernels.INFO_TYPE, k)
    if text and scalar:
        dot = text_kernels.is_dot(lines.buf, start, end)
        return _decode(lines.strings(start, end, present & ~dot & ~bare), decode)
    offsets, starts, ends = text_kernels.split(
        lines.buf, np.where(present & ~bare, start, 1).astype(np.int32),
        np.where(present & ~bare, end, 0).astype(np.int32), kernels.COMMA, False,
    )  # fmt: skip
    counts = np.diff(offsets)
    if text:
        dot = text_kernels.is_dot(lines.buf, starts, ends)
        values = _decode(lines.strings(starts, ends, ~dot), decode)
    elif one.type == "Integer":
        number, state = (
            np.empty(len(starts), np.int32),
            np.empty(len(starts), np.uint8),
        )
        text_kernels.parse_integers(lines.buf, starts, ends, number, state)
        dot = state == 0
        values = _numbers(lines, k, one, offsets, number, state)
    else:
        number, state = lines.floats(starts, ends)
        dot = state == 0
        values = _numbers(lines, k, one, offsets, number, state)
    expected = _expected(lines, one.number)
    if expected is not None:
        lone_dot = np.zeros(lines.n, np.bool_)
        lone_dot[counts == 1] = dot[offsets[:-1][counts == 1]]
        wrong = (counts > 0) & (counts != expected) & (expected >= 0) & ~lone_dot
        lines.note(np.flatnonzero(wrong), kernels.INFO_COUNT, k)
    if scalar:
        first = pa.array(np.minimum(offsets[:-1], max(0, len(starts) - 1)), mask=counts == 0)
        return values.take(first)
    return list_array(offsets, values, counts > 0)


def _numbers(
    lines: Lines, k: int, one: Field, offsets: Array, number: Array, state: Array
) -> pa.Array:
    lines.note(rows_of(offsets, state == 3), kernels.INFO_TYPE, k)
    if one.key in COUNTS:
        lines.note(rows_of(offsets, number < 0), kernels.INFO_NEGATIVE, k)
    return pa.array(number, mask=state == 0)


def _flags(
    lines: Lines, k: int, present: Array, bare: Array, start: Array, end: Array, other: Array
) -> pa.Array:
    """A flag is set by its key, or by `=1` and unset by `=0`, as some callers write it."""
    valued = present & ~bare
    byte = lines.buf[np.where(valued, start, 0)]
    sound = (end - start == 1) & ((byte == ord("0")) | (byte == ord("1")))
    lines.note(np.flatnonzero(valued & ~sound), kernels.INFO_FLAG, k)
    other |= valued  # INFO_undeclared keeps the value
    return pa.array(present & ~(valued & (byte == ord("0"))))


def _expected(lines: Lines, number: str) -> Array | None:
    """Values a record must have for a Number; None or -1 where any count does."""
    if number.isdecimal():
        return np.full(lines.n, int(number))
    if number in ("A", "R"):  # with ALT `.` callers count no ALT allele or one: both pass
        return np.where(lines.n_alt > 0, lines.n_alt + (number == "R"), -1)
    return None  # G has no meaning in INFO


def _decode(array: pa.StringArray, percent: bool) -> pa.Array:
    data = array.buffers()[2]
    if not percent or data is None or b"%" not in data.to_pybytes():
        return array
    return pa.array([v if v is None else unquote(v) for v in array.to_pylist()], pa.string())


def _set_end(site: list[pa.Array], values: pa.Array) -> None:
    """END is the 1-based last base, so it is the 0-based exclusive end.

    An END before POS (translocations of some callers) says nothing of the reference: ignored.
    """
    start, end = site[1].to_numpy(), site[2].to_numpy()
    given = values.fill_null(-1).to_numpy(zero_copy_only=False)
    site[2] = pa.array(np.where(given > start, given, end))


def _set_symbolic_end(site: list[pa.Array], values: pa.Array) -> None:
    """From VCF 4.4 on a symbolic deletion, duplication, inversion or CNV spans |SVLEN|."""
    start, end = site[1].to_numpy(), site[2].to_numpy().copy()
    for row in np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)):
        alts = site[5][int(row)].as_py()
        lengths = values[int(row)].as_py()
        lengths = lengths if isinstance(lengths, list) else [lengths]
        for alt, length in zip(alts, lengths, strict=False):
            if length is not None and re.match(r"<(DEL|DUP|INV|CNV)\b", alt):
                end[row] = max(end[row], start[row] + 1 + abs(length))
    site[2] = pa.array(end)


def _other(lines: Lines, keys: InfoKeys, row: int) -> list[tuple[str, str]] | None:
    """Keys that have no column, values of flags, further values of a key that stands twice."""
    start, end = lines.span(7)
    flags = {f.key for f in keys.fields if f.type == "Flag"}
    seen: set[str] = set()
    out: dict[str, str] = {}
    for item in lines.text(start[row], end[row]).split(";"):
        key, equals, value = item.partition("=")
        if re.search(r"\s", key):
            kernels.note(lines.fault, row, kernels.INFO, 0, 0)
        if key and (key not in keys.stored or key in seen or (equals and key in flags)):
            out[key] = f"{out[key]};{value}" if key in out else value
        seen.add(key)
    return list(out.items())
