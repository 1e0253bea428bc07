"""Files into tables, so that nothing is lost, nothing is taken twice, and a crash does no harm.

For each group of files: one commit of their rows to ``variants`` (in place of what the same files
had there), then ``rejects`` (see `loading`), then ``samples`` and ``vcf_headers``, then the ledger
``ingests`` (see `intake`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import conflicts, filesystems, store, tables
from geneai_spark.errors import ConflictError, InputError, SampleMismatchError, StorageError
from geneai_spark.filesystems import FileInfo
from geneai_spark.ingest import checks, kinds, ledger, loading
from geneai_spark.ingest.intake import Intake
from geneai_spark.ingest.options import Source, VariantOptions, cohort_names
from geneai_spark.ingest.writing import Loaded
from geneai_spark.stored import latest
from geneai_spark.table import Where

_KIND = "variants"


def ingest_variants(
    spark: SparkSession, warehouse: str, inputs: str | Sequence[str], **options: Any
) -> dict[str, int | float | str]:
    """Take VCF, PLINK and BGEN files into ``variants``, ``samples``, ``rejects``, ``ingests``.

    Args:
        inputs: files, folders and globs. ``.bed`` is PLINK 1, its ``.bim`` and ``.fam`` are found
            beside it; ``.bgen`` is BGEN; all else is VCF.
        options: see :class:`VariantOptions`.

    Returns:
        files, files_unchanged, records_in, records_stored, records_rejected, and the version of
        ``variants`` where it was written.

    Raises:
        StorageError: an input matches nothing.
        InputError: files that were not stored, each with its reason; the others are stored.
    """
    return _Ingestion(spark, warehouse, VariantOptions(**options)).run(inputs)


class _Ingestion(Intake[Source]):
    """One call of :func:`ingest_variants`."""

    kind, table = _KIND, tables.VARIANTS

    def __init__(self, spark: SparkSession, warehouse: str, options: VariantOptions) -> None:
        super().__init__(spark, warehouse, options)
        self.options, self.wanted = options, options.samples()
        self.orders: dict[str, tuple[str, ...]] = {}  # cohort -> sample ids in stored order
        self.beside: dict[str, tuple[FileInfo, ...]] = {}  # URI -> companions, when first seen
        self.before: dict[str, tuple[str, ...]] = {}  # those that were stored, if any
        self.mine: set[str] = set()  # source ids of the files to take in
        self.rejects: int | None = None  # version of `rejects` before the present group

    # --- before reading -----------------------------------------------------------------

    def inputs(self, files: list[FileInfo]) -> list[FileInfo]:
        """Leave out companions of files that are listed, too: a folder holds them all."""
        told = {one for info in files for one in kinds.of(info.uri).companions(info.uri)}
        told |= {f"{info.uri}.bgi" for info in files}
        return [info for info in files if info.uri not in told]

    def _companions(self, info: FileInfo) -> tuple[FileInfo, ...]:
        """The companions that there are, as they were when first looked at."""
        if info.uri not in self.beside:
            found = []
            for uri in kinds.of(info.uri).companions(info.uri):
                with suppress(StorageError):  # one that must be there is missed on inspection
                    found.append(filesystems.stat(uri))
            self.beside[info.uri] = tuple(found)
        return self.beside[info.uri]

    def fingerprint_of(self, info: FileInfo) -> str:
        """The options that count for the file's kind, and the state of its companions."""
        kind, beside = kinds.of(info.uri), self._companions(info)
        if kind is kinds.VCF:
            return self.fingerprint
        own = {name: getattr(self.options, name) for name in kind.settings}
        return ledger.fingerprint({"common": self.fingerprint, **own, "beside": beside})

    def _inspect(self, files: Sequence[FileInfo]) -> list[Source]:
        """Read the headers; files that cannot be taken in are put down as failed."""
        kept: dict[tuple[str, ...], tuple[str, ...]] = {}  # many files have the same header

        def header(info: FileInfo) -> Any:
            self._companions(info)  # before anything is read of them
            try:
                found = kinds.of(info.uri).inspect(info.uri, self.options)
                return found, kept.setdefault(found.lines, found.lines)
            except Exception as error:
                return error

        with ThreadPoolExecutor(8) as pool:
            headers = list(pool.map(header, files))
        names = cohort_names(files, self.known) if self.options.per_file_cohort else {}
        sources = []
        for info, told in zip(files, headers, strict=True):
            if isinstance(told, Exception):
                self.fail(info, told)
                continue
            found, lines = told
            samples = found.samples if self.options.genotypes else ()
            cohort = names.get(info.uri, self.options.cohort)
            build = self.options.contigs or found.build
            head = None if kinds.of(info.uri) is kinds.VCF else found  # VCF reads its header again
            beside = self._companions(info)
            source = Source(info, samples, build, cohort, head, beside, lines)
            self.mine.add(source.id)
            try:
                self._check_cohort(source)
            except InputError as error:
                self.fail(info, error)
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
        if source.cohort not in self.orders:
            self.before[source.cohort], _ = self._read_order(source.cohort)
            if self.before[source.cohort] and self._in_use(source):
                self.orders[source.cohort] = self.before[source.cohort]
        mine = tuple(self.wanted) if self.wanted is not None else source.samples
        order = self.orders.setdefault(source.cohort, mine)
        if set(mine) != set(order) or (self.wanted is not None and mine != order):
            raise SampleMismatchError(checks.sample_difference(mine, order, source.cohort))

    def _in_use(self, source: Source) -> bool:
        """Whether a file other than this one has rows in its cohort."""
        return any(
            entry.cohort == source.cohort and entry.kind == _KIND and entry.recordsStored
            for entry in self.known.values()
            if entry.sourceId != source.id
        )

    def _read_order(self, cohort: str) -> tuple[tuple[str, ...], int | None]:
        """The cohort's stored order, and the table's version that says so."""
        if not store.exists(self.spark, tables.SAMPLES, self.warehouse):
            return (), None
        samples, version = latest(self.spark, tables.SAMPLES, self.warehouse)
        rows = samples.where(F.col("cohort") == cohort).orderBy("sampleIndex").collect()
        return tuple(row["sampleId"] for row in rows), version

    def _reorders(self, source: Source) -> bool:
        order = self.orders.get(source.cohort, ())
        return bool(source.samples) and (self.wanted is not None or source.samples != order)

    def groups(self, files: Sequence[FileInfo]) -> Iterator[list[list[Source]]]:
        """Kinds, files with and without samples, and those whose samples are reordered, apart."""

        def alike(source: Source) -> tuple[str, bool, bool]:
            kind = kinds.of(source.info.uri).name
            return kind, bool(source.samples), self._reorders(source)

        for _, members in groupby(sorted(self._inspect(files), key=alike), key=alike):
            yield from self.grouped([source] for source in members)

    # --- reading and storing ------------------------------------------------------------

    def load(self, group: Sequence[Source]) -> Loaded:
        """Store the files' records."""
        samples = self.orders.get(group[0].cohort) if self._reorders(group[0]) else None
        request = kinds.Request(group, self.options, samples)
        self.rejects = store.version(self.spark, tables.REJECTS, self.warehouse)
        return loading.load(self.spark, self.warehouse, request)

    def loaded(self, group: Sequence[Source], loaded: Loaded) -> None:
        """Write the sample order of cohorts that are new, or whose only file has changed; headers.

        Another run may do so at the same time. Each writes its rows first and looks at the orders
        then, so at least one of two that contradict each other sees the other, and takes its rows
        back: no genotype comes to stand under another's sample.
        """
        for cohort in sorted({s.cohort for s in group if s.cohort in self.orders}):
            if not self._settle(cohort, next(s.id for s in group if s.cohort == cohort)):
                where = Where.of(sourceId=(source.id for source in group))
                before = max(0, loaded.commit.version - 1)
                store.take_back(self.spark, tables.VARIANTS, self.warehouse, where, before)
                store.take_back(self.spark, tables.REJECTS, self.warehouse, where, self.rejects)
                raise ConflictError(
                    f"another run, at the same time or interrupted, has stored other samples in "
                    f"cohort {cohort!r}; nothing of this one was stored: let that one end, then "
                    "run this again or give another cohort"
                )
        headers = [{"sourceId": source.id, "lines": source.header} for source in group]
        own = Where.of(sourceId=(source.id for source in group))
        store.put(self.spark, headers, tables.VCF_HEADERS, self.warehouse, own)

    def _settle(self, cohort: str, first: str) -> bool:
        """Make the cohort's stored order that of its rows; whether nothing contradicts that."""
        mine = self.orders[cohort]
        rows = [
            {"cohort": cohort, "sampleIndex": index, "sampleId": sample, "sourceId": first}
            for index, sample in enumerate(mine)
        ]

        def settle() -> bool:
            store.prepare(self.spark, tables.SAMPLES, self.warehouse)
            stored, at = self._read_order(cohort)
            if stored == mine:
                return True
            if stored != self.before.get(cohort, ()):
                return False
            where = Where.of(cohort=cohort)
            store.put(self.spark, rows, tables.SAMPLES, self.warehouse, where, at=at)
            if stored and self._has_others(cohort):
                store.take_back(self.spark, tables.SAMPLES, self.warehouse, where, at)
                return False
            return True

        return conflicts.retried(settle)

    def _has_others(self, cohort: str) -> bool:
        """Whether files that this run does not take in have rows in the cohort."""
        rows = store.read(self.spark, tables.VARIANTS, self.warehouse)
        rows = rows.where((F.col("cohort") == cohort) & ~F.col("sourceId").isin(*self.mine))
        return not rows.select("sourceId").limit(1).isEmpty()
