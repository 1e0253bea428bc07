"""VCF lines to Arrow: fixed columns, INFO, and genotypes packed as `genotypes` describes.

`Parser` turns a chunk of whole lines into a record batch and a list of faults. The loops over bytes
are in vcf_kernels; here stands what a value means, and what is wrong with one that has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark.formats import text_kernels, vcf_calls
from geneai_spark.formats import vcf_kernels as kernels
from geneai_spark.formats.vcf_reserved import Field
from geneai_spark.genome import Interval, normalise

Array = NDArray[Any]

ARROW_TYPES = {
    "Integer": pa.int32(),
    "Float": pa.float64(),
    "Character": pa.string(),
    "String": pa.string(),
}
#: Annotation fields whose commas and bars stay as they are; `vcf.read(split_info=...)` splits them.
ANNOTATIONS = ("CSQ", "ANN", "BCSQ", "vep")

#: Reserved INFO keys that count or place something: below 0 they say nothing.
COUNTS = frozenset(["AC", "AD", "ADF", "ADR", "AF", "AN", "DP", "END", "MQ0", "NS"])

_SYMBOLIC = re.compile(r"<[^\s,<>]+>")
_BREAKEND = re.compile(
    r"[ACGTN]+([\[\]])[^\s,\[\]]+\1|([\[\]])[^\s,\[\]]+\2[ACGTN]+|\.[ACGTN]+|[ACGTN]+\.",
    re.IGNORECASE,
)


class Fault(NamedTuple):
    """Why a line is not stored: `field` broke the rule `expected`; `found` stands there instead."""

    position: int  # in the chunk
    record: int  # lines of the chunk before it
    field: str
    expected: str
    found: str
    text: str  # the line's first bytes

    @property
    def reason(self) -> str:
        """The fault as the rejects table has it."""
        return f"{self.field}: expected {self.expected}, found {self.found}"


class Column(NamedTuple):
    """A typed INFO key or FORMAT field and the name of its table column."""

    field: Field
    name: str

    @property
    def arrow(self) -> pa.DataType:
        """Arrow type of an INFO column."""
        if self.field.type == "Flag":
            return pa.bool_()
        scalar = self.field.number == "1" or self.field.key in ANNOTATIONS
        value = ARROW_TYPES[self.field.type]
        return value if scalar else pa.list_(value)


@dataclass(frozen=True)
class Layout:
    """What to read from a file and how; small and picklable.

    Attributes:
        n_columns: columns of the header line.
        choice: for each sample column of the file its place in the output, -1 to leave it out;
            None takes all in order.
        info, format: columns to make; GT is not among `format`.
        genotypes: whether to read genotypes at all; without it nothing behind FORMAT is touched.
        percent: whether text is percent-encoded (VCF 4.3 and later).
        leading_phase: whether a phase may stand before the first allele (VCF 4.4 and later).
        svlen_ends: whether SVLEN tells where symbolic alleles end (VCF 4.4 and later).
        build: rename contigs as this genome build does.
        regions: keep only records that overlap one; None keeps all.
    """

    n_columns: int
    choice: tuple[int, ...] | None
    info: tuple[Column, ...]
    format: tuple[Column, ...]
    genotypes: bool = True
    percent: bool = True
    leading_phase: bool = False
    svlen_ends: bool = False
    build: str | None = None
    regions: tuple[Interval, ...] | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the batches."""
        strings = pa.list_(pa.string())
        text_map = pa.map_(pa.string(), pa.string())
        columns = [
            ("contigName", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("names", strings),
            ("referenceAllele", pa.string()),
            ("alternateAlleles", strings),
            ("qual", pa.float64()),
            ("filters", strings),
            *((column.name, column.arrow) for column in self.info),
            ("INFO_undeclared", text_map),
        ]
        if self.genotypes:
            columns += [
                ("call_ploidy", pa.int32()),
                ("call_genotype", pa.binary()),
                ("call_genotype_phased", pa.binary()),
                *((column.name, pa.binary()) for column in self.format),
                ("call_undeclared", text_map),
            ]
        return pa.schema(columns)


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
        # END gives `end`, and SVLEN may, whether or not their columns are asked for.
        extra = [k for k in ("END", "SVLEN") if k not in {c.field.key for c in layout.info}]
        self.info = [c.field for c in layout.info] + [
            Field(k, "1" if k == "END" else ".", "Integer") for k in extra
        ]
        keys = [f.key.encode() for f in self.info]
        self.keys = np.frombuffer(b"".join(keys) or b"\0", np.uint8)
        self.key_ends = np.cumsum([len(k) for k in keys]).astype(np.int32)
        self.table = np.full(4 << max(4, len(keys).bit_length()), -1, np.int32)
        kernels.key_table(self.keys, self.key_ends, self.table)
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
                run = _Run(
                    self,
                    buf,
                    cols[:n],
                    ends[:n],
                    top[:n],
                    calls,
                    phase,
                    fault[:n],
                    lines,
                )
                out.append((run.batch(), n, run.faults))
                lines += n
        return out


class _Run:
    """One run of lines while it is parsed: R records, their column starts, and their faults."""

    def __init__(
        self, parser: Parser, buf: Array, cols: Array, ends: Array, top: Array,
        calls: Array, phase: Array, fault: Array, first: int,
    ) -> None:  # fmt: skip
        self.parser, self.layout, self.buf = parser, parser.layout, buf
        self.cols, self.ends, self.top = cols, ends, top
        self.calls, self.phase, self.fault, self.first = calls, phase, fault, first
        self.n = len(ends)
        self.faults: list[Fault] = []
        self.n_alt = np.zeros(self.n, np.int32)
        self.forms: list[str] = []

    def batch(self) -> pa.RecordBatch:
        """The good records; `faults` then tells of the others."""
        arrays = self._site()
        arrays += self._info_columns(arrays)
        keep = self._overlaps(arrays)
        if self.layout.genotypes:
            arrays += self._call_columns()
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.layout.schema)
        bad = np.flatnonzero(self.fault[:, 0])
        if bad.size:
            self.faults = [self._explain(int(row)) for row in bad]
            keep &= self.fault[:, 0] == 0
        return batch if keep.all() else batch.filter(pa.array(keep))

    # -- fixed columns ---------------------------------------------------------------------------

    def _span(self, column: int) -> tuple[Array, Array]:
        return self.cols[:, column], (self.cols[:, column + 1] - 1).astype(np.int32)

    def _strings(self, start: Array, end: Array, valid: Array | None = None) -> pa.Array:
        offsets, data = text_kernels.gather(self.buf, start, end)
        array = pa.StringArray.from_buffers(
            len(start), pa.py_buffer(offsets), pa.py_buffer(data), _bits(valid)
        )
        if data.size and data.max() >= 128:
            try:
                array.validate(full=True)
            except pa.ArrowInvalid:
                raw = array.cast(pa.binary()).to_pylist()
                array = pa.array(
                    [None if v is None else v.decode("utf-8", "replace") for v in raw],
                    pa.string(),
                )
        return array

    def _note(self, rows: Array, code: int, which: int = 0) -> None:
        for row in rows:
            kernels.note(self.fault, int(row), code, which, 0)

    def _site(self) -> list[pa.Array]:
        buf, n = self.buf, self.n
        self._check_encoding()
        chrom = self._dictionary(0, kernels.CHROM, _contig_fault)
        if self.layout.build:
            names = [normalise(v, self.layout.build) for v in chrom.dictionary.to_pylist()]
            chrom = pa.DictionaryArray.from_arrays(chrom.indices, pa.array(names, pa.string()))
        pos = np.empty(n, np.int64)
        kernels.parse_positions(buf, *self._span(1), self.fault, pos)

        id_offsets, id_start, id_end = text_kernels.split(buf, *self._span(2), 59, True)
        good = np.empty(len(id_start), np.bool_)
        text_kernels.check_text(buf, id_start, id_end, False, good)
        self._note(_rows_of(id_offsets, ~good), kernels.ID)

        ref_start, ref_end = self._span(3)
        good = np.empty(n, np.bool_)
        text_kernels.check_bases(buf, ref_start, ref_end, good)
        self._note(np.flatnonzero(~good), kernels.REF)

        alt_offsets, alt_start, alt_end = text_kernels.split(
            buf, *self._span(4), kernels.COMMA, True
        )
        self.n_alt = np.diff(alt_offsets)
        good = np.empty(len(alt_start), np.bool_)
        text_kernels.check_bases(buf, alt_start, alt_end, good)
        special = np.flatnonzero(~good)
        for i in special:
            good[i] = _is_alt(self._text(alt_start[i], alt_end[i]))
        self._note(_rows_of(alt_offsets, ~good), kernels.ALT)

        qual_start, qual_end = self._span(5)
        qual, state = self._floats(qual_start, qual_end)
        self._note(np.flatnonzero((state == 3) | (qual < 0)), kernels.QUAL)
        filters = self._dictionary(6, kernels.FILTER, _filter_fault)
        kinds = pa.array(
            [None if v == "." else v.split(";") for v in filters.dictionary.to_pylist()],
            pa.list_(pa.string()),
        )
        start = pos - 1
        return [
            chrom.cast(pa.string()),
            pa.array(start),
            pa.array(start + ref_end - ref_start),  # until INFO is read
            pa.ListArray.from_arrays(id_offsets, self._strings(id_start, id_end)),
            self._strings(ref_start, ref_end),
            pa.ListArray.from_arrays(alt_offsets, self._strings(alt_start, alt_end)),
            pa.array(qual, mask=state == 0),
            kinds.take(filters.indices),
        ]

    def _check_encoding(self) -> None:
        """Note lines whose site columns are not UTF-8."""
        stop = (self.cols[:, 9] if self.layout.n_columns > 9 else self.ends).astype(np.int32)
        for row in text_kernels.not_ascii(self.buf, self.cols[:, 0], stop):
            try:
                self.buf[self.cols[row, 0] : stop[row]].tobytes().decode()
            except UnicodeDecodeError:
                kernels.note(self.fault, int(row), kernels.ENCODING, 0, 0)

    def _dictionary(self, column: int, code: int, is_bad: Any) -> pa.DictionaryArray:
        """A column of few distinct values; each is checked once."""
        encoded = self._strings(*self._span(column)).dictionary_encode()
        bad = np.array([is_bad(value) for value in encoded.dictionary.to_pylist()], np.bool_)
        if bad.any():
            self._note(np.flatnonzero(bad[encoded.indices.to_numpy()]), code)
        return encoded

    def _floats(self, start: Array, end: Array) -> tuple[Array, Array]:
        value, state = np.empty(len(start)), np.empty(len(start), np.uint8)
        text_kernels.parse_floats(self.buf, start, end, value, state)
        for i in np.flatnonzero(state == 2):  # beyond exact arithmetic: the library rounds right
            value[i] = float(self._text(start[i], end[i]))
        return value, state

    def _text(self, start: int, end: int) -> str:
        return self.buf[start : max(start, end)].tobytes().decode("utf-8", "replace")

    def _overlaps(self, arrays: list[pa.Array]) -> Array:
        keep = np.ones(self.n, np.bool_)
        if self.layout.regions is None:
            return keep
        contig, start = arrays[0].to_numpy(zero_copy_only=False), arrays[1].to_numpy()
        keep[:] = False
        end = np.maximum(arrays[2].to_numpy(), start + 1)
        for region in self.layout.regions:
            keep |= (contig == region.contig) & (start < region.end) & (end > region.start)
        return keep

    # -- INFO ------------------------------------------------------------------------------------

    def _info_columns(self, site: list[pa.Array]) -> list[pa.Array]:
        """INFO columns; sets `end` in `site` from END (or SVLEN from VCF 4.4 on)."""
        p, fields = self.parser, self.parser.info
        start, end = self._span(7)
        value_start = np.empty((len(fields), self.n), np.int32)
        value_end = np.empty((len(fields), self.n), np.int32)
        self.other = np.empty(self.n, np.bool_)
        kernels.scan_info(
            self.buf, start, end, p.keys, p.key_ends, p.table,
            value_start, value_end, self.other, self.fault,
        )  # fmt: skip
        columns: list[pa.Array] = []
        for k, one in enumerate(fields):
            array = self._info_column(k, one, value_start[k], value_end[k])
            if one.key == "END":
                self._set_end(site, array)
            elif one.key == "SVLEN" and self.layout.svlen_ends:
                self._set_symbolic_end(site, array)
            if k < len(self.layout.info):
                columns.append(array)
        undeclared = None
        if self.other.any():
            undeclared = [self._other_info(r) if odd else None for r, odd in enumerate(self.other)]
        kind = self.layout.schema.field("INFO_undeclared").type
        columns.append(pa.array(undeclared, kind) if undeclared else pa.nulls(self.n, kind))
        return columns

    def _info_column(self, k: int, one: Field, start: Array, end: Array) -> pa.Array:
        present = start >= 0
        bare = present & (end < start)
        if one.type == "Flag":
            return self._flags(k, present, bare, start, end)
        if not present.any():
            return pa.nulls(self.n, Column(one, "").arrow)
        scalar = one.number == "1" or one.key in ANNOTATIONS
        text = one.type in ("String", "Character")
        self._note(np.flatnonzero(bare & (one.number != "0")), kernels.INFO_TYPE, k)
        if text and scalar:
            dot = text_kernels.is_dot(self.buf, start, end)
            return self._decode(self._strings(start, end, present & ~dot & ~bare))
        offsets, starts, ends = text_kernels.split(
            self.buf, np.where(present & ~bare, start, 1).astype(np.int32),
            np.where(present & ~bare, end, 0).astype(np.int32), kernels.COMMA, False,
        )  # fmt: skip
        counts = np.diff(offsets)
        if text:
            dot = text_kernels.is_dot(self.buf, starts, ends)
            values = self._decode(self._strings(starts, ends, ~dot))
        elif one.type == "Integer":
            number, state = (
                np.empty(len(starts), np.int32),
                np.empty(len(starts), np.uint8),
            )
            text_kernels.parse_integers(self.buf, starts, ends, number, state)
            dot = state == 0
            values = self._numbers(k, offsets, number, state)
        else:
            number, state = self._floats(starts, ends)
            dot = state == 0
            values = self._numbers(k, offsets, number, state)
        expected = self._expected(one.number)
        if expected is not None:
            lone_dot = np.zeros(self.n, np.bool_)
            lone_dot[counts == 1] = dot[offsets[:-1][counts == 1]]
            wrong = (counts > 0) & (counts != expected) & (expected >= 0) & ~lone_dot
            self._note(np.flatnonzero(wrong), kernels.INFO_COUNT, k)
        if scalar:
            first = pa.array(np.minimum(offsets[:-1], max(0, len(starts) - 1)), mask=counts == 0)
            return values.take(first)
        return _list_array(offsets, values, counts > 0)

    def _numbers(self, k: int, offsets: Array, number: Array, state: Array) -> pa.Array:
        self._note(_rows_of(offsets, state == 3), kernels.INFO_TYPE, k)
        if self.parser.info[k].key in COUNTS:
            self._note(_rows_of(offsets, number < 0), kernels.INFO_NEGATIVE, k)
        return pa.array(number, mask=state == 0)

    def _flags(self, k: int, present: Array, bare: Array, start: Array, end: Array) -> pa.Array:
        """A flag is set by its key, or by `=1` and unset by `=0`, as some callers write it."""
        valued = present & ~bare
        byte = self.buf[np.where(valued, start, 0)]
        sound = (end - start == 1) & ((byte == ord("0")) | (byte == ord("1")))
        self._note(np.flatnonzero(valued & ~sound), kernels.INFO_FLAG, k)
        self.other |= valued  # INFO_undeclared keeps the value
        return pa.array(present & ~(valued & (byte == ord("0"))))

    def _expected(self, number: str) -> Array | None:
        """Values a record must have for a Number; None or -1 where any count does."""
        if number.isdecimal():
            return np.full(self.n, int(number))
        if number in ("A", "R"):  # with ALT `.` callers count no ALT allele or one: both pass
            return np.where(self.n_alt > 0, self.n_alt + (number == "R"), -1)
        return None  # G has no meaning in INFO

    def _decode(self, array: pa.StringArray) -> pa.Array:
        data = array.buffers()[2]
        if not self.layout.percent or data is None or b"%" not in data.to_pybytes():
            return array
        return pa.array([v if v is None else unquote(v) for v in array.to_pylist()], pa.string())

    def _set_end(self, site: list[pa.Array], values: pa.Array) -> None:
        """END is the 1-based last base, so it is the 0-based exclusive end.

        An END before POS (translocations of some callers) says nothing of the reference: ignored.
        """
        start, end = site[1].to_numpy(), site[2].to_numpy()
        given = values.fill_null(-1).to_numpy(zero_copy_only=False)
        site[2] = pa.array(np.where(given > start, given, end))

    def _set_symbolic_end(self, site: list[pa.Array], values: pa.Array) -> None:
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

    def _other_info(self, row: int) -> list[tuple[str, str]] | None:
        """Keys that have no column, values of flags, further values of a key that stands twice."""
        start, end = self._span(7)
        flags = {f.key for f in self.parser.info if f.type == "Flag"}
        known = {f.key for f in self.parser.info}
        seen: set[str] = set()
        out: dict[str, str] = {}
        for item in self._text(start[row], end[row]).split(";"):
            key, equals, value = item.partition("=")
            if re.search(r"\s", key):
                kernels.note(self.fault, row, kernels.INFO, 0, 0)
            if key and (key not in known or key in seen or (equals and key in flags)):
                out[key] = f"{out[key]};{value}" if key in out else value
            seen.add(key)
        return list(out.items())

    # -- genotypes -------------------------------------------------------------------------------

    def _call_columns(self) -> list[pa.Array]:
        parser, layout = self.parser, self.layout
        if parser.n_chosen == 0:
            first = layout.schema.get_field_index("call_ploidy")
            return [pa.nulls(self.n, f.type) for f in list(layout.schema)[first:]]
        return vcf_calls.columns(
            vcf_calls.Lines(self.buf, self.cols, self.ends, self.top, self.n_alt, self.fault),
            self.calls,
            self.phase,
            fields=[column.field for column in layout.format],
            choice=parser.choice,
            sample_columns=parser.sample_columns,
            leading_phase=layout.leading_phase,
        )

    # -- faults ----------------------------------------------------------------------------------

    def _explain(self, row: int) -> Fault:
        code, which, where = (int(v) for v in self.fault[row])
        start, end = int(self.cols[row, 0]), int(self.ends[row])
        name, expected, found = self._words(code, which, where, row)
        line = self._text(start, min(end, start + 200))
        return Fault(start, self.first + row, name, expected, found, line)

    def _words(self, code: int, which: int, where: int, row: int) -> tuple[str, str, str]:
        """Field, expected and found of a fault; never what a sample column holds."""
        if code == kernels.COLUMNS:
            many = "10 or more" if which > 9 and where > 9 else str(where)
            return "line", f"{which} tab-separated columns", many
        if code == kernels.ENCODING:
            return "line", "UTF-8 text", "other bytes"
        if code in _SITE_RULES:
            column, name, expected = _SITE_RULES[code]
            start, end = self._span(column)
            return name, expected, _quote(self._text(start[row], end[row]))
        if code in (
            kernels.INFO_TYPE, kernels.INFO_COUNT, kernels.INFO_FLAG, kernels.INFO_NEGATIVE
        ):  # fmt: skip
            one = self.parser.info[which]
            expected = {
                kernels.INFO_TYPE: f"Type={one.type}",
                kernels.INFO_COUNT: f"Number={one.number} values",
                kernels.INFO_FLAG: "a flag without a value, or with 0 or 1",
                kernels.INFO_NEGATIVE: "a number not below 0",
            }[code]
            return f"INFO {one.key}", expected, _quote(self._info_value(row, one.key))
        if code == kernels.SAMPLES:
            return "line", f"{which} sample columns", str(where)
        sample = f"sample column {where}"
        if code == kernels.SUBFIELDS:
            found = "an empty column" if which == 0 else f"{which} values in {sample}"
            return "FORMAT", "no more values than FORMAT has keys", found
        if code == kernels.ALLELE:
            return "FORMAT GT", f"alleles up to {which}", f"a greater one in {sample}"
        if code in (kernels.GT, kernels.PHASE):
            rule = "a genotype" if code == kernels.GT else "a first phase that the others imply"
            return "FORMAT GT", rule, f"another text in {sample}"
        one = self.layout.format[which].field
        rule = f"Type={one.type}" if code == kernels.VALUE_TYPE else f"Number={one.number} values"
        return f"FORMAT {one.key}", rule, f"otherwise in {sample}"

    def _info_value(self, row: int, key: str) -> str:
        start, end = self._span(7)
        items = self._text(start[row], end[row]).split(";")
        return next((item for item in items if item.partition("=")[0] == key), "")


