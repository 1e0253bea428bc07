"""What a warehouse holds, so that two can be compared row for row, and larger VCF files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from geneai_spark import store, tables
from tests import vcf_files

#: What tells of the time or the number of runs, not of the data.
ASIDE = frozenset(["modified", "etag", "finishedAt", "tableVersion"])
PLACE = frozenset(["sourceId", "uri"])
#: Rows of their own runs: what ran, and sums that check_quality goes on from (how many, varies).
OWN = frozenset([tables.RUNS.name, tables.QUALITY_SUMS.name])
Contents = dict[str, tuple[int, str]]


def contents(spark: SparkSession, warehouse: str, aside: frozenset[str] = ASIDE) -> Contents:
    """Of every table but `OWN`: the number of rows, and sha256 of the sorted rows; of a number its
    first nine digits, since sums depend on the order of what is added.
    """
    found: Contents = {}
    for table in tables.TABLES.values():
        if table.name in OWN or not store.exists(spark, table, warehouse):
            continue
        df = store.read(spark, table, warehouse)
        names = [f"`{name}`" for name in sorted(df.columns) if name not in aside]
        rows = sorted(str(_rounded(row)) for row in df.select(names).toArrow().to_pylist())
        if rows:  # a table that was made and holds nothing is as none
            total = hashlib.sha256("\n".join(rows).encode())
            found[table.name] = (len(rows), total.hexdigest())
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return f"{value:.9g}" if isinstance(value, float) else value


def data_files(warehouse: Path, table: str = "variants") -> set[str]:
    """Names of the Parquet files in a table's folder, of whatever version or of none."""
    return {path.name for path in (warehouse / table).glob("*.parquet")}


def large(records: int, samples: int, first: int, bad: int) -> str:
    """A VCF of several megabytes; its genotypes differ from record to record."""
    names = [f"S{i}" for i in range(samples)]
    head = vcf_files.text(names, records=0)
    calls = ["0/0", "0/1", "1|1", "./.", "1|0"]
    row = [calls[i * i % 5] for i in range(samples)]
    lines = []
    for i in range(records):
        place = "nowhere" if i == bad else first + i
        genotypes = "\t".join(row[i % samples :] + row[: i % samples])
        lines.append(f"22\t{place}\t.\tA\tG\t.\tPASS\tXX={i}\tGT\t{genotypes}")
    return head + "\n".join(lines) + "\n"
