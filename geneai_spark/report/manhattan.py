"""The Manhattan picture of a scan: -log10 p along the genome."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from geneai_spark.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENOME_WIDE = 5e-8
SMALLEST = 1e-300  # a p-value of 0 is drawn here
_COLOURS = (figures.BLUE, figures.GREY)  # telling neighbours apart


class Region(NamedTuple):
    """A stretch of one contig, drawn ``shift`` bases to the left of its true place."""

    contig: str
    first: int
    last: int
    shift: float


def draw(
    points: pd.DataFrame,
    path: str | Path,
    *,
    title: str,
    causal: Sequence[tuple[str, int]] = (),
    threshold: float = GENOME_WIDE,
    label: int = 5,
) -> Path:
    """Draw a Manhattan picture and write it as PNG.

    Args:
        points: see :func:`plot`.
        path: the file to write; its folder is made.
        title: one line; say here that a trait is simulated.
        causal: see :func:`plot`.
        threshold: p-value of the dashed line.
        label: see :func:`plot`.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no display
    from matplotlib.figure import Figure

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with figures.style():
        figure = Figure(figsize=(11, 5), dpi=figures.DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        plot(axes, points, causal=causal, threshold=threshold, label=label)
        axes.set_title(title, loc="left", fontsize=12.5, pad=12)
        figure.savefig(path)
    return path


def plot(
    axes: Axes,
    points: pd.DataFrame,
    *,
    causal: Sequence[tuple[str, int]] = (),
    threshold: float = GENOME_WIDE,
    label: int = 5,
) -> None:
    """Draw the tests of one trait along the genome.

    Args:
        axes: where to draw.
        points: tests with columns contigName, start (0-based), pValue and, for labels, names.
            Bounded: see ``association.summary.points``. Null p-values are left out.
        causal: (contig, start) of variants known to be causal, ringed in red.
        threshold: p-value of the dashed line.
        label: how many causal variants, or else of the strongest above the line, get a name; of
            neighbours the stronger one.
    """
    data = points.dropna(subset=["pValue"]).copy()
    data["y"] = -np.log10(data["pValue"].clip(lower=SMALLEST))
    data["x"] = 0.0
    line = -np.log10(threshold)
    regions = _regions(data)
    for i, region in enumerate(regions):
        own = (data["contigName"] == region.contig) & data["start"].between(*region[1:3])
        data.loc[own, "x"] = data.loc[own, "start"] - region.shift
        colour = _COLOURS[i % 2] if len({r.contig for r in regions}) > 1 else _COLOURS[0]
        dots = data[own]
        axes.scatter(
            dots["x"],
            dots["y"],
            s=12,
            color=colour,
            linewidths=0,
            alpha=0.85,
            rasterized=figures.dense(data),
        )
    axes.margins(x=0.02)
    _name_places(axes, regions)
    axes.axhline(line, color=figures.MUTED, linewidth=1, linestyle="--")
    axes.annotate(
        f"p = {threshold:.0e}".replace("e-0", "e-"),
        (1, line),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=figures.MUTED,
        annotation_clip=False,
    )
    places = pd.MultiIndex.from_frame(data[["contigName", "start"]])
    planted = data[places.isin(list(causal))]
    if causal:
        axes.scatter(
            planted["x"],
            planted["y"],
            s=75,
            facecolors="none",
            edgecolors=figures.RED,
            linewidths=1.8,
            label="causal (planted)",
            zorder=3,
        )
        axes.legend(loc="upper left", framealpha=1, fontsize=9.5)
    named = planted if causal else data[data["y"] > line]
    axes.set_ylim(0, 1.1 * max(data["y"].max() if len(data) else 0, line))
    _name_hits(axes, named, label, figures.RED if causal else figures.INK, peaks=not causal)
    axes.set_ylabel("−log₁₀ p", fontsize=11)


def filename(trait: str) -> str:
    """Name a trait's picture: ``manhattan_<trait>.png``, safe for any file system."""
    return f"manhattan_{re.sub(r'[^A-Za-z0-9_.-]+', '_', trait)}.png"


def _regions(data: pd.DataFrame) -> list[Region]:
    """Lay contigs side by side; cut one contig where a quarter of it or more is empty."""
    contigs = sorted(data["contigName"].unique(), key=_natural)
    spans: list[tuple[str, int, int]] = []
    for contig in contigs:
        starts = np.sort(data.loc[data["contigName"] == contig, "start"].to_numpy())
        empty = np.diff(starts) > 0.25 * max(starts[-1] - starts[0], 1)
        cuts = np.flatnonzero(empty & (len(contigs) == 1) & (len(starts) >= 20)) + 1
        spans += [(contig, int(part[0]), int(part[-1])) for part in np.split(starts, cuts)]
    gap = 0.01 * sum(last - first + 1 for _, first, last in spans) * (3 - 2 * (len(contigs) > 1))
    regions, place = [], 0.0
    for contig, first, last in spans:
        regions.append(Region(contig, first, last, first - place))
        place += last - first + 1 + gap
    return regions


def _name_places(axes: Axes, regions: Sequence[Region]) -> None:
    """Label the x axis: contig names, or million bases where there is one contig only."""
    from matplotlib.ticker import MaxNLocator

    contigs = {region.contig for region in regions}
    if len(contigs) != 1:
        middles = [(r.first + r.last) / 2 - r.shift for r in regions]
        axes.set_xticks(middles, [r.contig for r in regions], fontsize=9)
        axes.set_xlabel("contig", fontsize=11)
        return
    whole = sum(r.last - r.first + 1 for r in regions)
    at, text = [], []
    for i, r in enumerate(regions):
        share = (r.last - r.first + 1) / whole
        ticks = MaxNLocator(max(1, round(8 * share))).tick_values(r.first + 1, r.last + 1)
        ticks = [t for t in ticks if r.first < t <= r.last + 1] if share > 0.2 else []
        for t in ticks or [(r.first + r.last) / 2 + 1]:
            at.append(t - 1 - r.shift)
            text.append(f"{t / 1e6:.2f}")
        if i:  # a cut in the axis
            border = (r.first - r.shift + regions[i - 1].last - regions[i - 1].shift) / 2
            axes.axvline(border, color=figures.MUTED, linewidth=1, linestyle=":")
    axes.set_xticks(at, text, fontsize=9)
    cut = " (dotted: an empty stretch left out)" if len(regions) > 1 else ""
    axes.set_xlabel(f"position on contig {regions[0].contig}, million bases{cut}", fontsize=11)


def _name_hits(axes: Axes, hits: pd.DataFrame, most: int, colour: str, *, peaks: bool) -> None:
    """Write the names of the strongest hits beside them, none over another's.

    Args:
        axes: where to write, its limits set.
        hits: columns x, y and what ``_name`` needs.
        most: how many names.
        colour: of the names.
        peaks: whether a peak gets one name, or every hit.
    """
    (left, right), top = axes.get_xlim(), axes.get_ylim()[1]
    taken: list[tuple[float, float]] = []
    for row in hits.sort_values(["y", "x"], ascending=[False, True]).to_dict("records"):
        place = ((row["x"] - left) / (right - left), row["y"] / top)
        if len(taken) == most:
            break
        apart = [(abs(place[0] - x), abs(place[1] - y)) for x, y in taken]
        if any((dx < 0.12 and dy < 0.045) or (peaks and dx < 0.012) for dx, dy in apart):
            continue
        taken.append(place)
        late = place[0] > 0.85
        axes.annotate(
            _name(row),
            (row["x"], row["y"]),
            xytext=(-9 if late else 9, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="center",
            fontsize=9,
            color=colour,
        )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Order contigs as people do: 2 before 10 before X."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _name(row: dict[Any, Any]) -> str:
    """Name a variant: its first id, else contig:position."""
    names = row.get("names")
    if isinstance(names, list | np.ndarray | tuple) and len(names):
        return str(names[0])
    return f"{row['contigName']}:{row['start'] + 1}"
