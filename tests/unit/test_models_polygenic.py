"""Polygenic scores against statsmodels, plink2 and a greedy clumping by the definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import polygenic, ridge, scoring
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from geneai_spark.models.polygenic import PolygenicOptions
from tests import structured
from tests.conftest import requires

N = 400
SPLIT = Split(np.arange(0, 260), np.arange(260, 320), np.arange(320, N))
CAUSAL = np.array([20, 70, 120, 170, 220])


def simulate(seed: int = 1, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Doses (240, N) in linkage, a trait of five of them and of a covariate, the covariate."""
    rng = np.random.default_rng(seed)
    made = structured.linked(240, N, seed=seed, memory=0.8)
    made = made[made.std(axis=1) > 0.3]
    age = rng.normal(50, 10, N)
    y = rng.normal(0, 1, N) + 0.05 * age
    for v, size in zip(CAUSAL, (0.8, -0.7, 0.6, 0.7, -0.8), strict=True):
        y += size * (made[v] - made[v].mean()) / made[v].std()
    return structured.blank(made, missing, seed) if missing else made, y, age


def study(spark, hold, made, y, split=SPLIT, *, age=None, partitions=3, binary=False) -> Study:
    packed = packing.pack(structured.variants(spark, made), N, np.arange(N))
    ids = [f"s{i}" for i in range(N)]
    held = hold(packed.repartition(partitions))
    covariates = None if age is None else Covariates(("age",), age[:, None])
    return Study(
        "default", "y", ids, y, binary, split, held, hold, 1, model="m", covariates=covariates
    )


def design(given: Study) -> np.ndarray:
    return np.column_stack([np.ones(N), given.scaled()[1]])


def test_marginal_effects__as_statsmodels_fits_them(spark):
    """With a covariate; a missing dose is the training samples' mean."""
    made, y, age = simulate(missing=0.03)
    with packing.holding() as hold:
        given = study(spark, hold, made, y, age=age)
        found = polygenic.marginal_effects(given, SPLIT.train, design(given), PolygenicOptions())
    own = SPLIT.train
    starts = found.chosen.keys.column("start").to_pylist()
    assert starts == [1000 * i for i in range(len(made))]
    for v in range(0, len(made), 7):
        x = made[v, own]
        mean = np.nanmean(x)
        x = np.where(np.isnan(x), 0, x - mean) / np.sqrt(mean * (1 - mean / 2))
        fit = sm.OLS(y[own], np.column_stack([x, np.ones(len(own)), age[own]])).fit()
        assert found.effect[v] == pytest.approx(fit.params[0], rel=1e-9)
        assert found.p[v] == pytest.approx(fit.pvalues[0], rel=1e-6)


def test_leads__by_the_definition_of_clumping(spark):
    made, y, _ = simulate(seed=2)
    options = PolygenicOptions(clump_window=12_000, clump_r2=0.2)
    with packing.holding() as hold:
        given = study(spark, hold, made, y)
        found = polygenic.marginal_effects(given, SPLIT.train, design(given), options)
    r2 = np.corrcoef(made[:, SPLIT.train]) ** 2
    free, leads = set(range(len(made))), []
    while free:
        lead = min(free, key=lambda v: found.p[v])
        leads.append(lead)
        free -= {v for v in free if abs(v - lead) <= 12 and r2[lead, v] >= 0.2} | {lead}
    assert found.leads.tolist() == leads
    assert 20 < len(leads) < 0.7 * len(made)
    assert found.under(1e-3).tolist() == [v for v in leads if found.p[v] <= 1e-3]


