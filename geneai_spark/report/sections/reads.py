"""Quality of reads: what FastQC would say of each file, and quality along the read."""

from __future__ import annotations

from functools import partial

import numpy as np
from pyspark.sql import Row

from geneai_spark import tables
from geneai_spark.report import plots
from geneai_spark.report.blocks import Grid, Note, Section, count, number, percent
from geneai_spark.report.figures import Figure, figure
from geneai_spark.report.study import Study

MOST_FILES = 100  # listed, the worst first
MOST_FIGURES = 6


def read_quality(study: Study) -> list[Section]:
    """The cohort's files of reads with their flags; no section where no reads were measured."""
    df = study.table(tables.READ_QUALITY)
    rows = [] if df is None else df.orderBy("sourceId", "mate").collect()
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: (-len(row.flags), -len(row.warnings)))
    names = _names(study)
    section = Section("read-quality", "Quality of reads")
    listed = [_line(names.get(row.sourceId, ""), row) for row in rows[:MOST_FILES]]
    columns = ("file", "mate", "#reads", "#bases each", "#GC", "#duplicates", "failed", "warned of")
    more = len(rows) - len(listed)
    note = f"{more:,} more are in the table `read_quality`." if more else ""
    grid = Grid("Files by mate, as FastQC judges them", columns, listed, note, "files-of-reads")
    section.blocks.append(grid)
    drawn = [row for row in rows if row.qualityMean][:MOST_FIGURES]
    section.blocks += [
        _figure(i, names.get(row.sourceId, ""), row) for i, row in enumerate(drawn, 1)
    ]
    if len(drawn) < len(rows):
        section.blocks.append(Note(f"Drawn are the {len(drawn)} with the most failed checks."))
    return [section]


def _names(study: Study) -> dict[str, str]:
    """Names of files by source id, without sample ids."""
    df = study.table(tables.INGESTS)
    rows = [] if df is None else df.where("kind = 'reads'").select("sourceId", "uri").collect()
    return {row.sourceId: study.hide(row.uri.rpartition("/")[2]) for row in rows}


def _line(name: str, row: Row) -> list[str]:
    lengths = dict.fromkeys([count(row.minLength), count(row.maxLength)])
    return [
        name or row.sourceId,
        str(row.mate or "single"),
        count(row.reads),
        "–".join(lengths),
        percent(row.gcContent or 0, 1),
        percent(1 - row.deduplicatedShare, 1),
        ", ".join(row.flags),
        ", ".join(row.warnings),
    ]


def _figure(i: int, name: str, row: Row) -> Figure:
    percentiles = [np.array(row[f"quality{p}"], float) for p in (10, 25, 50, 75, 90)]
    mean = np.array(row.qualityMean)
    whose = f"{name or row.sourceId}{f', mate {row.mate}' if row.mate else ''}"
    return figure(
        f"read-quality-{i}",
        partial(plots.qualities, percentiles=percentiles, mean=mean),
        alt=f"Quality by position of {whose}: mean {number(float(mean[0]))} at the first base, "
        f"{number(float(mean[-1]))} at base {len(mean)}.",
        caption=f"{whose}: quality of {count(row.reads)} reads by position.",
    )
