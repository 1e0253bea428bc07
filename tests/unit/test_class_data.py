"""The archive of the JVM's classes: which one fits, and that sessions start from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import runtime, session


def test_class_archive__another_class_path_has_another_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = runtime.class_archive()
    assert ours == runtime.class_archive()
    monkeypatch.setenv("GENEAI_JARS", str(tmp_path))  # no jars of Delta
    assert runtime.class_archive().parent == tmp_path
    assert runtime.class_archive().name != ours.name


def test_session__starts_from_the_archive(spark: SparkSession) -> None:
    archive = runtime.class_archive()
    if not archive.is_file():
        pytest.skip("no archive of classes: `make classes`")
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    mapped = Path(f"/proc/{gateway.proc.pid}/maps").read_text()
    assert str(archive) in mapped


def test_session__an_archive_that_does_not_fit_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = tmp_path / "classes-0.jsa"
    monkeypatch.setattr(runtime, "class_archive", lambda: archive)
    settings = {"spark.driver.extraJavaOptions": "-Xss4m"}
    session._share_classes(settings)
    assert settings == {"spark.driver.extraJavaOptions": "-Xss4m"}
    archive.touch()
    session._share_classes(settings)
    assert f"-Xss4m -XX:SharedArchiveFile={archive} " in settings["spark.driver.extraJavaOptions"]
