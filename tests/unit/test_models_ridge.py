"""GBLUP against scikit-learn's ridge, REML by determinants, and simulated heritability."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from sklearn.linear_model import Ridge

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import directory, results, ridge, scoring
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study, Wanted
from tests import structured


def standardised(made: np.ndarray, training: np.ndarray) -> np.ndarray:
    """X (samples, variants) with the training samples' means and scales, by the formula."""
    mean = np.nanmean(made[:, training], axis=1, keepdims=True)
    p = mean / 2
    x = np.where(np.isnan(made), 0, made - mean) / np.sqrt(2 * p * (1 - p))
    return x.T


def simulate(n_variants: int, n: int, h2: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = rng.binomial(2, rng.uniform(0.1, 0.5, (n_variants, 1)), (n_variants, n)).astype(float)
    x = standardised(made, np.arange(n))
    genetic = x @ rng.normal(0, 1, n_variants)
    genetic *= np.sqrt(h2) / genetic.std()
    y = 5 + genetic + rng.normal(0, np.sqrt(1 - h2), n)
    made[rng.random(made.shape) < 0.02] = np.nan
    return made, y


def study(spark, hold, made, y, split, partitions=3, binary=False):
    n = made.shape[1]
    packed = packing.pack(structured.variants(spark, made), n, np.arange(n))
    ids = [f"s{i}" for i in range(n)]
    held = hold(packed.repartition(partitions))
    return Study("default", "y", ids, y, binary, split, held, hold, 1), held


MADE, Y = simulate(400, 150, 0.5, seed=1)
SPLIT = Split(np.arange(0, 110), np.empty(0, np.int64), np.arange(110, 150))


def test_train__predicts_as_scikit_learns_ridge(spark):
    y = Y.copy()
    y[5] = np.nan
    split = SPLIT._replace(train=np.delete(SPLIT.train, 5))
    with packing.holding() as hold:
        given, held = study(spark, hold, MADE, y, split)
        trained = ridge.train(given, ridge.RidgeOptions(heritability=0.4))
        wanted = ridge.wanted(structured.stored(trained))
        found = scoring.gather(held, wanted, 150)
    x = standardised(MADE, split.train)
    oracle = Ridge(alpha=400 * 0.6 / 0.4).fit(x[split.train], y[split.train])
    expected = oracle.predict(x)
    np.testing.assert_allclose(trained.scores[split.test], expected[split.test], rtol=1e-9)
    assert np.isnan(trained.scores[split.train]).all()
    np.testing.assert_allclose(trained.scores[5], expected[5], rtol=1e-9)
    scored = ridge.score(structured.stored(trained), found.planes, np.empty((150, 0)))
    np.testing.assert_allclose(scored, expected, rtol=1e-9)
    assert found.known.all() and len(wanted.keys) == 400
    effects = directory.loads_arrays(trained.model)["effect"]
    np.testing.assert_allclose(np.sort(effects), np.sort(oracle.coef_), rtol=1e-9, atol=1e-12)


def test_gather__the_first_files_row_of_a_variant_and_what_is_lacking(spark):
    with packing.holding() as hold:
        _, held = study(spark, hold, MADE[:3], Y, SPLIT)
        keys = held.orderBy("start").toArrow().select(["contigName", "start", "referenceAllele"])
        alts = pa.array(held.orderBy("start").toArrow()["alternateAlleles"].to_pylist()).flatten()
        three = keys.append_column("alternateAllele", alts)
        more = three.slice(1, 1).set_column(1, "start", pa.array([7_000_000]))
        wanted = Wanted(pa.concat_tables([three, three.slice(0, 1), more]))
        other = held.withColumn("sourceId", F.lit("zzzz")).withColumn("doses", F.lit(bytes(48)))
        found = scoring.gather(held.unionByName(other), wanted, 150)
        first = scoring.gather(held, Wanted(three), 150)
    assert list(found.known) == [True, True, True, True, False]
    np.testing.assert_array_equal(found.planes[:3], first.planes)
    np.testing.assert_array_equal(found.planes[3], first.planes[0])
    lacking = np.isnan(MADE[[0, 1, 2, 0]]).sum(axis=0) + 1
    np.testing.assert_allclose(found.missing, lacking / 5)


def test_train__does_not_look_at_test_samples(spark):
    """Neither their trait nor their genotypes change the model."""
    other, y = MADE.copy(), Y.copy()
    other[:, SPLIT.test] = 2 - other[:, SPLIT.test]
    y[SPLIT.test] += 100
    with packing.holding() as hold:
        one, _ = study(spark, hold, MADE, Y, SPLIT, partitions=1)
        two, _ = study(spark, hold, other, y, SPLIT, partitions=1)
        models = [ridge.train(given, ridge.RidgeOptions()).model for given in (one, two)]
    assert models[0] == models[1]


def test_train__is_the_same_at_any_number_of_partitions(spark):
    with packing.holding() as hold:
        few, _ = study(spark, hold, MADE, Y, SPLIT, partitions=1)
        many, _ = study(spark, hold, MADE, Y, SPLIT, partitions=7)
        one, seven = (ridge.train(given, ridge.RidgeOptions()) for given in (few, many))
    np.testing.assert_allclose(one.scores, seven.scores, rtol=1e-9)
    assert one.numbers["heritability"] == pytest.approx(seven.numbers["heritability"], rel=1e-6)


def minus_reml(K: np.ndarray, y: np.ndarray, h2: float) -> float:
    """By the definition, with determinants (Patterson and Thompson 1971)."""
    n = len(y)
    V = h2 * K + (1 - h2) * np.eye(n)
    ones = np.ones((n, 1))
    W = np.linalg.inv(V)
    P = W - W @ ones @ np.linalg.inv(ones.T @ W @ ones) @ ones.T @ W
    scale = float(y @ P @ y) / (n - 1)
    terms = np.linalg.slogdet(V)[1] + np.linalg.slogdet(ones.T @ W @ ones)[1]
    return (n - 1) * np.log(scale) + terms


def test_fit__by_reml():
    x = standardised(MADE, np.arange(150))
    K = x @ x.T / x.shape[1]
    found = ridge.fit(K, Y)
    grid = np.linspace(0.005, 0.995, 199)
    best = grid[np.argmin([minus_reml(K, Y, h2) for h2 in grid])]
    assert abs(found.heritability - best) <= 0.005
    V = found.heritability * K + (1 - found.heritability) * np.eye(150)
    W = np.linalg.inv(V)
    mean = W.sum(axis=0) @ Y / W.sum()
    assert found.fixed == pytest.approx([mean])
    np.testing.assert_allclose(found.weights, found.heritability * W @ (Y - mean), rtol=1e-6)


def test_expected__is_near_what_predictions_reach():
    """Independent variants are as many segments; R2 is as theory has it, and below h2."""
    reached, told = [], []
    for seed in range(6):
        made, y = simulate(400, 1000, 0.6, seed)
        x = standardised(made, np.arange(800))
        K = x @ x.T / 400
        theory = ridge.expected(K[:800, :800], 0.6)
        # A fiftieth of the genotypes is missing: relationships vary by so much less, squared.
        assert theory["independent_segments"] == pytest.approx(400 / 0.98**2, rel=0.02)
        told.append(theory["expected_r2"])
        found = ridge.fit(K[:800, :800], y[:800], 0.6)
        predicted = found.fixed[0] + K[800:, :800] @ found.weights
        reached.append(np.corrcoef(predicted, y[800:])[0, 1] ** 2)
    assert np.mean(told) == pytest.approx(0.6 * 480 / (480 + 400 / 0.98**2), rel=0.01)  # N h2: 480
    # The formula counts as noise what other variants explain, so that it is a little low.
    assert np.mean(told) < np.mean(reached) < np.mean(told) + 0.1 < 0.6


def test_fit__finds_the_simulated_heritability():
    """Of many samples the estimate is near the truth; of noise it is near none."""
    made, y = simulate(300, 800, 0.6, seed=3)
    x = standardised(made, np.arange(800))
    K = x @ x.T / x.shape[1]
    assert ridge.fit(K, y).heritability == pytest.approx(0.6, abs=0.1)
    assert ridge.fit(K, np.random.default_rng(4).permutation(y)).heritability < 0.12
    with pytest.raises(InputError, match="one value"):
        ridge.fit(K, np.ones(800))


def test_train__of_two_classes_scores_between_0_and_1(spark):
    y = (np.median(Y) < Y).astype(float)
    with packing.holding() as hold:
        given, _ = study(spark, hold, MADE, y, SPLIT, binary=True)
        trained = ridge.train(given, ridge.RidgeOptions())
        measured = results.measure(given, trained)
    scores = trained.scores[SPLIT.test]
    assert ((scores >= 0) & (scores <= 1)).all() and np.ptp(scores) > 0
    assert set(measured) == {"test"} and measured["test"].n == 40
