"""``geneai demo``: real 1000 Genomes variants from a VCF file to a first answer.

The trait is simulated over the real genotypes, with known causal variants planted; the demo fails
if the scan does not rank them first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pyspark.sql import DataFrame, Row, SparkSession

from geneai_spark import (
    cohorts,
    datasets,
    filesystems,
    genotypes,
    job,
    progress,
    session,
    simulation,
    store,
    tables,
)
from geneai_spark.association import summary
from geneai_spark.errors import explain
from geneai_spark.jobs import (
    check_quality,
    extract_features,
    ingest_traits,
    ingest_variants,
    make_report,
    run_gwas,
    train_model,
)
from geneai_spark.report import manhattan
from geneai_spark.stored import collect, latest

TRAIT = "simulated_trait"


class Place(NamedTuple):
    """Where the demo puts its files."""

    folder: Path

    @property
    def data(self) -> Path:
        """The downloaded VCF and the simulated trait."""
        return self.folder / "data"

    @property
    def warehouse(self) -> str:
        """The tables."""
        return str(self.folder / "warehouse")

    @property
    def models(self) -> str:
        """The model directories."""
        return str(self.folder / "models")

    @property
    def picture(self) -> Path:
        """The Manhattan picture."""
        return self.folder / "manhattan.png"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if the planted variants come first, else 1."""
    parser = argparse.ArgumentParser(
        prog="geneai demo",
        description="Real 1000 Genomes variants from VCF to a first association, in minutes.",
        epilog="example: geneai demo --to demo",
    )
    parser.add_argument("--to", default="demo", help="folder for data, tables, pictures (demo)")
    place = Place(Path(parser.parse_args(argv).to))
    try:
        return run(place)
    except Exception as error:
        ours = explain(error)
        if ours is None:
            raise
        print(f"geneai demo: {ours}", file=sys.stderr)
        return 1


def run(place: Place) -> int:
    """Download, ingest, measure, test, print; 0 if the planted variants come first, else 1."""
    start = time.monotonic()
    with progress.stage("data") as stage:
        vcf = datasets.download("chr22-demo", place.data)
        stage.result = f"1000 Genomes chromosome 22 at {vcf}"
    print(datasets.describe(datasets.get("chr22-demo")), file=sys.stderr)
    with progress.stage("Spark"):
        spark = session.get_session("geneai demo")
    causal = ingest(spark, vcf, place)
    measure(place)
    best = scan(spark, place, causal)
    found = {(row.contigName, row.start, row.alternateAllele) for row in best[: len(causal)]}
    first = found == set(causal)
    skills = train(place)
    report(place)
    say_results(best, causal)
    print("\n".join(["", "Models, measured on people they never saw:", "", *skills]))
    print(
        f"\nThe {len(causal)} planted variants {'come' if first else 'DO NOT come'} first. "
        f"Whole demo: {time.monotonic() - start:.0f} s."
    )
    if first:
        print(WHAT_NEXT.format(folder=place.folder, warehouse=place.warehouse))
    return 0 if first else 1


def ingest(spark: SparkSession, vcf: Path, place: Place) -> list[tuple[str, int, str]]:
    """Take in the VCF and a trait simulated on its genotypes; give the planted variants."""
    with progress.stage("variants", spark) as stage:
        config = ingest_variants.Config(inputs=(str(vcf),), warehouse=place.warehouse)
        told = job.call(ingest_variants.run, config)
        variants = store.read(spark, tables.VARIANTS, place.warehouse)
        variants = variants.where(variants["sourceId"] == filesystems.source_id(str(vcf)))
        ids = cohorts.sample_ids(collect(spark, tables.SAMPLES, place.warehouse, cohorts.COLUMNS))[
            "default"
        ]
        again = " (unchanged, not read again)" if told["files_unchanged"] else ""
        stage.result = f"{variants.count():,} variants x {len(ids):,} people{again}"
    with progress.stage("trait", spark) as stage:
        path = simulate(variants, ids, place.data / f"{TRAIT}.csv")
        config = ingest_traits.Config(inputs=(str(path),), warehouse=place.warehouse)
        job.call(ingest_traits.run, config)
        truth = json.loads(path.with_suffix(".truth.json").read_text("utf-8"))["causal"]
        stage.result = f"{TRAIT}, SIMULATED on the real genotypes, {len(truth)} causal variants"
    return [(c["contigName"], c["start"], c["alternateAllele"]) for c in truth]


