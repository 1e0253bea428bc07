"""An executor, then a worker with its executor, killed while they parse and write for ingestion on
a Spark cluster of two workers: the tables are those of a run that nobody disturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark.ingest import ingest_variants
from tests import vcf_files
from tests.conftest import ROOT
from tests.faults.warehouse import contents, large
from tests.servers import processes
from tests.servers.cluster import Cluster

pytestmark = pytest.mark.slow

TIMEOUT = 240  # seconds, on a machine that is busy
FILES = 4
#: What Spark says of a task that went with its executor, by its own or by another's fault.
LOST = ("Lost task", "its executor exited for a reason unrelated to the task")


def executors(worker: int) -> list[int]:
    """The executors that a worker has started."""
    found = []
    for child in Path(f"/proc/{worker}/task").glob("*/children"):
        for pid in map(int, child.read_text().split()):
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def says(run: subprocess.Popen[str], word: str) -> bool:
    """Whether it says a word before it ends; what a script tells as errors comes here, too."""
    assert run.stdout is not None
    return any(line.strip() == word for line in iter(run.stdout.readline, ""))


def wait_for_tasks(warehouse: Path, run: subprocess.Popen[str]) -> None:
    """Until both tasks parse, or one does and the other has no executor to do so."""
    limit, one = time.monotonic() + TIMEOUT, 0.0
    while len(found := list(warehouse.parent.glob(f"{warehouse.name}.*"))) < 2:
        assert run.poll() is None and time.monotonic() < limit
        if found and time.monotonic() > (one := one or time.monotonic() + 1):
            return
        time.sleep(0.01)


def test_ingestion__goes_on_without_an_executor_and_without_a_worker(
    spark: SparkSession, cluster: Cluster, tmp_path: Path
) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(FILES):
        body = large(500, 1500, first=1 + 1000 * number, bad=number)
        vcf_files.write(inputs / f"{number}.vcf", body)
    ingest_variants(spark, str(tmp_path / "undisturbed"), str(inputs))
    first, second = cluster.nodes[:2]
    homes = [tmp_path / "executor", tmp_path / "worker"]
    killed: list[int] = []

    def kill_executor() -> None:
        killed.extend(executors(first.pid))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    script = [ROOT / "tests" / "faults" / "on_cluster.py", inputs, *homes]
    both = ["--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0"]
    log = tmp_path / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            [str(word) for word in [*cluster.submit, *both, *script]],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        ) as run,
    ):
        try:
            lost = 0
            for home, act in zip(
                homes, [kill_executor, lambda: processes.kill(second)], strict=True
            ):
                assert says(run, "begin")
                wait_for_tasks(home, run)
                act()
                assert says(run, "end"), f"failed without its {home.name}"
                before, lost = lost, sum(log.read_text().count(told) for told in LOST)
                assert lost > before, f"no task was lost with the {home.name}"
            assert run.wait(TIMEOUT) == 0
        finally:
            processes.kill(run)  # type: ignore[arg-type]
    assert killed
    assert cluster.workers() == 1
    wanted = contents(spark, str(tmp_path / "undisturbed"))
    assert wanted["variants"][0] == FILES * 499 and wanted["rejects"][0] == FILES
    for home in homes:
        assert contents(spark, str(home)) == wanted, home.name
