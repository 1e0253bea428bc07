"""Take in what is new and redo what depends on it: for schedulers, every night."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import filesystems, job, nightly
from geneai_spark.config import JobConfig, option


@dataclass(frozen=True)
class Config(JobConfig):
    """Ingest new files, then quality, features, association and report, as far as anything changed.

    A stage whose settings and tables are what they were is left alone; a night that failed goes on
    where it failed. Exit code 0: all is current; 1: something failed, and `runs` says what.
    """

    landing: tuple[str, ...] = option(
        "VCF, PLINK, BGEN files, folders, globs", example="s3://bucket/in/*.vcf.gz"
    )
    traits: tuple[str, ...] = option("CSV or TSV files of traits, folders, globs", ())
    reads: tuple[str, ...] = option("FASTQ files, folders, globs", ())
    alignments: tuple[str, ...] = option("SAM and BAM files, folders, globs", ())
    stages: tuple[str, ...] = option(
        "what to keep current: check_quality, extract_features, run_gwas, make_report; with reads "
        "check_reads comes by itself",
        ("check_quality", "make_report"),
    )
    settings: dict[str, str] = option(
        "settings of the stages, e.g. settings.run_gwas.traits=height", {}
    )
    vacuum_hours: float | None = option(
        "remove files that no version of the last so many hours needs; null: never", 168.0
    )
    summary: str | None = option("a JSON file to write what was done to: a path or a URI", None)

    def __post_init__(self) -> None:
        """Refuse unknown stages, and what the stages' own settings refuse."""
        known = (*nightly.INGESTS, *nightly.STAGES)
        if unknown := [name for name in self.stages if name not in nightly.STAGES]:
            raise ValueError(f"stages: {unknown[0]!r} is none of {', '.join(nightly.STAGES)}")
        for key in self.settings:
            if key.partition(".")[0] not in known:
                raise ValueError(f"settings.{key}: begins with none of {', '.join(known)}")
        if self.vacuum_hours is not None and self.vacuum_hours < 0:
            raise ValueError("vacuum_hours must not be below 0")
        self.configs()

    def configs(self) -> dict[str, JobConfig]:
        """The settings of each stage, in the order to run."""
        inputs = {
            "ingest_variants": self.landing,
            "ingest_traits": self.traits,
            "ingest_reads": self.reads,
            "ingest_alignments": self.alignments,
        }
        asked = [name for name, files in inputs.items() if files]
        wanted = {*self.stages, "check_reads"} if self.reads else {*self.stages}
        asked += [name for name in nightly.STAGES if name in wanted]
        return {
            name: nightly.settings(name, self.settings, self, inputs.get(name, ()))
            for name in asked
        }


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Bring every stage up to date; returns what became of each."""
    told = nightly.run(spark, config.warehouse, config.configs(), vacuum_hours=config.vacuum_hours)
    if config.summary is not None:
        filesystems.write(config.summary, json.dumps(told, indent=1).encode())
    return told


if __name__ == "__main__":
    job.main(run, Config)
