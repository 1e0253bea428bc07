"""Tables on storage: the only module that knows they are Delta tables.

A table is the folder ``<warehouse>/<name>``. Every write is one atomic commit that returns its
version; where another run changes the table at the same time, it is tried again (`conflicts`). A
table is created with its column comments, file statistics on the declared columns only (statistics
on wide binary columns double the cost of a write) and liquid clustering, which costs a write
nothing and sorts when :func:`optimize` runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BinaryType, StructField, StructType

from geneai_spark import commits, conflicts, filesystems, staging
from geneai_spark.errors import ConflictError, ReconciliationError, TableError, UnsettledError
from geneai_spark.jvm import java
from geneai_spark.session import set_for
from geneai_spark.staging import StagedFile
from geneai_spark.table import ALL, NONE, Table, Where


@dataclass
class Lineage:
    """Versions of the tables that were read and written while it was active."""

    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """One write.

    Attributes:
        version: the table's version after it.
        rows: new rows (not those copied from rewritten files); None where it is not told.
        files: files added.
        bytes: their size.
    """

    version: int
    rows: int | None
    files: int
    bytes: int


_CREATING = 9  # tries to make a table that another run seems to be making: some 7 seconds
#: What Delta says of a folder with a log that has no commit: with and without more in it.
_HALF_MADE = ("DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION", "DELTA_TABLE_NOT_FOUND")
_lineage: ContextVar[Lineage | None] = ContextVar("lineage", default=None)


@contextmanager
def lineage() -> Iterator[Lineage]:
    """Collect which versions of which tables are read and written inside the block."""
    seen = Lineage()
    token = _lineage.set(seen)
    try:
        yield seen
    finally:
        _lineage.reset(token)


def path(warehouse: str, table: Table) -> str:
    """The URI of the table's folder, as Spark wants it."""
    return f"{filesystems.spark_uri(warehouse).rstrip('/')}/{table.name}"


def exists(spark: SparkSession, table: Table, warehouse: str) -> bool:
    """Whether the table has been created; that it has not is remembered as a read of version -1."""
    found = _exists(spark, table, warehouse)
    if not found and (seen := _lineage.get()) is not None:
        seen.read.setdefault(table.name, -1)
    return found


@conflicts.steady
def _exists(spark: SparkSession, table: Table, warehouse: str) -> bool:
    there = path(warehouse, table)
    if getattr(spark, "_jvm", None) is None:  # Spark Connect
        return bool(DeltaTable.isDeltaTable(spark, there))
    tables = java(spark, "io.delta.tables.DeltaTable")
    return bool(tables.isDeltaTable(spark._jsparkSession, there))


def version(spark: SparkSession, table: Table, warehouse: str) -> int | None:
    """The table's latest version, None where there is no table."""
    return _find_version(spark, table, warehouse)


def data_version(spark: SparkSession, table: Table, warehouse: str) -> int:
    """The latest version that changed rows, not only their files; -1 where there is no table."""
    latest = _find_version(spark, table, warehouse)
    if latest is None:
        return -1
    for number in range(latest, -1, -1):
        if commits.operation(folder(warehouse, table), number) not in commits.MAINTENANCE:
            return number
    return latest


def _find_version(spark: SparkSession, table: Table, warehouse: str) -> int | None:
    if (log := commits.open_log(spark, path(warehouse, table))) is not None:
        found = commits.latest(spark, log)
        return None if found < 0 else found
    if not _exists(spark, table, warehouse):
        return None
    return int(delta_table(spark, table, warehouse).history(1).collect()[0]["version"])


@conflicts.steady
def read(
    spark: SparkSession, table: Table, warehouse: str, version: int | None = None
) -> DataFrame:
    """The table at its latest version, or at ``version``: the same rows whenever it is read.

    Raises:
        TableError: there is no such table, or it differs from the declaration.
    """
    latest = _find_version(spark, table, warehouse)
    if latest is None:
        raise TableError(
            f"table {table.name!r}: not in warehouse {warehouse}; "
            f"a job that writes it has to run first"
        )
    at = latest if version is None else version
    df = spark.read.format("delta").option("versionAsOf", at).load(path(warehouse, table))
    if told := table.differences(df.schema):
        raise TableError(f"table {table.name!r} in {warehouse}: {'; '.join(told)}")
    if (seen := _lineage.get()) is not None:
        seen.read[table.name] = at
    return df


