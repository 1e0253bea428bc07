"""Files into tables, so that nothing is lost, nothing is taken twice, and a crash does no harm.

For each group of files: one commit of their rows to ``variants`` (in place of what the same files
had there), then ``rejects`` (see `loading`), then ``samples``, then the ledger ``ingests`` (see
`intake`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import conflicts, store, tables
from geneai_spark.errors import ConflictError, InputError, SampleMismatchError
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import vcf
from geneai_spark.ingest import checks, loading
from geneai_spark.ingest.intake import Intake
from geneai_spark.ingest.options import Source, VariantOptions, cohort_names
from geneai_spark.ingest.writing import Loaded
from geneai_spark.table import Where

_KIND = "variants"


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


class _Ingestion(Intake[Source]):
    """One call of :func:`ingest_variants`."""

    kind, table = _KIND, tables.VARIANTS

    def __init__(self, spark: SparkSession, warehouse: str, options: VariantOptions) -> None:
        super().__init__(spark, warehouse, options)
        self.options, self.wanted = options, options.samples()
        self.orders: dict[str, tuple[str, ...]] = {}  # cohort -> sample ids in stored order
        self.before: dict[str, tuple[str, ...]] = {}  # those that were stored, if any
        self.mine: set[str] = set()  # source ids of the files to take in
        self.rejects: int | None = None  # version of `rejects` before the present group

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
                self.fail(info, found)
                continue
            samples = found.samples if self.options.genotypes else ()
            cohort = names.get(info.uri, self.options.cohort)
            source = Source(info, samples, self.options.contigs or found.build, cohort)
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
            self.before[source.cohort] = self._read_order(source.cohort)
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

    def _read_order(self, cohort: str, version: int | None = None) -> tuple[str, ...]:
        if not store.exists(self.spark, tables.SAMPLES, self.warehouse):
            return ()
        samples = store.read(self.spark, tables.SAMPLES, self.warehouse, version)
        rows = samples.where(F.col("cohort") == cohort).orderBy("sampleIndex").collect()
        return tuple(row["sampleId"] for row in rows)

    def _reorders(self, source: Source) -> bool:
        order = self.orders.get(source.cohort, ())
        return bool(source.samples) and (self.wanted is not None or source.samples != order)

    def groups(self, files: Sequence[FileInfo]) -> Iterator[list[list[Source]]]:
        """Files with and without samples, and those whose samples are reordered, apart."""

        def alike(source: Source) -> tuple[bool, bool]:
            return bool(source.samples), self._reorders(source)

        for _, members in groupby(sorted(self._inspect(files), key=alike), key=alike):
            yield from self.grouped([source] for source in members)

    # --- reading and storing ------------------------------------------------------------

    def load(self, group: Sequence[Source]) -> Loaded:
        """Store the files' records."""
        self.rejects = store.version(self.spark, tables.REJECTS, self.warehouse)
        return loading.load(self.spark, self.warehouse, self._request(group))

    def _request(self, group: Sequence[Source]) -> loading.Request:
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

    def loaded(self, group: Sequence[Source], loaded: Loaded) -> None:
        """Write the sample order of cohorts that are new, or whose only file has changed.

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

    def _settle(self, cohort: str, first: str) -> bool:
        """Make the cohort's stored order that of its rows; whether nothing contradicts that."""
        mine = self.orders[cohort]
        rows = [
            {"cohort": cohort, "sampleIndex": index, "sampleId": sample, "sourceId": first}
            for index, sample in enumerate(mine)
        ]

        def settle() -> bool:
            store.prepare(self.spark, tables.SAMPLES, self.warehouse)
            at = store.version(self.spark, tables.SAMPLES, self.warehouse)
            stored = self._read_order(cohort, at)
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
