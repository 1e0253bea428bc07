"""Ingestion of SAM and BAM files: nothing lost, nothing twice, a wrong cut read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import store, tables
from geneai_spark.errors import InputError
from geneai_spark.filesystems import source_id
from geneai_spark.formats import bam_records, bgzf, sam_header, sam_parts
from geneai_spark.ingest import alignments, ledger
from geneai_spark.ingest.alignments import ingest_alignments
from tests import sam_files
from tests.sam_files import RECORDS

BAD = "r\t0\tchr1\t1\t0\t2M\t*\t0\t0\tA\tI"


def stored(spark: SparkSession, home: str, uri: str) -> list[dict[str, Any]]:
    """The rows of a file, tags in the order of their names."""
    rows = store.read(spark, tables.ALIGNMENTS, home).where(f"sourceId = '{source_id(uri)}'")
    return [
        {**row.asDict(), "attributes": sorted(row.attributes.items())}
        for row in rows.orderBy("offset").collect()
    ]


def wanted(uri: str, sample: str) -> list[dict[str, Any]]:
    """What pysam reads, with what the table adds but for the offset."""
    added = {"sourceId": source_id(uri), "cohort": "default"}
    rows = sam_files.expected(uri, sample)
    return [{**row, **added, "attributes": sorted(row["attributes"])} for row in rows]


def without_offset(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "offset"} for row in rows]


@pytest.mark.parametrize(
    "writer", ["tasks write", pytest.param("Spark writes", marks=pytest.mark.slow)]
)
def test_ingest__rows_are_what_pysam_reads_and_rejects_have_reasons(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    if writer == "Spark writes":
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    home = str(tmp_path / "wh")
    data = sam_files.to_bam(tmp_path / "scratch", sam_files.text(RECORDS))
    bam = sam_files.write(tmp_path / "a.bam", data, bgzf.BGZF, 500)
    text = sam_files.write(tmp_path / "b.sam", sam_files.text([*RECORDS, BAD]))
    empty = sam_files.write(tmp_path / "c.sam", sam_files.text([]))
    told = ingest_alignments(spark, home, [bam, text, empty])
    n = len(RECORDS)
    assert [told[f"records_{name}"] for name in ("in", "stored", "rejected")] == [
        2 * n + 1,
        2 * n,
        1,
    ]
    assert without_offset(stored(spark, home, bam)) == wanted(bam, "a")
    assert without_offset(stored(spark, home, text)) == [
        {**row, "sourceId": source_id(text)} for row in wanted(bam, "b")
    ]
    (reject,) = store.read(spark, tables.REJECTS, home).collect()
    line = sam_files.HEADER.count("\n") + n + 1
    assert (reject.sourceId, reject.line, reject.text) == (source_id(text), line, BAD)
    assert reject.reason == "CIGAR: expected as many bases as SEQ has, found more or fewer"
    entries = ledger.load(spark, home)
    assert {entries[source_id(uri)].kind for uri in (bam, text, empty)} == {"alignments"}
    if writer == "Spark writes":
        return
    before = store.version(spark, tables.ALIGNMENTS, home)
    assert ingest_alignments(spark, home, [bam, text, empty])["files_unchanged"] == 3
    assert store.version(spark, tables.ALIGNMENTS, home) == before
    sam_files.write(tmp_path / "b.sam", sam_files.text(RECORDS[:2]))
    told = ingest_alignments(spark, home, [bam, text], sample="other")
    assert (told["files_unchanged"], told["records_stored"]) == (0, n + 2)
    assert {row["sampleId"] for row in stored(spark, home, bam)} == {"one", "two", "other"}
    assert len(stored(spark, home, text)) == 2
    assert store.read(spark, tables.REJECTS, home).count() == 0


def test_ingest__a_wrong_cut_is_seen_and_the_file_read_whole(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "wh")
    data = sam_files.to_bam(tmp_path / "scratch", sam_files.text(RECORDS))
    uri = sam_files.write(tmp_path / "a.bam", data, bgzf.BGZF, 500)
    body = sam_header.inspect(uri).body
    real = sam_parts.split
    monkeypatch.setattr(bam_records, "find_record", lambda *_: body + 5)  # where none begins
    monkeypatch.setattr(
        sam_parts, "split", lambda file, target: real(file, target and file.size // 2)
    )
    loads: list[frozenset[str]] = []
    load = alignments._Ingestion._load

    def seen(self: Any, group: Any, whole: frozenset[str]) -> Any:
        loads.append(whole)
        return load(self, group, whole)

    monkeypatch.setattr(alignments._Ingestion, "_load", seen)
    told = ingest_alignments(spark, home, uri)
    assert loads == [frozenset(), {source_id(uri)}]
    assert (told["records_stored"], told["records_rejected"]) == (len(RECORDS), 0)
    assert without_offset(stored(spark, home, uri)) == wanted(uri, "a")


def test_ingest__files_that_cannot_be_read_are_told_and_others_stored(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path / "wh")
    good = sam_files.write(tmp_path / "good.sam", sam_files.text(RECORDS[:3]))
    sam_files.write(tmp_path / "bad.sam", sam_files.text([RECORDS[0], BAD]))
    sam_files.write(tmp_path / "x.cram", b"CRAM\3\0")
    data = sam_files.to_bam(tmp_path / "scratch", sam_files.text(RECORDS))
    sam_files.write(tmp_path / "cut.bam", data[:-3])
    with pytest.raises(InputError) as caught:
        inputs = [str(tmp_path / name) for name in ("good.sam", "bad.sam", "x.cram", "cut.bam")]
        ingest_alignments(spark, home, inputs, on_malformed="fail")
    message = str(caught.value)
    assert message.startswith("3 of 4 files were not stored: ")
    assert "x.cram: expected SAM or BAM, found CRAM: convert it, samtools view" in message
    assert "line 10, CIGAR: expected as many bases as SEQ has" in message
    assert "record: expected a whole record, found the file's end inside it" in message
    assert [len(stored(spark, home, good)), len(ledger.load(spark, home))] == [3, 4]
    assert store.read(spark, tables.ALIGNMENTS, home).count() == 3


def test_first_wrong__is_the_first_in_order() -> None:
    right, missed = sam_parts.Outcome(0, True), sam_parts.Outcome(5, False)
    assert sam_parts.first_wrong([right, missed, right]) is missed
    assert sam_parts.first_wrong([right, right]) is None