def simulate(variants: DataFrame, ids: Sequence[str], path: Path) -> Path:
    """Write a simulated trait for the (few) variants of the demo; the same file each time."""
    rows = variants.orderBy("start", "referenceAllele", "alternateAlleles").toArrow()
    decoded = genotypes.calls(rows["call_genotype"], len(ids), rows["call_ploidy"])
    columns = ("contigName", "start", "referenceAllele", "alternateAlleles")
    sites = list(zip(*(rows[name].to_pylist() for name in columns), strict=True))
    single = np.array([len(alts) == 1 for *_, alts in sites])
    trait = simulation.simulate_trait(
        genotypes.dosages(decoded)[single],
        [(contig, start, ref, alts[0]) for contig, start, ref, alts in sites if len(alts) == 1],
        ids,
        name=TRAIT,
    )
    return simulation.write_trait(trait, path)


def measure(place: Place) -> None:
    """Quality of variants and samples; pruned variants and their principal components."""
    job.call(check_quality.run, check_quality.Config(warehouse=place.warehouse))
    # Not kinship: a stretch of one chromosome says little about relatives.
    config = extract_features.Config(warehouse=place.warehouse, features=("ld", "pca"))
    job.call(extract_features.run, config)


def scan(spark: SparkSession, place: Place, causal: Sequence[tuple[str, int, str]]) -> list[Row]:
    """Test every variant and draw the picture; give the strongest hits."""
    job.call(run_gwas.run, run_gwas.Config(traits=[TRAIT], warehouse=place.warehouse))
    with progress.stage("picture", spark) as stage:
        stored, _ = latest(spark, tables.ASSOCIATIONS, place.warehouse)
        points = summary.points(stored, TRAIT).toPandas()
        manhattan.draw(
            points,
            place.picture,
            title=f"{len(points):,} variants of 1000 Genomes chromosome 22, simulated trait",
            causal=[(contig, start) for contig, start, _ in causal],
        )
        stage.result = str(place.picture)
    return summary.top_hits(stored.where(stored["trait"] == TRAIT), 8)


def train(place: Place) -> list[str]:
    """A forest that tells high values of the trait from low ones, and GBLUP of the trait itself;
    what each is worth, as lines.
    """
    lines = []
    for family, setting, metric in (
        ("disease_association", 0.0, "roc_auc"),
        ("genomic_prediction", None, "r2"),
    ):
        config = train_model.Config(
            trait=TRAIT,
            family=family,
            case_above=setting,
            warehouse=place.warehouse,
            models=place.models,
            trees=200,
        )
        told = job.call(train_model.run, config)
        value, low, high = (told[f"test_{metric}{end}"] for end in ("", "_low", "_high"))
        name = {"roc_auc": "test AUC", "r2": "test R2"}[metric]
        model = f"{told['model']}/{told['version']}"
        lines.append(f"    {model:<38} {name:<8} {value:.2f} ({low:.2f} to {high:.2f})")
    return lines


def report(place: Place) -> None:
    """Write the HTML report of all that the demo has done."""
    config = make_report.Config(
        warehouse=place.warehouse,
        output=str(place.report),
        title="1000 Genomes chromosome 22 and a simulated trait",
    )
    job.call(make_report.run, config)


def say_results(best: Sequence[Row], causal: Sequence[tuple[str, int, str]]) -> None:
    """Print the top hits, the planted ones marked."""
    print(f"\nTop hits of {TRAIT} (* = planted):\n")
    print("    variant        position       REF>ALT    frequency   effect  std. error       p")
    for row in best:
        mark = "*" if (row.contigName, row.start, row.alternateAllele) in causal else " "
        name = row.names[0] if row.names else "."
        print(
            f"  {mark} {name:<13}  {row.contigName}:{row.start + 1:<10,}  "
            f"{_short(row.referenceAllele) + '>' + _short(row.alternateAllele):<11} "
            f"{row.alleleFrequency:>7.3f}  "
            f"{row.effect:>+8.3f}  {row.standardError:>9.3f}  {row.pValue:>9.1e}"
        )


def _short(allele: str) -> str:
    """Spell a long allele by its first base and its length: ``C[5384]``."""
    return allele if len(allele) <= 4 else f"{allele[0]}[{len(allele)}]"


WHAT_NEXT = """
Where things are
  report    {folder}/report.html       open it in a browser: no network is needed
  picture   {folder}/manhattan.png
  tables    {warehouse}   (Delta: variants, samples, traits, variant_quality, associations ...)
  models    {folder}/models        a directory a version, with its model card
  truth     {folder}/data/simulated_trait.truth.json

What to try next
  geneai tables describe warehouse={warehouse}
  geneai check_quality warehouse={warehouse} min_hwe_p_value=1e-6
  geneai run_gwas warehouse={warehouse} traits=simulated_trait components=4
  geneai models list models={folder}/models
  geneai make_report warehouse={warehouse} output={folder}/report2.html
  geneai ingest_variants warehouse=warehouse inputs=YOUR.vcf.gz        your own data
  geneai data list                                                     more public data
"""


if __name__ == "__main__":
    sys.exit(main())
