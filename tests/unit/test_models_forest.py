"""The forest against brute force, scikit-learn, hand-made cases, planted and absent signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import forest, forest_search, forest_spark, loci
from geneai_spark.models import forest_kernels as kernels
from geneai_spark.models.forest import ForestOptions
from geneai_spark.models.forest_search import BLOCK, Block, Level, Local
from tests import structured


def planes_of(made: np.ndarray) -> np.ndarray:
    """Doses (variants, samples), NaN missing, as planes whose ends are missing."""
    n_variants, n = made.shape
    low = np.ones((n_variants, -(-n // 64) * 64), np.uint8)
    high = low.copy()
    low[:, :n] = (made == 1) | np.isnan(made)
    high[:, :n] = (made == 2) | np.isnan(made)
    both = (np.packbits(bits, axis=1, bitorder="little").view("<u8") for bits in (low, high))
    return np.ascontiguousarray(np.stack(list(both), axis=1))


def simulate(n_variants: int, n: int, seed: int, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.binomial(2, rng.uniform(0.05, 0.5, (n_variants, 1)), (n_variants, n)).astype(float)
    made[rng.random(made.shape) < missing] = np.nan
    return made


def gini(y: np.ndarray) -> float:
    return len(y) * 2 * y.mean() * (1 - y.mean()) if len(y) else 0.0


@pytest.mark.parametrize("n_node", [200, 20], ids=["bits", "one by one"])
def test_search__finds_the_best_of_all_splits(n_node):
    made, rng = simulate(70, 300, seed=1), np.random.default_rng(2)
    y = rng.integers(0, 2, 300)
    own = np.sort(rng.permutation(300)[:n_node])
    members = np.concatenate([own[y[own] == 1], own[y[own] == 0]]).astype(np.int32)
    n_cases = int(y[own].sum())
    expected = {}
    for v, dose in enumerate(made):
        for cut in (0, 1):
            right = dose[own] > cut
            if min(right.sum(), (~right).sum()) >= 5:
                drop = gini(y[own]) - gini(y[own][right]) - gini(y[own][~right])
                expected[v, cut] = drop
    best = max(expected, key=expected.__getitem__)
    place = [np.array([i]) for i in (0, n_cases, n_node)]
    level = Level(members, *place, np.array([7], np.uint64), 1.0, 5)
    found = forest_search.search([Block(0, planes_of(made))], level)
    assert (found.which[0], found.cut[0]) == best
    assert found.gain[0] == pytest.approx(expected[best])


def test_search__draws_each_variant_at_the_rate():
    """Nodes whose only good variant is one of many find it as often as they look at it."""
    made = np.zeros((BLOCK, 8))
    made[700, :4] = 1
    nodes = 4000
    members = np.tile(np.arange(8, dtype=np.int32), nodes)
    begin = np.arange(nodes) * 8
    keys = np.random.default_rng(3).integers(0, 2**63, nodes).astype(np.uint64)
    level = Level(members, begin, begin + 4, begin + 8, keys, 0.25, 1)
    found = forest_search.search([Block(0, planes_of(made))], level)
    hits = int((found.which == 700).sum())
    assert stats.binomtest(hits, nodes, 0.25).pvalue > 1e-4
    assert hits + int((found.which == -1).sum()) == nodes


def test_grow__as_scikit_learns_tree_where_all_variants_are_looked_at():
    made, rng = simulate(60, 400, seed=4), np.random.default_rng(5)
    y = (made[7] + made[19] + rng.normal(0, 0.7, 400) > 2).astype(np.int8)
    options = ForestOptions(trees=1, variants_per_split=1.0, sample_fraction=0.6, max_depth=3)
    grown = forest.grow(Local(planes_of(made)), y, np.arange(400), options, seed=6)
    own = np.isnan(grown.held_out)  # what the only tree was grown on
    assert own.sum() == 240
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(made[:, own].T, y[own])
    planes = planes_of(made)[grown.forest.variants]
    found = grown.forest.predict(planes, 400)
    np.testing.assert_allclose(found, tree.predict_proba(made.T)[:, 1])
    np.testing.assert_allclose(grown.held_out[~own], found[~own])
    assert grown.forest.variant[0] == tree.tree_.feature[0]


def test_grow__importance_is_what_splits_explain_of_others_by_hand():
    """One split of a tree: samples outside it, their labels' departure times what it adds."""
    made = np.zeros((2, 12))
    made[0, [0, 1, 2, 6, 7]] = 1
    y = np.array([1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0], np.int8)
    options = ForestOptions(trees=1, variants_per_split=1.0, sample_fraction=0.5, max_depth=1)
    grown = forest.grow(Local(planes_of(made)), y, np.arange(12), options, seed=2)
    own = np.isnan(grown.held_out)
    right = made[0] > 0
    value = y[own].mean()
    child = np.where(right, y[own & right].mean(), y[own & ~right].mean())
    expected = ((child - value) * (y - value))[~own].sum()
    assert grown.importance[0] == pytest.approx(expected)
    assert (grown.importance[1], list(grown.splits)) == (0, [1, 0])


