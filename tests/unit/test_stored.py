"""Rows that tasks read themselves are the rows that Spark reads."""

from __future__ import annotations

import operator
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import commits, parquet_parts, staging, store, stored, tables
from geneai_spark.errors import ConflictError, TableError
from geneai_spark.ingest import ingest_variants
from geneai_spark.parquet_parts import Part, read
from geneai_spark.stored import StoredRows, stored_rows
from geneai_spark.table import Where
from tests.vcf_files import text, write

NAMES = ["contigName", "start", "cohort", "alternateAlleles", "INFO_XX", "call_genotype"]


def same(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def collected(rows: Any) -> list[str]:
    return sorted(map(str, rows.collect()))


@pytest.fixture(scope="module")
def home(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two cohorts, the second without the first one's samples and with a further INFO key."""
    folder = tmp_path_factory.mktemp("stored")
    warehouse = str(folder / "wh")
    ingest_variants(spark, warehouse, write(folder / "a.vcf", text(records=40)))
    other = text(["X", "Y", "Z"], records=30, first=500).replace("XX=", "YY=1;XX=")
    other = other.replace("##INFO", '##INFO=<ID=YY,Number=1,Type=Integer,Description="y">\n##INFO')
    ingest_variants(spark, warehouse, write(folder / "b.vcf", other), cohort="other")
    return warehouse


def test_latest__the_same_rows_of_every_table_without_a_scan(
    spark: SparkSession, study_report: tuple[str, Any]
) -> None:
    warehouse, seen = study_report[0], 0
    for table in tables.TABLES.values():
        if (version := store.version(spark, table, warehouse)) is None:
            assert stored.latest_or_empty(spark, table, warehouse).count() == 0
            with pytest.raises(TableError, match="has to run first"):
                stored.latest(spark, table, warehouse)
            continue
        df, at = stored.latest(spark, table, warehouse)
        expected = store.read(spark, table, warehouse)
        assert at == version and df.schema == expected.schema
        assert df.inputFiles() == [] != expected.inputFiles()
        assert collected(df) == collected(expected), table.name
        seen += df.count()
    assert seen > 500


def test_latest__of_files_that_spark_wrote_at_another_time_zone(
    spark: SparkSession, study_report: tuple[str, Any], tmp_path: Path
) -> None:
    """Times, maps and lists."""
    warehouse, home = study_report[0], str(tmp_path)
    zone = spark.conf.get("spark.sql.session.timeZone")
    assert zone is not None
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        for table in (tables.INGESTS, tables.RUNS, tables.VARIANT_QUALITY):
            store.replace(store.read(spark, table, warehouse), table, home)
            df, _ = stored.latest(spark, table, home)
            assert df.inputFiles() == [] and df.count() > 0
            assert collected(df) == collected(store.read(spark, table, home))
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)


def test_latest__a_large_table_is_left_to_spark(
    spark: SparkSession, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collected(store.read(spark, tables.VARIANTS, home))
    for name in ("SMALL_BYTES", "SMALL_ROWS", "SMALL_FILES"):
        with monkeypatch.context() as small:
            small.setattr(parquet_parts, name, 1)
            df, version = stored.latest(spark, tables.VARIANTS, home)
        assert df.inputFiles() and version == store.version(spark, tables.VARIANTS, home)
        assert collected(df) == expected
    assert stored.latest(spark, tables.VARIANTS, home)[0].inputFiles() == []


def test_are_small__by_what_rows_are_when_read(tmp_path: Path) -> None:
    rows = pa.table({"doses": [bytes(10_000)] * 1200})  # as packed genotypes of rare variants
    uris = []
    for i in range(2):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(rows.slice(i * 900, 900), path, compression="zstd", use_dictionary=False)
        uris.append(path.as_uri())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000
    assert not parquet_parts.are_small(uris[:1])  # nine million bytes; of the other three
    assert parquet_parts.are_small(uris[1:])


def test_stored_rows__as_spark_reads_them(spark: SparkSession, home: str) -> None:
    rows = stored_rows(spark, tables.VARIANTS, home)
    assert isinstance(rows, StoredRows)
    df = store.read(spark, tables.VARIANTS, home)
    assert rows.columns == df.columns
    chosen = [*NAMES, "INFO_YY"]
    schema = df.select(chosen).schema
    assert collected(rows.select(chosen).mapInArrow(same, schema)) == collected(df.select(chosen))
    own = stored_rows(spark, tables.VARIANTS, home, cohort="other")
    assert own is not None
    found = own.select(["start", "INFO_YY"]).mapInArrow(same, "start long, INFO_YY int")
    assert collected(found) == collected(df.where("cohort = 'other'").select("start", "INFO_YY"))
    assert found.count() == 30


def test_stored_rows__a_version_once_looked_up_stays(
    spark: SparkSession, home: str, tmp_path: Path
) -> None:
    rows = stored_rows(spark, tables.VARIANTS, home, cohort="other")
    assert rows is not None
    seen = rows.select(["start"]).mapInArrow(same, "start long")
    ingest_variants(
        spark, home, write(tmp_path / "c.vcf", text(["X", "Y", "Z"], records=2)), cohort="other"
    )
    assert seen.count() == 30


def test_stored_rows__cut_at_row_groups(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_GROUP_BYTES", 200)
    monkeypatch.setattr(stored, "TASK_BYTES", 4000)
    home = str(tmp_path / "wh")
    folder = store.prepare(spark, tables.SAMPLES, home)
    writer = staging.FileWriter(folder, [])
    for i in range(40):
        row = {"cohort": "c", "sampleIndex": i, "sampleId": f"s{i}", "sourceId": "f"}
        writer.add(pa.RecordBatch.from_pylist([row] * 5))
    file = writer.close()
    assert file is not None
    table = pq.read_table(f"{folder}/{file.name}")
    assert table.num_rows == 200
    parts = list(stored._parts(spark, [f"{folder}/{file.name}"]))
    assert len(parts) > 1
    groups = [g for part in parts for g in part.groups or ()]
    assert groups == list(range(pq.ParquetFile(f"{folder}/{file.name}").num_row_groups))
    arrow = pa.schema([("sampleIndex", pa.int64()), ("absent", pa.string())])
    batches = [b for part in parts for b in read(part, arrow, {"cohort": "c"})]
    got = pa.Table.from_batches(batches)
    assert got["sampleIndex"].to_pylist() == [i for i in range(40) for _ in range(5)]
    assert got["absent"].null_count == 200
    assert not list(read(Part(f"{folder}/{file.name}", None), arrow, {"cohort": "d"}))


@pytest.mark.parametrize("direct", [True, False])
def test_computed__a_table_of_what_tasks_made(
    spark: SparkSession, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    if not direct:
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    made = tables.SAMPLES.schema
    warehouse = str(tmp_path)

    def numbered(batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, int]:
        total = 0
        for batch in batches:
            total += batch.num_rows
            rows = [
                {"cohort": r["cohort"], "sampleIndex": r["start"], "sampleId": "x", "sourceId": "f"}
                for r in batch.to_pylist()
            ]
            yield pa.RecordBatch.from_pylist(rows, to_arrow_schema(made))
        return total

    df = store.read(spark, tables.VARIANTS, home).select("cohort", "start")
    rows: stored.Rows = df
    if direct:
        found = stored_rows(spark, tables.VARIANTS, home)
        assert found is not None
        rows = found.select(["cohort", "start"])
    computed = stored.Computed(rows, numbered, made, operator.add)
    expected = sorted((row.cohort, row.start) for row in df.collect())
    for where in (
        None,
        Where.of(cohort=["default", "other"]),
        None,
    ):  # again: in place of the first
        commit, told = computed.write(tables.SAMPLES, warehouse, where)
        assert told == len(expected)
        assert commit.rows == len(expected)
        got = store.read(spark, tables.SAMPLES, warehouse, commit.version).collect()
        assert sorted((row.cohort, row.sampleIndex) for row in got) == expected


def test_computed__a_task_that_fails_leaves_nothing(
    spark: SparkSession, home: str, tmp_path: Path
) -> None:
    def broken(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise ValueError("broken")
        yield from batches

    rows = stored_rows(spark, tables.VARIANTS, home)
    assert rows is not None
    computed = stored.Computed(rows, broken, tables.SAMPLES.schema)
    with pytest.raises(Exception, match="broken"):
        computed.write(tables.SAMPLES, str(tmp_path))
    assert store.read(spark, tables.SAMPLES, str(tmp_path)).count() == 0
    assert not list((tmp_path / "samples").glob("*.parquet"))


def test_computed__overtaken_leaves_nothing(spark: SparkSession, home: str, tmp_path: Path) -> None:
    computed = stored.as_computed(store.read(spark, tables.SAMPLES, home))
    version = computed.write(tables.SAMPLES, str(tmp_path)).commit.version
    before = set(tmp_path.glob("samples/*.parquet"))
    with pytest.raises(ConflictError, match="another run changed the table"):
        computed.write(tables.SAMPLES, str(tmp_path), at=version - 1)
    assert set(tmp_path.glob("samples/*.parquet")) == before


def test_stored_rows__not_where_rows_are_deleted_in_their_files_or_delta_is_hidden(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "wh")
    rows = [
        {"cohort": "c", "sampleIndex": i, "sampleId": f"s{i}", "sourceId": "f"} for i in range(9)
    ]
    store.put(spark, rows, tables.SAMPLES, home)
    assert stored_rows(spark, tables.SAMPLES, home) is not None
    with monkeypatch.context() as patched:
        patched.setattr(commits, "open_log", lambda *_: None)
        assert stored_rows(spark, tables.SAMPLES, home) is None
    uri = store.path(home, tables.SAMPLES)
    spark.sql(f"ALTER TABLE delta.`{uri}` SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    spark.sql(f"DELETE FROM delta.`{uri}` WHERE sampleIndex = 3")
    assert stored_rows(spark, tables.SAMPLES, home) is None
    assert store.read(spark, tables.SAMPLES, home).count() == 8
