"""Upkeep of stored tables: small files merged, old ones removed, versions restored and told."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from geneai_spark import conflicts, store
from geneai_spark.errors import TableError
from geneai_spark.session import set_for
from geneai_spark.table import Table


def restore(spark: SparkSession, table: Table, warehouse: str, version: int) -> int:
    """Make the table again what it was at ``version``, as a new version, which is returned."""
    store.delta_table(spark, table, warehouse).restoreToVersion(version)
    return store.written_version(spark, table, warehouse)


def optimize(spark: SparkSession, table: Table, warehouse: str) -> dict[str, int]:
    """Merge small files and lay rows out by the table's clustering columns.

    Returns:
        files_before, files_after, version.
    """
    delta = store.delta_table(spark, table, warehouse)
    before = int(delta.detail().collect()[0]["numFiles"])

    def merge() -> None:
        with conflicts.explained(f"table {table.name!r}"):
            delta.optimize().executeCompaction()

    conflicts.retried(merge)
    after = int(delta.detail().collect()[0]["numFiles"])
    latest = store.written_version(spark, table, warehouse)
    return {"files_before": before, "files_after": after, "version": latest}


def vacuum(spark: SparkSession, table: Table, warehouse: str, hours: float) -> None:
    """Remove files that no version of the last ``hours`` needs: those cannot be read any more.

    Below the table's own limit (a week) only where Delta's safety check is switched off.
    """
    # By default it cuts the list of even three files into 10,000 tasks.
    tasks = str(2 * spark.sparkContext.defaultParallelism)
    with set_for(spark, {"spark.sql.sources.parallelPartitionDiscovery.parallelism": tasks}):
        store.delta_table(spark, table, warehouse).vacuum(hours)


def count_files(spark: SparkSession, table: Table, warehouse: str) -> int:
    """How many files hold the table's rows."""
    return len(store.read_files(spark, table, warehouse).uris)


def history(
    spark: SparkSession, table: Table, warehouse: str, limit: int = 20
) -> list[dict[str, Any]]:
    """The last commits, newest first: version, timestamp, operation, metrics."""
    if not store.exists(spark, table, warehouse):
        raise TableError(f"table {table.name!r}: not in warehouse {warehouse}")
    rows = store.delta_table(spark, table, warehouse).history(limit).collect()
    return [
        {
            "version": row["version"],
            "timestamp": row["timestamp"],
            "operation": row["operation"],
            "metrics": dict(row["operationMetrics"] or {}),
        }
        for row in rows
    ]


def describe(spark: SparkSession, table: Table, warehouse: str) -> dict[str, Any]:
    """What ``geneai tables describe`` prints: place, version, rows, files, bytes, columns."""
    df = store.read(spark, table, warehouse)
    detail = store.delta_table(spark, table, warehouse).detail().collect()[0]
    return {
        "name": table.name,
        "about": table.about,
        "location": detail["location"],
        "version": store.written_version(spark, table, warehouse),
        "rows": df.count(),
        "files": detail["numFiles"],
        "bytes": detail["sizeInBytes"],
        "key": table.key,
        "clustered_by": tuple(detail["clusteringColumns"]),
        "properties": dict(detail["properties"]),
        "columns": [
            (f.name, f.dataType.simpleString(), (f.metadata or {}).get("comment", ""))
            for f in df.schema.fields
        ],
    }
