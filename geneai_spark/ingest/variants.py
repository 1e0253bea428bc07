"""Files into tables, so that nothing is lost, nothing is taken twice, and a crash does no harm.

For each group of files: one commit of their rows to ``variants`` (in place of what the same files
had there), then ``rejects`` (see `loading`), then ``samples``, then the ledger ``ingests``.
Whatever happens in between, running again reaches the same tables, because only the last step
makes a file count as taken in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import filesystems, progress, store, tables
from geneai_spark.errors import InputError, SampleMismatchError, explain
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import vcf
from geneai_spark.ingest import checks, ledger, loading
from geneai_spark.ingest.ledger import Entry
from geneai_spark.ingest.options import Source, VariantOptions, cohort_names
from geneai_spark.table import Where

_log = logging.getLogger(__name__)
_KIND = "variants"
_SMALL_FILE = 32 << 20  # bytes
_MANY_SMALL_FILES = 64


def ingest_variants(
    spark: SparkSession, warehouse: str, inputs: str | Sequence[str], **options: Any
) -> dict[str, int | float | str]:
    """Take VCF files into ``variants``, ``samples``, ``rejects`` and ``ingests``.

    Args:
        inputs: files, folders and globs.
        options: see :class:`VariantOptions`.

    Returns:
        files, files_unchanged, records_in, records_stored, records_rejected, and the version of
        ``variants`` where it was written.

    Raises:
        StorageError: an input matches nothing.
        InputError: files that were not stored, each with its reason; the others are stored.
    """
    return _Ingestion(spark, warehouse, VariantOptions(**options)).run(inputs)


class _Ingestion:
    """One call of :func:`ingest_variants`: what it knows and what it has done."""

    def __init__(self, spark: SparkSession, warehouse: str, options: VariantOptions) -> None:
        self.spark, self.warehouse, self.options = spark, warehouse, options
        self.wanted, self.fingerprint = options.samples(), options.fingerprint()
        self.known = ledger.load(spark, warehouse)
        self.orders: dict[str, tuple[str, ...]] = {}  # cohort -> sample ids in stored order
        self.failed: list[tuple[FileInfo, str]] = []
        self.done: list[Entry] = []
        self.small_files = 0

    def run(self, inputs: str | Sequence[str]) -> dict[str, int | float | str]:
        files = filesystems.list_files(inputs)
        with ThreadPoolExecutor(8) as pool:
            current = list(pool.map(self._is_current, files))
        todo = [info for info, is_current in zip(files, current, strict=True) if not is_current]
        try:
            for group in self._groups(self._inspect(todo)):
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
            metrics["variants_version"] = max(e.tableVersion or 0 for e in self.done)
        return metrics

    def _is_current(self, info: FileInfo) -> bool:
        entry = self.known.get(filesystems.source_id(info.uri))
        return not self.options.force and ledger.is_current(entry, info, self.fingerprint)

    # --- before reading -----------------------------------------------------------------

    def _inspect(self, files: Sequence[FileInfo]) -> list[Source]:
        """Read the headers; files that cannot be taken in are put down as failed."""

        def header(info: FileInfo) -> Any:
            try:
                (found,) = vcf.inspect([info.uri])
                return found.header
            except Exception as error:
                return error

        with ThreadPoolExecutor(8) as pool:
            headers = list(pool.map(header, files))
        names = cohort_names(files, self.known) if self.options.per_file_cohort else {}
        sources = []
        for info, found in zip(files, headers, strict=True):
            if isinstance(found, Exception):
                self._fail(info, found)
                continue
            samples = found.samples if self.options.genotypes else ()
            cohort = names.get(info.uri, self.options.cohort)
            source = Source(info, samples, self.options.contigs or found.build, cohort)
            try:
                self._check_cohort(source)
            except InputError as error:
                self._fail(info, error)
            else:
                sources.append(source)
        return sources

    def _check_cohort(self, source: Source) -> None:
        before = self.known.get(source.id)
        if before and before.stored and before.cohort != source.cohort and not self.options.force:
            raise InputError(
                f"its rows are in cohort {before.cohort!r}; force=true moves them to "
                f"{source.cohort!r}"
            )
        if not source.samples:  # fits every cohort: no genotype can be put in a wrong place
            return
        if source.cohort not in self.orders and (stored := self._stored_order(source)):
            self.orders[source.cohort] = stored
        mine = tuple(self.wanted) if self.wanted is not None else source.samples
        order = self.orders.setdefault(source.cohort, mine)
        if set(mine) != set(order) or (self.wanted is not None and mine != order):
            raise SampleMismatchError(checks.sample_difference(mine, order, source.cohort))

    def _stored_order(self, source: Source) -> tuple[str, ...]:
        """The cohort's samples, if a file other than this one has rows in the cohort."""
        others = any(
            entry.cohort == source.cohort and entry.kind == _KIND and entry.recordsStored
            for entry in self.known.values()
            if entry.sourceId != source.id
        )
        return self._read_order(source.cohort) if others else ()

    def _read_order(self, cohort: str) -> tuple[str, ...]:
        samples = store.read_or_empty(self.spark, tables.SAMPLES, self.warehouse)
        rows = samples.where(F.col("cohort") == cohort).orderBy("sampleIndex").collect()
        return tuple(row["sampleId"] for row in rows)

    def _reorders(self, source: Source) -> bool:
        order = self.orders.get(source.cohort, ())
        return bool(source.samples) and (self.wanted is not None or source.samples != order)

    def _groups(self, sources: Sequence[Source]) -> Iterator[list[Source]]:
        """Files that are read in one go and committed as one."""

        def alike(source: Source) -> tuple[bool, bool]:
            return bool(source.samples), self._reorders(source)

        limit = self.options.group_gigabytes * (1 << 30)
        for _, members in groupby(sorted(sources, key=alike), key=alike):
            group: list[Source] = []
            for source in members:
                size = sum(s.info.size for s in group) + source.info.size
                if group and (len(group) >= self.options.group_files or size > limit):
                    yield group
                    group = []
                group.append(source)
            yield group

    # --- reading and storing ------------------------------------------------------------

    def _take(self, group: list[Source]) -> None:
        """Store a group; if that fails, each file by itself, so that good ones are stored."""
        name = group[0].info.uri.rpartition("/")[2] if len(group) == 1 else f"{len(group)} files"
        try:
            with progress.stage(f"ingest {name}", self.spark) as stage:
                entries = self._store(group)
                stored = sum(e.recordsStored for e in entries)
                rejected = sum(e.recordsRejected for e in entries)
                stage.result = f"{stored:,} records stored, {rejected:,} rejected"
        except Exception as error:
            if len(group) > 1:
                for source in group:
                    self._take([source])
            else:
                self._fail(group[0].info, error)
        else:
            self.done += entries

    def _store(self, group: list[Source]) -> list[Entry]:
        with ThreadPoolExecutor(2) as pool:  # checksums are taken while Spark reads
            sums = {
                source.id: pool.submit(filesystems.checksum, source.info.uri)
                for source in group
                if self.options.checksum
            }
            loaded = loading.load(self.spark, self.warehouse, self._request(group))
            checksums = {i: future.result() for i, future in sums.items()}
        self._samples(group)
        stored, rejected = loaded.stored, loaded.rejected
        entries = [
            ledger.stored_entry(
                source.info,
                _KIND,
                cohort=source.cohort,
                checksum=checksums.get(source.id),
                recordsIn=stored.get(source.id, 0) + rejected.get(source.id, 0),
                recordsStored=stored.get(source.id, 0),
                recordsRejected=rejected.get(source.id, 0),
                options=self.fingerprint,
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

    def _request(self, group: list[Source]) -> loading.Request:
        options = self.options
        given = {
            "cohort": options.cohort,
            "genotypes": options.genotypes,
            "info": options.info,
            "format": options.format,
            "samples": self.orders.get(group[0].cohort) if self._reorders(group[0]) else None,
            "regions": options.regions,
            "on_malformed": options.on_malformed,
            "per_file_cohort": options.per_file_cohort,
            "contigs": options.contigs,
            "split_info": options.split_info,
        }
        own = {source.id: source.cohort for source in group} if options.per_file_cohort else {}
        return loading.Request(group, given, own)

    def _samples(self, group: list[Source]) -> None:
        """Write the sample order of cohorts that are new, or whose only file has changed."""
        changed = {
            source.cohort: source.id
            for source in reversed(group)
            if source.cohort in self.orders
            and self.orders[source.cohort] != self._read_order(source.cohort)
        }
        rows = [
            {"cohort": cohort, "sampleIndex": index, "sampleId": sample, "sourceId": first}
            for cohort, first in changed.items()
            for index, sample in enumerate(self.orders[cohort])
        ]
        if rows:
            where = Where.of(cohort=changed)
            store.put(self.spark, rows, tables.SAMPLES, self.warehouse, where)

    # --- afterwards ---------------------------------------------------------------------

    def _compact(self) -> None:
        policy, many = self.options.optimize, self.small_files > _MANY_SMALL_FILES
        if policy == "never" or not self.done or (policy == "auto" and not many):
            return
        with progress.stage("merge small files", self.spark) as stage:
            done = store.optimize(self.spark, tables.VARIANTS, self.warehouse)
            stage.result = f"{done['files_before']} -> {done['files_after']}"

    def _fail(self, info: FileInfo, error: Exception) -> None:
        """Note that a file was not stored; its earlier rows, if any, stay as they are."""
        ours = explain(error)
        reason = str(ours) if ours else f"{type(error).__name__} (see the log)"
        if ours is None:
            _log.error("%s: not stored", info.uri, exc_info=error)
        self.failed.append((info, reason.removeprefix(f"{info.uri}: ")))
        if self.options.on_error == "stop":
            raise InputError(f"{info.uri}: not stored: {reason}") from error

    def _record_failures(self) -> None:
        entries = []
        for info, reason in self.failed:
            before = self.known.get(filesystems.source_id(info.uri))
            told = (info.size, info.modified, reason, self.fingerprint)
            if before and told == (before.size, before.modified, before.reason, before.options):
                continue  # told already
            entries.append(ledger.failed_entry(info, _KIND, reason, self.fingerprint, before))
        ledger.record(self.spark, self.warehouse, entries)
