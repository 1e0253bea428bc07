"""What taking files in is, whatever their format: by the ledger, in groups, failures told by file.

A file that is current is left alone. The others are taken in groups, each in one commit of its
table, then ``rejects`` (see `writing`), then the ledger ``ingests``. Whatever happens in between,
running again reaches the same tables, because only the last step makes a file count as taken in.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic, Protocol, TypeVar

from pyspark.sql import SparkSession

from geneai_spark import filesystems, progress, upkeep
from geneai_spark.errors import ConflictError, InputError, explain
from geneai_spark.filesystems import FileInfo
from geneai_spark.ingest import checks, ledger
from geneai_spark.ingest.ledger import Entry
from geneai_spark.ingest.options import FileOptions
from geneai_spark.ingest.writing import Loaded
from geneai_spark.table import Table

_log = logging.getLogger(__name__)
_SMALL_FILE = 32 << 20  # bytes
_MANY_SMALL_FILES = 64


class Taken(Protocol):
    """A file to take in, as far as the ledger is concerned."""

    @property
    def info(self) -> FileInfo:
        """The file as listed."""
        ...

    @property
    def id(self) -> str:
        """Its source id."""
        ...

    @property
    def cohort(self) -> str:
        """The cohort of its rows."""
        ...

    @property
    def build(self) -> str | None:
        """Its reference genome, where it has one."""
        ...


S = TypeVar("S", bound=Taken)


class Intake(ABC, Generic[S]):
    """One run over some files: what it knows and what it has done.

    Files that only make sense together (mates of pairs) are a *unit*; units that are read in one
    go and committed as one are a *group*.
    """

    kind: ClassVar[str]  # in the ledger; also what the metrics call the table's version
    table: ClassVar[Table]

    def __init__(self, spark: SparkSession, warehouse: str, options: FileOptions) -> None:
        self.spark, self.warehouse = spark, warehouse
        self.policy, self.fingerprint = options, options.fingerprint()
        self.known = ledger.load(spark, warehouse)
        self.failed: list[tuple[FileInfo, str]] = []
        self.overtaken: set[str] = set()  # of those, the ones that another run has taken in
        self.done: list[Entry] = []
        self.small_files = 0

    @abstractmethod
    def groups(self, files: Sequence[FileInfo]) -> Iterable[list[list[S]]]:
        """Look into files and put them into groups of units; :meth:`fail` those that are unfit."""

    @abstractmethod
    def load(self, group: Sequence[S]) -> Loaded:
        """Store the rows of some files in place of those that they had."""

    def loaded(self, group: Sequence[S], loaded: Loaded) -> None:
        """Write what else comes of files whose rows are stored, before the ledger."""

    def inputs(self, files: list[FileInfo]) -> list[FileInfo]:
        """Of what was listed, the files to take in; the others are parts of these."""
        return files

    def fingerprint_of(self, info: FileInfo) -> str:
        """A digest of what decides, beside the file's bytes, which rows it gives."""
        return self.fingerprint

    def together(self, files: Sequence[FileInfo], todo: Sequence[FileInfo]) -> Sequence[FileInfo]:
        """The files to read, of which ``todo`` have changed."""
        return todo

    def run(self, inputs: str | Sequence[str]) -> dict[str, int | float | str]:
        """Take in what is new or changed; counts of files and records."""
        files = self.inputs(filesystems.list_files(inputs))
        with ThreadPoolExecutor(8) as pool:
            current = list(pool.map(self._is_current, files))
            todo = [info for info, is_current in zip(files, current, strict=True) if not is_current]
            todo = list(self.together(files, todo))
            # From here on a file must stay as it is: its mark is taken before anything is read.
            todo = list(pool.map(lambda info: filesystems.stat(info.uri), todo))
        try:
            for group in self.groups(todo):
                self._take(group)
            self._compact()
        finally:
            self._record_failures()
        if self.failed:
            told = "; ".join(f"{info.uri}: {reason}" for info, reason in self.failed)
            raise InputError(f"{len(self.failed)} of {len(files)} files were not stored: {told}")
        metrics: dict[str, int | float | str] = {
            "files": len(files),
            "files_unchanged": len(files) - len(todo),
            "records_in": sum(e.recordsIn or 0 for e in self.done),
            "records_stored": sum(e.recordsStored for e in self.done),
            "records_rejected": sum(e.recordsRejected for e in self.done),
        }
        if self.done:
            metrics[f"{self.kind}_version"] = max(e.tableVersion or 0 for e in self.done)
        return metrics

    def _is_current(self, info: FileInfo) -> bool:
        entry = self.known.get(filesystems.source_id(info.uri))
        return not self.policy.force and ledger.is_current(entry, info, self.fingerprint_of(info))

    def grouped(self, units: Iterable[list[S]]) -> Iterable[list[list[S]]]:
        """Units in groups as large as the options allow."""
        limit = self.policy.group_gigabytes * (1 << 30)
        group: list[list[S]] = []
        files = size = 0
        for unit in units:
            more = sum(source.info.size for source in unit)
            if group and (files + len(unit) > self.policy.group_files or size + more > limit):
                yield group
                group, files, size = [], 0, 0
            group.append(unit)
            files, size = files + len(unit), size + more
        if group:
            yield group

    def _take(self, group: list[list[S]]) -> None:
        """Store a group; if that fails, each unit by itself, so that good ones are stored."""
        every = [source for unit in group for source in unit]
        name = every[0].info.uri.rpartition("/")[2] if len(every) == 1 else f"{len(every)} files"
        try:
            with progress.stage(f"ingest {name}", self.spark) as stage:
                entries = self._store(every)
                stored = sum(e.recordsStored for e in entries)
                rejected = sum(e.recordsRejected for e in entries)
                stage.result = f"{stored:,} records stored, {rejected:,} rejected"
        except Exception as error:
            if len(group) > 1:
                for unit in group:
                    self._take([unit])
            else:
                for source in every:
                    # What was read of a file that changed meanwhile may make any error.
                    fits = isinstance(error, ConflictError) or checks.is_same(source.info)
                    self.fail(source.info, error if fits else checks.changed(source.info))
        else:
            self.done += entries

    def _store(self, group: Sequence[S]) -> list[Entry]:
        with ThreadPoolExecutor(2) as pool:  # checksums are taken while Spark reads
            sums = {
                source.id: pool.submit(filesystems.checksum, source.info.uri)
                for source in group
                if self.policy.checksum
            }
            loaded = self.load(group)
            checksums = {i: future.result() for i, future in sums.items()}
        # A checksum of other bytes than those that are stored must not stand in the ledger.
        checksums = {s.id: checksums[s.id] for s in group
                     if s.id in checksums and checks.is_same(s.info)}  # fmt: skip
        self.loaded(group, loaded)
        stored, rejected = loaded.stored, loaded.rejected
        entries = [
            ledger.stored_entry(
                source.info,
                self.kind,
                cohort=source.cohort,
                checksum=checksums.get(source.id),
                recordsIn=stored.get(source.id, 0) + rejected.get(source.id, 0),
                recordsStored=stored.get(source.id, 0),
                recordsRejected=rejected.get(source.id, 0),
                options=self.fingerprint_of(source.info),
                genomeBuild=source.build,
                tableVersion=loaded.commit.version,
            )
            for source in group
        ]
        ledger.record(self.spark, self.warehouse, entries)
        self.known |= {entry.sourceId: entry for entry in entries}
        commit = loaded.commit
        if commit.files and commit.bytes / commit.files < _SMALL_FILE:
            self.small_files += commit.files
        return entries

    def _compact(self) -> None:
        policy, many = self.policy.optimize, self.small_files > _MANY_SMALL_FILES
        if policy == "never" or not self.done or (policy == "auto" and not many):
            return
        with progress.stage("merge small files", self.spark) as stage:
            done = upkeep.optimize(self.spark, self.table, self.warehouse)
            stage.result = f"{done['files_before']} -> {done['files_after']}"

    def fail(self, info: FileInfo, error: Exception) -> None:
        """Note that a file was not stored; its earlier rows, if any, stay as they are."""
        ours = explain(error)
        reason = str(ours) if ours else f"{type(error).__name__} (see the log)"
        if ours is None:
            _log.error("%s: not stored", info.uri, exc_info=error)
        self.failed.append((info, reason.removeprefix(f"{info.uri}: ")))
        if isinstance(error, ConflictError):  # it tells nothing of the file
            self.overtaken.add(info.uri)
        if self.policy.on_error == "stop":
            raise InputError(f"{info.uri}: not stored: {reason}") from error

    def _record_failures(self) -> None:
        entries = []
        for info, reason in self.failed:
            if info.uri in self.overtaken:
                continue
            before = self.known.get(filesystems.source_id(info.uri))
            options = self.fingerprint_of(info)
            told = (info.size, info.modified, reason, options)
            if before and told == (before.size, before.modified, before.reason, before.options):
                continue  # told already
            entries.append(ledger.failed_entry(info, self.kind, reason, options, before))
        try:
            ledger.record(self.spark, self.warehouse, entries)
        except Exception as error:  # the disk is full, say: why files failed is more to the point
            _log.warning(
                "the ledger could not be written: %s", explain(error) or type(error).__name__
            )
