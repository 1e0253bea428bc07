"""The declaration of tables: conform reports both directions at once and casts nothing."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import IntegerType, LongType, StringType, StructField, StructType

from geneai_spark import tables
from geneai_spark.errors import TableError
from geneai_spark.tables import SAMPLES, TABLES, VARIANTS


def _with(schema: StructType, *fields: StructField) -> StructType:
    return StructType([*schema.fields, *fields])


def test_conform__reports_every_difference_in_both_directions(spark: SparkSession) -> None:
    fields = [f for f in VARIANTS.schema.fields if f.name not in ("end", "start")]
    schema = StructType(
        [
            *fields,
            StructField("start", IntegerType()),
            StructField("chrom", StringType()),
            StructField("call_ploidy", LongType()),
        ]
    )
    with pytest.raises(TableError) as caught:
        VARIANTS.conform(spark.createDataFrame([], schema))
    message = str(caught.value)
    assert message.startswith("table 'variants': ")
    assert set(message.removeprefix("table 'variants': ").split("; ")) == {
        "start: expected bigint, found int",
        "end: no such column, expected bigint",
        "chrom: unknown column (string)",
        "call_ploidy: expected int, found bigint",
    }


def test_conform__orders_columns_and_keeps_open_ones_with_their_metadata(
    spark: SparkSession,
) -> None:
    field = StructField("INFO_AF.x", StringType(), True, {"vcf.key": "AF.x", "comment": "freq"})
    schema = StructType([field, *reversed(VARIANTS.schema.fields)])
    got = VARIANTS.conform(spark.createDataFrame([], schema))
    assert got.columns == [*VARIANTS.schema.names, "INFO_AF.x"]
    assert got.schema["INFO_AF.x"].metadata == field.metadata
    assert "0-based" in got.schema["start"].metadata["comment"]


def test_conform__attaches_declared_comments_to_bare_columns(spark: SparkSession) -> None:
    bare = StructType([StructField(f.name, f.dataType) for f in SAMPLES.schema.fields])
    got = SAMPLES.conform(spark.createDataFrame([], bare))
    assert [f.metadata["comment"] for f in got.schema.fields] == [
        f.metadata["comment"] for f in SAMPLES.schema.fields
    ]


def test_differences__names_that_differ_only_in_case() -> None:
    fields = [StructField("INFO_Ac", StringType()), StructField("INFO_AC", StringType())]
    told = VARIANTS.differences(_with(VARIANTS.schema, *fields))
    assert told == ["INFO_AC: the same name as INFO_Ac, but for letter case"]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables__are_declared_in_full(table: tables.Table) -> None:
    assert set(table.key) <= set(table.schema.names)
    assert set(table.cluster_by) <= set(table.statistics) <= set(table.schema.names)
    for field in [*table.schema.fields, *table.optional.fields]:
        assert field.metadata["comment"], field.name
    assert not [n for n in table.schema.names if table.is_open(n)]
    assert all(table.is_open(n) for n in table.optional.names)
    assert table.differences(table.schema) == []
