"""Ingestion of VCF files: nothing lost, nothing twice, earlier rows back after an error."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import commits, filesystems, store, tables, upkeep
from geneai_spark.errors import InputError, ReconciliationError
from geneai_spark.filesystems import source_id
from geneai_spark.formats import vcf
from geneai_spark.ingest import checks, ingest_variants, intake, ledger, options, writing
from geneai_spark.table import Table
from tests.vcf_files import text, write

WATCHED = (tables.VARIANTS, tables.SAMPLES, tables.REJECTS, tables.INGESTS)


SPARK_WRITES = "Spark writes"
#: The second way takes twice the time: two tests go it each time, the others with `make faults`.
both_ways = pytest.mark.parametrize("either_way", ["tasks write", SPARK_WRITES], indirect=True)
second_way_slow = pytest.mark.parametrize(
    "either_way",
    ["tasks write", pytest.param(SPARK_WRITES, marks=pytest.mark.slow)],
    indirect=True,
)


@pytest.fixture
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tasks write the files, or Spark does, as where Python cannot write to the storage."""
    if request.param == SPARK_WRITES:
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    return str(request.param)


def versions(spark: SparkSession, warehouse: str) -> dict[str, int | None]:
    return {table.name: store.version(spark, table, warehouse) for table in WATCHED}


def places(spark: SparkSession, warehouse: str, uri: str) -> list[int]:
    rows = store.read(spark, tables.VARIANTS, warehouse).where(f"sourceId = '{source_id(uri)}'")
    return sorted(row["start"] for row in rows.select("start").collect())


def samples(spark: SparkSession, warehouse: str, cohort: str) -> list[str]:
    rows = store.read(spark, tables.SAMPLES, warehouse).where(f"cohort = '{cohort}'")
    return [row["sampleId"] for row in rows.orderBy("sampleIndex").collect()]


def touch(path: str) -> None:
    """Another modification time, the same bytes."""
    status = os.stat(path)
    os.utime(path, (status.st_atime, status.st_mtime + 10))


@both_ways
def test_ingest__twice_changes_nothing_and_a_changed_file_replaces_its_rows(
    spark: SparkSession, tmp_path: Path, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(records=3, bad=[1]))
    b = write(tmp_path / "b.vcf.bgz", text(records=2, first=500))
    told = ingest_variants(spark, home, str(tmp_path / "*.vcf*"))
    counts = {k: told[k] for k in told if k.startswith("records") or k.startswith("files")}
    assert counts == {
        "files": 2,
        "files_unchanged": 0,
        "records_in": 5,
        "records_stored": 4,
        "records_rejected": 1,
    }
    assert (places(spark, home, a), places(spark, home, b)) == ([99, 101], [499, 500])
    (reject,) = store.read(spark, tables.REJECTS, home).collect()
    assert (reject.sourceId, reject.line) == (source_id(a), 7)
    assert "POS" in reject.reason
    assert samples(spark, home, "default") == ["A", "B"]
    entry = ledger.load(spark, home)[source_id(a)]
    assert (entry.status, entry.recordsIn, entry.recordsStored, entry.recordsRejected) == (
        "stored",
        3,
        2,
        1,
    )
    assert entry.checksum == filesystems.checksum(a)
    assert entry.cohort == "default"

    before = versions(spark, home)
    touch(a)  # same size and bytes: the checksum tells
    told = ingest_variants(spark, home, [a, b])
    assert told["files_unchanged"] == 2
    assert versions(spark, home) == before

    write(tmp_path / "a.vcf", text(records=2, first=900))
    told = ingest_variants(spark, home, [a, b])
    assert (told["files_unchanged"], told["records_stored"]) == (1, 2)
    assert (places(spark, home, a), places(spark, home, b)) == ([899, 900], [499, 500])
    assert store.read(spark, tables.REJECTS, home).count() == 0

    told = ingest_variants(spark, home, [b], info=())
    assert told["files_unchanged"] == 0  # other options: other rows
    told = ingest_variants(spark, home, [b], info=(), force=True)
    assert told["records_stored"] == 2
    assert store.read(spark, tables.VARIANTS, home).count() == 4


