"""Extract a cohort's structure: ``variants`` -> pruned variants, kinship, components."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pyspark.sql import SparkSession

from geneai_spark import job, progress, selection, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.features import EXTRACTORS, doses, structure
from geneai_spark.selection import SelectionOptions
from geneai_spark.stored import Computed
from geneai_spark.table import Where


@dataclass(frozen=True)
class Config(JobConfig, SelectionOptions, structure.StructureOptions):
    """Prune variants in linkage disequilibrium, find relatives, fit principal components."""

    features: tuple[str, ...] = option("what to extract: ld, kinship, pca", tuple(EXTRACTORS))
    pruned: bool = option("pca: on pruned variants, of this run or else of the last one", True)
    unrelated: bool = option(
        "pca: fit on samples without relatives, by this run's kinship or else the last one's, "
        "and project the others",
        False,
    )

    def __post_init__(self) -> None:
        """Refuse unknown features, and what the other settings' own rules refuse."""
        super().__post_init__()
        if not self.features or {*self.features} - {*EXTRACTORS}:
            raise ValueError(f"features must be some of {', '.join(EXTRACTORS)}")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace the cohort's rows of the features' tables; returns what was found, in numbers."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    options = structure.StructureOptions(**config.part(structure.StructureOptions))
    told: dict[str, int | float | str] = {**chosen.counts}
    with doses.holding() as hold:
        with progress.stage("pack doses", spark) as stage:
            study, counts = structure.study(
                config.cohort, chosen.sample_ids, chosen.rows, chosen.scanned, options, hold
            )
            study = replace(study, seed=config.seed)
            told |= counts
            stage.result = f"{counts['variants_used']:,} of {counts['variants']:,} variants"
        for name in (name for name in EXTRACTORS if name in config.features):
            with progress.stage(name, spark) as stage:
                if name == "pca":
                    study = _for_pca(spark, config, study)
                extracted = EXTRACTORS[name](study, options)
                for table, rows in extracted.rows:
                    if isinstance(rows, Computed):
                        rows.write(table, config.warehouse, _own(config))
                    else:
                        store.put(spark, rows, table, config.warehouse, _own(config))
                stage.result = ", ".join(f"{k} {v:,.5g}" for k, v in extracted.numbers.items())
            study = extracted.study
            told |= extracted.numbers
    return told


def _for_pca(spark: SparkSession, config: Config, study: structure.Study) -> structure.Study:
    """Take up what pruning and kinship found, in this run or an earlier one, if asked for."""
    if config.pruned and study.pruned is None:
        kept = store.read(spark, tables.PRUNED_VARIANTS, config.warehouse).where(_own(config).sql)
        study = study.keep_only(kept)
    if config.unrelated:
        pairs = store.read(spark, tables.KINSHIP, config.warehouse).where(_own(config).sql)
        here = {int(row) for row in study.rows}
        found = (tuple(pair) for pair in pairs.select("sampleIndex1", "sampleIndex2").collect())
        gone = selection.related(pair for pair in found if here.issuperset(pair))
        study = replace(study, fitted=~np.isin(study.rows, sorted(gone)))
    return study


def _own(config: Config) -> Where:
    return Where.of(cohort=config.cohort)


if __name__ == "__main__":
    job.main(run, Config)
