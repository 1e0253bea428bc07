"""What a scheduler starts each night: take in what is new, and redo what depends on it.

The stages are the jobs that people run by hand, each with its row in ``runs``. A stage is current,
and left alone, when its last success had the same settings and software, and no table that it read
or wrote has had other rows since (`store.data_version`): so a night without news does nothing, and
a night that failed goes on at the stage that failed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark import config as configs
from geneai_spark import job, progress, store, tables, upkeep
from geneai_spark.config import JobConfig
from geneai_spark.errors import ConfigError, InputError
from geneai_spark.stored import collect

#: In the order of the data's flow.
INGESTS = ("ingest_variants", "ingest_traits", "ingest_reads", "ingest_alignments")
STAGES = ("check_quality", "check_reads", "extract_features", "run_gwas", "make_report")
SMALL_FILES = 32  # of a table, from which on they are merged

Metrics = dict[str, int | float | str]


def settings(
    stage: str, given: Mapping[str, str], base: JobConfig, inputs: Sequence[str] = ()
) -> JobConfig:
    """A stage's own settings.

    Args:
        stage: a job's name.
        given: settings of all stages, as ``run_gwas.traits``.
        base: warehouse, profile, Spark settings, seed, …, which all stages share.
        inputs: files to take in.

    Raises:
        ValueError: a setting is wrong; the message names the stage.
    """
    module = importlib.import_module(f"geneai_spark.jobs.{stage}")
    own = {k.partition(".")[2]: v for k, v in given.items() if k.partition(".")[0] == stage}
    shared = {f.name for f in fields(JobConfig)}
    if taken := sorted(shared & {key.partition(".")[0] for key in own}):
        raise ValueError(f"{stage}.{taken[0]}: all stages share it: set {taken[0]} itself")
    words = [f"{key}={value}" for key, value in own.items()]
    words += [f"inputs={json.dumps(list(inputs))}"] if inputs else []
    try:
        made: JobConfig = configs.load(module.Config, None, words)
    except ConfigError as error:
        raise ValueError(f"{stage}: {error}") from None
    return replace(made, **{name: getattr(base, name) for name in shared})


def run(
    spark: SparkSession,
    warehouse: str,
    stages: Mapping[str, JobConfig],
    *,
    vacuum_hours: float | None = None,
) -> Metrics:
    """Run the stages that are not current, in order, then tidy the tables that were written.

    Args:
        stages: settings by job, in the order to run: ingestion first.
        vacuum_hours: remove files that no version of the last so many hours needs; None: keep.

    Returns:
        What became of each stage; ``nothing_new`` is 1 where nothing was done.

    Raises:
        InputError: files that were not taken in, after all other stages have run.
        Exception: what a stage raised; later stages have not run.
    """
    told: Metrics = {}
    refused: list[str] = []
    before = {
        table.name: store.version(spark, table, warehouse) for table in tables.TABLES.values()
    }
    for stage, config in stages.items():
        with progress.stage(stage, spark) as shown:
            if stage not in INGESTS and is_current(spark, warehouse, stage, config):
                told[stage] = shown.result = "current"
                continue
            module = importlib.import_module(f"geneai_spark.jobs.{stage}")
            try:
                metrics = job.call(module.run, config)
            except InputError as error:
                if stage not in INGESTS:
                    raise
                refused.append(str(error))  # the files that could be read are in
                metrics = {"refused": 1}
            told[stage] = shown.result = _outcome(metrics)
    written = [
        table
        for table in tables.TABLES.values()
        if table.name != tables.RUNS.name
        and store.version(spark, table, warehouse) != before[table.name]
    ]
    told["nothing_new"] = int(not written)
    if written:
        _tidy(spark, warehouse, [*written, tables.RUNS], vacuum_hours)
    if refused:
        raise InputError("; ".join(refused))
    return told


def is_current(spark: SparkSession, warehouse: str, stage: str, config: JobConfig) -> bool:
    """Whether the stage's last success still holds."""
    if store.version(spark, tables.RUNS, warehouse) is None:
        return False
    names = ["status", "startedAt", "config", "softwareVersion", "tablesRead", "tablesWritten"]
    rows = collect(spark, tables.RUNS, warehouse, names, job=stage, status="succeeded")
    asked = json.dumps(config.redact(), sort_keys=True)
    rows = rows.filter(pc.equal(rows["config"], asked))
    if not rows.num_rows:
        return False
    last = rows.sort_by([("startedAt", "descending")]).slice(0, 1).to_pylist()[0]
    if last["softwareVersion"] != geneai_spark.__version__:
        return False
    seen: dict[str, Any] = dict([*(last["tablesRead"] or []), *(last["tablesWritten"] or [])])
    return all(
        store.data_version(spark, tables.TABLES[name], warehouse) <= version
        for name, version in seen.items()
        if name != tables.RUNS.name
    )


def _outcome(metrics: Mapping[str, int | float | str]) -> str:
    """The first few counts of a stage."""
    counts = [f"{k}={v}" for k, v in metrics.items() if isinstance(v, int)]
    return ", ".join(counts[:6]) or "done"


def _tidy(
    spark: SparkSession, warehouse: str, written: Sequence[Any], vacuum_hours: float | None
) -> None:
    for table in written:
        with progress.stage(f"tidy {table.name}", spark):
            if upkeep.count_files(spark, table, warehouse) >= SMALL_FILES:
                upkeep.optimize(spark, table, warehouse)
            if vacuum_hours is not None:
                upkeep.vacuum(spark, table, warehouse, vacuum_hours)
