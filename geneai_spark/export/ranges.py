"""Which task writes which rows, so that tasks in order write all rows in order.

Rows of one source lie in their order mostly, but in files of no order. So the keys alone are looked
at, row group by row group; then the genome is cut where row groups begin, and each task reads those
that reach into its stretch, and sorts. Wide rows never go through a shuffle.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import tasks
from geneai_spark.genome import Interval
from geneai_spark.parquet_parts import Group, Part, groups
from geneai_spark.stored import StoredRows

#: A place in the order: number of the contig, 0-based first base.
Key: TypeAlias = tuple[int, int]

KEYS = ("contigName", "start", "end")
RANGE_BYTES = 64 << 20  # of rows as they are read
LEAST_BYTES = 4 << 20  # smaller tasks cost more than they save
#: A range may read so many times its bytes, all of them so many times theirs; else rows lie in no
#: order, and sorting them all is cheaper.
CROWDED, REREAD = 6, 3
_DRIVER_PARTS = 8  # so few are looked at by the driver: no Spark job


class Piece(NamedTuple):
    """The rows of one contig in a row group: least and greatest start, rows, their share of the
    group's bytes, and the end of the last one.
    """

    part: Part
    contig: str
    first: int
    last: int
    rows: int
    size: float
    end: int


class Task(NamedTuple):
    """Rows from `low` to before `high`, in the row groups `parts`: what one task writes."""

    low: Key
    high: Key
    parts: tuple[Part, ...]
    rows: int  # of the pieces, those of other tasks included


def pieces(rows: StoredRows, regions: Sequence[Interval] | None) -> list[Piece]:
    """Look at the keys of all rows."""
    schema = to_arrow_schema(rows.select(KEYS).schema)
    equal = dict(rows.equal)

    def each(parts: Iterable[Part]) -> list[Piece]:
        held = (one for part in parts for one in groups(part, schema, equal))
        return [piece for group in held for piece in _pieces(group, regions)]

    parts = rows.parts
    if len(parts) <= _DRIVER_PARTS:
        return each(parts)

    def work(batches: tasks.Batches) -> list[Piece]:
        return each(parts[i] for batch in batches for i in batch.column("id").to_pylist())

    numbers = rows.spark.range(0, len(parts), 1, len(parts))
    return tasks.fold(numbers, work, operator.add, tasks=len(parts)) or []


def _pieces(group: Group, regions: Sequence[Interval] | None) -> list[Piece]:
    table = group.table
    if regions is not None:
        table = table.filter(overlaps(table, regions))
    found = table.group_by("contigName").aggregate(
        [("start", "min"), ("start", "max"), ("start", "count"), ("end", "max")]
    )
    return [
        Piece(
            group.part, row["contigName"], row["start_min"], row["start_max"], row["start_count"],
            group.size * row["start_count"] / max(group.rows, 1), row["end_max"],
        )
        for row in found.to_pylist()
    ]  # fmt: skip


def overlaps(table: pa.Table | pa.RecordBatch, regions: Sequence[Interval]) -> pa.BooleanArray:
    """Which rows share a base with one of the regions."""
    keep = np.zeros(table.num_rows, np.bool_)
    contig, start, end = (table.column(name) for name in KEYS)
    for one in regions:
        inside = pc.and_(pc.less(start, one.end), pc.greater(end, one.start))
        keep |= pc.and_(pc.equal(contig, one.contig), inside).to_numpy(zero_copy_only=False)
    return pa.array(keep)


def cut(found: Sequence[Piece], contigs: Sequence[str], cores: int) -> list[Task] | None:
    """Cut the order of all rows into tasks; None where rows lie in no order.

    Args:
        contigs: in the order of the file.
        cores: so many tasks at once.
    """
    rank = {name: number for number, name in enumerate(contigs)}
    total = sum(piece.size for piece in found)
    target = min(RANGE_BYTES, max(LEAST_BYTES, total / max(cores, 1)))
    ordered = sorted(found, key=lambda p: (rank[p.contig], p.first, p.last, p.part))
    made: list[Task] = []
    held: list[Piece] = []  # of the range that is being made
    low, weight, reading = (-1, -1), 0.0, 0.0
    end: Key = (len(contigs), -1)

    def close(high: Key) -> None:
        parts = dict.fromkeys(piece.part for piece in held)
        made.append(Task(low, high, tuple(parts), sum(piece.rows for piece in held)))

    for piece in ordered:
        key = (rank[piece.contig], piece.first)
        if weight >= target and key > (rank[held[-1].contig], held[-1].first):
            close(key)
            held = [one for one in held if (rank[one.contig], one.last) >= key]
            low, weight = key, 0.0
        held.append(piece)
        weight += piece.size
        reading = max(reading, sum(one.size for one in held))
        if reading > CROWDED * max(target, piece.size):
            return None
    if held:
        close(end)
    read = sum(task.rows for task in made)
    if read > REREAD * sum(piece.rows for piece in found) and len(made) > 2:
        return None
    return made
