"""What an evaluation tells: rows of ``evaluations``, numbers for the run, sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from geneai_spark import tables
from geneai_spark.models.comparison import CHANCE, NAMES, verdict
from geneai_spark.models.estimates import Estimate
from geneai_spark.models.family import Study
from geneai_spark.models.metrics import Classification, Regression

Measured: TypeAlias = Classification | Regression

#: What is stored of a measurement, the one that families are compared by first.
METRICS = {True: ("roc_auc", "pr_auc", "accuracy", "brier"), False: ("r2", "pearson_r", "rmse")}
#: What permuted labels are measured by.
NULL = {True: ("roc_auc",), False: ("r2", "pearson_r")}


class Row(NamedTuple):
    """A row of the table ``evaluations``, without cohort and trait; see there."""

    family: str
    kind: str
    part: str
    train: int
    samples: int
    cases: int | None
    metric: str
    found: Estimate
    p: float | None = None
    flags: tuple[str, ...] = ()


def rows_of(
    family: str, kind: str, part: str, train: int, told: Measured | None, names: Sequence[str]
) -> Iterator[Row]:
    """A row for each of some metrics; none of what could not be measured."""
    if told is None:
        return
    cases = told.cases if isinstance(told, Classification) else None
    for name in names:
        yield Row(family, kind, part, train, told.n, cases, name, getattr(told, name))


def table(study: Study, rows: Sequence[Row]) -> pa.Table:
    """Rows of ``evaluations``."""
    return tables.EVALUATIONS.arrow(
        {
            "cohort": study.cohort,
            "trait": study.trait,
            "family": row.family,
            "kind": row.kind,
            "part": row.part,
            "trainSamples": row.train,
            "samples": row.samples,
            "cases": row.cases,
            "metric": row.metric,
            **{
                name: number if np.isfinite(number) else None
                for name, number in row.found._asdict().items()
            },
            "pValue": row.p,
            "flags": list(row.flags),
        }
        for row in rows
    )


def read(row: Mapping[str, Any]) -> Row:
    """A row as the table ``evaluations`` has it, by names."""
    ends = (np.nan if row[name] is None else row[name] for name in Estimate._fields)
    return Row(
        row["family"], row["kind"], row["part"], row["trainSamples"], row["samples"], row["cases"],
        row["metric"], Estimate(*ends), row["pValue"], tuple(row["flags"] or ()),
    )  # fmt: skip


def text(rows: Sequence[Row]) -> str:
    """Rows as a table of tabs, for people and programs; no sample's name is in them."""
    lines = ["\t".join((*Row._fields[:7], *Estimate._fields, "p", "flags"))]
    for row in rows:
        told = (*row[:7], *row.found, row.p, ",".join(row.flags))
        lines.append("\t".join("" if value is None else str(value) for value in told))
    return "\n".join(lines) + "\n"


def numbers(study: Study, rows: Sequence[Row]) -> dict[str, int | float | str]:
    """For the run's metrics: the main measure of each model, who beats whom, and what is wrong."""
    main = METRICS[study.binary][0]
    found: dict[str, int | float | str] = {}
    for row in rows:
        told = {"pooled": "cv", "chance": "null"}.get(row.kind)
        if row.kind == "learning" and row.part == "1":
            told = "test"
        if told and row.metric == main:
            ends = zip(("", "_low", "_high"), row.found, strict=True)
            named = {f"{row.family}_{told}_{main}{end}": value for end, value in ends}
            found |= {name: value for name, value in named.items() if np.isfinite(value)}
            if row.p is not None:
                found[f"{row.family}_p_value"] = row.p
    verdicts = [
        verdict(row.family, row.part, row.metric, row.found)
        for row in rows
        if row.kind == "compare"
    ]
    if verdicts:
        found["comparison"] = "; ".join(verdicts)
    if leaks := dict.fromkeys(row.family for row in rows if "leak" in row.flags):
        found["leaks"] = ", ".join(leaks)
    return found


def warning(row: Row) -> str:
    """What is wrong with a family by a row of kind ``chance``; empty: nothing."""
    if "leak" not in row.flags:
        return ""
    return (
        f"LEAK: {row.family} tells permuted labels ({shown_mean(row)}, chance is "
        f"{CHANCE[row.metric]:g}): it has seen labels of test samples, do not trust its metrics"
    )


def shown_mean(row: Row) -> str:
    """The mean of permuted labels, by a row of kind ``chance``."""
    value, low, high = row.found
    told = f"mean {NAMES[row.metric]} {value:.3f}"
    return told + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else "")
