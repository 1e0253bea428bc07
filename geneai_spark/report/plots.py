"""What is drawn on axes, from arrays that are small: see ``reduce`` for how they become so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from geneai_spark.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Vector = npt.NDArray[np.float64]


def histogram(
    axes: Axes,
    edges: Vector,
    counts: Vector,
    *,
    label: str,
    what: str,
    line: float | None = None,
    expected: Vector | None = None,
    log: bool = False,
) -> None:
    """Draw counts between edges.

    Args:
        axes: where to draw.
        edges: ascending, shape (bins + 1,).
        counts: shape (bins,).
        label: of the x axis.
        what: what is counted, in the plural.
        line: a threshold, drawn dashed.
        expected: counts expected, drawn as a line, shape (bins,).
        log: counts on a logarithmic axis, for tails.
    """
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=figures.BLUE, linewidth=0)
    if expected is not None:
        axes.stairs(expected, edges, color=figures.ORANGE, linewidth=1.6, label="expected")
        axes.legend(loc="upper right")
    if line is not None:
        axes.axvline(line, color=figures.MUTED, linewidth=1, linestyle="--")
    if log:
        axes.set_yscale("log")
        axes.set_ylim(0.7, max(10.0, 2 * float(counts.max(initial=1))))
    axes.set_xlim(edges[0], edges[-1])
    if expected is not None:  # a long empty tail says nothing
        used = np.flatnonzero((counts > 0) | (expected >= 1))
        axes.set_xlim(right=edges[min(used.max(initial=0) + 2, len(edges) - 1)])
    axes.set_xlabel(label)
    axes.set_ylabel(what)
    _counts(axes)


def qq(axes: Axes, points: pd.DataFrame) -> None:
    """Draw observed against expected -log10 p, with the 95 % band of the null.

    Args:
        axes: where to draw.
        points: columns expected, observed, low, high, ascending; see ``association.summary.qq``.
    """
    x = points["expected"].to_numpy()
    low, high = points["low"].to_numpy(), points["high"].to_numpy()
    axes.fill_between(
        x, low, high, color=figures.GREY, alpha=0.3, linewidth=0, label="95 % band, no association"
    )
    top = float(x.max(initial=1.0))
    axes.plot([0, top], [0, top], color=figures.MUTED, linewidth=1)
    axes.scatter(
        x,
        points["observed"],
        s=10,
        color=figures.BLUE,
        linewidths=0,
        rasterized=figures.dense(points),
        zorder=3,
    )
    axes.set_xlim(0, 1.03 * top)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("expected −log₁₀ p")
    axes.set_ylabel("observed −log₁₀ p")
    axes.legend(loc="upper left")


def scatter(
    axes: Axes,
    x: Vector,
    y: Vector,
    *,
    labels: tuple[str, str],
    colour: Sequence[str] | Vector | None = None,
    name: str = "",
    order: Sequence[str] = (),
) -> None:
    """Draw points, coloured by a number or by words.

    Args:
        axes: where to draw.
        x: shape (points,).
        y: shape (points,).
        labels: of the axes.
        colour: a number (NaN: none) or a word a point, shape (points,).
        name: what the colour means.
        order: the words, as the legend names them; colours go by it.
    """
    pixels = figures.dense(x)
    size = 22.0 if len(x) < 500 else 12.0 if not pixels else 6.0
    alpha = 0.6 if pixels else 0.9
    axes.grid(True, axis="both")
    if colour is None:
        axes.scatter(x, y, s=size, color=figures.BLUE, alpha=alpha, linewidths=0, rasterized=pixels)
    elif len(order):
        words = np.asarray(colour, dtype=object)
        for i, word in enumerate(order):
            own = words == word
            axes.scatter(
                x[own],
                y[own],
                s=size,
                color=figures.CATEGORIES[i % len(figures.CATEGORIES)],
                alpha=alpha,
                linewidths=0,
                rasterized=pixels,
                label=word,
            )
        axes.legend(title=name, loc="best", markerscale=1.4)
    else:
        _by_number(axes, x, y, np.asarray(colour, np.float64), name, size)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def _by_number(axes: Axes, x: Vector, y: Vector, value: Vector, name: str, size: float) -> None:
    known, pixels = np.isfinite(value), figures.dense(x)
    axes.scatter(
        x[~known], y[~known], s=size, color=figures.GREY, alpha=0.4, linewidths=0, rasterized=pixels
    )
    low, high = np.percentile(value[known], [1, 99]) if known.any() else (0.0, 1.0)
    drawn = axes.scatter(
        x[known],
        y[known],
        s=size,
        c=value[known],
        cmap="viridis",
        vmin=low,
        vmax=high if high > low else low + 1,
        alpha=0.85,
        linewidths=0,
        rasterized=pixels,
    )
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label(name)
    bar.outline.set_visible(False)


def qualities(axes: Axes, percentiles: Sequence[Vector], mean: Vector) -> None:
    """Draw quality by position in the read.

    Args:
        axes: where to draw.
        percentiles: 10th, 25th, 50th, 75th, 90th, each of shape (positions,).
        mean: shape (positions,).
    """
    x = np.arange(1, len(mean) + 1)
    low, lower, median, upper, high = percentiles
    for one, other, alpha, label in (
        (low, high, 0.2, "10th to 90th percentile"),
        (lower, upper, 0.45, "quartiles"),
    ):
        axes.fill_between(x, one, other, color=figures.BLUE, alpha=alpha, linewidth=0, label=label)
    axes.plot(x, median, color=figures.BLUE, linewidth=1.6, label="median")
    axes.plot(x, mean, color=figures.ORANGE, linewidth=1.2, label="mean")
    axes.set_xlim(1, max(2, len(mean)))
    axes.set_ylim(0, max(42.0, float(high.max(initial=0)) + 1))
    axes.set_xlabel("position in the read")
    axes.set_ylabel("quality (Phred)")
    axes.legend(loc="lower left")


def curves(
    axes: Axes, series: Mapping[str, Vector], *, labels: tuple[str, str], line: float
) -> None:
    """Draw points with intervals, joined.

    Args:
        axes: where to draw.
        series: name -> x, y, low, high, shape (4, points); NaN where there is no interval.
        labels: of the axes.
        line: what chance is, drawn dashed.
    """
    aside = 0.012 * max(float(x.max()) for x, *_ in series.values())
    for i, (name, (at, y, low, high)) in enumerate(series.items()):
        colour = figures.CATEGORIES[i % len(figures.CATEGORIES)]
        x = at + aside * (i - (len(series) - 1) / 2)  # intervals beside each other
        known = np.isfinite(low) & np.isfinite(high)
        axes.vlines(x[known], low[known], high[known], color=colour, linewidth=1.2)
        axes.plot(x, y, color=colour, marker="o", markersize=5, linewidth=1.6, label=name)
    axes.axhline(line, color=figures.MUTED, linewidth=1, linestyle="--")
    axes.set_xlim(left=0)
    axes.margins(y=0.2)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(loc="upper left")


def strips(
    axes: Axes, series: Mapping[str, tuple[Vector, float]], *, label: str, line: float
) -> None:
    """Draw values of permuted labels as dots, a strip a name, and what was observed.

    Args:
        axes: where to draw.
        series: name -> values of shape (permutations,), the observed one.
        label: of the x axis.
        line: what chance is, drawn dashed.
    """
    axes.grid(True, axis="x")
    for place, (null, observed) in enumerate(series.values()):
        first = place == 0
        axes.scatter(
            null,
            np.full(len(null), place),
            s=22,
            color=figures.BLUE,
            alpha=0.55,
            linewidths=0,
            label="permuted labels" if first else None,
        )
        axes.scatter(
            [observed],
            [place],
            s=90,
            marker="|",
            color=figures.ORANGE,
            linewidths=3,
            label="true labels" if first else None,
        )
    axes.axvline(line, color=figures.MUTED, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(series)), list(series))
    axes.set_ylim(len(series) - 0.5, -1.1)  # the first on top, below the legend
    axes.set_xlabel(label)
    axes.legend(loc="upper center", ncols=2)


def scree(axes: Axes, shares: Vector) -> None:
    """Draw the share of the variance that each component explains, shape (components,)."""
    numbers = np.arange(1, len(shares) + 1)
    axes.bar(numbers, 100 * shares, 0.7, color=figures.BLUE, linewidth=0)
    axes.set_xticks(numbers if len(numbers) <= 12 else numbers[::2])
    axes.set_xlabel("principal component")
    axes.set_ylabel("variance explained, %")


def _counts(axes: Axes) -> None:
    """Write counts as people do, 12,000, and powers of ten where the axis is logarithmic."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
