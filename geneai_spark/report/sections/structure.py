"""Structure of the cohort: principal components and relatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.report import plots, reduce
from geneai_spark.report.blocks import (
    HIDDEN,
    Block,
    Grid,
    Note,
    Section,
    count,
    number,
    percent,
)
from geneai_spark.report.figures import CATEGORIES, Figure, figure
from geneai_spark.report.study import Study
from geneai_spark.selection import related

MOST_POINTS = 20_000
MOST_PAIRS = 100
MOST_EDGES = 1_000_000
PAIRS = ((1, 2), (3, 4))  # components drawn against each other
OTHER = "other or unknown"


def structure(study: Study) -> Section:
    """Principal components and relatedness."""
    return Section("structure", "Structure of the cohort", parts=[pca(study), kinship(study)])


def pca(study: Study) -> Section:
    """Scatter of the first components, coloured by a trait if one is named, and the scree."""
    section = Section("pca", "Principal components")
    scores = study.rows(tables.PCA_SCORES)
    if scores is None:
        section.blocks.append(Note("No principal components: run `geneai extract_features`."))
        return section
    scores = scores.join(_colour(study), "sampleId", how="left") if study.options.colour_by else (
        scores.withColumns({"number": F.lit(None).cast("double"), "word": F.lit(None)})
    )  # fmt: skip
    points = reduce.sample(
        scores.select("sampleIndex", "scores", "fitted", "number", "word"),
        ["sampleIndex"],
        MOST_POINTS,
    )
    table = np.array(points["scores"].to_list(), np.float64)  # (samples, components)
    components = study.rows(tables.PCA_COMPONENTS)
    shares = np.zeros(0)
    if components is not None:
        told = components.orderBy("component").collect()
        shares = np.array([row.explainedVarianceRatio for row in told], np.float64)
        section.blocks.append(
            Note(
                f"Fitted on {count(told[0].samples)} samples and {count(told[0].variants)} "
                f"variants; {count(len(points))} samples drawn, "
                f"{count(int((~points['fitted'].astype(bool)).sum()))} of them projected."
            )
        )
    section.blocks += [
        _scores(study, points, table, shares, one, two)
        for one, two in PAIRS
        if two <= table.shape[1]
    ]
    if len(shares):
        section.blocks.append(
            figure(
                "scree",
                partial(plots.scree, shares=shares),
                alt=f"Bars of the variance that each of {len(shares)} components explains, from "
                f"{100 * shares[0]:.2g} % down to {100 * shares[-1]:.2g} %.",
                caption=f"Variance explained; {100 * shares.sum():.3g} % by the "
                f"{len(shares)} together. Components after the bend carry little structure.",
            )
        )
    return section


def _scores(
    study: Study, points: pd.DataFrame, table: reduce.Vector, shares: reduce.Vector, *pair: int
) -> Figure:
    one, two = pair
    labels = [f"PC{i}" for i in pair]
    if two <= len(shares):
        labels = [f"PC{i} ({100 * shares[i - 1]:.2g} %)" for i in pair]
    named = study.options.colour_by
    colours: dict[str, Any] = {}
    if named and points["number"].notna().any():
        colours = {"colour": points["number"].to_numpy(np.float64), "name": named}
    elif named:
        colours = _words(study, points["word"].to_list(), named)
    by = f", coloured by {named}" if named else ""
    draw = partial(
        plots.scatter,
        x=table[:, one - 1],
        y=table[:, two - 1],
        labels=(labels[0], labels[1]),
        **colours,
    )
    return figure(
        f"pc{one}-pc{two}",
        draw,
        alt=f"Scatter of PC{one} against PC{two} of {count(len(points))} samples{by}.",
        caption=f"PC{one} and PC{two}, a point a sample{by}. Groups are people of like ancestry; "
        "a few far points are outliers to look at.",
    )


def _words(study: Study, words: Sequence[Any], name: str) -> dict[str, Any]:
    """Colours for the most frequent words; the others share one."""
    shown = [study.hide(w) if isinstance(w, str) else OTHER for w in words]
    often = pd.Series([w for w in shown if w not in (OTHER, HIDDEN)], dtype=object)
    ranked = often.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    order = sorted(ranked.index[: len(CATEGORIES) - 1])
    shown = [w if w in order else OTHER for w in shown]
    return {"colour": shown, "name": name, "order": [*order, *([OTHER] * (OTHER in shown))]}


def _colour(study: Study) -> DataFrame:
    """Give the trait to colour by: sampleId, number, word.

    Raises:
        InputError: no sample of the cohort has the trait.
    """
    name, traits = study.options.colour_by, study.table(tables.TRAITS)
    own = None if traits is None else traits.where(F.col("trait") == F.lit(name))
    if own is None or own.isEmpty():
        raise InputError(f"colour_by: no sample of the cohort has a trait {name!r}")
    return own.select("sampleId", F.col("value").alias("number"), F.col("text").alias("word"))


def kinship(study: Study) -> Section:
    """Count pairs of relatives by degree, and draw their coefficients."""
    section = Section("kinship", "Relatedness")
    if (df := study.table(tables.KINSHIP)) is None:
        section.blocks.append(
            Note("Relatedness has not been estimated: run `geneai extract_features`.")
        )
        return section
    counted = {r["relationship"]: r["count"] for r in df.groupBy("relationship").count().collect()}
    if not counted:
        section.blocks.append(Note("No pair of samples is related up to the third degree."))
        return section
    degrees = ("duplicate", "first", "second", "third")
    order = [*degrees, *sorted(str(name) for name in counted if name not in degrees)]
    total = sum(counted.values())
    rows = [
        [name, count(counted[name]), percent(counted[name], total)]
        for name in order
        if name in counted
    ]
    rows.append(["all pairs", count(total), percent(total, total)])
    edges = df.select("sampleIndex1", "sampleIndex2").limit(MOST_EDGES + 1).collect()
    note = ""
    if len(edges) <= MOST_EDGES:
        leave = len(related((row[0], row[1]) for row in edges))
        note = f'`keep_samples="NOT related"` leaves {count(leave)} samples out: then no pair is.'
    section.blocks.append(
        Grid("Pairs of relatives, by degree", ("relationship", "#pairs", "#share"), rows, note,
             "relatives")
    )  # fmt: skip
    points = reduce.sample(
        df.select("sampleIndex1", "sampleIndex2", "ibs0", "kinship", "relationship"),
        ["sampleIndex1", "sampleIndex2"],
        MOST_POINTS,
    )
    section.blocks.append(
        figure(
            "kinship-scatter",
            partial(
                plots.scatter,
                x=points["ibs0"].to_numpy(np.float64),
                y=points["kinship"].to_numpy(np.float64),
                labels=("share of opposite homozygotes (IBS0)", "kinship coefficient"),
                colour=points["relationship"].to_list(),
                name="relationship",
                order=[name for name in order if name in counted],
            ),
            alt=f"Scatter of IBS0 against the kinship coefficient of {count(len(points))} pairs.",
            caption="KING-robust: 0.5 the same person or twins, 0.25 first degree, 0.125 second. "
            "Parents and children have almost no opposite homozygotes, siblings have some.",
        )
    )
    if study.options.sample_ids:
        section.blocks.append(_pairs(df, total))
    return section


def _pairs(df: DataFrame, total: int) -> Block:
    closest = df.orderBy(F.desc("kinship"), "sampleIndex1", "sampleIndex2").limit(MOST_PAIRS)
    rows = [
        [r.sampleId1, r.sampleId2, r.relationship, number(r.kinship), number(r.ibs0)]
        for r in closest.collect()
    ]
    more = total - len(rows)
    return Grid(
        "Closest pairs",
        ("sample", "sample", "relationship", "#kinship", "#IBS0"),
        rows,
        f"{more:,} more are in the table `features_kinship`." if more > 0 else "",
        "pairs",
    )
