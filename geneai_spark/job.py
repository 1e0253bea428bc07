"""Running a job: arguments -> config -> Spark -> ``run(spark, config)`` -> a row in ``runs``.

The same for ``geneai JOB …`` and ``spark-submit jobs/JOB.py …``. A wrong setting is told before
Spark starts. Exit codes: 0 done, 1 failed, 2 wrong arguments or settings.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark.config import JobConfig, help_text, load
from geneai_spark.errors import ConfigError, explain
from geneai_spark.settings import redact_text

C = TypeVar("C", bound=JobConfig)
Metrics = dict[str, int | float | str]
Run = Callable[[SparkSession, C], Metrics]

DONE, FAILED, USAGE = 0, 1, 2


def main(run: Run[C], config_class: type[C], argv: Sequence[str] | None = None) -> None:
    """The last line of every job: as :func:`execute`, and leave with its code if it is not 0."""
    if code := execute(run, config_class, argv):
        sys.exit(code)


def execute(run: Run[C], config_class: type[C], argv: Sequence[str] | None = None) -> int:
    """Run a job.

    Args:
        run: the job: ``run(spark, config) -> metrics``.
        config_class: its settings.
        argv: ``--config FILE``, ``--profile NAME``, ``--help`` and ``key=value``;
            default: the process's arguments.

    Returns:
        0 done, 1 failed, 2 wrong arguments or settings.
    """
    name = Path(run.__code__.co_filename).stem
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        if arguments is None:
            print(help_text(config_class, name))
            return DONE
        file, profile, overrides = arguments
        config = load(config_class, file, overrides, profile)
    except ConfigError as error:
        print(f"{name}: {error}\nsee: geneai {name} --help", file=sys.stderr)
        return USAGE
    return _run(name, run, config)


def _arguments(argv: Sequence[str]) -> tuple[str | None, str | None, list[str]] | None:
    """(config file, profile, overrides), or None where help is asked for."""
    named: dict[str, str | None] = {"--config": None, "--profile": None}
    overrides, waiting = [], list(argv)
    while waiting:
        word = waiting.pop(0)
        key, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            return None
        if key in named:
            if not equals and not waiting:
                raise ConfigError(f"{key} needs a value")
            named[key] = value if equals else waiting.pop(0)
        elif word.startswith("--") and "=" not in word and word[2:].isidentifier():
            overrides.append(f"{word[2:]}=true")  # --force
        else:
            overrides.append(word)
    return named["--config"], named["--profile"], overrides


def call(run: Run[C], config: C) -> Metrics:
    """Run a job from Python, with its row in ``runs``; its metrics. What it raises is raised."""
    metrics, error, _, _ = _perform(Path(run.__code__.co_filename).stem, run, config)
    if error is not None:
        raise error
    return metrics


def _run(name: str, run: Run[C], config: C) -> int:
    metrics, error, seconds, recorded = _perform(name, run, config)
    if error is None:
        print(f"{name}: done in {seconds:.1f} s: {_line(metrics)}")
        return DONE if recorded else FAILED
    ours = explain(error) if isinstance(error, Exception) else None
    if ours is None:
        traceback.print_exception(error)
    what = redact_text(str(ours)) if ours else f"{type(error).__name__}, see above"
    print(f"{name}: failed after {seconds:.1f} s: {what}", file=sys.stderr)
    return FAILED


def _perform(
    name: str, run: Run[C], config: C
) -> tuple[Metrics, BaseException | None, float, bool]:
    """(metrics, what was raised, seconds, whether the row in ``runs`` is there)."""
    from geneai_spark import session, store

    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    metrics: Metrics = {}
    error: BaseException | None = None
    spark: SparkSession | None = None
    with store.lineage() as seen:
        try:
            spark = session.get_session(f"geneai {name}", config.spark, storage=config.storage)
            metrics = run(spark, config)
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
    seconds = time.monotonic() - clock
    ours = explain(error) if isinstance(error, Exception) else None
    row = {
        "runId": uuid.uuid4().hex,
        "job": name,
        "status": "succeeded" if error is None else "failed",
        "startedAt": started,
        "seconds": seconds,
        "config": json.dumps(config.redact(), sort_keys=True),
        "metrics": json.dumps(metrics, sort_keys=True),
        "error": None if error is None else type(ours or error).__name__,
        "message": None if ours is None else redact_text(str(ours)),
        "tablesRead": seen.read,
        "tablesWritten": seen.written,
        "softwareVersion": geneai_spark.__version__,
    }
    recorded = spark is None or _record(spark, config.warehouse, row, name)
    return metrics, error, seconds, recorded


def _record(spark: SparkSession, warehouse: str, row: dict[str, Any], name: str) -> bool:
    from geneai_spark import store, tables

    try:
        store.put(spark, [row], tables.RUNS, warehouse)
    except Exception as error:
        reason = explain(error) or f"{type(error).__name__}: {str(error).splitlines()[0]}"
        print(f"{name}: its row in table 'runs' could not be written: {reason}", file=sys.stderr)
        return False
    return True


def _line(metrics: Metrics) -> str:
    texts = (f"{v:,}" if isinstance(v, int) else f"{v:.4g}" if isinstance(v, float) else str(v)
             for v in metrics.values())  # fmt: skip
    return ", ".join(f"{key}={text}" for key, text in zip(metrics, texts, strict=True))


__all__ = ["DONE", "FAILED", "USAGE", "Metrics", "call", "execute", "main"]
