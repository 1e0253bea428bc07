"""VCF lines to Arrow record batches: fixed columns, INFO, and genotypes packed as in `genotypes`.

`Parser` turns a chunk of whole lines into batches of good records and the faults of the others. The
loops over bytes are in vcf_kernels and vcf_call_kernels; here stands what a value means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark.formats import text_kernels, vcf_calls, vcf_info
from geneai_spark.formats import vcf_kernels as kernels
from geneai_spark.formats.vcf_faults import Fault, explain
from geneai_spark.formats.vcf_layout import Column, Layout
from geneai_spark.formats.vcf_lines import Lines, rows_of
from geneai_spark.formats.vcf_reserved import Field
from geneai_spark.genome import Interval, normalise

Array = NDArray[Any]

_SYMBOLIC = re.compile(r"<[^\s,<>]+>")
_BREAKEND = re.compile(
    r"[ACGTN]+([\[\]])[^\s,\[\]]+\1|([\[\]])[^\s,\[\]]+\2[ACGTN]+|\.[ACGTN]+|[ACGTN]+\.",
    re.IGNORECASE,
)


class Parser:
    """Parses chunks of one file; keeps what is prepared once: key tables and sample choice."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.n_samples = max(0, layout.n_columns - 9)
        self.choice = np.arange(self.n_samples, dtype=np.int32)
        if layout.choice is not None:
            self.choice = np.asarray(layout.choice, np.int32)
        self.n_chosen = int((self.choice >= 0).sum())
        self.all_in_order = bool((self.choice == np.arange(self.n_samples)).all())
        place = np.argsort(np.where(self.choice < 0, len(self.choice), self.choice), kind="stable")
        self.sample_columns = (place[: self.n_chosen] + 10).astype(np.int32)
        self.keys = vcf_info.InfoKeys(layout)
        self.capacity = 256

    def parse(self, text: bytes) -> list[tuple[pa.RecordBatch, int, list[Fault]]]:
        """Parse whole lines.

        Returns:
            For runs of lines in order: the batch of good records, the number of lines, the faults.
        """
        buf = np.frombuffer(text, np.uint8)
        words = kernels.words(buf)
        out, pos, lines = [], 0, 0
        read_calls = self.layout.genotypes and self.n_chosen > 0
        direct = read_calls and self.all_in_order
        while pos < buf.size:
            rows = min(self.capacity, buf.size // max(16, 2 * self.n_samples) + 1)
            cols = np.empty((rows, 10), np.int32)
            ends = np.empty(rows, np.int32)
            top = np.empty(rows, np.int16)
            fault = np.zeros((rows, 3), np.int32)
            calls = np.empty(rows * 2 * self.n_chosen if read_calls else 0, np.int8)
            phase = np.empty(rows * ((self.n_chosen + 7) // 8) if read_calls else 0, np.uint8)
            n, pos = kernels.scan_lines(
                buf, words, pos, self.layout.n_columns, self.n_samples, direct,
                cols, ends, top, calls.view(np.uint16), phase, fault,
            )  # fmt: skip
            if n == rows:
                self.capacity *= 2
            if n:
                run = Lines(
                    buf, cols[:n], ends[:n], top[:n], fault[:n], self.layout.n_columns,
                    np.zeros(n, np.int32),
                )  # fmt: skip
                batch, faults = self._records(run, calls, phase, lines)
                out.append((batch, n, faults))
                lines += n
        return out

    def _records(
        self, lines: Lines, calls: Array, phase: Array, first: int
    ) -> tuple[pa.RecordBatch, list[Fault]]:
        layout = self.layout
        arrays = _site(lines, layout)
        arrays += vcf_info.columns(lines, arrays, layout, self.keys)
        if layout.genotypes and self.n_chosen:
            arrays += vcf_calls.columns(
                lines,
                calls,
                phase,
                fields=[column.field for column in layout.format],
                rest=layout.format_rest,
                choice=self.choice,
                sample_columns=self.sample_columns,
                leading_phase=layout.leading_phase,
            )
        elif layout.genotypes:
            arrays += [pa.nulls(lines.n, one.type) for one in list(layout.schema)[len(arrays) :]]
        batch = pa.RecordBatch.from_arrays(arrays, schema=layout.schema)
        good = lines.fault[:, 0] == 0
        info = self.keys.fields
        faults = [explain(lines, layout, info, int(r), first) for r in np.flatnonzero(~good)]
        keep = good if layout.regions is None else good & _overlaps(layout.regions, arrays)
        return (batch if keep.all() else batch.filter(pa.array(keep))), faults


def _site(lines: Lines, layout: Layout) -> list[pa.Array]:
    """The fixed columns; sets `lines.n_alt`."""
    buf, n = lines.buf, lines.n
    lines.check_encoding()
    chrom = lines.dictionary(0, kernels.CHROM, _contig_fault)
    if layout.build:
        names = [normalise(v, layout.build) for v in chrom.dictionary.to_pylist()]
        chrom = pa.DictionaryArray.from_arrays(chrom.indices, pa.array(names, pa.string()))
    pos = np.empty(n, np.int64)
    kernels.parse_positions(buf, *lines.span(1), lines.fault, pos)

    id_offsets, id_start, id_end = text_kernels.split(buf, *lines.span(2), 59, True)
    good = np.empty(len(id_start), np.bool_)
    text_kernels.check_text(buf, id_start, id_end, False, good)
    lines.note(rows_of(id_offsets, ~good), kernels.ID)

    ref_start, ref_end = lines.span(3)
    good = np.empty(n, np.bool_)
    text_kernels.check_bases(buf, ref_start, ref_end, good)
    lines.note(np.flatnonzero(~good), kernels.REF)

    alt_offsets, alt_start, alt_end = text_kernels.split(buf, *lines.span(4), kernels.COMMA, True)
    lines.n_alt = np.diff(alt_offsets)
    good = np.empty(len(alt_start), np.bool_)
    text_kernels.check_bases(buf, alt_start, alt_end, good)
    special = np.flatnonzero(~good)
    for i in special:
        good[i] = _is_alt(lines.text(alt_start[i], alt_end[i]))
    lines.note(rows_of(alt_offsets, ~good), kernels.ALT)

    qual_start, qual_end = lines.span(5)
    qual, state = lines.floats(qual_start, qual_end)
    lines.note(np.flatnonzero((state == 3) | (qual < 0)), kernels.QUAL)
    filters = lines.dictionary(6, kernels.FILTER, _filter_fault)
    kinds = pa.array(
        [None if v == "." else v.split(";") for v in filters.dictionary.to_pylist()],
        pa.list_(pa.string()),
    )
    start = pos - 1
    return [
        chrom.cast(pa.string()),
        pa.array(start),
        pa.array(start + ref_end - ref_start),  # until INFO is read
        pa.ListArray.from_arrays(id_offsets, lines.strings(id_start, id_end)),
        lines.strings(ref_start, ref_end),
        pa.ListArray.from_arrays(alt_offsets, lines.strings(alt_start, alt_end)),
        pa.array(qual, mask=state == 0),
        kinds.take(filters.indices),
    ]


def _overlaps(regions: Sequence[Interval], arrays: list[pa.Array]) -> Array:
    contig, start = arrays[0].to_numpy(zero_copy_only=False), arrays[1].to_numpy()
    keep = np.zeros(len(start), np.bool_)
    end = np.maximum(arrays[2].to_numpy(), start + 1)
    for region in regions:
        keep |= (contig == region.contig) & (start < region.end) & (end > region.start)
    return keep


def _contig_fault(name: str) -> bool:
    inner = name[1:-1] if name.startswith("<") and name.endswith(">") else name
    return not inner or inner == "." or bool(re.search(r"[\s,<>\[\]]", inner)) or inner[0] in "*=#"


def _filter_fault(text: str) -> bool:
    names = text.split(";")
    return (
        any(not name or re.search(r"[\s,]", name) for name in names)
        or "0" in names
        or (len(names) > 1 and "." in names)
    )


@lru_cache(maxsize=4096)
def _is_alt(text: str) -> bool:
    """Whether an ALT allele that is not plain bases is legal."""
    return (
        text == "*"
        or _SYMBOLIC.fullmatch(text) is not None
        or _BREAKEND.fullmatch(text) is not None
    )


def warm_up() -> None:
    """Parse two records that use every kernel, so that they are compiled and cached."""
    types = (("I", "Integer"), ("F", "Float"), ("S", "String"))
    columns = [
        Column(Field(key, number, kind), key + number) for key, kind in types for number in "1A"
    ]
    call_columns = [Column(Field(key, "A", kind), f"call_{key}") for key, kind in types]
    text = b"1\t5\ta;b\tA\tC\t1.5\tPASS\tI=1;F=.5;S=x\tGT\t0|1\n"
    text += b"1\t6\t.\tA\t<X>\t.\t.\tI=2\tGT:I:F:S\t0/1/1:1:2:x\n"
    for choice in (None, (0,)):
        Parser(Layout(10, choice, tuple(columns), tuple(call_columns))).parse(text)
