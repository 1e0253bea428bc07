"""The table ``variants`` to one sorted, indexed VCF file.

Tasks sort, write and compress stretches of the genome as BGZF parts beside the target; the driver
puts them together (`joining`) and removes them. Nothing half written ever stands at the target.
"""

from __future__ import annotations

import logging
import operator
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from geneai_spark import cohorts, filesystems, genome, progress, selection, store, tables, tasks
from geneai_spark.config import option
from geneai_spark.errors import InputError, ReconciliationError, StorageError
from geneai_spark.export import joining, parts, ranges
from geneai_spark.export.parts import Plan, Written
from geneai_spark.export.ranges import Task
from geneai_spark.formats import tabix_build, vcf_meta
from geneai_spark.formats.vcf_text import Column, TextLayout
from geneai_spark.stored import StoredRows, collect, stored_rows

_log = logging.getLogger(__name__)
_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz")
_FIXED = (*tables.VARIANTS.schema.names, *tables.VARIANTS.optional.names)


@dataclass(frozen=True)
class ExportOptions:
    """What is written, and where."""

    output: str = option(
        "the file to write, .vcf.gz or .vcf.bgz (BGZF, with an index) or .vcf: a path or a URI",
        example="study.vcf.gz",
    )
    cohort: str | None = option("the cohort to write; null: the only one there is", None)
    regions: tuple[str, ...] | None = option("only records that overlap, e.g. 22:1-5000", None)
    keep_variants: str | None = option(
        "condition on columns of variant_quality, e.g. size(flags) = 0; null: all variants", None
    )
    keep_samples: str | None = option(
        "condition on columns of sample_quality, numeric traits and `related`; null: all", None
    )
    genotypes: bool = option("false writes sites only", True)
    overwrite: bool = option("replace a file that is there", False)
    compression_level: int = option("1 (fastest) to 12 (smallest)", 6)

    def __post_init__(self) -> None:
        """Refuse names that do not tell what is to be written, and levels that there are not."""
        if not self.output.lower().endswith(_ENDINGS):
            raise ValueError(f"output must end in one of {', '.join(_ENDINGS)}")
        if not 1 <= self.compression_level <= 12:
            raise ValueError("compression_level must lie between 1 and 12")

    @property
    def level(self) -> int | None:
        """The level of compression, None for plain text."""
        return None if self.output.lower().endswith(".vcf") else self.compression_level


@dataclass(frozen=True)
class _Chosen:
    """What is exported.

    Attributes:
        rows: the cohort's records, by condition; stored: the same, read by the tasks themselves.
        samples: ids to write, by their places among all n_samples.
        files: source id -> URI, in the order in which records of one position stand.
    """

    rows: DataFrame
    stored: StoredRows | None
    samples: dict[int, str]
    n_samples: int
    files: dict[str, str]


def export_variants(
    spark: SparkSession, warehouse: str, options: ExportOptions
) -> dict[str, int | float | str]:
    """Write a cohort's records as one VCF file, sorted; see :class:`ExportOptions`.

    Contigs stand in the order of the headers; records of one position by source file, and as they
    stood in it. With samples left out, INFO AC and AN are counted anew.

    Returns:
        records, samples, tasks, bytes, text_bytes and definitions_in_conflict.

    Raises:
        StorageError: the target is there and ``overwrite`` is false, or cannot be written.
        InputError: no cohort is named though there are several, or a condition keeps nothing.
        SchemaConflictError: headers of the cohort's files contradict one another.
    """
    target = filesystems.absolute(options.output)
    if filesystems.exists(target) and not options.overwrite:
        raise StorageError(f"{options.output}: is there already; overwrite=true replaces it")
    chosen = _choose(spark, warehouse, options)
    with progress.stage(f"export {target.rpartition('/')[2]}", spark) as stage:
        told = _export(spark, warehouse, chosen, options, target)
        stage.result = f"{told['records']:,} records, {int(told['bytes']) / 1e6:,.1f} MB"
    return told


