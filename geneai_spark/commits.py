"""Staged files into a Delta table in one commit, through the table's own log in the JVM.

The log is Delta's, with its protocol, its LogStore and its check for conflicts; only the writing
of Parquet is done elsewhere (`staging`). Where the platform hides the class (Databricks), or the
table has a feature that lays demands on each file, :func:`open_log` and :func:`takes_files` say so
and the caller writes through a DataFrame.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from pyspark.sql.types import StructField, StructType

from geneai_spark import conflicts, filesystems
from geneai_spark.errors import ConflictError, StorageError, UnsettledError
from geneai_spark.jvm import elements, java, none, scala
from geneai_spark.staging import StagedFile

#: Features of a table under which a file needs no more than its rows.
PLAIN_FEATURES = frozenset(
    ["appendOnly", "invariants", "clustering", "domainMetadata", "timestampNtz", "checkConstraints",
     "v2Checkpoint", "vacuumProtocolCheck", "inCommitTimestamp", "deletionVectors"]
)  # fmt: skip
#: Operations that change no row.
MAINTENANCE = frozenset(
    ["OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES"]
)
MOST_LISTED = 1000  # files that are listed one by one
#: Settings of a table under which a file needs more than its rows.
DEMANDING = ("delta.columnMapping.mode", "delta.enableRowTracking", "delta.constraints.")


@conflicts.steady
def open_log(spark: SparkSession, uri: str) -> Any | None:
    """The log of the table at ``uri``, which need not exist; None where the platform hides it."""
    if getattr(spark, "_jvm", None) is None:  # Spark Connect has none
        return None
    try:
        logs = java(spark, "org.apache.spark.sql.delta.DeltaLog")
        return logs.forTable(spark._jsparkSession, uri)
    except (TypeError, Py4JError) as error:
        if conflicts.is_cut(error):
            raise
        return None


def latest(spark: SparkSession, log: Any) -> int:
    """The table's version as storage has it now, -1 where there is no table; no Spark job."""
    return int(_snapshot(spark, log).version())


def takes_files(spark: SparkSession, log: Any, *, reading: bool = False) -> bool:
    """Whether the table can be given files as `staging` writes them, or, for reading, whether its
    files hold its rows and nothing else.
    """
    snapshot = _snapshot(spark, log)
    settings = json.loads(snapshot.metadata().json())["metaData"]["configuration"]
    if any(key.startswith(DEMANDING) and value != "none" for key, value in settings.items()):
        return False
    features = json.loads(snapshot.protocol().json())["protocol"].get("writerFeatures", [])
    return set(features) <= PLAIN_FEATURES - ({"deletionVectors"} if reading else set())


@conflicts.steady
def listing(spark: SparkSession, log: Any, uri: str, folder: str) -> tuple[int, list[str]] | None:
    """The table's latest version and its files, without a Spark job; None where that cannot be.

    Args:
        log: from :func:`open_log`.
        uri: the table's folder as Spark wants it.
        folder: the same as `filesystems` wants it.
    """
    snapshot = _snapshot(spark, log)
    version = int(snapshot.version())
    if version < 0:
        return None
    if (found := _listed(spark, snapshot)) is not None:
        paths = [unquote(str(file.path())) for file in found]
        if not any(path.startswith("/") or ":" in path for path in paths):  # a clone's
            return version, [f"{folder}/{path}" for path in paths]
    held = _numbered(snapshot)
    return None if held > MOST_LISTED else _scanned(spark, uri, version)


def _numbered(snapshot: Any) -> int:
    """How many files there are, as the checksum of the version tells; else very many."""
    checksum = snapshot.checksumOpt()
    return int(checksum.get().numFiles()) if checksum.isDefined() else sys.maxsize


def _scanned(spark: SparkSession, uri: str, version: int) -> tuple[int, list[str]] | None:
    """Delta's Kernel reads the log: in this thread, in a twentieth of the time of a Spark job."""
    try:
        conf = spark._jsparkSession.sessionState().newHadoopConf()
        engine = java(spark, "io.delta.kernel.defaults.engine.DefaultEngine").create(conf)
        table = java(spark, "io.delta.kernel.Table").forPath(engine, uri)
        snapshot = table.getSnapshotAsOfVersion(engine, version)
        batches = snapshot.getScanBuilder().build().getScanFiles(engine)
        status = java(spark, "io.delta.kernel.internal.InternalScanFileUtils").getAddFileStatus
        found = []
        try:
            while batches.hasNext():
                rows = batches.next().getRows()
                while rows.hasNext():
                    found.append(str(status(rows.next()).getPath()))
        finally:
            batches.close()
    except (TypeError, Py4JError):  # not there, or not up to a feature of the table
        return None
    return version, found


