"""Figures inside a page: own ids, the page's colours, bounded size, the same bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from geneai_spark.report import figures, plots

RNG = np.random.default_rng(4)


def scatter(n, figure="s", **more):
    x, y = np.random.default_rng(9).normal(size=(2, n))
    draw = partial(plots.scatter, x=x, y=y, labels=("a", "b"), **more)
    return figures.figure(figure, draw, alt="what <is> seen", caption="c")


def parsed(figure):
    svg = str(figure.svg).replace("<svg ", '<svg xmlns:xlink="x" ', 1)
    return ET.fromstring(svg)  # well-formed, or it raises


def test_figure__stands_alone_in_a_page():
    one, two = scatter(30, "one"), scatter(30, "two")
    for figure in (one, two):
        tree = parsed(figure)
        assert tree.get("role") == "img" and tree.get("aria-label") == "what <is> seen"
        ids = [e.get("id") for e in tree.iter() if e.get("id")]
        assert ids and len(ids) == len(set(ids))
        assert all(name.startswith(f"{figure.name}-") for name in ids)
        text = str(figure.svg)
        used = re.findall(r'(?:url\(#|href="#)([^)"]+)', text)
        assert used and set(used) <= set(ids)
        assert "://" not in text and "<metadata" not in text and "<style" not in text
        assert "var(--ink)" in text and figures.INK not in text
    assert str(one.svg).replace("one-", "two-") == str(two.svg)


def test_figure__many_points_are_pixels_and_few_are_shapes():
    few, many = str(scatter(300).svg), str(scatter(50_000).svg)
    assert "data:image/png" not in few and "data:image/png" in many
    assert len(many) < 600_000


def test_figure__leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    scatter(10)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["<script>", "$a$", "$", "身長", 'a"b&c'])
def test_figure__any_name_is_text(name):
    figure = scatter(9, colour=np.arange(9.0), name=name)
    assert name in "".join(parsed(figure).itertext())
    assert "<script" not in str(figure.svg)


def test_scatter__each_word_has_its_colour_and_place():
    words = [("north", "south", "other")[i % 3] for i in range(30)]
    svg = str(scatter(30, colour=words, name="group", order=["north", "south", "other"]).svg)
    for colour in figures.CATEGORIES[:3]:
        assert colour in svg
    assert all(f">{word}<" in svg for word in ("north", "south", "other", "group"))


def test_scatter__missing_numbers_stay_visible(monkeypatch):
    value = np.where(np.arange(12) < 4, np.nan, np.arange(12.0))
    assert figures.GREY in str(scatter(12, colour=value, name="age").svg)
    assert figures.GREY in str(scatter(12, colour=np.full(12, np.nan), name="age").svg)


def test_histogram__bars_have_the_counts_heights():
    seen = {}

    def draw(axes):
        edges, counts = np.linspace(0, 1, 5), np.array([1.0, 0, 3, 9])
        plots.histogram(axes, edges, counts, label="x", what="rows")
        seen["bars"] = [(b.get_x(), b.get_height()) for b in axes.patches]

    figures.figure("h", draw, alt="a", caption="c")
    assert seen["bars"] == [(0, 1), (0.25, 0), (0.5, 3), (0.75, 9)]


def test_qq__points_band_and_diagonal():
    points = pd.DataFrame(
        {"expected": [0.1, 1, 2], "observed": [0.1, 1.2, 6], "low": [0, 0.5, 1], "high": [1, 2, 3]}
    )
    seen = {}

    def draw(axes):
        plots.qq(axes, points)
        seen["dots"] = axes.collections[-1].get_offsets().tolist()
        seen["line"] = axes.lines[0].get_xydata().tolist()

    figures.figure("q", draw, alt="a", caption="c")
    assert seen["dots"] == points[["expected", "observed"]].to_numpy().tolist()
    assert seen["line"] == [[0, 0], [2, 2]]


def test_scree__bars_in_per_cent():
    seen = {}

    def draw(axes):
        plots.scree(axes, np.array([0.5, 0.25]))
        seen["bars"] = [b.get_height() for b in axes.patches]

    figures.figure("x", draw, alt="a", caption="c")
    assert seen["bars"] == [50, 25]


def colour_of(text, name):
    return re.search(rf"--{name}: (#[0-9a-f]{{6}})", text)[1]


def contrast(one, two):
    """WCAG 2's ratio of relative luminances."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    bright, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_colours__contrast_in_light_and_dark():
    from importlib import resources

    css = resources.files("geneai_spark.report").joinpath("page.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    for scheme in (light, dark):
        for back in ("page", "card"):
            for text in ("ink", "muted", "link"):
                assert contrast(colour_of(scheme, text), colour_of(scheme, back)) >= 4.5
        assert contrast(colour_of(scheme, "warn"), colour_of(scheme, "warn-back")) >= 4.5
        for mark in (figures.BLUE, figures.GREY, figures.ORANGE, *figures.CATEGORIES):
            assert contrast(mark, colour_of(scheme, "card")) >= 3, mark
