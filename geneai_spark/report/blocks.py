"""What a page is made of, and how numbers are written for people."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from geneai_spark.report.figures import Figure

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_RUN = re.compile(r"[^\W_]+")  # a word: letters and digits
HIDDEN = "•••"
ABSENT = "–"


@dataclass(frozen=True)
class Note:
    """A paragraph; ``warning`` sets it off."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Numbers:
    """A row of (value, what it is)."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        caption: what it shows.
        columns: headings; one that begins with ``#`` heads a column of numbers.
        rows: texts, one a column.
        note: a line below.
        name: its id in the page, so that others can point to it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    name: str = ""


Block = Note | Numbers | Grid | Figure


@dataclass
class Section:
    """A heading with what stands below it.

    Attributes:
        name: its id in the page.
        title: the heading.
        blocks: in order; neighbouring figures stand side by side where there is room.
        parts: sections of the next level.
    """

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    parts: list[Section] = field(default_factory=list)


def count(value: int | float | None) -> str:
    """Write a count: 12,345."""
    return ABSENT if value is None else f"{int(value):,}"


def counted(value: int, noun: str) -> str:
    """Write a count with its noun: 1 allele, 2 alleles."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def threshold(value: float) -> str:
    """Write a threshold as people say it: 5 × 10⁻⁸, not 5.0."""
    return p_value(value).replace(".0\u00a0", "\u00a0")


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits, and a true minus."""
    if value is None or value != value:
        return ABSENT
    if value and not 1e-4 <= abs(value) < 1e6:
        return _power(value, digits)
    return f"{value:,.{digits}g}".replace("-", "−") if abs(value) < 1e3 else f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    """Write a share: 12.3 %; nothing of nothing is a dash."""
    return f"{100 * part / whole:.1f} %" if whole else ABSENT


def p_value(value: float | None) -> str:
    """Write a p-value: 0.012, 3.4 × 10⁻⁹; one that underflowed is below what it could be."""
    if value is None or value != value:
        return ABSENT
    if value == 0:
        return "< 10⁻³⁰⁰"
    return f"{value:.3g}" if value >= 1e-3 else _power(value, 2)


def seconds(value: float) -> str:
    """Write a duration: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def allele(text: str) -> str:
    """Spell an allele; a long one by its first bases and its length."""
    return text if len(text) <= 10 else f"{text[:6]}… ({len(text):,})"


def place(contig: str, start: int) -> str:
    """Write a position, 1-based for people."""
    return f"{contig}:{start + 1:,}"


def mask(text: str, ids: Collection[str]) -> str:
    """Put dots for every sample id that stands in ``text`` as whole words.

    An id of fewer than five characters that is a number is one only in quotes: 22 is also a
    chromosome.

    Args:
        text: a file's name, a condition, a message: what people wrote.
        ids: the sample ids; a set, so that their number costs nothing.
    """
    if not ids:
        return text
    words = [(found.start(), found.end()) for found in _RUN.finditer(text)]
    shown, at, first = [], 0, 0
    while first < len(words):
        start = words[first][0]
        for last in range(len(words) - 1, first - 1, -1):  # the longest first
            end = words[last][1]
            if (spelt := text[start:end]) in ids and _is_id(spelt, text, start, end):
                shown += [text[at:start], HIDDEN]
                at, first = end, last
                break
        first += 1
    return "".join([*shown, text[at:]])


def _is_id(spelt: str, text: str, start: int, end: int) -> bool:
    if len(spelt) >= 5 or not spelt.isdigit():
        return True
    return text[max(start - 1, 0) : start] in ("'", '"') and text[end : end + 1] in ("'", '"')


def _power(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    raised = str(int(exponent)).translate(_SUPERSCRIPT)
    return f"{mantissa.replace('-', '−')}\u00a0×\u00a010{raised}"
