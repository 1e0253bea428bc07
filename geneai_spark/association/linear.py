"""Linear association: one least-squares test for each ALT allele and trait.

The model is trait = intercept + covariates + effect x dosage + noise, ordinary least squares, and
the p-value a two-sided t test of the effect; ``least_squares`` says how. What is done about
missing data, so that a result equals the textbook's regression:

* samples are matched by id; one without genotypes, or without any covariate, is left out;
* a sample without the trait is left out of that trait's tests (traits that lack the same samples
  share the work), so n and the degrees of freedom are exact;
* a sample without the genotype is left out of that variant's tests, or takes the mean dosage of
  the variant among the samples tested: ``missing_genotypes``;
* a multi-allelic record gives a row per ALT allele, each with its own dosage (copies of that
  allele; a haploid genotype has 0 or 1); an allele that does not vary, or that the covariates
  explain, has null results.

A p-value below about 1e-308 is stored as 0: rank such rows by ``statistic``. A trait that an
allele explains wholly has error 0, an infinite statistic and p-value 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import genotypes, tables
from geneai_spark.association import glow_engine, least_squares
from geneai_spark.association.design import Design, design
from geneai_spark.association.least_squares import Integers, Tests
from geneai_spark.errors import InputError, TableError
from geneai_spark.stored import Computed, Rows

KEYS = ["contigName", "start", "end", "cohort", "names", "referenceAllele", "alternateAlleles"]
ENGINES = ("numpy", "glow")
MISSING_GENOTYPES = ("drop", "mean")

SLICE_BYTES = 16 << 20  # of packed genotypes that are decoded at once
SLICE_ROWS = 1 << 16  # of results that are made at once

Tester = Callable[[npt.NDArray[np.int8], Integers, Integers], Tests]


def linear(
    variants: Rows,
    sample_ids: Sequence[str],
    phenotypes: pd.DataFrame,
    *,
    traits: Sequence[str],
    covariates: Sequence[str] = (),
    rows: Integers | None = None,
    missing_genotypes: str = "drop",
    engine: str = "auto",
) -> DataFrame:
    """Test every ALT allele of one cohort against every trait.

    Args:
        variants: the ``variants`` table, one cohort, with genotypes.
        sample_ids: the cohort's samples in the order of the packed genotypes.
        phenotypes: indexed by sample id; columns hold traits and covariates, NaN is missing.
        traits: columns to test.
        covariates: columns to adjust for; an intercept is always there.
        rows: positions of the samples to use; default: all.
        missing_genotypes: ``drop`` leaves a sample out of the tests of a variant that it has no
            genotype of (complete cases, as plink2 --glm and textbooks do); ``mean`` puts the
            variant's mean dosage (as REGENIE, Hail and Glow do).
        engine: ``numpy`` is ours, ``glow`` the kernel of Glow's Python layer, for comparison: it
            knows ``mean`` only. ``auto``: numpy, which is the faster one.

    Returns:
        Rows of the ``associations`` table with ``test`` = linear.

    Raises:
        InputError: an unknown column, engine or rule for missing genotypes, a column that is not
            numeric, linearly dependent covariates, too few samples.
        TableError: ``variants`` has no genotypes.
    """
    designs = design(sample_ids, phenotypes, traits, covariates, rows)
    made = computed(
        variants, len(sample_ids), designs, missing_genotypes=missing_genotypes, engine=engine
    )
    return made.frame()


def computed(
    variants: Rows,
    n_samples: int,
    designs: Sequence[Design],
    *,
    missing_genotypes: str = "drop",
    engine: str = "auto",
) -> Computed:
    """As :func:`linear`, of designs made before; to be written by the tasks that test."""
    needed = [*KEYS, "call_genotype", "call_ploidy"]
    if missing := [name for name in needed if name not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    check(missing_genotypes, engine)
    plan = least_squares.plan(designs, n_samples)
    schema = tables.ASSOCIATIONS.schema
    arrow = to_arrow_schema(schema)

    names = plan.traits
    test: Tester = partial(least_squares.test, plan=plan, mean=missing_genotypes == "mean")
    if engine == "glow":
        test = partial(glow_engine.test, designs=designs)

    def tests(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for block in _slices(batch, len(names)):
                yield _results(block, n_samples, names, test).select(arrow.names).cast(arrow)

    return Computed(variants.select(needed), tests, schema)


def check(missing_genotypes: str, engine: str) -> None:
    """Raise InputError where the two options are unknown or do not go together."""
    if engine not in ("auto", *ENGINES):
        raise InputError(f"engine {engine!r} is unknown: choose of auto, {', '.join(ENGINES)}")
    if missing_genotypes not in MISSING_GENOTYPES:
        raise InputError(
            f"missing_genotypes {missing_genotypes!r} is unknown: "
            f"choose of {', '.join(MISSING_GENOTYPES)}"
        )
    if engine == "glow" and missing_genotypes != "mean":
        raise InputError(
            "engine glow always puts the mean for missing genotypes: "
            "say missing_genotypes=mean with it, or take engine numpy"
        )


def _slices(batch: pa.RecordBatch, n_traits: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch into slices of bounded bytes of genotypes and numbers of results."""
    if not batch.num_rows:
        return
    per_record = max(1, batch.column("call_genotype").nbytes // batch.num_rows)
    step = max(1, min(SLICE_BYTES // per_record, SLICE_ROWS // n_traits))
    for first in range(0, batch.num_rows, step):
        block = batch.slice(first, step)
        if pc.sum(pc.list_value_length(block.column("alternateAlleles"))).as_py():
            yield block  # else there is no ALT allele in it


def _results(
    block: pa.RecordBatch, n_samples: int, traits: Sequence[str], test: Tester
) -> pa.RecordBatch:
    """Test a block of records: a row for each ALT allele and trait."""
    decoded = genotypes.calls(block.column("call_genotype"), n_samples, block.column("call_ploidy"))
    n_alts = pc.list_value_length(block.column("alternateAlleles")).fill_null(0).to_numpy()
    record = np.repeat(np.arange(len(n_alts)), n_alts)  # (tests,)
    first = np.cumsum(n_alts) - n_alts
    allele = np.arange(len(record)) - first[record] + 1  # (tests,)
    found = test(decoded, record, allele)
    of_test = np.repeat(np.arange(len(record)), len(traits))  # (rows,)
    of_trait = np.tile(np.arange(len(traits)), len(record))
    records = block.select(KEYS).take(pa.array(record[of_test]))
    alts = pc.list_flatten(block.column("alternateAlleles"))  # one a test, in this order
    return pa.RecordBatch.from_pydict(
        {name: records.column(name) for name in KEYS[:-1]}
        | {
            "alternateAllele": alts.take(pa.array(of_test)),
            "trait": pa.array(traits, pa.string()).take(pa.array(of_trait)),
            "test": pa.repeat(pa.scalar("linear"), len(of_test)),
            "effect": _nullable(found.effect),
            "standardError": _nullable(found.standard_error),
            "statistic": _nullable(found.statistic),
            "pValue": _nullable(found.p_value),
            "sampleCount": pa.array(found.sample_count.ravel(), pa.int32()),
            "alleleFrequency": _nullable(found.frequency),
        }
    )


def _nullable(values: npt.NDArray[np.float64]) -> pa.DoubleArray:
    """NaN becomes null."""
    return pa.array(values.ravel(), pa.float64(), from_pandas=True)
