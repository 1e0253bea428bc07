"""The demo, run as a user does: planted variants first, statistics right, twice the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pysam
import pytest
import statsmodels.api as sm

from geneai_spark import cli, datasets, demo, registry, store, tables
from geneai_spark.errors import SetupError, StorageError

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "datasets"


@pytest.fixture(scope="module")
def vcf():
    """The demo's data set; fetched once, then kept beside the sources."""
    try:
        return datasets.download("chr22-demo", CACHE)
    except (StorageError, SetupError) as error:
        pytest.skip(f"the demo's data cannot be fetched: {error}")


@pytest.fixture(scope="module")
def shown(spark, vcf, tmp_path_factory):
    """A folder in which the demo has run, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    (folder / "data").mkdir(parents=True)
    shutil.copy(vcf, folder / "data")
    return folder, demo.main(["--to", str(folder)])


def rows(spark, folder, table):
    return store.read(spark, table, str(folder / "warehouse"))


def read_with_pysam(vcf):
    """Dosages by (contig, 0-based start, REF, ALT), and the sample ids."""
    found = {}
    with pysam.VariantFile(str(vcf)) as file:
        ids = list(file.header.samples)
        for record in file:
            assert len(record.alts) == 1
            key = (record.contig, record.start, record.ref, record.alts[0])
            found[key] = np.array([sum(v["GT"]) for v in record.samples.values()], float)
    return ids, found


def test_demo__planted_variants_come_first(spark, shown):
    folder, code = shown
    assert code == 0
    truth = json.loads((folder / "data" / "simulated_trait.truth.json").read_text())
    planted = {(c["contigName"], c["start"]) for c in truth["causal"]}
    assert len(planted) == 4 and truth["simulated"]
    tested = rows(spark, folder, tables.ASSOCIATIONS).where("pValue IS NOT NULL")
    best = tested.orderBy("pValue").limit(4).collect()
    assert {(row.contigName, row.start) for row in best} == planted
    assert matplotlib.image.imread(folder / "manhattan.png").shape[0] > 500
    html = (folder / "report.html").read_text("utf-8")
    assert all(f"22:{start + 1:,}" in html for _, start in planted)
    assert "<dt>variants</dt><dd>1,988</dd>" in html.replace("\n", "")
    assert "Simulated, not measured: simulated_trait." in html


def test_demo__trains_both_families_and_says_what_they_are_worth(spark, shown, capsys):
    folder, _ = shown
    assert cli.main(["models", "list", f"models={folder}/models"]) == 0
    listed = capsys.readouterr().out
    assert "disease_association_simulated_trait" in listed
    assert "genomic_prediction_simulated_trait" in listed
    held = registry.load(
        registry.find(f"{folder}/models", "genomic_prediction_simulated_trait/1")
    ).config["metrics"]
    # The four planted variants explain 32 %; what is learnt of 900 people is less.
    assert 0 < held["test_r2_low"] < held["test_r2"] < 0.45
    truth = json.loads((folder / "data" / "simulated_trait.truth.json").read_text())
    planted = {(c["contigName"], c["start"]) for c in truth["causal"]}
    leads = rows(spark, folder, tables.IMPORTANCES).where("isLead AND locus <= 5").collect()
    assert len({(row.contigName, row.start) for row in leads} & planted) >= 3


def test_demo__effects_and_p_values_of_20_variants_as_statsmodels(spark, shown, vcf):
    folder, _ = shown
    ids, dosages = read_with_pysam(vcf)
    trait = pd.read_csv(folder / "data" / "simulated_trait.csv", index_col="sample")
    y = trait.loc[ids, "simulated_trait"].to_numpy()
    tested = rows(spark, folder, tables.ASSOCIATIONS).where("pValue IS NOT NULL")
    found = tested.orderBy("start", "alternateAllele").collect()
    assert len(found) == sum(len(set(x)) > 1 for x in dosages.values())
    chosen = [*sorted(found, key=lambda row: row.pValue)[:4], *found[:: len(found) // 16][:16]]
    assert len(chosen) == 20
    for row in chosen:
        key = (row.contigName, row.start, row.referenceAllele, row.alternateAllele)
        x = dosages[key]
        fit = sm.OLS(y, sm.add_constant(x)).fit()
        numbers = (row.effect, row.standardError, row.statistic, row.pValue)
        expected = (fit.params[1], fit.bse[1], fit.tvalues[1], fit.pvalues[1])
        assert numbers == pytest.approx(expected, rel=1e-8)
        assert row.alleleFrequency == pytest.approx(x.mean() / 2, abs=1e-12)
        assert row.sampleCount == 1092


def test_demo__counts_as_pysam_reads_them(spark, shown, vcf):
    folder, _ = shown
    _, dosages = read_with_pysam(vcf)
    measured = rows(spark, folder, tables.VARIANT_QUALITY).collect()
    assert len(measured) == len(dosages) == 1988
    for row in measured:
        x = dosages[(row.contigName, row.start, row.referenceAllele, row.alternateAlleles[0])]
        assert row.alleleCounts == [2 * 1092 - x.sum(), x.sum()]
        assert row.heterozygotes == (x == 1).sum()
        assert row.callRate == 1


def test_demo__again_changes_nothing(spark, shown, monkeypatch, capsys):
    folder, _ = shown
    before = {
        table.name: (
            store.version(spark, table, str(folder / "warehouse")),
            sorted(map(str, rows(spark, folder, table).drop("call_genotype").collect())),
        )
        for table in (tables.VARIANTS, tables.SAMPLES, tables.TRAITS, tables.INGESTS)
    }
    hits = rows(spark, folder, tables.ASSOCIATIONS).orderBy("start", "alternateAllele").toPandas()

    def offline(*_, **__):
        raise AssertionError("the second run went to the network")

    monkeypatch.setattr(datasets.subprocess, "run", offline)
    assert demo.main(["--to", str(folder)]) == 0
    said = capsys.readouterr()
    assert "unchanged, not read again" in said.err
    assert (
        "geneai tables describe" in said.out
        and "manhattan.png" in said.out
        and "report.html" in said.out
    )
    for name, (version, content) in before.items():
        table = tables.TABLES[name]
        assert store.version(spark, table, str(folder / "warehouse")) == version
        again = rows(spark, folder, table).drop("call_genotype").collect()
        assert sorted(map(str, again)) == content
    same = rows(spark, folder, tables.ASSOCIATIONS).orderBy("start", "alternateAllele").toPandas()
    pd.testing.assert_frame_equal(hits, same)


def test_demo__fails_where_the_planted_variants_do_not_come_first(spark, shown, monkeypatch):
    folder, _ = shown
    for stage in ("measure", "train", "report"):  # none has a say in it
        monkeypatch.setattr(demo, stage, lambda *_: [])
    real = demo.summary.top_hits
    monkeypatch.setattr(demo.summary, "top_hits", lambda table, n: real(table, n + 1)[1:])
    assert demo.main(["--to", str(folder)]) == 1
