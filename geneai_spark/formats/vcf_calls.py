"""Sample columns of VCF lines to packed Arrow columns (layout in `genotypes`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark.formats import text_kernels
from geneai_spark.formats import vcf_call_kernels as kernels
from geneai_spark.formats import vcf_kernels as lines_kernels
from geneai_spark.formats.vcf_lines import Lines
from geneai_spark.formats.vcf_reserved import Field

Array = NDArray[Any]

_KEY = re.compile(r"[A-Za-z_][0-9A-Za-z_.]*")
_TEXT_MAP = pa.map_(pa.string(), pa.string())


def columns(
    lines: Lines,
    calls: Array,
    phase: Array,
    *,
    fields: Sequence[Field],
    rest: bool,
    choice: Array,
    sample_columns: Array,
    leading_phase: bool,
) -> list[pa.Array]:
    """Pack the genotypes and FORMAT values of a run of lines.

    Args:
        calls: int8, flat (R, S, 2), and phase: bits, flat: filled where `lines.top` says so.
        fields: FORMAT fields to pack, GT not among them; rest: whether to keep all others.
        choice: (samples of the file) place among the S chosen, -1 to leave out.
        sample_columns: (S) 1-based column of each chosen sample.

    Returns:
        call_ploidy, call_genotype, call_genotype_phased, a binary column a field, call_undeclared.
    """
    n, s = len(lines.ends), len(sample_columns)
    form, keys = _forms(lines)
    fault = lines.fault
    greatest = np.maximum(lines.n_alt, 1)  # ALT `.` is an allele: it may be called 1
    for row in np.flatnonzero((lines.top >= 0) & (lines.top > greatest)):
        alleles = calls[row * 2 * s : (row + 1) * 2 * s]
        if alleles.max() > greatest[row]:
            column = 10 + int(alleles.argmax()) // 2
            lines_kernels.note(fault, row, lines_kernels.ALLELE, greatest[row], column)
    has_gt = np.array(["GT" in k for k in keys], np.bool_)[form] & (fault[:, 0] == 0)

    # Only fields that occur take part, so that memory is bounded by the text.
    known = {f.key: i for i, f in enumerate(fields)}
    occurring = sorted({known[key] for form_keys in keys for key in form_keys if key in known})
    place = {fields[i].key: j + 1 for j, i in enumerate(occurring)} | {"GT": 0}
    form_field = np.full((len(keys), max(1, max(map(len, keys)))), -1, np.int32)
    for i, form_keys in enumerate(keys):
        form_field[i, : len(form_keys)] = [place.get(key, -1) for key in form_keys]
    form_length = np.array([len(form_keys) for form_keys in keys], np.int32)
    rows = np.flatnonzero((lines.top < 0) & (fault[:, 0] == 0)).astype(np.int32)
    position = np.empty((1 + len(occurring), n if rows.size else 0, s), np.int32)
    if rows.size:
        kernels.tokenize(
            lines.buf, rows, lines.cols, lines.ends, form, form_field, form_length, choice,
            position, fault,
        )  # fmt: skip
        rows = rows[fault[rows, 0] == 0]

    by_genotype = any(fields[i].number == "G" for i in occurring)
    ploidy = np.zeros((n if by_genotype else 0, s), np.int8)
    wide = np.zeros(n, np.int16)
    kernels.genotypes(
        lines.buf, rows[has_gt[rows]], position[0], sample_columns, greatest, leading_phase,
        calls, phase, ploidy, wide, fault,
    )  # fmt: skip
    out = _genotype_columns(lines, calls, phase, position[0], has_gt, wide, s)
    for i, one in enumerate(fields):
        if i not in occurring:
            out.append(pa.nulls(n, pa.binary()))
            continue
        in_form = np.array([one.key in k for k in keys], np.bool_)
        mine = rows[in_form[form[rows]]]
        out.append(_values(lines, mine, position[place[one.key]], sample_columns, one, i, ploidy))
    known = place if rest else {key: 0 for form_keys in keys for key in form_keys}
    out.append(_undeclared(lines, rows, form, keys, known, sample_columns))
    return out


def _forms(lines: Lines) -> tuple[Array, list[list[str]]]:
    """Number of each record's FORMAT, and the keys of each FORMAT; faults are noted."""
    start = lines.cols[:, 8]
    end = (lines.cols[:, 9] - 1).astype(np.int32)
    offsets, data = text_kernels.gather(lines.buf, start, end)
    texts = pa.BinaryArray.from_buffers(
        pa.binary(), len(start), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    ).dictionary_encode()
    form = texts.indices.to_numpy().astype(np.int32)
    keys = []
    for i, raw in enumerate(texts.dictionary.to_pylist()):
        text = raw.decode("utf-8", "replace")
        one = text.split(":")
        keys.append(one)
        unlike = len(set(one)) == len(one)
        sound = text == "." or (unlike and all(_KEY.fullmatch(key) for key in one))
        if not sound or "GT" in one[1:]:
            for row in np.flatnonzero(form == i):
                lines_kernels.note(lines.fault, row, lines_kernels.FORMAT, 0, 0)
    return form, keys


