"""The Manhattan picture: where points go, what is marked, that a PNG comes out."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from geneai_spark.report import manhattan


def scan(places, p=None):
    rows = [(contig, start, []) for contig, start in places]
    frame = pd.DataFrame(rows, columns=["contigName", "start", "names"])
    frame["pValue"] = np.full(len(rows), 0.5) if p is None else p
    return frame


@pytest.fixture
def drawn(monkeypatch):
    """Record every scatter call and every text."""
    seen = {"scatter": [], "text": []}

    def scatter(self, x, y, **style):
        seen["scatter"].append((np.array(x), np.array(y), style))
        return original(self, x, y, **style)

    def annotate(self, text, *args, **style):
        seen["text"].append(text)
        return write(self, text, *args, **style)

    original, write = Axes.scatter, Axes.annotate
    monkeypatch.setattr(Axes, "scatter", scatter)
    monkeypatch.setattr(Axes, "annotate", annotate)
    return seen


def test_draw__contigs_side_by_side_in_human_order(drawn, tmp_path):
    places = [(c, s) for c in ("10", "X", "2") for s in range(0, 1000, 10)]
    path = manhattan.draw(scan(places), tmp_path / "new" / "m.png", title="t")
    image = matplotlib.image.imread(path)
    assert image.shape[:2] == (750, 1650) and image.std() > 0.01
    middles = [x.mean() for x, _, _ in drawn["scatter"]]
    assert len(middles) == 3 and middles == sorted(middles)
    for (one, _, _), (two, _, _) in zip(drawn["scatter"], drawn["scatter"][1:], strict=False):
        assert one.max() < two.min()
    assert [r.contig for r in manhattan._regions(scan(places))] == ["2", "10", "X"]


def test_draw__one_contig_with_an_empty_stretch_is_cut():
    near = [("22", s) for s in range(16_000_000, 16_010_000, 100)]
    far = [("22", s) for s in range(17_000_000, 17_100_000, 100)]
    one, two = manhattan._regions(scan(near + far))
    assert (one.first, one.last) == (16_000_000, 16_009_900)
    assert (two.first, two.last) == (17_000_000, 17_099_900)
    assert 0 < two.first - two.shift - (one.last - one.shift) < 10_000
    assert len(manhattan._regions(scan(far))) == 1


def test_draw__causal_variants_ringed_and_named(drawn, tmp_path):
    frame = scan([("1", s) for s in range(50)])
    frame.loc[[10, 20], "pValue"] = [1e-20, 1e-9]
    frame.at[10, "names"] = ["rs10"]
    manhattan.draw(frame, tmp_path / "m.png", title="t", causal=[("1", 10), ("1", 30)])
    _, y, style = drawn["scatter"][-1]
    assert style["facecolors"] == "none"
    assert y.tolist() == pytest.approx([20, -np.log10(0.5)])
    assert {"rs10", "1:31"} <= set(drawn["text"]) and "1:21" not in drawn["text"]


def test_draw__a_peak_gets_one_name(drawn, tmp_path):
    frame = scan([("1", s) for s in range(1000)])
    frame.loc[[100, 101, 102, 700], "pValue"] = [1e-20, 1e-30, 1e-10, 1e-9]
    manhattan.draw(frame, tmp_path / "m.png", title="t")
    assert drawn["text"][1:] == ["1:102", "1:701"]  # after the line's


def test_draw__null_and_zero_p_values(drawn, tmp_path):
    frame = scan([("1", 1), ("1", 2), ("1", 3)], p=[None, 0.0, 0.1])
    manhattan.draw(frame, tmp_path / "m.png", title="t")
    _, y, _ = drawn["scatter"][0]
    assert y.tolist() == pytest.approx([300, 1])


def test_draw__nothing_to_draw(tmp_path):
    assert manhattan.draw(scan([]), tmp_path / "m.png", title="empty").exists()


def test_filename__safe():
    assert manhattan.filename("HbA1c (%)/../x") == "manhattan_HbA1c_.._x.png"
