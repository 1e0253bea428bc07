"""Ingestion of FASTQ files: nothing lost, nothing twice, mates side by side or an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import store, tables
from geneai_spark.errors import ConfigError, InputError
from geneai_spark.filesystems import source_id
from geneai_spark.formats import bgzf, fastq, fastq_mates
from geneai_spark.formats.fastq_lines import INTERLEAVED
from geneai_spark.formats.fastq_mates import Member
from geneai_spark.ingest import ledger, writing
from geneai_spark.ingest.reads import ingest_reads
from tests import fastq_files
from tests.fastq_files import Read

WATCHED = (tables.READS, tables.REJECTS, tables.INGESTS)


@pytest.fixture(params=["tasks write", "Spark writes"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tasks write the files, or Spark does, as where Python cannot write to the storage."""
    if request.param == "Spark writes":
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    return str(request.param)


def some(count: int, mate: int = 1, first: int = 0) -> list[Read]:
    return [
        Read(f"run:{i}/{mate}", "ACGT"[: i % 5] + "N", "@+I!"[: i % 5] + "F")
        for i in range(first, first + count)
    ]


def versions(spark: SparkSession, home: str) -> dict[str, int | None]:
    return {table.name: store.version(spark, table, home) for table in WATCHED}


def stored(spark: SparkSession, home: str, uri: str) -> list[Any]:
    rows = store.read(spark, tables.READS, home).where(f"sourceId = '{source_id(uri)}'")
    return rows.orderBy("offset").collect()


def put(path: Path, reads: list[Read], compression: str = bgzf.PLAIN) -> str:
    return fastq_files.write(path, fastq_files.text(reads, comment=" 1:N:0"), compression)


@pytest.mark.parametrize(
    ("compression", "adopts"),
    [(bgzf.PLAIN, True), (bgzf.GZIP, True), (bgzf.BGZF, True), (bgzf.BGZF, False)],
)
def test_ingest__pairs_are_joined_by_key_and_name(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compression: str,
    adopts: bool,
) -> None:
    if not adopts:
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    home = str(tmp_path / "wh")
    a = put(tmp_path / "NA1_S3_L001_R1_001.fastq.gz", some(300), compression)
    b = put(tmp_path / "NA1_S3_L001_R2_001.fastq.gz", some(300, 2), compression)
    single = put(tmp_path / "other.fq", some(5))
    told = ingest_reads(spark, home, str(tmp_path / "*.f*q*"))
    counts = [told[f"records_{name}"] for name in ("in", "stored", "rejected")]
    assert (told["files"], told["pairs"], counts) == (3, 1, [605, 605, 0])
    for uri, mate, reads in ((a, 1, some(300)), (b, 2, some(300, 2)), (single, 0, some(5))):
        rows = stored(spark, home, uri)
        assert [(r.readName, r.sequence, r.quality) for r in rows] == [
            (one.name[:-2] if mate else one.name, one.sequence, one.quality) for one in reads
        ]
        assert {(r.mate, r.cohort, r.sampleId) for r in rows} == {
            (mate, "default", "NA1" if mate else "other")
        }
        assert all((r.pairKey is None) == (mate == 0) for r in rows)
    rows = store.read(spark, tables.READS, home)
    one, two = (rows.where(f"mate = {mate}") for mate in (1, 2))
    assert one.join(two, ["pairKey", "readName"]).count() == 300
    assert one.select("pairKey").distinct().count() == 300