@second_way_slow
def test_ingest__a_bad_file_is_named_and_the_others_are_stored(
    spark: SparkSession, tmp_path: Path, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    good = write(tmp_path / "a.vcf", text(records=2))
    other = write(tmp_path / "b.vcf", text(records=1, info="String"))  # INFO/XX of another type
    cut = write(tmp_path / "c.vcf", "no header\n")
    line = write(tmp_path / "d.vcf", text(records=3, bad=[2]))
    strangers = write(tmp_path / "e.vcf", text(samples=["A", "SECRET"]))
    every = [good, other, cut, line, strangers]
    with pytest.raises(InputError) as caught:
        ingest_variants(spark, home, every, on_malformed="fail")
    message = str(caught.value)
    assert message.startswith("4 of 5 files were not stored: ")
    assert "SECRET" not in message
    for part in [f"{other}: ", f"{cut}: ", f"{line}: ", "line 8", f"{strangers}: ", "columns 2"]:
        assert part in message
    entries = ledger.load(spark, home)
    states = {uri: entries[source_id(uri)].status for uri in every}
    assert states == {good: "stored", **dict.fromkeys(every[1:], "failed")}
    assert "XX" in str(entries[source_id(other)].reason)
    assert places(spark, home, good) == [99, 100]
    assert store.read(spark, tables.VARIANTS, home).count() == 2
    before = versions(spark, home)
    with pytest.raises(InputError):
        ingest_variants(spark, home, [good, cut], on_malformed="fail")
    assert versions(spark, home) == before  # the same failure is not told twice

    with pytest.raises(InputError, match=r"c\.vcf: not stored"):
        ingest_variants(spark, home, [cut, good], on_error="stop")


def test_ingest__samples_in_another_order_are_put_in_the_cohorts(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = str(tmp_path / "wh")
    a = text(samples=["A", "B"], records=1).replace("\tGT\t", "\tGT\t")
    a = a[: a.rindex("\tGT\t")] + "\tGT\t0/1\t1/1\n"
    b = a.replace("FORMAT\tA\tB", "FORMAT\tB\tA")
    ingest_variants(spark, home, write(tmp_path / "a.vcf", a))
    ingest_variants(spark, home, write(tmp_path / "b.vcf", b))
    sites = write(tmp_path / "s.vcf", text(samples=[], records=1))
    ingest_variants(spark, home, sites)  # no samples: fits every cohort
    rows = store.read(spark, tables.VARIANTS, home).collect()
    calls = {row.sourceId: row.call_genotype and bytes(row.call_genotype) for row in rows}
    assert calls == {
        source_id(str(tmp_path / "a.vcf")): b"\0\1\1\1",
        source_id(str(tmp_path / "b.vcf")): b"\1\1\0\1",
        source_id(sites): None,
    }
    assert samples(spark, home, "default") == ["A", "B"]


def test_ingest__each_file_its_own_cohort(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    (tmp_path / "x").mkdir()
    write(tmp_path / "a.vcf", text(samples=["A"], records=1))
    write(tmp_path / "b.vcf", text(samples=["B", "C"], records=1))
    ingest_variants(spark, home, str(tmp_path / "*.vcf"), per_file_cohort=True)
    again = write(tmp_path / "x" / "a.vcf", text(samples=["D"], records=1))
    ingest_variants(spark, home, again, per_file_cohort=True)
    longer = f"a-{source_id(again)[:6]}"
    rows = store.read(spark, tables.VARIANTS, home).select("cohort").collect()
    assert sorted(row.cohort for row in rows) == ["a", longer, "b"]
    found = {cohort: samples(spark, home, cohort) for cohort in ("a", "b", longer)}
    assert found == {"a": ["A"], "b": ["B", "C"], longer: ["D"]}
    with pytest.raises(InputError, match="rows are in cohort 'b'; force=true moves them"):
        ingest_variants(spark, home, str(tmp_path / "b.vcf"), cohort="other")


def test_ingest__an_only_file_may_change_its_samples(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(samples=["A", "B"]))
    ingest_variants(spark, home, a)
    write(tmp_path / "a.vcf", text(samples=["X", "Y", "Z"]))
    ingest_variants(spark, home, a)
    assert samples(spark, home, "default") == ["X", "Y", "Z"]


@both_ways
def test_ingest__rows_that_vanish_are_an_error_and_the_earlier_rows_come_back(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(records=3))
    b = write(tmp_path / "b.vcf", text(records=2, first=500))
    ingest_variants(spark, home, [a, b])
    write(tmp_path / "a.vcf", text(records=4, first=700))
    real, written = store.write, list[str]()

    def lossy(df: Any, table: Table, *rest: Any, **named: Any) -> store.Commit:
        loses = not written  # the first write; the later one puts the rows back
        written.append(table.name)
        return real(df.where("start != 700") if loses else df, table, *rest, **named)

    told = {
        "tasks write": "4 rows to store, but 3 were; the earlier rows are back",
        "Spark writes": "4 lines and 4 rows read, of them 0 rejected, but 3",
    }
    with monkeypatch.context() as patched:
        patched.setattr(store, "write", lossy)
        with pytest.raises(InputError, match=told[either_way]):
            ingest_variants(spark, home, [a, b])
    assert places(spark, home, a) == [99, 100, 101]  # as before
    assert places(spark, home, b) == [499, 500]
    entry = ledger.load(spark, home)[source_id(a)]
    assert (entry.status, entry.recordsStored) == ("failed", 3)
    ingest_variants(spark, home, [a, b])
    assert places(spark, home, a) == [699, 700, 701, 702]


def lose_a_row(done: list[Any]) -> list[Any]:
    done[0].stored.subtract({source: 1 for source in done[0].stored})
    return done


def lose_a_file(done: list[Any]) -> list[Any]:
    return [done[0]._replace(files={})]


@pytest.mark.parametrize(
    ("lose", "match"),
    [
        (lose_a_row, "3 lines read, but 2 to store and 0 rejected"),
        (lose_a_file, "3 rows made for variants, but its files hold 0"),
    ],
)
def test_ingest__what_tasks_lose_is_an_error_and_nothing_is_committed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Any, match: str
) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(records=3))
    real = writing.run
    monkeypatch.setattr(writing, "run", lambda *given: lose(real(*given)))
    with pytest.raises(InputError, match=match):
        ingest_variants(spark, home, a)
    assert store.version(spark, tables.VARIANTS, home) == 0  # made, and nothing added
    assert ledger.load(spark, home)[source_id(a)].status == "failed"


@second_way_slow
def test_ingest__a_file_that_changes_while_it_is_read_is_not_kept(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, either_way: str
) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(records=3, bad=[1]))
    real = vcf.plan

    def slow(*given: Any, **named: Any) -> Any:
        touch(a)
        return real(*given, **named)

    monkeypatch.setattr(vcf, "plan", slow)
    with pytest.raises(InputError, match="changed while it was read; nothing of it was kept"):
        ingest_variants(spark, home, a)
    assert store.read(spark, tables.VARIANTS, home).count() == 0
    if either_way == "tasks write":  # what was staged is gone
        assert not [*Path(home).glob("variants/*.parquet"), *Path(home).glob("rejects/*.parquet")]