def test_grow__truth_of_samples_outside_training_is_not_looked_at():
    made = simulate(300, 200, seed=7)
    y = (made[3] + np.random.default_rng(8).normal(0, 1, 200) > 1).astype(np.int8)
    training = np.arange(0, 200, 2)
    options = ForestOptions(trees=20)
    hidden = y.copy()
    hidden[1::2] = -1
    one, other = (
        forest.grow(Local(planes_of(made)), truth, training, options, seed=1)
        for truth in (hidden, np.where(np.arange(200) % 2, -1, y).astype(np.int8))
    )
    assert (one.importance == other.importance).all()
    flipped = y.copy()
    flipped[1::2] = 1 - flipped[1::2]
    leaked = forest.grow(Local(planes_of(made)), flipped, training, options, seed=1)
    assert (leaked.forest.variant == one.forest.variant).all()
    assert not (leaked.importance == one.importance).all()  # which `disease.train` does not give


@pytest.mark.parametrize("partitions", [1, 7])
def test_spread__grows_the_same_forest_as_one_process(spark, partitions):
    made = simulate(2 * BLOCK + 100, 130, seed=9, missing=0.05)
    y = (np.nan_to_num(made[1500]) + np.random.default_rng(1).normal(0, 1, 130) > 1).astype(np.int8)
    training = np.arange(10, 120)
    y[:10] = -1
    options = ForestOptions(trees=12, max_depth=6)
    with packing.holding() as hold:
        df = packing.pack(structured.variants(spark, made), 130, np.arange(130))
        numbered = forest_spark.number(df.repartition(partitions), hold)
        keys = forest_spark.keys(numbered)
        held = forest_spark.blocks(numbered, training, hold)
        spread = forest_spark.Spread(held, len(keys), 3)
        together = forest_spark.local(held, 3, 2)
        found = forest.grow(spread, y, training, options, seed=5)
        same = forest.grow(together, y, training, options, seed=5)
        some = np.array([0, 5, BLOCK, 2 * BLOCK + 99])
        assert (spread.take(some) == together.take(some)).all()
    starts = keys.column("start").to_numpy()
    assert (np.diff(starts) >= 0).all() and len(starts) == len(made)
    for name in ("left", "variant", "cut", "value"):
        np.testing.assert_array_equal(getattr(found.forest, name), getattr(same.forest, name))
    np.testing.assert_array_equal(found.importance, same.importance)
    oracle = forest.grow(
        Local(forest.filled(planes_of(made), training)), y, training, options, seed=5
    )
    np.testing.assert_array_equal(found.forest.variant, oracle.forest.variant)
    np.testing.assert_array_equal(found.held_out, oracle.held_out)


def test_filled__by_the_genotype_that_most_training_samples_have():
    made = np.array(
        [
            [0, 0, 1, np.nan, 2, 2],  # of the first four: 0
            [1, 1, 0, np.nan, 0, 0],
            [2, 2, 1, np.nan, 0, np.nan],
            [0, 1, np.nan, np.nan, 1, 1],  # equal: the rarer dose
            [1, 2, np.nan, np.nan, 2, 2],
            [np.nan, np.nan, np.nan, np.nan, 1, 2],  # nobody is called
        ]
    )
    training = np.arange(4)
    full = forest.filled(planes_of(made), training)
    out = np.empty(made.shape)
    packing.kernels.look_up(full, np.tile([0.0, 1.0, 2.0, 9.0], (6, 1)), out)
    expected = made.copy()
    for row, dose in zip(expected, [0, 1, 2, 0, 1, 0], strict=True):
        row[np.isnan(row)] = dose
    np.testing.assert_array_equal(out, expected)
    assert list(forest.modes(full, training)) == [0, 1, 2, 0, 1, 0]


