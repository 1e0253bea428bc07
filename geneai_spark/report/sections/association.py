"""A scan of the genome for a trait: Manhattan, QQ, strongest tests, loci."""

from __future__ import annotations

from functools import partial

import pandas as pd
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.association import summary
from geneai_spark.report import manhattan, plots
from geneai_spark.report.blocks import (
    ABSENT,
    Grid,
    Note,
    Numbers,
    Section,
    allele,
    count,
    counted,
    number,
    p_value,
    place,
    threshold,
)
from geneai_spark.report.figures import figure
from geneai_spark.report.study import Study, settings

MOST_POINTS = 100_000  # of a Manhattan picture, beside all of small p
MOST_LOCI = 50
SIMULATED = "simulated_"  # how names of simulated traits begin


def scans(study: Study) -> list[tuple[str, str | None]]:
    """What to report: (trait, test); test None where the trait has not been tested."""
    df = study.table(tables.ASSOCIATIONS)
    found: list[tuple[str, str]] = []
    if df is not None:
        found = sorted((r.trait, r.test) for r in df.select("trait", "test").distinct().collect())
    if study.options.traits is None:
        return [*found]
    chosen: list[tuple[str, str | None]] = []
    for trait in dict.fromkeys(study.options.traits):
        chosen += [one for one in found if one[0] == trait] or [(trait, None)]
    return chosen


def association(study: Study, chosen: list[tuple[str, str | None]]) -> Section:
    """One part a scan."""
    section = Section("association", "Association")
    if not chosen:
        section.blocks.append(Note("No trait has been tested: run `geneai run_gwas traits=…`."))
    several = len({trait for trait, _ in chosen}) < len(chosen)
    for i, (trait, test) in enumerate(chosen, 1):
        title = f"{trait} ({test})" if several and test else trait
        part = Section(f"trait-{i}", title)
        section.parts.append(part)
        if trait.startswith(SIMULATED):
            part.blocks.append(
                Note("This trait is simulated: its results say nothing about biology.", True)
            )
        if test is None:
            part.blocks.append(
                Note(f"{trait} has not been tested: run `geneai run_gwas traits={trait}`.")
            )
        else:
            _scan(study, part, trait, test, f"t{i}")
    return section


def _scan(study: Study, part: Section, trait: str, test: str, mark: str) -> None:
    df = study.table(tables.ASSOCIATIONS)
    assert df is not None
    own = df.where((F.col("trait") == trait) & (F.col("test") == test))
    (sums,) = own.agg(
        F.count("*").alias("n"),
        F.count("pValue").alias("tested"),
        F.max("sampleCount").alias("samples"),
        F.count_if(F.col("pValue") < study.options.threshold).alias("hits"),
    ).collect()
    if not sums.tested:
        part.blocks.append(Note(f"None of {counted(sums.n, 'allele')} could be tested."))
        return
    inflation = summary.genomic_control(own)[trait]
    loci = summary.loci(own, threshold=study.options.threshold)
    line = threshold(study.options.threshold)
    part.blocks.append(
        Numbers(
            [
                (count(sums.tested), "tests"),
                (count(sums.samples), "samples, at most"),
                (f"{inflation:.3f}", "λ, genomic control"),
                (count(sums.hits), f"tests with p < {line}"),
                (count(len(loci)), "loci"),
            ]
        )
    )
    part.blocks.append(Note(_how(study, trait, test, sums)))
    points = summary.points(own, trait, limit=MOST_POINTS).select(
        "contigName", "start", "names", "pValue", "alternateAllele"
    )
    drawn = points.orderBy("contigName", "start", "alternateAllele").toPandas()
    best = p_value(float(drawn["pValue"].min()))
    part.blocks.append(
        figure(
            f"{mark}-manhattan",
            partial(manhattan.plot, points=drawn, threshold=study.options.threshold),
            alt=f"Manhattan plot of {count(len(drawn))} tests of {trait} along the genome; the "
            f"smallest p-value is {best}, {count(sums.hits)} lie above the line.",
            caption=f"Each point is a test; dashed: p = {line}."
            + (f" {count(len(drawn))} of {count(sums.tested)} are drawn, all of the small "
               "p-values." if len(drawn) < sums.tested else ""),
            size=(10.5, 4.2),
        )
    )  # fmt: skip
    part.blocks.append(
        figure(
            f"{mark}-qq",
            partial(plots.qq, points=summary.qq(own)),
            alt=f"QQ plot of {count(sums.tested)} p-values of {trait}, with the band of the null; "
            f"lambda is {inflation:.3f}.",
            caption=f"Observed against expected p-values, λ = {inflation:.3f}. Points that leave "
            "the band at the upper right are signals; all points above it from the start mean "
            "inflation: relatives, several populations.",
            size=(5.4, 4.4),
        )
    )
    part.blocks.append(_top(study, own, mark))
    part.blocks.append(_loci(study, loci, mark))


def _how(study: Study, trait: str, test: str, sums: Row) -> str:
    """Say how the scan was made, as far as its run tells."""
    text = f"Test: {test}. "
    for run in study.runs:
        asked = settings(run)
        if run.job == "run_gwas" and run.status == "succeeded" and trait in (
            asked.get("traits") or ()
        ):  # fmt: skip
            adjusted = [study.hide(str(name)) for name in asked.get("covariates") or ()]
            text += f"Adjusted for {', '.join(adjusted)}. " if adjusted else "No covariates. "
            break
    if untested := sums.n - sums.tested:  # alleles that do not vary, or that covariates explain
        text += f"Without a result: {counted(untested, 'allele')}."
    return text


def _top(study: Study, own: DataFrame, mark: str) -> Grid:
    hits = summary.top_hits(own, study.options.top)
    return Grid(
        "Strongest tests",
        _COLUMNS,
        [_test(hit.asDict()) for hit in hits],
        "Positions are 1-based; alleles are REF>ALT; frequency and effect are those of ALT, the "
        "effect per copy.",
        f"{mark}-top",
    )


def _loci(study: Study, loci: pd.DataFrame, mark: str) -> Grid | Note:
    if not len(loci):
        return Note(f"No test has p < {threshold(study.options.threshold)}: there are no loci.")
    rows = []
    for row in loci.head(MOST_LOCI).to_dict("records"):
        span = f"{row['contigName']}:{row['first'] + 1:,}–{row['last'] + 1:,}"
        rows.append([span, count(row["tests"]), *_test({str(k): v for k, v in row.items()})])
    more = len(loci) - len(rows)
    return Grid(
        f"Loci with p < {threshold(study.options.threshold)}",
        ("locus", "#tests below", *("leading variant", *_COLUMNS[1:])),
        rows,
        "A locus is what lies within 500,000 bases of its strongest test; neighbours may share a "
        "signal." + (f" {more:,} weaker loci are not shown." if more > 0 else ""),
        f"{mark}-loci",
    )


_COLUMNS = ("variant", "#position", "alleles", "#frequency", "#effect", "#std. error", "#p")


def _test(row: dict[str, object]) -> list[str]:
    names = row["names"]
    return [
        str(names[0]) if names is not None and len(names) else ABSENT,  # type: ignore[arg-type,index]
        place(str(row["contigName"]), int(row["start"])),  # type: ignore[call-overload]
        f"{allele(str(row['referenceAllele']))}>{allele(str(row['alternateAllele']))}",
        *(number(row[key]) for key in ("alleleFrequency", "effect", "standardError")),  # type: ignore[arg-type]
        p_value(row["pValue"]),  # type: ignore[arg-type]
    ]
