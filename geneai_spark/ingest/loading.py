"""A group of VCF files into ``variants`` and ``rejects``: the rows, counted, in one commit each.

The tasks that parse write the Parquet files themselves (see `writing`). Where Python cannot write
to the storage or the platform hides Delta's log (Databricks), Spark writes; then the rows can only
be counted after the commit, and are taken back if they do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from geneai_spark import store, tables
from geneai_spark.formats import vcf, vcf_plan
from geneai_spark.formats.vcf_layout import Layout
from geneai_spark.ingest import checks, writing
from geneai_spark.ingest.options import Source
from geneai_spark.ingest.writing import Loaded, Piece
from geneai_spark.table import Where


@dataclass(frozen=True)
class Request:
    """What to load: some files and how `vcf.read` is to take them.

    Attributes:
        sources: the files.
        options: arguments of `vcf.read`, but for ``emit``.
        cohorts: each file's cohort by source id, where that is not ``options["cohort"]``.
    """

    sources: Sequence[Source]
    options: Mapping[str, Any]
    cohorts: Mapping[str, str]

    @property
    def uris(self) -> list[str]:
        """The files."""
        return [source.info.uri for source in self.sources]

    @property
    def where(self) -> Where:
        """The files' rows in any table."""
        return Where.of(sourceId=(source.id for source in self.sources))

    @property
    def whole(self) -> bool:
        """Whether all lines are asked for; with regions some are rightly stored nowhere."""
        return self.options.get("regions") is None


def load(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    """Store the files' records in place of those that the same files had.

    Raises:
        GeneaiError: a file cannot be read, or rows and lines differ; the tables are as before.
    """
    direct = writing.can_write(spark, tables.VARIANTS, warehouse)
    return (_load_directly if direct else _load_through_spark)(spark, warehouse, request)


# --- tasks write ----------------------------------------------------------------------------


class _Task(NamedTuple):
    """What one task parses; picklable."""

    parts: Sequence[vcf_plan.Part]
    layouts: Mapping[int, Layout]
    on_malformed: str


def _load_directly(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    work, schema = _plan(spark, request)
    files = [source.info for source in request.sources]
    target = writing.Target(tables.VARIANTS, schema, files, request.whole)
    return writing.load(spark, warehouse, target, work, _parse)


def _plan(spark: SparkSession, request: Request) -> tuple[list[_Task], StructType]:
    """What each task does, and the columns of ``variants`` that come of it."""
    files = vcf.inspect(request.uris)
    plan, settings = vcf.plan(files, **request.options)
    work = []
    for held in vcf_plan.parts(plan, vcf.task_bytes(files, spark)):
        parts = [
            part._replace(cohort=request.cohorts.get(part.source_id, part.cohort)) for part in held
        ]
        layouts = {part.layout: plan.layouts[part.layout] for part in parts}
        work.append(_Task(parts, layouts, settings["onMalformed"]))
    return work, vcf.table_schema(plan, {"emit": "variants", "onMalformed": "fail"})


def _parse(task: _Task) -> Iterator[Piece]:
    """Parse the task's ranges."""
    from geneai_spark.formats import vcf_parts  # compiled kernels: for tasks alone

    for part in task.parts:
        for one in vcf_parts.parse_part(part, task.layouts[part.layout], task.on_malformed):
            yield Piece(part.source_id, one.records, one.rejects, one.lines)


# --- Spark writes ---------------------------------------------------------------------------


def _load_through_spark(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    seen, where = Observation(), request.where
    rows = _rows(spark, request, "all")
    lines, weight = F.col("lines").cast("long"), checks.weight(F.col("sourceId"))
    bad = F.col("reject").isNotNull() if "reject" in rows.columns else F.lit(False)
    rows = rows.observe(
        seen,
        F.sum(lines).alias("lines"),
        F.sum(lines * weight).alias("weighted"),
        F.sum(F.when(bad, 1).otherwise(0)).alias("rejected"),
        F.count(F.lit(1)).alias("rows"),
    )
    before = store.version(spark, tables.VARIANTS, warehouse)
    good = rows.where(~bad).drop("reject", "lines")
    commit = store.write(good, tables.VARIANTS, warehouse, where=where)
    try:
        told = {name: int(value or 0) for name, value in seen.get.items()}
        rejected = _rejects(spark, warehouse, request, told["rejected"])
        stored = checks.count_by_source(
            store.read(spark, tables.VARIANTS, warehouse, commit.version)
            .where(where.sql)
            .select("sourceId")
        )
        checks.reconcile(told, stored, rejected, whole=request.whole)
        for source in request.sources:
            checks.same_file(source.info)
    except Exception:
        store.take_back(spark, tables.VARIANTS, warehouse, where, before)
        raise
    return Loaded(commit, stored, rejected)


def _rows(spark: SparkSession, request: Request, emit: str) -> DataFrame:
    rows = vcf.read(spark, request.uris, emit=emit, **request.options)
    if request.cohorts and emit == "all":
        pairs = [F.lit(text) for pair in request.cohorts.items() for text in pair]
        rows = rows.withColumn("cohort", F.create_map(*pairs)[F.col("sourceId")])
    return rows


def _rejects(spark: SparkSession, warehouse: str, request: Request, count: int) -> dict[str, int]:
    """Write the rejected lines; how many each file has. Reads the files again if there are any."""
    old = store.read_or_empty(spark, tables.REJECTS, warehouse).where(request.where.sql)
    if not count and old.isEmpty():
        return {}
    rows = _rows(spark, request, "rejects") if count else old.limit(0)
    at = store.replace(rows, tables.REJECTS, warehouse, where=request.where)
    kept = store.read(spark, tables.REJECTS, warehouse, at).where(request.where.sql)
    return checks.count_by_source(kept)
