"""A group of VCF files into ``variants`` and ``rejects``: the rows, counted, in one commit each.

The tasks that parse write the Parquet files themselves, and the driver commits them once the
lines read are the rows written and the lines rejected, file by file. Where Python cannot write to
the storage or the platform hides Delta's log (Databricks), Spark writes; then the rows can only be
counted after the commit, and are taken back if they do not fit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from geneai_spark import store, tables
from geneai_spark.formats import vcf, vcf_plan
from geneai_spark.formats.vcf_layout import Layout
from geneai_spark.ingest import checks
from geneai_spark.ingest.options import Source
from geneai_spark.staging import FileWriter, StagedFile
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


class Loaded(NamedTuple):
    """What became of a group: the commit of ``variants``, rows and rejected lines by source id."""

    commit: store.Commit
    stored: Mapping[str, int]
    rejected: Mapping[str, int]


def load(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    """Store the files' records in place of those that the same files had.

    Raises:
        GeneaiError: a file cannot be read, or rows and lines differ; the tables are as before.
    """
    both = (tables.VARIANTS, tables.REJECTS)
    direct = all(store.can_adopt(spark, table, warehouse) for table in both)
    return (_load_directly if direct else _load_through_spark)(spark, warehouse, request)


# --- tasks write ----------------------------------------------------------------------------


class _Task(NamedTuple):
    """What one task parses and where it writes; picklable."""

    parts: Sequence[vcf_plan.Part]
    layouts: Mapping[int, Layout]
    on_malformed: str
    folders: Mapping[str, str]  # by table


class _Done(NamedTuple):
    """What a task has written: files by table, and lines, rows and rejects by source id."""

    files: Mapping[str, StagedFile]
    lines: Counter[str]
    stored: Counter[str]
    rejected: Counter[str]


def _load_directly(spark: SparkSession, warehouse: str, request: Request) -> Loaded:
    tasks, schema = _plan(spark, warehouse, request)
    done = _run(spark, tasks)
    staged = {
        table: [one.files[table] for one in done if table in one.files]
        for table in (tables.VARIANTS.name, tables.REJECTS.name)
    }
    try:
        lines, stored, rejected = (
            sum((getattr(one, what) for one in done), Counter[str]())
            for what in ("lines", "stored", "rejected")
        )
        checks.balance(lines, stored, rejected, whole=request.whole)
        for table, counted in ((tables.VARIANTS, stored), (tables.REJECTS, rejected)):
            checks.all_written(table.name, counted, [file.rows for file in staged[table.name]])
        for source in request.sources:
            checks.same_file(source.info)
        commit = store.adopt(
            spark, staged[tables.VARIANTS.name], schema, tables.VARIANTS, warehouse,
            where=request.where, applications=[f"geneai {s.id}" for s in request.sources],
        )  # fmt: skip
    except Exception:
        for table in (tables.VARIANTS, tables.REJECTS):
            store.discard(staged[table.name], table, warehouse)
        raise
    refused, rejects = staged[tables.REJECTS.name], tables.REJECTS
    store.adopt(spark, refused, rejects.schema, rejects, warehouse, where=request.where)
    return Loaded(commit, stored, rejected)


def _plan(spark: SparkSession, warehouse: str, request: Request) -> tuple[list[_Task], StructType]:
    """What each task does, and the columns of ``variants`` that come of it."""
    files = vcf.inspect(request.uris)
    plan, settings = vcf.plan(files, **request.options)
    folders = {
        table.name: store.prepare(spark, table, warehouse)
        for table in (tables.VARIANTS, tables.REJECTS)
    }
    tasks = []
    for held in vcf_plan.parts(plan, vcf.task_bytes(files, spark)):
        parts = [
            part._replace(cohort=request.cohorts.get(part.source_id, part.cohort)) for part in held
        ]
        layouts = {part.layout: plan.layouts[part.layout] for part in parts}
        tasks.append(_Task(parts, layouts, settings["onMalformed"], folders))
    return tasks, vcf.table_schema(plan, {"emit": "variants", "onMalformed": "fail"})


def _run(spark: SparkSession, tasks: Sequence[_Task]) -> list[_Done]:
    """Run every task on the cluster."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            told = [json.dumps(_write(tasks[i])) for i in batch.column("id").to_pylist()]
            yield pa.RecordBatch.from_pydict({"told": pa.array(told, pa.string())})

    if not tasks:
        return []
    numbers = spark.range(0, len(tasks), 1, len(tasks))
    found = numbers.mapInArrow(work, "told string").collect()
    return [_read(row[0]) for row in found]


def _write(task: _Task) -> _Done:
    """Parse the task's ranges and write what they give."""
    from geneai_spark.formats import vcf_parts  # compiled kernels: for tasks alone

    lines, stored, rejected = Counter[str](), Counter[str](), Counter[str]()
    writers = {
        table.name: FileWriter(task.folders[table.name], table.statistics)
        for table in (tables.VARIANTS, tables.REJECTS)
    }
    try:
        for part in task.parts:
            for one in vcf_parts.parse_part(part, task.layouts[part.layout], task.on_malformed):
                lines[part.source_id] += one.lines
                stored[part.source_id] += one.records.num_rows
                rejected[part.source_id] += one.rejects.num_rows
                for table, batch in (
                    (tables.VARIANTS, one.records),
                    (tables.REJECTS, one.rejects),
                ):
                    if batch.num_rows:
                        writers[table.name].add(batch)
        closed = {table: writer.close() for table, writer in writers.items()}
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    files = {table: file for table, file in closed.items() if file is not None}
    return _Done(files, lines, stored, rejected)


def _read(told: str) -> _Done:
    files, lines, stored, rejected = json.loads(told)
    staged = {table: StagedFile(*values) for table, values in files.items()}
    return _Done(staged, Counter(lines), Counter(stored), Counter(rejected))


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