class Transaction:
    """A commit begun: what others commit from here on must not contradict it.

    Args:
        applications: names of what is to be added (a file taken in, say). Of two transactions at
            the same time that share a name, the later to commit fails.
        whole: what is to be added depends on what the table holds: of two such transactions at the
            same time the later to commit fails.

    Attributes:
        version: the table's version that it saw.
        schema: its columns then.
    """

    def __init__(
        self,
        spark: SparkSession,
        log: Any,
        applications: Sequence[str] = (),
        *,
        whole: bool = False,
    ) -> None:
        self._spark, self._applications = spark, applications
        self._uri = str(log.dataPath())
        self._transaction = conflicts.steady(log.startTransaction)()
        if whole:
            self._transaction.readWholeTable()
        for name in applications:  # as txnVersion() does, which reads the whole log besides
            self._transaction.readTxn().addOne(name)
        self.version = int(self._transaction.readVersion())
        self.schema = _schema(self._transaction.metadata())

    def named_files(self) -> dict[str, Any] | None:
        """The table's files by name, where Python can tell which rows they hold: some fifty at
        most, all in the table's folder, no row deleted inside; else None.
        """
        found = _listed(self._spark, self._transaction.snapshot())
        if found is None or any(file.deletionVector() is not None for file in found):
            return None
        files = {unquote(str(file.path())): file for file in found}
        return None if any("/" in name for name in files) else files

    def whole_files(self, rows: Mapping[str, int]) -> list[Any] | None:
        """The table's files with these numbers of rows, by name, for :meth:`commit` to remove.

        None where one of them has other rows beside these, or does not tell how many it has.
        """
        found = []
        for file in self.every_file():
            name = unquote(str(file.path())).rpartition("/")[2]
            if name in rows:
                held = file.numLogicalRecords()
                if not held.isDefined() or int(held.get()) != rows[name]:
                    return None
                found.append(file)
        return found if len(found) == len(rows) else None

    def every_file(self) -> list[Any]:
        """The table's files, for :meth:`commit` to remove."""
        if (found := _listed(self._spark, self._transaction.snapshot())) is not None:
            return found
        nothing = scala(self._spark, java(self._spark, "java.util.ArrayList")()).toSeq()
        return list(elements(self._spark, self._transaction.filterFiles(nothing, True)))

    def commit(
        self,
        files: Sequence[StagedFile],
        columns: Sequence[StructField] = (),
        gone: Sequence[Any] = (),
    ) -> int:
        """Commit staged files; the table's new version.

        Args:
            columns: what the files have and the table has not had so far.
            gone: files of the table to remove.

        Raises:
            ConflictError: another run has changed what this one saw meanwhile.
            OvertakenError: it has committed one of the applications.
            StorageError: the log cannot be written. In each case nothing was changed.
        """
        from_json = java(self._spark, "org.apache.spark.sql.delta.actions.Action").fromJson
        actions = java(self._spark, "java.util.ArrayList")()
        for action in _actions(files, self._applications):
            actions.add(from_json(json.dumps(action)))
        for file in gone:
            actions.add(file.remove())
        if columns:
            widened = _widened(self._transaction.metadata(), columns)
            self._transaction.updateMetadata(from_json(widened), False)
        _count(self._spark, self._transaction, files)
        whole = scala(self._spark, actions).toSeq()
        # Delta's "rename, unless it is there" is two steps on local files, guarded in one JVM only.
        try:
            with conflicts.explained(self._uri), filesystems.alone(f"{self._uri}/_delta_log"):
                return int(self._transaction.commit(whole, _write(self._spark, gone)))
        except ConflictError as error:  # Delta tells the first reason it finds
            if self._are_noted():
                raise conflicts.overtaken(self._uri) from error
            raise
        except Exception:  # it may have met it after its commit was written
            if (landed := self._landed()) is not None:
                return landed
            raise

    def _landed(self) -> int | None:
        """The version that this transaction's commit is, after an error; None if there is none.

        Raises:
            UnsettledError: the log cannot be looked at.
        """
        mine = str(self._transaction.txnId())
        log = f"{self._uri}/_delta_log"
        try:
            there = {info.uri.rpartition("/")[2] for info in filesystems.walk(log)}
        except StorageError as error:
            raise UnsettledError(f"{self._uri}: whether it is stored is not known") from error
        number = self.version + 1
        while f"{number:020}.json" in there:
            lines = _lines(self._uri, number)
            if lines is None:
                raise UnsettledError(f"{self._uri}: whether it is stored is not known")
            if any(b'{"commitInfo"' in line and mine.encode() in line for line in lines):
                return number
            number += 1
        return None

    def _are_noted(self) -> bool:
        """Whether another run has committed one of the applications since this one began."""
        if not self._applications:
            return False
        mine, number = set(self._applications), self.version
        while (lines := _lines(self._uri, number := number + 1)) is not None:
            actions = (json.loads(line) for line in lines if line.startswith(b'{"txn"'))
            if any(action["txn"]["appId"] in mine for action in actions):
                return True
        return number == self.version + 1  # where nothing is to be seen, it may be


