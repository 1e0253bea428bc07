"""Linear association: one least-squares test for each ALT allele and trait.

The model is trait = intercept + covariates + effect x dosage + noise, ordinary least squares, and
the p-value a two-sided t test of the effect. Per block of variants the covariates are projected
out of dosages and traits (Frisch-Waugh-Lovell), as in REGENIE's step 2.

What is done about missing data, so that a result equals the textbook's regression:

* samples are matched by id; one without genotypes, or without any covariate, is left out;
* a sample without the trait is left out of that trait's tests (traits that lack the same samples
  are tested together), so n and the degrees of freedom are exact;
* a missing genotype takes the mean dosage of the variant among the samples tested;
* a multi-allelic record gives a row per ALT allele, each with its own dosage (copies of that
  allele); an allele that does not vary, or that the covariates explain, has null results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from scipy import stats

from geneai_spark import genotypes, tables
from geneai_spark.errors import InputError, TableError

Matrix = npt.NDArray[np.float64]

BLOCK_BYTES = 4 << 20  # of dosages as float64: fits the cache, and a few such live at once
KEYS = ["contigName", "start", "end", "cohort", "names", "referenceAllele", "alternateAlleles"]


@dataclass(frozen=True)
class Design:
    """Traits that the same samples have, with those samples' covariates.

    Attributes:
        rows: positions of the samples in the packed genotypes, shape (samples,).
        names: the traits.
        traits: values, shape (samples, traits), nothing missing.
        basis: orthonormal basis of intercept and covariates, shape (samples, 1 + covariates).
    """

    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    traits: Matrix
    basis: Matrix

    @property
    def freedom(self) -> int:
        """Degrees of freedom that the test of one effect leaves."""
        return self.basis.shape[0] - self.basis.shape[1] - 1


class Tests(NamedTuple):
    """Results of a block, each of shape (traits, variants)."""

    effect: Matrix
    standard_error: Matrix
    statistic: Matrix
    p_value: Matrix


Engine = Callable[[Matrix, Design], Tests]


def linear(
    variants: DataFrame,
    sample_ids: Sequence[str],
    phenotypes: pd.DataFrame,
    *,
    traits: Sequence[str],
    covariates: Sequence[str] = (),
    engine: str = "auto",
) -> DataFrame:
    """Test every ALT allele of one cohort against every trait.

    Args:
        variants: the ``variants`` table, one cohort, with genotypes.
        sample_ids: the cohort's samples in the order of the packed genotypes.
        phenotypes: indexed by sample id; columns hold traits and covariates, NaN is missing.
        traits: columns to test.
        covariates: columns to adjust for; an intercept is always there.
        engine: a name of ``ENGINES``, or ``auto``: glow where it is installed, else numpy.

    Returns:
        Rows of the ``associations`` table with ``test`` = linear.

    Raises:
        InputError: an unknown column or engine, a column that is not numeric, linearly dependent
            covariates, too few samples.
        TableError: ``variants`` has no genotypes.
    """
    needed = [*KEYS, "call_genotype", "call_ploidy"]
    if missing := [name for name in needed if name not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    if engine == "auto":  # glow.py has no release for NumPy 2, so none for Python 3.13
        engine = "glow" if find_spec("glow") else "numpy"
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown: choose of auto, {', '.join(ENGINES)}")
    designs = design(sample_ids, phenotypes, traits, covariates)
    schema = tables.ASSOCIATIONS.schema
    arrow = to_arrow_schema(schema)
    n_samples = len(sample_ids)
    step = max(1, BLOCK_BYTES // (8 * max(n_samples, 1)))

    def test(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for first in range(0, batch.num_rows, step):
                block = batch.slice(first, step)
                for tested in _test_block(block, n_samples, designs, ENGINES[engine]):
                    yield tested.select(arrow.names).cast(arrow)

    return variants.select(needed).mapInArrow(test, schema)


def pivot(traits: DataFrame, cohort: str, names: Sequence[str]) -> pd.DataFrame:
    """Give numeric traits of the ``traits`` table as columns, indexed by sample id.

    Raises:
        InputError: a name that no sample of the cohort has a number for.
    """
    chosen = traits.where(F.col("cohort") == cohort).where(F.col("trait").isin(list(names)))
    long = chosen.where(F.col("value").isNotNull()).select("sampleId", "trait", "value").toPandas()
    known = set(long["trait"])
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"cohort {cohort!r} has no numeric trait {', '.join(unknown)}")
    return long.pivot(index="sampleId", columns="trait", values="value")[list(names)]


def design(
    sample_ids: Sequence[str],
    phenotypes: pd.DataFrame,
    traits: Sequence[str],
    covariates: Sequence[str] = (),
) -> list[Design]:
    """Match samples by id and group traits by the samples that have them; see ``linear``."""
    names = list(dict.fromkeys(traits))
    if not names:
        raise InputError("no trait to test")
    for name in [*names, *covariates]:
        if name not in phenotypes.columns:
            raise InputError(f"no trait or covariate {name!r}")
        if not pd.api.types.is_numeric_dtype(phenotypes[name]):
            raise InputError(f"{name!r} is not numeric")
    if phenotypes.index.has_duplicates:
        raise InputError("a sample stands more than once among the traits")
    matched = phenotypes.reindex(list(sample_ids))
    values = matched[names].to_numpy(np.float64)  # (samples, traits)
    adjust = matched[list(covariates)].to_numpy(np.float64)  # (samples, covariates)
    usable = np.isfinite(values) & np.isfinite(adjust).all(axis=1)[:, None]
    groups: dict[bytes, list[int]] = {}
    for t in range(len(names)):
        groups.setdefault(usable[:, t].tobytes(), []).append(t)
    designs = []
    for members in groups.values():
        rows = np.flatnonzero(usable[:, members[0]])
        named = tuple(names[t] for t in members)
        basis = _basis(adjust[rows], covariates, named)
        designs.append(Design(rows, named, values[np.ix_(rows, np.array(members))], basis))
    return designs


def _basis(adjust: Matrix, covariates: Sequence[str], traits: Sequence[str]) -> Matrix:
    """Give an orthonormal basis of the intercept and the covariates."""
    n, k = adjust.shape
    if n < k + 3:
        raise InputError(
            f"{', '.join(traits)}: {n} samples have genotypes, trait and covariates; "
            f"at least {k + 3} are needed"
        )
    spread = adjust.std(axis=0)
    if (spread == 0).any():
        constant = covariates[int(np.flatnonzero(spread == 0)[0])]
        raise InputError(f"covariate {constant!r} has one value in all samples tested")
    standard = (adjust - adjust.mean(axis=0)) / spread
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(n), standard]))
    dependent = np.abs(np.diag(triangle)) < 1e-9 * np.sqrt(n)
    if dependent.any():
        name = covariates[int(np.flatnonzero(dependent)[0]) - 1]
        raise InputError(f"covariate {name!r} is a linear combination of those before it")
    return np.asarray(basis)


def _test_block(
    block: pa.RecordBatch, n_samples: int, designs: Sequence[Design], engine: Engine
) -> Iterator[pa.RecordBatch]:
    """Test a block of records: one batch of rows for each ALT number and design."""
    decoded = genotypes.calls(block.column("call_genotype"), n_samples, block.column("call_ploidy"))
    n_alts = pc.list_value_length(block.column("alternateAlleles")).fill_null(0).to_numpy()
    for allele in range(1, int(n_alts.max(initial=0)) + 1):
        having = np.flatnonzero(n_alts >= allele)
        records = block.take(pa.array(having))
        alts = pc.list_element(records.column("alternateAlleles"), allele - 1)
        keys = {name: records.column(name) for name in KEYS[:-1]} | {"alternateAllele": alts}
        own = decoded if len(having) == len(decoded) else decoded[having]
        for one in designs:
            x, frequency = _dosages(own, allele, one.rows)
            tests = _untestable_to_nan(engine(x, one), x, one)
            for t, trait in enumerate(one.names):
                yield pa.RecordBatch.from_pydict(
                    keys
                    | {
                        "trait": pa.array([trait] * len(having), pa.string()),
                        "test": pa.array(["linear"] * len(having), pa.string()),
                        "effect": _nullable(tests.effect[t]),
                        "standardError": _nullable(tests.standard_error[t]),
                        "statistic": _nullable(tests.statistic[t]),
                        "pValue": _nullable(tests.p_value[t]),
                        "sampleCount": pa.array(np.full(len(having), len(one.rows), np.int32)),
                        "alleleFrequency": _nullable(frequency),
                    }
                )


def _dosages(
    own: npt.NDArray[Any], allele: int, rows: npt.NDArray[np.int64]
) -> tuple[Matrix, Matrix]:
    """Give mean-imputed dosages (samples tested, records), and the allele's frequency in them."""
    dosages = genotypes.dosages(own, allele)[:, rows]  # (records, samples tested)
    x = dosages.T.astype(np.float64)
    least = own.min(initial=0)
    if least >= 0:  # the usual record: nothing missing, one ploidy
        return x, x.mean(axis=0) / own.shape[2]
    missing = np.isnan(x)
    x[missing] = 0
    total, known = x.sum(axis=0), len(rows) - missing.sum(axis=0)
    x += np.where(missing, _ratio(total, known), 0)
    if least == genotypes.MISSING:
        return x, _ratio(total, known * own.shape[2])
    copies = (own[:, rows] >= 0).sum(axis=2).T  # alleles a sample has
    return x, _ratio(total, (copies * ~missing).sum(axis=0))


