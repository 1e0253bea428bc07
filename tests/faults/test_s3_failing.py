"""S3 that fails or delays a fifth of requests: reads and writes go on, Python's and Spark's."""

from __future__ import annotations

import itertools
import random
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import filesystems, storage, store, tables
from geneai_spark.ingest import ingest_variants
from geneai_spark.table import Where
from tests.faults.warehouse import ASIDE, PLACE, contents
from tests.servers import proxy as proxy_server
from tests.servers import s3 as s3_server
from tests.servers.proxy import FAULTS, Proxy
from tests.servers.s3 import S3
from tests.vcf_files import bgzf, text

pytestmark = pytest.mark.slow

_NUMBERS = itertools.count()


@pytest.fixture
def bucket() -> str:
    """Hadoop keeps an endpoint for each bucket: one that no other test uses."""
    return f"failing{next(_NUMBERS)}"


@pytest.fixture
def proxy(
    spark: SparkSession, s3: S3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """A failing way to S3, which this process, Spark and its tasks go."""
    put = urllib.request.Request(f"{s3.endpoint}/{bucket}", method="PUT")
    urllib.request.urlopen(put, timeout=30).close()
    keys = tmp_path / "keys"
    keys.write_text(
        "[default]\n" + "".join(f"{k.lower()}={v}\n" for k, v in s3_server.KEYS.items())
    )
    context = spark.sparkContext
    told, hadoop = dict(context.environment), context._jsc.hadoopConfiguration()
    with proxy_server.start(s3.endpoint) as proxy:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "GENEAI_S3_PATH_STYLE"):
            monkeypatch.setenv(name, "")
        for name in s3_server.KEYS:
            monkeypatch.setenv(name, "")
        where = storage.S3(
            endpoint=proxy.endpoint,
            region=s3_server.REGION,
            path_style=True,
            keys_from="file",
            file=str(keys),
        )
        there = storage.Storage(s3=where)
        there.prepare()
        there.reach(spark)
        yield proxy
    context.environment.clear()
    context.environment.update(told)
    for key in (*where.hadoop(), "fs.s3a.aws.credentials.provider"):
        hadoop.unset(key)


def test_s3__tables_are_those_of_an_undisturbed_run(
    spark: SparkSession, proxy: Proxy, bucket: str, tmp_path: Path
) -> None:
    people = [f"S{i}" for i in range(300)]
    files = {
        "a.vcf.bgz": bgzf(text(people, records=300, bad=[7]).encode()),
        "b.vcf": text(people, records=100, first=2000, seed=4).encode(),
    }
    for name, data in files.items():
        filesystems.write(f"s3://{bucket}/in/{name}", data)
        (tmp_path / name).write_bytes(data)
    ingest_variants(spark, str(tmp_path / "wh"), str(tmp_path / "*.vcf*"))
    home = f"s3a://{bucket}/tables"
    ingest_variants(spark, home, f"s3://{bucket}/in/*.vcf*")
    # By Spark: rows of the two share a Parquet file, and those of one are written anew.
    for where, at in ((home, f"s3://{bucket}/in"), (str(tmp_path / "wh"), str(tmp_path))):
        rows = store.read(spark, tables.VARIANTS, where)
        source = filesystems.source_id(f"{at}/b.vcf")
        store.replace(
            rows.where(rows.sourceId == source).where("start % 2 = 0"),
            tables.VARIANTS,
            where,
            Where.of(sourceId=source),
        )
    done = dict(proxy.done)
    proxy.share = 0  # to look at what is there: Spark on one machine tries no task twice
    aside = ASIDE | PLACE
    wanted = contents(spark, str(tmp_path / "wh"), aside, by_spark=True)
    assert contents(spark, home, aside, by_spark=True) == wanted
    assert wanted["variants"][0] == 299 + 50
    print(done)
    total = sum(done.values())
    assert 0.1 * total < total - done["passed"] and set(FAULTS) <= set(done)


class Seventh(random.Random):
    """Whose every seventh number is 0, and all others 1."""

    drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return float(self.drawn % 7 != 0)


def test_spark__writes_go_on_where_listings_are_cut_short(
    spark: SparkSession, proxy: Proxy, bucket: str
) -> None:
    """Neither Amazon's library nor Hadoop asks again for a listing that ends in the middle."""
    proxy.share = 0
    home = f"s3a://{bucket}/cut"
    rows = store.from_rows(
        spark, [{"cohort": "c", "sampleId": f"S{i}"} for i in range(5)], tables.SAMPLES
    )
    store.replace(rows, tables.SAMPLES, home, Where.of(cohort="c"))
    first = store.version(spark, tables.SAMPLES, home)
    assert first is not None
    proxy.of, proxy.faults, proxy.share, proxy.chance = "list-type=2", ("cut",), 0.5, Seventh()
    for _ in range(8):
        store.append(rows, tables.SAMPLES, home)
    proxy.share = 0
    print(dict(proxy.done))
    assert proxy.done["cut"] > 8
    # Each was stored once: also where it was its own commit's end that was not heard.
    assert store.version(spark, tables.SAMPLES, home) == first + 8
    assert store.read(spark, tables.SAMPLES, home).count() == 9 * 5


def test_python__goes_on_where_half_of_requests_fail(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three fifths meet a fault, and of those a sixth is only late: three tries do not do."""
    with proxy_server.start(s3.endpoint) as proxy:
        proxy.share = 0.6
        for name, value in {**s3_server.KEYS, "AWS_ENDPOINT_URL_S3": proxy.endpoint}.items():
            monkeypatch.setenv(name, value)
        for number in range(12):
            uri, data = f"{s3.uri}/python/{number}", bytes([number]) * 200_000
            filesystems.write(uri, data)
            assert filesystems.open_input(uri).read_at(len(data), 0) == data
            assert filesystems.stat(uri).size == len(data)
