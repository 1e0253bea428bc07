"""A file that changes between planning and reading, or while it is read: told, and nothing kept.

Local files, S3 and HDFS. The new bytes have the size of the old ones, or not; the time is set back,
or, in S3, is the same second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import filesystems, storage, store, tables
from geneai_spark.errors import InputError
from geneai_spark.ingest import checks, ingest_traits, ingest_variants, intake, ledger, writing
from tests.faults.warehouse import contents
from tests.servers import s3 as s3_server
from tests.servers.hdfs import Hdfs
from tests.servers.s3 import S3
from tests.vcf_files import text, write

pytestmark = pytest.mark.slow

OLD, NEW = text(records=6, bad=[1]), text(records=6, bad=[1], seed=9)
assert len(OLD) == len(NEW)
TOLD = "changed while it was read; nothing of it was kept"


def rewritten(path: str) -> None:
    """In place, of the same size, and the time is set back."""
    at = os.stat(path)
    with open(path, "r+") as file:
        file.write(NEW)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def truncated(path: str) -> None:
    os.truncate(path, 300)


def appended(path: str) -> None:
    with open(path, "a") as file:
        file.write("22\t9000\t.\tA\tG\t.\tPASS\tXX=1\tGT\t0/0\t0/0\n")


def replaced(path: str) -> None:
    """By another file's name."""
    with open(f"{path}.new", "w") as file:
        file.write(NEW)
    os.replace(f"{path}.new", path)


def before_reading(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], None]) -> None:
    """Have the file spoilt when it is planned which task reads what."""
    real = writing.run

    def run(*given: Any) -> Any:
        spoil()
        return real(*given)

    monkeypatch.setattr(writing, "run", run)


def while_reading(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], None]) -> None:
    """Have the file spoilt in the task that reads it, when it has parsed some."""
    real = writing.run

    def run(spark: Any, table: Any, folders: Any, work: Any, parse: Any) -> Any:
        def spoilt(one: Any) -> Iterable[Any]:
            for number, piece in enumerate(parse(one)):
                if not number:
                    spoil()
                yield piece

        return real(spark, table, folders, work, spoilt)

    monkeypatch.setattr(writing, "run", run)


@pytest.mark.parametrize("spoil", [rewritten, truncated, appended, replaced])
@pytest.mark.parametrize("when", [before_reading, while_reading])
def test_local__is_told_and_the_earlier_rows_stay(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[str], None],
    when: Callable[..., None],
) -> None:
    home, a = str(tmp_path / "wh"), write(tmp_path / "a.vcf", text(records=2))
    if spoil is rewritten:  # with rows of an earlier state; else the warehouse is new
        ingest_variants(spark, home, a)
    before = contents(spark, home)
    write(tmp_path / "a.vcf", OLD)
    with monkeypatch.context() as patched:
        when(patched, lambda: spoil(a))
        with pytest.raises(InputError, match=rf"a\.vcf: {TOLD}"):
            ingest_variants(spark, home, a)
    found = contents(spark, home)
    ledger_row = found.pop("ingests")
    before.pop("ingests", None)
    assert found.pop("samples", None) == before.pop("samples", None)
    assert found == before and ledger_row[0] == 1
    if spoil is rewritten:
        ingest_variants(spark, home, a)
        ingest_variants(spark, str(tmp_path / "new"), a)
        assert contents(spark, home) == contents(spark, str(tmp_path / "new"))


def test_local__a_checksum_is_not_of_other_bytes_than_the_rows(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes after its rows are stored, while its checksum is still taken."""
    home, a = str(tmp_path / "wh"), write(tmp_path / "a.vcf", OLD)
    real = intake.filesystems.checksum
    stored = checks.same_file

    def slow(uri: str) -> str:
        while write(tmp_path / "seen", "") and not (tmp_path / "stored").exists():
            pass
        write(tmp_path / "a.vcf", NEW)
        return real(uri)

    def same_file(info: Any) -> None:
        stored(info)
        (tmp_path / "stored").touch()

    with monkeypatch.context() as patched:
        patched.setattr(filesystems, "checksum", slow)
        patched.setattr(checks, "same_file", same_file)
        ingest_variants(spark, home, a)
    (entry,) = ledger.load(spark, home).values()
    assert entry.checksum is None
    ingest_variants(spark, home, a)  # the new bytes
    ingest_variants(spark, str(tmp_path / "new"), a)
    assert contents(spark, home) == contents(spark, str(tmp_path / "new"))


def test_traits__are_told(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a.csv"
    a.write_text("sample,height\nA,1.5\nB,1.7\n")
    real = filesystems.checksum

    def changing(uri: str) -> str:
        a.write_text("sample,height\nA,1.5\nB,1.8\n")
        return real(uri)

    monkeypatch.setattr(filesystems, "checksum", changing)
    with pytest.raises(InputError, match=rf"a\.csv: {TOLD}"):
        ingest_traits(spark, str(tmp_path / "wh"), str(a))
    assert not store.exists(spark, tables.TRAITS, str(tmp_path / "wh"))


@pytest.fixture
def remote(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Tell this process and its tasks where storage is, for a test."""
    told = dict(spark.sparkContext.environment)

    def tell(**environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        storage.Storage().reach(spark)

    yield tell
    spark.sparkContext.environment.clear()
    spark.sparkContext.environment.update(told)


def overwritten(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    home = str(tmp_path / "wh")
    filesystems.write(uri, OLD.encode())
    with monkeypatch.context() as patched:
        before_reading(patched, lambda: filesystems.write(uri, NEW.encode()) and None)
        with pytest.raises(InputError, match=rf"{uri.rpartition('/')[2]}: {TOLD}"):
            ingest_variants(spark, home, uri)
    assert set(contents(spark, home)) == {"ingests"}
    assert ingest_variants(spark, home, uri)["records_stored"] == 5
    assert ingest_variants(spark, home, uri)["files_unchanged"] == 1


def test_s3__overwritten_is_told(
    spark: SparkSession,
    tmp_path: Path,
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
    remote: Callable[..., None],
) -> None:
    remote(AWS_ENDPOINT_URL_S3=s3.endpoint, AWS_REGION=s3_server.REGION, **s3_server.KEYS)
    overwritten(spark, tmp_path, monkeypatch, f"{s3.uri}/in/a.vcf")


def test_s3__within_a_second_only_the_etag_tells(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**s3_server.KEYS, "AWS_ENDPOINT_URL_S3": s3.endpoint}.items():
        monkeypatch.setenv(name, value)
    uri = f"{s3.uri}/etag"
    for _ in range(5):
        filesystems.write(uri, b"old")
        old = filesystems.stat(uri)
        filesystems.write(uri, b"new")
        new = filesystems.stat(uri)
        if old.modified == new.modified:
            break
    else:
        pytest.skip("this machine is too busy for two requests a second")
    assert (old.size, old.modified) == (new.size, new.modified) and old != new
    assert not checks.is_same(old) and checks.is_same(new)


def test_hdfs__overwritten_is_told(
    spark: SparkSession,
    tmp_path: Path,
    hdfs: Hdfs,
    monkeypatch: pytest.MonkeyPatch,
    remote: Callable[..., None],
) -> None:
    remote(GENEAI_WEBHDFS=hdfs.web, GENEAI_HDFS_CLIENT="webhdfs")
    overwritten(spark, tmp_path, monkeypatch, f"{hdfs.uri}/in/a.vcf")
