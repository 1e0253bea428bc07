"""The family of the forest: nothing of test samples is looked at, and engines agree."""

from __future__ import annotations

import numpy as np
import pytest

from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.models import disease, scoring
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from tests import structured

N = 120
SPLIT = Split(np.arange(0, 80), np.arange(80, 95), np.arange(95, N))


def study(spark, hold, made, values, binary=True):
    packed = hold(packing.pack(structured.variants(spark, made), N, np.arange(N)))
    ids = [f"s{i}" for i in range(N)]
    return Study("default", "y", ids, values, binary, SPLIT, packed, hold, 3)


def test_train__of_test_samples_neither_label_nor_genotype_counts(spark):
    rng = np.random.default_rng(1)
    made = rng.binomial(2, 0.3, (200, N)).astype(float)
    made[rng.random(made.shape) < 0.1] = np.nan
    values = (np.nan_to_num(made[5]) + rng.normal(0, 0.5, N) > 0.8).astype(float)
    other, labels = made.copy(), values.copy()
    other[:, 80:] = 2 - other[:, 80:]
    labels[80:] = 1 - labels[80:]
    options = disease.DiseaseOptions(trees=30)
    with packing.holding() as hold:
        one = disease.train(study(spark, hold, made, values), options)
        two = disease.train(study(spark, hold, made, labels), options)
        three = disease.train(study(spark, hold, other, labels), options)
        with pytest.raises(InputError, match="more than two values"):
            disease.train(study(spark, hold, made, values * 1.5, binary=False), options)
        packed = packing.pack(structured.variants(spark, made), N, np.arange(N))
        found = scoring.gather(packed, disease.wanted(structured.stored(one)), N)
    # A tenth of the genotypes is missing: they are filled as the trees' own source filled them.
    assert (found.missing > 0).all()
    scored = disease.score(structured.stored(one), found.planes, np.empty((N, 0)))
    np.testing.assert_allclose(scored[80:], one.scores[80:], rtol=1e-12)
    assert one.model == two.model == three.model
    assert one.importances.equals(two.importances)
    np.testing.assert_array_equal(one.scores[:80], three.scores[:80])
    assert one.importances["rank"].to_pylist()[0] == 1
    assert one.importances["start"].to_pylist()[0] == three.importances["start"].to_pylist()[0]