@pytest.mark.parametrize("covariate", [False, True])
def test_train__finds_what_is_planted_and_shrinks_it(spark, covariate):
    made, y, age = simulate(seed=3)
    with packing.holding() as hold:
        given = study(spark, hold, made, y, age=age if covariate else None)
        trained = polygenic.train(given, PolygenicOptions())
        wanted = ridge.wanted(structured.stored(trained))
        found = scoring.gather(given.doses, wanted, N)
    assert np.isnan(trained.scores[SPLIT.train]).all()
    predicted, truth = trained.scores[SPLIT.test], y[SPLIT.test]
    assert 1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum() > 0.5
    starts = np.array(wanted.keys.column("start").to_pylist()) // 1000
    assert all(np.abs(starts - v).min() <= 3 for v in CAUSAL)
    assert 0.5 < trained.numbers["shrinkage"] < 1.1
    assert trained.numbers["variants"] == len(starts) < 60
    given_age = age[:, None] if covariate else np.empty((N, 0))
    scored = ridge.score(structured.stored(trained), found.planes, given_age)
    np.testing.assert_allclose(scored[SPLIT.test], predicted, rtol=1e-9)


def test_tuned__factor_and_threshold_leave_least(spark):
    """Of all thresholds, by least squares of the validation samples on each sum."""
    made, y, age = simulate(seed=4)
    thresholds = (1e-8, 1e-3, 0.05, 1.0)
    with packing.holding() as hold:
        given = study(spark, hold, made, y, age=age)
        W = design(given)
        found = polygenic.marginal_effects(given, SPLIT.train, W, PolygenicOptions())
        told = polygenic.tuned(found, y, W, SPLIT.validation, thresholds)
        trained = polygenic.train(given, PolygenicOptions(p_thresholds=thresholds))
    own, tuning = SPLIT.train, SPLIT.validation
    x = (made - made[:, own].mean(axis=1, keepdims=True)) / found.chosen.scale[:, None]
    gamma = np.linalg.lstsq(W[own], y[own], rcond=None)[0]
    left = {}
    for threshold in thresholds:
        under = found.under(threshold)
        total = found.effect[under] @ x[under]
        total = total - W @ np.linalg.lstsq(W[own], total[own], rcond=None)[0]
        fit = sm.OLS((y - W @ gamma)[tuning], total[tuning]).fit()
        left[threshold] = fit.ssr, fit.params[0]
    best = min(left, key=lambda t: left[t][0])
    assert (told.threshold, told.factor) == (best, pytest.approx(left[best][1], rel=1e-9))
    assert trained.numbers["p_threshold"] == best  # training tunes on no sample that it fitted
    assert trained.numbers["shrinkage"] == pytest.approx(left[best][1], rel=1e-9)


