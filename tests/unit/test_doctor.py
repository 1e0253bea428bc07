"""The doctor: sees what is wrong, says how to mend it, and never raises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import doctor, runtime
from geneai_spark.doctor import Check
from geneai_spark.errors import SetupError


def test_this_machine_is_fit(spark: SparkSession, tmp_path: Path) -> None:
    found = doctor.checks(str(tmp_path))
    assert [c.name for c in found] == [
        "python",
        "packages",
        "java",
        "jars",
        "kernel cache",
        "classes",
        "tools",
        "spark",
        "delta",
        "warehouse",
    ]
    assert [c for c in found if c.ok is False and c.name != "warehouse"] == []


def test_missing_jars_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENEAI_JARS", str(tmp_path))
    names = list(runtime.locked_jars())
    (tmp_path / names[0]).touch()
    check = doctor.check_jars()
    assert check.ok is False
    assert check.detail == f"1 of {len(names)} in {tmp_path}"
    assert "make jars" in check.mend


def test_missing_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_java_homes", lambda: iter(()))
    check = doctor.check_java()
    assert (check.ok, check.detail) == (False, "no Java found")
    assert "openjdk-17-jre-headless" in check.mend


def test_packages__other_and_missing_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ["numpy==0.1", "no-such-package==1", "pyyaml>=6", "tqdm==0.1; python_version < '3'"]
    wanted = [doctor.Requirement(line) for line in lock]
    monkeypatch.setattr(doctor, "required", lambda: ("a lock", wanted[:3]))
    check = doctor.check_packages()
    assert check.ok is False
    assert "no-such-package is missing" in check.detail
    assert "is not ==0.1" in check.detail
    assert "pyyaml" not in check.detail


def test_required__leaves_out_what_other_platforms_need() -> None:
    source, wanted = doctor.required()
    assert source == "requirements/core.txt"
    names = [r.name for r in wanted]
    assert "pyspark" in names
    assert len(names) == len(set(names))  # one numpy, the one for this Python
    assert "colorama" not in names


def test_warehouse__read_only_and_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.check_warehouse(str(tmp_path / "not" / "yet")).detail.endswith("GB free")
    monkeypatch.setattr(doctor, "MIN_FREE_GB", 10**9)
    assert doctor.check_warehouse(f"file://{tmp_path}").ok is False
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    check = doctor.check_warehouse(str(tmp_path))
    assert (check.ok, check.detail) == (False, f"{tmp_path} is not writable")


def test_warehouse__a_uri_is_asked_through_spark(spark: SparkSession) -> None:
    check = doctor._guarded("warehouse", lambda: doctor.check_warehouse("nosuch://bucket/x"))
    assert check.ok is False
    assert "nosuch" in check.detail


def test_a_check_that_raises_is_a_failed_check() -> None:
    def broken() -> Check:
        raise SetupError("first line\nsecond line")

    check = doctor._guarded("thing", broken)
    assert (check.ok, check.detail) == (False, "SetupError: first line")


def test_main__table_json_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Check("a", True, "fine"), Check("b", None, "known"), Check("c", True, "fine")]
    monkeypatch.setattr(doctor, "checks", lambda warehouse: found)
    assert doctor.main([]) == 0
    assert "->" not in capsys.readouterr().out
    found[2] = Check("c", False, "broken", "mend it so")
    assert doctor.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)[2] == {
        "name": "c",
        "ok": False,
        "detail": "broken",
        "mend": "mend it so",
    }
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["FAIL", "c", "broken"]
    assert lines[3].split() == ["->", "mend", "it", "so"]
