"""URIs, listings and byte ranges."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from geneai_spark import filesystems as fs
from geneai_spark.errors import StorageError


@pytest.mark.parametrize(
    ("uri", "absolute", "spark"),
    [
        ("/a/../b.vcf", "/b.vcf", "file:/b.vcf"),
        ("file:///a%20b", "/a b", "file:/a b"),
        ("file:/a", "/a", "file:/a"),
        ("s3a://bucket/k.vcf", "s3://bucket/k.vcf", "s3a://bucket/k.vcf"),
        ("gs://bucket/k", "gs://bucket/k", "gs://bucket/k"),
        ("hdfs://node:8020/d/f", "hdfs://node:8020/d/f", "hdfs://node:8020/d/f"),
        ("hdfs:///d/f", "hdfs:///d/f", "hdfs:///d/f"),
        ("abfss://c@a.dfs.core/x/y", "abfss://c@a.dfs.core/x/y", "abfss://c@a.dfs.core/x/y"),
    ],
)
def test_absolute__one_spelling(uri: str, absolute: str, spark: str) -> None:
    assert fs.absolute(uri) == absolute
    assert fs.spark_uri(uri) == spark
    assert fs.source_id(uri) == hashlib.sha256(absolute.encode()).hexdigest()[:16]


def test_absolute__relative_paths_are_the_working_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fs.absolute("x.vcf") == str(tmp_path / "x.vcf")
    assert fs.source_id("x.vcf") == fs.source_id(f"file://{tmp_path}/x.vcf")


def test_spark_uri__schemes_that_only_spark_knows_pass() -> None:
    assert fs.spark_uri("dbfs:/x") == "dbfs:/x"


def test_locate__raise_on_unknown_scheme() -> None:
    with pytest.raises(StorageError, match="scheme 'ftp' is not one of"):
        fs.locate("ftp://host/x")


def test_list_files__files_globs_and_folders_sorted_each_once(tmp_path: Path) -> None:
    for name in ["b.vcf", "a.vcf", "c.txt", "_SUCCESS", ".hidden", "x[1].vcf", "a,b.vcf"]:
        (tmp_path / name).write_text(name)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.vcf").write_text("")

    def names(*paths: str) -> list[str]:
        return [Path(f.uri).name for f in fs.list_files([str(tmp_path / p) for p in paths])]

    assert names("*.vcf", "a.vcf") == ["a,b.vcf", "a.vcf", "b.vcf", "x[1].vcf"]
    assert names("") == ["a,b.vcf", "a.vcf", "b.vcf", "c.txt", "x[1].vcf"]
    assert names("x[1].vcf") == ["x[1].vcf"]
    assert names("**/d.vcf") == ["d.vcf"]
    (info,) = fs.list_files(str(tmp_path / "b.vcf"))
    status = (tmp_path / "b.vcf").stat()
    assert (info.size, info.modified) == (5, status.st_mtime)
    assert info.etag == f"{status.st_ino:x}-{status.st_ctime_ns:x}"
    assert fs.stat(info.uri) == info
    with pytest.raises(StorageError, match=r"nothing.*: no such file, and no file matches it"):
        names("a.vcf", "nothing*.vcf")


def test_open_input__reads_by_position(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(range(200)))
    file = fs.open_input(str(path))
    assert file.size() == 200
    assert file.read_at(3, 100) == bytes([100, 101, 102])
    assert file.read_at(50, 190) == bytes(range(190, 200))
    assert file.read_at(5, 500) == b""
    file.close()
    file.close()
    assert fs.checksum(str(path)) == hashlib.sha256(bytes(range(200))).hexdigest()
    with pytest.raises(StorageError, match="No such file"):
        fs.open_input(str(tmp_path / "g"))
    with pytest.raises(StorageError, match="is a folder"):
        fs.open_input(str(tmp_path))


def test_arrow__same_answers_through_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object-store path, on pyarrow's local filesystem in place of S3."""
    from pyarrow import fs as arrow

    (tmp_path / "bucket" / "d").mkdir(parents=True)
    for name in ["a.vcf", "d/b.vcf", "d/c.txt", "d/_x"]:
        (tmp_path / "bucket" / name).write_bytes(b"0123456789")
    sub = arrow.SubTreeFileSystem(str(tmp_path), arrow.LocalFileSystem())
    monkeypatch.setattr(fs.remote, "system", lambda where: sub)

    def uris(path: str) -> list[str]:
        return [f.uri for f in fs.list_files(path)]

    assert uris("s3a://bucket/*.vcf") == ["s3://bucket/a.vcf"]
    assert uris("s3://bucket/d") == ["s3://bucket/d/b.vcf", "s3://bucket/d/c.txt"]
    assert uris("s3://bucket/*/*.vcf") == ["s3://bucket/d/b.vcf"]
    file = fs.open_input("s3://bucket/a.vcf")
    assert (file.size(), file.read_at(4, 8), file.read_at(4, 20)) == (10, b"89", b"")
    assert fs.stat("s3://bucket/a.vcf").size == 10
    with pytest.raises(StorageError, match="no such file"):
        fs.stat("s3://bucket/z.vcf")


def test_write__whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "r.html"
    assert fs.write(str(path), b"one") == 3
    assert fs.write(f"file:{path}", b"second") == 6
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]
    with pytest.raises(StorageError, match="is a folder"):
        fs.write(str(tmp_path), b"")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fs.local.os, "replace", broken)
    with pytest.raises(StorageError, match="No space left"):
        fs.write(str(path), b"third")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_write__through_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs as arrow

    (tmp_path / "bucket").mkdir()
    sub = arrow.SubTreeFileSystem(str(tmp_path), arrow.LocalFileSystem())
    monkeypatch.setattr(fs.remote, "system", lambda where: sub)
    assert fs.write("s3a://bucket/r.html", b"0123") == 4
    assert fs.open_input("s3://bucket/r.html").read_at(9, 0) == b"0123"
    with pytest.raises(StorageError, match=r"s3://none/r\.html"):
        fs.write("s3://none/r.html", b"")
