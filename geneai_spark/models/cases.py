"""The trait that a model is to predict, and groups of samples, from the table ``traits``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from geneai_spark.errors import InputError


def label(
    sample_ids: Sequence[str], values: pd.Series, trait: str, case_above: float | None = None
) -> tuple[npt.NDArray[np.float64], bool]:
    """The trait in the order of the samples, NaN where it is missing, and whether it has two
    classes: then cases are 1 and controls 0.

    Args:
        sample_ids: the samples.
        values: the trait, indexed by sample id.
        trait: its name, for errors.
        case_above: cases are above it; None: of a trait of two values the greater is a case.

    Raises:
        InputError: all of one value, or of one class.
    """
    own = values.reindex(list(sample_ids)).to_numpy(np.float64, copy=True)
    known = np.isfinite(own)
    own[~known] = np.nan
    found = np.unique(own[known])
    binary = case_above is not None or len(found) == 2
    if binary:
        bound = float(found[0]) if case_above is None else case_above
        own = np.where(known, (own > bound).astype(np.float64), np.nan)
        found = np.unique(own[known])
    if len(found) < 2:
        what = "of one class" if binary else "of one value"
        raise InputError(f"trait {trait!r}: the chosen samples with a value are {what} only")
    return own, binary


def groups(sample_ids: Sequence[str], traits: pa.Table, trait: str) -> list[str | None]:
    """The value of a trait as a group's name, in the order of the samples; None where missing.

    Args:
        sample_ids: the samples.
        traits: of the trait's rows ``sampleId``, ``value`` and ``text``.
        trait: its name, for errors.

    Raises:
        InputError: no sample has it.
    """
    names = {
        row["sampleId"]: row["text"] if row["value"] is None else f"{row['value']:g}"
        for row in traits.select(["sampleId", "value", "text"]).to_pylist()
    }
    found = [names.get(sample) for sample in sample_ids]
    if not any(found):
        raise InputError(f"group: none of the chosen samples has the trait {trait!r}")
    return found
