"""What traits tell quality control: cases and controls, and the reported sex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from geneai_spark.errors import InputError

CONTROL, CASE = 1, 2


def case_control(
    traits: DataFrame, sample_ids: Mapping[str, Sequence[str]], trait: str
) -> dict[str, npt.NDArray[np.int8]]:
    """Groups of each cohort's samples: 1 control, 2 case, 0 unknown; shape (samples,).

    Args:
        traits: the ``traits`` table.
        sample_ids: each cohort's samples in the order of the packed genotypes.
        trait: its values are 0 (control) and 1 (case), or, as plink writes them, 1 and 2.

    Returns:
        The cohorts that have the trait.

    Raises:
        InputError: no cohort has the trait, it has other values, or one group is empty.
    """
    rows = traits.where(F.col("trait") == trait).select("cohort", "sampleId", "value").collect()
    told: dict[str, dict[str, float | None]] = {}
    for cohort, sample, value in rows:
        if cohort in sample_ids:
            told.setdefault(cohort, {})[sample] = value
    if not told:
        raise InputError(f"case_control: no cohort has a trait {trait!r}")
    groups = {}
    for cohort, values in told.items():
        if set(values.values()) not in ({0.0, 1.0}, {1.0, 2.0}):
            raise InputError(
                f"case_control: trait {trait!r}: expected cases and controls as 1 and 0, or as "
                "2 and 1, and no other value"
            )
        first = min(value for value in values.values() if value is not None)
        coded = [values.get(sample) for sample in sample_ids[cohort]]
        group = [0 if v is None else CONTROL if v == first else CASE for v in coded]
        groups[cohort] = np.array(group, np.int8)
    return groups


def add_sex(samples: DataFrame, traits: DataFrame, trait: str) -> DataFrame:
    """Add ``reportedSex``: male, female, or null where it is unknown.

    Args:
        samples: rows with ``cohort`` and ``sampleId``.
        traits: the ``traits`` table.
        trait: 1 male and 2 female, 0 unknown, as plink has it, or the words male, female, m, f.

    Raises:
        InputError: there is no such trait, or it has other values.
    """
    word = F.lower(F.trim("text"))
    male = (F.col("value") == 1) | word.isin("male", "m")
    female = (F.col("value") == 2) | word.isin("female", "f")
    known = F.coalesce(male | female | (F.col("value") == 0), F.lit(False))
    here = traits.where(F.col("trait") == trait)
    (counts,) = here.agg(F.count("*"), F.count_if(~known)).collect()
    if not counts[0]:
        raise InputError(f"sex: no trait {trait!r}")
    if counts[1]:
        raise InputError(
            f"sex: trait {trait!r}: expected 1 or male, 2 or female, 0 for unknown; "
            f"{counts[1]} samples have other values"
        )
    sex = F.when(male, F.lit("male")).when(female, F.lit("female")).alias("reportedSex")
    return samples.join(here.select("cohort", "sampleId", sex), ["cohort", "sampleId"], how="left")
