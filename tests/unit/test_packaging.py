"""What is built and pinned: wheel and zip carry everything, locks name no host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import geneai_spark

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = ("geneai_spark", "jobs", "conf")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built through setup.py from a copy of the sources, as users' recipes do."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "README.md").write_text("# readme\n")
    run = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (built,) = (copy / "dist").glob("*.whl")
    return built


def sources() -> set[str]:
    """Every file that must be installed, under its installed name."""
    found = set()
    for folder in SOURCES:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                name = file.relative_to(ROOT).as_posix()
                found.add(name if folder == "geneai_spark" else f"geneai_spark/{name}")
    return found


def test_wheel_carries_package_jobs_and_conf(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert names == sources()
    assert {"geneai_spark/jobs/__init__.py", "geneai_spark/conf/profiles/local.yaml"} <= names
    assert wheel.name == f"geneai_spark-{geneai_spark.__version__}-py3-none-any.whl"


def test_py_files_zip_imports_without_an_installation(wheel: Path, tmp_path: Path) -> None:
    zipped = shutil.copy(wheel, tmp_path / "geneai_spark.zip")
    code = (
        "import sys, site, importlib\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in str(f)]\n"
        f"sys.path.insert(0, {str(zipped)!r})\n"
        "import geneai_spark.jobs, geneai_spark.runtime as r\n"
        "from importlib.resources import files\n"
        "print(r.__file__, len(r.locked_jars()))\n"
        "print(files('geneai_spark.conf').joinpath('profiles/yarn.yaml').read_text()[:1])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split() == [f"{zipped}/geneai_spark/runtime.py", "43", "#"]


def test_setup_py_tells_the_version() -> None:
    run = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip().splitlines()[-1] == geneai_spark.__version__


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_is_pinned_and_names_no_host(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text)
    for line in text.splitlines():
        if not line.startswith("#"):
            assert [s.operator for s in Requirement(line).specifier] == ["=="], line


def test_every_extra_has_a_lock_and_agrees_with_core() -> None:
    assert {lock.stem for lock in LOCKS} == {"core", *PROJECT["optional-dependencies"]}
    core = set((ROOT / "requirements" / "core.txt").read_text("utf-8").splitlines())
    for lock in LOCKS:
        theirs = {Requirement(x).name: x for x in lock.read_text().splitlines() if x[0] != "#"}
        for line in core:
            if line[0] != "#":
                name = Requirement(line).name
                pinned = line.partition(";")[0].strip()
                assert name in theirs, f"{lock.name} lacks {name}"
                assert any(x.startswith(pinned) for x in lock.read_text().splitlines()), (
                    f"{lock.name}: {pinned}"
                )


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_locks_can_be_installed_together(python: str) -> None:
    """`make test` installs four extras beside the test tools: no package in two versions."""
    env = {"python_version": python[:4], "python_full_version": python, "extra": ""}
    pins: dict[str, dict[str, str]] = {}
    for lock in LOCKS:
        for line in lock.read_text("utf-8").splitlines():
            if line[0] != "#":
                pin = Requirement(line)
                if pin.marker is None or pin.marker.evaluate(env):
                    pins.setdefault(pin.name, {})[lock.name] = str(pin.specifier)
    assert not {name: found for name, found in pins.items() if len({*found.values()}) > 1}


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_lock_satisfies_pyproject(python: str) -> None:
    """For each Python, every dependency has exactly one pin, which it allows."""
    env = {"python_version": python[:4], "python_full_version": python, "extra": ""}
    lines = (ROOT / "requirements" / "core.txt").read_text("utf-8").splitlines()
    pins = {}
    for requirement in (Requirement(line) for line in lines if line[0] != "#"):
        if requirement.marker is None or requirement.marker.evaluate(env):
            name = requirement.name.replace(".", "-").lower()
            assert name not in pins
            pins[name] = next(iter(requirement.specifier)).version
    for requirement in map(Requirement, PROJECT["dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate(env):
            assert pins[requirement.name.replace(".", "-").lower()] in requirement.specifier


def test_core_does_not_pull_the_heavy_parts() -> None:
    text = (ROOT / "requirements" / "core.txt").read_text("utf-8")
    names = {Requirement(line).name for line in text.splitlines() if line[0] != "#"}
    assert not names & {"torch", "tensorflow-cpu", "keras", "mlflow", "jupyterlab", "fastapi"}


def test_tensorflow_and_torch_are_never_together() -> None:
    for lock in LOCKS:
        text = lock.read_text("utf-8")
        assert not ("\ntorch==" in text and "\ntensorflow" in text), lock.name