def test_ingest__twice_changes_nothing_and_a_changed_file_replaces_its_rows(
    spark: SparkSession, tmp_path: Path, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    bad = b"@r\nACGT\n+\nIII\n"
    a = fastq_files.write(tmp_path / "a.fq", fastq_files.text(some(3)) + bad)
    b = put(tmp_path / "b.fq", some(4))
    told = ingest_reads(spark, home, [a, b])
    assert (told["records_in"], told["records_stored"], told["records_rejected"]) == (8, 7, 1)
    (reject,) = store.read(spark, tables.REJECTS, home).collect()
    assert (reject.sourceId, reject.line) == (source_id(a), 13)
    assert reject.reason == "quality: expected 4 characters, one a base, found 3"
    entry = ledger.load(spark, home)[source_id(a)]
    assert (entry.kind, entry.recordsIn, entry.recordsStored, entry.recordsRejected) == (
        "reads", 4, 3, 1,
    )  # fmt: skip
    before = versions(spark, home)
    os.utime(a, (1, 1))  # the same bytes: the checksum tells
    assert ingest_reads(spark, home, [a, b])["files_unchanged"] == 2
    assert versions(spark, home) == before

    put(tmp_path / "a.fq", some(2, first=10))
    told = ingest_reads(spark, home, [a, b])
    assert (told["files_unchanged"], told["records_stored"]) == (1, 2)
    assert [row.readName for row in stored(spark, home, a)] == ["run:10/1", "run:11/1"]
    assert len(stored(spark, home, b)) == 4
    assert store.read(spark, tables.REJECTS, home).count() == 0
    told = ingest_reads(spark, home, b, sample="other")
    assert {row.sampleId for row in stored(spark, home, b)} == {"other"}


def test_ingest__mates_that_do_not_fit_are_an_error_and_the_others_are_stored(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path / "wh")
    swapped = some(40, 2)
    swapped[20], swapped[21] = swapped[21], swapped[20]
    good = [put(tmp_path / f"a_{mate}.fq", some(9, mate)) for mate in (1, 2)]
    for name, first, second in (
        ("order", some(40), swapped),
        ("short", some(40), some(39, 2)),
        ("wrong", some(3), some(3)),  # /1 in both
    ):
        put(tmp_path / f"{name}_1.fq", first)
        put(tmp_path / f"{name}_2.fq", second)
    lone = put(tmp_path / "lone_R2.fq", some(3, 2))
    with pytest.raises(InputError) as caught:
        ingest_reads(spark, home, str(tmp_path / "*.fq"))
    message = str(caught.value)
    assert message.startswith("7 of 9 files were not stored: ")
    assert "order_2.fq, record 21: expected the read name of record 21 of" in message
    assert "short_2.fq, record 40: expected as many records as" in message
    assert "wrong_2.fq, record 1: expected the read name" in message
    assert f"{lone}: no file of its mates among the inputs" in message
    assert "run:" not in message
    assert [len(stored(spark, home, uri)) for uri in good] == [9, 9]
    assert store.read(spark, tables.READS, home).count() == 18
    with pytest.raises(InputError, match="no file of its mates"):
        ingest_reads(spark, home, put(tmp_path / "x_R1.fq", some(1)), layout="paired")


def test_ingest__a_reject_of_a_pair_leaves_its_mate(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    data = fastq_files.text(some(20)).replace(b"@run:7/1", b"@\x80un:7/1")
    a = fastq_files.write(tmp_path / "a_1.fq", data)
    b = put(tmp_path / "a_2.fq", some(20, 2))
    told = ingest_reads(spark, home, [a, b])
    assert (told["records_stored"], told["records_rejected"]) == (39, 1)
    rows = store.read(spark, tables.READS, home)
    lone = rows.groupBy("pairKey", "readName").count().where("count = 1").collect()
    assert [row.readName for row in lone] == ["run:7"]


def test_ingest__a_changed_file_takes_its_mate_along(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    a = put(tmp_path / "a_1.fq", some(4))
    ingest_reads(spark, home, a)  # nobody else: single reads
    assert {row.mate for row in stored(spark, home, a)} == {0}
    b = put(tmp_path / "a_2.fq", some(4, 2))
    told = ingest_reads(spark, home, [a, b])
    assert (told["files_unchanged"], told["records_stored"]) == (0, 8)
    assert [{row.mate for row in stored(spark, home, uri)} for uri in (a, b)] == [{1}, {2}]


def test_ingest__interleaved_and_phred_64(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    reads = [Read(f"r{i}/{mate}", "AC", "h@") for i in range(3) for mate in (1, 2)]
    uri = put(tmp_path / "a.fq", reads)
    told = ingest_reads(spark, home, uri, layout="interleaved")
    assert (told["records_stored"], told["phred64"]) == (6, 1)
    rows = stored(spark, home, uri)
    assert [(r.readName, r.mate) for r in rows] == [(f"r{i}", m) for i in range(3) for m in (1, 2)]
    assert {r.quality for r in rows} == {"I!"}


def test_ingest__fails_if_asked_and_stores_nothing(
    spark: SparkSession, tmp_path: Path, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    uri = fastq_files.write(tmp_path / "a.fq", fastq_files.text(some(3)) + b"@x\nAC\n+\nI\n")
    with pytest.raises(InputError, match="line 13, quality: expected 2 characters"):
        ingest_reads(spark, home, uri, on_malformed="fail")
    assert store.read_or_empty(spark, tables.READS, home).count() == 0
    assert ledger.load(spark, home)[source_id(uri)].status == "failed"


def test_ingest__what_tasks_lose_is_an_error_and_nothing_is_committed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "wh")
    uri = put(tmp_path / "a.fq", some(3))
    real = writing.run

    def lossy(*given: Any) -> Any:
        done = real(*given)
        done[0].stored[source_id(uri)] -= 1
        return done

    monkeypatch.setattr(writing, "run", lossy)
    with pytest.raises(InputError, match="3 lines read, but 2 to store and 0 rejected"):
        ingest_reads(spark, home, uri)
    assert store.version(spark, tables.READS, home) == 0  # made, and nothing added


@pytest.mark.parametrize(
    ("name", "mate", "sample"),
    [
        ("NA12878_S1_L001_R1_001.fastq.gz", 1, "NA12878"),
        ("x_2.fq.bgz", 2, "x"),
        ("x.1.fastq", 1, "x"),
        ("x-R2.fq", 2, "x"),
        ("ERR1_r1.fastq", 1, "ERR1"),
        ("sample1.fq", 0, "sample1"),
        ("s_3.fq", 0, "s_3"),
        ("1.fq", 0, "1"),
    ],
)
def test_mates__told_by_names(name: str, mate: int, sample: str) -> None:
    assert fastq_mates.sample_name(f"s3://b/{name}") == sample
    uri = f"s3://b/{name}"
    other = uri[::-1].replace(str(mate), str(3 - mate), 1)[::-1]
    for wrong in ("_001", "L001"):  # the number of the mate is not the last in these
        if wrong in name:
            other = uri.replace("_R1_", "_R2_")
    found, lone = fastq_mates.units([uri, other] if mate else [uri], "auto")
    assert lone == []
    if mate:
        assert found == [[Member(min(uri, other), 1), Member(max(uri, other), 2)]]
    else:
        assert found == [[Member(uri, 0)]]
    assert fastq_mates.units([uri], "interleaved") == ([[Member(uri, INTERLEAVED)]], [])


def test_mates__of_other_folders_or_endings_are_none() -> None:
    for pair in (["a/x_1.fq", "b/x_2.fq"], ["x_1.fq", "x_2.fq.gz"], ["x_1.fq", "x.2.fq"]):
        found, lone = fastq_mates.units(pair, "auto")
        assert (found, lone) == ([[Member(pair[0], 0)]], [pair[1]])
    assert fastq_mates.units(["x_1.fq"], "paired") == ([], ["x_1.fq"])


def test_read__pairs_of_files_as_a_dataframe_of_reads(spark: SparkSession, tmp_path: Path) -> None:
    bad = b"@r\nACGT\n+\nIII\n"
    one = fastq_files.write(tmp_path / "a_1.fq.gz", fastq_files.text(some(50)) + bad, bgzf.BGZF)
    put(tmp_path / "a_2.fq.gz", some(50, 2), bgzf.GZIP)
    df = fastq.read(spark, str(tmp_path / "*.gz"), on_malformed="reject", partition_bytes=300)
    assert tables.READS.differences(df.schema) == []
    found = sorted(df.collect(), key=lambda row: (row.mate, row.offset))
    assert [(r.readName, r.sequence, r.quality, r.mate) for r in found] == [
        (r.name[:-2], r.sequence, r.quality, mate) for mate in (1, 2) for r in some(50, mate)
    ]
    assert {row.sampleId for row in found} == {"a"} and len({r.pairKey for r in found}) == 50
    (reject,) = fastq.read(spark, str(tmp_path / "*.gz"), emit="rejects").collect()
    assert (reject.sourceId, reject.line) == (source_id(one), 201)
    with pytest.raises(Exception, match="line 201, quality: expected 4 characters"):
        fastq.read(spark, one, layout="single").collect()
    with pytest.raises(ConfigError, match="layout='pairs': expected auto or single"):
        fastq.read(spark, one, layout="pairs")
    with pytest.raises(InputError, match="no file of its mates"):
        fastq.read(spark, one, layout="paired")
