"""check_quality again: of files that came since, only their rows are read; the tables are those
that one run over all of them makes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from geneai_spark.jobs import check_quality
from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark import store, tables, upkeep
from geneai_spark.ingest.variants import ingest_variants
from geneai_spark.quality import known
from geneai_spark.table import ALL
from tests.vcf_files import text, write

SAMPLES = [f"s{i}" for i in range(9)]
QUALITY = (tables.VARIANT_QUALITY, tables.SAMPLE_QUALITY)


def check(spark: SparkSession, home: str, **settings: Any) -> dict[str, Any]:
    return check_quality.run(spark, check_quality.Config(warehouse=home, **settings))


def rows(spark: SparkSession, home: str) -> list[list[str]]:
    return [sorted(map(str, store.read(spark, t, home).collect())) for t in QUALITY]


def files(spark: SparkSession, home: str) -> set[str]:
    return set(store.read(spark, tables.VARIANT_QUALITY, home).inputFiles())


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of one cohort."""
    folder = tmp_path_factory.mktemp("landing")
    for number, name in enumerate("abc"):
        write(folder / f"{name}.vcf", text(SAMPLES, records=30 + number, first=1 + 900 * number,
                                           seed=number))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def whole(spark: SparkSession, landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one run over all files comes to."""
    home = str(tmp_path_factory.mktemp("whole"))
    ingest_variants(spark, home, f"{landing}/*.vcf")
    told = check(spark, home)
    assert told["measured"] == told["rows"] == 93
    return told, rows(spark, home)


def test_check_quality__measures_what_is_new(
    spark: SparkSession, landing: Path, tmp_path: Path, whole: Any
) -> None:
    home = str(tmp_path)
    ingest_variants(spark, home, f"{landing}/a.vcf")
    assert check(spark, home)["measured"] == 30
    before = files(spark, home)
    ingest_variants(spark, home, f"{landing}/b.vcf")
    upkeep.optimize(spark, tables.VARIANTS, home)  # the new rows are in another file now
    assert check(spark, home)["measured"] == 31
    assert files(spark, home) > before  # what was measured is as it was
    upkeep.optimize(spark, tables.VARIANT_QUALITY, home)
    ingest_variants(spark, home, f"{landing}/c.vcf")
    told = check(spark, home)
    assert told["measured"] == 32
    assert {**told, "measured": 93} == whole[0]
    assert rows(spark, home) == whole[1]
    assert check(spark, home)["measured"] == 0
    assert rows(spark, home) == whole[1]
    assert check(spark, home, everything=True)["measured"] == 93


@pytest.fixture(scope="module")
def measured(spark: SparkSession, landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A warehouse of two files, checked; a test leaves it checked with the same settings."""
    home = str(tmp_path_factory.mktemp("measured"))
    ingest_variants(spark, home, [f"{landing}/a.vcf", f"{landing}/b.vcf"])
    check(spark, home)
    return home, rows(spark, home)


def test_check_quality__other_settings_measure_everything(
    spark: SparkSession, measured: Any
) -> None:
    home, before = measured
    told = check(spark, home, min_minor_allele_frequency=0.4)
    assert told["measured"] == 61 and rows(spark, home)[0] != before[0]
    assert check(spark, home)["measured"] == 61
    assert rows(spark, home) == before


def test_check_quality__figures_changed_by_others_are_measured_anew(
    spark: SparkSession, measured: Any
) -> None:
    home, before = measured
    kept = store.read(spark, tables.VARIANT_QUALITY, home).where("start % 2 = 0")
    store.replace(kept, tables.VARIANT_QUALITY, home)
    assert check(spark, home)["measured"] == 61
    assert rows(spark, home) == before


def test_check_quality__rows_gone_from_variants_measure_everything(
    spark: SparkSession, measured: Any
) -> None:
    home, before = measured
    version = store.version(spark, tables.VARIANTS, home)
    assert version is not None
    every = store.read(spark, tables.VARIANTS, home)
    store.replace(every.where("start % 2 = 0"), tables.VARIANTS, home)
    told = check(spark, home)
    assert told["measured"] == told["rows"] == len(rows(spark, home)[0]) < 61
    upkeep.restore(spark, tables.VARIANTS, home, version)
    assert check(spark, home)["measured"] == 61
    assert rows(spark, home) == before


def test_added__another_table_in_its_place_is_not_taken_for_the_same(
    spark: SparkSession, measured: Any
) -> None:
    home, _ = measured
    version = store.version(spark, tables.VARIANTS, home)
    assert version is not None
    held = store.read_added(spark, tables.VARIANTS, home, version)
    assert held is not None and list(held.uris) == []
    assert store.read_added(spark, tables.VARIANTS, home, version + 1) is None


def test_check_quality__without_its_table_everything_is_measured(
    spark: SparkSession, measured: Any
) -> None:
    home, before = measured
    shutil.rmtree(f"{home}/{tables.VARIANT_QUALITY.name}")
    assert check(spark, home)["measured"] == 61
    assert rows(spark, home) == before


Sums = dict[str, Any]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda sums: [],
        lambda sums: [sums, sums | {"cohort": "other", "settings": "{}"}],
        lambda sums: [sums, sums | {"cohort": "other", "variantsVersion": 0}],
        lambda sums: [sums | {"samples": 8}],
        lambda sums: [sums | {"counts": sums["counts"][: -8 * 9]}],
        lambda sums: [sums | {"values": {}}],
    ],
    ids=["none", "settings", "versions", "samples", "counts", "values"],
)
def test_find__sums_that_do_not_fit_are_not_gone_on_from(
    spark: SparkSession, measured: Any, tamper: Callable[[Sums], list[Sums]]
) -> None:
    home, _ = measured
    (row,) = store.read(spark, tables.QUALITY_SUMS, home).collect()
    sums = row.asDict(recursive=True)
    settings, sizes = sums["settings"], {"default": 9}
    assert known.find(spark, home, settings, sizes) is not None
    store.put(spark, tamper(sums), tables.QUALITY_SUMS, home, where=ALL)
    try:
        assert known.find(spark, home, settings, sizes | {"other": 9}) is None
    finally:
        store.put(spark, [sums], tables.QUALITY_SUMS, home, where=ALL)


def test_describe__tells_settings_and_software(monkeypatch: pytest.MonkeyPatch) -> None:
    before = known.describe(min_depth=1)
    assert known.describe(min_depth=1) == before != known.describe(min_depth=2)
    monkeypatch.setattr(geneai_spark, "__version__", "another")
    assert known.describe(min_depth=1) != before


def test_check_quality__a_run_that_stopped_before_its_end_is_done_again(
    spark: SparkSession, landing: Path, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = measured
    ingest_variants(spark, home, f"{landing}/c.vcf")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(known, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            check(spark, home)
    assert len(rows(spark, home)[0]) == 93  # written, but nobody vouches for it
    told = check(spark, home)
    assert told["measured"] == told["rows"] == 93
    assert len(rows(spark, home)[0]) == 93
