# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"
"""Compiled loops of the linear test; ``least_squares`` documents what they compute."""

from __future__ import annotations

import numba
import numpy as np

#: A basis vector or dosage of which less than this share is its own is explained by the others.
EXPLAINED = 1e-10
#: Below this share, what was left after subtracting is summed up anew, to lose no digits.
DELICATE = 1e-5


@numba.njit(cache=True, nogil=True)
def dosages(decoded, record, allele, x):
    """Copies of ``allele[i]`` in ``record[i]`` into ``x[i]``, 0 where missing.

    Args:
        decoded: allele indices, (records, samples, ploidy).
        record, allele: what to count, (tests,).
        x: filled, float64, (tests, samples).

    Returns:
        Samples with a missing allele, (tests,); samples that lack an allele (haploids), (tests,).
    """
    samples, ploidy = decoded.shape[1:]
    missing = np.zeros(len(record), np.int64)
    haploid = np.zeros(len(record), np.int64)
    for i in range(len(record)):
        one, wanted = decoded[record[i]], allele[i]
        gone, short = np.int32(0), np.int32(0)
        if ploidy == 2:  # branchless: the compiler makes vector instructions of it
            for s in range(samples):
                a, b = one[s, 0], one[s, 1]
                known = np.int32((a >= 0) & (b != -1))
                gone += np.int32(1) - known
                short += np.int32(b == -2)
                x[i, s] = np.float64(known * (np.int32(a == wanted) + np.int32(b == wanted)))
        else:
            for s in range(samples):
                copies, known, whole = 0, one[s, 0] >= 0, True
                for p in range(ploidy):
                    copies += one[s, p] == wanted
                    known &= one[s, p] != -1
                    whole &= one[s, p] != -2
                gone += np.int32(not known)
                short += np.int32(not whole)
                x[i, s] = copies if known else 0
        missing[i], haploid[i] = gone, short
    return missing, haploid


@numba.njit(cache=True, nogil=True)
def missing_samples(decoded, record, starts):
    """Positions of samples with a missing allele: those of test i at ``starts[i]`` and on."""
    samples, ploidy = decoded.shape[1:]
    where = np.empty(starts[-1], np.int32)
    for i in range(len(record)):
        at = starts[i]
        if starts[i + 1] > at:
            for s in range(samples):
                known = decoded[record[i], s, 0] >= 0
                for p in range(1, ploidy):
                    known &= decoded[record[i], s, p] != -1
                if not known:
                    where[at] = s
                    at += 1
    return where


@numba.njit(cache=True, nogil=True)
def alleles(decoded, record):
    """Alleles of each sample, 0 where one is missing: float64 (tests, samples)."""
    samples, ploidy = decoded.shape[1:]
    out = np.empty((len(record), samples))
    for i in range(len(record)):
        for s in range(samples):
            n, known = 0, decoded[record[i], s, 0] >= 0
            for p in range(ploidy):
                known &= decoded[record[i], s, p] != -1
                n += decoded[record[i], s, p] != -2
            out[i, s] = n if known else 0
    return out


@numba.njit(cache=True, nogil=True)
def solve(product, squares, starts, where, weights, sizes, basis_at, trait_at, scale, mean):
    """Finish the tests of a block; see ``least_squares`` for the algebra.

    Args:
        product: dosages @ weights, (tests, columns).
        squares: sum of squared dosages of each design's samples, (tests, designs).
        starts, where: missing samples, see ``missing_samples``.
        weights: (samples, columns): the designs' indicators, then each one's basis and traits.
        sizes: samples of each design, (designs,).
        basis_at: first column of each design's basis, then the end, (designs + 1,).
        trait_at: first column of each design's traits, (designs,).
        scale: length of the residual traits, which have unit length in ``weights``, (traits,).
        mean: put the mean for missing genotypes, instead of leaving the samples out.

    Returns:
        Samples that have a genotype, int32 (tests, designs); and float64 (4, tests, traits):
        effect, standard error, t, degrees of freedom, NaN where there is no test.
    """
    tests, designs = squares.shape
    known = np.empty((tests, designs), np.int32)
    out = np.full((4, tests, len(scale)), np.nan)
    gone = np.zeros(len(weights), np.bool_)
    for i in range(tests):
        lost = where[starts[i] : starts[i + 1]]
        gone[lost] = True
        first = 0
        for d in range(designs):
            b, t, end = basis_at[d], trait_at[d], basis_at[d + 1]
            n_lost = 0
            for s in lost:
                n_lost += weights[s, d] != 0
            known[i, d] = sizes[d] - n_lost
            freedom = sizes[d] - (t - b) - 1
            q, y, square = product[i, b:t], product[i, t:end], squares[i, d]
            at, own = (d, b, t, end), out[:, i, first : first + end - t]
            units = scale[first : first + end - t]
            if n_lost == 0:
                _test(square, q, y, freedom, units, own)
            elif mean and known[i, d] > 0:
                centre = product[i, d] / known[i, d]
                _test_mean(square, q, y, centre, n_lost, lost, weights, at, freedom, units, own)
            elif not mean and freedom > n_lost:
                few = 2 * n_lost > sizes[d]
                left = freedom - n_lost
                _test_complete(square, q, y, lost, gone, few, weights, at, left, units, own)
            first += end - t
        gone[lost] = False
    return known, out


