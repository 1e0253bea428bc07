"""The jobs check_quality and run_gwas on a small warehouse."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from geneai_spark.jobs import check_quality, run_gwas
from scipy.stats import fisher_exact

from geneai_spark import config, store, tables, upkeep
from geneai_spark.errors import ConfigError, InputError, TableError
from geneai_spark.selection import VARIANT_KEY
from tests import packed

ODD = "o'brien \\ height (%)"
IDS = [f"s{i}" for i in range(30)]
DOSES = np.random.default_rng(4).binomial(2, 0.4, (3, 30))
Y = np.random.default_rng(5).normal(size=30) + DOSES[0]


@pytest.fixture(scope="module")
def warehouse(spark, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("jobs") / "tables")
    call = [(0, 0), (0, 1), (1, 1)]
    calls = [[call[d] for d in row] for row in DOSES]
    calls[2][:10] = [(None, None)] * 10
    sites = [("1", 100 * i, "A", ["C"]) for i in range(3)]
    store.replace(packed.variants(spark, sites, calls), tables.VARIANTS, folder)
    samples = [("default", i, sample, "f") for i, sample in enumerate(IDS)]
    traits = [
        ("default", sample, name, float(value), None, "f")
        for name, values in ((ODD, Y), ("other", -Y), ("age", range(30)), ("sick", Y > 0))
        for sample, value in zip(IDS, values, strict=True)
    ]
    for rows, table in ((samples, tables.SAMPLES), (traits, tables.TRAITS)):
        store.replace(spark.createDataFrame(rows, table.schema), table, folder)
    return folder


def test_check_quality__flags_and_counts(spark, warehouse):
    told = check_quality.run(spark, check_quality.Config(warehouse=warehouse))
    variants = {"rows": 3, "passed": 2, "low_call_rate": 1, "monomorphic": 0, "rare": 0}
    variants["measured"] = 3
    people = {"samples_rows": 30, "samples_passed": 20, "samples_low_call_rate": 10}
    assert told == variants | people
    stored = store.read(spark, tables.VARIANT_QUALITY, warehouse)
    assert stored.where("size(flags) > 0").collect()[0].callRate == pytest.approx(20 / 30)
    each = store.read(spark, tables.SAMPLE_QUALITY, warehouse).orderBy("sampleIndex").collect()
    assert [row.sampleId for row in each] == IDS
    assert [row.callRate for row in each] == pytest.approx([2 / 3] * 10 + [1] * 20)


def test_check_quality__cases_and_sex_from_traits(spark, warehouse):
    rows = [
        ("default", sample, name, value, None, "g")
        for i, sample in enumerate(IDS)
        for name, value in (("status", float(i < 12)), ("sex", 1.0))
    ]
    before = store.version(spark, tables.TRAITS, warehouse)
    store.append(spark.createDataFrame(rows, tables.TRAITS.schema), tables.TRAITS, warehouse)
    config_ = check_quality.Config(
        warehouse=warehouse, case_control="status", min_missingness_p_value=0.01, sex="sex",
        genome_build="GRCh38",
    )  # fmt: skip
    told = check_quality.run(spark, config_)
    upkeep.restore(spark, tables.TRAITS, warehouse, before)
    assert told["differential_missingness"] == 1
    assert told["samples_sex_mismatch"] == 30  # there is no X to tell
    stored = store.read(spark, tables.VARIANT_QUALITY, warehouse).where("callRate < 1").collect()[0]
    assert (stored.missingCases, stored.missingControls) == (10, 0)
    assert stored.missingnessPValue == pytest.approx(fisher_exact([[10, 2], [0, 18]]).pvalue)


def test_run_gwas__replaces_its_own_traits_only(spark, warehouse, tmp_path):
    both = run_gwas.Config(traits=[ODD, "other"], covariates=["age"], warehouse=warehouse)
    assert run_gwas.run(spark, both)["tests"] == 6
    again = run_gwas.Config(traits=[ODD], warehouse=warehouse, picture=str(tmp_path / "new"))
    told = run_gwas.run(spark, again)
    assert told["tests"] == 3
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["manhattan_o_brien_height_.png"]
    rows = store.read(spark, tables.ASSOCIATIONS, warehouse).where("start = 0").collect()
    assert {row.trait for row in rows} == {ODD, "other"} and len(rows) == 2
    found = {row.trait: (row.effect, row.pValue) for row in rows}
    alone = sm.OLS(Y, sm.add_constant(DOSES[0])).fit()
    aged = sm.OLS(-Y, np.column_stack([np.ones(30), DOSES[0], range(30)])).fit()
    assert found[ODD] == pytest.approx((alone.params[1], alone.pvalues[1]), rel=1e-8)
    assert found["other"] == pytest.approx((aged.params[1], aged.pvalues[1]), rel=1e-8)


def test_run_gwas__raises_on_unknown_cohort_and_trait(spark, warehouse):
    with pytest.raises(TableError, match="no cohort 'trio'"):
        run_gwas.run(spark, run_gwas.Config(traits=["other"], cohort="trio", warehouse=warehouse))
    with pytest.raises(InputError, match="no numeric trait weight"):
        run_gwas.run(spark, run_gwas.Config(traits=["weight"], warehouse=warehouse))


def test_run_gwas__selection_components_and_what_it_tells(spark, warehouse):
    stored = store.read(spark, tables.VARIANTS, warehouse).drop("call_genotype").toArrow()
    keys = stored.select(list(VARIANT_KEY)).to_pylist()
    measured = [key | {"callRate": 1.0 if key["start"] < 200 else 0.6} for key in keys]
    quality = store.from_rows(spark, measured, tables.VARIANT_QUALITY)
    store.replace(quality, tables.VARIANT_QUALITY, warehouse)
    rng = np.random.default_rng(9)
    scores = rng.normal(size=(30, 3))
    rows = [("default", i, IDS[i], scores[i].tolist(), i < 25) for i in range(30)]
    settings = {"traits": ["other"], "components": 2, "warehouse": warehouse}
    with pytest.raises(InputError, match="run geneai extract_features"):
        run_gwas.run(spark, run_gwas.Config(**settings))
    stored = spark.createDataFrame(rows, tables.PCA_SCORES.schema)
    store.replace(stored, tables.PCA_SCORES, warehouse)
    chosen = {"keep_samples": "age >= 4", "keep_variants": "callRate = 1"}
    told = run_gwas.run(spark, run_gwas.Config(**settings, **chosen))
    assert {name: told[name] for name in ("samples", "samples_kept", "variants_kept", "tests")} == {
        "samples": 30,
        "samples_kept": 26,
        "variants_kept": 2,
        "tests": 2,
    }
    found = store.read(spark, tables.ASSOCIATIONS, warehouse).where("trait = 'other'")
    found = found.orderBy("start").collect()
    for row, dose in zip(found, DOSES[:2], strict=True):
        given = np.column_stack([np.ones(30), dose, scores[:, :2]])[4:]
        fit = sm.OLS(-Y[4:], given).fit()
        assert (row.effect, row.pValue) == pytest.approx((fit.params[1], fit.pvalues[1]), rel=1e-8)
        assert row.sampleCount == 26
    with pytest.raises(InputError, match="has 3 components"):
        run_gwas.run(spark, run_gwas.Config(**{**settings, "components": 4}))


def test_run_gwas__says_that_a_trait_has_two_values(spark, warehouse, capsys):
    told = run_gwas.run(spark, run_gwas.Config(traits=["sick", "other"], warehouse=warehouse))
    assert told["binary_traits"] == "sick"
    assert told["top_hit_sick"].startswith("1:") and told["tests"] == 6
    assert "two values only, a linear test approximates: sick" in capsys.readouterr().err


def test_config__gwas_options_are_checked_before_spark():
    for given, match in [
        ("engine=glow", "missing_genotypes=mean"),
        ("missing_genotypes=zero", "choose of drop, mean"),
        ("components=-1", "0 or more"),
    ]:
        with pytest.raises(ConfigError, match=match):
            config.load(run_gwas.Config, None, ["traits=y", given])


def test_config__thresholds_have_a_range():
    with pytest.raises(ConfigError, match="min_call_rate must lie between"):
        config.load(check_quality.Config, None, ["min_call_rate=95"])
    with pytest.raises(ConfigError, match="needs case_control"):
        config.load(check_quality.Config, None, ["min_missingness_p_value=0.1"])
    with pytest.raises(ConfigError, match="unknown genome build"):
        config.load(check_quality.Config, None, ["genome_build=GRCh99"])
