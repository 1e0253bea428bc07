"""The table ``ingests``: which files are in, as what, and whether they must be read again.

A file is current when its row says ``stored``, its options are the same, and it is the same
file: same size and, where the modification time or etag differs, the same sha256. The ledger is
written last, so that whatever an interrupted run left behind is done again.
"""

# ruff: noqa: N815 - an entry has the names of the table's columns

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark import filesystems, store, tables
from geneai_spark.filesystems import FileInfo
from geneai_spark.stored import latest_or_empty
from geneai_spark.table import Where


@dataclass(frozen=True)
class Entry:
    """A row of the ledger; see :data:`geneai_spark.tables.INGESTS`."""

    sourceId: str
    uri: str
    kind: str
    cohort: str | None
    size: int
    modified: float | None
    etag: str | None
    checksum: str | None
    status: str
    reason: str | None
    recordsIn: int | None
    recordsStored: int
    recordsRejected: int
    options: str
    genomeBuild: str | None
    softwareVersion: str
    tableVersion: int | None
    finishedAt: datetime.datetime

    @property
    def stored(self) -> bool:
        """Whether the file's rows are in the table, as the row says."""
        return self.status == "stored"


def load(spark: SparkSession, warehouse: str) -> dict[str, Entry]:
    """Every row of the ledger by source id; empty where there is no ledger yet."""
    rows = latest_or_empty(spark, tables.INGESTS, warehouse).collect()
    return {row["sourceId"]: Entry(**row.asDict()) for row in rows}


def fingerprint(options: Mapping[str, Any]) -> str:
    """A short digest of options: another one means that the file is to be read again."""
    text = json.dumps(options, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_current(entry: Entry | None, info: FileInfo, options: str) -> bool:
    """Whether the file was stored as it is now, with the same options.

    Reads the file's bytes (for the sha256) only where the size is the same and the modification
    time or etag is not.
    """
    if entry is None or not entry.stored:
        return False
    if entry.options != options or entry.size != info.size:
        return False
    marked = entry.etag if None not in (entry.etag, info.etag) else info.etag  # a listing has none
    if (entry.modified, marked) == (info.modified, info.etag):
        return True
    return entry.checksum is not None and entry.checksum == filesystems.checksum(info.uri)


def stored_entry(info: FileInfo, kind: str, **rest: Any) -> Entry:
    """The row of a file whose records are in."""
    return _entry(info, kind, status="stored", reason=None, **rest)


def failed_entry(
    info: FileInfo, kind: str, reason: str, options: str, before: Entry | None
) -> Entry:
    """The row of a file that was not stored; rows of an earlier state of it stay and count."""
    return _entry(
        info,
        kind,
        status="failed",
        reason=reason,
        options=options,
        checksum=None,
        cohort=before.cohort if before else None,
        recordsIn=before.recordsIn if before else None,
        recordsStored=before.recordsStored if before else 0,
        recordsRejected=before.recordsRejected if before else 0,
        genomeBuild=before.genomeBuild if before else None,
        tableVersion=before.tableVersion if before else None,
    )


def _entry(info: FileInfo, kind: str, **rest: Any) -> Entry:
    return Entry(
        sourceId=filesystems.source_id(info.uri),
        uri=info.uri,
        kind=kind,
        size=info.size,
        modified=info.modified,
        etag=info.etag,
        softwareVersion=geneai_spark.__version__,
        finishedAt=datetime.datetime.now(datetime.UTC),
        **rest,
    )


def record(spark: SparkSession, warehouse: str, entries: Iterable[Entry]) -> None:
    """Write rows, in one commit, in place of those of the same files."""
    rows = [vars(entry) for entry in entries]
    if rows:
        where = Where.of(sourceId=(row["sourceId"] for row in rows))
        store.put(spark, rows, tables.INGESTS, warehouse, where)
