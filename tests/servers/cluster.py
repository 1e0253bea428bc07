"""A Spark standalone cluster: a master and two workers of one core, from pip's PySpark."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from geneai_spark import runtime
from tests.servers.processes import HOST, foreground, free_ports, running, wait_for

WORKERS = 2
MEMORY = "1g"  # of a worker, for its executor's heap
EXECUTOR_MEMORY = "700m"
# The thorough compiler costs short jobs more than it saves; the quick one alone keeps 48 MB.
QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        master: ``spark://host:port``.
        web: the master's web page.
        home: SPARK_HOME.
        folder: with its logs and its workers' folders.
        nodes: the workers' processes, for tests that kill one.
        options: more of `submit`'s.
    """

    master: str
    web: str
    home: Path
    folder: Path
    nodes: tuple[subprocess.Popen[bytes], ...] = ()
    options: tuple[str, ...] = ()

    @property
    def submit(self) -> list[str]:
        """The command and the options with which jobs are sent to it."""
        return [
            str(self.home / "bin" / "spark-submit"),
            *("--master", self.master),
            *("--executor-memory", EXECUTOR_MEMORY, "--driver-memory", "1g"),
            *("--conf", f"spark.driver.host={HOST}", "--conf", f"spark.driver.bindAddress={HOST}"),
            *("--conf", "spark.ui.enabled=false"),
            *("--driver-java-options", QUICK),
            *("--conf", f"spark.executor.extraJavaOptions={QUICK}"),
            *("--conf", f"spark.pyspark.python={sys.executable}"),
            *("--conf", "spark.sql.shuffle.partitions=3"),
            *("--conf", "spark.databricks.delta.snapshotPartitions=1"),
            *self.options,
        ]

    def workers(self) -> int:
        """Workers that the master takes for alive."""
        with urllib.request.urlopen(f"{self.web}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])


def spark_home() -> Path:
    """The folder of the PySpark installed here."""
    spec = find_spec("pyspark")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@contextmanager
def start(
    folder: Path, memory: str = MEMORY, *, workers: int = WORKERS, gpu: bool = False
) -> Iterator[Cluster]:
    """The cluster, with its logs and its workers' folders in ``folder``.

    Args:
        gpu: each worker has the machine's first GPU, and a task takes one.

    Raises:
        SetupError: no Java.
        ServerError: it does not start.
    """
    home = spark_home()
    env = {
        "JAVA_HOME": str(runtime.require_java().home),
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK,
        "SPARK_LOG_DIR": str(folder),
        "PYSPARK_PYTHON": sys.executable,
        "PATH": os.environ["PATH"],
    }
    options: tuple[str, ...] = ()
    if gpu:
        script = folder / "gpus.sh"
        script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0"]}'\n""")
        script.chmod(0o755)
        env["SPARK_WORKER_OPTS"] = (
            f"-Dspark.worker.resource.gpu.amount=1 "
            f"-Dspark.worker.resource.gpu.discoveryScript={script}"
        )
        for who in ("executor", "task"):
            options += ("--conf", f"spark.{who}.resource.gpu.amount=1")
    port, web = free_ports(2)
    cluster = Cluster(f"spark://{HOST}:{port}", f"http://{HOST}:{web}", home, folder, (), options)
    spark_class = str(home / "bin" / "spark-class")
    deploy = "org.apache.spark.deploy"
    master = [spark_class, f"{deploy}.master.Master", "--host", HOST]
    master += ["--port", str(port), "--webui-port", str(web)]
    worker = [spark_class, f"{deploy}.worker.Worker", "--host", HOST, "--webui-port", "0"]
    worker += ["--cores", "1", "--memory", memory]
    log = folder / "master.log"
    with ExitStack() as stack:
        process = stack.enter_context(running(master, log, env))
        nodes = []
        for number in range(workers):
            work = str(folder / f"worker{number}")
            command = [*worker, "--work-dir", work, cluster.master]
            nodes.append(stack.enter_context(running(command, folder / f"worker{number}.log", env)))
        wait_for(lambda: cluster.workers() == workers, process, log)
        yield replace(cluster, nodes=tuple(nodes))


@contextmanager
def _told(folder: Path) -> Iterator[str]:
    with start(folder) as cluster:
        yield (
            f"Spark: {cluster.master}, web page {cluster.web}; {WORKERS} workers of one core\n\n"
            f"  make wheel\n"
            f"  {shlex.join(cluster.submit)} \\\n"
            f"    --py-files dist/geneai_spark.zip jobs/ingest_variants.py "
            f"inputs=/data/my.vcf.gz warehouse=/data/warehouse"
        )


if __name__ == "__main__":
    foreground(_told)
