"""Linear association against statsmodels, variant by variant, on genotypes read by pysam."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from geneai_spark import tables
from geneai_spark.association import summary
from geneai_spark.association.linear import ENGINES, design, linear, pivot
from geneai_spark.errors import InputError, TableError
from tests import packed


@pytest.fixture(scope="module")
def cohort(shared_data):
    return packed.read(shared_data / "cohort" / "hail_sample.vcf")


@pytest.fixture(scope="module")
def phenotypes(cohort):
    """Two traits that lack different samples, two covariates, one lacking a sample.

    Ten samples of the cohort are not here; five here are not in the cohort; another order.
    """
    ids, _, _ = cohort
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "height": rng.normal(170, 9, len(ids)),
            "glucose": rng.gamma(3, 2, len(ids)),
            "weight": rng.normal(70, 9, len(ids)),
            "age": rng.integers(20, 80, len(ids)).astype(float),
            "pc1": rng.normal(size=len(ids)),
        },
        index=ids,
    )
    frame.loc[ids[3:20], "height"] = np.nan
    frame.loc[ids[15:22], "glucose"] = np.nan
    frame.loc[ids[40], "age"] = np.nan
    strangers = frame.iloc[:5].set_axis([f"stranger{i}" for i in range(5)])
    return pd.concat([frame.iloc[10:], strangers]).sample(frac=1, random_state=1)


def least_squares(ids, sites, calls, phenotypes, trait, covariates):
    """Fit each ALT allele with statsmodels: {key: (effect, error, t, p, n, frequency)}."""
    frame = phenotypes.reindex(ids)
    use = frame[[trait, *covariates]].notna().all(axis=1).to_numpy()
    fits = {}
    for site, record in zip(sites, calls, strict=True):
        used = [call for call, u in zip(record, use, strict=True) if u]
        for allele in range(1, len(site[3]) + 1):
            x = np.array([np.nan if None in c else c.count(allele) for c in used], float)
            complete = [c for c in used if None not in c]
            n_alleles = sum(len(c) for c in complete)
            frequency = sum(c.count(allele) for c in complete) / n_alleles if n_alleles else None
            key = (site[0], site[1], site[2], site[3][allele - 1])
            assert key not in fits
            if not complete or len(set(x[~np.isnan(x)])) < 2:
                fits[key] = (None, None, None, None, len(used), frequency)
                continue
            x[np.isnan(x)] = np.nanmean(x)
            design = np.column_stack([x, np.ones(len(x)), frame.loc[use, covariates]])
            fit = sm.OLS(frame.loc[use, trait].to_numpy(), design).fit()
            numbers = (fit.params[0], fit.bse[0], fit.tvalues[0], fit.pvalues[0])
            fits[key] = (*numbers, len(used), frequency)
    return fits


def compare(rows, expected):
    assert len(rows) == len(expected)
    tested = 0
    for row in rows:
        key = (row.contigName, row.start, row.referenceAllele, row.alternateAllele)
        effect, error, t, p, n, frequency = expected[key]
        assert row.sampleCount == n
        assert row.alleleFrequency == pytest.approx(frequency, abs=1e-12)
        found = (row.effect, row.standardError, row.statistic, row.pValue)
        if p is None:
            assert found == (None,) * 4, key
            continue
        tested += 1
        assert found == pytest.approx((effect, error, t, p), rel=1e-8, abs=1e-12), key
    return tested


@pytest.mark.parametrize("covariates", [[], ["age", "pc1"]])
def test_linear__as_statsmodels_with_missing_traits_and_genotypes(
    spark, cohort, phenotypes, covariates
):
    ids, sites, calls = cohort
    assert any(None in call for record in calls for call in record)
    traits = ["height", "glucose", "weight"]
    variants = packed.variants(spark, sites, calls)
    found = linear(variants, ids, phenotypes, traits=traits, covariates=covariates)
    assert tables.ASSOCIATIONS.differences(found.schema) == []
    rows = found.collect()
    assert {row.test for row in rows} == {"linear"}
    for trait in traits:
        expected = least_squares(ids, sites, calls, phenotypes, trait, covariates)
        assert compare([row for row in rows if row.trait == trait], expected) > 250


@pytest.mark.parametrize("engine", ENGINES)
def test_engine__as_statsmodels(engine):
    if engine == "glow":
        pytest.importorskip("glow", reason="glow.py does not go with NumPy 2")
    rng = np.random.default_rng(8)
    ids = [f"s{i}" for i in range(60)]
    x = rng.uniform(0, 2, (60, 7))
    frame = pd.DataFrame(rng.normal(size=(60, 4)), index=ids, columns=["y", "z", "age", "pc1"])
    frame["y"] += 5 * x[:, 3]
    (one,) = design(ids, frame, ["y", "z"], ["age", "pc1"])
    found = ENGINES[engine](x, one)
    for t, trait in enumerate(one.names):
        for g in range(7):
            known = sm.add_constant(np.column_stack([x[:, g], frame[["age", "pc1"]]]))
            fit = sm.OLS(frame[trait].to_numpy(), known).fit()
            expected = [fit.params[1], fit.bse[1], fit.tvalues[1], fit.pvalues[1]]
            np.testing.assert_allclose([part[t, g] for part in found], expected, rtol=1e-9)


def test_linear__haploid_monomorphic_multi_allelic(spark):
    ids = [f"s{i}" for i in range(8)]
    rng = np.random.default_rng(5)
    phenotypes = pd.DataFrame({"y": rng.normal(size=8)}, index=ids)
    sites = [
        ("X", 1, "A", ["C"]),
        ("1", 2, "A", ["C", "G"]),
        ("1", 3, "A", ["C"]),
        ("1", 4, "A", ["C"]),
        ("1", 5, "A", []),
        ("1", 6, "A", ["C"]),
    ]
    calls = [
        [(0,), (1,), (0, 1), (1, 1), (0,), (0, 0), (None,), (1, None)],
        [(0, 1), (1, 2), (2, 2), (0, 0), (0, 2), (1, 1), (0, 0), (0, 1)],
        [(0, 0)] * 8,
        [(1, 1)] * 8,
        [(0, 0)] * 8,
        [(None, None)] * 8,
    ]
    rows = linear(packed.variants(spark, sites, calls), ids, phenotypes, traits=["y"]).collect()
    assert compare(rows, least_squares(ids, sites, calls, phenotypes, "y", [])) == 3


def test_linear__does_not_depend_on_partitions(spark, cohort, phenotypes):
    ids, sites, calls = cohort
    variants = packed.variants(spark, sites, calls)
    options = {"traits": ["height", "weight"], "covariates": ["age"]}
    order = ["trait", "contigName", "start", "referenceAllele", "alternateAllele"]
    one = linear(variants.repartition(1), ids, phenotypes, **options).orderBy(order).toPandas()
    seven = linear(variants.repartition(7), ids, phenotypes, **options).orderBy(order).toPandas()
    pd.testing.assert_frame_equal(one, seven, rtol=1e-10)


def test_linear__an_allele_that_covariates_explain_is_null(spark):
    ids = [f"s{i}" for i in range(10)]
    rng = np.random.default_rng(0)
    dosage = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1, 1])
    frame = pd.DataFrame({"y": rng.normal(size=10), "x": dosage * 3.0 + 1}, index=ids)
    calls = [[[(0, 0), (0, 1), (1, 1)][d] for d in dosage]]
    variants = packed.variants(spark, [("1", 2, "A", ["C"])], calls)
    (row,) = linear(variants, ids, frame, traits=["y"], covariates=["x"]).collect()
    assert row.pValue is None and row.effect is None and row.sampleCount == 10


IDS = [f"s{i}" for i in range(6)]
FRAME = pd.DataFrame(
    {"y": range(6), "a": [1, 2, 3, 5, 8, 9], "b": [2, 4, 6, 10, 16, 18], "one": 1.0, "t": "x"},
    index=IDS,
)


@pytest.mark.parametrize(
    ("traits", "covariates", "match"),
    [
        (["y"], ["a", "b"], "'b' is a linear combination"),
        (["y"], ["one"], "'one' has one value"),
        (["z"], [], "no trait or covariate 'z'"),
        (["t"], [], "'t' is not numeric"),
        ([], [], "no trait"),
    ],
)
def test_design__raises(traits, covariates, match):
    with pytest.raises(InputError, match=match):
        design(IDS, FRAME, traits, covariates)


def test_design__raises_on_too_few_and_on_repeated_samples():
    with pytest.raises(InputError, match="2 samples have genotypes"):
        design(["s0", "s1", "other"], FRAME, ["y"])
    with pytest.raises(InputError, match="more than once"):
        design(IDS, pd.concat([FRAME, FRAME]), ["y"])


def test_linear__raises_on_unknown_engine_and_absent_genotypes(spark):
    variants = packed.variants(spark, [("1", 2, "A", ["C"])], [[(0, 1)] * 6])
    with pytest.raises(InputError, match="choose of auto, glow"):
        linear(variants, IDS, FRAME, traits=["y"], engine="magic")
    with pytest.raises(TableError, match="no column call_genotype"):
        linear(variants.drop("call_genotype"), IDS, FRAME, traits=["y"])


def test_pivot__one_cohort_as_columns(spark):
    rows = [
        ("a", "s1", "y", 1.5, None, "f"),
        ("a", "s2", "y", 2.5, None, "f"),
        ("a", "s1", "sex", None, "F", "f"),
        ("a", "s2", "z", 3.0, None, "f"),
        ("b", "s1", "y", 9.0, None, "f"),
    ]
    stored = spark.createDataFrame(rows, tables.TRAITS.schema)
    wide = pivot(stored, "a", ["z", "y"])
    assert list(wide.columns) == ["z", "y"]
    assert wide.loc["s2"].tolist() == [3.0, 2.5]
    assert wide.loc["s1", "y"] == 1.5 and np.isnan(wide.loc["s1", "z"])
    with pytest.raises(InputError, match="no numeric trait sex"):
        pivot(stored, "a", ["y", "sex"])


def test_summary__order_lambda_and_thinning(spark):
    from scipy import stats

    rng = np.random.default_rng(2)
    chi = rng.chisquare(1, 3001) * 1.3
    p = stats.chi2.sf(chi, 1)
    rows = [
        ("1", i, "t", float(np.sqrt(c)), float(q))
        for i, (c, q) in enumerate(zip(chi, p, strict=True))
    ]
    rows += [("1", 9000, "t", 40.0, 0.0), ("1", 9001, "t", -50.0, 0.0), ("1", 1, "t", None, None)]
    frame = spark.createDataFrame(
        [(c, s, "A", "C", t, x, q) for c, s, t, x, q in rows],
        "contigName string, start long, referenceAllele string, alternateAllele string, "
        "trait string, statistic double, pValue double",
    )
    hits = summary.top_hits(frame, 3)
    assert [hit.start for hit in hits] == [9001, 9000, int(np.argmin(p))]
    assert summary.genomic_control(frame)["t"] == pytest.approx(np.median(chi) / 0.4549, rel=0.01)
    few = summary.points(frame, "t", limit=300, always_below=0.01)
    assert few.where("pValue < 0.01").count() == (p < 0.01).sum() + 2
    assert 200 < few.where("pValue >= 0.01").count() < 400
    assert summary.points(frame, "t").count() == 3003
