"""SAM and BAM files into ``alignments``, ``rejects`` and the ledger ``ingests``: see `intake`.

A BAM file is cut where records seem to begin, and the tasks tell whether they do (`sam_parts`).
Before anything is committed the driver looks at that: a file that was cut wrongly is read again in
one piece, so a wrong guess costs time and never a record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import filesystems, tables
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import sam_header, sam_parts
from geneai_spark.formats.sam_header import AlignmentFile
from geneai_spark.formats.sam_parts import Part
from geneai_spark.ingest import writing
from geneai_spark.ingest.intake import Intake
from geneai_spark.ingest.options import AlignmentOptions
from geneai_spark.ingest.writing import Done, Loaded, Piece

_log = logging.getLogger(__name__)
TASK_BYTES = 256 << 20  # stored bytes that a task reads, at most


def ingest_alignments(
    spark: SparkSession, warehouse: str, inputs: str | Sequence[str], **options: Any
) -> dict[str, int | float | str]:
    """Take SAM and BAM files into ``alignments``, ``rejects`` and ``ingests``.

    Args:
        inputs: files, folders and globs.
        options: see :class:`AlignmentOptions`.

    Returns:
        files, files_unchanged, records_in, records_stored, records_rejected, and the version of
        ``alignments`` where it was written.

    Raises:
        StorageError: an input matches nothing.
        InputError: files that were not stored, each with its reason; the others are stored.
    """
    return _Ingestion(spark, warehouse, AlignmentOptions(**options)).run(inputs)


@dataclass(frozen=True)
class Source:
    """A file to take in: as listed, how to read it, and whose reads it holds."""

    info: FileInfo
    file: AlignmentFile
    cohort: str
    sample: str
    build: None = None

    @property
    def id(self) -> str:
        """The file's source id."""
        return filesystems.source_id(self.info.uri)


class _Task(NamedTuple):
    """What one task parses; picklable. Names are cohort and sample by source id."""

    parts: Sequence[Part]
    names: dict[str, tuple[str, str]]
    on_malformed: str


class _MiscutError(Exception):
    """Files, by source id, that were not cut where records begin."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__()
        self.ids = frozenset(ids)


class _Ingestion(Intake[Source]):
    """One call of :func:`ingest_alignments`."""

    kind, table = "alignments", tables.ALIGNMENTS

    def __init__(self, spark: SparkSession, warehouse: str, options: AlignmentOptions) -> None:
        super().__init__(spark, warehouse, options)
        self.options = options

    def groups(self, files: Sequence[FileInfo]) -> Iterable[list[list[Source]]]:
        """Files that can be read, each by itself."""
        with ThreadPoolExecutor(8) as pool:
            looked = list(pool.map(self._inspect, files))
        for info, found in zip(files, looked, strict=True):
            if isinstance(found, Exception):
                self.fail(info, found)
        return self.grouped([found] for found in looked if isinstance(found, Source))

    def _inspect(self, info: FileInfo) -> Source | Exception:
        try:
            file = sam_header.inspect(info.uri)
        except Exception as error:
            return error
        sample = self.options.sample or sam_header.sample_name(info.uri)
        return Source(info, file, self.options.cohort, sample)

    def load(self, group: Sequence[Source]) -> Loaded:
        """Store the files' reads."""
        try:
            return self._load(group, frozenset())
        except _MiscutError as found:
            _log.warning(
                "%d files were not cut where records begin: read again whole", len(found.ids)
            )
            return self._load(group, found.ids)

    def _load(self, group: Sequence[Source], whole: frozenset[str]) -> Loaded:
        """Store the files' reads, those that are ``whole`` read in one piece each."""
        cores = self.spark.sparkContext.defaultParallelism
        size = sum(source.info.size for source in group)
        share = min(max(size // cores + 1, 2 << 20), TASK_BYTES)
        names = {source.id: (source.cohort, source.sample) for source in group}
        policy = self.options.on_malformed
        work = [
            _Task(parts, {p.file.source_id: names[p.file.source_id] for p in parts}, policy)
            for parts in sam_parts.shares([source.file for source in group], share, whole)
        ]
        target = writing.Target(
            tables.ALIGNMENTS, tables.ALIGNMENTS.schema, [source.info for source in group]
        )
        return writing.load(self.spark, self.warehouse, target, work, _parse, _check)


def _check(done: Sequence[Done]) -> None:
    """Raise _MiscutError if files were cut wrongly, else the first fault of a file."""
    told = sorted(
        (one for each in done for one in each.told), key=lambda one: (one[0], one[1].start)
    )
    faults, miscut = [], []
    for source, outcomes in groupby(told, key=lambda one: one[0]):
        wrong = sam_parts.first_wrong([outcome for _, outcome in outcomes])
        if wrong is not None and wrong.fault is None:
            miscut.append(source)
        elif wrong is not None:
            faults.append(wrong.fault)
    if miscut:
        raise _MiscutError(miscut)
    for fault in faults:
        if fault is not None:
            raise fault


def _parse(task: _Task) -> Iterator[Piece]:
    """Parse the task's ranges."""
    schema = to_arrow_schema(tables.ALIGNMENTS.schema)
    for part in task.parts:
        source = part.file.source_id
        cohort, sample = task.names[source]
        texts = {"sourceId": source, "cohort": cohort}
        for one in sam_parts.parse_part(part, sample, task.on_malformed):
            n = one.records.num_rows
            columns = [
                pa.repeat(pa.scalar(texts[name]), n) if name in texts else one.records.column(name)
                for name in schema.names
            ]
            records = pa.RecordBatch.from_arrays(columns, schema=schema)
            yield Piece(source, records, one.rejects, n + one.rejects.num_rows, one.outcome)
