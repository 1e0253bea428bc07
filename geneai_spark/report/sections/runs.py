"""What was run, with which versions: what it takes to repeat the report."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from importlib import metadata

import geneai_spark
from geneai_spark.report.blocks import ABSENT, Grid, Note, Section, count, seconds
from geneai_spark.report.study import Study

MOST_RUNS = 50


def runs(study: Study) -> Section:
    """Runs of jobs, newest first."""
    section = Section("runs", "Runs")
    if not study.runs:
        section.blocks.append(Note("No run is recorded."))
        return section
    rows = [
        [
            run.job,
            run.status + (f": {study.hide(run.message) or run.error}" if run.error else ""),
            f"{run.startedAt.astimezone(datetime.UTC):%Y-%m-%d %H:%M}",
            seconds(run.seconds),
            _versions(run.tablesWritten),
            run.softwareVersion,
        ]
        for run in study.runs[:MOST_RUNS]
    ]
    more = len(study.runs) - len(rows)
    section.blocks.append(
        Grid(
            "Runs of jobs, newest first",
            ("job", "outcome", "started (UTC)", "#took", "tables written (version)", "software"),
            rows,
            f"{more:,} older runs are in the table `runs`." if more > 0 else "",
            "run-list",
        )
    )
    return section


def versions(study: Study) -> Section:
    """Software and table versions; call it last, when all tables have been read."""
    section = Section("versions", "Versions")
    software = [
        ["GeneAI on Spark", geneai_spark.__version__],
        ["Apache Spark", study.spark.version],
        ["Delta Lake", _version("delta-spark")],
        ["Python", platform.python_version()],
        ["matplotlib", _version("matplotlib")],
    ]
    section.blocks.append(Grid("Software", ("part", "#version"), software, name="software"))
    section.blocks.append(
        Grid(
            "Tables read",
            ("table", "#version"),
            [[name, count(number)] for name, number in sorted(study.versions.items())],
            f"In the warehouse {study.hide(study.warehouse)}; a version stays readable as it was.",
            "tables",
        )
    )
    return section


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # the platform brings its own
        return "as the platform has it"


def _versions(written: Mapping[str, int] | None) -> str:
    return ", ".join(f"{k} ({v})" for k, v in sorted((written or {}).items())) or ABSENT