class Held(NamedTuple):
    """Rows of a table, and the URIs of the files that hold them."""

    rows: DataFrame
    version: int
    uris: Sequence[str]


def read_listed(spark: SparkSession, table: Table, warehouse: str) -> Held | None:
    """The table at its latest version, with the files that hold its rows, where those are known
    without a Spark job; else None.
    """
    uri = path(warehouse, table)
    log = commits.open_log(spark, uri)
    found = None if log is None else commits.listing(spark, log, uri, folder(warehouse, table))
    if found is None:
        return None
    version, uris = found
    return Held(read(spark, table, warehouse, version), version, uris)


def read_files(spark: SparkSession, table: Table, warehouse: str) -> Held:
    """The table at its latest version, with the files that hold its rows."""
    if (held := read_listed(spark, table, warehouse)) is not None:
        return held
    version = _find_version(spark, table, warehouse) or 0
    df = read(spark, table, warehouse, version)
    return Held(df, version, list(df.inputFiles()))


def read_added(spark: SparkSession, table: Table, warehouse: str, after: int) -> Held | None:
    """As :func:`read_files`, but only the files of rows that have come since version ``after``.

    None where rows have gone since, too, or the log does not tell.
    """
    latest = _find_version(spark, table, warehouse)
    if latest is None or latest < after or not filesystems.is_known(warehouse):
        return None  # below `after`: another table in the place of the one that was measured
    place, uris = folder(warehouse, table), []
    for number in range(after + 1, latest + 1):
        names = commits.added(place, number)
        if names is None:
            return None
        uris += [f"{place}/{name}" for name in names]
    with ThreadPoolExecutor(8) as pool:
        if not all(pool.map(filesystems.exists, uris)):  # merged into others and vacuumed
            return None
    return Held(read(spark, table, warehouse, latest), latest, uris)


def read_or_empty(spark: SparkSession, table: Table, warehouse: str) -> DataFrame:
    """As :func:`read`; a table that does not exist yet has no rows."""
    if exists(spark, table, warehouse):
        return read(spark, table, warehouse)
    return from_rows(spark, [], table)


def from_rows(spark: SparkSession, rows: Sequence[Mapping[str, Any]], table: Table) -> DataFrame:
    """A DataFrame of the table's declared columns from a few rows made in the driver.

    It goes through Arrow: no Python worker is started, and it is one partition.
    """
    return spark.createDataFrame(table.arrow(rows), table.schema).coalesce(1)


def replace(df: DataFrame, table: Table, warehouse: str, where: Where | None = None) -> int:
    """Replace the table's rows, all or those that ``where`` selects, in one commit.

    Args:
        df: the new rows; each must satisfy ``where``.
        where: which rows they take the place of.

    Returns:
        The table's new version.

    Raises:
        TableError: ``df`` differs from the declaration, or from the stored columns' types.
    """
    return write(df, table, warehouse, where=where).version


def put(
    spark: SparkSession,
    rows: Sequence[Mapping[str, Any]] | pa.Table,
    table: Table,
    warehouse: str,
    where: Where | None = None,
    *,
    at: int | None = None,
) -> Commit:
    """Add rows made in the driver, in place of those that ``where`` selects, in one commit.

    A table of Arrow has the declared columns; rows have them by name. No Spark job runs where
    nothing is replaced and the storage allows.

    Args:
        at: only if the table is at this version still.

    Raises:
        ConflictError: it is not.
    """
    if not isinstance(rows, pa.Table):
        rows = table.arrow(rows)
    if can_adopt(spark, table, warehouse):
        staged = staging.stage(rows, prepare(spark, table, warehouse), table.statistics)
        files = [staged] if staged else []
        try:
            return adopt(spark, files, table.schema, table, warehouse, where=where, at=at)
        except Exception as error:
            discard(files, table, warehouse, error)
            raise
    check_version(spark, table, warehouse, at)
    df = spark.createDataFrame(rows, table.schema).coalesce(1)
    return write(df, table, warehouse, where=where, add=where is None)


def check_version(spark: SparkSession, table: Table, warehouse: str, at: int | None) -> None:
    """Raise ConflictError if the table is not at version ``at`` any more; None: whichever it is."""
    if at not in (None, _find_version(spark, table, warehouse)):
        raise _overtaken(table)


def _overtaken(table: Table) -> ConflictError:
    return ConflictError(f"table {table.name!r}: another run changed the table at the same time")


