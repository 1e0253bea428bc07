"""Quality of variants and of samples: what was flagged, and how the metrics are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.report import plots, reduce
from geneai_spark.report.blocks import ABSENT, Block, Grid, Note, Section, count, number, percent
from geneai_spark.report.figures import Figure, figure
from geneai_spark.report.reduce import Bins, Vector
from geneai_spark.report.study import Study
from geneai_spark.table import Table

BINS = 50
MOST_POINTS = 20_000
MOST_SAMPLES = 100  # flagged samples listed, where ids were asked for
HWE_DEPTH = 20  # -log10 p beyond which Hardy-Weinberg p-values share the last bin


class Metric(NamedTuple):
    """A column drawn as a histogram.

    Attributes:
        value: a number, or an array of numbers.
        label: of the axis.
        caption: what is seen and how to read it.
        limits: of the axis; None: from the least to the greatest value.
        log: counts on a logarithmic axis.
    """

    value: Column
    label: str
    caption: str
    limits: tuple[float, float] | None = None
    log: bool = False


def variant_quality(study: Study) -> Section:
    """Flags of variants, and distributions of their metrics."""
    section = Section("variant-quality", "Quality of variants")
    df = study.table(tables.VARIANT_QUALITY)
    if df is None or not study.flagged(tables.VARIANT_QUALITY)[0]:
        section.blocks.append(
            Note("The quality of variants has not been measured: run `geneai check_quality`.")
        )
        return section
    section.blocks += _flags(study, tables.VARIANT_QUALITY, "variants")
    alts = F.slice("alleleFrequencies", 2, F.greatest(F.size("alleleFrequencies") - 1, F.lit(0)))
    section.blocks += _figures(
        df,
        "variants",
        {
            "call-rate": Metric(
                F.col("callRate"),
                "call rate",
                "Share of samples with a complete genotype. Good variants gather at the right.",
                log=True,
            ),
            "frequency": Metric(
                F.transform(alts, lambda p: F.least(p, 1 - p)),
                "minor allele frequency",
                "Frequency spectrum of ALT alleles, folded at one half; rare alleles outnumber "
                "common ones in people, unless the file was filtered.",
                (0.0, 0.5),
                log=True,
            ),
            "hwe": Metric(
                F.transform(
                    "hweMidPValues", lambda p: -F.log10(F.greatest(p.cast("double"), F.lit(1e-300)))
                ),
                "−log₁₀ p of Hardy-Weinberg equilibrium",
                "Exact test with mid-p of each ALT allele. The orange line is what equilibrium "
                "would give; a heavy tail points to genotyping errors or to several populations. "
                f"The last bar holds everything from {HWE_DEPTH} on.",
                (0.0, HWE_DEPTH),
                log=True,
            ),
            "depth": Metric(
                F.col("depthMean"),
                "mean depth (DP)",
                "Mean depth of each variant over its samples.",
            ),
            "genotype-quality": Metric(
                F.col("genotypeQualityMean"),
                "mean genotype quality (GQ)",
                "Mean genotype quality of each variant over its samples.",
            ),
        },
    )
    return section


def sample_quality(study: Study) -> Section:
    """Flags of samples, and distributions of their metrics."""
    section = Section("sample-quality", "Quality of samples")
    df = study.table(tables.SAMPLE_QUALITY)
    if df is None or not study.flagged(tables.SAMPLE_QUALITY)[0]:
        section.blocks.append(
            Note("The quality of samples has not been measured: run `geneai check_quality`.")
        )
        return section
    section.blocks += _flags(study, tables.SAMPLE_QUALITY, "samples")
    section.blocks += _figures(
        df,
        "samples",
        {
            "sample-call-rate": Metric(
                F.col("callRate"), "call rate", "Share of variants with a complete genotype."
            ),
            "inbreeding": Metric(
                F.col("inbreedingCoefficient"),
                "inbreeding coefficient F",
                "From observed and expected homozygotes. Far below 0: contamination; far above: "
                "close parents, or another population.",
            ),
            "titv": Metric(
                F.col("tiTvRatio"),
                "transitions / transversions",
                "About 2.0–2.1 over a whole genome, about 3 over exomes; samples that stand apart "
                "carry false calls.",
            ),
            "sample-depth": Metric(
                F.col("depthMean"), "mean depth (DP)", "Mean depth of each sample."
            ),
            "sample-genotype-quality": Metric(
                F.col("genotypeQualityMean"),
                "mean genotype quality (GQ)",
                "Mean genotype quality of each sample.",
            ),
        },
    )
    section.parts.append(_sex(study, df))
    if study.options.sample_ids:
        section.blocks += _flagged_samples(df)
    return section


def _flags(study: Study, table: Table, what: str) -> list[Block]:
    """Count rows, those that passed all checks, and the failures of each check."""
    df, (total, flagged) = study.table(table), study.flagged(table)
    assert df is not None
    failed = (
        df.select(F.explode("flags").alias("check"))
        .groupBy("check")
        .count()
        .orderBy(F.desc("count"), "check")
        .collect()
    )
    rows = [[row["check"], count(row["count"]), percent(row["count"], total)] for row in failed]
    rows.append(["any check", count(flagged), percent(flagged, total)])
    rows.append([f"all {what}", count(total), percent(total, total)])
    name = f"{what}-flagged"
    note = "One may fail several checks. Flags drop nothing: jobs say which they leave out."
    return [
        Grid(f"{what.capitalize()} flagged, by check", ("check", "#failed", "#share"), rows, note,
             name)
    ]  # fmt: skip


def _figures(df: DataFrame, what: str, metrics: Mapping[str, Metric]) -> list[Block]:
    """Draw the metrics that have values; say which have none."""
    spans = df.agg(
        *[
            end(F.when(~F.isnan(m.value), m.value)).alias(f"{name}_{end.__name__}")
            for name, m in metrics.items()
            if m.limits is None
            for end in (F.min, F.max)
        ]
    ).collect()[0]
    edges = {
        name: _edges(m.limits or (spans[f"{name}_min"], spans[f"{name}_max"]))
        for name, m in metrics.items()
    }
    known = {name: e for name, e in edges.items() if e is not None}
    found = reduce.histograms(df, {name: (metrics[name].value, e) for name, e in known.items()})
    drawn = {name: bins for name, bins in found.items() if bins.total}
    blocks: list[Block] = [_histogram(n, metrics[n], bins, what) for n, bins in drawn.items()]
    if absent := [m.label for name, m in metrics.items() if name not in drawn]:
        blocks.append(Note(f"Not measured here, or without any value: {', '.join(absent)}."))
    return blocks


def _edges(limits: tuple[float | None, float | None]) -> Vector | None:
    low, high = limits
    if low is None or high is None:
        return None
    if high <= low:  # one value: in the middle
        low, high = low - 0.5 * max(abs(low), 1e-3), high + 0.5 * max(abs(high), 1e-3)
    return np.linspace(low, high, BINS + 1)


def _histogram(name: str, metric: Metric, bins: Bins, what: str) -> Figure:
    expected: Vector | None = None
    if name == "hwe":
        below = np.power(10.0, -bins.edges)  # share of uniform p-values below each edge
        below[-1] = 0.0  # the last bin is open
        expected = bins.total * (below[:-1] - below[1:])
    unit = "ALT alleles" if metric.limits is not None else what
    middles = ((bins.edges[:-1] + bins.edges[1:]) / 2)[bins.counts > 0]
    share = bins.counts.max() / bins.total
    alt = (
        f"Histogram of {metric.label} of {count(bins.total)} {unit}, from "
        f"{number(float(middles.min()))} to {number(float(middles.max()))}; the fullest of "
        f"{BINS} bins holds {100 * share:.0f} %."
    )
    caption = f"{metric.caption} {count(bins.total)} {unit}"
    caption += f"; {count(bins.missing)} without a value." if bins.missing else "."
    draw = partial(
        plots.histogram,
        edges=bins.edges,
        counts=bins.counts,
        label=metric.label,
        what=unit,
        expected=expected,
        log=metric.log,
    )
    return figure(name, draw, alt=alt, caption=caption)


def _sex(study: Study, df: DataFrame) -> Section:
    """Compare F on X with the call rate on Y, where there are such variants."""
    section = Section("sex", "Sex check")
    known = df.where(F.col("xInbreedingCoefficient").isNotNull())
    if known.isEmpty():
        section.blocks.append(Note("There are no variants of chromosome X to infer the sex from."))
        return section
    sex = F.coalesce("inferredSex", F.lit("not told")).alias("sex")
    counted = df.groupBy(sex).count().orderBy("sex").collect()
    rows = [[row["sex"], count(row["count"])] for row in counted]
    section.blocks.append(Grid("Sex inferred", ("sex", "#samples"), rows, name="inferred-sex"))
    points = reduce.sample(
        known.select("sampleIndex", "xInbreedingCoefficient", "yCallRate", sex),
        ["sampleIndex"],
        MOST_POINTS,
    )
    x = points["xInbreedingCoefficient"].to_numpy(np.float64)
    y = points["yCallRate"].to_numpy(np.float64)
    if np.isnan(y).all():
        edges = _edges((float(x.min()), float(x.max())))
        assert edges is not None
        counts = np.histogram(x, edges)[0].astype(np.float64)
        draw = partial(
            plots.histogram, edges=edges, counts=counts, label="F on X", what="samples"
        )  # fmt: skip
        alt = f"Histogram of F on chromosome X of {count(len(x))} samples."
        caption = "About 1 in males, about 0 in females; there are no variants of Y."
    else:
        draw = partial(
            plots.scatter,
            x=x,
            y=np.nan_to_num(y),
            labels=("F on X", "call rate on Y"),
            colour=points["sex"].to_list(),
            name="inferred sex",
            order=[row["sex"] for row in counted],
        )
        alt = f"Scatter of F on X against the call rate on Y of {count(len(x))} samples, by sex."
        caption = "Males lie at the upper right, females at the lower left; look at the others."
    section.blocks.append(figure("sex-check", draw, alt=alt, caption=caption))
    return section


def _flagged_samples(df: DataFrame) -> list[Block]:
    flagged = df.where(F.size(F.col("flags")) > 0).orderBy("sampleIndex")
    found = flagged.limit(MOST_SAMPLES).collect()
    rows = [
        [
            row.sampleId,
            ", ".join(row.flags),
            number(row.callRate),
            number(row.inbreedingCoefficient),
            row.inferredSex or ABSENT,
        ]
        for row in found
    ]
    if not rows:
        return []
    more = flagged.count() - len(rows)
    note = f"{more:,} more are in the table `sample_quality`." if more else ""
    columns = ("sample", "failed checks", "#call rate", "#F", "sex")
    return [Grid("Samples flagged", columns, rows, note, "flagged-samples")]
