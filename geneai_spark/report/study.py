"""What a report is about: one cohort's tables, each read once at one version."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from geneai_spark import store, stored, tables
from geneai_spark.errors import TableError
from geneai_spark.report.blocks import mask
from geneai_spark.table import Table


@dataclass(frozen=True)
class Options:
    """What a report may be told; see ``page.build``."""

    cohort: str = "default"
    traits: Sequence[str] | None = None
    title: str | None = None
    colour_by: str | None = None
    sample_ids: bool = False
    top: int = 20
    threshold: float = 5e-8


@dataclass
class Study:
    """A cohort in a warehouse.

    Attributes:
        spark: the session.
        warehouse: URI of the tables.
        options: what the report was told.
        versions: table -> version, of the tables read so far.
    """

    spark: SparkSession
    warehouse: str
    options: Options
    versions: dict[str, int] = field(default_factory=dict)
    _read: dict[str, DataFrame | None] = field(default_factory=dict)
    _flagged: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a cohort that is not there.

        Raises:
            TableError: samples are stored, but none of this cohort.
        """
        samples = self.table(tables.SAMPLES)
        if samples is not None and samples.isEmpty():
            raise TableError(f"no cohort {self.options.cohort!r} in the table samples")

    def table(self, table: Table) -> DataFrame | None:
        """The cohort's rows (or all, where the table knows no cohort); None without the table."""
        df = self._whole(table)
        if df is None or "cohort" not in table.schema.names:
            return df
        return df.where(F.col("cohort") == self.options.cohort)

    def _whole(self, table: Table) -> DataFrame | None:
        if table.name not in self._read:
            df = None
            if store.exists(self.spark, table, self.warehouse):
                df, self.versions[table.name] = stored.latest(self.spark, table, self.warehouse)
            self._read[table.name] = df
        return self._read[table.name]

    def rows(self, table: Table) -> DataFrame | None:
        """As :meth:`table`, but None where there are no rows either."""
        df = self.table(table)
        return None if df is None or df.isEmpty() else df

    def flagged(self, table: Table) -> tuple[int, int]:
        """Rows of a table of quality, and those that failed a check; (0, 0) without the table."""
        if table.name not in self._flagged:
            df = self.table(table)
            failed = F.count_if(F.size(F.col("flags")) > 0)
            row = (0, 0) if df is None else df.agg(F.count("*"), failed).collect()[0]
            self._flagged[table.name] = (int(row[0]), int(row[1]))
        return self._flagged[table.name]

    @cached_property
    def hidden(self) -> frozenset[str]:
        """Ids that must not be shown: of all cohorts, traits and reads; none if asked."""
        if self.options.sample_ids:
            return frozenset()
        found: set[str] = set()
        for table in (tables.SAMPLES, tables.TRAITS, tables.READ_QUALITY):
            if (df := self._whole(table)) is not None:
                found.update(row[0] for row in df.select("sampleId").distinct().collect())
        return frozenset(re.sub(r"^[\W_]+|[\W_]+$", "", name) for name in found) - {""}

    def hide(self, text: str | None) -> str:
        """What people wrote (a file's name, a condition), without sample ids."""
        return "" if text is None else mask(text, self.hidden)

    @cached_property
    def runs(self) -> list[Row]:
        """Runs that concern the cohort, newest first; at most the last 1,000 are looked at."""
        df = self.table(tables.RUNS)
        if df is None:
            return []
        newest = df.orderBy(F.desc("startedAt"), "runId").limit(1_000).collect()
        return [row for row in newest if settings(row).get("cohort", None) in self._cohorts]

    @property
    def _cohorts(self) -> tuple[str | None, ...]:
        return (self.options.cohort, None)  # a job without the setting concerns all cohorts


def settings(run: Row) -> dict[str, Any]:
    """The settings of a run."""
    return _mapping(run.config)


def metrics(run: Row) -> dict[str, Any]:
    """The numbers of a run."""
    return _mapping(run.metrics)


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:  # what another version wrote
        return {}
    return found if isinstance(found, dict) else {}