def _listed(spark: SparkSession, snapshot: Any) -> list[Any] | None:
    """The files of a version as Delta noted them beside its commit, which it does of tables with
    some fifty files at most; else a Spark job reads the log (a second of processor time).
    """
    try:
        checksum = snapshot.checksumOpt()
        listed = checksum.get().allFiles() if checksum.isDefined() else checksum
    except Py4JError:  # another version of Delta
        return None
    return list(elements(spark, listed.get())) if listed.isDefined() else None


def _actions(files: Sequence[StagedFile], applications: Sequence[str]) -> list[dict[str, Any]]:
    now = int(time.time() * 1000)
    added = [
        {
            "path": file.name,
            "partitionValues": {},
            "size": file.size,
            "modificationTime": now,
            "dataChange": True,
            "stats": file.statistics,
        }
        for file in files
    ]
    noted = [{"appId": name, "version": now, "lastUpdated": now} for name in applications]
    return [*({"add": one} for one in added), *({"txn": one} for one in noted)]


def find(
    spark: SparkSession, uri: str, folder: str, mark: str, after: int
) -> dict[str, Any] | None:
    """The commit later than version ``after`` whose user metadata is ``mark``, without a Spark
    job: its ``version`` and ``operationMetrics``. None where it is not found in this way.
    """
    log = open_log(spark, uri)
    if log is None or not filesystems.is_known(folder):
        return None
    for version in range(latest(spark, log), after, -1):
        lines = _lines(folder, version)
        if lines is None:
            return None
        for line in lines:
            if line.startswith(b'{"commitInfo"'):
                info: dict[str, Any] = json.loads(line)["commitInfo"]
                if info.get("userMetadata") == mark:
                    return {"operationMetrics": {}, **info, "version": version}
    return None


def operation(folder: str, version: int) -> str | None:
    """What a commit did, as Delta calls it (WRITE, OPTIMIZE, …); None where it does not tell."""
    for line in _lines(folder, version) or ():
        if line.startswith(b'{"commitInfo"'):
            found = json.loads(line)["commitInfo"].get("operation")
            return None if found is None else str(found)
    return None


def added(folder: str, version: int) -> list[str] | None:
    """The files of new rows that a commit added, by name; none if it changed no row, None if it
    took rows away, too, or cannot be read.
    """
    lines = _lines(folder, version)
    if lines is None:
        return None
    names = []
    for line in lines:
        action = json.loads(line)
        changes = action.get("add") or action.get("remove") or {}
        if not changes.get("dataChange", False):
            continue
        name = unquote(changes["path"])
        if "remove" in action or "/" in name or changes.get("deletionVector") is not None:
            return None
        names.append(name)
    return names


def begins_empty(folder: str) -> bool:
    """Whether the table's first commit is known to add no file: a clone's does."""
    lines = _lines(folder, 0)
    return lines is not None and not any(line.startswith(b'{"add"') for line in lines)


def _lines(folder: str, version: int) -> list[bytes] | None:
    """The actions of a commit; None where it is not to be found (cleaned up, kept elsewhere)."""
    try:
        file = filesystems.open_input(f"{folder}/_delta_log/{version:020}.json")
    except StorageError:
        return None
    try:
        return file.read_at(file.size(), 0).splitlines()
    finally:
        file.close()


@conflicts.steady
def _snapshot(spark: SparkSession, log: Any) -> Any:
    nothing = none(spark)
    return log.update(False, nothing, nothing)


def _widened(metadata: Any, columns: Sequence[StructField]) -> str:
    """The table's metadata with further columns, as an action of the log."""
    action, schema = json.loads(metadata.json()), _schema(metadata)
    new = [StructField(f.name, f.dataType, True, f.metadata) for f in columns]
    action["metaData"]["schemaString"] = StructType([*schema.fields, *new]).json()
    return json.dumps(action)


def _schema(metadata: Any) -> StructType:
    action = json.loads(metadata.json())
    return StructType.fromJson(json.loads(action["metaData"]["schemaString"]))


def _write(spark: SparkSession, gone: Sequence[Any]) -> Any:
    """Delta's name for what is done, as the history shows it: WRITE, and its mode."""
    kind = java(spark, "org.apache.spark.sql.delta.DeltaOperations$Write")
    modes, nothing = java(spark, "org.apache.spark.sql.SaveMode"), none(spark)
    return kind(modes.Overwrite if gone else modes.Append, *[nothing] * 8)


def _count(spark: SparkSession, transaction: Any, files: Sequence[StagedFile]) -> None:
    """Figures for the table's history."""
    context = spark._jsparkSession.sparkContext()
    make = java(spark, "org.apache.spark.sql.execution.metric.SQLMetrics").createMetric
    figures = java(spark, "java.util.HashMap")()
    for name, value in (
        ("numFiles", len(files)),
        ("numOutputRows", sum(file.rows for file in files)),
        ("numOutputBytes", sum(file.size for file in files)),
    ):
        metric = make(context, name)
        metric.set(value)
        figures.put(name, metric)
    metrics = getattr(java(spark, "scala.collection.immutable.Map"), "from")(scala(spark, figures))
    transaction.registerSQLMetrics(spark._jsparkSession, metrics)
