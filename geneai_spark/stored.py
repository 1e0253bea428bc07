"""Rows of a stored table straight to the tasks that compute on them.

Packed genotypes that Spark reads go from Parquet to rows to Arrow to a socket before a task sees
them: four fifths of the time of a scan that only counts. :class:`StoredRows` has the few methods of
a DataFrame that such scans use, and its tasks read the table's files themselves. Which files, of
which version, is Delta's to say. :class:`Computed` is the way back: the tasks write what they made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import StructType

from geneai_spark import store, tasks
from geneai_spark.parquet_parts import Part, are_small, group_sizes, read
from geneai_spark.staging import FileWriter, StagedFile
from geneai_spark.table import ALL, Table, Where
from geneai_spark.tasks import Batches

T = TypeVar("T")

TASK_BYTES = 64 << 20  # stored bytes of a task, at most
_FOOTERS = 1000  # files whose row groups are looked up; more are a task each


@dataclass(frozen=True)
class StoredRows:
    """Rows of a table's version.

    Attributes:
        parts: what each task reads.
        schema: the columns, in order.
        equal: what columns must be equal to.
        version: of the table.
    """

    spark: SparkSession
    parts: tuple[Part, ...]
    schema: StructType
    equal: Mapping[str, str]
    version: int

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
            tasks.quicken()

        each = self.spark.range(0, len(parts), 1, max(1, len(parts)))
        return each.mapInArrow(work, schema)

    def table(self) -> pa.Table:
        """All of it in the driver: for small tables."""
        arrow = to_arrow_schema(self.schema)
        batches = [b for part in self.parts for b in read(part, arrow, self.equal)]
        return pa.Table.from_batches(batches, arrow)


Rows: TypeAlias = DataFrame | StoredRows


def as_computed(df: DataFrame) -> Computed:
    """Rows as they are, to be written by tasks."""

    def same(batches: Batches) -> Batches:
        yield from batches

    return Computed(df, same, df.schema)


def _nothing(one: Any, other: Any) -> None:
    """What tasks told that told nothing."""


def fold_rows(
    rows: Rows,
    names: Sequence[str],
    function: Callable[[Batches], T | None],
    merge: Callable[[T, T], T],
) -> T | None:
    """Go through some columns of rows once; see `tasks.fold`."""
    number = len(rows.parts) if isinstance(rows, StoredRows) else None
    return tasks.fold(rows.select(list(names)), function, merge, tasks=number)


class Written(NamedTuple):
    """What `Computed.write` did: the commit, and what the tasks told, merged."""

    commit: store.Commit
    told: Any


@dataclass(frozen=True)
class Computed:
    """What a function makes of rows, not made yet.

    Attributes:
        rows: what it is made of.
        function: from the batches of a task to batches of ``schema``. A generator may return
            something at its end, say sums over the task's rows.
        schema: the columns made.
        merge: puts together what two tasks returned; see `tasks.fold`.
    """

    rows: Rows
    function: Callable[[Batches], Batches]
    schema: StructType
    merge: Callable[[Any, Any], Any] = _nothing

    def frame(self) -> DataFrame:
        """The rows made, as a DataFrame."""
        return self.rows.mapInArrow(self.function, self.schema)

    def told(self) -> Any:
        """What the tasks return, merged; the rows made go nowhere. None where there is no task."""
        function = self.function

        def exhausted(batches: Batches) -> Any:
            return _each(function(batches), lambda _: None)

        return tasks.fold(self.rows, exhausted, self.merge, tasks=self._tasks)

    def write(
        self, table: Table, warehouse: str, where: Where | None = None, *, at: int | None = None
    ) -> Written:
        """Replace a table's rows, as `store.replace` does; the tasks write them where they can.

        Args:
            at: only if the table is at this version still: what is made depends on its rows.

        Raises:
            ConflictError: it is not; nothing was stored.
        """
        spark = self.rows.spark if isinstance(self.rows, StoredRows) else self.rows.sparkSession
        if not store.can_adopt(spark, table, warehouse):
            return self._write_by_spark(table, warehouse, where, at)
        folder, function, merge = store.prepare(spark, table, warehouse), self.function, self.merge
        statistics = table.statistics

        def work(batches: Batches) -> tuple[list[StagedFile], Any]:
            writer = FileWriter(folder, statistics)
            try:
                told = _each(function(batches), writer.add)
                file = writer.close()
            except BaseException:
                writer.abandon()
                raise
            return ([] if file is None else [file]), told

        def merged(one: Any, other: Any) -> tuple[list[StagedFile], Any]:
            return one[0] + other[0], merge(one[1], other[1])

        files, told = tasks.fold(self.rows, work, merged, tasks=self._tasks) or ([], None)
        try:
            commit = store.adopt(
                spark, files, self.schema, table, warehouse, where=where or ALL, at=at
            )
        except Exception as error:
            store.discard(files, table, warehouse, error)
            raise
        return Written(commit, told)

    @property
    def _tasks(self) -> int | None:
        return len(self.rows.parts) if isinstance(self.rows, StoredRows) else None

    def _write_by_spark(
        self, table: Table, warehouse: str, where: Where | None, at: int | None
    ) -> Written:
        """Rows and what is told in one DataFrame, which waits on the workers' disks."""
        function, arrow = self.function, to_arrow_schema(self.schema)
        extra = tasks.RESULT_SCHEMA

        def both(batches: Batches) -> Iterator[pa.RecordBatch]:
            made = iter(function(batches))
            while True:
                try:
                    batch = next(made)
                except StopIteration as stop:
                    yield _widened(tasks.result(stop.value), arrow, extra)
                    return
                yield _widened(batch, arrow, extra)

        schema = StructType([*self.schema.fields, *from_arrow_schema(extra).fields])
        df = self.rows.mapInArrow(both, schema).persist(StorageLevel.DISK_ONLY)
        try:
            rows = df.where(F.col(extra.names[0]).isNull()).select(self.schema.names)
            store.check_version(df.sparkSession, table, warehouse, at)
            commit = store.write(rows, table, warehouse, where=where)
            results = df.where(F.col(extra.names[0]).isNotNull()).select(extra.names)
            return Written(commit, tasks.gather(results, self.merge, tasks=self._tasks))
        finally:
            df.unpersist()