def append(df: DataFrame, table: Table, warehouse: str) -> int:
    """Add rows in one commit; the table's new version."""
    return write(df, table, warehouse, add=True).version


def write(
    df: DataFrame, table: Table, warehouse: str, *, where: Where | None = None, add: bool = False
) -> Commit:
    """What :func:`replace` and :func:`append` do, with the commit's figures."""
    spark, uri = df.sparkSession, path(warehouse, table)
    df = table.conform(df)
    _create(spark, table, warehouse, df.schema)
    stored = delta_table(spark, table, warehouse).toDF().schema
    _same_types(table, stored, df.schema)
    if where == NONE:
        where, add = None, True
    mark, before = uuid.uuid4().hex, _find_version(spark, table, warehouse)
    writer = df.write.format("delta").mode("append" if add else "overwrite")
    writer = writer.option("userMetadata", mark)
    if where is not None:
        writer = writer.option("replaceWhere", where.sql)
    if table.open_columns and {n.lower() for n in df.columns} - {n.lower() for n in stored.names}:
        writer = writer.option("mergeSchema", "true")

    def is_stored() -> bool:
        return _marked(spark, table, warehouse, mark, before or 0) is not None

    def save() -> None:
        with conflicts.explained(f"table {table.name!r}"):
            if uri.startswith(("s3:", "s3a:")):
                conflicts.surely(lambda: writer.save(uri), is_stored)
            else:  # HDFS tells of a commit that was not heard in the same words: not stored twice
                writer.save(uri)

    with _plain_binaries(spark, df.schema):
        conflicts.retried(save)
    return _commit(spark, table, warehouse, mark, before or 0)


def can_adopt(spark: SparkSession, table: Table, warehouse: str, *, reading: bool = False) -> bool:
    """Whether Python can write files of the table and :func:`adopt` them, or read its files.

    Not where the platform hides Delta's log from us, where only Spark can write to the storage, or
    where the table asks more of each file.
    """
    if not filesystems.is_reachable(warehouse):
        return False
    log = commits.open_log(spark, path(warehouse, table))
    if log is None:
        return False
    return commits.latest(spark, log) < 0 or commits.takes_files(spark, log, reading=reading)


def prepare(spark: SparkSession, table: Table, warehouse: str) -> str:
    """Create the table, without rows, if it is not there; give its :func:`folder`.

    Before anything is staged: Delta makes no table of a folder that holds something.
    """
    _create(spark, table, warehouse, table.schema)
    return folder(warehouse, table)


def folder(warehouse: str, table: Table) -> str:
    """The table's folder, as `filesystems` wants it: where files to adopt are staged."""
    if not filesystems.is_known(warehouse):
        return path(warehouse, table)
    return f"{filesystems.absolute(warehouse).rstrip('/')}/{table.name}"


def adopt(
    spark: SparkSession,
    files: Sequence[StagedFile],
    schema: StructType,
    table: Table,
    warehouse: str,
    *,
    where: Where | None = None,
    applications: Sequence[str] = (),
    at: int | None = None,
) -> Commit:
    """Make files staged in the folder that :func:`prepare` gave part of the table, in one commit.

    Args:
        schema: the files' columns.
        where: as in :func:`replace`: the rows that these take the place of. Where they share a
            file with others, Spark writes those others and the new rows anew.
        applications: see `commits.Transaction`.
        at: only if the table is at this version still.

    Raises:
        TableError: ``schema`` differs from the declaration, or from the stored columns' types.
        ConflictError: the table is not ``at`` its version; or other runs were faster again and
            again, or one of them with the same ``applications``.
        StorageError: the table's log cannot be written.
    """
    if told := table.differences(schema):
        raise TableError(f"table {table.name!r}: {'; '.join(told)}")
    schema = table.annotate(schema)

    def attempt() -> Commit:
        return _adopt(spark, files, schema, table, warehouse, where, applications, at)

    return attempt() if at is not None else conflicts.retried(attempt)


