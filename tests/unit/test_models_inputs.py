"""What networks learn from: variants chosen by training samples alone, a row a sample, shards."""

from __future__ import annotations

import numpy as np
import pytest

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import inputs
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from tests import structured

N, M, K = 150, 40, 17
SPLIT = Split(np.arange(0, 90), np.arange(90, 110), np.arange(110, 140))  # ten have no trait
RNG = np.random.default_rng(4)
MADE = RNG.binomial(2, RNG.uniform(0.1, 0.5, (M, 1)), (M, N)).astype(float)
MADE[RNG.random(MADE.shape) < 0.1] = np.nan
MADE[7] = 1.0  # the scale is not zero, but nobody differs
VALUES = np.nan_to_num(MADE[3] - MADE[8]) + RNG.normal(0, 1, N)
VALUES[140:] = np.nan


def study(spark, hold, made, values, home="", partitions=3):
    packed = packing.pack(structured.variants(spark, made), N, np.arange(N))
    held = hold(packed.repartition(partitions))
    ids = [f"s{i}" for i in range(N)]
    return Study("c", "y", ids, values, False, SPLIT, held, hold, 1, home, "net")


def standardised(made):
    """By NumPy, of the training samples' frequencies: what is missing is 0."""
    own = made[:, SPLIT.train]
    p = np.nanmean(own, axis=1, keepdims=True) / 2
    return np.nan_to_num((made - 2 * p) / np.sqrt(2 * p * (1 - p)))


def chosen(made, values, k):
    """The k rows that correlate most, by NumPy."""
    x, y = standardised(made)[:, SPLIT.train], values[SPLIT.train]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.nan_to_num([np.corrcoef(row, y)[0, 1] for row in x])
    return set(np.argsort(-(r**2), kind="stable")[:k].tolist())


def test_strongest__as_numpy_chooses_and_by_training_samples_alone(spark):
    with packing.holding() as hold:
        one = inputs.strongest(study(spark, hold, MADE, VALUES), K)
        seven = inputs.strongest(study(spark, hold, MADE, VALUES, partitions=7), K)
        leak = MADE.copy()
        leak[11, 110:] = np.where(VALUES[110:] > 0, 2.0, 0.0)  # tells the test samples' trait
        other = VALUES.copy()
        other[110:140] += 50
        told = inputs.strongest(study(spark, hold, leak, other), K)
        with pytest.raises(InputError, match="no variant varies"):
            inputs.strongest(study(spark, hold, np.zeros((2, N)), VALUES), K)
    found = {start // 1000 for start in one.keys["start"].to_pylist()}
    assert found == chosen(MADE, VALUES, K)
    assert 7 not in found
    for again in (seven, told):
        assert again.keys["start"].to_pylist() == one.keys["start"].to_pylist()
        np.testing.assert_array_equal(again.mean, one.mean)
        np.testing.assert_array_equal(again.scale, one.scale)


def test_write__each_samples_row_decodes_to_the_standardised_doses(spark, tmp_path):
    with packing.holding() as hold:
        given = study(spark, hold, MADE, VALUES, str(tmp_path))
        wanted = inputs.strongest(given, K)
        inputs.write(given, wanted)
        inputs.write(given, wanted)  # in place of the earlier rows
    places = inputs.parts(spark, str(tmp_path), "c", "net")
    assert len(places) == 3  # 64 samples each, for as many processes
    equal = {"cohort": "c", "model": "net"}
    shards = [inputs.read(places[rank::2], equal) for rank in range(2)]
    assert sorted(np.concatenate([s.index for s in shards]).tolist()) == list(range(N))
    assert min(len(s.index) for s in shards) > 0
    whole = [inputs.read(way, equal) for way in (places, places[::-1])]
    assert whole[0].index.tolist() == whole[1].index.tolist() == list(range(N))
    np.testing.assert_array_equal(whole[0].planes, whole[1].planes)
    rows = [start // 1000 for start in wanted.keys["start"].to_pylist()]
    expected = standardised(MADE)[rows].T
    for shard in shards:
        found = shard.features(slice(None), wanted.values())
        np.testing.assert_allclose(found, expected[shard.index], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(shard.label, VALUES[shard.index])
        for name, part in zip(inputs.PARTS, SPLIT, strict=True):
            own = set(shard.index[shard.split == name].tolist())
            assert own == set(part.tolist()) & set(shard.index.tolist())
    again, labels = inputs.ordered(places[::-1], equal)
    firsts = [int(inputs.read([place], equal).index[0]) for place in again]
    assert firsts == sorted(firsts) and set(again) == set(places)
    assert labels.planes.shape[2] == 0 and labels.index.tolist() == list(range(N))
    assert inputs.read(places, {"cohort": "other", "model": "net"}).index.size == 0


def test_text__round_trip_is_exact(spark):
    with packing.holding() as hold:
        wanted = inputs.strongest(study(spark, hold, MADE, VALUES), K)
    read = inputs.read_text(wanted.text())
    np.testing.assert_array_equal(read.mean, wanted.mean)
    np.testing.assert_array_equal(read.scale, wanted.scale)
    assert read.keys.equals(wanted.keys.select(read.keys.column_names))
