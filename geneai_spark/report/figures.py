"""Figures as SVG that stands inside a page: the same bytes each time, colours of the page.

Text stays text (found by search, read by screen readers) and is drawn in the reader's font; the
colours of text, axes and grid become the page's CSS variables, so a figure follows light, dark and
print. Layers with many points are pixels inside the SVG (``dense``), which bounds its size.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#1d2733", "#5b6672", "#e3e7eb"  # text, axes, grid; variables in a page
SURFACE = "#fefefe"  # what lies behind marks
# Marks: contrast of 3 or more against the light and the dark page; told apart without red-green.
BLUE, GREY, ORANGE, RED = "#3a76b0", "#7a8ca3", "#c8742c", "#d1495b"
CATEGORIES = (BLUE, ORANGE, "#2f8f7f", "#a35fa8", RED, "#8a7a2c", "#5a6fd0", "#9c5f45")
DENSE = 2_000  # points beyond which a layer is drawn as pixels
DPI = 150

_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", SURFACE: "var(--card)"}
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib; a page draws in its own font
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.edgecolor": "none",
    "legend.facecolor": SURFACE,
    "legend.fontsize": 9,
    "path.simplify": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "geneai",  # else every run invents other ids
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: what its ids in the page begin with; once a page.
        svg: the drawing.
        alt: what is seen, for who does not see it.
        caption: what it says, and how to read it.
        wide: whether it takes the page's whole width.
    """

    name: str
    svg: Markup
    alt: str
    caption: str
    wide: bool = False


@contextmanager
def style() -> Iterator[None]:
    """Draw inside the block as all figures are drawn; nothing outside is changed."""
    import matplotlib as mpl

    settings: Any = {**mpl.rcParamsDefault, **_STYLE}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # a name in another script: the reader's own font has the letters
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        warnings.filterwarnings("ignore", category=mpl.MatplotlibDeprecationWarning)
        yield


def figure(
    name: str,
    draw: Callable[[Axes], None],
    *,
    alt: str,
    caption: str,
    size: tuple[float, float] = (5.4, 3.5),
) -> Figure:
    """Make a figure.

    Args:
        name: letters, digits and hyphens; once a page.
        draw: draws on the axes it is given, see ``plots``.
        alt: what is seen.
        caption: what it says.
        size: width and height in inches; from 8 on it takes the page's whole width.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no display
    from matplotlib.figure import Figure as Canvas

    with style():
        canvas = Canvas(figsize=size, dpi=DPI, layout="constrained", facecolor="none")
        FigureCanvasAgg(canvas)
        draw(canvas.add_subplot())
        file = io.StringIO()
        canvas.savefig(file, format="svg", dpi=DPI, metadata={"Date": None})
    return Figure(name, inline(file.getvalue(), name, alt), alt, caption, size[0] >= 8)


def inline(svg: str, name: str, alt: str) -> Markup:
    """Make a whole SVG file part of a page: own ids, the page's colours, a description.

    What is left out: the XML head, the metadata and the style that would reach the whole page.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*|<style .*?</style>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    head, _, rest = body.partition(">")
    view = re.search(r'viewBox="([^"]*)"', head)
    assert view is not None
    rest = re.sub(
        r"\b(fill|stroke): (#[0-9a-f]{6})",
        lambda found: f"{found[1]}: {_VARIABLES.get(found[2], found[2])}",
        rest,
    )
    label = Markup("{}").format(alt)
    return Markup(f'<svg role="img" aria-label="{label}" viewBox="{view[1]}">{rest}')


def dense(points: Sequence[Any] | Any) -> bool:
    """Whether so many points are better drawn as pixels."""
    return len(points) > DENSE


__all__ = ["Figure", "dense", "figure", "inline", "style"]
