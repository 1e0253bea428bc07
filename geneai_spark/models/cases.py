"""Cases and controls from a trait of the table ``traits``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from geneai_spark.errors import InputError


def label(
    sample_ids: Sequence[str], values: pd.Series, trait: str, case_above: float | None = None
) -> npt.NDArray[np.int8]:
    """1 for cases, 0 for controls, -1 where the trait is missing, in the order of the samples.

    Args:
        sample_ids: the samples.
        values: the trait, indexed by sample id.
        trait: its name, for errors.
        case_above: cases are above it; None: the trait has two values, and the greater is a case.

    Raises:
        InputError: without ``case_above``, other than two values; one class only.
    """
    own = values.reindex(list(sample_ids)).to_numpy(np.float64)
    known = np.isfinite(own)
    bound = case_above
    if bound is None:
        found = np.unique(own[known])
        if len(found) != 2:
            raise InputError(
                f"trait {trait!r} has {len(found)} values among the chosen samples, expected 2 "
                "(controls, cases): give case_above to cut a trait of more"
            )
        bound = float(found[0])
    truth = np.where(known, own > bound, -1).astype(np.int8)
    if not (truth == 1).any() or not (truth == 0).any():
        raise InputError(f"trait {trait!r}: the chosen samples are of one class only")
    return truth
