"""The formats of variant files, as ingestion sees them: siblings behind one small protocol.

To add one: a reader in `formats`, a class here, its line in KINDS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from geneai_spark import filesystems
from geneai_spark.errors import ConfigError
from geneai_spark.formats import bgen, plink, vcf, vcf_meta, vcf_plan
from geneai_spark.formats.packed_records import Reading
from geneai_spark.formats.vcf_layout import Layout
from geneai_spark.ingest.options import Source, VariantOptions
from geneai_spark.ingest.writing import Piece


class Head(Protocol):
    """What is known of a file before its records are read."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample ids, in the file's order."""
        ...

    @property
    def build(self) -> str | None:
        """The reference genome, if the file tells it."""
        ...

    @property
    def lines(self) -> tuple[str, ...]:
        """The VCF header lines that table ``vcf_headers`` keeps."""
        ...


class Request(NamedTuple):
    """Files of one kind, and how they are to be read.

    Attributes:
        sources: the files.
        options: the user's.
        samples: sample ids to read, in this order; None for each file's own.
    """

    sources: Sequence[Source]
    options: VariantOptions
    samples: Sequence[str] | None

    @property
    def whole(self) -> bool:
        """Whether all records are asked for; with regions some are rightly stored nowhere."""
        return self.options.regions is None

    def arguments(self, *names: str) -> dict[str, Any]:
        """Options by name, as the readers' arguments, and the samples."""
        return {name: getattr(self.options, name) for name in names} | {"samples": self.samples}


class Kind(Protocol):
    """A format.

    Attributes:
        name: as people call it.
        settings: options that decide what is stored of files of this kind alone.
    """

    name: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]

    def companions(self, uri: str) -> tuple[str, ...]:
        """Files beside this one that are part of it."""
        ...

    def inspect(self, uri: str, options: VariantOptions) -> Head:
        """Look into a file."""
        ...

    def plan(self, spark: SparkSession, request: Request) -> tuple[list[Any], StructType]:
        """What each task parses (picklable), and the columns of ``variants`` that come of it."""
        ...

    def parse(self, task: Any) -> Iterator[Piece]:
        """Parse what one task is given."""
        ...


class _VcfHead(NamedTuple):
    samples: tuple[str, ...]
    build: str | None
    lines: tuple[str, ...]


class _VcfTask(NamedTuple):
    parts: Sequence[vcf_plan.Part]
    layouts: Mapping[int, Layout]
    on_malformed: str


class Vcf:
    """VCF, plain, gzip or BGZF: what no other kind claims by its suffix."""

    name: ClassVar[str] = "VCF"
    settings: ClassVar[tuple[str, ...]] = ()

    def companions(self, uri: str) -> tuple[str, ...]:
        """None: an index changes no record."""
        return ()

    def inspect(self, uri: str, options: VariantOptions) -> Head:
        """Read the header."""
        (found,) = vcf.inspect([uri])
        lines = vcf_meta.kept(found, options.contigs)
        return _VcfHead(found.header.samples, found.header.build, lines)

    def arguments(self, request: Request) -> dict[str, Any]:
        """The arguments of `vcf.read`, but for ``emit``."""
        return request.arguments(
            "cohort", "genotypes", "info", "format", "regions", "on_malformed", "per_file_cohort",
            "contigs", "split_info",
        )  # fmt: skip

    def plan(self, spark: SparkSession, request: Request) -> tuple[list[_VcfTask], StructType]:
        """Ranges of whole lines."""
        files = vcf.inspect([source.info.uri for source in request.sources])
        plan, settings = vcf.plan(files, **self.arguments(request))
        cohorts = {source.id: source.cohort for source in request.sources}
        work = []
        for held in vcf_plan.parts(plan, vcf.task_bytes(files, spark)):
            parts = [part._replace(cohort=cohorts[part.source_id]) for part in held]
            layouts = {part.layout: plan.layouts[part.layout] for part in parts}
            work.append(_VcfTask(parts, layouts, settings["onMalformed"]))
        return work, vcf.table_schema(plan, {"emit": "variants", "onMalformed": "fail"})

    def parse(self, task: _VcfTask) -> Iterator[Piece]:
        """Parse the task's ranges."""
        from geneai_spark.formats import vcf_parts  # compiled kernels: for tasks alone

        for part in task.parts:
            for one in vcf_parts.parse_part(part, task.layouts[part.layout], task.on_malformed):
                yield Piece(part.source_id, one.records, one.rejects, one.lines)


