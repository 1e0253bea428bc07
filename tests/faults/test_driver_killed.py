"""The driver killed (SIGKILL to its process group, Spark's JVM included) at moments spread over a
run: run again, ingestion and the nightly run reach the tables of a run that nobody disturbed.

Moments are drawn, with a seed, as parts of the time that an undisturbed run takes in the same kind
of process from the job's beginning to its end: Spark is up by then. Only what is killed is a
process of its own, two side by side; the run that mends it is of this process, in a warm session.
A process shows five moments, for starting one costs ten seconds: it is stopped (SIGSTOP, all of its
group), the warehouse is copied as it lies there, which is what SIGKILL would leave, and it goes on,
until it is killed at its last moment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from geneai_spark.jobs import run_nightly
from pyspark.sql import SparkSession

from geneai_spark import config, store, tables
from geneai_spark.ingest import ingest_variants
from tests import vcf_files
from tests.conftest import ROOT
from tests.faults.warehouse import Contents, contents, large

TIMEOUT = 400  # seconds for a process, on a machine that is busy
MOMENTS = 10
SETTINGS = ["spark.spark.master=local[2]", "spark.spark.driver.memory=1g"]
SETTINGS += ["spark.spark.sql.shuffle.partitions=3"]


class Left(NamedTuple):
    """What a kill left: a warehouse, when it fell (part of the run), how long the log is."""

    warehouse: Path
    part: float
    seen: str


def moments(seed: int) -> list[float]:
    """Ten, spread over the later two thirds of a run: before, it only reads."""
    chance = random.Random(seed)
    return [0.35 + (number + chance.random()) / MOMENTS * 0.6 for number in range(MOMENTS)]


def drive(job: str, words: Sequence[str], use: Callable[[subprocess.Popen[str]], None]) -> float:
    """Run a driver; call ``use`` when its job begins, then wait for its end. Seconds from the one
    to the other.
    """
    command = [sys.executable, "-m", "tests.faults.driver", job, *words, *SETTINGS]
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout is not None and run.stdout.readline() == "begin\n", "it did not begin"
        begun = time.monotonic()
        use(run)
        run.stdout.readline()  # it is done, or it was killed
        took = time.monotonic() - begun
        run.wait(TIMEOUT)
        return took
    finally:
        kill(run)
        if run.stdout is not None:
            run.stdout.close()


def kill(run: subprocess.Popen[str]) -> None:
    """SIGKILL to the group, and wait until none of it is left."""
    try:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        while True:
            os.killpg(run.pid, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        run.wait()


def commits(warehouse: Path) -> str:
    """How many commits each table has: where in the run a moment fell."""
    logs = sorted(warehouse.glob("*/_delta_log"))
    return " ".join(f"{p.parent.name}:{len(list(p.glob('[0-9]*.json')))}" for p in logs)


def lies_there(warehouse: Path) -> str:
    """All that lies in a warehouse: names, by which Parquet and commits differ, and sizes."""
    files = (path for path in warehouse.rglob("*") if path.is_file())
    return "\n".join(sorted(f"{p.relative_to(warehouse)} {p.stat().st_size}" for p in files))


def leave(
    job: str, words: Callable[[Path], Sequence[str]], before: Path, parts: Sequence[float], s: float
) -> list[Left]:
    """Run a driver on a copy of ``before``: copy what lies there at all moments but the last, at
    which it is killed. What each of them left. Where it was quicker than the ``s`` seconds that an
    undisturbed run took, once more.
    """
    warehouse = before.with_name(f"{job}-{parts[-1]:.3f}")
    for _ in range(3):
        shutil.rmtree(warehouse, ignore_errors=True)
        shutil.copytree(before, warehouse)
        found: list[Left] = []
        took = drive(job, words(warehouse), partial(disturb, warehouse, parts, s, found))
        if len(found) == len(parts):
            break
        s = min(s, took) * 0.8
    return found


def disturb(
    warehouse: Path,
    parts: Sequence[float],
    seconds: float,
    found: list[Left],
    run: subprocess.Popen[str],
) -> None:
    """Copy what a run has written at each of the moments, and kill it at the last."""
    begun, stopped = time.monotonic(), 0.0
    for part in parts:
        time.sleep(max(0.0, begun + stopped + part * seconds - time.monotonic()))
        if run.poll() is not None:
            return  # quicker than it was expected to be
        if part == parts[-1]:
            kill(run)
            found.append(Left(warehouse, part, commits(warehouse)))
            return
        paused = time.monotonic()
        os.killpg(run.pid, signal.SIGSTOP)
        copy = warehouse.with_name(f"{warehouse.name}-{part:.3f}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(warehouse, copy)
        os.killpg(run.pid, signal.SIGCONT)
        stopped += time.monotonic() - paused
        found.append(Left(copy, part, commits(copy)))


def nothing(run: subprocess.Popen[str]) -> None:
    """Let it run."""


def undisturbed_twice(
    job: str, words: Callable[[Path], Sequence[str]], before: Path, whole: Path
) -> float:
    """Run a driver to its end on two copies of ``before`` side by side, as those that are killed
    will run; seconds of the quicker.
    """
    places = [whole, whole.with_name("beside")]
    for place in places:
        shutil.copytree(before, place)
    with ThreadPoolExecutor(2) as pool:
        return min(pool.map(lambda place: drive(job, words(place), nothing), places))


def check(
    spark: SparkSession,
    undisturbed: Contents,
    found: Sequence[Left],
    again: Callable[[Path], Any],
) -> None:
    """Run again on what each kill left, and compare."""
    assert len(found) >= MOMENTS - 2, f"only {len(found)} kills fell into a run"
    for left in found:
        print(f"killed at {left.part:.2f} of the run: {left.seen}")
    assert len({left.seen for left in found}) > 2  # they fell into different stages
    told = set[str]()
    for left in found:
        if (state := lies_there(left.warehouse)) in told:
            continue  # two moments between which nothing was written
        told.add(state)
        again(left.warehouse)
        assert contents(spark, str(left.warehouse)) == undisturbed, f"killed at {left}"


@pytest.mark.slow
def test_ingestion__run_again_reaches_the_same_tables(spark: SparkSession, tmp_path: Path) -> None:
    """A file that is new, and one that has changed and shares a Parquet file with a third."""
    inputs, before = tmp_path / "in", tmp_path / "before"
    inputs.mkdir()
    vcf_files.write(inputs / "a.vcf", large(50, 1500, first=10, bad=3))
    vcf_files.write(inputs / "c.vcf", large(40, 1500, first=100, bad=4))
    ingest_variants(spark, str(before), str(inputs))
    vcf_files.write(inputs / "a.vcf", large(900, 1500, first=3000, bad=70))
    vcf_files.write(inputs / "b.vcf.bgz", large(1800, 1500, first=9000, bad=1500))

    def words(warehouse: Path) -> list[str]:
        return [f"inputs={inputs}", f"warehouse={warehouse}"]

    whole = tmp_path / "undisturbed"
    seconds = undisturbed_twice("ingest_variants", words, before, whole)
    undisturbed = contents(spark, str(whole))
    assert undisturbed["variants"][0] == 899 + 39 + 1799

    every = moments(seed=1)

    def one(parts: list[float]) -> list[Left]:
        return leave("ingest_variants", words, before, parts, seconds)

    with ThreadPoolExecutor(2) as pool:
        found = [left for each in pool.map(one, [every[::2], every[1::2]]) for left in each]

    def again(warehouse: Path) -> None:
        ingest_variants(spark, str(warehouse), str(inputs))

    check(spark, undisturbed, found, again)
    told = ingest_variants(spark, str(found[0].warehouse), str(inputs))
    assert told["files_unchanged"] == 3


@pytest.mark.slow
def test_nightly__run_again_reaches_the_same_tables(spark: SparkSession, tmp_path: Path) -> None:
    landing, before = tmp_path / "landing", tmp_path / "before"
    landing.mkdir()
    people = [f"s{i}" for i in range(12)]
    vcf_files.write(landing / "a.vcf", vcf_files.text(people, records=60, bad=[7]))
    values = [f"{s},{(7 * i * i) % 11}.5" for i, s in enumerate(people)]
    (tmp_path / "traits.csv").write_text("\n".join(["sample,height", *values]) + "\n")

    def words(warehouse: Path) -> list[str]:
        return [
            f"landing={landing}/*.vcf",
            f"traits={tmp_path}/traits.csv",
            f"warehouse={warehouse}",
            "stages=check_quality,run_gwas",
            "settings.run_gwas.traits=height",
        ]

    def night(warehouse: Path) -> None:
        """Without a look for files that nobody needs, which takes half the time."""
        asked = [*words(warehouse), "vacuum_hours=null"]
        run_nightly.run(spark, config.load(run_nightly.Config, overrides=asked))

    night(before)
    vcf_files.write(landing / "b.vcf", vcf_files.text(people, records=40, first=900, bad=[3]))
    whole = tmp_path / "undisturbed"
    seconds = undisturbed_twice("run_nightly", words, before, whole)
    undisturbed = contents(spark, str(whole))
    assert undisturbed["associations"][0] == undisturbed["variant_quality"][0] == 59 + 39

    every = moments(seed=2)

    def one(parts: list[float]) -> list[Left]:
        return leave("run_nightly", words, before, parts, seconds)

    with ThreadPoolExecutor(2) as pool:
        found = [left for each in pool.map(one, [every[::2], every[1::2]]) for left in each]
    check(spark, undisturbed, sorted(found, key=lambda left: left.part), night)
    assert store.version(spark, tables.RUNS, str(found[0].warehouse))


@pytest.fixture(autouse=True)
def room(tmp_path: Path) -> Any:
    """The copies go when their test is done."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
