"""FASTQ files into ``reads``, ``rejects`` and the ledger ``ingests``: see `intake`.

The two files of a pair are taken together. That their mates stand in one order is told by a digest
of the names, which the tasks make in passing; only where two digests differ are names compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from geneai_spark import filesystems, tables
from geneai_spark.errors import InputError
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import fastq, fastq_mates, fastq_parts, fastq_plan
from geneai_spark.formats.fastq_lines import FastqFile
from geneai_spark.formats.fastq_plan import Part
from geneai_spark.ingest import mates, writing
from geneai_spark.ingest.intake import Intake
from geneai_spark.ingest.options import ReadOptions
from geneai_spark.ingest.writing import Done, Loaded, Piece

TASK_BYTES = 256 << 20  # stored bytes that a task reads, at most


def ingest_reads(
    spark: SparkSession, warehouse: str, inputs: str | Sequence[str], **options: Any
) -> dict[str, int | float | str]:
    """Take FASTQ files into ``reads``, ``rejects`` and ``ingests``.

    Args:
        inputs: files, folders and globs.
        options: see :class:`ReadOptions`.

    Returns:
        files, files_unchanged, records_in, records_stored, records_rejected, pairs (of files),
        phred64 (files found to be encoded so), and the version of ``reads`` where it was written.

    Raises:
        StorageError: an input matches nothing.
        InputError: files that were not stored, each with its reason; the others are stored.
    """
    return _Ingestion(spark, warehouse, ReadOptions(**options)).run(inputs)


@dataclass(frozen=True)
class Source:
    """A file to take in: as listed, how to read it, and whose reads it holds."""

    info: FileInfo
    file: FastqFile
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


class _Ingestion(Intake[Source]):
    """One call of :func:`ingest_reads`."""

    kind, table = "reads", tables.READS

    def __init__(self, spark: SparkSession, warehouse: str, options: ReadOptions) -> None:
        super().__init__(spark, warehouse, options)
        self.options = options
        self.pairs = self.phred64 = 0

    def run(self, inputs: str | Sequence[str]) -> dict[str, int | float | str]:
        """Take in what is new or changed; counts of files, pairs and records."""
        return {**super().run(inputs), "pairs": self.pairs, "phred64": self.phred64}

    def together(self, files: Sequence[FileInfo], todo: Sequence[FileInfo]) -> Sequence[FileInfo]:
        """What has changed, and the mates of that."""
        wanted = {info.uri for info in todo}
        for unit in fastq_mates.units([info.uri for info in files], self.options.layout)[0]:
            uris = {member.uri for member in unit}
            if uris & wanted:
                wanted |= uris
        return [info for info in files if info.uri in wanted]

    def groups(self, files: Sequence[FileInfo]) -> Iterator[list[list[Source]]]:
        """Files and pairs; a file that cannot be read takes its mate with it."""
        infos = {info.uri: info for info in files}
        found, lone = fastq_mates.units(list(infos), self.options.layout)
        for uri in lone:
            self.fail(infos[uri], fastq_mates.missing(uri))
        with ThreadPoolExecutor(8) as pool:
            looked = dict(zip(infos, pool.map(self._inspect, infos), strict=True))
        fit = []
        for unit in found:
            wrong = [m for m in unit if isinstance(looked[m.uri], Exception)]
            for member in unit:
                error = looked[member.uri]
                if isinstance(error, Exception):
                    self.fail(infos[member.uri], error)
                elif wrong:
                    self.fail(
                        infos[member.uri], InputError(f"its mate cannot be read: {wrong[0].uri}")
                    )
            if not wrong:
                fit.append([self._source(infos[m.uri], looked[m.uri], m, unit) for m in unit])
        yield from self.grouped(fit)

    def _inspect(self, uri: str) -> Any:
        try:
            return fastq_plan.inspect(uri, self.options.phred)
        except Exception as error:
            return error

    def _source(
        self,
        info: FileInfo,
        file: FastqFile,
        member: fastq_mates.Member,
        unit: Sequence[fastq_mates.Member],
    ) -> Source:
        file = replace(file, mate=member.mate, seed=fastq_mates.seed(unit[0].uri))
        paired = self.options.layout in ("auto", "paired")
        sample = self.options.sample or fastq_mates.sample_name(info.uri, paired=paired)
        return Source(info, file, self.options.cohort, sample)

    def load(self, group: Sequence[Source]) -> Loaded:
        """Store the files' reads."""
        cores = self.spark.sparkContext.defaultParallelism
        size = sum(source.info.size for source in group)
        share = min(max(size // cores + 1, 2 << 20), TASK_BYTES)
        policy = self.options.on_malformed
        names = {source.id: (source.cohort, source.sample) for source in group}
        work = [
            _Task(parts, {p.file.source_id: names[p.file.source_id] for p in parts}, policy)
            for parts in fastq_plan.shares([source.file for source in group], share)
        ]
        pairs = [
            (one, other)
            for one, other in pairwise(group)
            if (one.file.mate, other.file.mate) == (1, 2) and one.file.seed == other.file.seed
        ]

        def check(done: Sequence[Done]) -> None:
            told = [one for each in done for one in each.told]
            digests = {
                s.id: fastq_parts.joined(d for i, d in told if i == s.id)
                for pair in pairs
                for s in pair
            }
            for first, second in pairs:
                if digests[first.id] != digests[second.id]:
                    mates.check_order(first.file, second.file)

        files = [source.info for source in group]
        target = writing.Target(tables.READS, tables.READS.schema, files)
        loaded = writing.load(self.spark, self.warehouse, target, work, _parse, check)
        self.pairs += len(pairs)
        self.phred64 += sum(source.file.phred == 64 for source in group)
        return loaded


def _parse(task: _Task) -> Iterator[Piece]:
    """Parse the task's ranges."""
    for part in task.parts:
        source = part.file.source_id
        for one in fastq_parts.parse_part(part, task.on_malformed):
            records = fastq.rows(one, part.file, *task.names[source])
            lines = records.num_rows + one.rejects.num_rows
            yield Piece(source, records, one.rejects, lines, one.digest)
