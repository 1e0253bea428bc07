"""Tasks parse files and write the rows; the driver commits them once the accounts are right.

What each ingestion has in common: the rows of its table and those of ``rejects`` are staged by the
tasks that parse, and become part of the tables only if, file by file, the records read are the
rows written and those rejected, and no file has changed meanwhile.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from geneai_spark import store, tables, tasks
from geneai_spark.filesystems import FileInfo, source_id
from geneai_spark.ingest import checks
from geneai_spark.staging import FileWriter, StagedFile
from geneai_spark.stored import Computed, as_computed
from geneai_spark.table import Table, Where

T = TypeVar("T")


class Piece(NamedTuple):
    """What some text of a file gave.

    Attributes:
        source: the file's source id.
        records: rows to store.
        rejects: rows of ``rejects``.
        lines: how many records that were.
        told: what the driver is to know besides.
    """

    source: str
    records: pa.RecordBatch
    rejects: pa.RecordBatch
    lines: int
    told: Any = None


class Done(NamedTuple):
    """What a task has written: files by table; records, rows and rejects by source id."""

    files: Mapping[str, StagedFile]
    lines: Counter[str]
    stored: Counter[str]
    rejected: Counter[str]
    told: list[tuple[str, Any]]  # with the source id


class Loaded(NamedTuple):
    """What became of some files: the commit of their table, rows and rejects by source id, and
    what was told besides.
    """

    commit: store.Commit
    stored: Mapping[str, int]
    rejected: Mapping[str, int]
    told: Sequence[tuple[str, Any]] = ()


class Target(NamedTuple):
    """Where the rows of some files go.

    Attributes:
        table: beside ``rejects``.
        schema: the rows' columns.
        files: as listed; their rows take the place of those that they had.
        whole: whether every record is asked for; else some are rightly stored nowhere.
    """

    table: Table
    schema: StructType
    files: Sequence[FileInfo]
    whole: bool = True

    @property
    def ids(self) -> list[str]:
        """Source ids of the files."""
        return [source_id(info.uri) for info in self.files]

    @property
    def where(self) -> Where:
        """The files' rows in any table."""
        return Where.of(sourceId=self.ids)


def can_write(spark: SparkSession, table: Table, warehouse: str) -> bool:
    """Whether tasks can write files of the table and of ``rejects``; else Spark has to."""
    return all(store.can_adopt(spark, one, warehouse) for one in (table, tables.REJECTS))


def load(
    spark: SparkSession,
    warehouse: str,
    target: Target,
    work: Sequence[T],
    parse: Callable[[T], Iterable[Piece]],
    check: Callable[[Sequence[Done]], None] | None = None,
) -> Loaded:
    """Store what tasks make of files, in one commit of each table.

    Where only Spark can write, the rows are counted after the commit and taken back if they are
    not right; the files are read once more if there are rejects.

    Args:
        work: what each task parses; picklable.
        parse: what a task does with it.
        check: looks at what was done before anything is committed; raises where it is wrong.

    Raises:
        GeneaiError: a file cannot be read, or rows and records differ; the tables are as before.
    """
    table, rejects = target.table, tables.REJECTS
    if not can_write(spark, table, warehouse):
        return _load_through_spark(spark, warehouse, target, work, parse, check)
    folders = {one.name: store.prepare(spark, one, warehouse) for one in (table, rejects)}
    done = run(spark, table, folders, work, parse)
    staged = {
        name: [one.files[name] for one in done if name in one.files]
        for name in (table.name, rejects.name)
    }
    try:
        lines, stored, rejected = (
            sum((getattr(one, what) for one in done), Counter[str]())
            for what in ("lines", "stored", "rejected")
        )
        checks.balance(lines, stored, rejected, whole=target.whole)
        for name, counted in ((table.name, stored), (rejects.name, rejected)):
            checks.all_written(name, counted, [file.rows for file in staged[name]])
        if check is not None:
            check(done)
        for info in target.files:
            checks.same_file(info)
        commit = store.adopt(
            spark, staged[table.name], target.schema, table, warehouse,
            where=target.where, applications=[f"geneai {i}" for i in target.ids],
        )  # fmt: skip
    except Exception as error:
        for one in (table, rejects):
            store.discard(staged[one.name], one, warehouse, error)
        raise
    refused = staged[rejects.name]
    store.adopt(spark, refused, rejects.schema, rejects, warehouse, where=target.where)
    return Loaded(commit, stored, rejected, [told for one in done for told in one.told])


