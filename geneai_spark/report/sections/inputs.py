"""What came in: files, records stored and rejected, and whether the counts reconcile."""

from __future__ import annotations

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.report.blocks import ABSENT, Block, Grid, Note, Section, count, counted
from geneai_spark.report.study import Study, metrics, settings

MOST_FILES = 50
MOST_REASONS = 20


def inputs(study: Study) -> Section:
    """Files with their counts, rejected lines by reason, and what later jobs have kept."""
    section = Section("inputs", "Inputs and counts")
    ingests = study.table(tables.INGESTS)
    files = [] if ingests is None else ingests.orderBy("kind", "uri", "sourceId").collect()
    if not files:
        section.blocks.append(
            Note("No input file is recorded for this cohort: run `geneai ingest_variants`.")
        )
    else:
        section.blocks += _files(study, files)
        section.parts.append(_rejects(study, [row.sourceId for row in files]))
    section.parts.append(_selection(study))
    return section


def _files(study: Study, files: list[Row]) -> list[Block]:
    stored = _per_source(study.table(tables.VARIANTS))
    refused = _per_source(study.table(tables.REJECTS))
    rows, wrong = [], 0
    for file in files:
        told = (file.recordsIn, file.recordsStored, file.recordsRejected)
        agrees = file.status == "stored" and told[0] == (told[1] or 0) + (told[2] or 0)
        agrees = agrees and refused.get(file.sourceId, 0) == (told[2] or 0)
        if file.kind == "variants":
            agrees = agrees and stored.get(file.sourceId, 0) == (told[1] or 0)
        wrong += file.status == "stored" and not agrees
        verdict = "yes" if agrees else "NO" if file.status == "stored" else ABSENT
        rows.append([study.hide(file.uri), file.kind, file.status, *map(count, told), verdict])
    sums = [sum(getattr(f, n) or 0 for f in files) for n in _COUNTS]
    more = len(rows) - MOST_FILES
    if more > 0:
        rows = [*rows[:MOST_FILES], [f"{more:,} more files", "", "", "", "", "", ""]]
    rows.append(["all files", "", "", *map(count, sums), ""])
    blocks: list[Block] = [
        Grid(
            "Input files",
            ("file", "kind", "status", "#records in", "#stored", "#rejected", "reconciles"),
            rows,
            "Reconciles: records in = stored + rejected, and the tables `variants` and `rejects` "
            "hold as many rows of the file as its ledger entry says.",
            "files",
        )
    ]
    if wrong:
        blocks.append(
            Note(f"Does not reconcile: {counted(wrong, 'file')}. Ingest again before use.", True)
        )
    failed = [f"{study.hide(f.uri)}: {study.hide(f.reason)}" for f in files if f.status == "failed"]
    blocks += [Note(f"Not taken in: {text}", True) for text in failed[:MOST_FILES]]
    return blocks


_COUNTS = ("recordsIn", "recordsStored", "recordsRejected")


def _per_source(df: DataFrame | None) -> dict[str, int]:
    """Rows of a table from each file."""
    if df is None:
        return {}
    return {row["sourceId"]: row["count"] for row in df.groupBy("sourceId").count().collect()}


def _rejects(study: Study, sources: list[str]) -> Section:
    """Group rejected lines by reason; their text stays where it is: genomes are health data."""
    section = Section("rejects", "Rejected lines")
    df = study.table(tables.REJECTS)
    if df is not None:
        df = df.where(F.col("sourceId").isin(sources))
    total, kinds = 0, 0
    if df is not None:
        total, kinds = df.agg(F.count("*"), F.countDistinct("reason")).collect()[0]
    if df is None or not total:
        section.blocks.append(Note("No line was rejected."))
        return section
    reasons = df.groupBy("reason").agg(
        F.count("*").alias("n"),
        F.countDistinct("sourceId").alias("files"),
        F.min("line").alias("first"),
    )
    found = reasons.orderBy(F.desc("n"), "reason").limit(MOST_REASONS).collect()
    rows = [[study.hide(r.reason), count(r.n), count(r.files), count(r["first"])] for r in found]
    if kinds > len(rows):
        left = total - sum(row.n for row in found)
        rows.append([f"{kinds - len(rows):,} more reasons", count(left), "", ""])
    rows.append(["all reasons", count(total), "", ""])
    section.blocks.append(
        Grid(
            "Rejected lines by reason",
            ("reason", "#lines", "#files", "#first line"),
            rows,
            "The lines themselves are not shown here; the table `rejects` has their beginnings.",
            "reasons",
        )
    )
    return section


def _selection(study: Study) -> Section:
    """Say what the last run of each job has kept, where the run recorded it."""
    section, rows, seen = Section("selection", "Kept for analysis"), [], set()
    for run in study.runs:
        told, asked = metrics(run), settings(run)
        if run.status != "succeeded" or run.job in seen or "samples_kept" not in told:
            continue
        seen.add(run.job)
        rows.append(
            [
                run.job,
                study.hide(asked.get("keep_samples")) or "all",
                f"{count(told['samples_kept'])} of {count(told.get('samples'))}",
                study.hide(asked.get("keep_variants")) or "all",
                count(told.get("variants_kept")) if asked.get("keep_variants") else "all",
            ]
        )
    if not rows:
        section.blocks.append(Note("No run of this cohort recorded a selection."))
        return section
    section.blocks.append(
        Grid(
            "Samples and variants kept, last run of each job",
            ("job", "condition on samples", "#samples kept", "condition on variants", "#kept"),
            sorted(rows),
            name="kept",
        )
    )
    return section