class _PackedTask(NamedTuple):
    parts: Sequence[Any]
    reading: Reading


class _Given(NamedTuple):
    """What the plans of PLINK and BGEN files begin with."""

    files: list[Any]
    cohorts: list[str]
    reading: Reading
    target: int  # bytes of a task


def _given(spark: SparkSession, request: Request, name: str) -> _Given:
    if request.options.split_info:
        raise ConfigError(f"split_info: {name} files have no INFO keys to split")
    reading = Reading.of(
        **request.arguments("genotypes", "info", "format", "regions", "on_malformed", "contigs")
    )
    files = [source.head for source in request.sources]
    cohorts = [source.cohort for source in request.sources]
    return _Given(files, cohorts, reading, vcf.task_bytes(files, spark))


class Plink:
    """PLINK 1: a .bed, with its .bim and .fam."""

    name: ClassVar[str] = "PLINK"
    settings: ClassVar[tuple[str, ...]] = ("plink_ids", "plink_ref")

    def companions(self, uri: str) -> tuple[str, ...]:
        """The .bim and the .fam."""
        return plink.companions(uri)

    def inspect(self, uri: str, options: VariantOptions) -> Head:
        """Read the .fam, count the .bim."""
        return plink.inspect(uri, options.plink_ids)

    def plan(self, spark: SparkSession, request: Request) -> tuple[list[_PackedTask], StructType]:
        """Ranges of variants."""
        given = _given(spark, request, self.name)
        work, schema = plink.plan(*given, ref=request.options.plink_ref)
        return [_PackedTask(parts, given.reading) for parts in work], schema

    def parse(self, task: _PackedTask) -> Iterator[Piece]:
        """Parse the task's ranges."""
        from geneai_spark.formats import plink_records

        for part in task.parts:
            source = filesystems.source_id(part.uri)
            for one in plink_records.parse_part(part, task.reading):
                yield Piece(source, one.records, one.rejects, one.lines)


class Bgen:
    """BGEN 1.1 to 1.3, with a .sample where it names no samples."""

    name: ClassVar[str] = "BGEN"
    settings: ClassVar[tuple[str, ...]] = ("bgen_ref", "hard_call_threshold")

    def companions(self, uri: str) -> tuple[str, ...]:
        """The .sample."""
        return bgen.companions(uri)

    def inspect(self, uri: str, options: VariantOptions) -> Head:
        """Read the header and the samples, find the variants."""
        return bgen.inspect(uri)

    def plan(self, spark: SparkSession, request: Request) -> tuple[list[_PackedTask], StructType]:
        """Ranges of variants."""
        given = _given(spark, request, self.name)
        options = request.options
        work, schema = bgen.plan(
            *given, ref=options.bgen_ref, threshold=options.hard_call_threshold
        )
        return [_PackedTask(parts, given.reading) for parts in work], schema

    def parse(self, task: _PackedTask) -> Iterator[Piece]:
        """Parse the task's ranges."""
        from geneai_spark.formats import bgen_records  # compiled kernels: for tasks alone

        for part in task.parts:
            source = filesystems.source_id(part.uri)
            for one in bgen_records.parse_part(part, task.reading):
                yield Piece(source, one.records, one.rejects, one.lines)


VCF = Vcf()
#: By a file's suffix; a file with another is VCF, or fails as such.
KINDS: dict[str, Kind] = {".bed": Plink(), ".bgen": Bgen()}


def of(uri: str) -> Kind:
    """The kind of a file, by its name."""
    return KINDS.get(os.path.splitext(uri)[1], VCF)