def _adopt(
    spark: SparkSession,
    files: Sequence[StagedFile],
    schema: StructType,
    table: Table,
    warehouse: str,
    where: Where | None,
    applications: Sequence[str],
    at: int | None,
) -> Commit:
    log = commits.open_log(spark, path(warehouse, table))
    begun = commits.Transaction(spark, log, applications, whole=where is not None)
    if at not in (None, begun.version):
        raise _overtaken(table)
    _same_types(table, begun.schema, schema)
    gone: list[Any] = []
    new = begun.version == 0 and commits.begins_empty(folder(warehouse, table))
    if where == ALL:
        gone = begun.every_file()
    elif where not in (None, NONE) and not new:
        found = _count(spark, begun, table, warehouse, where)
        if found:
            held = begun.whole_files(found)
            if held is None:
                return _rewrite(spark, files, schema, table, warehouse, where)
            gone = held
    if not files and not gone:
        return Commit(written_version(spark, table, warehouse), 0, 0, 0)
    lacking = {n.lower() for n in schema.names} - {n.lower() for n in begun.schema.names}
    added = [field for field in schema if field.name.lower() in lacking]
    number = begun.commit(files, added, gone)
    if (seen := _lineage.get()) is not None:
        seen.written[table.name] = number
    rows, size = sum(file.rows for file in files), sum(file.size for file in files)
    return Commit(number, rows, len(files), size)


def _count(
    spark: SparkSession, begun: commits.Transaction, table: Table, warehouse: str, where: Where
) -> dict[str, int]:
    """How many rows of each file belong to ``where``; files without such rows are left out."""
    files = begun.named_files()
    if files is not None and filesystems.is_known(warehouse):
        place = folder(warehouse, table)
        with ThreadPoolExecutor(8) as pool:
            counts = pool.map(lambda name: staging.count(f"{place}/{name}", where), files)
            return {name: n for name, n in zip(files, counts, strict=True) if n}
    uri = path(warehouse, table)
    stored = spark.read.format("delta").option("versionAsOf", begun.version).load(uri)
    counted = stored.where(where.sql).groupBy("_metadata.file_name").count().collect()
    return {row[0]: row[1] for row in counted}


def discard(
    files: Sequence[StagedFile], table: Table, warehouse: str, error: Exception | None = None
) -> None:
    """Remove staged files that were not adopted, because of ``error``; if that leaves open whether
    they were, they stay.
    """
    if isinstance(error, UnsettledError):
        return
    for file in files:
        filesystems.remove(f"{folder(warehouse, table)}/{file.name}")


def take_back(
    spark: SparkSession, table: Table, warehouse: str, where: Where, before: int | None
) -> None:
    """Make the rows that ``where`` selects what they were at version ``before`` (None: none).

    Not the whole table: others may have written since.
    """
    rows = read(spark, table, warehouse, before).where(where.sql)
    write(rows.limit(0) if before is None else rows, table, warehouse, where=where)


@conflicts.steady
def delta_table(spark: SparkSession, table: Table, warehouse: str) -> DeltaTable:
    """The table as Delta's own API has it."""
    return DeltaTable.forPath(spark, path(warehouse, table))


def written_version(spark: SparkSession, table: Table, warehouse: str) -> int:
    """The version that a write has just made; remembered as written."""
    latest = _find_version(spark, table, warehouse)
    assert latest is not None
    if (seen := _lineage.get()) is not None:
        seen.written[table.name] = latest
    return latest


def _create(spark: SparkSession, table: Table, warehouse: str, schema: StructType) -> None:
    """Create the table if it is not there, with ``schema`` (conformed: comments attached)."""
    if _exists(spark, table, warehouse):
        return
    schema = StructType([StructField(f.name, f.dataType, True, f.metadata) for f in schema.fields])
    builder = DeltaTable.createIfNotExists(spark).location(path(warehouse, table))
    builder = builder.addColumns(schema).comment(table.about)
    # Else what another run adds meanwhile contradicts no write that replaces rows: of two runs that
    # write the same row (a cohort's samples, say) each would add it.
    builder = builder.property("delta.isolationLevel", "Serializable")
    if table.cluster_by:
        builder = builder.clusterBy(*table.cluster_by)
    if table.statistics:
        builder = builder.property("delta.dataSkippingStatsColumns", ",".join(table.statistics))

    @conflicts.steady  # the builder makes a table that is not there: again does no harm
    def make() -> None:
        if _exists(spark, table, warehouse):  # by another run, meanwhile
            return
        try:
            with conflicts.explained(f"table {table.name!r}"):
                builder.execute()
        except AnalysisException as error:
            # Another run is about to write its first commit, or died before it did.
            half_made = any(code in str(error) for code in _HALF_MADE)
            if not half_made or not _is_bare(warehouse, table):
                raise
            raise _overtaken(table) from error

    try:
        conflicts.retried(make, _CREATING)
    except ConflictError:
        if not _is_bare(warehouse, table):
            raise
        filesystems.remove_folder(folder(warehouse, table))
        make()


