"""Principal components of samples, from standardised doses.

A variant's doses less their mean, over sqrt(2 p (1 - p)) with p = mean / 2, missing ones 0 (Price
and others 2006, doi:10.1038/ng1847; Patterson and others 2006): X, (variants, samples). Scores
are those of the textbook on its transpose: what scikit-learn's full decomposition gives.

Rows of X lie spread over the cluster, and X'X (samples, samples) is never made: block Lanczos
with a random start and full orthogonalisation (Musco and Musco 2015, arXiv:1504.05477: best of the
randomised methods per pass) needs only Y = X'(X Q) for thin Q (samples, 2 k), a sum over
variants. It stops when the eigenvectors' residuals are below a tolerance, so accuracy is known,
not hoped for. Everything is in double precision; sums over partitions differ by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, IntegerType, LongType, StructField, StructType
from scipy import linalg

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Matrix

MAX_PASSES = 100
FEW_PARTIALS = 32  # sums of partitions that the driver adds up itself

_PARTIAL = StructType(
    [
        StructField("part", IntegerType()),
        StructField("records", LongType()),
        StructField("sum", BinaryType()),
    ]
)
Terms: TypeAlias = Iterator[tuple[int, Matrix]]  # records, and a flat array of what is summed


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
        doses: from ``doses.pack`` or ``doses.subset``; read some ten times, so better held.
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
    V, AV = newest, np.empty((n, 0))  # (samples, columns): the basis, and X'X times it
    small = np.empty((0, 0))  # V'X'X V, (columns, columns)
    groups, passes = _groups(doses), 0
    while True:
        product = _times(doses, n, newest, groups)
        passes += 1
        AV = np.hstack([AV, product.sum])
        small = _bordered(small, V.T @ product.sum)
        columns = V.shape[1]
        values, vectors = linalg.eigh(small, subset_by_index=[max(0, columns - k), columns - 1])
        values, vectors = values[::-1], vectors[:, ::-1]  # falling, (columns, k)
        if len(values) < k or values[-1] <= 1e-12 * values[0]:
            raise InputError(
                f"{k} components: only {int((values > 1e-12 * values[0]).sum())} have variance "
                f"({product.variants:,} variants that vary, {n:,} samples)"
            )
        unit = V @ vectors  # (samples, k)
        residuals = np.linalg.norm(AV @ vectors - unit * values, axis=0) / values
        if residuals.max() <= tolerance:
            break
        newest = _rest(product.sum, V, values[0])
        if newest.shape[1] == 0:  # the basis spans all that X'X can reach
            break
        if passes == MAX_PASSES:
            raise InputError(
                f"{k} components: after {passes} passes the residual is {residuals.max():.1e}, "
                f"not {tolerance:.0e}: take a larger tolerance or more oversample"
            )
        V = np.hstack([V, newest])
    scores = unit * np.sqrt(values)
    return Components(
        scores * _signs(scores),
        np.sqrt(values),
        product.total,
        product.variants,
        passes,
        float(residuals.max()),
    )


def loadings(doses: DataFrame, n: int, found: Components) -> DataFrame:
    """Give what projects samples: rows of ``features_pca_loadings``, variants that vary only.

    Args:
        doses: as ``fit`` had.
        n: samples that it has.
        found: what ``fit`` gave.
    """
    schema = tables.PCA_LOADINGS.schema
    arrow = to_arrow_schema(schema)
    right = found.scores / np.square(found.singular_values)  # (samples, k): u / s

    def loaded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch, x, mean, scale in _standardised(batches, n):
            columns = {name: batch.column(name) for name in packing.KEYS}
            alts = columns.pop("alternateAlleles")
            columns["alternateAllele"] = pc.list_element(alts, 0)
            columns["mean"], columns["scale"] = pa.array(mean), pa.array(scale)
            columns["loadings"] = _lists(x @ right)
            yield pa.RecordBatch.from_pydict(columns).select(arrow.names).cast(arrow)

    return doses.mapInArrow(loaded, schema)


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

    def scored(batches: Iterable[pa.RecordBatch]) -> Terms:
        for block in packing.slices(batches, _step(n)):
            found = packing.planes(block.column("doses"))
            mean, scale = (block.column(c).to_numpy() for c in ("mean", "scale"))
            x = packing.standardised(found, n, mean, scale)  # (records, n)
            weights = block.column("loadings").flatten().to_numpy()
            yield len(x), x.T @ weights.reshape(len(x), -1)

    used, sums = _add_up(joined.select("doses", "mean", "scale", "loadings"), scored, 8)
    if not min_matched * wanted <= used <= wanted or not used:
        raise InputError(f"projection: {used:,} matches of the {wanted:,} variants with loadings")
    return sums.reshape(n, len(first[0]))


@dataclass(frozen=True)
class _Product:
    """``sum``: X'(X Q), (samples, columns); ``total``: sum of squares of X; ``variants`` of X."""

    sum: Matrix
    total: float
    variants: int