def _each(made: Batches, use: Callable[[pa.RecordBatch], None]) -> Any:
    """Use each batch that has rows; what the generator returns."""
    waiting = iter(made)
    while True:
        try:
            batch = next(waiting)
        except StopIteration as stop:
            return stop.value
        if batch.num_rows:
            use(batch)


def _widened(batch: pa.RecordBatch, *schemas: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns of all the schemas, null where it has none."""
    fields = [field for schema in schemas for field in schema]
    here = set(batch.schema.names)
    columns = [
        batch.column(f.name) if f.name in here else pa.nulls(batch.num_rows, f.type) for f in fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def stored_rows(
    spark: SparkSession, table: Table, warehouse: str, **equal: str
) -> StoredRows | None:
    """The rows of a table whose columns are equal to what is given, None where only Spark can read
    them: storage that Python does not know, a platform that hides Delta's log, deleted rows that
    still lie in their files.
    """
    if not store.can_adopt(spark, table, warehouse, reading=True):
        return None
    return _rows(spark, store.read_files(spark, table, warehouse), equal)


def added_rows(spark: SparkSession, table: Table, warehouse: str, after: int) -> StoredRows | None:
    """The rows that have come since version ``after``; None where :func:`stored_rows` is, or where
    rows have gone since, too.
    """
    if not store.can_adopt(spark, table, warehouse, reading=True):
        return None
    held = store.read_added(spark, table, warehouse, after)
    return None if held is None else _rows(spark, held, {})


def _rows(spark: SparkSession, held: store.Held, equal: Mapping[str, str]) -> StoredRows:
    parts = tuple(_parts(spark, sorted(held.uris)))
    return StoredRows(spark, parts, held.rows.schema, equal, held.version)


def latest(spark: SparkSession, table: Table, warehouse: str) -> tuple[DataFrame, int]:
    """The table and its latest version; a small one's rows are held by the driver, so that what is
    asked of them scans neither Delta's log nor files (some 0.3 s each time, even for three rows).

    Raises:
        TableError: there is no such table, or it differs from the declaration.
    """
    held = None
    if store.can_adopt(spark, table, warehouse, reading=True):
        held = store.read_listed(spark, table, warehouse)
    if held is None:
        version = store.version(spark, table, warehouse)
        return store.read(spark, table, warehouse, version), version or 0
    if not are_small(held.uris):
        return held.rows, held.version
    parts = tuple(Part(uri, None) for uri in sorted(held.uris))
    rows = StoredRows(spark, parts, held.rows.schema, {}, held.version).table()
    return spark.createDataFrame(rows, held.rows.schema), held.version


def latest_or_empty(spark: SparkSession, table: Table, warehouse: str) -> DataFrame:
    """As :func:`latest`; a table that does not exist yet has no rows."""
    if store.exists(spark, table, warehouse):
        return latest(spark, table, warehouse)[0]
    return store.from_rows(spark, [], table)


def collect(
    spark: SparkSession,
    table: Table,
    warehouse: str,
    names: Sequence[str],
    *,
    absent_is_empty: bool = False,
    **equal: str,
) -> pa.Table:
    """Some columns of a small table in the driver, without a Spark job where that can be.

    Raises:
        TableError: the table has not been written, unless ``absent_is_empty``.
    """
    if absent_is_empty and not store.exists(spark, table, warehouse):
        return to_arrow_schema(table.schema).empty_table().select(list(names))
    rows = stored_rows(spark, table, warehouse, **equal)
    if rows is not None:
        return rows.select(names).table()
    df = store.read(spark, table, warehouse)
    for name, value in equal.items():
        df = df.where(F.col(name) == value)
    return df.select(*names).toArrow()


def _parts(spark: SparkSession, uris: Sequence[str]) -> Iterator[Part]:
    """Cut files at row groups, so that each core has something to do and no task too much."""
    cores = spark.sparkContext.defaultParallelism
    if len(uris) > _FOOTERS:
        yield from (Part(uri, None) for uri in uris)
        return
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(group_sizes, uris))
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