def _choose(spark: SparkSession, warehouse: str, options: ExportOptions) -> _Chosen:
    """Cohort, samples and records."""
    names = ("sourceId", "uri", "kind", "cohort", "recordsStored")
    ingests = collect(spark, tables.INGESTS, warehouse, names, absent_is_empty=True)
    files = [row for row in ingests.to_pylist() if row["kind"] == "variants" and row["cohort"]]
    known = sorted({row["cohort"] for row in files})
    if options.cohort is None and len(known) > 1:
        raise InputError(f"cohort: which one of {', '.join(known)}? A file holds one cohort")
    cohort = options.cohort or (known[0] if known else "default")
    if known and cohort not in known:
        raise InputError(f"cohort: no {cohort!r} in the tables, only {', '.join(known)}")
    mine = {r["sourceId"]: r["uri"] for r in files if r["cohort"] == cohort}
    mine = dict(sorted(mine.items(), key=lambda item: item[1]))
    people = collect(spark, tables.SAMPLES, warehouse, cohorts.COLUMNS, absent_is_empty=True,
                     cohort=cohort)  # fmt: skip
    if not people.num_rows:
        if options.keep_samples or options.keep_variants:
            raise InputError(f"cohort {cohort!r} has no samples: no conditions on quality")
        rows = store.read(spark, tables.VARIANTS, warehouse).where(F.col("cohort") == cohort)
        stored = stored_rows(spark, tables.VARIANTS, warehouse, cohort=cohort)
        return _Chosen(rows, stored, {}, 0, mine)
    selected = selection.select(
        spark, warehouse, cohort=cohort, keep_variants=options.keep_variants,
        keep_samples=options.keep_samples,
    )  # fmt: skip
    n = len(selected.sample_ids)
    samples = {int(i): selected.sample_ids[i] for i in selected.rows} if options.genotypes else {}
    return _Chosen(selected.variants, selected.stored, samples, n, mine)


def _export(
    spark: SparkSession, warehouse: str, chosen: _Chosen, options: ExportOptions, target: str
) -> dict[str, int | float | str]:
    regions = None
    if options.regions is not None:
        regions = tuple(genome.parse_region(one) for one in options.regions)
    found = None if chosen.stored is None else ranges.pieces(chosen.stored, regions)
    if found is None:
        present, expected = _contigs(chosen.rows, regions)
    else:
        present, expected = {}, sum(piece.rows for piece in found)
        for piece in found:
            present[piece.contig] = max(present.get(piece.contig, 0), piece.end)
    header = _header(spark, warehouse, chosen, present, options)
    depth = tabix_build.depth_of(
        max([*present.values(), *(header.lengths.get(name, 0) for name in present)], default=0)
    )
    schema = _columns(chosen.rows.schema, bool(chosen.samples))
    plan = Plan(
        folder=_folder(target),
        contigs=header.contigs,
        sources=tuple(chosen.files),
        layout=_layout(schema, chosen, percent=header.version >= (4, 3)),
        schema=to_arrow_schema(schema),
        equal={} if chosen.stored is None else dict(chosen.stored.equal),
        regions=regions,
        level=options.level,
        depth=depth,
    )
    cores = spark.sparkContext.defaultParallelism
    cut = None if found is None else ranges.cut(found, header.contigs, cores)
    try:
        if cut is None:
            made = _through_spark(chosen.rows, plan, expected, schema)
        else:
            made = _by_ranges(spark, plan, cut)
        records = sum(one.records for one in made)
        if records != expected:
            raise ReconciliationError(f"{expected} records to write, {records} written")
        text = header.text(list(chosen.samples.values())).encode()
        size, bases = joining.join(target, text, made, options.level)
        if options.level is not None:
            joining.write_index(target, made, bases, header.contigs, depth)
    finally:
        filesystems.remove_folder(plan.folder)
    return {
        "records": records,
        "samples": len(chosen.samples),
        "tasks": len(made),
        "bytes": size,
        "text_bytes": len(text) + sum(one.text_size for one in made),
        "definitions_in_conflict": len(header.conflicts),
    }


def _folder(target: str) -> str:
    """Where the parts go: beside the target, hidden from listings."""
    folder, _, name = target.rpartition("/")
    return f"{folder}/_{name}.{uuid.uuid4().hex[:8]}.parts"


