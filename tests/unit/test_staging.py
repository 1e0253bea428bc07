"""Staged files: what Spark, Delta and pyarrow read of them is what was added."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, LongType, StructField, StructType

from geneai_spark import commits, filesystems, staging, store, stored, tables, upkeep
from geneai_spark.errors import StorageError, TableError
from geneai_spark.staging import FileWriter
from geneai_spark.table import ALL, Table, Where, columns

TABLE = Table(
    "things",
    "a thing",
    ("name",),
    columns(
        ("name", tables.TEXT, "name"),
        ("size", tables.LONG, "size"),
        ("tags", tables.TEXTS, "tags"),
        ("made", tables.TIME, "when"),
    ),
    cluster_by=("name",),
    statistics=("name", "size"),
    open_columns=("call_*",),
)
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
ROWS = [
    {"name": "b", "size": 3, "tags": ["x", None], "made": NOON},
    {"name": None, "size": -1, "tags": [], "made": None},
    {"name": "é", "size": None, "tags": None, "made": NOON},
]


def put(spark: SparkSession, home: str, *names: str, **options: Any) -> store.Commit:
    rows: list[dict[str, Any]] = [
        {"name": n, "size": i, "tags": [], "made": None} for i, n in enumerate(names)
    ]
    return store.put(spark, rows, TABLE, home, **options)


def names(spark: SparkSession, home: str) -> list[str]:
    return sorted(row["name"] for row in store.read(spark, TABLE, home).collect())


def unnamed(home: Path) -> set[str]:
    """Data files that no commit of the table has named."""
    folder = home / TABLE.name
    log = "".join(one.read_text() for one in folder.glob("_delta_log/*.json"))
    return {file.name for file in folder.glob("*.parquet") if file.name not in log}


def test_file_writer__rows_footer_and_statistics(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS, to_arrow_schema(TABLE.schema))
    staged = staging.stage(table, str(tmp_path), ["name", "size"])
    assert staged is not None
    path = tmp_path / staged.name
    assert pq.read_table(path).to_pylist() == table.to_pylist()
    assert (staged.size, staged.rows) == (path.stat().st_size, 3)
    assert json.loads(staged.statistics) == {
        "numRecords": 3,
        "minValues": {"name": "b", "size": -1},
        "maxValues": {"name": "é", "size": 3},
        "nullCount": {"name": 1, "size": 1},
    }


def test_file_writer__row_groups_are_bounded_and_nothing_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_GROUP_BYTES", 1000)
    writer = FileWriter(str(tmp_path / "a"), ["x"])
    for i in range(10):
        writer.add(pa.RecordBatch.from_pydict({"x": pa.array(range(50 * i, 50 * i + 50))}))
    staged = writer.close()
    assert staged is not None
    file = pq.ParquetFile(tmp_path / "a" / staged.name)
    assert 1 < file.num_row_groups < 10
    assert file.read()["x"].to_pylist() == list(range(500))
    assert FileWriter(str(tmp_path / "b"), ["x"]).close() is None
    assert not (tmp_path / "b").exists()


def test_file_writer__what_is_cut_short_in_storage_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = FileWriter(str(tmp_path), [])
    writer.add(pa.RecordBatch.from_pydict({"x": [1, 2]}))
    monkeypatch.setattr(staging, "_footer_rows", lambda _: 1)
    with pytest.raises(StorageError, match="2 rows written, 1 stored"):
        writer.close()


def test_file_writer__abandoned_leaves_nothing(tmp_path: Path) -> None:
    writer = FileWriter(str(tmp_path), [])
    writer.add(pa.RecordBatch.from_pydict({"x": [1, 2]}))
    writer._flush()
    assert list(tmp_path.iterdir())
    writer.abandon()
    assert not list(tmp_path.iterdir())


def test_put__spark_reads_the_rows_skips_files_and_the_history_tells(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    commit = store.put(spark, ROWS, TABLE, home)
    assert (commit.version, commit.rows, commit.files) == (1, 3, 1)
    rows = store.read(spark, TABLE, home).orderBy("size").collect()
    assert [row["name"] for row in rows] == ["é", None, "b"]
    assert [row["tags"] for row in rows] == [None, [], ["x", None]]
    assert rows[2]["made"].replace(tzinfo=None) in (
        NOON.replace(tzinfo=None),
        NOON.astimezone().replace(tzinfo=None),
    )
    put(spark, home, "z")
    (last, *_) = upkeep.history(spark, TABLE, home)
    assert last["operation"] == "WRITE" and last["metrics"]["numOutputRows"] == "1"
    few = store.read(spark, TABLE, home).where("name > 'y'")
    assert len(few.inputFiles()) == 2  # é lies behind z
    assert len(store.read(spark, TABLE, home).where("size = 3").inputFiles()) == 1


def test_put__replaces_what_where_selects(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path)
    put(spark, home, "a", "b", "c")
    assert put(spark, home, "b", where=Where.of(name="b")).rows == 1
    assert names(spark, home) == ["a", "b", "c"]
    assert put(spark, home, where=Where.of(name="a")).rows == 0  # nothing in its place
    assert names(spark, home) == ["b", "c"]
    before = store.version(spark, TABLE, home)
    put(spark, home, "a", where=Where.of(name="a"))
    assert names(spark, home) == ["a", "b", "c"]
    before = store.version(spark, TABLE, home)
    put(spark, home, where=Where.of(name="nobody"))
    assert store.version(spark, TABLE, home) == before


def test_put__files_whose_rows_all_go_are_removed_and_others_rewritten(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    put(spark, home, "a", "b")
    put(spark, home, "c")
    put(spark, home, "x", "y", "z", where=Where.of(name=list("abxyz")))  # their own file
    (last, *_) = upkeep.history(spark, TABLE, home)
    assert (last["operation"], last["metrics"]["numOutputRows"]) == ("WRITE", "3")
    assert names(spark, home) == ["c", "x", "y", "z"]
    put(spark, home, "n", where=Where.of(name=list("cny")))  # y shares a file with x and z
    assert names(spark, home) == ["n", "x", "z"]
    assert unnamed(tmp_path) == set()  # what was staged for it is gone
    put(spark, home, where=Where.of(name=list("zyxna")))
    assert names(spark, home) == []


def test_put__rows_of_a_tables_first_version_are_replaced_too(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    rows = spark.createDataFrame([("a", 1, [], None), ("b", 2, [], None)], TABLE.schema)
    rows.coalesce(1).write.format("delta").save(store.path(home, TABLE))  # as a clone: not by us
    assert store.version(spark, TABLE, home) == 0
    put(spark, home, "a", where=Where.of(name="a"))
    assert names(spark, home) == ["a", "b"]


def test_adopt__new_columns_widen_the_table_in_the_same_commit(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    put(spark, home, "a")
    schema = StructType(
        [*TABLE.schema.fields, StructField("call_DP", BinaryType(), True, {"vcf.key": "DP"})]
    )
    rows = [{"name": "b", "size": 1, "tags": [], "made": None, "call_DP": b"\1"}]
    table = pa.Table.from_pylist(rows, to_arrow_schema(schema))
    staged = staging.stage(table, store.folder(home, TABLE), TABLE.statistics)
    assert staged is not None
    commit = store.adopt(spark, [staged], schema, TABLE, home)
    assert commit.version == 2
    df = store.read(spark, TABLE, home)
    assert df.schema["call_DP"].metadata["vcf.key"] == "DP"
    found = {row["name"]: row["call_DP"] for row in df.collect()}
    assert found == {"a": None, "b": b"\1"}
    other = StructType([*TABLE.schema.fields, StructField("call_DP", LongType())])
    with pytest.raises(TableError, match="call_DP: stored as binary"):
        store.adopt(spark, [staged], other, TABLE, home)
    with pytest.raises(TableError, match="colour: unknown column"):
        store.adopt(spark, [], StructType([*schema.fields, StructField("colour", LongType())]),
                    TABLE, home)  # fmt: skip


def test_transaction__two_that_share_an_application_exclude_each_other(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    put(spark, home, "a")
    log = commits.open_log(spark, store.path(home, TABLE))
    mine, yours, other = (
        commits.Transaction(spark, log, [name]) for name in ("file 1", "file 1", "file 2")
    )
    staged = [
        staging.stage(
            pa.Table.from_pylist(ROWS[:1], to_arrow_schema(TABLE.schema)),
            store.folder(home, TABLE),
            TABLE.statistics,
        )
        for _ in range(3)
    ]
    files = [file for file in staged if file is not None]
    assert mine.commit(files[:1]) == 2
    assert other.commit(files[1:2]) == 3
    with pytest.raises(TableError, match="another run changed the table at the same time"):
        yours.commit(files[2:])
    assert store.read(spark, TABLE, home).count() == 3


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE delta.`{}` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        "ALTER TABLE delta.`{}` ADD CONSTRAINT positive CHECK (size >= 0)",
    ],
)
def test_put__tables_that_ask_more_of_a_file_are_written_by_spark(
    spark: SparkSession, tmp_path: Path, sql: str
) -> None:
    home = str(tmp_path)
    put(spark, home, "a")
    assert store.can_adopt(spark, TABLE, home)
    spark.sql(sql.format(store.path(home, TABLE)))
    assert not store.can_adopt(spark, TABLE, home)
    put(spark, home, "b")
    assert names(spark, home) == ["a", "b"]


def test_can_adopt__not_where_python_cannot_write_or_delta_is_hidden(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.can_adopt(spark, TABLE, "dbfs:/study")
    assert not store.can_adopt(spark, TABLE, "hdfs://127.0.0.1:1/study")  # nobody answers
    assert not filesystems.is_known("dbfs:/study") and filesystems.is_known("s3a://bucket/x")
    assert store.can_adopt(spark, TABLE, str(tmp_path))
    monkeypatch.setattr(commits, "open_log", lambda *_: None)
    assert not store.can_adopt(spark, TABLE, str(tmp_path))
    put(spark, str(tmp_path), "a")
    put(spark, str(tmp_path), "b")
    assert names(spark, str(tmp_path)) == ["a", "b"]
    assert store.version(spark, TABLE, str(tmp_path)) == 2


@pytest.mark.parametrize(
    "where",
    [
        Where.of(name="b"),
        Where.of(name=["a", "it's", "back\\slash", "é"]),
        Where.of(name=["b", "c"], place="x") | Where.of(place="y"),
        Where.of(name=[]),
        Where.of(name="nobody"),
        Where.of(name="b") | Where.of(name="b", place="z"),
        ALL,
    ],
)
def test_where__python_counts_what_spark_finds(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Where
) -> None:
    monkeypatch.setattr(staging, "ROW_GROUP_BYTES", 60)
    names = ["a", "b", None, "it's", "back\\slash", "é", "b", "c", "z", "c"]
    places = ["x", "x", "y", None, "z", "x", "z", "x", "y", "y"]
    writer = FileWriter(str(tmp_path), ["name"])
    for i in range(0, 10, 2):
        writer.add(
            pa.RecordBatch.from_pydict({"name": names[i : i + 2], "place": places[i : i + 2]})
        )
    file = writer.close()
    assert file is not None
    path = tmp_path / file.name
    assert pq.ParquetFile(path).num_row_groups > 1
    expected = spark.read.parquet(str(path)).where(where.sql).count()
    assert staging.count(str(path), where) == expected
    assert (expected > 0) == (where not in (Where.of(name=[]), Where.of(name="nobody")))


def test_put__files_are_counted_by_spark_where_rows_are_deleted_inside(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path)
    put(spark, home, "a", "b", "c")
    uri = store.path(home, TABLE)
    spark.sql(f"ALTER TABLE delta.`{uri}` SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    spark.sql(f"DELETE FROM delta.`{uri}` WHERE name = 'b'")
    put(spark, home, "n", where=Where.of(name=["a", "b", "n"]))
    assert names(spark, home) == ["c", "n"]
    put(spark, home, "m", where=ALL)
    assert names(spark, home) == ["m"]


def test_writer__what_never_repeats_has_no_dictionary(tmp_path: Path) -> None:
    table = pa.table(
        {
            "name": [f"r{i}" for i in range(2000)],
            "asked": [f"r{i}" for i in range(2000)],
            "cohort": ["a", "b"] * 1000,
            "offset": [3 * i - 1000 for i in range(2000)],
        }
    )
    staged = staging.stage(table, str(tmp_path), ["asked", "offset"])
    assert staged is not None
    uri = str(tmp_path / staged.name)
    group = pq.read_metadata(uri).row_group(0)
    found = {
        group.column(i).path_in_schema: (
            group.column(i).has_dictionary_page, group.column(i).is_stats_set
        )
        for i in range(4)
    }  # fmt: skip
    assert found == {
        "name": (False, False), "asked": (False, True), "cohort": (True, True),
        "offset": (False, True),
    }  # fmt: skip
    assert "DELTA_BINARY_PACKED" in group.column(3).encodings
    assert json.loads(staged.statistics)["minValues"]["offset"] == -1000
    assert pq.read_table(uri).equals(table)


@pytest.mark.parametrize("noted", [True, False], ids=["checksum", "kernel"])
def test_listing__files_as_spark_lists_them(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    home = str(tmp_path / "a b")  # a space is escaped in URIs
    put(spark, home, "a")
    put(spark, home, "b", "c")
    put(spark, home, "d", where=Where.of(name=["a", "d"]))
    if not noted:
        monkeypatch.setattr(commits, "_listed", lambda *_: None)
    log = commits.open_log(spark, store.path(home, TABLE))
    found = commits.listing(spark, log, store.path(home, TABLE), store.folder(home, TABLE))
    assert found is not None and found[0] == store.version(spark, TABLE, home)
    wanted = store.read(spark, TABLE, home).inputFiles()
    assert len(wanted) == 2
    assert sorted(map(filesystems.absolute, found[1])) == sorted(map(filesystems.absolute, wanted))
    rows = stored.stored_rows(spark, TABLE, home)
    assert rows is not None
    assert sorted(rows.select(["name"]).table()["name"].to_pylist()) == ["b", "c", "d"]