def _untestable_to_nan(tests: Tests, x: Matrix, one: Design) -> Tests:
    """Blank the variants whose dosage intercept and covariates explain (all but) fully."""
    total = np.einsum("sg,sg->g", x, x)
    explained = np.square(one.basis.T @ x).sum(axis=0)
    bad = ~(total - explained > 1e-10 * total)  # also where the dosage is NaN: no genotype at all
    blanked = (np.where(bad | ~np.isfinite(values), np.nan, values) for values in tests)
    return Tests(*blanked)


def _ratio(part: Matrix, whole: npt.NDArray[Any]) -> Matrix:
    """Divide; NaN where nothing is there to divide by."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _nullable(values: Matrix) -> pa.DoubleArray:
    """NaN becomes null."""
    return pa.array(values, pa.float64(), from_pandas=True)


def glow_engine(x: Matrix, one: Design) -> Tests:
    """Test a block with the kernel of Glow's Python layer (glow.py 2.1; no JVM jar needed).

    Glow approximates where traits are missing; ``design`` leaves it nothing missing.

    Args:
        x: dosages, shape (samples, variants), nothing missing.
        one: traits and covariates of the same samples.
    """
    from glow.gwas import lin_reg  # heavy: only where tests run

    y = one.traits - one.traits.mean(axis=0)
    y -= one.basis @ (one.basis.T @ y)
    scale = np.sqrt(np.square(y).sum(axis=0) / (y.shape[0] - one.basis.shape[1]))
    mask = np.ones_like(y)
    with np.errstate(all="ignore"):
        y = y / scale
        frame = pd.DataFrame({lin_reg._VALUES_COLUMN_NAME: list(x.T)})
        out = lin_reg._linear_regression_inner(
            frame,
            lin_reg.YState(y, np.square(y).sum(axis=0)),
            mask,
            scale,
            one.basis,
            one.freedom,
            pd.Series(one.names),
            None,
            False,
            None,
        )
    shape = (len(one.names), x.shape[1])
    columns = ("effect", "stderror", "tvalue", "pvalue")
    return Tests(*(out[name].to_numpy(np.float64).reshape(shape) for name in columns))


def numpy_engine(x: Matrix, one: Design) -> Tests:
    """Test a block in plain NumPy: the textbook's formula after Frisch-Waugh-Lovell.

    Args:
        x: dosages, shape (samples, variants), nothing missing.
        one: traits and covariates of the same samples.
    """
    x = x - one.basis @ (one.basis.T @ x)
    y = one.traits - one.basis @ (one.basis.T @ one.traits)
    xx = np.square(x).sum(axis=0)  # (variants,)
    yy = np.square(y).sum(axis=0)[:, None]  # (traits, 1)
    with np.errstate(all="ignore"):  # variants that do not vary become NaN
        effect = (y.T @ x) / xx  # (traits, variants)
        residual = np.maximum(yy - np.square(effect) * xx, 0)
        error = np.sqrt(residual / one.freedom / xx)
        statistic = effect / error
    return Tests(effect, error, statistic, 2 * stats.t.sf(np.abs(statistic), one.freedom))


ENGINES: Mapping[str, Engine] = {"glow": glow_engine, "numpy": numpy_engine}
