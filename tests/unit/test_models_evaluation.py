"""Evaluation: what each training is given, ridge by scikit-learn, and leaks that are planted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import cases, evaluation, measurements, ridge
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.evaluation import EvaluationOptions
from geneai_spark.models.examples import folds, split
from geneai_spark.models.family import Study, Trained
from tests import structured

N = 160
IDS = [f"person{i}" for i in range(N)]
PAIRS = ((0, 1), (1, 2), (10, 50), (33, 90))
SPLIT = split(IDS, relatives=PAIRS, seed=4, validation=0.1, test=0.3)
RNG = np.random.default_rng(8)
MADE = RNG.binomial(2, RNG.uniform(0.2, 0.5, (60, 1)), (60, N)).astype(float)
Y = MADE.T @ RNG.normal(size=60) + RNG.normal(0, 3, N)
BINARY = (np.median(Y) < Y).astype(float)


def study(spark, hold=None, values=BINARY, parts=SPLIT, partitions=0):
    """Samples with a trait; with their doses where partitions are asked for."""
    df = spark.range(1)
    if partitions:
        packed = packing.pack(structured.variants(spark, MADE), N, np.arange(N))
        df = hold(packed.repartition(partitions))
    binary = set(np.unique(values[np.isfinite(values)])) == {0, 1}
    return Study("default", "y", IDS, values, binary, parts, df, hold, 4, relatives=PAIRS)


def trained(scores) -> Trained:
    return Trained(b"", "pkl", {}, scores)


class Spy:
    """A family that keeps what it is given, and scores by chance."""

    def __init__(self):
        self.given = []

    def __call__(self, given):
        self.given.append(given)
        return trained(np.random.default_rng(len(self.given)).random(N))


def of(rows, kind, metric="roc_auc"):
    return [row for row in rows if row.kind == kind and row.metric == metric]


def test_cross_validation__no_sample_is_scored_by_a_model_that_saw_it_or_a_relative(spark):
    values = BINARY.copy()
    values[[3, 50]] = np.nan
    known = np.flatnonzero(np.isfinite(values))
    parts = type(SPLIT)(*(np.intersect1d(part, known) for part in SPLIT))
    spy = Spy()
    rows = evaluation.cross_validation(study(spark, values=values, parts=parts), "spy", spy, 4)
    held = [given.split.test for given in spy.given]
    assert sorted(np.concatenate(held).tolist()) == known.tolist()
    for given in spy.given:
        seen = set(np.concatenate(given.split[:2]).tolist())
        assert seen | set(given.split.test.tolist()) == set(known.tolist())
        for one, other in (*PAIRS, *((i, i) for i in range(N))):
            assert not (one in seen and other in given.split.test)
            assert not (other in seen and one in given.split.test)
        assert set(given.split.validation) == set(parts.validation) - set(given.split.test)
    pooled = np.full(N, np.nan)
    for i, own in enumerate(held):
        scores = np.random.default_rng(i + 1).random(N)
        pooled[own] = scores[own]
        row = of(rows, "fold")[i]
        assert row.found.value == pytest.approx(roc_auc_score(values[own], scores[own]))
        assert (row.part, row.samples) == (str(i + 1), len(own))
        assert row.train == len(spy.given[i].split.train) and row.cases == values[own].sum()
    (row,) = of(rows, "pooled")
    assert row.found.value == pytest.approx(roc_auc_score(values[known], pooled[known]))
    assert row.samples == len(known) and row.found.low < row.found.value < row.found.high


def test_cross_validation__of_ridge_is_scikit_learns(spark):
    def fit(given):
        return ridge.train(given, ridge.RidgeOptions(heritability=0.4))

    with packing.holding() as hold:
        given = study(spark, hold, Y, partitions=3)
        rows = evaluation.cross_validation(given, "ridge", fit, 2)
    fold = folds(IDS, 2, relatives=PAIRS, seed=4)
    pooled = np.full(N, np.nan)
    for i, row in enumerate(of(rows, "fold", "r2")):
        own = np.flatnonzero(fold == i)
        train = np.setdiff1d(np.flatnonzero(fold != i), SPLIT.validation)
        mean = MADE[:, train].mean(axis=1, keepdims=True)
        x = ((MADE - mean) / np.sqrt(mean * (1 - mean / 2))).T
        pooled[own] = Ridge(alpha=60 * 0.6 / 0.4).fit(x[train], Y[train]).predict(x[own])
        assert row.found.value == pytest.approx(r2_score(Y[own], pooled[own]), rel=1e-8)
    (row,) = of(rows, "pooled", "r2")
    assert row.found.value == pytest.approx(r2_score(Y, pooled), rel=1e-8)
    assert row.found.value > 0.2  # the simulated trait is predicted


def test_learning_curve__shares_are_nested_and_the_test_is_the_same(spark):
    spy, whole = Spy(), np.linspace(0, 1, N)
    rows = evaluation.learning_curve(study(spark), "spy", spy, (0.5, 0.2), whole)
    small, half = (set(given.split.train.tolist()) for given in spy.given)
    assert small < half < set(SPLIT.train.tolist())
    assert 0.05 < len(small) / len(SPLIT.train) < 0.4 < len(half) / len(SPLIT.train) < 0.65
    for given in spy.given:
        assert given.split.test is SPLIT.test and given.split.validation is SPLIT.validation
        assert (given.values == BINARY).all()
    for one, other in PAIRS:
        if {one, other} <= set(SPLIT.train.tolist()):
            assert ((one in small) == (other in small)) and ((one in half) == (other in half))
    told = of(rows, "learning")
    assert [(row.part, row.train) for row in told] == [
        ("0.2", len(small)), ("0.5", len(half)), ("1", len(SPLIT.train)),
    ]  # fmt: skip
    test = SPLIT.test
    assert told[2].found.value == pytest.approx(roc_auc_score(BINARY[test], whole[test]))
    assert len(spy.given) == 2  # all training samples: it is given


def test_permuted__moves_known_values_only_and_by_the_seed(spark):
    values = Y.copy()
    values[[3, 50]] = np.nan
    known = np.flatnonzero(np.isfinite(values))
    parts = type(SPLIT)(*(np.intersect1d(part, known) for part in SPLIT))
    given = study(spark, values=values, parts=parts)
    one, other = evaluation.permuted(given, 5), evaluation.permuted(given, 6)
    assert np.isnan(one[[3, 50]]).all() and sorted(one[known]) == sorted(values[known])
    assert (one[known] != values[known]).mean() > 0.9 and (one[known] != other[known]).mean() > 0.9
    np.testing.assert_array_equal(one, evaluation.permuted(given, 5))
    assert np.isnan(values).sum() == 2  # the study's own are as they were


def test_permutation_null__trains_and_tests_on_the_same_labels(spark):
    spy, whole = Spy(), BINARY * 0.9
    rows = evaluation.permutation_null(study(spark), "spy", spy, 3, whole)
    for i, (given, row) in enumerate(zip(spy.given, of(rows, "null"), strict=True)):
        scores = np.random.default_rng(i + 1).random(N)
        test = SPLIT.test
        assert row.found.value == pytest.approx(roc_auc_score(given.values[test], scores[test]))
        assert given.split is SPLIT and row.part == str(5 + i)
        assert (given.values == evaluation.permuted(study(spark), 5 + i)).all()
    (told,) = of(rows, "chance")
    assert told.p == 1 / 4  # the true labels are told perfectly, the permuted ones by chance
    null = [row.found.value for row in of(rows, "null")]
    assert told.found.value == pytest.approx(np.mean(null)) and told.flags == ()


def selecting(made, everyone: bool):
    """A family that keeps the 15 variants that tell labels best, of all samples or of those that
    it may look at, and fits a logistic regression to the training samples.
    """

    def fit(given):
        rows = np.concatenate([given.split.train, given.split.test])
        rows = rows if everyone else given.split.train
        y = given.values[rows] - given.values[rows].mean()
        best = np.argsort(-np.abs((made[:, rows] - made[:, rows].mean(axis=1)[:, None]) @ y))[:15]
        x, own = made[best].T, given.split.train
        model = LogisticRegression(C=0.1, max_iter=500).fit(x[own], given.values[own])
        return trained(model.predict_proba(x)[:, 1])

    return fit


def peeking(given):
    """A family that knows the labels of all."""
    return trained(given.values * 0.5 + 0.25)


def test_evaluate__a_leak_is_seen_by_permuted_labels_and_told(spark, capsys):
    noise = np.random.default_rng(2).binomial(2, 0.4, (1500, N)).astype(float)
    models = {
        "all": selecting(noise, everyone=True),
        "honest": selecting(noise, everyone=False),
        "peek": peeking,
    }
    given = study(spark)
    options = EvaluationOptions(folds=0, shares=(), permutations=8)
    rows = evaluation.evaluate(given, models, options)
    told = {row.family: row for row in of(rows, "chance")}
    whole = {row.family: row for row in of(rows, "learning")}
    # The choice by all samples looks like skill, although no variant has to do with the trait,
    assert whole["all"].found.low > 0.6
    assert told["all"].flags == told["peek"].flags == ("leak",)
    assert told["all"].found.value > 0.7 and told["peek"].found.value == 1
    assert all(row.flags == ("skill",) for row in of(rows, "null") if row.family == "peek")
    # and is no better than by chance.
    assert told["all"].p > 0.05 and told["peek"].p == 1
    assert told["honest"].flags == () and told["honest"].found.low < 0.5 < told["honest"].found.high
    skilled = [row for row in of(rows, "null") if row.family == "honest" and row.flags]
    assert len(skilled) <= 1
    said = capsys.readouterr().err
    assert said.count("LEAK") == 2 and "LEAK: all tells permuted labels (mean AUC" in said
    assert "person" not in said
    numbers = measurements.numbers(given, rows)
    assert numbers["leaks"] == "all, peek" and "peek beats all" in str(numbers["comparison"])
    assert numbers["peek_test_roc_auc"] == 1 and numbers["all_p_value"] == told["all"].p


def test_evaluate__of_a_number_a_weak_leak_shows_in_the_correlation(spark):
    """Predictions that know a little of the test have an R2 below 0 all the same."""
    rng = np.random.default_rng(5)

    def leaky(given):
        return trained(0.35 * given.values + rng.normal(0, np.nanstd(given.values), N))

    options = EvaluationOptions(folds=0, shares=(), permutations=8)
    rows = evaluation.evaluate(study(spark, values=Y), {"leaky": leaky}, options)
    (r2,), (r,) = of(rows, "chance", "r2"), of(rows, "chance", "pearson_r")
    assert r2.found.high < 0 and r2.flags == ()
    assert r.flags == ("leak",) and r.found.low > 0


def test_evaluate__says_which_family_beats_which(spark):
    rng = np.random.default_rng(1)
    good, poor = (BINARY * a + rng.random(N) for a in (1.2, 0.2))
    top = max(good.max(), poor.max())
    models = {name: lambda _, s=s: trained(s / top) for name, s in (("a", poor), ("b", good))}
    options = EvaluationOptions(folds=0, shares=(), permutations=0)
    rows = evaluation.evaluate(study(spark), models, options)
    (row,) = of(rows, "compare")
    test = SPLIT.test
    value = roc_auc_score(BINARY[test], poor[test]) - roc_auc_score(BINARY[test], good[test])
    assert (row.family, row.part, row.samples) == ("a", "b", len(test))
    assert row.found.value == pytest.approx(value) and row.found.high < 0
    told = str(measurements.numbers(study(spark), rows)["comparison"])
    assert told.startswith("b beats a: difference in AUC 0.")


@pytest.mark.parametrize("values", [BINARY, Y], ids=["classes", "number"])
def test_cross_validation__groups_are_measured_apart(spark, values):
    groups = [("north", "south", "tiny")[0 if i < 70 else 1 if i < 150 else 2] for i in range(N)]
    groups[5] = None
    scores = values.copy()
    scores[70:] = RNG.permutation(values[70:])  # it fails the south
    rows = evaluation.cross_validation(
        replace(study(spark, values=values), groups=groups), "x", lambda _: trained(scores), 2
    )
    metric, oracle = ("roc_auc", roc_auc_score) if values is BINARY else ("r2", r2_score)
    told = {row.part: row for row in of(rows, "group", metric)}
    assert set(told) == {"north", "south"}  # ten are too few
    for name, row in told.items():
        own = [i for i in range(N) if groups[i] == name]
        assert row.samples == len(own)
        assert row.found.value == pytest.approx(oracle(values[own], scores[own]))
    assert told["north"].found.value == 1 and told["south"].found.high < 0.8


def test_evaluate__refuses_what_cannot_be_measured(spark):
    options = EvaluationOptions(folds=0, shares=(), permutations=0)
    alone = BINARY.copy()
    alone[SPLIT.test] = 1
    with pytest.raises(InputError, match=rf"found {len(SPLIT.test)} that do not"):
        evaluation.evaluate(study(spark, values=alone), {"x": peeking}, options)
    few = EvaluationOptions(folds=0, shares=(1e-6,), permutations=0)
    with pytest.raises(InputError, match=r"share 1e-06: expected training samples.*found 0"):
        evaluation.evaluate(study(spark), {"x": peeking}, few)


def test_options__ranges():
    for given, match in (
        ({"folds": 1}, "folds must be 2"),
        ({"shares": (0.0,)}, "shares must lie"),
        ({"shares": (1.5,)}, "shares must lie"),
        ({"permutations": -1}, "permutations must be 0"),
    ):
        with pytest.raises(ValueError, match=match):
            EvaluationOptions(**given)


def test_table__has_a_row_a_measurement_and_nulls_for_what_is_undefined(spark):
    given = study(spark)
    options = EvaluationOptions(folds=2, shares=(0.5,), permutations=2)
    rows = evaluation.evaluate(given, {"a": Spy(), "b": Spy()}, options)
    made = measurements.table(given, rows).to_pylist()
    keys = [tuple(row[name] for name in tables.EVALUATIONS.key) for row in made]
    assert len(set(keys)) == len(keys) and all(None not in key for key in keys)
    assert list(map(repr, map(measurements.read, made))) == list(map(repr, rows))
    counted = Counter(row["kind"] for row in made)
    assert counted == {
        "fold": 16, "pooled": 8, "learning": 16, "null": 4, "chance": 2, "compare": 1,
    }  # fmt: skip
    (same,) = (row for row in made if row["kind"] == "compare")  # both spies score alike
    assert same["value"] == 0 and same["low"] is None and same["pValue"] is None
    assert all(row["pValue"] is not None for row in made if row["kind"] == "chance")


def test_groups__by_text_or_number_in_the_order_of_samples():
    rows = [("b", None, "north"), ("a", 2.0, None), ("z", 1.0, None)]
    made = tables.TRAITS.arrow(
        {"cohort": "default", "sampleId": s, "trait": "t", "value": v, "text": w}
        for s, v, w in rows
    )
    assert cases.groups(["a", "b", "c"], made, "t") == ["2", "north", None]
    with pytest.raises(InputError, match="none of the chosen samples has the trait 'eyes'"):
        cases.groups(["c"], made, "eyes")


def test_evaluate__refuses_a_family_that_takes_no_covariates(spark):
    given = replace(study(spark), covariates=Covariates(("age",), np.ones((N, 1))))
    with pytest.raises(InputError, match="does not take any"):
        evaluation.evaluate(given, {"x": lambda _: trained(BINARY)}, EvaluationOptions())