def test_ingest__two_runs_at_once_do_not_store_a_file_twice(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "wh")
    a = write(tmp_path / "a.vcf", text(records=3))
    b = write(tmp_path / "b.vcf", text(records=2, first=500))
    real = commits.Transaction

    def overtaken(*given: Any, **named: Any) -> commits.Transaction:
        monkeypatch.setattr(commits, "Transaction", real)
        begun = real(*given, **named)
        ingest_variants(spark, home, [a, b])  # another run, between our looking and our commit
        return begun

    monkeypatch.setattr(commits, "Transaction", overtaken)
    with pytest.raises(InputError, match="another run changed the table at the same time"):
        ingest_variants(spark, home, b)
    assert places(spark, home, b) == [499, 500]
    assert store.read(spark, tables.VARIANTS, home).count() == 5


def test_ingest__only_header_and_regions(spark: SparkSession, tmp_path: Path) -> None:
    home = str(tmp_path / "wh")
    empty = write(tmp_path / "a.vcf", text(records=0))
    told = ingest_variants(spark, home, empty)
    assert (told["records_in"], told["records_stored"]) == (0, 0)
    assert ledger.load(spark, home)[source_id(empty)].stored
    b = write(tmp_path / "b.vcf", text(records=5))
    told = ingest_variants(spark, home, b, regions=("22:101-102",))
    assert (told["records_in"], told["records_stored"]) == (2, 2)


