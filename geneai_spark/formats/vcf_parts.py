"""A range of a VCF file to Arrow: its good records, its rejected lines, its count of lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgzf
from geneai_spark.formats.vcf_faults import Fault
from geneai_spark.formats.vcf_layout import Layout
from geneai_spark.formats.vcf_plan import Part
from geneai_spark.formats.vcf_records import Parser

#: Counting lines back to the start of a range is done for rejects up to this many stored bytes.
COUNT_LINES_BYTES = 256 << 20

REJECT = pa.struct(
    [
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("text", pa.string()),
    ]
)
REJECTS = pa.schema([("sourceId", pa.string()), *REJECT])


class Parsed(NamedTuple):
    """What some lines gave.

    Attributes:
        records: the good ones, with `sourceId` and `cohort`.
        rejects: the others, of schema `REJECTS`.
        lines: how many lines that were.
    """

    records: pa.RecordBatch
    rejects: pa.RecordBatch
    lines: int


def parse_part(part: Part, layout: Layout, on_malformed: str) -> Iterator[Parsed]:
    """Read and parse one range of one file.

    Raises:
        FormatError: the first malformed line, where ``on_malformed`` is ``fail``.
        StorageError, BgzfError: the file cannot be read.
    """
    source = filesystems.open_input(part.file)
    try:
        parser = Parser(layout)
        counter = _LineCounter(part, source)
        for chunk in bgzf.chunks(source, part.file, part.compression, part.range):
            for batch, lines, found in parser.parse(chunk.text):
                faults = [_reject(part, chunk, fault, counter, on_malformed) for fault in found]
                rows = [{"sourceId": part.source_id, **fault} for fault in faults]
                rejects = pa.RecordBatch.from_pylist(rows, REJECTS)
                yield Parsed(_with_source(batch, part), rejects, lines)
            counter.add(chunk)
    finally:
        source.close()


def rows(parsed: Iterable[Parsed], settings: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """What Spark is given, by the data source's ``emit`` and ``onMalformed``: see `vcf.read`."""
    waiting = 0  # lines of runs that gave no row (all outside the regions)
    for one in parsed:
        if settings["emit"] == "rejects":
            if one.rejects.num_rows:
                yield one.rejects
        elif one.records.num_rows or one.rejects.num_rows:
            yield _assemble(one, one.lines + waiting, settings)
            waiting = 0
        else:
            waiting += one.lines


def _with_source(batch: pa.RecordBatch, part: Part) -> pa.RecordBatch:
    columns = [batch.column(i) for i in range(batch.num_columns)]
    columns += [
        pa.repeat(pa.scalar(text), batch.num_rows) for text in (part.source_id, part.cohort)
    ]
    names = [*batch.schema.names, "sourceId", "cohort"]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _assemble(one: Parsed, lines: int, settings: Mapping[str, Any]) -> pa.RecordBatch:
    """Good records, then a row for each rejected line in which nothing else is set but these."""
    n, extra = one.records.num_rows, one.rejects.num_rows
    columns = {name: one.records.column(name) for name in one.records.schema.names}
    if extra:
        for name, column in columns.items():
            columns[name] = pa.concat_arrays([column, pa.nulls(extra, column.type)])
        source = one.rejects.column("sourceId")
        columns["sourceId"] = pa.concat_arrays([one.records.column("sourceId"), source])
    if settings["onMalformed"] == "reject":
        rejected = pa.StructArray.from_arrays(one.rejects.columns[1:], fields=list(REJECT))
        columns["reject"] = pa.concat_arrays([pa.nulls(n, REJECT), rejected])
    if settings["emit"] == "all":
        columns["lines"] = pa.array([lines] + [0] * (n + extra - 1), pa.int32())
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


class _LineCounter:
    """Line numbers: known from the header on, counted back for other ranges when first asked."""

    def __init__(self, part: Part, source: bgzf.Input) -> None:
        self.part, self.source = part, source
        self.before: int | None = (
            part.header_lines if part.first else None
        )  # lines before the chunk
        self.passed = 0

    def add(self, chunk: bgzf.Chunk) -> None:
        self.passed += chunk.text.count(b"\n")

    def line(self, chunk: bgzf.Chunk, position: int, *, always: bool) -> int | None:
        start = self.part.range.start >> (16 if self.part.compression == bgzf.BGZF else 0)
        if self.before is None and (always or start <= COUNT_LINES_BYTES):
            first = chunk.offset_of(0)
            count = bgzf.count_lines(self.source, self.part.file, self.part.compression, first)
            self.before = count - self.passed
        if self.before is None:
            return None
        return self.before + self.passed + chunk.text.count(b"\n", 0, position) + 1


def _reject(
    part: Part, chunk: bgzf.Chunk, fault: Fault, counter: _LineCounter, policy: str
) -> dict[str, Any]:
    line = counter.line(chunk, fault.position, always=policy == "fail")
    offset = chunk.offset_of(fault.position)
    if policy == "fail":
        raise FormatError(
            part.file, fault.expected, fault.found, field=fault.field, line=line, offset=offset
        )
    return {"line": line, "offset": offset, "reason": fault.reason, "text": fault.text}
