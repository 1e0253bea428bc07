"""Servers for the tests that need one, each for a module's time; see tests/servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geneai_spark import runtime
from tests.servers import cluster as cluster_server
from tests.servers import hdfs as hdfs_server
from tests.servers import s3 as s3_server


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
