"""The runner of jobs: exit codes, the row in ``runs``, what is told and what is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import LongType, StructField, StructType

from geneai_spark import job, session, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import (
    FormatError,
    InputError,
    SampleMismatchError,
    SetupError,
    explain,
)


@dataclass(frozen=True)
class Config(JobConfig):
    """A job for this test."""

    rows: int = option("how many")
    api_token: str | None = option("a secret", None)


def run(spark: SparkSession, config: Config) -> job.Metrics:
    if config.rows == 0:
        raise InputError("no rows in s3a://KEY:hunter2@bucket/x")
    if config.rows < 0:
        raise KeyError("SECRET-SAMPLE")
    frame = store.from_rows(spark, [{"cohort": "c"}] * config.rows, tables.SAMPLES)
    store.replace(frame, tables.SAMPLES, config.warehouse)
    return {"rows": config.rows, "share": 0.25}


def runs(spark: SparkSession, warehouse: str) -> list[dict[str, Any]]:
    rows = store.read(spark, tables.RUNS, warehouse).orderBy("startedAt").collect()
    return [row.asDict() for row in rows]


def test_execute__writes_a_row_of_the_run_succeeded_or_failed(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = f"warehouse={tmp_path}"
    assert job.execute(run, Config, ["rows=2", home, "api_token=hunter2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("test_job: done in ")
    assert out.endswith(": rows=2, share=0.25\n")
    assert job.execute(run, Config, ["rows=0", home]) == 1
    err = capsys.readouterr().err
    assert "test_job: failed after" in err
    assert "no rows in s3a://***@bucket/x" in err
    assert "Traceback" not in err
    assert job.execute(run, Config, ["rows=-1", home]) == 1
    assert "Traceback" in capsys.readouterr().err
    good, bad, bug = runs(spark, str(tmp_path))
    assert (good["job"], good["status"], good["error"]) == ("test_job", "succeeded", None)
    assert json.loads(good["metrics"]) == {"rows": 2, "share": 0.25}
    assert json.loads(good["config"])["api_token"] == "***"
    assert good["tablesWritten"] == {"samples": store.version(spark, tables.SAMPLES, str(tmp_path))}
    assert good["seconds"] > 0
    assert (bad["status"], bad["error"]) == ("failed", "InputError")
    assert bad["message"] == "no rows in s3a://***@bucket/x"
    assert (bug["status"], bug["error"], bug["message"]) == ("failed", "KeyError", None)
    with pytest.raises(SystemExit) as left:
        job.main(run, Config, ["rows=0", home])
    assert left.value.code == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["row=1"], "unknown key 'row'; did you mean 'rows'?"),
        ([], "rows is required: how many (integer)"),
        (["--config"], "--config needs a value"),
        (["--config", "no.yaml", "rows=1"], "no.yaml: the config file cannot be read"),
        (["--profile=clod", "rows=1"], "no profile 'clod'"),
        (["--force", "rows=1"], "unknown key 'force'"),
    ],
)
def test_execute__wrong_settings_are_told_before_spark_starts(
    argv: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(session, "get_session", never)
    assert job.execute(run, Config, argv) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.endswith("see: geneai test_job --help\n")
    assert (
        job.execute(run, Config, [*argv[:1], "--help"] if argv[:1] != ["--config"] else ["-h"]) == 0
    )
    assert "example:\n  geneai test_job rows=" in capsys.readouterr().out


def test_explain__finds_our_error_behind_sparks(spark: SparkSession) -> None:
    from geneai_spark.errors import FormatError as Raised

    def fail(batches: Any) -> Any:
        raise Raised("f.vcf", "an integer", "'x'", field="POS", line=7)

    frame = spark.range(1).mapInArrow(fail, StructType([StructField("id", LongType())]))
    with pytest.raises(Exception, match="POS") as caught:
        frame.collect()
    found = explain(caught.value)
    assert isinstance(found, FormatError)
    assert str(found) == "f.vcf, line 7, POS: expected an integer, found 'x'"
    try:
        raise RuntimeError("outer") from SampleMismatchError("inner")
    except RuntimeError as error:
        assert str(explain(error)) == "inner"
    assert explain(ValueError("x")) is None
    assert explain(ValueError("geneai_spark.errors.NoSuch: x")) is None


@pytest.mark.parametrize(
    ("module", "told"), [("geneai_spark", "--py-files"), ("numba.core", "requirements/core.txt")]
)
def test_explain__says_what_to_do_where_executors_lack_a_module(module: str, told: str) -> None:
    traceback = f"Traceback:\n  File \"x.py\"\nModuleNotFoundError: No module named '{module}'\n"
    found = explain(RuntimeError(traceback))
    assert isinstance(found, SetupError) and told in str(found)
    assert f"no module '{module.partition('.')[0]}'" in str(found)
