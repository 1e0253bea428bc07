"""What a task writes: a part of the file, with what the index has to know of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geneai_spark import filesystems, parquet_parts
from geneai_spark.errors import TableError
from geneai_spark.export.ranges import Key, Task, overlaps
from geneai_spark.formats import tabix_build, vcf_text
from geneai_spark.formats.bgzf_writer import BgzfWriter
from geneai_spark.formats.tabix_build import PartIndex
from geneai_spark.formats.vcf_text import TextLayout
from geneai_spark.genome import Interval

BATCH_BYTES = 4_000_000  # of rows that are written at once: they fit the processor's cache


@dataclass(frozen=True)
class Plan:
    """What every task of an export knows; picklable.

    Attributes:
        folder: where the parts go.
        contigs: in the order of the file.
        sources: source ids in the order in which records of one position stand.
        layout: what to write of a row.
        schema: columns to read.
        equal: what columns must be equal to.
        regions: only rows that overlap one.
        level: of compression; None: plain text, without an index.
        depth: of the index's bins.
    """

    folder: str
    contigs: tuple[str, ...]
    sources: tuple[str, ...]
    layout: TextLayout
    schema: pa.Schema
    equal: Mapping[str, str]
    regions: tuple[Interval, ...] | None
    level: int | None
    depth: int


class Written(NamedTuple):
    """A part: its place among the others, bytes, bytes of text, records, index."""

    number: int
    uri: str
    size: int
    text_size: int
    records: int
    indexed: PartIndex | None


def write_task(plan: Plan, task: Task, number: int) -> Written | None:
    """Read a task's rows, sort them, write its part."""
    batches = [
        kept
        for part in task.parts
        for batch in parquet_parts.read(part, plan.schema, plan.equal)
        if (kept := _within(plan, batch, task.low, task.high)).num_rows
    ]
    return write(plan, _sorted(plan, batches), number)


def write(plan: Plan, batches: Iterable[pa.RecordBatch], number: int) -> Written | None:
    """Write rows that are sorted as a part; None where there are none."""
    writer: _PartWriter | None = None
    try:
        for batch in _pieces(batches):
            writer = writer or _PartWriter(plan)
            writer.add(batch)
        return None if writer is None else writer.close(number)
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise


class _PartWriter:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._uri = f"{plan.folder}/{uuid.uuid4().hex}"
        self._file = filesystems.open_output(self._uri)
        self._bgzf = BgzfWriter(self._file, plan.level) if plan.level is not None else None
        self._at = 0  # bytes of text so far
        self._records = 0
        self._seen: list[tuple[Any, ...]] = []  # contig, start, end, position of each record

    def add(self, batch: pa.RecordBatch) -> None:
        text = vcf_text.lines(batch, self._plan.layout)
        data = text.data[: int(text.ends[-1])].data
        if self._bgzf is None:
            self._file.write(data)
        else:
            self._bgzf.write(data)
            starts, ends = (batch.column(name).to_numpy() for name in ("start", "end"))
            at = np.concatenate([[0], text.ends[:-1]]) + self._at
            self._seen.append((_ranks(self._plan, batch), starts, ends, at))
        self._at += len(data)
        self._records += batch.num_rows

    def close(self, number: int) -> Written:
        size, index = self._at, None
        if self._bgzf is not None:
            self._bgzf.close()
            size = self._bgzf.size
            contigs, starts, ends, at = (np.concatenate(c) for c in zip(*self._seen, strict=True))
            offsets = self._bgzf.offsets(np.append(at, self._at))
            index = tabix_build.index_part(contigs, starts, ends, offsets, self._plan.depth)
        self._file.close()
        return Written(number, self._uri, size, self._at, self._records, index)

    def abandon(self) -> None:
        self._file.close()
        filesystems.remove(self._uri)


def _ranks(plan: Plan, batch: pa.RecordBatch | pa.Table) -> Any:
    """Numbers of the rows' contigs, int64."""
    found = pc.index_in(batch.column("contigName"), pa.array(plan.contigs, pa.string()))
    if found.null_count:
        raise TableError("variants: a contig came in meanwhile; run the export again")
    return found.to_numpy(zero_copy_only=False).astype(np.int64)


def _within(plan: Plan, batch: pa.RecordBatch, low: Key, high: Key) -> pa.RecordBatch:
    """The rows from `low` to before `high` that overlap a region."""
    if plan.regions is not None:
        batch = batch.filter(overlaps(batch, plan.regions))
    rank, start = _ranks(plan, batch), batch.column("start").to_numpy()
    keep = (rank > low[0]) | ((rank == low[0]) & (start >= low[1]))
    keep &= (rank < high[0]) | ((rank == high[0]) & (start < high[1]))
    return batch if keep.all() else batch.filter(pa.array(keep))


def _sorted(plan: Plan, batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All rows by contig, start and source; those of one place and source as they came."""
    if not batches:
        return
    table = pa.Table.from_batches(batches)
    rank, start = _ranks(plan, table), table.column("start").to_numpy()
    names = pa.array(plan.sources, pa.string())
    source = pc.fill_null(pc.index_in(table.column("sourceId"), names), len(names)).to_numpy()
    order = np.lexsort((source, start, rank))
    if (order == np.arange(len(order))).all():
        yield from batches
    else:
        for rows in np.array_split(order, max(1, table.nbytes // BATCH_BYTES)):
            yield from table.take(pa.array(rows)).combine_chunks().to_batches()


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of a size fit for writing."""
    for batch in batches:
        step = max(1, int(BATCH_BYTES * batch.num_rows / max(batch.nbytes, 1)))
        for first in range(0, batch.num_rows, step):
            yield batch.slice(first, step)
