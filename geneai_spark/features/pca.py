"""Principal components of samples, from standardised doses.

A variant's doses less their mean, over sqrt(2 p (1 - p)) with p = mean / 2, missing ones 0 (Price
and others 2006, doi:10.1038/ng1847; Patterson and others 2006): X, (variants, samples). Scores
are those of the textbook on its transpose: what scikit-learn's full decomposition gives.

Block Lanczos with a random start and full orthogonalisation (Musco and Musco 2015,
arXiv:1504.05477: best of the randomised methods per pass) needs only Y = X'(X Q) for thin Q
(samples, 2 k). It stops when the eigenvectors' residuals are below a tolerance, so accuracy is
known, not hoped for. Rows of X lie spread over the cluster. Of up to ``MAX_GRAM`` samples X'X is
made in one pass, and the driver multiplies with it; of more it is never made: each Y is a pass, a
sum over variants. Everything is in double precision; sums over partitions differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from scipy import linalg
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Matrix
from geneai_spark.stored import Computed
from geneai_spark.tasks import GROUPS, Batches, fold

MAX_PASSES = 100
MAX_GRAM = 3000  # samples: their X'X has 72 MB, and costs less to make than some 20 passes
GRAM_BYTES = 16 << 20  # of X, at once
DRIVER_BYTES = 256 << 20  # of X'X of all tasks, which the driver adds up itself
_BLOCK = 256

Terms: TypeAlias = Iterator[tuple[int, Matrix]]  # records, and an array of what is summed


@dataclass(frozen=True)
class Components:
    """The first k principal components.

    Attributes:
        scores: (samples, k), coordinates of the samples. A column's largest entry is positive.
        singular_values: (k,), of X, falling.
        total: sum of squares of X: of all its squared singular values.
        variants: how many vary, so took part.
        passes: how often the doses were read.
        residual: largest norm of X'X u - s^2 u over s^2, u the unit score vectors.
    """

    scores: Matrix
    singular_values: Matrix
    total: float
    variants: int
    passes: int
    residual: float

    @property
    def eigenvalues(self) -> Matrix:
        """Variances of the scores, (k,)."""
        return np.square(self.singular_values) / (len(self.scores) - 1)

    @property
    def explained(self) -> Matrix:
        """Shares of the total variance, (k,)."""
        return np.square(self.singular_values) / self.total


def fit(
    doses: DataFrame,
    n: int,
    *,
    k: int = 10,
    oversample: int = 10,
    tolerance: float = 1e-7,
    seed: int = 42,
) -> Components:
    """Find the first ``k`` principal components.

    Args:
        doses: from ``doses.pack`` or ``doses.subset``; read ``Components.passes`` times, so better
            held.
        n: samples that it has.
        k: components, at most one less than samples and no more than variants that vary.
        oversample: further columns of a block: more work a pass, fewer passes.
        tolerance: largest relative residual of a component; scores are about as accurate where
            eigenvalues are apart, eigenvalues far more.
        seed: of the random start.

    Raises:
        InputError: fewer than k components have variance, or ``MAX_PASSES`` are not enough.
    """
    width = min(k + oversample, n)
    if not 0 < k < n:
        raise InputError(f"{k} components of {n} samples: expected 1 to {n - 1}")
    start = np.random.default_rng(seed).standard_normal((n, width))
    newest, _ = np.linalg.qr(start)
    with threadpool_limits(1):  # these matrices are small: a second thread would only wait, busily
        return _lanczos(doses, n, newest, k, tolerance)


def _lanczos(doses: DataFrame, n: int, newest: Matrix, k: int, tolerance: float) -> Components:
    """Find components from a start, orthonormal columns ``newest``, (samples, columns).

    With full orthogonalisation X'X V = V small + what is left of the newest columns' image, which
    is therefore all that residuals need: X'X V itself is not kept.
    """
    basis: list[Matrix] = []  # V by blocks of columns, each (samples, columns)
    small = np.empty((0, 0))  # V'X'X V, (columns, columns)
    tasks, passes = _tasks(doses), 0
    whole = _gram(doses, n, tasks) if n <= MAX_GRAM else None
    if whole is not None:
        tolerance = min(tolerance, 1e-7)  # costs next to nothing
    while True:
        basis.append(newest)
        if whole is None:
            product = _times(doses, n, newest, tasks)
        else:
            product = replace(whole, sum=whole.sum @ newest)
        passes += 1
        small = _bordered(small, np.vstack([block.T @ product.sum for block in basis]))
        columns = len(small)
        values, vectors = linalg.eigh(small, subset_by_index=[max(0, columns - k), columns - 1])
        values, vectors = values[::-1], vectors[:, ::-1]  # falling, (columns, k)
        if len(values) < k or values[-1] <= 1e-12 * values[0]:
            raise InputError(
                f"{k} components: only {int((values > 1e-12 * values[0]).sum())} have variance "
                f"({product.variants:,} variants that vary, {n:,} samples)"
            )
        left = _left(product.sum, basis)
        residuals = np.linalg.norm(left @ vectors[-newest.shape[1] :], axis=0) / values
        if residuals.max() <= tolerance:
            break
        newest = _directions(left, values[0])
        if newest.shape[1] == 0:  # the basis spans all that X'X can reach
            break
        if passes == MAX_PASSES:
            raise InputError(
                f"{k} components: after {passes} passes the residual is {residuals.max():.1e}, "
                f"not {tolerance:.0e}: take a larger tolerance or more oversample"
            )
    parts = np.split(vectors, np.cumsum([block.shape[1] for block in basis])[:-1])
    unit = sum(block @ part for block, part in zip(basis, parts, strict=True))  # (samples, k)
    scores = unit * np.sqrt(values)
    return Components(
        scores * _signs(scores),
        np.sqrt(values),
        product.total,
        product.variants,
        passes if whole is None else 1,
        float(residuals.max()),
    )


def loadings(doses: DataFrame, n: int, found: Components) -> Computed:
    """Give what projects samples: rows of ``features_pca_loadings``, variants that vary only.

    Args:
        doses: as ``fit`` had.
        n: samples that it has.
        found: what ``fit`` gave.
    """
    schema = tables.PCA_LOADINGS.schema
    arrow = to_arrow_schema(schema)
    right = found.scores / np.square(found.singular_values)  # (samples, k): u / s

    def loaded(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch, x, mean, scale in _standardised(batches, n):
            columns = {name: batch.column(name) for name in packing.KEYS}
            alts = columns.pop("alternateAlleles")
            columns["alternateAllele"] = pc.list_element(alts, 0)
            columns["mean"], columns["scale"] = pa.array(mean), pa.array(scale)
            columns["loadings"] = _lists(x @ right)
            yield pa.RecordBatch.from_pydict(columns).select(arrow.names).cast(arrow)

    return Computed(doses, loaded, schema)


def project(doses: DataFrame, n: int, loadings: DataFrame, *, min_matched: float = 1.0) -> Matrix:
    """Give the scores of samples, those of the fit or others: (n, k).

    Args:
        doses: from ``doses.pack`` for the samples, of the cohort of the fit or another one;
            missing doses take the mean that the fit had.
        n: samples that it has.
        loadings: rows of ``features_pca_loadings``, of one cohort. Variants are matched by place
            and alleles.
        min_matched: least share of the loadings' variants that ``doses`` must have. One that it
            lacks counts as missing in all samples, which draws scores towards 0.

    Raises:
        InputError: too few of the variants are in ``doses``, or some are there twice.
    """
    wanted, first = loadings.count(), loadings.select("loadings").first()
    if first is None:
        raise InputError("projection: no loadings")
    place = ["contigName", "start", "referenceAllele", "alternateAllele"]
    own = loadings.select(*place, "mean", "scale", "loadings")
    alt = F.col("alternateAlleles")[0].alias("alternateAllele")
    joined = doses.select(*place[:3], alt, "doses").join(own, place, how="inner")

    def scored(batches: Batches) -> Terms:
        for block in packing.slices(batches, _step(n)):
            found = packing.planes(block.column("doses"))
            mean, scale = (block.column(c).to_numpy() for c in ("mean", "scale"))
            x = packing.standardised(found, n, mean, scale)  # (records, n)
            weights = block.column("loadings").flatten().to_numpy()
            yield len(x), x.T @ weights.reshape(len(x), -1)

    used, sums = _add_up(joined.select("doses", "mean", "scale", "loadings"), scored)
    if not min_matched * wanted <= used <= wanted or not used:
        raise InputError(f"projection: {used:,} matches of the {wanted:,} variants with loadings")
    return sums.reshape(n, len(first[0]))


@dataclass(frozen=True)
class _Product:
    """``sum``: X'(X Q), (samples, columns); ``total``: sum of squares of X; ``variants`` of X."""

    sum: Matrix
    total: float
    variants: int


