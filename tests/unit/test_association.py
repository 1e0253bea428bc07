"""Linear association against statsmodels, variant by variant, on genotypes read by pysam."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from pyspark.sql import functions as F
from scipy import stats

from geneai_spark import tables
from geneai_spark.association import summary
from geneai_spark.association.design import binary, design
from geneai_spark.association.linear import linear
from geneai_spark.association.phenotypes import components, pivot
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


def least_squares(ids, sites, calls, phenotypes, trait, covariates, missing="drop"):
    """Fit each ALT allele with statsmodels: {key: (effect, error, t, p, n, frequency)}."""
    frame = phenotypes.reindex(ids)
    usable = frame[[trait, *covariates]].notna().all(axis=1).to_numpy()
    fits = {}
    for site, record in zip(sites, calls, strict=True):
        whole = np.array([None not in call for call in record])
        complete = [call for call, ok in zip(record, whole & usable, strict=True) if ok]
        n_alleles = sum(len(call) for call in complete)
        used = usable & whole if missing == "drop" else usable
        for allele in range(1, len(site[3]) + 1):
            x = np.array([np.nan if None in c else c.count(allele) for c in record], float)[used]
            copies = sum(c.count(allele) for c in complete)
            frequency = copies / n_alleles if n_alleles else None
            key = (site[0], site[1], site[2], site[3][allele - 1])
            assert key not in fits
            if not complete or len(set(x[~np.isnan(x)])) < 2:
                fits[key] = (None, None, None, None, used.sum(), frequency)
                continue
            x[np.isnan(x)] = np.nanmean(x)
            given = np.column_stack([x, np.ones(len(x)), frame.loc[used, covariates]])
            fit = sm.OLS(frame.loc[used, trait].to_numpy(), given).fit()
            numbers = (fit.params[0], fit.bse[0], fit.tvalues[0], fit.pvalues[0])
            fits[key] = (*numbers, used.sum(), frequency)
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


@pytest.mark.parametrize("missing", ["drop", "mean"])
@pytest.mark.parametrize("covariates", [[], ["age", "pc1"]])
def test_linear__as_statsmodels_with_missing_traits_and_genotypes(
    spark, cohort, phenotypes, covariates, missing
):
    ids, sites, calls = cohort
    assert any(None in call for record in calls for call in record)
    traits = ["height", "glucose", "weight"]
    variants = packed.variants(spark, sites, calls)
    options = {"traits": traits, "covariates": covariates, "missing_genotypes": missing}
    found = linear(variants, ids, phenotypes, **options)
    assert tables.ASSOCIATIONS.differences(found.schema) == []
    rows = found.collect()
    assert {row.test for row in rows} == {"linear"}
    for trait in traits:
        expected = least_squares(ids, sites, calls, phenotypes, trait, covariates, missing)
        assert compare([row for row in rows if row.trait == trait], expected) > 250


def test_linear__glow_agrees_under_mean(spark, cohort, phenotypes):
    pytest.importorskip("glow", reason="glow.py does not go with NumPy 2")
    ids, sites, calls = cohort
    variants = packed.variants(spark, sites, calls)
    options = {
        "traits": ["height", "glucose", "weight"],
        "covariates": ["age", "pc1"],
        "missing_genotypes": "mean",
    }
    order = ["trait", "contigName", "start", "referenceAllele", "alternateAllele"]
    ours, glows = (
        linear(variants, ids, phenotypes, engine=engine, **options).orderBy(order).toPandas()
        for engine in ("numpy", "glow")
    )
    assert ours["pValue"].notna().sum() > 750
    pd.testing.assert_frame_equal(ours, glows, rtol=1e-9, atol=1e-13)


def test_linear__chosen_rows_only(spark, cohort, phenotypes):
    ids, sites, calls = cohort
    rows = np.arange(15, 60)
    variants = packed.variants(spark, sites, calls)
    found = linear(variants, ids, phenotypes, traits=["weight"], rows=rows).collect()
    left = phenotypes[phenotypes.index.isin([ids[i] for i in rows])]
    assert compare(found, least_squares(ids, sites, calls, left, "weight", [])) > 200


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_linear__haploid_monomorphic_multi_allelic(spark, missing):
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
    variants = packed.variants(spark, sites, calls)
    rows = linear(variants, ids, phenotypes, traits=["y"], missing_genotypes=missing).collect()
    assert compare(rows, least_squares(ids, sites, calls, phenotypes, "y", [], missing)) == 3


def test_linear__does_not_depend_on_partitions(spark, cohort, phenotypes):
    ids, sites, calls = cohort
    variants = packed.variants(spark, sites, calls)
    options = {"traits": ["height", "weight"], "covariates": ["age"]}
    order = ["trait", "contigName", "start", "referenceAllele", "alternateAllele"]
    one, seven = (
        linear(variants.repartition(n), ids, phenotypes, **options).orderBy(order).toPandas()
        for n in (1, 7)
    )
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
    {
        "y": [0, 1, 2, 3, 4, 6],
        "a": [1, 2, 3, 5, 8, 9],
        "b": [2, 4, 6, 10, 16, 18],
        "one": 1.0,
        "t": "x",
    },
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
        (["one"], [], "trait 'one' has one value"),
        (["b"], ["a"], "trait 'b' is a linear combination"),
        (["a"], ["a"], "'a' is tested and adjusted for"),
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


def test_design__names_binary_traits():
    frame = FRAME.assign(case=[0, 1, 0, 1, 1, np.nan])
    assert binary(design(IDS, frame, ["y", "case"])) == ["case"]


def test_linear__raises_on_unknown_options_and_absent_genotypes(spark):
    variants = packed.variants(spark, [("1", 2, "A", ["C"])], [[(0, 1)] * 6])
    for options, match in [
        ({"engine": "magic"}, "choose of auto, numpy, glow"),
        ({"missing_genotypes": "zero"}, "choose of drop, mean"),
        ({"engine": "glow"}, "missing_genotypes=mean"),
    ]:
        with pytest.raises(InputError, match=match):
            linear(variants, IDS, FRAME, traits=["y"], **options)
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


def test_components__as_columns_or_say_what_to_run(spark):
    rows = [
        ("a", 0, "s1", [1.0, 2.0, 3.0], True),
        ("a", 1, "s2", [4.0, 5.0, 6.0], False),
        ("a", 2, "s3", None, False),
        ("b", 0, "s1", [9.0], True),
    ]
    scores = spark.createDataFrame(rows, tables.PCA_SCORES.schema)
    wide = components(scores, "a", 2)
    assert wide.loc["s2"].tolist() == [4.0, 5.0] and len(wide) == 2
    with pytest.raises(InputError, match="has 3 components: run geneai extract_features"):
        components(scores, "a", 4)
    with pytest.raises(InputError, match="no principal components: run geneai extract_features"):
        components(scores, "c", 1)


def test_summary__order_lambda_and_thinning(spark):
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
    values = np.sort(np.append(p, [0.0, 0.0]))  # 3003 of them
    exact = stats.chi2.isf(np.median(values), 1) / stats.chi2.ppf(0.5, 1)
    assert summary.genomic_control(frame)["t"] == pytest.approx(exact, rel=1e-12)
    even = stats.chi2.isf(np.median(values[1:]), 1) / stats.chi2.ppf(0.5, 1)
    found = summary.genomic_control(frame.where("start <> 9000"))["t"]
    assert found == pytest.approx(even, rel=1e-12)
    assert summary.genomic_control(frame.where("pValue IS NULL")) == {}
    few = summary.points(frame, "t", limit=300, always_below=0.01)
    assert few.where("pValue < 0.01").count() == (p < 0.01).sum() + 2
    assert 200 < few.where("pValue >= 0.01").count() < 400
    assert summary.points(frame, "t").count() == 3003
    other = frame.where("start < 100").withColumn("trait", F.lit("u"))
    both = frame.union(other)
    told = summary.numbers(both, ["t"])
    assert (told["tests"], told["untestable"], told["min_p_t"]) == (3003, 1, 0)
    assert told["top_hit_t"] == "1:9002:A:C" and "min_p_u" not in told
    assert told["lambda_t"] == round(exact, 4)
    told = summary.numbers(both, ["t", "u"])
    assert (told["tests"], told["untestable"]) == (3103, 2)
    assert told["min_p_u"] == p[:100].min()
    median = np.median(p[:100])
    assert told["lambda_u"] == round(stats.chi2.isf(median, 1) / stats.chi2.ppf(0.5, 1), 4)
    for n in (1, 7, 40):
        assert summary.numbers(both.repartition(n), ["t", "u"]) == told
    assert summary.numbers(both.where("pValue IS NULL"), ["t"]) == {"tests": 0, "untestable": 1}


PARTS = pytest.mark.parametrize("parts", [1, 7])


def results_of(spark, p, places=None, parts=1):
    """Tests with these p-values; places are (contig, start)."""
    places = places or [("1", i) for i in range(len(p))]
    rows = [(c, s, "A", "C", v, 1.0, "t") for (c, s), v in zip(places, p, strict=True)]
    columns = "contigName string, start long, referenceAllele string, alternateAllele string, "
    df = spark.createDataFrame(rows, columns + "pValue double, statistic double, trait string")
    return df.repartition(parts)


@PARTS
def test_qq__every_point_is_an_exact_order_statistic(spark, parts):
    n, tail = 20_000, 50
    p = np.random.default_rng(8).uniform(size=n)
    p[:3] = [0.0, 1e-30, 1e-12]
    found = summary.qq(results_of(spark, [*p.tolist(), None], parts=parts), tail=tail)
    ordered = np.sort(np.maximum(p, 1e-300))
    rank = np.rint(10 ** -found["expected"].to_numpy() * n + 0.5).astype(int)
    assert found["observed"].to_numpy() == pytest.approx(-np.log10(ordered[rank - 1]), rel=1e-12)
    assert set(range(1, tail + 1)) <= set(rank) and rank.max() == n
    assert tail < len(found) < 2_000 and len(set(rank)) == len(rank)
    i = rank[len(rank) // 2]
    low, high = found.loc[len(rank) // 2, ["low", "high"]]
    assert stats.beta.cdf(10**-low, i, n - i + 1) == pytest.approx(0.975, rel=1e-9)
    assert stats.beta.cdf(10**-high, i, n - i + 1) == pytest.approx(0.025, rel=1e-9)


def test_qq__nothing_tested(spark):
    assert len(summary.qq(results_of(spark, [None]))) == 0


@PARTS
def test_loci__strongest_takes_its_neighbours(spark, parts):
    places = [("1", 1_000_000), ("1", 1_400_000), ("1", 1_600_000), ("1", 2_100_000), ("2", 1_000)]
    df = results_of(spark, [1e-9, 1e-20, 1e-10, 1e-11, 1e-8], places, parts)
    found = summary.loci(df, threshold=5e-8, window=500_000)
    told = found[["contigName", "start", "first", "last", "tests"]].to_numpy().tolist()
    assert told == [
        ["1", 1_400_000, 1_000_000, 1_600_000, 3],
        ["1", 2_100_000, 2_100_000, 2_100_000, 1],
        ["2", 1_000, 1_000, 1_000, 1],
    ]
    assert len(summary.loci(df, threshold=1e-30)) == 0
