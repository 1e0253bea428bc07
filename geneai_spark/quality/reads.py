"""Quality of reads, by file and mate, and its checks: the definitions of FastQC.

As FastQC 0.12 with ``--nogroup``, but for this:

- Duplication is told from the `read_sums.SAMPLE` different sequences with the lowest hashes, each
  counted over the whole file, where FastQC tracks the first 100,000 different ones and corrects for
  those it has not met. A file with no more different sequences gives the same; of a larger one this
  is unbiased, and does not rest on the edge of the flow cell that a file begins with.
- An overrepresented sequence is looked for among all reads, and occurs twice or more.
- Sequences above 75 bases are compared by their first 50, as up to FastQC 0.11.9 (0.12: above 50).
- ``.`` counts as N. By position the first `read_sums.POSITIONS` bases are measured.

Shares go from 0 to 1, where FastQC writes percent. Tiles and k-mers are not looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.quality import Check, Columns, flag, read_kernels, read_sums
from geneai_spark.quality.read_sums import GC_UNIT, Array, Key, Sums
from geneai_spark.stored import Rows

PERCENTILES = (10, 25, 50, 75, 90)
ENOUGH = 100  # reads; a position that no more reach is not judged by its quality
_LEVELS = (*range(1, 11), 51, 101, 501, 1001, 5001, 10_001)  # where bins of duplication begin

Row = Mapping[str, Any]


class Rule(NamedTuple):
    """A check of FastQC's.

    Attributes:
        value: from a row of ``read_quality``; None where there is nothing to judge: it passes.
        passes: of the value and a limit.
        warn, fail: FastQC's limits.
    """

    value: Callable[[Row], float | None]
    passes: Callable[[float, float], bool]
    warn: float
    fail: float


def _least(name: str) -> Callable[[Row], float | None]:
    """The least quality where enough reads are."""

    def value(row: Row) -> float | None:
        pairs = zip(row[name], row["positionReads"], strict=True)
        return min((quality for quality, reads in pairs if reads > ENOUGH), default=None)

    return value


def _most_frequent_quality(row: Row) -> float | None:
    counts = row["readQualityCounts"]
    return float(np.argmax(counts)) if any(counts) else None


def _imbalance(row: Row) -> float | None:
    """The greatest difference between A and T, or C and G, at a position."""
    a, c, g, t = (np.array(row[f"content{base}"]) for base in "ACGT")
    return float(np.max(np.maximum(abs(a - t), abs(c - g)), initial=0))


def _lengths_differ(row: Row) -> float:
    """0 where all reads have one length, 1 where not, 2 where some have none."""
    return 2 if row["minLength"] == 0 else float(row["minLength"] != row["maxLength"])


def _most_frequent_sequence(row: Row) -> float:
    return float(max(row["overrepresentedCounts"], default=0) / max(row["reads"], 1))


def _adapters(row: Row) -> float:
    return max((max(row[f"{name}Content"], default=0) for name in read_kernels.ADAPTERS), default=0)


#: By name of the check.
RULES: Mapping[str, Rule] = {
    "base_quality_median": Rule(_least("quality50"), operator.ge, 25, 20),
    "base_quality_lower_quartile": Rule(_least("quality25"), operator.ge, 10, 5),
    "read_quality": Rule(_most_frequent_quality, operator.gt, 27, 20),
    "base_content": Rule(_imbalance, operator.le, 0.1, 0.2),
    "gc_content": Rule(lambda row: row["gcDeviation"], operator.le, 0.15, 0.3),
    "n_content": Rule(lambda row: max(row["contentN"], default=0), operator.le, 0.05, 0.2),
    "lengths": Rule(_lengths_differ, operator.lt, 1, 2),
    "duplication": Rule(lambda row: row["deduplicatedShare"], operator.ge, 0.7, 0.5),
    "overrepresented": Rule(_most_frequent_sequence, operator.le, read_sums.FREQUENT, 0.01),
    "adapters": Rule(_adapters, operator.le, 0.05, 0.1),
}


def rules(limits: Mapping[str, str]) -> dict[str, Rule]:
    """FastQC's rules with other limits: by name of the check, ``warn,fail``.

    Raises:
        InputError: no such check, or its limits are not two numbers.
    """
    found = dict(RULES)
    for name, text in limits.items():
        if name not in RULES:
            raise InputError(f"limits.{name}: expected one of {', '.join(RULES)}")
        try:
            warn, fail = map(float, text.split(","))
        except ValueError:
            raise InputError(
                f"limits.{name}: expected two numbers, warn,fail, found {text!r}"
            ) from None
        found[name] = found[name]._replace(warn=warn, fail=fail)
    return found


def checks(rules: Mapping[str, Rule], level: str) -> list[Check]:
    """The checks of rows of ``read_quality``, at the level ``warn`` or ``fail``."""

    def check(rule: Rule) -> Callable[[Columns], pa.Array]:
        limit = getattr(rule, level)

        def passes(rows: Columns) -> pa.Array:
            values = (rule.value(row) for row in rows.to_pylist())
            return pa.array([v is None or rule.passes(v, limit) for v in values], pa.bool_())

        return passes

    return [Check(name, check(rule)) for name, rule in rules.items()]


def flagged(metrics: pa.Table, rules: Mapping[str, Rule]) -> pa.Table:
    """Add ``flags`` (failed) and ``warnings`` (not failed, but beyond the limit of a warning)."""
    flags = flag(metrics, checks(rules, "fail"))["flags"].to_pylist()
    warned = flag(metrics, checks(rules, "warn"))["flags"].to_pylist()
    warnings = [[n for n in two if n not in one] for one, two in zip(flags, warned, strict=True)]
    kind = pa.list_(pa.string())
    metrics = metrics.append_column("warnings", pa.array(warnings, kind))
    return metrics.append_column("flags", pa.array(flags, kind))


def read_metrics(reads: Rows) -> pa.Table:
    """Measure the reads of each file and mate: rows of ``read_quality`` but for the checks.

    Args:
        reads: the ``reads`` table.

    Raises:
        TableError: a quality does not fit its sequence.
    """
    sums = read_sums.add_up(reads)
    frequent = read_sums.overrepresented(reads, sums)
    rows = [_row(key, sums[key], frequent.get(key, [])) for key in sorted(sums)]
    return tables.READ_QUALITY.arrow(rows).drop_columns(["warnings", "flags"])


def _row(key: Key, sums: Sums, frequent: Sequence[tuple[str, int]]) -> dict[str, Any]:
    k = read_kernels
    reached = sums.by_quality.sum(axis=1)
    called = sums.by_base[:, : k.N].sum(axis=1)
    all_called = sums.totals[: k.N].sum()
    gc = sums.gc * GC_UNIT
    row: dict[str, Any] = {
        "sourceId": key.source,
        "mate": key.mate,
        "cohort": key.cohort,
        "sampleId": key.sample,
        "reads": sums.reads,
        "bases": int(sums.totals.sum()),
        "minLength": sums.least,
        "maxLength": sums.greatest,
        "lengths": sorted(sums.lengths),
        "lengthCounts": [sums.lengths[length] for length in sorted(sums.lengths)],
        "gcContent": float((sums.totals[k.C] + sums.totals[k.G]) / all_called)
        if all_called
        else None,
        "positionReads": reached,
        "qualityMean": sums.by_quality @ np.arange(k.QUALITIES) / reached,
        "readQualityCounts": sums.means,
        "contentN": sums.by_base[:, k.N] / reached,
        "gcCounts": gc,
        "gcDeviation": gc_deviation(gc),
        "overrepresentedSequences": [text for text, _ in frequent],
        "overrepresentedCounts": [count for _, count in frequent],
    }
    for percent in PERCENTILES:
        row[f"quality{percent}"] = percentile(sums.by_quality, percent)
    for base, code in zip("ACGT", range(4), strict=True):
        row[f"content{base}"] = sums.by_base[:, code] / np.maximum(called, 1)
    last = max(0, min(sums.greatest, read_sums.POSITIONS) - k.ADAPTER_LENGTH + 1)
    for name, found in zip(k.ADAPTERS, sums.adapters, strict=True):
        row[f"{name}Content"] = np.cumsum(found)[:last] / sums.reads
    counts = sums.sequences.counts
    slots = np.searchsorted(_LEVELS, counts, side="right") - 1
    levels = np.bincount(slots, counts, len(_LEVELS))
    row["duplicationLevels"] = levels / counts.sum()
    row["deduplicatedShare"] = len(counts) / int(counts.sum())
    return row


def percentile(by_quality: Array, percent: int) -> Array:
    """The least quality that so many percent of the bases, rounded down, do not exceed.

    Args:
        by_quality: bases by position and quality (positions, qualities).

    Returns:
        int64, shape (positions,).
    """
    wanted = by_quality.sum(axis=1, keepdims=True) * percent // 100
    return np.asarray((np.cumsum(by_quality, axis=1) >= wanted).argmax(axis=1))


def gc_deviation(gc: Array) -> float | None:
    """How far percents of GC are from a normal distribution about their mode, as FastQC tells it.

    Args:
        gc: reads by percent (101,).

    Returns:
        Sum of the absolute differences by the number of reads; None where all are alike.
    """
    total = gc.sum()
    if total <= 1:
        return None
    # The mode: the mean of its neighbours, too, that come near it, unless they reach an end.
    top = int(np.argmax(gc))
    near = gc > gc[top] - gc[top] / 10
    low, high = top, top
    while high < 100 and near[high + 1]:
        high += 1
    while low > 0 and near[low - 1]:
        low -= 1
    centre = top if low == 0 or high == 100 else (low + high) / 2
    percents = np.arange(101)
    variance = ((percents - centre) ** 2 * gc).sum() / (total - 1)
    if variance == 0:
        return None
    normal = np.exp(-((percents - centre) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return float(np.abs(normal * total - gc).sum() / total)
