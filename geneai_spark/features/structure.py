"""Structure of a cohort in tables: what ``EXTRACTORS`` call, one function an extractor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from geneai_spark import tables
from geneai_spark.config import option
from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.features import kinship, ld, pca
from geneai_spark.stored import Computed, Rows, as_computed
from geneai_spark.table import Table


@dataclass(frozen=True)
class StructureOptions:
    """How variants are pruned, relatives found and components fitted."""

    min_frequency: float = option("use variants of at least this minor allele frequency", 0.01)
    window: int = option("ld: compare variants up to this many bases apart", 500_000)
    r2: float = option("ld: of a pair that correlates more (r squared, 0..1) one stays", 0.2)
    min_kinship: float = option("kinship: store pairs above this coefficient", 0.0442)
    max_kinship_samples: int = option(
        "kinship: refuse more samples; the work grows with their square", kinship.MAX_SAMPLES
    )
    k: int = option("pca: how many components", 10)
    tolerance: float = option("pca: stop at this relative residual", 1e-4)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not 0 <= self.min_frequency <= 0.5:
            raise ValueError("min_frequency must lie between 0 and 0.5")
        if not 0 <= self.r2 <= 1:
            raise ValueError("r2 must lie between 0 and 1")
        if min(self.window, self.k, self.max_kinship_samples) < 1 or not self.tolerance > 0:
            raise ValueError("window, k, max_kinship_samples and tolerance must be above 0")


@dataclass(frozen=True)
class Study:
    """What extractors work on.

    Attributes:
        cohort: its name.
        sample_ids: all its samples, in the order of the packed genotypes.
        rows: positions of the chosen samples among them, (n,).
        doses: of the chosen samples at every variant that is used; held.
        pruned: the part of ``doses`` that pruning kept, where there was pruning; held.
        fitted: which of the chosen samples the components are fitted on, (n,) bool; the others
            are projected.
        hold: see ``doses.holding``.
        seed: of everything random.
    """

    cohort: str
    sample_ids: Sequence[str]
    rows: packing.Rows
    doses: DataFrame
    pruned: DataFrame | None
    fitted: npt.NDArray[np.bool_]
    hold: packing.Hold
    seed: int = 42

    def keep_only(self, variants: DataFrame) -> Study:
        """Take rows of ``features_pruned_variants`` for what pruning has kept."""
        key = list(tables.PRUNED_VARIANTS.key)
        pruned = self.doses.join(variants.select(key), key, how="left_semi")
        return replace(self, pruned=self.hold(pruned.select(packing.SCHEMA.names)))


class Extracted(NamedTuple):
    """New rows of tables, numbers for the run's metrics, and the study for the next extractor."""

    rows: list[tuple[Table, Computed | pa.Table]]
    numbers: dict[str, int | float]
    study: Study


Extractor: TypeAlias = Callable[[Study, StructureOptions], Extracted]


def study(
    cohort: str,
    sample_ids: Sequence[str],
    rows: packing.Rows,
    variants: Rows,
    options: StructureOptions,
    hold: packing.Hold,
) -> tuple[Study, dict[str, int]]:
    """Pack the doses that extractors work on.

    Args:
        cohort: its name.
        sample_ids: all its samples, in the order of the packed genotypes.
        rows: positions of the chosen ones.
        variants: its chosen variants.
        options: of which ``min_frequency`` counts here.
        hold: see ``doses.holding``.

    Returns:
        The study, and how many variants there are, how many of them are not bi-allelic, diploid
        and autosomal, how many rare, and how many are used.

    Raises:
        InputError: no variant can be used.
    """
    whole, fit = packing.count_usable(variants)
    doses = packing.pack(variants, len(sample_ids), rows, min_frequency=options.min_frequency)
    doses = hold(doses)
    unusable, used = whole - fit, doses.count()
    counts = {
        "variants": whole,
        "variants_unusable": unusable,
        "variants_rare": whole - unusable - used,
        "variants_used": used,
    }
    if not used:
        raise InputError(
            f"cohort {cohort!r}: none of {whole:,} variants can be used: {unusable:,} are not "
            f"bi-allelic, diploid and autosomal, the others are rarer than {options.min_frequency}"
        )
    everyone = np.ones(len(rows), np.bool_)
    return Study(cohort, sample_ids, rows, doses, None, everyone, hold), counts


def prune(study: Study, options: StructureOptions) -> Extracted:
    """Prune by linkage disequilibrium: ``features_pruned_variants``."""
    n = len(study.rows)
    pruned = study.hold(ld.prune(study.doses, n, window=options.window, r2=options.r2))
    kept = pruned.count()
    numbers: dict[str, int | float] = {"ld_kept": kept, "ld_pruned": study.doses.count() - kept}
    kept_rows = as_computed(pruned.drop("doses"))
    return Extracted([(tables.PRUNED_VARIANTS, kept_rows)], numbers, replace(study, pruned=pruned))


def relate(study: Study, options: StructureOptions) -> Extracted:
    """Find relatives: ``features_kinship``. On all variants: pruning would lose information."""
    found = kinship.king(
        study.doses,
        study.sample_ids,
        study.rows,
        cohort=study.cohort,
        min_kinship=options.min_kinship,
        max_samples=options.max_kinship_samples,
    )
    found = study.hold(found)
    counted = {row[0]: row[1] for row in found.groupBy("relationship").count().collect()}
    numbers: dict[str, int | float] = {
        f"pairs_{name}": counted.get(name, 0) for name in kinship.DEGREES
    }
    return Extracted([(tables.KINSHIP, as_computed(found))], numbers, study)


def components(study: Study, options: StructureOptions) -> Extracted:
    """Fit principal components, project who took no part: the ``features_pca_*`` tables."""
    fitted = np.flatnonzero(study.fitted)
    rest = np.flatnonzero(~study.fitted)
    doses = study.doses if study.pruned is None else study.pruned
    own = study.hold(packing.subset(doses, fitted)) if len(rest) else doses
    found = pca.fit(own, len(fitted), k=options.k, tolerance=options.tolerance, seed=study.seed)
    loadings = pca.loadings(own, len(fitted), found)
    scores = np.empty((len(study.rows), options.k))
    scores[fitted] = found.scores
    if len(rest):
        held = study.hold(loadings.frame())
        scores[rest] = pca.project(packing.subset(doses, rest), len(rest), held)
        loadings = as_computed(held)
    samples = [
        {
            "cohort": study.cohort,
            "sampleIndex": int(row),
            "sampleId": study.sample_ids[row],
            "scores": own_scores.tolist(),
            "fitted": bool(took_part),
        }
        for row, own_scores, took_part in zip(study.rows, scores, study.fitted, strict=True)
    ]
    each = [
        {
            "cohort": study.cohort,
            "component": c + 1,
            "singularValue": float(found.singular_values[c]),
            "eigenvalue": float(found.eigenvalues[c]),
            "explainedVarianceRatio": float(found.explained[c]),
            "variants": found.variants,
            "samples": len(fitted),
        }
        for c in range(options.k)
    ]
    rows: list[tuple[Table, Computed | pa.Table]] = [
        (tables.PCA_SCORES, tables.PCA_SCORES.arrow(samples)),
        (tables.PCA_LOADINGS, loadings),
        (tables.PCA_COMPONENTS, tables.PCA_COMPONENTS.arrow(each)),
    ]
    numbers = {
        "pca_variants": found.variants,
        "pca_samples": len(fitted),
        "pca_projected": len(rest),
        "pca_passes": found.passes,
        "pca_explained": float(found.explained.sum()),
    }
    return Extracted(rows, numbers, study)
