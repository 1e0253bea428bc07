"""Models: who has been scored, which loci they found, and what evaluations say of families."""

from __future__ import annotations

from functools import partial

import numpy as np
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.models import measurements
from geneai_spark.models.comparison import CHANCE, NAMES, verdict
from geneai_spark.models.measurements import METRICS, Row
from geneai_spark.report import plots
from geneai_spark.report.blocks import (
    ABSENT,
    Block,
    Grid,
    Note,
    Section,
    allele,
    count,
    number,
    p_value,
    percent,
    place,
)
from geneai_spark.report.figures import Figure, figure
from geneai_spark.report.study import Study

MOST_MODELS = 50  # whose loci are listed
PARTS = ("train", "validation", "test", None)


def models(study: Study) -> list[Section]:
    """Scored samples, loci by importance, evaluations; no section where there is none of them."""
    section = Section("models", "Models")
    section.blocks += _scored(study)
    section.parts += [*_importances(study), *_evaluations(study)]
    return [section] if section.blocks or section.parts else []


def _scored(study: Study) -> list[Block]:
    """Samples that each model has scored, by their part in its training."""
    df = study.rows(tables.PREDICTIONS)
    if df is None:
        return []
    by = ("model", "version", "trait")
    sums = df.groupBy(*by).agg(
        *(F.count_if(F.col("split").eqNullSafe(F.lit(part))).alias(str(part)) for part in PARTS),
        F.mean("missingVariants").alias("missing"),
    )
    rows = [
        [
            study.hide(row.model),
            count(row.version),
            study.hide(row.trait),
            *(count(row[str(part)]) for part in PARTS),
            ABSENT if row.missing is None else percent(row.missing, 1),
        ]
        for row in sums.orderBy(*by).collect()
    ]
    columns = ("model", "#version", "trait", "#trained on", "#validation", "#test", "#new")
    return [
        Grid(
            "Samples scored",
            (*columns, "#variants lacking"),
            rows,
            "The scores are in the table `predictions`; `geneai models list` has the metrics.",
            "scored",
        )
    ]


def _importances(study: Study) -> list[Section]:
    """The first loci of each model that ranks variants."""
    df = study.rows(tables.IMPORTANCES)
    if df is None:
        return []
    by = ["trait", "model", "version"]
    sizes = df.where("locus IS NOT NULL").groupBy(*by, "locus").agg(F.count("*").alias("variants"))
    leads = df.where(F.col("isLead") & (F.col("locus") <= study.options.top))
    found = leads.join(sizes, [*by, "locus"], how="left").orderBy(*by, "locus").collect()
    sections = []
    for i, key in enumerate(list(dict.fromkeys((r.trait, r.model, r.version) for r in found)), 1):
        if i > MOST_MODELS:
            break
        trait, model, version = key
        rows = [
            [
                count(row.locus),
                place(row.contigName, row.start),
                f"{allele(row.referenceAllele)}>{allele(row.alternateAllele)}",
                number(row.importance),
                p_value(row.falseDiscoveryRate),
                count(row.splits),
                count(row.variants),
            ]
            for row in found
            if (row.trait, row.model, row.version) == key
        ]
        part = Section(f"loci-of-{i}", f"Loci of {study.hide(model)}/{version}")
        part.blocks.append(
            Grid(
                f"Variants that tell {study.hide(trait)}, by importance",
                ("#locus", "#lead", "alleles", "#importance", "#false-discovery rate", "#nodes",
                 "#variants"),
                rows,
                "Importance is what a variant's splits explain of samples that the tree was not "
                "grown on. Importance is not cause: variants of a locus go together.",
                f"loci-of-{i}-list",
            )
        )  # fmt: skip
        sections.append(part)
    return sections


def _evaluations(study: Study) -> list[Section]:
    """What was measured of families, a part a trait."""
    df = study.rows(tables.EVALUATIONS)
    if df is None:
        return []
    stored = df.orderBy(*tables.EVALUATIONS.key).collect()
    sections = []
    for i, trait in enumerate(dict.fromkeys(row.trait for row in stored), 1):
        rows = [measurements.read(row.asDict()) for row in stored if row.trait == trait]
        part = Section(f"evaluation-{i}", f"Evaluation: {study.hide(trait)}")
        part.blocks += [
            Note(told, warning=True)
            for told in dict.fromkeys(map(measurements.warning, rows))
            if told
        ]
        part.blocks += [_families(rows, i), *_verdicts(rows), *_groups(study, rows, i)]
        part.blocks += _figures(rows, i)
        sections.append(part)
    return sections


def _main(rows: list[Row]) -> str:
    """The metric that families are compared by."""
    return METRICS[any(row.metric == METRICS[True][0] for row in rows)][0]


