"""Rows of ``variants`` back to VCF lines: the inverse of vcf_records, vcf_info and vcf_calls.

Sites are put together by Arrow, column by column; genotypes and FORMAT values by compiled loops
(vcf_text_kernels). Numbers are written as the shortest text that reads back as the same value. What
the specification leaves free is chosen so: INFO and FORMAT keys in the columns' order, GT first;
missing values at the end of a sample are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geneai_spark import genotypes
from geneai_spark.formats import vcf_text_kernels as kernels
from geneai_spark.formats.vcf_layout import ANNOTATIONS

Array = NDArray[Any]

#: Percent-encoding from VCF 4.3 on; the bar separates the fields of split annotations.
_ESCAPES = {"%": "%25", ";": "%3B", "=": "%3D", ",": "%2C", "\r": "%0D", "\n": "%0A", "\t": "%09"}
_PART_ESCAPES = _ESCAPES | {"|": "%7C"}
_SITE = ("contigName", "start", "names", "referenceAllele", "alternateAlleles", "qual", "filters")
_GT = ("call_ploidy", "call_genotype", "call_genotype_phased")


class Column(NamedTuple):
    """A column of ``variants`` and the INFO or FORMAT key that it holds."""

    name: str
    key: str


@dataclass(frozen=True)
class TextLayout:
    """What to write of the rows; small and picklable.

    Attributes:
        info, format: columns to write; GT and those of undeclared keys are not among them.
        n_samples: samples in the packed vectors; 0: sites only.
        chosen: the samples to write, by their place, ascending; None: all.
        percent: whether values that were decoded are percent-encoded (VCF 4.3 and later).
    """

    info: tuple[Column, ...]
    format: tuple[Column, ...] = ()
    n_samples: int = 0
    chosen: tuple[int, ...] | None = None
    percent: bool = False

    @property
    def samples(self) -> Array:
        """Places of the samples to write."""
        everyone = range(self.n_samples) if self.chosen is None else self.chosen
        return np.asarray(everyone, np.int64)


class Text(NamedTuple):
    """Lines, each with its newline: `data` up to ``ends[-1]``; ends: (records)."""

    data: Array
    ends: Array


def lines(batch: pa.RecordBatch, layout: TextLayout) -> Text:
    """Write rows as VCF lines.

    Args:
        batch: columns of ``variants``; those of the layout may be absent.

    Raises:
        TableError: packed values do not fit the number of samples.
    """
    chosen = layout.samples
    columns = [*_site(batch), _info(batch, layout)]
    packed = _Packed(batch, layout) if len(chosen) else _Packed(batch.slice(0, 0), layout)
    if len(chosen):
        columns.append(packed.keys())
    site = pc.binary_join_element_wise(*columns, "\t")
    _, at, data = site.buffers()
    n = batch.num_rows
    # Copied: to a kernel, arrays that may not be written are of another type.
    site_at = np.array(np.frombuffer(at, np.int32)[: n + 1] if n else [0], np.int32)
    room = packed.room(len(chosen)) if len(chosen) else np.zeros(n, np.int64)
    out = np.empty(int(site_at[-1] + room.sum()) + n, np.uint8)
    ends = np.empty(n, np.int64)
    site_data = np.frombuffer(data or b"", np.uint8)
    arguments = (site_data, site_at, *packed.arrays(n), chosen, out, ends)
    kernels.write_lines(*arguments)
    return Text(out, ends)


# ------------------------------------------------------------------------------------ sites


def _site(batch: pa.RecordBatch) -> list[pa.Array]:
    contig, start, names, ref, alts, qual, filters = (batch.column(name) for name in _SITE)
    return [
        contig,
        pc.add(start, 1).cast(pa.string()),
        _joined(names, ";"),
        ref,
        _joined(alts, ","),
        _or_dot(qual.cast(pa.string())),
        _joined(filters, ";"),
    ]


def _or_dot(texts: pa.Array) -> pa.Array:
    return pc.fill_null(texts, ".")


def _joined(lists: pa.Array, separator: str) -> pa.Array:
    """Lists of text as text; null and empty as ``.``, null in a list as ``.``."""
    flat = lists.flatten()
    if flat.null_count:
        counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        at = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        whole = pa.ListArray.from_arrays(at, _or_dot(flat))
        lists = pc.if_else(lists.is_valid(), whole, pa.scalar(None, whole.type))
    texts = pc.binary_join(lists, separator)
    empty = pc.equal(pc.fill_null(pc.list_value_length(lists), 0), 0)
    return pc.if_else(empty, ".", texts)


def _info(batch: pa.RecordBatch, layout: TextLayout) -> pa.Array:
    n = batch.num_rows
    here = set(batch.schema.names)
    counts = _allele_counts(batch, layout)
    undeclared = "INFO_undeclared" in here and batch.column("INFO_undeclared").null_count < n
    rest: dict[int, Sequence[tuple[str, str]]] = {}  # by row
    if undeclared:
        column = batch.column("INFO_undeclared")
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        rest = dict(zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True))
    items: list[pa.Array] = []
    for column in layout.info:
        if column.name not in here:
            continue
        values = counts.get(column.key, batch.column(column.name))
        if values.null_count == n:
            continue
        if pa.types.is_boolean(values.type):  # a flag that stands with a value: see below
            shown = pc.fill_null(values, False).to_numpy(zero_copy_only=False).copy()
            shown[[row for row, one in rest.items() if any(k == column.key for k, _ in one)]] = (
                False
            )
            items.append(pc.if_else(pa.array(shown), column.key, pa.scalar(None, pa.string())))
        else:
            texts = _info_text(values, column.key, layout.percent)
            items.append(pc.binary_join_element_wise(f"{column.key}=", texts, ""))
    if undeclared:
        others: list[str | None] = [None] * n
        for row, one in rest.items():
            others[row] = _undeclared(one)
        items.append(pa.array(others, pa.string()))
    if not items:
        return pa.array(["."] * n, pa.string())
    text = _join_present(items, ";")
    return pc.if_else(pc.equal(text, ""), ".", text)


def _undeclared(pairs: Sequence[tuple[str, str]]) -> str:
    """Keys without a column; the values of one that stands several times are joined by ``;``."""
    return ";".join(
        f"{key}={value}" if value else key for key, joined in pairs for value in joined.split(";")
    )


def _info_text(values: pa.Array, key: str, percent: bool) -> pa.Array:
    kind = values.type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return _joined_null(_with(values, _annotation(values.flatten(), percent)), ",")
    if pa.types.is_list(kind):
        texts = _with(values, _text(values.flatten(), key, percent))
        return _joined_null(texts, ",")
    return _text(values, key, percent)


def _text(values: pa.Array, key: str, percent: bool) -> pa.Array:
    if pa.types.is_string(values.type):
        return _escaped(values, _ESCAPES) if percent and key not in ANNOTATIONS else values
    return values.cast(pa.string())


def _with(lists: pa.Array, flat: pa.Array) -> pa.Array:
    """Lists with other elements, null where the lists are."""
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    at = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = pc.is_null(lists) if lists.null_count else None
    return pa.ListArray.from_arrays(at, _or_dot(flat), mask=mask)


def _joined_null(lists: pa.Array, separator: str) -> pa.Array:
    return pc.binary_join(lists, separator)


def _annotation(structs: pa.Array, percent: bool) -> pa.Array:
    """Fields of annotations, joined by bars; those at the end that were not there are null."""
    fields = structs.flatten()
    if percent:
        fields = [_escaped(one, _PART_ESCAPES) for one in fields]
    missing = pc.is_null(fields[0])  # the first one is there if any is
    return pc.if_else(missing, pa.scalar(None, pa.string()), _join_present(fields, "|"))


def _join_present(columns: Sequence[pa.Array], separator: str) -> pa.Array:
    """Row by row what is not null, joined; empty where all is null."""
    # Where all of a row is null Arrow 25 makes no row of it; a first text that is cut off helps.
    joined = pc.binary_join_element_wise("", *columns, separator, null_handling="skip")
    return pc.utf8_slice_codeunits(joined, len(separator))


def _escaped(texts: pa.Array, escapes: dict[str, str]) -> pa.Array:
    data = texts.buffers()[2]
    present = data.to_pybytes() if data is not None else b""
    for character, code in escapes.items():  # `%` comes first
        if character.encode() in present:
            texts = pc.replace_substring(texts, character, code)
    return texts


def _allele_counts(batch: pa.RecordBatch, layout: TextLayout) -> dict[str, pa.Array]:
    """AC and AN of the chosen samples, for records that have them, where some are left out."""
    keys = {column.key: column.name for column in layout.info if column.key in ("AC", "AN")}
    keys = {k: name for k, name in keys.items() if name in batch.schema.names}
    if layout.chosen is None or not keys or not len(layout.chosen) or not batch.num_rows:
        return {}
    packed = batch.column("call_genotype")
    decoded = genotypes.calls(packed, layout.n_samples, batch.column("call_ploidy"))
    alleles = 1 + pc.list_value_length(batch.column("alternateAlleles")).to_numpy()
    most = max(int(alleles.max()), int(decoded.max(initial=0)) + 1)
    counts = genotypes.allele_counts(np.ascontiguousarray(decoded[:, layout.samples]), most)
    out = {}
    has = packed.is_valid()
    if (name := keys.get("AN")) and pa.types.is_integer(batch.column(name).type):
        old = batch.column(name)
        new = pa.array(counts.sum(axis=1), old.type)
        out["AN"] = pc.if_else(pc.and_(old.is_valid(), has), new, old)
    if (name := keys.get("AC")) and pa.types.is_list(batch.column(name).type):
        old = batch.column(name)
        at = np.concatenate([[0], np.cumsum(alleles - 1)]).astype(np.int32)
        flat = np.concatenate([one[1:n] for one, n in zip(counts, alleles, strict=True)])
        new = pa.ListArray.from_arrays(at, pa.array(flat, pa.int32())).cast(old.type)
        out["AC"] = pc.if_else(pc.and_(old.is_valid(), has), new, old)
    return out


# ---------------------------------------------------------------------------------- samples


class _Packed:
    """The packed columns of a batch, laid out for the kernel."""

    def __init__(self, batch: pa.RecordBatch, layout: TextLayout) -> None:
        n, self.n_samples = batch.num_rows, layout.n_samples
        here = set(batch.schema.names)
        self.parts: list[Array] = []
        self.length = 0
        self.gt = np.full(n, -1, np.int64)
        self.phase = np.zeros(n, np.int64)
        self.width, self.size = np.full(n, 2, np.int64), np.ones(n, np.int64)
        if n and set(_GT) <= here:
            self._genotypes(*(batch.column(name) for name in _GT))
        self.names: list[str] = []
        self.fields: list[tuple[Array, Array, Array, Array]] = []  # start, kind, count, number
        self.texts: list[pa.Array] = []
        self.n_floats = 0
        for column in layout.format if n else ():
            if column.name in here and batch.column(column.name).null_count < n:
                self._field(column.key, batch.column(column.name), typed=True)
        if n and "call_undeclared" in here and batch.column("call_undeclared").null_count < n:
            rows = [dict(one or ()) for one in batch.column("call_undeclared").to_pylist()]
            for key in sorted({key for one in rows for key in one}):
                values = [None if (v := one.get(key)) is None else v.encode() for one in rows]
                self._field(key, pa.array(values, pa.binary()), typed=False)

    def _add(self, column: pa.Array) -> tuple[Array, Array, Array]:
        """Append a column's bytes: where each value begins among all, its length, whether it is."""
        data, starts, lengths, valid = genotypes.packed_bytes(column)
        first, last = int(starts[0]), int(starts[-1] + lengths[-1])
        self.parts.append(data[first:last])
        starts = starts - first + self.length
        self.length += last - first
        return starts, lengths, valid

    def _genotypes(self, ploidy: pa.Array, calls: pa.Array, phased: pa.Array) -> None:
        starts, lengths, valid = self._add(calls)
        self.width = np.where(valid, ploidy.fill_null(2).to_numpy(zero_copy_only=False), 2)
        each = np.maximum(self.n_samples * self.width, 1)
        self.size = np.where(valid, lengths // each, 1)
        genotypes.expect(lengths, each * np.clip(self.size, 1, 2), valid, "call_genotype")
        self.gt = np.where(valid, starts, -1)
        self.phase, lengths, there = self._add(phased)
        bits = self.n_samples * (self.width - 1)
        genotypes.expect(lengths, (bits + 7) // 8, valid, "call_genotype_phased")
        del there

    def _field(self, key: str, column: pa.Array, *, typed: bool) -> None:
        starts, lengths, valid = self._add(column)
        n = len(starts)
        if not typed:
            code = np.full(n, kernels.TEXT, np.int64)
        else:
            data = self.parts[-1]
            code = np.full(n, kernels.TEXT, np.int64)
            code[valid] = data[starts[valid] - (self.length - len(data))]
            starts, lengths = starts + 1, lengths - 1
        step = self.n_samples * np.select(
            [code == 1, code == 2, (code == 3) | (code == 5)], [1, 2, 4], 1
        )
        count = np.where(code == kernels.TEXT, lengths, lengths // step)
        exact = np.where(code == kernels.TEXT, lengths, count * step)
        genotypes.expect(lengths, exact, valid, f"call_{key}")
        number = np.zeros(n, np.int64)
        floats = np.flatnonzero(valid & (code == kernels.FLOAT))
        if len(floats):
            data, base = self.parts[-1], self.length - len(self.parts[-1])
            sizes = count[floats] * self.n_samples
            number[floats] = self.n_floats + np.concatenate([[0], np.cumsum(sizes)[:-1]])
            raw = b"".join(
                data[starts[r] - base : starts[r] - base + lengths[r]].tobytes() for r in floats
            )
            self.texts.append(pa.array(np.frombuffer(raw, "<f4")).cast(pa.string()))
            self.n_floats += int(sizes.sum())
        self.names.append(key)
        self.fields.append((np.where(valid, starts, -1), code, count, number))

    def keys(self) -> pa.Array:
        """The FORMAT column."""
        names = ["GT", *self.names]
        place = np.zeros(len(self.gt), np.int64)  # of the record's combination among `found`
        found = [""]
        for name, start in zip(names, (self.gt, *(one[0] for one in self.fields)), strict=True):
            numbers, place = np.unique(2 * place + (start >= 0), return_inverse=True)
            found = [
                ":".join(filter(None, (found[number // 2], name if number % 2 else "")))
                for number in numbers
            ]
        return pa.array([text or "." for text in found], pa.string()).take(pa.array(place))

    def room(self, n_chosen: int) -> Array:
        """Bytes that each record's samples take at most."""
        digits = np.where(self.size == 1, 3, 5)
        room = np.where(self.gt >= 0, n_chosen * (self.width * (digits + 1)), n_chosen)
        for start, code, count, _ in self.fields:
            width = np.select([code == 1, code == 2, code == 3], [5, 7, 12], _FLOAT_ROOM)
            each = np.where(code == kernels.TEXT, count + n_chosen, n_chosen * (count * width + 2))
            room = room + np.where(start >= 0, each, 0)
        return room + n_chosen

    def arrays(self, n: int) -> tuple[Array, ...]:
        """Arguments of the kernel, from `data` to `text_at`."""
        data = np.concatenate(self.parts) if self.parts else np.empty(0, np.uint8)
        empty = np.zeros((0, n), np.int64)
        start, kind, count, number = (
            np.ascontiguousarray(one, np.int64)
            for one in (zip(*self.fields, strict=True) if self.fields else (empty,) * 4)
        )
        texts = pa.concat_arrays(self.texts) if self.texts else pa.array([], pa.string())
        _, at, text = texts.buffers()
        text_at = np.array(np.frombuffer(at, np.int32) if len(texts) else [0], np.int32)
        gt = self.gt if len(self.gt) == n else np.full(n, -1, np.int64)
        width, size, phase = (
            np.ascontiguousarray(one if len(one) == n else np.zeros(n), np.int64)
            for one in (self.width, self.size, self.phase)
        )
        return (data, gt, width, size, phase, start, kind, count, number,
                np.frombuffer(text or b"", np.uint8), text_at)  # fmt: skip


_FLOAT_ROOM = 18  # -1.17549435e-38 and a comma


def warm_up() -> None:
    """Write a record, so that the kernels are compiled and cached."""
    batch = pa.record_batch(
        {
            "contigName": ["1"], "start": [4], "names": [["a"]], "referenceAllele": ["A"],
            "alternateAlleles": [["C"]], "qual": [1.5], "filters": [["PASS"]],
            "call_ploidy": pa.array([2], pa.int32()), "call_genotype": [b"\0\1"],
            "call_genotype_phased": [b"\0"],
        }
    )  # fmt: skip
    lines(batch, TextLayout((), (), 1))
