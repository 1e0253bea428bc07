"""The store on real Delta tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DoubleType, IntegerType

from geneai_spark import conflicts, store, upkeep
from geneai_spark.errors import TableError
from geneai_spark.table import Where
from geneai_spark.tables import SAMPLES, VARIANTS


def variants(
    spark: SparkSession, rows: list[tuple[str, int]], **extra: tuple[DataType, Any]
) -> DataFrame:
    """Rows of (sourceId, start)."""
    data = [
        {
            "contigName": "22",
            "start": start,
            "end": start + 1,
            "sourceId": source,
            "cohort": "c",
            "names": [],
            "referenceAllele": "A",
            "alternateAlleles": ["G"],
        }
        for source, start in rows
    ]
    df = store.from_rows(spark, data, VARIANTS)
    for name, (kind, value) in extra.items():
        column = F.lit(value).cast(kind)
        df = df.withColumn(name, column.alias(name, metadata={"comment": f"about {name}"}))
    return df


def stored(spark: SparkSession, warehouse: str, **at: int) -> list[tuple[str, int]]:
    rows = store.read(spark, VARIANTS, warehouse, **at).select("sourceId", "start").collect()
    return sorted((r[0], r[1]) for r in rows)


def test_replace__only_the_selected_rows_in_one_commit(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "odd % name")
    assert store.version(spark, VARIANTS, home) is None
    first = store.replace(variants(spark, [("a", 1), ("a", 2), ("b", 3)]), VARIANTS, home)
    done = store.write(variants(spark, [("a", 9)]), VARIANTS, home, where=Where.of(sourceId="a"))
    assert done.version == first + 1
    assert done.rows == 1
    assert stored(spark, home) == [("a", 9), ("b", 3)]
    assert stored(spark, home, version=first) == [("a", 1), ("a", 2), ("b", 3)]
    gone = store.replace(variants(spark, []), VARIANTS, home, where=Where.of(sourceId="b"))
    assert stored(spark, home) == [("a", 9)]
    back = upkeep.restore(spark, VARIANTS, home, done.version)
    assert back == gone + 1
    assert stored(spark, home) == [("a", 9), ("b", 3)]


def test_replace__raise_on_rows_outside_where(spark: SparkSession, tmp_path: Path) -> None:
    store.replace(variants(spark, [("a", 1)]), VARIANTS, str(tmp_path))
    with pytest.raises(Exception, match=r"DELTA_\w*CONSTRAINT|REPLACE_WHERE"):
        store.replace(
            variants(spark, [("b", 2)]), VARIANTS, str(tmp_path), where=Where.of(sourceId="a")
        )
    assert stored(spark, str(tmp_path)) == [("a", 1)]


def test_write__open_columns_are_added_and_keep_comments(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    store.append(variants(spark, [("a", 1)], INFO_AC=(IntegerType(), 5)), VARIANTS, home)
    store.append(variants(spark, [("b", 2)], INFO_AF=(DoubleType(), 0.5)), VARIANTS, home)
    df = store.read(spark, VARIANTS, home)
    rows = {r.sourceId: (r.INFO_AC, r.INFO_AF) for r in df.collect()}
    assert rows == {"a": (5, None), "b": (None, 0.5)}
    assert df.schema["INFO_AF"].metadata["comment"] == "about INFO_AF"


def test_write__raise_on_type_conflict_naming_every_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    columns = {"INFO_AC": (IntegerType(), 5), "INFO_DP": (IntegerType(), 5)}
    last = store.append(variants(spark, [("a", 1)], **columns), VARIANTS, home)
    other = {"INFO_AC": (DoubleType(), 5.0), "INFO_dp": (IntegerType(), 5)}
    with pytest.raises(TableError) as caught:
        store.append(variants(spark, [("b", 1)], **other), VARIANTS, home)
    assert "INFO_AC: stored as int (INFO_AC), new rows have double" in str(caught.value)
    assert "INFO_dp: stored as int (INFO_DP)" in str(caught.value)
    assert store.version(spark, VARIANTS, home) == last


def test_create__statistics_clustering_and_comments(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path)
    for start in range(3):
        store.append(variants(spark, [("a", start)]), VARIANTS, home)
    told = upkeep.describe(spark, VARIANTS, home)
    assert told["properties"]["delta.dataSkippingStatsColumns"] == "contigName,start,end,sourceId"
    assert told["clustered_by"] == ("contigName", "start")
    assert (told["rows"], told["files"]) == (3, 3)
    comments = {name: comment for name, _, comment in told["columns"]}
    assert comments["start"] == VARIANTS.schema["start"].metadata["comment"]
    done = upkeep.optimize(spark, VARIANTS, home)
    assert (done["files_before"], done["files_after"]) == (3, 1)
    assert stored(spark, home) == [("a", 0), ("a", 1), ("a", 2)]
    commits = upkeep.history(spark, VARIANTS, home)
    assert [c["operation"] for c in commits][-1] == "CREATE TABLE"
    assert commits[0]["version"] == done["version"]


def test_read__raise_where_there_is_no_table(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="table 'samples': not in warehouse"):
        store.read(spark, SAMPLES, str(tmp_path))
    assert store.read_or_empty(spark, SAMPLES, str(tmp_path)).count() == 0


def test_read__raise_on_a_stored_table_that_differs(spark: SparkSession, tmp_path: Path) -> None:
    odd = spark.range(1).select(F.lit("c").alias("cohort"), F.col("id").alias("sampleIndex"))
    odd.write.format("delta").save(f"{tmp_path}/samples")
    with pytest.raises(TableError, match="sampleIndex: expected int, found bigint; sampleId: no"):
        store.read(spark, SAMPLES, str(tmp_path))


def test_lineage__versions_read_and_written(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path)
    with store.lineage() as seen:
        first = store.append(variants(spark, [("a", 1)]), VARIANTS, home)
        store.read(spark, VARIANTS, home)
        last = store.append(variants(spark, [("a", 2)]), VARIANTS, home)
    assert seen.read == {"variants": first}
    assert seen.written == {"variants": last}
    store.read(spark, VARIANTS, home)  # outside: not collected, no error


def test_write__is_tried_again_on_s3_alone(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere a lost connection leaves open whether the commit will yet come to be."""

    def refuse(*_: Any) -> None:
        raise AssertionError("not on S3")

    monkeypatch.setattr(conflicts, "surely", refuse)
    rows = store.from_rows(spark, [{"cohort": "c", "sampleId": "S"}], SAMPLES)
    store.append(rows, SAMPLES, str(tmp_path))
    assert store.read(spark, SAMPLES, str(tmp_path)).count() == 1