def test_grow__finds_planted_variants_and_their_interaction():
    made = simulate(3000, 600, seed=11)
    odd = (made[100] > 0) ^ (made[2000] > 0)  # neither tells anything alone
    y = (odd ^ (np.random.default_rng(12).random(600) < 0.05)).astype(np.int8)
    y[made[1500] > 1] = 1
    options = ForestOptions(trees=300, variants_per_split=0.3)
    grown = forest.grow(Local(planes_of(made)), y, np.arange(600), options, seed=1)
    assert set(np.argsort(-grown.importance)[:3]) >= {1500}
    assert {100, 2000} & set(np.argsort(-grown.importance)[:10])


def test_grow__tells_nothing_of_permuted_labels():
    """No skill, importances around zero, and few false discoveries."""
    made = simulate(4000, 400, seed=13)
    y = np.random.default_rng(14).integers(0, 2, 400).astype(np.int8)
    options = ForestOptions(trees=200)
    grown = forest.grow(Local(planes_of(made)), y, np.arange(400), options, seed=2)
    assert abs(roc_auc_score(y, grown.held_out) - 0.5) < 0.08
    used = grown.importance[grown.splits > 0]
    assert abs(used.mean()) < 0.2 * used.std()
    mixed = forest.permuted(y, np.arange(400), 7)
    assert sorted(mixed) == sorted(y) and (mixed != y).any()
    null = forest.grow(Local(planes_of(made)), mixed, np.arange(400), options, seed=3)
    p = forest.p_values(grown.importance, null.importance)
    assert (forest.false_discovery(p) < 0.05).sum() <= 2
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_p_values__by_hand():
    p = forest.p_values(np.array([5.0, 2.0, 0.0]), np.array([0.0, 0, 0, 1, 2, 3, -1, 0, 0]))
    assert list(p) == [1 / 10, 3 / 10, 9 / 10]


def test_false_discovery__as_scipy():
    p = np.random.default_rng(1).random(50) ** 3
    expected = stats.false_discovery_control(p)
    with_none = np.concatenate([[np.nan], p])
    np.testing.assert_allclose(forest.false_discovery(with_none)[1:], expected)
    assert np.isnan(forest.false_discovery(with_none)[0])


def test_correlate__as_numpy():
    made, samples = simulate(40, 150, seed=15), np.arange(3, 150, 2)
    planes = planes_of(made)
    out = np.empty(39)
    kernels.correlate(planes[0], planes[1:], forest.bits(samples, 3), out)
    expected = [np.corrcoef(made[0, samples], row[samples])[0, 1] ** 2 for row in made[1:]]
    np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_clump__by_correlation_and_distance():
    import pyarrow as pa

    base = simulate(1, 200, seed=16)[0]
    other = simulate(1, 200, seed=17)[0]
    made = np.stack([base, base, base, other, base])
    keys = pa.table({"contigName": ["1", "1", "1", "1", "2"], "start": [0, 900, 5000, 10, 5]})
    importance = np.array([5.0, 9.0, 4.0, 3.0, 8.0])
    found = loci.clump(
        keys, importance, np.arange(5), planes_of(made), np.arange(200), window=1000, r2=0.5
    )
    assert [(one.lead, list(one.members)) for one in found] == [
        (1, [0, 1]),
        (4, [4]),
        (2, [2]),
        (3, [3]),
    ]
    assert found[0].total == 14
    assert list(loci.strongest(np.array([0, 2.0, -1, 3]))) == [1, 3]


def test_grow__refuses_one_class():
    planes = planes_of(simulate(5, 20, seed=1))
    with pytest.raises(InputError, match="of one class only"):
        forest.grow(
            Local(planes), np.ones(20, np.int8), np.arange(20), ForestOptions(trees=2), seed=1
        )
    y = np.array([0, 1] * 10, np.int8)
    with pytest.raises(InputError, match="too few for a tree"):
        forest.grow(Local(planes), y, np.arange(2), ForestOptions(trees=2), seed=1)