def _genotype_columns(
    lines: Lines,
    calls: Array,
    phase: Array,
    position: Array,
    present: Array,
    wide: Array,
    s: int,
) -> list[pa.Array]:
    """call_ploidy, call_genotype and call_genotype_phased."""
    n = len(present)
    bits = (s + 7) // 8
    ploidy = pa.array(np.where(wide > 0, wide, 2).astype(np.int32), mask=~present)
    if not wide.any():
        return [
            ploidy,
            _binary(np.arange(n + 1, dtype=np.int32) * (2 * s), calls, present),
            _binary(np.arange(n + 1, dtype=np.int32) * bits, phase, present),
        ]
    genotype: list[bytes | None] = []
    phased: list[bytes | None] = []
    for row in range(n):
        if not present[row] or lines.fault[row, 0]:
            genotype.append(None)
            phased.append(None)
        elif wide[row]:
            alleles = np.empty((s, wide[row]), np.int16)
            separators = np.empty((s, wide[row] - 1), np.bool_)
            kernels.wide_genotypes(lines.buf, position[row], alleles, separators)
            small = alleles.max() <= 126
            genotype.append(alleles.astype(np.int8 if small else "<i2").tobytes())
            phased.append(np.packbits(separators, bitorder="little").tobytes())
        else:
            genotype.append(calls[row * 2 * s : (row + 1) * 2 * s].tobytes())
            phased.append(phase[row * bits : (row + 1) * bits].tobytes())
    return [ploidy, pa.array(genotype, pa.binary()), pa.array(phased, pa.binary())]


def _values(
    lines: Lines, rows: Array, position: Array, sample_columns: Array, one: Field, number: int,
    ploidy: Array,
) -> pa.Array:  # fmt: skip
    """One FORMAT field as typed vectors."""
    n, s = len(lines.ends), len(sample_columns)
    if one.type in ("Integer", "Float"):
        expected = np.full(n, kernels.ANY, np.int32)
        if one.number.isdecimal():
            expected[:] = int(one.number)
        elif one.number in ("A", "R"):
            expected[:] = lines.n_alt + (one.number == "R")
        elif one.number == "G":
            expected[:] = kernels.BY_GENOTYPE
        if one.number in ("A", "R", "G"):  # with ALT `.` callers count no ALT allele or one
            expected[lines.n_alt == 0] = kernels.ANY
        offsets = np.zeros(len(rows) + 1, np.int32)
        cursor = np.zeros(2, np.int64)
        out = np.empty(len(rows) * (1 + 2 * s) + 64, np.uint8)
        while not kernels.pack_numbers(
            lines.buf, rows, position, sample_columns, one.type == "Float", expected, lines.n_alt,
            ploidy, number, out, offsets, cursor, lines.fault,
        ):  # fmt: skip
            more = np.empty(2 * out.size, np.uint8)
            more[: cursor[1]] = out[: cursor[1]]
            out = more
    else:
        offsets, out = kernels.pack_text(lines.buf, rows, position, lines.ends, lines.fault)
    lengths = np.zeros(n + 1, np.int32)
    lengths[rows + 1] = np.diff(offsets)
    present = np.zeros(n, np.bool_)
    present[rows] = True
    return _binary(np.cumsum(lengths, dtype=np.int32), out, present)


def _undeclared(
    lines: Lines, rows: Array, form: Array, keys: list[list[str]], place: dict[str, int],
    sample_columns: Array,
) -> pa.Array:  # fmt: skip
    """FORMAT keys that have no column: the samples' values joined by TAB, by key."""
    unknown = [[k for k, key in enumerate(one) if key not in place and key != "."] for one in keys]
    out: list[list[tuple[str, str]] | None] = [None] * len(lines.ends)
    if not any(unknown):
        return pa.nulls(len(out), _TEXT_MAP)
    for row in rows:
        if unknown[form[row]]:
            text = (
                lines.buf[lines.cols[row, 9] : lines.ends[row]].tobytes().decode("utf-8", "replace")
            )
            samples = [sample.split(":") for sample in text.split("\t")]
            chosen = [samples[column - 10] for column in sample_columns]
            out[row] = [
                (
                    keys[form[row]][k],
                    "\t".join(v[k] if k < len(v) else "." for v in chosen),
                )
                for k in unknown[form[row]]
            ]
    return pa.array(out, _TEXT_MAP)


def _binary(offsets: Array, data: Array, valid: Array) -> pa.Array:
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(
        pa.binary(), len(valid), [bits, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
