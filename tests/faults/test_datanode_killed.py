"""A datanode killed (SIGKILL) while HDFS is read and written: nothing is lost, nothing differs.

There are two datanodes and two copies of each block. Until the namenode has missed the heartbeats
of the dead one, it goes on sending clients there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs
import pytest
from pyspark.sql import SparkSession

from geneai_spark import filesystems
from tests.conftest import need_java
from tests.servers import hdfs, processes

pytestmark = pytest.mark.slow

SIZE = 12 << 20
BLOCK = 1 << 20


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hdfs.Hdfs]:
    need_java()
    (tmp_path / "hdfs").mkdir()
    with hdfs.start(tmp_path / "hdfs") as started:
        monkeypatch.setenv("GENEAI_WEBHDFS", started.web)
        monkeypatch.setenv("GENEAI_HDFS_CLIENT", "webhdfs")
        yield started


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("victim", [0, 1])
def test_python__reads_and_writes_on(server: hdfs.Hdfs, victim: int) -> None:
    """Whichever dies: clients are sent to one of them first."""
    wanted = random.Random(1).randbytes(SIZE)
    uri = f"{server.uri}/read"
    filesystems.write(uri, wanted)
    file = filesystems.open_input(uri)
    found = [file.read_at(BLOCK, 0)]
    sink = filesystems.open_output(f"{server.uri}/written")
    sink.write(wanted[: SIZE // 2])

    processes.kill(server.datanodes[victim])

    found += [file.read_at(BLOCK, at) for at in range(BLOCK, SIZE, BLOCK)]
    assert digest(b"".join(found)) == digest(wanted)
    sink.write(wanted[SIZE // 2 :])
    sink.close()
    for number in range(3):
        filesystems.write(f"{server.uri}/more/{number}", wanted[:BLOCK])
    assert filesystems.checksum(f"{server.uri}/written") == digest(wanted)
    listed = filesystems.list_files(f"{server.uri}/more")
    assert [info.size for info in listed] == [BLOCK] * 3


def test_delta__is_written_and_read_as_if_nothing_happened(
    spark: SparkSession, server: hdfs.Hdfs
) -> None:
    uri = f"{server.uri}/table"
    rows = spark.range(0, 400_000, 1, 8).selectExpr("id", "sha2(cast(id AS string), 256) AS text")
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(lambda: rows.write.format("delta").save(uri))
        selector = pyarrow.fs.FileSelector("/table", allow_not_found=True)
        store = filesystems.remote.system(filesystems.locate(uri))
        while not any(".parquet" in one.path for one in store.get_file_info(selector)):
            assert not write.done()
        early = not write.done()
        processes.kill(server.datanodes[0])
        write.result(timeout=300)
    assert early
    stored = spark.read.format("delta").load(uri)
    assert stored.exceptAll(rows).count() == rows.exceptAll(stored).count() == 0
