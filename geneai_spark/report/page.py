"""The report of a cohort: one HTML file that needs nothing else, not even a network.

The page forbids itself scripts and requests (Content-Security-Policy), so that what it shows is
what the file holds. The same tables give the same bytes, but for the time it was written.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import groupby

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark import tables
from geneai_spark.report import blocks
from geneai_spark.report.blocks import Block, Grid, Note, Numbers, Section, count
from geneai_spark.report.figures import Figure
from geneai_spark.report.sections import (
    association,
    inputs,
    models,
    quality,
    reads,
    runs,
    structure,
)
from geneai_spark.report.study import Options, Study


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        html: the whole file.
        figures: how many it holds.
        traits: the traits that it shows results of.
    """

    html: str
    figures: int
    traits: tuple[str, ...]


def build(
    spark: SparkSession,
    warehouse: str,
    options: Options,
    *,
    written: datetime.datetime | None = None,
) -> Page:
    """Make the report of a cohort from what its tables hold; what was not run is said.

    Args:
        spark: the session.
        warehouse: URI of the tables.
        options: cohort, traits (None: all tested), title, colour_by (a trait that colours the
            principal components), sample_ids (whether ids may be shown), top (strongest tests
            listed), threshold (genome-wide significance).
        written: the time to state; default: now.

    Raises:
        TableError: no such cohort, or a table differs from its declaration.
        InputError: ``colour_by`` is not a trait of the cohort.
    """
    study = Study(spark, warehouse, options)
    chosen = association.scans(study)
    sections = [
        inputs.inputs(study),
        *reads.read_quality(study),
        quality.variant_quality(study),
        quality.sample_quality(study),
        structure.structure(study),
        association.association(study, chosen),
        *models.models(study),
        runs.runs(study),
        runs.versions(study),
    ]
    tested = tuple(dict.fromkeys(trait for trait, test in chosen if test is not None))
    cohort = study.hide(options.cohort)
    time = (written or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)
    html = render(
        sections,
        title=options.title or f"Genomic study of cohort {cohort}",
        cohort=cohort,
        written=f"{time:%Y-%m-%d %H:%M:%S} UTC",
        software=f"GeneAI on Spark {geneai_spark.__version__}",
        numbers=_numbers(study, tested),
        private=not options.sample_ids,
        simulated=[trait for trait in tested if trait.startswith(association.SIMULATED)],
    )
    figures = sum(isinstance(block, Figure) for block in _blocks(sections))
    return Page(html, figures, tested)


def render(sections: list[Section], **values: object) -> str:
    """Fill the template."""
    here = resources.files("geneai_spark.report")
    names = [section.name for section in _all(sections)]
    names += [b.name for b in _blocks(sections) if isinstance(b, Figure | Grid) and b.name]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"ids that stand twice in the page: {', '.join(twice)}")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = prose
    environment.filters["together"] = together
    environment.tests["figures"] = lambda x: isinstance(x, list)
    for kind in (Note, Numbers, Grid):
        environment.tests[kind.__name__.lower()] = lambda x, kind=kind: isinstance(x, kind)
    template = environment.from_string(here.joinpath("page.html").read_text("utf-8"))
    css = Markup(here.joinpath("page.css").read_text("utf-8"))
    return template.render(sections=sections, css=css, **values) + "\n"


def prose(text: str) -> Markup:
    """Escape a text; what stands in backticks is code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def together(blocks: list[Block]) -> list[Block | list[Figure]]:
    """Put neighbouring figures into lists: they stand side by side."""
    grouped: list[Block | list[Figure]] = []
    for drawn, group in groupby(blocks, lambda block: isinstance(block, Figure)):
        found = list(group)
        grouped += [[f for f in found if isinstance(f, Figure)]] if drawn else found
    return grouped


def _all(sections: list[Section]) -> Iterator[Section]:
    for section in sections:
        yield section
        yield from _all(section.parts)


def _blocks(sections: list[Section]) -> Iterator[Block]:
    for section in _all(sections):
        yield from section.blocks


def _numbers(study: Study, tested: tuple[str, ...]) -> Numbers:
    """The cohort in a row of figures; what does not exist is a dash."""
    found: list[tuple[str, str]] = []
    for table, what in (
        (tables.SAMPLES, "samples"),
        (tables.VARIANTS, "variants"),
    ):
        df = study.table(table)
        found.append((blocks.ABSENT if df is None else count(df.count()), what))
    for quality_table, what in (
        (tables.VARIANT_QUALITY, "variants passed all checks"),
        (tables.SAMPLE_QUALITY, "samples passed all checks"),
    ):
        total, flagged = study.flagged(quality_table)
        found.append((count(total - flagged if total else None), what))
    found.append((count(len(tested)), "traits tested"))
    return Numbers(found)