@numba.njit(cache=True, nogil=True)
def _test(square, q, y, freedom, units, out):
    """Nothing missing: the basis is orthonormal, and residual traits have unit length."""
    xx = square
    for j in range(len(q)):
        xx -= q[j] * q[j]
    if xx > EXPLAINED * square:
        for t in range(len(y)):
            _finish(xx, y[t], 1.0, freedom, units[t], out[:, t])


@numba.njit(cache=True, nogil=True)
def _test_mean(square, q, y, centre, n_lost, lost, weights, at, freedom, units, out):
    """The mean dosage ``centre`` for each missing one: adds to every sum over samples."""
    d, b, t, end = at
    q, y = q.copy(), y.copy()
    for s in lost:
        if weights[s, d] != 0:
            q += centre * weights[s, b:t]
            y += centre * weights[s, t:end]
    _test(square + centre * centre * n_lost, q, y, freedom, units, out)


@numba.njit(cache=True, nogil=True)
def _test_complete(square, q, y, lost, gone, few, weights, at, freedom, units, out):
    """Complete cases: the sums of the normal equations less those of the samples ``lost``."""
    k, n_traits = len(q), len(y)
    gram, cross, own_y = np.eye(k), np.zeros((k, n_traits)), np.ones(n_traits)
    fits = False
    if not few:
        for s in lost:
            _add(weights[s], at, -1.0, gram, cross, own_y)
        fits = _cholesky(gram, DELICATE) and own_y.min() > DELICATE
    if not fits:  # few samples are left, or one that is not decides: sum up what is left
        gram[:], cross[:], own_y[:] = 0.0, 0.0, 0.0
        for s in range(len(gone)):
            if not gone[s]:
                _add(weights[s], at, 1.0, gram, cross, own_y)
        if not _cholesky(gram, EXPLAINED):
            return  # without these samples the covariates are linearly dependent
    u = _forward(gram, q)
    xx = square - (u * u).sum()
    if not xx > EXPLAINED * square:
        return
    for t in range(n_traits):
        v = _forward(gram, cross[:, t])
        yy = own_y[t] - (v * v).sum()
        if yy > EXPLAINED * own_y[t]:
            _finish(xx, y[t] - (u * v).sum(), yy, freedom, units[t], out[:, t])


@numba.njit(cache=True, nogil=True)
def _add(row, at, sign, gram, cross, own_y):
    """Add one sample's products to the sums (gram's lower half), if it is of the design."""
    d, b, t, end = at
    if row[d] == 0:
        return
    for j in range(t - b):
        a = sign * row[b + j]
        for m in range(j + 1):
            gram[j, m] += a * row[b + m]
        for m in range(end - t):
            cross[j, m] += a * row[t + m]
    for m in range(end - t):
        own_y[m] += sign * row[t + m] ** 2


@numba.njit(cache=True, nogil=True)
def _cholesky(gram, least):
    """Factorise in place (lower triangle); False where a pivot is below ``least``.

    ``gram[0, 0]``, of the intercept, is the share of samples left: what a pivot is measured by.
    """
    limit = least * gram[0, 0]
    for j in range(len(gram)):
        for m in range(j + 1):
            value = gram[j, m]
            for i in range(m):
                value -= gram[j, i] * gram[m, i]
            if m < j:
                gram[j, m] = value / gram[m, m]
            elif value > limit:
                gram[j, j] = np.sqrt(value)
            else:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _forward(lower, b):
    """Solve lower @ u = b."""
    u = np.empty(len(b))
    for j in range(len(b)):
        value = b[j]
        for m in range(j):
            value -= lower[j, m] * u[m]
        u[j] = value / lower[j, j]
    return u


@numba.njit(cache=True, nogil=True)
def _finish(xx, xy, yy, freedom, unit, out):
    """Effect, standard error, t and degrees of freedom from what the covariates leave."""
    effect = xy / xx
    residual = max(yy - effect * xy, 0.0)
    error = np.sqrt(residual / freedom / xx)
    out[0], out[1], out[3] = effect * unit, error * unit, freedom
    out[2] = effect / error if error > 0 else np.sign(effect) * np.inf