def test_ingest__many_small_files_are_merged(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_MANY_SMALL_FILES", 1)
    home = str(tmp_path / "wh")
    for i in range(3):
        write(tmp_path / f"{i}.vcf", text(records=1, first=100 * i + 1))
    ingest_variants(spark, home, str(tmp_path / "*.vcf"), group_files=1)
    assert upkeep.describe(spark, tables.VARIANTS, home)["files"] == 1
    assert store.read(spark, tables.VARIANTS, home).count() == 3
    last = store.version(spark, tables.VARIANTS, home)
    ingest_variants(spark, home, str(tmp_path / "*.vcf"), group_files=1)
    assert store.version(spark, tables.VARIANTS, home) == last


def test_reconcile__each_number_counts() -> None:
    seen = {"lines": 5, "rows": 5, "rejected": 1, "weighted": 3 * 0xAAAAA + 2 * 0xBBBBB}
    stored, rejected = {"aaaaa0": 3, "bbbbb0": 1}, {"bbbbb0": 1}
    checks.reconcile(seen, stored, rejected, whole=True)
    checks.reconcile(seen | {"lines": 9}, stored, rejected, whole=False)
    wrong: list[tuple[dict[str, int], dict[str, int], dict[str, int]]] = [
        (seen | {"lines": 6}, stored, rejected),
        (seen | {"rows": 4}, stored, rejected),
        (seen, {"aaaaa0": 2, "bbbbb0": 2}, rejected),  # the total is right, the files are not
        (seen, {"aaaaa0": 3, "bbbbb0": 2}, {}),
    ]
    for numbers in wrong:
        with pytest.raises(ReconciliationError):
            checks.reconcile(*numbers, whole=True)


def test_is_current__by_size_time_checksum_and_options(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "abc")
    info = filesystems.stat(path)
    rest: dict[str, Any] = {
        "cohort": "c",
        "recordsIn": 1,
        "recordsStored": 1,
        "recordsRejected": 0,
        "options": "o",
        "genomeBuild": None,
        "tableVersion": 1,
    }
    entry = ledger.stored_entry(info, "variants", checksum=filesystems.checksum(path), **rest)
    assert ledger.is_current(entry, info, "o")
    assert not ledger.is_current(None, info, "o")
    assert not ledger.is_current(entry, info, "other")
    assert not ledger.is_current(dataclasses.replace(entry, status="failed"), info, "o")
    later = dataclasses.replace(info, modified=(info.modified or 0) + 1)
    assert ledger.is_current(entry, later, "o")
    assert not ledger.is_current(dataclasses.replace(entry, checksum=None), later, "o")
    write(tmp_path / "f", "abd")
    assert not ledger.is_current(entry, later, "o")


def test_options__only_what_changes_rows_changes_the_fingerprint(tmp_path: Path) -> None:
    plain = options.VariantOptions()
    ids = write(tmp_path / "ids", "A\nB\n")
    same: list[dict[str, Any]] = [{"force": True}, {"optimize": "never"}]
    same += [{"checksum": False}, {"group_files": 1}]
    other: list[dict[str, Any]] = [{"genotypes": False}, {"regions": ("22",)}, {"contigs": "hg38"}]
    other += [{"samples_file": ids}, {"cohort": "x"}, {"on_malformed": "fail"}, {"info": ()}]
    for change in same:
        assert dataclasses.replace(plain, **change).fingerprint() == plain.fingerprint()
    for change in other:
        assert dataclasses.replace(plain, **change).fingerprint() != plain.fingerprint()
    chosen = dataclasses.replace(plain, samples_file=ids)
    before = chosen.fingerprint()
    write(tmp_path / "ids", "A\n")
    assert chosen.fingerprint() != before
