"""Pictures of models: what is drawn, by scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from geneai_spark.models import pictures
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study, Trained

RNG = np.random.default_rng(4)
TRUTH = RNG.integers(0, 2, 80).astype(float)
SCORES = np.round(np.clip(0.5 * TRUTH + RNG.random(80) * 0.7, 0, 1), 1)  # with ties
NOBODY = np.empty(0, np.int64)


def study(values: np.ndarray, binary: bool) -> Study:
    ids = [f"s{i}" for i in range(80)]
    split = Split(NOBODY, NOBODY, np.arange(80))
    return Study("default", "y", ids, values, binary, split, None, None)  # type: ignore[arg-type]


def test_roc__as_scikit_learns():
    false, true, _ = roc_curve(TRUTH, SCORES, drop_intermediate=False)
    found = pictures.roc(TRUTH, SCORES)
    np.testing.assert_allclose(found[0], false)
    np.testing.assert_allclose(found[1], true)


def test_bins__means_by_hand():
    predicted, observed = pictures.bins(np.arange(12.0) % 3, np.arange(12.0))
    assert predicted.tolist() == [2.5, 8.5] and observed.tolist() == [1, 1]


def test_draw__png_files():
    trained = Trained(b"", "pkl", {}, SCORES)
    for values, binary, names in (
        (TRUTH, True, ["roc.png", "calibration.png"]),
        (TRUTH + SCORES, False, ["calibration.png"]),
        (np.ones(80), True, []),
    ):
        made = pictures.draw(study(values, binary), trained)
        assert list(made) == names
        assert all(data.startswith(b"\x89PNG") for data in made.values())