def run(
    spark: SparkSession,
    table: Table,
    folders: Mapping[str, str],
    work: Sequence[T],
    parse: Callable[[T], Iterable[Piece]],
) -> list[Done]:
    """Run every task on the cluster; what they did, in the order of ``work``."""
    statistics = {one.name: one.statistics for one in (table, tables.REJECTS)}
    name = table.name

    def each(batches: Iterable[pa.RecordBatch]) -> list[Done]:
        wanted = (work[i] for batch in batches for i in batch.column("id").to_pylist())
        return [_write(name, folders, statistics, parse(one)) for one in wanted]

    if not work:
        return []
    numbers = spark.range(0, len(work), 1, len(work))
    return tasks.fold(numbers, each, operator.add, tasks=len(work)) or []


def _write(
    name: str,
    folders: Mapping[str, str],
    statistics: Mapping[str, Sequence[str]],
    pieces: Iterable[Piece],
) -> Done:
    lines, stored, rejected = Counter[str](), Counter[str](), Counter[str]()
    told: list[tuple[str, Any]] = []
    writers = {one: FileWriter(folders[one], statistics[one]) for one in folders}
    try:
        for piece in pieces:
            lines[piece.source] += piece.lines
            for batch, counter, one in (
                (piece.records, stored, name),
                (piece.rejects, rejected, tables.REJECTS.name),
            ):
                counter[piece.source] += batch.num_rows
                if batch.num_rows:
                    writers[one].add(batch)
            if piece.told is not None:
                told.append((piece.source, piece.told))
        closed = {one: writer.close() for one, writer in writers.items()}
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    files = {one: file for one, file in closed.items() if file is not None}
    return Done(files, lines, stored, rejected, told)


def _load_through_spark(
    spark: SparkSession,
    warehouse: str,
    target: Target,
    work: Sequence[T],
    parse: Callable[[T], Iterable[Piece]],
    check: Callable[[Sequence[Done]], None] | None,
) -> Loaded:
    table, where = target.table, target.where
    numbers = spark.range(0, len(work), 1, max(1, len(work)))

    def made(what: str, schema: StructType) -> Computed:
        def each(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, list[Done]]:
            done = Done({}, Counter(), Counter(), Counter(), [])
            for number in (i for batch in batches for i in batch.column("id").to_pylist()):
                for piece in parse(work[number]):
                    done.lines[piece.source] += piece.lines
                    done.rejected[piece.source] += piece.rejects.num_rows
                    if piece.told is not None:
                        done.told.append((piece.source, piece.told))
                    yield getattr(piece, what)
            return [done]

        return Computed(numbers, each, schema, operator.add)

    def stored(one: Table, version: int) -> dict[str, int]:
        rows = store.read(spark, one, warehouse, version).where(where.sql)
        return checks.count_by_source(rows.select("sourceId"))

    before = store.version(spark, table, warehouse)
    commit, told = made("records", target.schema).write(table, warehouse, where)
    try:
        done: list[Done] = told or []
        lines, refused = (
            sum((getattr(one, what) for one in done), Counter[str]())
            for what in ("lines", "rejected")
        )
        if check is not None:
            check(done)
        rejects = made("rejects", tables.REJECTS.schema)
        if not refused:
            rejects = as_computed(store.from_rows(spark, [], tables.REJECTS))
        rejected = stored(
            tables.REJECTS, rejects.write(tables.REJECTS, warehouse, where).commit.version
        )
        kept = stored(table, commit.version)
        checks.balance(lines, kept, rejected, whole=target.whole)
        for info in target.files:
            checks.same_file(info)
    except Exception:
        store.take_back(spark, table, warehouse, where, before)
        raise
    return Loaded(commit, kept, rejected, [one for each in done for one in each.told])
