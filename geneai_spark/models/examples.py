"""Which samples train a model, which choose its settings, and which test it.

Relatives share long stretches of the genome, so a model that has seen one of a family is not
tested by another: families stay together. The part of a sample is a hash of its id and the seed,
not a draw: it does not change with the order of the samples, nor when others come or leave,
except through relatives, who have the part of the first of their family.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geneai_spark.errors import InputError

Integers = npt.NDArray[np.int64]

#: Folds of cross-validation are drawn apart from the split: each fold has of all its parts.
_FOLDS = b"folds"
#: And so are shares of the samples: a share has of all parts and folds.
_SHARES = b"shares"


class Split(NamedTuple):
    """Positions of samples, each part ascending; together all samples, each once."""

    train: Integers
    validation: Integers
    test: Integers


def families(n: int, pairs: Iterable[tuple[int, int]]) -> Integers:
    """Put samples together whom a chain of relatives connects, by union-find.

    Args:
        n: number of samples.
        pairs: positions of two related samples.

    Returns:
        the lowest position in each sample's family, shape (n,); its own where it has no relative.

    Raises:
        InputError: a position is not one of the ``n``.
    """
    parent = list(range(n))

    def first(sample: int) -> int:
        while parent[sample] != sample:
            parent[sample] = parent[parent[sample]]  # halves the way for the next
            sample = parent[sample]
        return sample

    for one, other in pairs:
        if not (0 <= one < n and 0 <= other < n):
            raise InputError(f"a pair of relatives names a position outside 0 to {n - 1}")
        low, high = sorted((first(one), first(other)))
        parent[high] = low
    return np.array([first(sample) for sample in range(n)], np.int64)


def split(
    sample_ids: Sequence[str],
    *,
    relatives: Iterable[tuple[int, int]] = (),
    seed: int = 0,
    validation: float = 0.15,
    test: float = 0.15,
) -> Split:
    """Give each sample to training, validation or test.

    blake2b of ``seed:id`` is a number in [0, 1), with the id that sorts first in the sample's
    family: below ``test`` it is a test sample, then for ``validation`` one of those, else it
    trains. Shares are met on average: small cohorts differ from them, and large families move
    together. A larger ``test`` keeps all test samples of a smaller one.

    Args:
        sample_ids: each sample once, in the order that positions count.
        relatives: positions of two related samples.
        seed: another seed is another split.
        validation: share of the samples to choose settings by.
        test: share of the samples to test with.

    Raises:
        InputError: a share outside 0 to 1, shares that leave nothing to train with, a sample
            twice, or relatives at positions that are not there.
    """
    if not (0 <= validation <= 1 and 0 <= test <= 1):
        raise InputError(f"validation={validation}, test={test}: shares lie between 0 and 1")
    if validation + test >= 1:
        raise InputError(f"validation={validation}, test={test}: nothing is left to train with")
    at = _uniform(sample_ids, relatives, seed, b"")
    tested = at < test
    validated = ~tested & (at < test + validation)
    return Split(*(np.flatnonzero(part) for part in (~tested & ~validated, validated, tested)))


def folds(
    sample_ids: Sequence[str],
    k: int,
    *,
    relatives: Iterable[tuple[int, int]] = (),
    seed: int = 0,
) -> Integers:
    """Give each sample its fold of a cross-validation, 0 to k - 1, by the rule of :func:`split`.

    The hash is salted otherwise: folds of the training samples are not parts of the split. Folds
    are alike in size on average only; of few samples one can be empty.

    Args:
        sample_ids: each sample once, in the order that positions count.
        k: number of folds.
        relatives: positions of two related samples.
        seed: another seed is other folds.

    Returns:
        folds, shape (samples,).

    Raises:
        InputError: fewer than two folds, a sample twice, or relatives that are not there.
    """
    if k < 2:
        raise InputError(f"k={k}: cross-validation needs two folds at least")
    return (_uniform(sample_ids, relatives, seed, _FOLDS) * k).astype(np.int64)


def places(
    sample_ids: Sequence[str], *, relatives: Iterable[tuple[int, int]] = (), seed: int = 0
) -> npt.NDArray[np.float64]:
    """Give each sample a number in [0, 1), by the rule of :func:`split`.

    The hash is salted otherwise. Samples whose number is below 0.25 are a quarter of any of them,
    on average, and are among those below 0.5.

    Args:
        sample_ids: each sample once, in the order that positions count.
        relatives: positions of two related samples, who have the same number.
        seed: another seed is other numbers.

    Raises:
        InputError: a sample twice, or relatives that are not there.
    """
    return _uniform(sample_ids, relatives, seed, _SHARES)


def _uniform(
    sample_ids: Sequence[str], relatives: Iterable[tuple[int, int]], seed: int, salt: bytes
) -> npt.NDArray[np.float64]:
    """Hash each sample's family to [0, 1), shape (samples,)."""
    if len(set(sample_ids)) != len(sample_ids):
        raise InputError(f"of {len(sample_ids)} samples to split, one stands there twice")
    family = families(len(sample_ids), relatives)
    names: dict[int, str] = {}
    for name, of in zip(sample_ids, family.tolist(), strict=True):
        names[of] = min(name, names.get(of, name))
    numbers = {of: _hash(f"{seed}:{name}", salt) for of, name in names.items()}
    return np.array([numbers[of] for of in family.tolist()], np.float64)


def _hash(text: str, salt: bytes) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53  # 53 bits: all 64 can round up to 1
