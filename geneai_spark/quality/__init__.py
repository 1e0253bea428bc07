"""Quality: metrics per variant or sample, checks that flag, and a separate ``keep`` that drops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from geneai_spark.errors import TableError


class Check(NamedTuple):
    """A named condition that a good row meets."""

    name: str
    passes: Column


def flag(df: DataFrame, checks: Sequence[Check]) -> DataFrame:
    """Add ``flags``: the names of the failed checks, in order; null counts as failed.

    Raises:
        TableError: a check needs a column that ``df`` does not have.
    """
    for check in checks:
        try:
            _ = df.select(check.passes).schema
        except AnalysisException as error:
            reason = str(error).splitlines()[0]
            raise TableError(f"check {check.name!r} cannot be computed: {reason}") from error
    if not checks:
        return df.withColumn("flags", F.array().cast("array<string>"))
    failed = [F.when(~F.coalesce(c.passes, F.lit(False)), F.lit(c.name)) for c in checks]
    return df.withColumn("flags", F.array_compact(F.array(*failed)))


def tally(flagged: DataFrame, checks: Sequence[Check]) -> dict[str, int]:
    """Count rows, those that passed every check, and the failures of each check."""
    failures = [
        F.count_if(F.array_contains("flags", check.name)).alias(check.name) for check in checks
    ]
    (row,) = flagged.agg(
        F.count("*").alias("rows"), F.count_if(F.size("flags") == 0).alias("passed"), *failures
    ).collect()
    return {name: int(count) for name, count in row.asDict().items()}


def keep(df: DataFrame, allow: Sequence[str] = ()) -> DataFrame:
    """Drop rows that failed a check, except checks named in ``allow``.

    Raises:
        TableError: ``df`` was never flagged.
    """
    if "flags" not in df.columns:
        raise TableError("keep: no column 'flags': call flag() first")
    blocking = F.array_except("flags", F.array(*map(F.lit, allow)).cast("array<string>"))
    return df.where(F.size(blocking) == 0)
