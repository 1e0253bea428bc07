"""Simulated traits on real genotypes, with planted causal variants whose truth is written down.

No real quantitative trait is public for the genotypes at hand, so demonstrations and tests plant
one. It is always named and labelled as simulated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from geneai_spark.errors import InputError


@dataclass(frozen=True)
class Causal:
    """A planted variant: ``effect`` is what one copy of the allele adds to the trait."""

    contigName: str  # noqa: N815, the tables' names
    start: int
    referenceAllele: str  # noqa: N815
    alternateAllele: str  # noqa: N815
    effect: float


@dataclass(frozen=True)
class SimulatedTrait:
    """A made-up quantitative trait over real genotypes, and the truth behind it."""

    name: str
    sample_ids: tuple[str, ...]
    values: npt.NDArray[np.float64]  # (samples,)
    causal: tuple[Causal, ...]


def simulate_trait(
    dosages: npt.NDArray[Any],
    variants: Sequence[tuple[str, int, str, str]],
    sample_ids: Sequence[str],
    *,
    name: str = "simulated_trait",
    n_causal: int = 4,
    explained: float = 0.08,
    min_frequency: float = 0.1,
    max_r2: float = 0.2,
    seed: int = 42,
) -> SimulatedTrait:
    """Plant causal variants: trait = sum of effect x dosage + normal noise.

    Causal variants are common, complete, and not in strong linkage disequilibrium with any other
    variant given, so that an association scan ranks them before their neighbours. Choice and
    noise come from hashes of ``seed`` with the variant and with the sample id: the same people
    get the same values in whatever order they stand.

    Args:
        dosages: ALT allele counts, shape (variants, samples), NaN missing.
        variants: (contig, 0-based start, REF, ALT) of each row.
        sample_ids: the samples, in the order of the columns.
        name: must begin with ``simulated_``.
        n_causal: variants to plant.
        explained: share of the trait's variance each planted variant explains.
        min_frequency: least minor allele frequency of a planted variant.
        max_r2: largest squared correlation of a planted variant with any other variant.
        seed: choice of variants and noise.

    Raises:
        InputError: too few variants qualify, or the name hides that the trait is simulated.
    """
    if not name.startswith("simulated_"):
        raise InputError(f"trait name {name!r}: must begin with simulated_")
    x = np.asarray(dosages, np.float64)  # (variants, samples)
    frequency = np.nan_to_num(x.mean(axis=1) / 2)  # NaN, so 0, where a genotype is missing
    centred = x - np.nanmean(x, axis=1, keepdims=True)
    norm = np.sqrt(np.nansum(centred**2, axis=1))
    unit = np.nan_to_num(centred / np.where(norm > 0, norm, np.inf)[:, None])
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= min_frequency)
    order = sorted(common, key=lambda i: _uniform(seed, *map(str, variants[i])))
    chosen: list[int] = []
    for i in order:
        r2 = np.square(unit @ unit[i])  # with every variant
        r2[i] = 0
        if r2.max(initial=0) <= max_r2 and all(r2[j] < 0.02 for j in chosen):
            chosen.append(int(i))
        if len(chosen) == n_causal:
            break
    else:
        raise InputError(f"only {len(chosen)} of {n_causal} variants qualify as causal")
    chosen.sort()
    signs = [1 if k % 2 == 0 else -1 for k in range(n_causal)]
    effects = [
        round(sign * float(np.sqrt(explained / x[i].var())), 4)
        for sign, i in zip(signs, chosen, strict=True)
    ]
    noise = [NormalDist().inv_cdf(_uniform(seed, sample)) for sample in sample_ids]
    values = np.sqrt(1 - n_causal * explained) * np.array(noise)
    for i, effect in zip(chosen, effects, strict=True):
        values = values + effect * x[i]
    causal = tuple(Causal(*variants[i], effect) for i, effect in zip(chosen, effects, strict=True))
    return SimulatedTrait(name, tuple(sample_ids), values.round(6), causal)


def _uniform(seed: int, *words: str) -> float:
    """Hash words to a number between 0 and 1, both excluded."""
    digest = hashlib.sha256("\t".join([str(seed), *words]).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48


def write_trait(trait: SimulatedTrait, path: str | Path) -> Path:
    """Write the trait as CSV (sample, trait) and the truth beside it as ``<stem>.truth.json``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"sample,{trait.name}"]
    lines += [f"{s},{v}" for s, v in zip(trait.sample_ids, trait.values.tolist(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    truth = {
        "trait": trait.name,
        "simulated": True,
        "about": "made up: real genotypes, planted effects, hashed noise; no biology in it",
        "causal": [asdict(causal) for causal in trait.causal],
    }
    path.with_suffix(".truth.json").write_text(json.dumps(truth, indent=2) + "\n", "utf-8")
    return path
