"""Rows of a stored table straight to the tasks that compute on them.

Packed genotypes that Spark reads go from Parquet to rows to Arrow to a socket before a task sees
them: four fifths of the time of a scan that only counts. :class:`StoredRows` has the few methods of
a DataFrame that such scans use, and its tasks read the table's files themselves. Which files, of
which version, is Delta's to say. :class:`Computed` is the way back: the tasks write what they made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from geneai_spark import filesystems, store
from geneai_spark.staging import FileWriter, StagedFile
from geneai_spark.table import Table

BATCH_BYTES = 4_000_000  # fits the processor's cache
TASK_BYTES = 64 << 20  # stored bytes of a task, at most
_FOOTERS = 1000  # files whose row groups are looked up; more are a task each

Batches: TypeAlias = Iterable[pa.RecordBatch]


class Part(NamedTuple):
    """Row groups of a file that a task reads; None: all of them."""

    uri: str
    groups: tuple[int, ...] | None


@dataclass(frozen=True)
class StoredRows:
    """Rows of a table's version.

    Attributes:
        parts: what each task reads.
        schema: the columns, in order.
        equal: what columns must be equal to.
    """

    spark: SparkSession
    parts: tuple[Part, ...]
    schema: StructType
    equal: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    def select(self, names: Sequence[str]) -> StoredRows:
        """The same rows with fewer columns."""
        return replace(self, schema=StructType([self.schema[name] for name in names]))

    def mapInArrow(  # noqa: N802 - as a DataFrame has it
        self, function: Callable[[Batches], Batches], schema: StructType | str
    ) -> DataFrame:
        """As ``DataFrame.mapInArrow``: ``function`` sees the batches of a task's rows."""
        parts, arrow, equal = self.parts, to_arrow_schema(self.schema), dict(self.equal)

        def work(numbers: Batches) -> Batches:
            wanted = (parts[i] for batch in numbers for i in batch.column("id").to_pylist())
            yield from function(batch for part in wanted for batch in read(part, arrow, equal))

        tasks = self.spark.range(0, len(parts), 1, max(1, len(parts)))
        return tasks.mapInArrow(work, schema)


Rows: TypeAlias = DataFrame | StoredRows


@dataclass(frozen=True)
class Computed:
    """What a function makes of rows, not made yet.

    Attributes:
        rows: what it is made of.
        function: from the batches of a task to batches of ``schema``.
        schema: the columns made.
    """

    rows: Rows
    function: Callable[[Batches], Batches]
    schema: StructType

    def frame(self) -> DataFrame:
        """The result as a DataFrame."""
        return self.rows.mapInArrow(self.function, self.schema)

    def write(self, table: Table, warehouse: str, where: str | None = None) -> store.Commit:
        """Replace a table's rows, as `store.replace` does; the tasks write them where they can."""
        spark = self.rows.spark if isinstance(self.rows, StoredRows) else self.rows.sparkSession
        if not store.can_adopt(spark, table, warehouse):
            return store.write(self.frame(), table, warehouse, where=where)
        folder, function = store.prepare(spark, table, warehouse), self.function
        statistics = table.statistics

        def work(batches: Batches) -> Batches:
            writer = FileWriter(folder, statistics)
            try:
                for batch in function(batches):
                    if batch.num_rows:
                        writer.add(batch)
                file = writer.close()
            except BaseException:
                writer.abandon()
                raise
            told = [] if file is None else [json.dumps(file)]
            yield pa.RecordBatch.from_pydict({"told": pa.array(told, pa.string())})

        found = self.rows.mapInArrow(work, "told string").collect()
        files = [StagedFile(*json.loads(row[0])) for row in found]
        try:
            return store.adopt(spark, files, self.schema, table, warehouse, where=where or "true")
        except Exception:
            store.discard(files, table, warehouse)
            raise


def stored_rows(
    spark: SparkSession, table: Table, warehouse: str, **equal: str
) -> StoredRows | None:
    """The rows of a table whose columns are equal to what is given, None where only Spark can read
    them: storage that Python does not know, a platform that hides Delta's log, deleted rows that
    still lie in their files.
    """
    if not store.can_adopt(spark, table, warehouse, reading=True):
        return None
    df = store.read(spark, table, warehouse)
    uris = sorted(df.inputFiles())
    return StoredRows(spark, tuple(_parts(spark, uris)), df.schema, equal)


def read(part: Part, schema: pa.Schema, equal: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Batches of some row groups with the columns of ``schema``; absent ones are null."""
    source = filesystems.open_arrow(part.uri)
    try:
        file = pq.ParquetFile(source)
        found = set(file.schema_arrow.names)
        names = [*dict.fromkeys([*schema.names, *equal])]
        here = [name for name in names if name in found]
        groups = range(file.num_row_groups) if part.groups is None else part.groups
        sizes = [file.metadata.row_group(g) for g in groups]
        rows = sum(size.num_rows for size in sizes)
        each = sum(size.total_byte_size for size in sizes) / max(rows, 1)
        step = max(16, int(BATCH_BYTES / max(each, 1)))
        for batch in file.iter_batches(step, row_groups=list(groups), columns=here):
            for name, value in equal.items():
                same = pc.equal(batch.column(name), value)
                if not pc.all(same).as_py():
                    batch = batch.filter(same)
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(
                    [_column(batch, field, found) for field in schema], schema=schema
                )
    finally:
        source.close()


def _column(batch: pa.RecordBatch, field: pa.Field, found: set[str]) -> pa.Array:
    if field.name not in found:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else column.cast(field.type)


def _parts(spark: SparkSession, uris: Sequence[str]) -> Iterator[Part]:
    """Cut files at row groups, so that each core has something to do and no task too much."""
    cores = spark.sparkContext.defaultParallelism
    if len(uris) > _FOOTERS:
        yield from (Part(uri, None) for uri in uris)
        return
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_group_sizes, uris))
    share = sum(map(sum, footers)) // cores + 1
    limit = min(max(share, 1 << 20), TASK_BYTES)
    for uri, sizes in zip(uris, footers, strict=True):
        held: list[int] = []
        room: float = limit
        for group, size in enumerate(sizes):
            if held and size > room:
                yield Part(uri, tuple(held))
                held, room = [], limit
            held.append(group)
            room -= size
        if held:
            yield Part(uri, tuple(held))


def _group_sizes(uri: str) -> list[int]:
    source = filesystems.open_arrow(uri)
    try:
        metadata: Any = pq.read_metadata(source)
        groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
        return [
            sum(group.column(c).total_compressed_size for c in range(group.num_columns))
            for group in groups
        ]
    finally:
        source.close()
