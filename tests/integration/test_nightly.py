"""Night after night: what is new is taken in, what depends on it is redone, the rest is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from geneai_spark.jobs import run_gwas, run_nightly
from pyspark.sql import SparkSession

from geneai_spark import nightly, store, tables, upkeep
from geneai_spark.config import load
from geneai_spark.errors import ConfigError, InputError
from tests.vcf_files import text, write

SAMPLES = [f"s{i}" for i in range(12)]


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """A landing folder with one VCF and a file of traits."""
    landing = tmp_path / "landing"
    landing.mkdir()
    write(landing / "a.vcf", text(SAMPLES, records=60))
    values = [f"{s},{(7 * i * i) % 11}.5" for i, s in enumerate(SAMPLES)]
    (tmp_path / "traits.csv").write_text("\n".join(["sample,height", *values]) + "\n")
    return SimpleNamespace(landing=landing, folder=tmp_path, home=str(tmp_path / "warehouse"))


def night(
    spark: SparkSession, place: SimpleNamespace, stages: str, *settings: str
) -> dict[str, Any]:
    words = [
        f"landing={place.landing}/*.vcf",
        f"traits={place.folder}/traits.csv",
        f"warehouse={place.home}",
        f"stages={stages}",
        "settings.run_gwas.traits=height",
        *settings,
    ]
    if not any(word.startswith("vacuum_hours") for word in settings):
        words.append("vacuum_hours=null")
    return run_nightly.run(spark, load(run_nightly.Config, overrides=words))


def versions(spark: SparkSession, home: str) -> dict[str, int]:
    """Of the tables that hold results."""
    own = [t for t in tables.TABLES.values() if t.name != "runs"]
    return {t.name: v for t in own if (v := store.version(spark, t, home)) is not None}


def runs(spark: SparkSession, home: str) -> Counter[tuple[str, str]]:
    rows = store.read(spark, tables.RUNS, home).select("job", "status").collect()
    return Counter((row.job, row.status) for row in rows)


def test_nightly__does_what_is_new_and_nothing_twice(
    spark: SparkSession, place: SimpleNamespace
) -> None:
    every = (
        "check_quality,run_gwas,make_report",
        f"settings.make_report.output={place.folder}/report.html",
        f"summary={place.folder}/summary.json",
        "vacuum_hours=168",
    )
    told = night(spark, place, *every)
    assert told["nothing_new"] == 0 and "records_stored=60" in told["ingest_variants"]
    assert json.loads((place.folder / "summary.json").read_text()) == told
    report = (place.folder / "report.html").stat().st_mtime_ns
    before, ran = versions(spark, place.home), runs(spark, place.home)
    assert before.keys() >= {"variants", "variant_quality", "associations"}
    files = set(store.read(spark, tables.VARIANTS, place.home).inputFiles())

    told = night(spark, place, *every)  # nothing new
    assert told["nothing_new"] == 1
    assert {told[s] for s in ("check_quality", "run_gwas", "make_report")} == {"current"}
    assert versions(spark, place.home) == before
    assert (place.folder / "report.html").stat().st_mtime_ns == report
    again = runs(spark, place.home) - ran
    assert set(again) == {("ingest_variants", "succeeded"), ("ingest_traits", "succeeded")}

    upkeep.optimize(spark, tables.VARIANTS, place.home)  # other files, the same rows
    assert night(spark, place, *every)["nothing_new"] == 1
    files = set(store.read(spark, tables.VARIANTS, place.home).inputFiles())
    measured = set(store.read(spark, tables.VARIANT_QUALITY, place.home).inputFiles())

    write(place.landing / "b.vcf", text(SAMPLES, records=25, first=900))  # one new file
    told = night(spark, place, *every)
    assert "records_stored=25" in told["ingest_variants"] and told["nothing_new"] == 0
    assert "current" not in {told[s] for s in ("check_quality", "run_gwas", "make_report")}
    variants = store.read(spark, tables.VARIANTS, place.home)
    assert variants.count() == 85
    assert set(variants.inputFiles()) > files  # of the rows that were there none is touched
    quality = store.read(spark, tables.VARIANT_QUALITY, place.home)
    assert quality.count() == 85 and set(quality.inputFiles()) > measured  # 25 were measured


def test_nightly__another_setting_redoes_its_stage_only(
    spark: SparkSession, place: SimpleNamespace
) -> None:
    night(spark, place, "check_quality,run_gwas")
    told = night(spark, place, "check_quality,run_gwas", "settings.run_gwas.missing_genotypes=mean")
    assert told["check_quality"] == "current" and told["run_gwas"] != "current"


def test_nightly__goes_on_where_it_failed(
    spark: SparkSession, place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = run_gwas.run

    def run(spark: SparkSession, config: run_gwas.Config) -> dict[str, Any]:
        raise OSError("the disk is full")

    run.__code__ = run.__code__.replace(co_filename=real.__code__.co_filename)
    with monkeypatch.context() as broken:
        broken.setattr(run_gwas, "run", run)
        with pytest.raises(OSError, match="the disk is full"):
            night(spark, place, "check_quality,run_gwas")
    assert runs(spark, place.home)["run_gwas", "failed"] == 1
    told = night(spark, place, "check_quality,run_gwas")
    assert told["check_quality"] == "current" and told["run_gwas"] != "current"
    assert runs(spark, place.home)["check_quality", "succeeded"] == 1
    assert store.read(spark, tables.ASSOCIATIONS, place.home).count() == 60


def test_nightly__a_file_that_cannot_be_read_stops_no_other_and_is_told_at_the_end(
    spark: SparkSession, place: SimpleNamespace
) -> None:
    (place.landing / "bad.vcf").write_text("no VCF at all\n")
    with pytest.raises(InputError, match=r"bad\.vcf"):
        night(spark, place, "check_quality")
    assert store.read(spark, tables.VARIANT_QUALITY, place.home).count() == 60
    assert store.read(spark, tables.VARIANTS, place.home).count() == 60


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("stages=run_gvas", "'run_gvas' is none of check_quality"),
        ("settings.run_gwas.trait=height", "run_gwas: .*did you mean 'traits'"),
        ("settings.rungwas.traits=height", r"settings\.rungwas\.traits: begins with none of"),
        ("settings.run_gwas.warehouse=here", "all stages share it"),
        ("vacuum_hours=-1", "vacuum_hours must not be below 0"),
    ],
)
def test_nightly__refuses_wrong_settings_before_spark_starts(word: str, match: str) -> None:
    words = ["landing=x.vcf", "stages=run_gwas", "settings.run_gwas.traits=height", word]
    with pytest.raises(ConfigError, match=match):
        load(run_nightly.Config, overrides=words)


def test_config__reads_bring_the_check_of_them() -> None:
    words = ["landing=x.vcf", "stages=check_quality"]
    assert "check_reads" not in load(run_nightly.Config, overrides=words).configs()
    words += ["reads=a.fq", "settings.check_reads.limits.adapters=0.1,0.2"]
    found = load(run_nightly.Config, overrides=words).configs()
    assert list(found) == ["ingest_variants", "ingest_reads", "check_quality", "check_reads"]


def test_settings__of_all_stages_are_shared() -> None:
    config = load(
        run_nightly.Config,
        overrides=["landing=a,b.vcf", "warehouse=w", "seed=7", "spark.spark.ui.enabled=true"],
    )
    made = nightly.settings("ingest_variants", {}, config, ["dir/a,b.vcf", "c.vcf"])
    assert (made.warehouse, made.seed, made.spark) == ("w", 7, {"spark.ui.enabled": "true"})
    assert tuple(made.part(type(made))["inputs"]) == ("dir/a,b.vcf", "c.vcf")
