"""A group of files of one kind into ``variants`` and ``rejects``: the rows, counted, in one commit
each.

The tasks that parse write the Parquet files themselves (see `writing`). Where Python cannot write
to the storage or the platform hides Delta's log (Databricks), Spark writes; then the rows can only
be counted after the commit, and are taken back if they do not fit. VCF files go through their data
source then, which reads them in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from geneai_spark import store, tables
from geneai_spark.formats import vcf
from geneai_spark.ingest import checks, kinds, writing
from geneai_spark.ingest.kinds import Request
from geneai_spark.ingest.writing import Done, Loaded
from geneai_spark.stored import latest_or_empty
from geneai_spark.table import Where


def load(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    """Store the files' records in place of those that the same files had.

    Raises:
        GeneaiError: a file cannot be read, or rows and lines differ; the tables are as before.
    """
    kind = kinds.of(request.sources[0].info.uri)
    if kind is kinds.VCF and not writing.can_write(spark, tables.VARIANTS, warehouse):
        return _load_through_spark(spark, warehouse, request)
    work, schema = kind.plan(spark, request)
    files = [source.info for source in request.sources]
    target = writing.Target(tables.VARIANTS, schema, files, request.whole)

    def check(_: Sequence[Done]) -> None:
        for source in request.sources:
            for companion in source.companions:
                checks.same_file(companion)

    return writing.load(spark, warehouse, target, work, kind.parse, check)


# --- Spark writes ---------------------------------------------------------------------------


def _load_through_spark(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    seen, where = Observation(), _where(request)
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


def _where(request: Request) -> Where:
    return Where.of(sourceId=(source.id for source in request.sources))


def _rows(spark: SparkSession, request: Request, emit: str) -> DataFrame:
    uris = [source.info.uri for source in request.sources]
    rows = vcf.read(spark, uris, emit=emit, **kinds.VCF.arguments(request))
    if request.options.per_file_cohort and emit == "all":
        pairs = [F.lit(text) for one in request.sources for text in (one.id, one.cohort)]
        rows = rows.withColumn("cohort", F.create_map(*pairs)[F.col("sourceId")])
    return rows


def _rejects(spark: SparkSession, warehouse: str, request: Request, count: int) -> dict[str, int]:
    """Write the rejected lines; how many each file has. Reads the files again if there are any."""
    where = _where(request)
    old = latest_or_empty(spark, tables.REJECTS, warehouse).where(where.sql)
    if not count and old.isEmpty():
        return {}
    rows = _rows(spark, request, "rejects") if count else old.limit(0)
    at = store.replace(rows, tables.REJECTS, warehouse, where=where)
    kept = store.read(spark, tables.REJECTS, warehouse, at).where(where.sql)
    return checks.count_by_source(kept)