def _is_bare(warehouse: str, table: Table) -> bool:
    """Whether the table's folder has no commit and no file of rows: a table half made."""
    if not filesystems.is_known(warehouse):
        return False
    names = [info.uri.rpartition("/")[2] for info in filesystems.walk(folder(warehouse, table))]
    return not any(n.endswith((".json", ".parquet")) and n[0] != "." for n in names)


def _rewrite(
    spark: SparkSession,
    files: Sequence[StagedFile],
    schema: StructType,
    table: Table,
    warehouse: str,
    where: Where,
) -> Commit:
    """Replace rows by those of staged files, which are read by Spark and then removed."""
    with set_for(spark, {"spark.databricks.delta.formatCheck.enabled": "false"}):
        uris = [f"{path(warehouse, table)}/{file.name}" for file in files]
        rows = spark.createDataFrame([], schema)
        rows = spark.read.schema(schema).parquet(*uris) if uris else rows
        before = version(spark, table, warehouse)
        commit = write(rows, table, warehouse, where=where)
    expected = sum(file.rows for file in files)
    if commit.rows is not None and commit.rows != expected:
        take_back(spark, table, warehouse, where, before)
        raise ReconciliationError(
            f"table {table.name!r}: {expected} rows to store, but {commit.rows} were; the earlier "
            "rows are back"
        )
    discard(files, table, warehouse)
    return commit


@contextmanager
def _plain_binaries(spark: SparkSession, schema: StructType) -> Iterator[None]:
    """Write binary columns without Parquet's dictionary and without least and greatest values.

    Packed genotypes gain nothing from them, and comparing and hashing values of kilobytes cost a
    sixth of a write. Keys of the session, because Delta hands no others to Parquet; taken back.
    """
    binaries = [f.name for f in schema.fields if isinstance(f.dataType, BinaryType)]
    kinds = ("parquet.enable.dictionary", "parquet.column.statistics.enabled")
    with set_for(spark, {f"{kind}#{name}": "false" for kind in kinds for name in binaries}):
        yield


def _same_types(table: Table, stored: StructType, new: StructType) -> None:
    """Raise TableError naming every column whose stored type is another than the new rows'."""
    types = {f.name.lower(): f for f in stored.fields}
    told = [
        f"{f.name}: stored as {types[f.name.lower()].dataType.simpleString()} "
        f"({types[f.name.lower()].name}), new rows have {f.dataType.simpleString()}"
        for f in new.fields
        if f.name.lower() in types
        and (types[f.name.lower()].dataType.simpleString(), types[f.name.lower()].name)
        != (f.dataType.simpleString(), f.name)
    ]
    if told:
        raise TableError(f"table {table.name!r}: {'; '.join(told)}")


def _marked(
    spark: SparkSession, table: Table, warehouse: str, mark: str, after: int
) -> Mapping[str, Any] | None:
    """What the log tells of the commit, later than version ``after``, that carries ``mark``."""
    info = commits.find(spark, path(warehouse, table), folder(warehouse, table), mark, after)
    if info is not None:
        return info

    @conflicts.steady
    def history() -> Sequence[Any]:
        told = delta_table(spark, table, warehouse).history(50)
        return told.where(told["userMetadata"] == mark).collect()

    rows = history()
    found: Mapping[str, Any] | None = rows[0].asDict() if rows else None
    return found


def _commit(spark: SparkSession, table: Table, warehouse: str, mark: str, after: int) -> Commit:
    """Find the commit, later than version ``after``, that carries ``mark``: others may have
    committed since.
    """
    info = _marked(spark, table, warehouse, mark, after)
    if info is None:  # nothing to add and nothing to remove: Delta makes no commit
        return Commit(written_version(spark, table, warehouse), 0, 0, 0)
    figures = dict(info["operationMetrics"] or {})
    number = int(info["version"])
    if (seen := _lineage.get()) is not None:
        seen.written[table.name] = number
    written = figures.get("numOutputRows")
    return Commit(
        number,
        None if written is None else int(written) - int(figures.get("numCopiedRows", 0)),
        int(figures.get("numFiles", 0)),
        int(figures.get("numOutputBytes", 0)),
    )
