from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession


def test_delta_round_trip(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    spark.range(5).write.format("delta").save(path)
    spark.range(5, 7).write.format("delta").mode("append").save(path)
    assert spark.read.format("delta").load(path).count() == 7
    assert spark.read.option("versionAsOf", 0).format("delta").load(path).count() == 5