_SITE_RULES = {
    kernels.CHROM: (
        0,
        "CHROM",
        "a contig name without white space, comma or brackets",
    ),
    kernels.POS: (1, "POS", "an integer from 0 to 2147483647"),
    kernels.ID: (2, "ID", "identifiers separated by semicolons, or '.'"),
    kernels.REF: (3, "REF", "one or more bases"),
    kernels.ALT: (
        4,
        "ALT",
        "bases, '*', <ID> or breakends, separated by commas, or '.'",
    ),
    kernels.QUAL: (5, "QUAL", "a number not below 0, or '.'"),
    kernels.FILTER: (6, "FILTER", "PASS, '.', or names separated by semicolons"),
    kernels.INFO: (7, "INFO", "KEY=VALUE items separated by semicolons, or '.'"),
    kernels.FORMAT: (8, "FORMAT", "unlike keys separated by colons, GT first"),
}


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


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


def _rows_of(offsets: Array, chosen: Array) -> Array:
    """Records of the chosen elements of a split column, each once."""
    elements = np.flatnonzero(chosen)
    rows: Array = np.unique(np.searchsorted(offsets, elements, side="right") - 1)
    return rows


def _bits(valid: Array | None) -> pa.Buffer | None:
    """Arrow's validity bitmap."""
    if valid is None or valid.all():
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _list_array(offsets: Array, values: pa.Array, valid: Array) -> pa.ListArray:
    """A list column whose records are null where not `valid`."""
    return pa.Array.from_buffers(
        pa.list_(values.type),
        len(valid),
        [_bits(valid), pa.py_buffer(offsets)],
        children=[values],
    )
