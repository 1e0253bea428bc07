"""The storage settings: said once, given to Hadoop and to Python, keys never among them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import config, session
from geneai_spark.config import JobConfig
from geneai_spark.errors import ConfigError
from geneai_spark.filesystems import webhdfs
from geneai_spark.storage import S3, Hdfs, Storage


def test_s3__the_same_for_hadoop_and_python() -> None:
    s3 = S3(endpoint="http://minio:9000", region="eu-west-1", path_style=True)
    assert s3.hadoop() == {
        "fs.s3a.endpoint": "http://minio:9000",
        "fs.s3a.endpoint.region": "eu-west-1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
    }
    assert s3.environment() == {
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
        "AWS_REGION": "eu-west-1",
        "GENEAI_S3_PATH_STYLE": "true",
    }
    assert S3().hadoop() == S3().environment() == Hdfs().environment() == {}


def test_s3_keys__from_a_section_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=b%c\n[short]\naws_access_key_id=x\n"
    )
    s3 = S3(keys_from="file", file=str(path))
    assert s3.keys() == {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b%c"}
    with pytest.raises(ConfigError, match=r"no aws_secret_access_key in \[short\]"):
        S3(keys_from="file", file=str(path), profile="short").keys()
    with pytest.raises(ConfigError, match=r"no section \[none\]"):
        S3(keys_from="file", file=str(path), profile="none").keys()
    path.write_text("my-secret-without-a-section")
    with pytest.raises(ConfigError, match="expected sections") as told:
        s3.keys()
    assert "my-secret" not in str(told.value)


def test_s3_keys__of_the_environment_and_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert S3().keys() == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    assert S3().keys() == {"AWS_ACCESS_KEY_ID": "a"}
    assert S3(keys_from="anonymous").keys() == {}


def test_config__storage_nests_and_tells_what_is_wrong() -> None:
    loaded = config.load(JobConfig, None, ["storage.s3.endpoint=http://h:1", "storage.hdfs.user=u"])
    assert loaded.storage == Storage(s3=S3(endpoint="http://h:1"), hdfs=Hdfs(user="u"))
    assert loaded.redact()["storage"]["s3"]["endpoint"] == "http://h:1"
    for given, match in [
        ("storage.s3.endpoint=h:1", "must begin with http"),
        ("storage.s3.keys_from=file", "go together"),
        ("storage.s3.key=x", "unknown key"),
        ("storage.hdfs.client=nativ", "did you mean 'native'"),
    ]:
        with pytest.raises(ConfigError, match=match):
            config.load(JobConfig, None, [given])


def test_session__tells_hadoop_and_workers_but_not_sparks_settings(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(spark.sparkContext, "environment", dict(spark.sparkContext.environment))
    path = tmp_path / "keys"
    path.write_text("[default]\naws_access_key_id=open\naws_secret_access_key=hidden-one\n")
    s3 = S3(region="eu-west-9", keys_from="file", file=str(path))
    assert session.get_session(storage=Storage(s3=s3)) is spark

    def tell(batches):  # type: ignore[no-untyped-def]
        import os

        import pyarrow

        for _ in batches:
            names = ["AWS_REGION", "AWS_SECRET_ACCESS_KEY"]
            found = [os.environ.get(name, "") for name in names]
            yield pyarrow.RecordBatch.from_pydict({"found": found})

    rows = spark.range(1, numPartitions=1).mapInArrow(tell, "found string").collect()
    assert [row.found for row in rows if row.found] == ["eu-west-9", "hidden-one"]
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    try:
        assert hadoop.get("fs.s3a.secret.key") == "hidden-one"
        assert "hidden-one" not in json.dumps(spark.sparkContext.getConf().getAll())
    finally:
        for key in [*s3.hadoop(), "fs.s3a.access.key", "fs.s3a.secret.key"]:
            hadoop.unset(key)
        hadoop.unset("fs.s3a.aws.credentials.provider")


def test_webhdfs_addresses__settings_site_and_host(tmp_path: Path) -> None:
    properties = {
        "dfs.nameservices": "lab",
        "dfs.ha.namenodes.lab": "n1, n2",
        "dfs.namenode.http-address.lab.n1": "one:9870",
        "dfs.namenode.http-address.lab.n2": "two:9870",
    }
    inside = "".join(
        f"<property><name>{k}</name><value>{v}</value></property>" for k, v in properties.items()
    )
    (tmp_path / "hdfs-site.xml").write_text(f"<configuration>{inside}</configuration>")
    site = {"HADOOP_CONF_DIR": str(tmp_path)}
    both = ["http://one:9870", "http://two:9870"]
    assert webhdfs.addresses("lab", site) == webhdfs.addresses("", site) == both
    assert webhdfs.addresses("other:8020", site) == ["http://other:9870"]
    assert webhdfs.addresses("lab", {"GENEAI_WEBHDFS": "http://a:1;http://b:2"}) == [
        "http://a:1",
        "http://b:2",
    ]
    with pytest.raises(ValueError, match="without a host"):
        webhdfs.addresses("", {})
