"""The session: Delta works, a running one is reused, local defaults and precedence hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import runtime, session
from geneai_spark.errors import SetupError

# Run under spark-submit and as a plain script: prints what the session came to.
SCRIPT = """
import json, sys
from geneai_spark.session import get_session

spark = get_session("mine", {"spark.sql.shuffle.partitions": "5", "spark.geneai.only": "ours"})
spark.range(4).write.format("delta").save(sys.argv[1])
conf = spark.conf
print(json.dumps({
    "rows": spark.read.format("delta").load(sys.argv[1]).count(),
    "shuffle": conf.get("spark.sql.shuffle.partitions"),
    "ours": conf.get("spark.geneai.only"),
    "master": spark.sparkContext.master,
    "name": spark.sparkContext.appName,
}))
spark.stop()
"""


def run_script(command: list[str], tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [*command, str(script), str(tmp_path / "table")],
        capture_output=True,
        text=True,
        timeout=300,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK"))}
        | {"PYSPARK_PYTHON": sys.executable},
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    answer: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return answer


def test_delta_keeps_versions(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    spark.range(5).write.format("delta").save(path)
    spark.range(5, 7).write.format("delta").mode("append").save(path)
    assert spark.read.format("delta").load(path).count() == 7
    assert spark.read.option("versionAsOf", 0).format("delta").load(path).count() == 5


def test_s3a_is_on_the_class_path(spark: SparkSession) -> None:
    jvm = spark._jvm
    assert jvm is not None
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    loader.loadClass("org.apache.hadoop.fs.s3a.S3AFileSystem")
    loader.loadClass("software.amazon.awssdk.services.s3.S3AsyncClient")


def test_a_running_session_is_returned_untouched(spark: SparkSession) -> None:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    again = session.get_session("another", {"spark.sql.shuffle.partitions": "77"}, "local[1]")
    assert again is spark
    assert again.conf.get("spark.sql.shuffle.partitions") == before


def test_workers_run_this_python_with_the_package(spark: SparkSession) -> None:
    def tell(batches: Iterable[Any]) -> Iterable[Any]:
        import sys

        import pyarrow

        import geneai_spark

        for _ in batches:
            found = [sys.executable, geneai_spark.__version__]
            yield pyarrow.RecordBatch.from_pydict({"found": found})

    rows = spark.range(1, numPartitions=1).mapInArrow(tell, "found string").collect()
    assert Path(rows[0].found).samefile(sys.executable)
    assert rows[1].found == "0.1.0"


def test_workers_get_wide_rows_in_bounded_batches_and_one_thread(spark: SparkSession) -> None:
    def measure(batches: Iterable[Any]) -> Iterable[Any]:
        import os

        import pyarrow

        threads = int(os.environ["OMP_NUM_THREADS"])  # of a matrix product: Spark has the cores
        sizes = [batch.nbytes for batch in batches]
        yield pyarrow.RecordBatch.from_pydict({"most": [max(sizes)], "threads": [threads]})

    rows = spark.range(1000, numPartitions=1).selectExpr("unhex(repeat('00', 50000)) AS wide")
    (found,) = rows.mapInArrow(measure, "most long, threads long").collect()
    assert 1 << 20 < found.most < 12 << 20  # all rows: 50 MB
    assert found.threads == 1


def test_local_defaults_yield_to_what_is_asked(spark: SparkSession) -> None:
    conf = spark.sparkContext.getConf()
    assert conf.get("spark.sql.shuffle.partitions") == "3"  # asked for in conftest.py
    assert conf.get("spark.databricks.delta.snapshotPartitions") == "1"
    assert conf.get("spark.ui.enabled") == "false"
    assert conf.get("spark.sql.parquet.compression.codec") == "zstd"
    assert spark.sparkContext.master == "local[2]"


def test_spark_submit_wins_over_conf(tmp_path: Path) -> None:
    submit = str(Path(sys.executable).parent / "spark-submit")
    given = ["--master", "local[1]", "--name", "theirs", "--driver-memory", "1g"]
    quick = session.LOCAL_DEFAULTS["spark.driver.extraJavaOptions"]
    given += ["--driver-java-options", quick]
    answer = run_script([submit, *given, "--conf", "spark.sql.shuffle.partitions=9"], tmp_path)
    assert answer == {
        "rows": 4,
        "shuffle": "9",
        "ours": "ours",
        "master": "local[1]",
        "name": "theirs",
    }


def test_no_fit_java_is_a_setup_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setattr(runtime, "_java_homes", lambda: iter([tmp_path]))
    assert runtime.java_version(tmp_path) == 11
    assert runtime.find_java() is None
    with pytest.raises(SetupError, match=r"found only Java 11: install Java 17 or 21"):
        runtime.require_java()


@pytest.mark.parametrize(
    ("said", "major"),
    [('openjdk version "21" 2023-09-19', 21), ('java version "1.8.0_392"', 8), ("hello", None)],
)
def test_java_version_is_read(tmp_path: Path, said: str, major: int | None) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\ncat >&2 <<'.'\n{said}\n.\n")
    java.chmod(0o755)
    assert runtime.java_version(tmp_path) == major


def test_jars_are_found_only_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENEAI_JARS", str(tmp_path))
    names = list(runtime.locked_jars())
    for name in names[1:]:
        (tmp_path / name).touch()
    assert runtime.find_jars() == []
    (tmp_path / names[0]).touch()
    assert [jar.name for jar in runtime.find_jars()] == sorted(names)


def test_a_jar_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    for name in runtime.locked_jars():
        (tmp_path / name).write_bytes(b"not it")
    with pytest.raises(SetupError, match=r"differ from the lock of sha256: .*delta-spark"):
        runtime._check(tmp_path, runtime.locked_jars(), "")


def test_kernel_cache__the_first_writable_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "made" / "later"))
    sources = Path(session.__file__).parent
    assert session.kernel_cache() == sources
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert session.kernel_cache() == tmp_path  # the folder that exists above it
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(os, "access", lambda path, mode: path != sources)
    assert session.kernel_cache() == tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert session.kernel_cache() is None
