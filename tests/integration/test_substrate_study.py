"""One study on four grounds: local files, HDFS, S3, and a Spark cluster on S3.

Inputs, tables and report lie there; the tables must be the same row for row. One process, whose
session knows both storages, goes through the first three grounds; to the cluster jobs are sent by
spark-submit. There, where S3 is, with its keys out of a secret file, goes to the executors with the
tasks: they have neither. The package comes to them as a zip for one job, which they compile kernels
for; the others take what is installed, compiled by the set-up.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from geneai_spark import filesystems
from tests import study_run
from tests.conftest import ROOT
from tests.servers.cluster import Cluster
from tests.servers.hdfs import Hdfs
from tests.servers.s3 import KEYS, S3

LOCAL = ["spark.spark.master=local[2]", "spark.spark.driver.memory=1g"]
LOCAL += ["spark.spark.sql.shuffle.partitions=3"]
# Planned once and interpreted, as in unit tests; the cluster plans anew between stages and runs
# generated code, and gives the same rows.
LOCAL += ["spark.spark.sql.adaptive.enabled=false", "spark.spark.sql.codegen.wholeStage=false"]
LOCAL += ["spark.spark.sql.codegen.factoryMode=NO_CODEGEN"]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what says where storage is or who we are there."""
    own = ("AWS_", "GENEAI_S3", "GENEAI_HDFS", "GENEAI_WEBHDFS", "HADOOP_", "SPARK_", "PYSPARK_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, **more}


def call(command: Sequence[str], env: dict[str, str]) -> str:
    """Run a command; what it says."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    for secret in KEYS.values():
        assert secret not in said
    return said


STUDY = functools.cache(study_run.inputs)


def put_inputs(place: str) -> None:
    for name, data in STUDY().files.items():
        filesystems.write(f"{place}/in/{name}", data)


def on_s3(s3: S3, patch: pytest.MonkeyPatch, name: str) -> str:
    """The URI of a folder with the inputs, which this process may look at."""
    for key, value in {**KEYS, "AWS_ENDPOINT_URL_S3": s3.endpoint}.items():
        patch.setenv(key, value)
    place = f"{s3.uri}/{name}"
    put_inputs(place)
    return place


@pytest.fixture(scope="module")
def studies(
    hdfs: Hdfs, s3: S3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The digests of the study on this machine's files, on HDFS and on S3; and the folders there,
    which this process may look at.
    """
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENEAI_WEBHDFS", hdfs.web)
        patch.setenv("GENEAI_HDFS_CLIENT", "webhdfs")
        places = {"local": str(folder), "hdfs": f"{hdfs.uri}/study"}
        for place in places.values():
            put_inputs(place)
        places["s3"] = on_s3(s3, patch, "one-machine")
        out = folder / "digests.json"
        words = [",".join(places.values()), str(out), ",".join(study_run.JOBS), *LOCAL]
        settings = [*hdfs.settings, *s3.settings, "storage.hdfs.client=webhdfs"]
        command = [sys.executable, "-m", "tests.study_run", *words, *settings]
        call(command, environment(**KEYS))
        told = json.loads(out.read_text())
        yield {name: told[place] for name, place in places.items()} | {"places": places}


@pytest.fixture(scope="module")
def local(studies: dict[str, Any]) -> dict[str, Any]:
    """The digests of this machine's files."""
    found: dict[str, Any] = studies["local"]
    return found


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    ignored = {"package"}
    assert {k: found[k] for k in found if k not in ignored} == {
        k: wanted[k] for k in wanted if k not in ignored
    }


def test_study__local_has_every_row(local: dict[str, Any]) -> None:
    rows = {name: found[0] for name, found in local.items() if name not in ("report", "package")}
    assert rows["variants"] == rows["variant_quality"] == STUDY().records - len(study_run.BAD)
    assert rows["rejects"] == len(study_run.BAD)
    assert (
        rows["samples"] == rows["sample_quality"] == rows["features_pca_scores"] == STUDY().people
    )
    assert rows["traits"] == 2 * STUDY().people
    assert rows["reads"] == rows["alignments"] == study_run.READS
    assert rows["ingests"] == 4
    assert rows["predictions"] == STUDY().people
    assert rows["variant_importances"] > 10
    assert 0 < rows["associations"] <= rows["variants"]
    assert local["report"].lower() == "<!doctype html>"


@pytest.mark.parametrize("ground", ["hdfs", "s3"])
def test_study__in_and_out(studies: dict[str, Any], ground: str) -> None:
    same(studies[ground], studies["local"])
    place = studies["places"][ground]
    assert place.startswith(f"{ground.rstrip('3')}")
    stored = filesystems.list_files(f"{place}/tables/variants")
    assert any(info.uri.endswith(".zstd.parquet") for info in stored)  # by our tasks, not Spark's


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for ``--py-files``, as `make wheel` makes it."""
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel"]
    call([*pip, "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)], environment())
    (wheel,) = folder.glob("*.whl")
    return wheel.rename(folder / "geneai_spark.zip")


def test_study__spark_submit_to_a_cluster(
    local: dict[str, Any],
    s3: S3,
    cluster: Cluster,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = on_s3(s3, monkeypatch, "cluster")
    secret = tmp_path / "keys"
    secret.write_text("[geneai]\n" + "".join(f"{k.lower()}={v}\n" for k, v in KEYS.items()))
    settings = [*s3.settings, "storage.s3.keys_from=file", f"storage.s3.file={secret}"]
    settings += ["storage.s3.profile=geneai", f"warehouse={place}/tables"]
    submit = cluster.submit
    first = "ingest_reads"  # whose kernels are compiled soonest
    others = [name for name in study_run.JOBS if name != first]
    words = [word.format(place=place) for word in study_run.JOBS[first]]
    zipped = ["--py-files", str(package)]
    said = call([*submit, *zipped, ROOT / "jobs" / f"{first}.py", *words, *settings], environment())
    assert f"records_stored={study_run.READS}" in said
    out = tmp_path / "out.json"
    script = [ROOT / "tests" / "study_run.py", place, out, ",".join(others)]
    call([*submit, *script, *settings], environment())
    found = json.loads(out.read_text())[place]
    same(found, local)
    assert found["package"] == [ROOT.name]
    # The executors of the first job had the package as a zip, and kept its kernels beside it.
    kept = {path.parts[-1] for path in cluster.folder.glob("worker*/app-*/*/geneai_spark.zip")}
    assert kept and list(cluster.folder.glob("worker*/app-*/*/cache/**/*.nbc"))
