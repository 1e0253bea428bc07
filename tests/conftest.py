"""Fixtures that every test may use: one Spark session a process, the shared data, tools; servers,
each for a module's time (see tests/servers).
"""

from __future__ import annotations

import datetime
import fcntl
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import runtime
from geneai_spark.report import page
from geneai_spark.report.study import Options
from geneai_spark.session import get_session
from tests import study_tables
from tests.servers import cluster as cluster_server
from tests.servers import hdfs as hdfs_server
from tests.servers import s3 as s3_server

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
REPORT_WRITTEN = datetime.datetime(2026, 7, 8, 9, 10, 11, tzinfo=datetime.UTC)


def requires(*tools: str) -> pytest.MarkDecorator:
    """Skip a test, and say why, where one of the system's tools is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of this process: two threads, 2 GB, few shuffle partitions, Delta."""
    scratch = tmp_path_factory.mktemp("spark")
    session = get_session(
        "geneai tests",
        {
            "spark.driver.memory": "2g",
            "spark.sql.shuffle.partitions": "3",
            # Over a few rows generated code costs more to compile than it saves (a quarter of the
            # time), and so does planning anew between stages (a tenth). Both run in the tests that
            # start jobs: on the cluster, in faults.
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
            "spark.local.dir": str(scratch / "local"),
        },
        master="local[2]",
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real and corpus files beside the checkout (`../shared/data`)."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data beside the checkout: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def study_report(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, page.Page]:
    """The warehouse of a small study made by hand, and the report of it: made by the first of the
    test run's processes that asks for them, read by the others.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = folder / "study-report.pickle"
    with (folder / "study-report.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            spark = request.getfixturevalue("spark")
            warehouse = study_tables.whole(spark, str(folder / "study" / "tables"))
            options = Options(colour_by="population")
            built = page.build(spark, warehouse, options, written=REPORT_WRITTEN)
            made.write_bytes(pickle.dumps((warehouse, built)))
    found: tuple[str, page.Page] = pickle.loads(made.read_bytes())
    return found


def need_java() -> None:
    """Skip where no server in Java can run."""
    if runtime.find_java() is None:
        pytest.skip("no Java 17 or 21")


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hdfs_server.Hdfs]:
    """A namenode and two datanodes."""
    need_java()
    with hdfs_server.start(tmp_path_factory.mktemp("hdfs")) as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3]:
    """An S3 server with the bucket ``study``."""
    with s3_server.start(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster_server.Cluster]:
    """A master and two workers of one core."""
    need_java()
    with cluster_server.start(tmp_path_factory.mktemp("cluster")) as server:
        yield server
