"""What traits tell quality control: cases and controls, and the reported sex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from geneai_spark.errors import InputError

CONTROL, CASE = 1, 2
_SEXES: dict[object, str] = {1: "male", 2: "female", "male": "male", "m": "male"}
_SEXES |= {"female": "female", "f": "female"}


def case_control(
    traits: pa.Table, sample_ids: Mapping[str, Sequence[str]], trait: str
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
    told: dict[str, dict[str, float | None]] = {}
    for row in traits.filter(pc.equal(traits["trait"], trait)).to_pylist():
        if row["cohort"] in sample_ids:
            told.setdefault(row["cohort"], {})[row["sampleId"]] = row["value"]
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


def add_sex(samples: pa.Table, traits: pa.Table, trait: str) -> pa.Table:
    """Add ``reportedSex``: male, female, or null where it is unknown.

    Args:
        samples: rows with ``cohort`` and ``sampleId``.
        traits: rows of the ``traits`` table.
        trait: 1 male and 2 female, 0 unknown, as plink has it, or the words male, female, m, f.

    Raises:
        InputError: there is no such trait, or it has other values.
    """
    told, wrong, rows = {}, 0, 0
    for row in traits.filter(pc.equal(traits["trait"], trait)).to_pylist():
        rows += 1
        word = (row["text"] or "").strip().lower()
        sex = _SEXES.get(row["value"], _SEXES.get(word))
        wrong += sex is None and row["value"] != 0
        told[row["cohort"], row["sampleId"]] = sex
    if not rows:
        raise InputError(f"sex: no trait {trait!r}")
    if wrong:
        raise InputError(
            f"sex: trait {trait!r}: expected 1 or male, 2 or female, 0 for unknown; "
            f"{wrong} samples have other values"
        )
    keys = zip(samples["cohort"].to_pylist(), samples["sampleId"].to_pylist(), strict=True)
    reported = pa.array([told.get(key) for key in keys], pa.string())
    return samples.append_column("reportedSex", reported)
