"""A driver killed in the middle of ingestion: the job run again reaches the same tables.

The warehouse holds two small files already, whose rows share a Parquet file. The run that is killed
adds another (tasks write its rows, the driver commits), or replaces the rows of one of the first,
which has changed, beside that (Spark writes the rows of the other anew). SIGKILL goes to the whole
process group, Spark's JVM included, at a moment that the files of the warehouse show.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import store, tables
from geneai_spark.filesystems import source_id
from geneai_spark.ingest import ingest_variants
from tests import vcf_files
from tests.conftest import ROOT
from tests.faults.warehouse import large

TIMEOUT = 300  # seconds for a run to reach its moment, on a machine that is busy
COMMIT = "variants/_delta_log/{:020}.json"
Contents = dict[str, Counter[str]]


def contents(spark: SparkSession, warehouse: Path) -> Contents:
    """A digest of every row of every table, as a multiset; without times and versions."""
    found: Contents = {}
    for table in (tables.VARIANTS, tables.SAMPLES, tables.REJECTS, tables.INGESTS):
        df = store.read(spark, table, str(warehouse)).drop("finishedAt", "tableVersion")
        digest = F.sha2(F.to_json(F.struct(*(f"`{name}`" for name in df.columns))), 256)
        found[table.name] = Counter(row[0] for row in df.select(digest).collect())
    return found


def kill_when(seen: Callable[[], bool], warehouse: Path, inputs: str) -> None:
    """Run the job as a user does and kill its process group as soon as ``seen`` is true."""
    command = [sys.executable, "jobs/ingest_variants.py", f"inputs={inputs}"]
    command += [f"warehouse={warehouse}", "spark.spark.master=local[2]"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = warehouse.with_suffix(".log")
    with log.open("w") as out:
        run = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            limit = time.monotonic() + TIMEOUT
            while not seen():
                assert run.poll() is None, f"the run ended before its moment: {log.read_text()}"
                assert time.monotonic() < limit, f"the moment never came: {log.read_text()}"
                time.sleep(0.002)
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    while _alive(run.pid):
        time.sleep(0.01)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def place(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse ``before``, and for each kind of run its inputs and what an
    undisturbed one makes of them.
    """
    folder = tmp_path_factory.mktemp("killed")
    (folder / "in").mkdir()
    vcf_files.write(folder / "in" / "a.vcf", large(50, 1500, first=10, bad=3))
    vcf_files.write(folder / "in" / "c.vcf", large(40, 1500, first=100, bad=4))
    ingest_variants(spark, str(folder / "before"), str(folder / "in"))
    assert len(data_files(folder / "before")) == 1
    vcf_files.write(folder / "in" / "b.vcf.bgz", large(1800, 1500, first=9000, bad=1500))
    shutil.copytree(folder / "before", folder / "adds")
    ingest_variants(spark, str(folder / "adds"), str(folder / "in"))
    return folder


@pytest.fixture(scope="module")
def replacing(spark: SparkSession, place: Path) -> Path:
    """As `place`, after its first file has changed: runs on `before` replace its rows."""
    vcf_files.write(place / "in" / "a.vcf", large(900, 1500, first=3000, bad=70))
    shutil.copytree(place / "before", place / "replaces")
    ingest_variants(spark, str(place / "replaces"), str(place / "in"))
    return place


def data_files(warehouse: Path) -> set[str]:
    return {path.name for path in (warehouse / "variants").glob("*.parquet")}


def closed(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4))
        return size > 8 and file.read() == b"PAR1"


def kill_and_run_again(spark: SparkSession, place: Path, kind: str, moment: str) -> Path:
    """Kill a run at its moment, look that nothing of it is to be seen before its commit, run it
    again and compare with the undisturbed warehouse; give the warehouse.
    """
    warehouse = place / f"{kind}-{moment}"
    shutil.copytree(place / "before", warehouse)
    before, old_files = contents(spark, warehouse), data_files(warehouse)
    n_files = len(data_files(place / kind) - old_files)
    last = store.version(spark, tables.VARIANTS, str(warehouse)) or 0
    commit = warehouse / COMMIT.format(last + 1)
    ledger = warehouse / "ingests/_delta_log"
    old_ledger = sorted(ledger.glob("*.json"))

    def fresh() -> set[str]:
        return data_files(warehouse) - old_files

    def complete() -> bool:
        """As many files as an undisturbed run writes, each closed: Parquet ends with PAR1."""
        names = fresh()
        return len(names) == n_files and all(
            map(closed, (warehouse / "variants" / n for n in names))
        )

    def by_spark() -> bool:
        return any(name.startswith("part-0000") for name in fresh())

    moments = {
        "during_read": lambda: bool(fresh()),
        "before_commit": complete,
        "while_rewriting": by_spark,
        "between_commit_and_ledger": commit.exists,
    }
    kill_when(moments[moment], warehouse, str(place / "in"))

    assert commit.exists() == (moment == "between_commit_and_ledger")
    assert fresh()
    assert sorted(ledger.glob("*.json")) == old_ledger
    if moment != "between_commit_and_ledger":
        assert contents(spark, warehouse) == before  # half a write is not to be seen

    ingest_variants(spark, str(warehouse), str(place / "in"))
    assert contents(spark, warehouse) == contents(spark, place / kind)
    assert ingest_variants(spark, str(warehouse), str(place / "in"))["files_unchanged"] == 3
    return warehouse


def moments(quick: str, *slow: str) -> list[Any]:
    """One moment for every run of the tests, the others for ``make faults``."""
    return [quick, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


@pytest.mark.parametrize(
    "moment", moments("before_commit", "during_read", "between_commit_and_ledger")
)
def test_ingest_killed__adding_a_file(spark: SparkSession, place: Path, moment: str) -> None:
    warehouse = kill_and_run_again(spark, place, "adds", moment)
    stored = contents(spark, warehouse)["variants"]
    assert stored.total() == len(stored) == 49 + 39 + 1799
    sources = store.read(spark, tables.REJECTS, str(warehouse)).select("sourceId").collect()
    uris = [place / "in" / name for name in ("a.vcf", "b.vcf.bgz", "c.vcf")]
    assert sorted(row[0] for row in sources) == sorted(source_id(str(uri)) for uri in uris)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["between_commit_and_ledger", "while_rewriting"])
def test_ingest_killed__replacing_a_file(spark: SparkSession, replacing: Path, moment: str) -> None:
    warehouse = kill_and_run_again(spark, replacing, "replaces", moment)
    stored = contents(spark, warehouse)["variants"]
    assert stored.total() == len(stored) == 899 + 39 + 1799