def _times(doses: DataFrame, n: int, Q: Matrix, groups: int) -> _Product:
    """Multiply X'X with Q (samples, columns) in one pass over the doses."""

    def multiplied(batches: Iterable[pa.RecordBatch]) -> Terms:
        for _, x, _, _ in _standardised(batches, n):  # (records, samples)
            product = x.T @ (x @ Q)  # einsum vs,vt,tc->sc: variant, sample, column
            yield len(x), np.append(product.ravel(), np.vdot(x, x))

    variants, sums = _add_up(doses.select("doses"), multiplied, groups)
    if not variants:
        raise InputError("principal components: no variant varies among the samples")
    return _Product(sums[:-1].reshape(Q.shape), float(sums[-1]), variants)


def _standardised(
    batches: Iterable[pa.RecordBatch], n: int
) -> Iterator[tuple[pa.RecordBatch, Matrix, Matrix, Matrix]]:
    """Give blocks of variants that vary: their rows, X (records, n), means and scales."""
    for block in packing.slices(batches, _step(n)):
        found = packing.planes(block.column("doses"))
        mean, scale = packing.moments(packing.counts(found, n))
        varies = scale > 0
        if not varies.all():
            block, found = block.filter(pa.array(varies)), found[varies]
            mean, scale = mean[varies], scale[varies]
        if len(found):
            yield block, packing.standardised(found, n, mean, scale), mean, scale


def _add_up(
    df: DataFrame, terms: Callable[[Iterable[pa.RecordBatch]], Terms], groups: int = 0
) -> tuple[int, Matrix]:
    """Sum what ``terms`` gives over all of ``df``, always in the order of its partitions.

    A partition adds its own up; with ``groups`` tasks add many partitions' sums up before the
    driver sees them.
    """

    def partial(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _row(packing.partition(), terms(batches))

    def together(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in packing.slices(batches, 1) for row in batch.to_pylist())
        yield from _row(packing.partition(), _sums(rows))

    sums = df.mapInArrow(partial, _PARTIAL)
    if groups:
        sums = sums.repartitionById(groups, F.col("part") % groups)
        sums = sums.sortWithinPartitions("part").mapInArrow(together, _PARTIAL)
    rows = sorted((row.asDict() for row in sums.collect()), key=lambda row: int(row["part"]))
    records, total = 0, np.empty(0)
    for more, term in _sums(rows):
        records, total = records + more, total + term if records else term
    return records, total


def _sums(rows: Iterable[dict[str, Any]]) -> Terms:
    return ((row["records"], np.frombuffer(row["sum"])) for row in rows)


def _row(part: int, terms: Terms) -> Iterator[pa.RecordBatch]:
    """Give the sum of terms as a row; none where there are no terms."""
    records, total = 0, np.empty(0)
    for more, term in terms:
        total = np.add(total, term, out=total) if records else np.array(term)
        records += more
    if records:
        row = {"part": part, "records": records, "sum": total.tobytes()}
        yield pa.RecordBatch.from_pylist([row], to_arrow_schema(_PARTIAL))


def _groups(doses: DataFrame) -> int:
    """How many groups partitions' sums need: none where the driver can take all of them."""
    parts = doses.select(F.spark_partition_id().alias("part")).distinct().count()
    return math.isqrt(parts) if parts > FEW_PARTIALS else 0


def _bordered(small: Matrix, border: Matrix) -> Matrix:
    """Grow a symmetric matrix by its new columns: ``border`` is (old + new, new)."""
    old = len(small)
    grown = np.empty((len(border), len(border)))
    grown[:old, :old], grown[:old, old:], grown[old:, :old] = small, border[:old], border[:old].T
    grown[old:, old:] = (border[old:] + border[old:].T) / 2
    return grown


def _rest(image: Matrix, V: Matrix, largest: float) -> Matrix:
    """Give an orthonormal basis of what of ``image`` (samples, columns) V does not span."""
    for _ in range(2):  # twice is enough (Parlett)
        image = image - V @ (V.T @ image)
    basis, triangle = np.linalg.qr(image)
    left, sizes, _ = np.linalg.svd(triangle)  # small: tells directions that are rounding alone
    return np.asarray(basis @ left[:, sizes > 1e-10 * largest])


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