@requires("plink2")
def test_train__effects_and_scores_are_plink2s(spark, tmp_path):
    made, y, age = simulate(seed=5)
    vcf = structured.write_vcf(tmp_path / "a.vcf", made)
    with packing.holding() as hold:
        given = study(spark, hold, made, y, age=age)
        found = polygenic.marginal_effects(given, SPLIT.train, design(given), PolygenicOptions())
        trained = polygenic.train(given, PolygenicOptions())
    ids = [f"s{i}" for i in range(N)]
    pd.DataFrame({"#IID": ids, "y": y, "age": age}).iloc[SPLIT.train].to_csv(
        tmp_path / "y.tsv", sep="\t", index=False
    )
    (tmp_path / "c.tsv").write_text((tmp_path / "y.tsv").read_text())
    out = structured.plink2(
        tmp_path, "--vcf", vcf, "--pheno", tmp_path / "y.tsv", "--pheno-name", "y", "--covar",
        tmp_path / "c.tsv", "--covar-name", "age", "--covar-variance-standardize",
        "--glm", "hide-covar", "omit-ref",
    )  # fmt: skip
    glm = structured.table(out.with_name("plink.y.glm.linear"))
    np.testing.assert_allclose(found.effect / found.chosen.scale, glm["BETA"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.p, glm["P"], rtol=1e-4)

    # The scoring file names variants by place and alleles; plink2 wants ids.
    told = pd.read_csv(
        pd.io.common.StringIO(trained.documents[polygenic.SCORING]), sep="\t", comment="#"
    )
    assert told.columns.tolist() == [
        "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight",
    ]  # fmt: skip
    assert set(told["effect_allele"]) == {"C"} and set(told["other_allele"]) == {"A"}
    told["id"] = told["chr_name"].astype(str) + ":" + (told["chr_position"] - 1).astype(str)
    told[["id", "effect_allele", "effect_weight"]].to_csv(
        tmp_path / "w.tsv", sep="\t", index=False, header=False
    )
    out = structured.plink2(tmp_path, "--vcf", vcf, "--score", tmp_path / "w.tsv", "cols=scoresums")
    sums = structured.table(out.with_suffix(".sscore"))["SCORE1_SUM"].to_numpy()
    test = SPLIT.test
    rest = trained.scores[test] - sums[test]  # what is left is the covariate's, and a constant
    line = np.polyfit(age[test], rest, 1)
    np.testing.assert_allclose(rest, np.polyval(line, age[test]), atol=1e-4)


def test_train__does_not_look_at_test_samples(spark):
    made, y, _ = simulate(seed=6)
    other, shifted = made.copy(), y.copy()
    other[:, SPLIT.test] = 2 - other[:, SPLIT.test]
    shifted[SPLIT.test] += 100
    with packing.holding() as hold:
        one = study(spark, hold, made, y, partitions=1)
        two = study(spark, hold, other, shifted, partitions=7)
        models = [polygenic.train(given, PolygenicOptions()).model for given in (one, two)]
    assert models[0] == models[1]  # nor do partitions matter


def test_train__without_validation_puts_samples_aside_and_fits_all_at_last(spark):
    made, y, _ = simulate(seed=7)
    split = Split(np.arange(0, 320), np.empty(0, np.int64), SPLIT.test)
    with packing.holding() as hold:
        given = study(spark, hold, made, y, split)
        trained = polygenic.train(given, PolygenicOptions())
        own, tuning = polygenic.put_aside(split.train, given.seed)
        W = design(given)
        part = polygenic.marginal_effects(given, own, W, PolygenicOptions())
        told = polygenic.tuned(part, y, W, tuning, PolygenicOptions().p_thresholds)
        whole = polygenic.marginal_effects(given, split.train, W, PolygenicOptions())
    assert sorted([*own, *tuning]) == split.train.tolist() and len(tuning) == 64
    assert trained.numbers["p_threshold"] == told.threshold
    used = np.sort(whole.under(told.threshold))
    weights = [
        float(line.split("\t")[-1])
        for line in trained.documents[polygenic.SCORING].splitlines()[3:]
    ]
    expected = whole.effect[used] * told.factor / whole.chosen.scale[used]
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


def test_train__of_a_class_and_of_noise(spark):
    """Scores of a class lie between 0 and 1; of labels drawn at random little is made."""
    made, y, _ = simulate(seed=8)
    cases = (np.median(y) < y).astype(float)
    shuffled = np.random.default_rng(1).permutation(y)
    with packing.holding() as hold:
        of_class = polygenic.train(
            study(spark, hold, made, cases, binary=True), PolygenicOptions()
        ).scores[SPLIT.test]
        noise = polygenic.train(study(spark, hold, made, shuffled), PolygenicOptions())
        few = study(spark, hold, made, y, Split(np.arange(9), np.empty(0, np.int64), SPLIT.test))
        with pytest.raises(InputError, match="9 training samples: predictor=polygenic needs 10"):
            polygenic.train(few, PolygenicOptions())
    assert ((of_class >= 0) & (of_class <= 1)).all()
    test = cases[SPLIT.test] == 1
    assert of_class[test].mean() - of_class[~test].mean() > 0.2
    assert np.var(noise.scores[SPLIT.test]) < 0.25 * np.var(y)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"p_thresholds": ()}, "p_thresholds"),
        ({"p_thresholds": (0.0,)}, "p_thresholds"),
        ({"clump_r2": 1.5}, "clump_window"),
    ],
)
def test_options__out_of_range_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        PolygenicOptions(**wrong)