def _times(doses: DataFrame, n: int, Q: Matrix, tasks: int) -> _Product:
    """Multiply X'X with Q (samples, columns) in one pass over the doses."""

    def multiplied(batches: Batches) -> Terms:
        for _, x, _, _ in _standardised(batches, n):  # (records, samples)
            thin = np.ascontiguousarray((x @ Q).T)  # (columns, records)
            product = thin @ x  # X'(X Q), transposed: twice as fast as x.T @ thin.T
            yield len(x), np.append(product.ravel(), np.vdot(x, x))

    variants, sums = _add_up(doses.select("doses"), multiplied, tasks=tasks)
    if not variants:
        raise InputError(NOTHING_VARIES)
    return _Product(sums[:-1].reshape(Q.shape[::-1]).T, float(sums[-1]), variants)


def _gram(doses: DataFrame, n: int, tasks: int) -> _Product:
    """X'X, (samples, samples), in one pass over the doses."""
    step = max(1, GRAM_BYTES // (8 * n))

    def multiplied(batches: Batches) -> Terms:
        records, total = 0, np.zeros((n, n), order="F")
        for _, x, _, _ in _standardised(batches, n, step):  # (records, samples)
            total = blas.dsyrk(1.0, x.T, beta=1.0, c=total, overwrite_c=1)  # its upper triangle
            records += len(x)
        if records:
            yield records, _upper(total)

    few = max(1, min(GROUPS, DRIVER_BYTES // (8 * n * n)))  # matrices that the driver adds up
    tell = tasks if tasks <= few else None
    chosen = doses.select("doses")
    variants, upper = _add_up(chosen, multiplied, tasks=tell, groups=few)
    if not variants:
        raise InputError(NOTHING_VARIES)
    whole = _whole(upper, n)
    return _Product(whole, float(np.trace(whole)), variants)


def _upper(symmetric: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The blocks on and above the diagonal, which alone are looked at, one after another, flat."""
    n = len(symmetric)
    blocks = (symmetric[i : i + _BLOCK, i:] for i in range(0, n, _BLOCK))
    return np.concatenate([block.ravel() for block in blocks])


def _whole(upper: Matrix, n: int) -> Matrix:
    """Undo :func:`_upper`, (n, n)."""
    whole, at = np.empty((n, n)), 0
    for i in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - i)
        block = upper[at : at + rows * (n - i)].reshape(rows, n - i)
        at += block.size
        diagonal = np.triu(block[:, :rows])
        whole[i : i + rows, i:], whole[i:, i : i + rows] = block, block.T
        whole[i : i + rows, i : i + rows] = diagonal + np.triu(diagonal, 1).T
    return whole


NOTHING_VARIES = "principal components: no variant varies among the samples"


def _standardised(
    batches: Batches, n: int, step: int | None = None
) -> Iterator[tuple[pa.RecordBatch, Matrix, Matrix, Matrix]]:
    """Give blocks of variants that vary: their rows, X (records, n), means and scales."""
    for block in packing.slices(batches, step or _step(n)):
        found = packing.planes(block.column("doses"))
        mean, scale = packing.moments(packing.counts(found, n))
        varies = scale > 0
        if not varies.all():
            block, found = block.filter(pa.array(varies)), found[varies]
            mean, scale = mean[varies], scale[varies]
        if len(found):
            yield block, packing.standardised(found, n, mean, scale), mean, scale


def _add_up(
    df: DataFrame,
    terms: Callable[[Batches], Terms],
    *,
    tasks: int | None = None,
    groups: int = GROUPS,
) -> tuple[int, Matrix]:
    """Sum what ``terms`` gives over all of ``df``, always in the order of its partitions."""

    def added(batches: Batches) -> tuple[int, Matrix] | None:
        records, total = 0, np.empty(0)
        for more, term in terms(batches):
            total = np.add(total, term, out=total) if records else term
            records += more
        return (records, total) if records else None

    def merged(one: tuple[int, Matrix], other: tuple[int, Matrix]) -> tuple[int, Matrix]:
        return one[0] + other[0], one[1] + other[1]

    return fold(df, added, merged, tasks=tasks, groups=groups) or (0, np.empty(0))


def _tasks(doses: DataFrame) -> int:
    """How many tasks a pass has."""
    return doses.select(F.spark_partition_id().alias("part")).distinct().count()


def _bordered(small: Matrix, border: Matrix) -> Matrix:
    """Grow a symmetric matrix by its new columns: ``border`` is (old + new, new)."""
    old = len(small)
    grown = np.empty((len(border), len(border)))
    grown[:old, :old], grown[:old, old:], grown[old:, :old] = small, border[:old], border[:old].T
    grown[old:, old:] = (border[old:] + border[old:].T) / 2
    return grown


def _left(image: Matrix, basis: Sequence[Matrix]) -> Matrix:
    """Give what of ``image`` (samples, columns) the basis does not span."""
    for _ in range(2):  # twice is enough (Parlett)
        image = image - sum(block @ (block.T @ image) for block in basis)
    return image


def _directions(left: Matrix, largest: float) -> Matrix:
    """Give an orthonormal basis of ``left``, without directions that are rounding alone."""
    basis, triangle = np.linalg.qr(left)
    turned, sizes, _ = np.linalg.svd(triangle)  # small
    return np.asarray(basis @ turned[:, sizes > 1e-10 * largest])


def _signs(scores: Matrix) -> Matrix:
    """Give 1 or -1 for each component, so that its largest score is positive, (k,).

    Of scores as good as equally large the first sample's counts: rounding must not decide.
    """
    sizes = np.abs(scores)
    first = np.argmax(sizes >= (1 - 1e-6) * sizes.max(axis=0), axis=0)
    signs: Matrix = np.sign(scores[first, np.arange(scores.shape[1])])
    return signs


def _step(n: int) -> int:
    """Records of a block: X of it, doubles, has ``BLOCK_BYTES``."""
    return max(1, packing.BLOCK_BYTES // (8 * n))


def _lists(matrix: Matrix) -> pa.ListArray:
    """Make each row a list."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))
