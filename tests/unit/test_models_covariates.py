"""Covariates beside genotypes: what each family makes of them, and what new samples are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import covariates, disease, forest_covariates, inputs, ridge, scoring
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from tests import structured

N, M = 150, 80
RNG = np.random.default_rng(5)
MADE = RNG.binomial(2, 0.3, (M, N)).astype(float)
AGE = np.round(RNG.normal(50, 10, N), 1)
SEX = RNG.integers(1, 3, N).astype(float)
VALUES = np.column_stack([AGE, SEX])
VALUES[3, 0] = VALUES[140, 0] = np.nan
SPLIT = Split(np.arange(0, 100), np.empty(0, np.int64), np.arange(100, N))
GIVEN = Covariates(("age", "sex"), VALUES)
SICK = (AGE + 4 * MADE[7] + RNG.normal(0, 3, N) > 52).astype(float)


def standardised() -> np.ndarray:
    own = VALUES[:100]
    z = (VALUES - np.nanmean(own, axis=0)) / np.nanstd(own, axis=0)
    return np.where(np.isnan(z), 0, z)


def study(spark, hold, values, binary, home="", partitions=2):
    packed = packing.pack(structured.variants(spark, MADE), N, np.arange(N))
    ids = [f"s{i}" for i in range(N)]
    return Study(
        "default", "y", ids, values, binary, SPLIT, hold(packed.repartition(partitions)), hold, 3,
        str(home), "m", (), GIVEN,
    )  # fmt: skip


def test_fit__by_training_samples_alone():
    scale = covariates.fit(GIVEN, SPLIT.train)
    np.testing.assert_allclose(covariates.standardised(VALUES, scale), standardised())
    again = covariates.read({"covariates": scale.told()})
    assert again.names == ("age", "sex") and again.mean.tolist() == scale.mean.tolist()
    one = Covariates(("age",), np.where(np.arange(N) < 100, 3.0, AGE)[:, None])
    with pytest.raises(InputError, match="'age' does not vary among the training"):
        covariates.fit(one, SPLIT.train)


def test_of__in_the_order_of_samples():
    frame = pd.DataFrame({"age": [1.0, 2.0, np.inf]}, index=["b", "a", "c"])
    found = covariates.of(["a", "x", "b", "c"], frame, ["age"])
    np.testing.assert_array_equal(found.values, [[2], [np.nan], [1], [np.nan]])


def test_planes__levels_by_cuts():
    z = np.array([[0.0, 1], [1, 1], [2, 2], [3, 2], [9, 2]])
    made = forest_covariates.levels(z, np.arange(4))  # the last one is no training sample
    assert made.of.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(made.cuts, [[0.5, 1.5], [2.5, np.inf], [1.5, np.inf]])
    found = forest_covariates.planes(z, made)
    dose = [
        [(int(p[0]) >> s & 1) + 2 * (int(p[1]) >> s & 1) for s in range(6)] for p in found[:, :, 0]
    ]
    assert dose == [[0, 1, 2, 2, 2, 0], [0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 0]]


def test_levels__at_most_so_many_cuts_at_quantiles():
    z = np.random.default_rng(1).normal(size=(1000, 1))
    made = forest_covariates.levels(z, np.arange(1000))
    shares = (z > made.cuts.ravel()).mean(axis=0)
    np.testing.assert_allclose(shares, 1 - np.arange(1, 17) / 17, atol=0.002)


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_forest__learns_by_age_and_scores_new_samples(spark, engine):
    options = disease.DiseaseOptions(trees=60, engine=engine, null_forests=0)
    with packing.holding() as hold:
        given = study(spark, hold, SICK, True)
        trained = disease.train(given, options)
        without = disease.train(replace(given, covariates=None), options)
        stored = structured.stored(trained)
        wanted = disease.wanted(stored)
        found = scoring.gather(given.doses, wanted, N)
    assert wanted.covariates == ("age", "sex")
    scored = disease.score(stored, found.planes, VALUES)
    np.testing.assert_allclose(scored[100:], trained.scores[100:], rtol=1e-12)
    unknown = disease.score(stored, found.planes, np.full_like(VALUES, np.nan))
    mean = np.nanmean(VALUES[:100], axis=0)
    np.testing.assert_array_equal(
        unknown, disease.score(stored, found.planes, np.tile(mean, (N, 1)))
    )
    age, sex = (trained.numbers[f"importance_{name}"] for name in ("age", "sex"))
    assert age > max(trained.importances["importance"].to_pylist()) > sex
    assert trained.importances["start"][0].as_py() == 7_000
    right = ((trained.scores[100:] > 0.5) == SICK[100:]).mean()
    assert right > 0.75 > ((without.scores[100:] > 0.5) == SICK[100:]).mean()


def test_forest__engines_and_partitions_agree_with_covariates(spark):
    made = []
    with packing.holding() as hold:
        for engine, partitions in (("local", 1), ("local", 7), ("spark", 7)):
            options = disease.DiseaseOptions(trees=20, engine=engine, null_forests=0)
            made.append(
                disease.train(study(spark, hold, SICK, True, partitions=partitions), options)
            )
    assert made[0].model == made[1].model == made[2].model


def test_ridge__covariates_are_fixed_effects(spark):
    """By the mixed model's equations: V = h2 K + (1 - h2) I, b by generalised least squares."""
    mean = MADE[:, :100].mean(axis=1, keepdims=True)
    x = ((MADE - mean) / np.sqrt(mean * (1 - mean / 2))).T
    W = np.column_stack([np.ones(N), standardised()])
    y = W @ [5, 3, -1] + x @ RNG.normal(0, 0.1, M) + RNG.normal(0, 0.7, N)
    with packing.holding() as hold:
        given = study(spark, hold, y, False)
        trained = ridge.train(given, ridge.RidgeOptions(heritability=0.4))
        reml = ridge.train(given, ridge.RidgeOptions())
        stored = structured.stored(trained)
        wanted = ridge.wanted(stored)
        found = scoring.gather(given.doses, wanted, N)
    K, own = x @ x.T / M, slice(0, 100)

    def solved(h2: float) -> tuple[np.ndarray, np.ndarray, float]:
        V = np.linalg.inv(h2 * K[own, own] + (1 - h2) * np.eye(100))
        inner = W[own].T @ V @ W[own]
        fixed = np.linalg.solve(inner, W[own].T @ V @ y[own])
        rest = y[own] - W[own] @ fixed
        free = 100 - 3
        minus = free * np.log(rest @ V @ rest / free)
        minus += np.linalg.slogdet(inner)[1] - np.linalg.slogdet(V)[1]
        return fixed, W @ fixed + h2 * K[:, own] @ V @ rest, minus

    _, expected, _ = solved(0.4)
    np.testing.assert_allclose(trained.scores[100:], expected[100:], rtol=1e-9)
    assert wanted.covariates == ("age", "sex")
    np.testing.assert_allclose(ridge.score(stored, found.planes, VALUES), expected, rtol=1e-9)
    grid = np.linspace(0.005, 0.995, 199)
    best = grid[np.argmin([solved(h2)[2] for h2 in grid])]
    assert abs(reml.numbers["heritability"] - best) <= 0.005
    doubled = replace(given, covariates=Covariates(("a", "b"), np.column_stack([AGE, 2 * AGE])))
    with packing.holding() as hold, pytest.raises(InputError, match="a sum of the others"):
        again = study(spark, hold, y, False)
        ridge.train(replace(again, covariates=doubled.covariates), ridge.RidgeOptions())


def test_inputs__covariates_stand_behind_the_doses(spark, tmp_path):
    """And variants are chosen by what covariates do not tell."""
    y = 10 * standardised()[:, 0] + 0.5 * MADE[11] + RNG.normal(0, 0.2, N)
    with packing.holding() as hold:
        given = study(spark, hold, y, False, tmp_path)
        chosen = inputs.strongest(given, 1)
        inputs.write(given, chosen)
        equal = {"cohort": "default", "model": "m"}
        shard = inputs.read(inputs.parts(spark, str(tmp_path), **equal), equal)
    assert chosen.keys["start"].to_pylist() == [11_000]
    x = shard.features(slice(None), chosen.values())
    assert x.shape == (N, 3)
    np.testing.assert_allclose(x[:, 1:], standardised(), rtol=1e-6)
    empty = inputs.read([], equal)
    assert empty.covariates.shape[0] == 0


def test_check_covariates__a_family_that_does_not_know_them(spark):
    with packing.holding() as hold:
        given = study(spark, hold, SICK, True)
    with pytest.raises(InputError, match="the family other does not take any"):
        given.check_covariates({"family": "other"})
    replace(given, covariates=None).check_covariates({"family": "other"})
