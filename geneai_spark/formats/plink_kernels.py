"""PLINK 1 genotypes, two bits each, to allele indices: a table of the 256 bytes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The two alleles of each code, as indices of A1 (0) and A2 (1): 00 homozygous A1, 01 missing,
#: 10 heterozygous, 11 homozygous A2. Source: PLINK 1.9's description of .bed files.
_CODES = ((0, 0), (-1, -1), (0, 1), (1, 1))


@cache
def _table(a1_is_ref: bool) -> Array:
    """For each byte its four genotypes, eight int8 as one uint64, shape (256,)."""
    codes = np.array(_CODES, np.int8)
    if not a1_is_ref:  # allele 0 is A2; a heterozygote stays 0/1
        codes = np.array([(1, 1), (-1, -1), (0, 1), (0, 0)], np.int8)
    genotypes = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3  # (bytes, 4): lowest first
    table: Array = codes[genotypes].reshape(256, 8).view(np.uint64)[:, 0]
    return table


def decode(raw: bytes, n_samples: int, *, a1_is_ref: bool = False) -> Array:
    """Decode whole records of a variant-major file.

    Args:
        raw: records x ceil(n_samples / 4) bytes.

    Returns:
        Allele indices, int8, shape (records, n_samples, 2); -1 missing.
    """
    width = -(-n_samples // 4)
    data = np.frombuffer(raw, np.uint8).reshape(-1, width)
    wide: Array = _table(a1_is_ref)[data].view(np.int8).reshape(len(data), width * 4, 2)
    return wide[:, :n_samples]