def _of(rows: list[Row], kind: str, family: str | None = None) -> list[Row]:
    """Rows of a kind and the main metric."""
    metric = _main(rows)
    return [
        row
        for row in rows
        if row.kind == kind and row.metric == metric and family in (None, row.family)
    ]


def _names(rows: list[Row]) -> list[str]:
    return sorted({row.family for row in rows})


def _families(rows: list[Row], i: int) -> Grid:
    name = NAMES[_main(rows)]
    cells = []
    for family in _names(rows):
        test = [row for row in _of(rows, "learning", family) if row.part == "1"]
        pooled, chance = (_of(rows, kind, family) for kind in ("pooled", "chance"))
        each = [row.found.value for row in _of(rows, "fold", family)]
        cells.append(
            [
                family,
                count(test[0].train) if test else ABSENT,
                count(test[0].samples) if test else ABSENT,
                _interval(test),
                _interval(pooled),
                f"{number(min(each))} to {number(max(each))}" if each else ABSENT,
                _interval(chance),
                p_value(chance[0].p) if chance else ABSENT,
            ]
        )
    return Grid(
        "Families of models",
        ("family", "#trained on", "#tested", f"#{name} of the test", f"#{name}, cross-validated",
         "#folds", "#permuted labels, mean", "#p"),
        cells,
        "In brackets 95 % intervals. Cross-validated: each sample by a model that has not seen it. "
        f"Permuted labels tell what {name} chance has.",
        f"families-{i}",
    )  # fmt: skip


def _interval(rows: list[Row]) -> str:
    if not rows:
        return ABSENT
    value, low, high = rows[0].found
    return number(value) + (f" ({number(low)} to {number(high)})" if np.isfinite(low) else "")


def _verdicts(rows: list[Row]) -> list[Block]:
    """Who beats whom, in words."""
    told = [verdict(row.family, row.part, row.metric, row.found) for row in _of(rows, "compare")]
    return [Note(f"On the same test samples: {'; '.join(told)}.")] if told else []


def _groups(study: Study, rows: list[Row], i: int) -> list[Block]:
    """The cross-validated metric of each group, a column a family."""
    found = {(row.part, row.family): row for row in _of(rows, "group")}
    if not found:
        return []
    families = _names([row for row in found.values()])
    groups = sorted({group for group, _ in found})
    sizes = {group: max(r.samples for (g, _), r in found.items() if g == group) for group in groups}
    cells = [
        [
            study.hide(group),
            count(sizes[group]),
            *(_interval([found[group, f]] if (group, f) in found else []) for f in families),
        ]
        for group in groups
    ]
    return [
        Grid(
            f"{NAMES[_main(rows)]} by group, cross-validated",
            ("group", "#samples", *(f"#{family}" for family in families)),
            cells,
            "A model may fail a group unseen. Groups of fewer than 30 samples are left out.",
            f"groups-{i}",
        )
    ]


def _figures(rows: list[Row], i: int) -> list[Figure]:
    """The learning curve, and what permuted labels gave, beside the true ones."""
    metric = _main(rows)
    name, line, drawn = NAMES[metric], CHANCE[metric], []
    series = {}
    for family in _names(rows):
        points = sorted(_of(rows, "learning", family), key=lambda row: row.train)
        if len(points) > 1:
            series[family] = np.array([(row.train, *row.found) for row in points], np.float64).T
    if series:
        told = "; ".join(f"{f} from {s[1][0]:.2f} to {s[1][-1]:.2f}" for f, s in series.items())
        drawn.append(
            figure(
                f"e{i}-learning",
                partial(plots.curves, series=series, labels=("training samples", name), line=line),
                alt=f"Curves of {name} on the same test samples by training samples: {told}.",
                caption="Learning curve. One that still rises at its end would go on with more "
                "samples; dashed: chance.",
            )
        )
    strips = {}
    for family in _names(rows):
        null = np.array([row.found.value for row in _of(rows, "null", family)])
        test = [row.found.value for row in _of(rows, "learning", family) if row.part == "1"]
        if len(null) and test:
            strips[family] = (null, test[0])
    if strips:
        told = "; ".join(
            f"{family} {seen:.2f}, permuted {null.min():.2f} to {null.max():.2f}"
            for family, (null, seen) in strips.items()
        )
        drawn.append(
            figure(
                f"e{i}-null",
                partial(plots.strips, series=strips, label=name, line=line),
                alt=f"{name} of true labels against those of permuted ones: {told}.",
                caption="Each dot is a model of permuted labels. They lie around the dashed line, "
                "or below it; where they lie above, the model has seen what it must not.",
            )
        )
    return drawn