def _header(
    spark: SparkSession,
    warehouse: str,
    chosen: _Chosen,
    present: Iterable[str],
    options: ExportOptions,
) -> vcf_meta.Merged:
    """The header of the exported files together; says what it could not keep."""
    rows = collect(spark, tables.VCF_HEADERS, warehouse, ("sourceId", "lines"),
                   absent_is_empty=True)  # fmt: skip
    kept = {row["sourceId"]: row["lines"] for row in rows.to_pylist()}
    files = [(uri, kept[source]) for source, uri in chosen.files.items() if source in kept]
    if lacking := len(chosen.files) - len(files):
        _log.warning(
            "%d of %d files were taken in before headers were kept, and their definitions are "
            "lost; ingest_variants with force=true brings them back", lacking, len(chosen.files),
        )  # fmt: skip
    header = vcf_meta.merge(files, sorted(set(present)), genotypes=bool(chosen.samples))
    if header.conflicts:
        _log.warning("files define these differently, the first counts: %s",
                     ", ".join(header.conflicts))  # fmt: skip
    return header


def _columns(schema: StructType, genotypes: bool) -> StructType:
    names = [n for n in schema.names if genotypes or not n.startswith("call_")]
    return StructType([schema[name] for name in names])


def _layout(schema: StructType, chosen: _Chosen, *, percent: bool) -> TextLayout:
    """Columns by their keys, samples by their places."""

    def keyed(prefix: str) -> tuple[Column, ...]:
        return tuple(
            Column(f.name, (f.metadata or {}).get("vcf.key", f.name.removeprefix(prefix)))
            for f in schema.fields
            if f.name.startswith(prefix) and f.name not in _FIXED
        )

    some = tuple(chosen.samples) if len(chosen.samples) < chosen.n_samples else None
    n = chosen.n_samples if chosen.samples else 0
    return TextLayout(keyed("INFO_"), keyed("call_"), n, some if n else None, percent)


def _by_ranges(spark: SparkSession, plan: Plan, cut: Sequence[Task]) -> list[Written]:
    """Each task reads the rows of its stretch itself."""
    if not cut:
        return []

    def work(batches: tasks.Batches) -> list[Written]:
        numbers = (i for batch in batches for i in batch.column("id").to_pylist())
        made = (parts.write_task(plan, cut[i], i) for i in numbers)
        return [one for one in made if one is not None]

    numbers = spark.range(0, len(cut), 1, len(cut))
    made = tasks.fold(numbers, work, operator.add, tasks=len(cut)) or []
    return sorted(made, key=lambda one: one.number)


def _through_spark(rows: DataFrame, plan: Plan, expected: int, schema: StructType) -> list[Written]:
    """Spark sorts the rows: where it alone can read them, chooses them, or they lie in no order."""
    spark = rows.sparkSession
    for name, values in (("contigName", plan.contigs), ("sourceId", plan.sources)):
        ranks = pa.table({name: list(values), f"{name}Rank": range(len(values))})
        known = spark.createDataFrame(ranks, f"{name} string, {name}Rank bigint")
        rows = rows.join(F.broadcast(known), name, how="left")
    if plan.regions is not None:
        rows = rows.where(_inside(plan.regions))
    share = expected * (300 + 2 * plan.layout.n_samples) // ranges.RANGE_BYTES + 1
    cores = spark.sparkContext.defaultParallelism
    order = ["contigNameRank", "start", "sourceIdRank", "referenceAllele", "alternateAlleles"]
    rows = rows.repartitionByRange(max(share, cores), *order[:2]).sortWithinPartitions(*order)
    plan = replace(plan, regions=None)

    def work(batches: tasks.Batches) -> list[Written]:
        made = parts.write(plan, batches, tasks.partition())
        return [] if made is None else [made]

    made = tasks.fold(rows.select(schema.names), work, operator.add) or []
    return sorted(made, key=lambda one: one.number)


def _inside(regions: Sequence[genome.Interval]) -> SparkColumn:
    """The rows that overlap a region, as Spark sees it."""
    found = F.lit(False)
    for one in regions:
        here = (F.col("start") < one.end) & (F.col("end") > one.start)
        found = found | ((F.col("contigName") == one.contig) & here)
    return found


def _contigs(
    rows: DataFrame, regions: Sequence[genome.Interval] | None
) -> tuple[dict[str, int], int]:
    """End of the last record of each contig, and how many records there are."""
    if regions is not None:
        rows = rows.where(_inside(regions))
    told = rows.groupBy("contigName").agg(F.max("end"), F.count(F.lit(1))).collect()
    return {row[0]: row[1] for row in told}, sum(row[2] for row in told)
