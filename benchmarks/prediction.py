"""Networks beside GBLUP and scikit-learn's ridge, on traits simulated over real genotypes.

.venv/bin/python benchmarks/prediction.py [--traits 0.5x100 0.8x4pairs] [--only gblup torch]

A trait is named by its heritability and its causal variants, or pairs of variants. See README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import contenders
import measure
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from export import HIPSTER
from geneai_spark.jobs import ingest_traits, ingest_variants, train_model
from pyspark.sql import SparkSession

from geneai_spark import registry, store, tables
from geneai_spark.errors import SetupError
from geneai_spark.features import doses
from geneai_spark.models import comparison, metrics
from geneai_spark.models.estimates import Estimate
from geneai_spark.models.examples import Split, split
from geneai_spark.selection import select
from geneai_spark.session import get_session

Floats: TypeAlias = npt.NDArray[np.float64]

TRAITS = ("0.2x10", "0.2x1000", "0.5x10", "0.5x100", "0.5x1000", "0.8x10", "0.8x1000",
          "0.8x4pairs")  # fmt: skip
PREDICTORS = ("gblup", "torch", "keras")
NETWORKS = ("torch", "keras")
WHO = ("ridge", *PREDICTORS)
SEED = 42  # of the split, and of everything that is trained
DRAWN = 49  # of causal variants, effects and noise
VALIDATION, TEST = 0.1, 0.2
FREQUENT = {False: 0.01, True: 0.2}  # least minor allele frequency of causal variants, and of pairs
PENALTIES = np.geomspace(0.01, 100, 25)  # for each variant: (1 - h2) / h2 of h2 0.99 to 0.01
HEADER = ("h2", "causal", "fitted h2", "theory", "theory, true h2", "best possible", *WHO)


@dataclass(frozen=True)
class Trait:
    """A trait to simulate.

    Attributes:
        h2: share of its variance that is genetic.
        causal: variants, or pairs of variants, that make the genetic part.
        pairs: whether it is made of products of two variants, and nothing else.
    """

    h2: float
    causal: int
    pairs: bool

    @property
    def made_of(self) -> str:
        """Causal variants as the tables and names show them."""
        return f"{self.causal}{'pairs' if self.pairs else ''}"

    @property
    def name(self) -> str:
        """The trait's name in the table ``traits``."""
        return f"simulated_{self.h2 * 100:.0f}_{self.made_of}"


@dataclass(frozen=True)
class Cohort:
    """Samples and their genotypes, as everybody is given them.

    Attributes:
        ids: the samples, (n,).
        x: standardised doses, (variants, n).
        frequency: of the minor allele, (variants,).
        contigs: where the variants are, (variants,).
        parts: training, validation and test samples: those of the jobs.
    """

    ids: Sequence[str]
    x: Floats
    frequency: Floats
    contigs: npt.NDArray[np.object_]
    parts: Split


def trait_of(text: str) -> Trait:
    """Read ``0.5x100`` or ``0.8x4pairs``."""
    found = re.fullmatch(r"(0\.\d+)x(\d+)(pairs)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: expected 0.5x100 or 0.8x4pairs")
    return Trait(float(found[1]), int(found[2]), bool(found[3]))


def main() -> None:
    """Simulate the traits, train everybody on each, print a row a trait and what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--traits", nargs="+", type=trait_of, default=[trait_of(t) for t in TRAITS])
    option("--only", nargs="+", default=WHO, choices=WHO)
    given = parser.parse_args()
    if not HIPSTER.exists():
        raise SystemExit("no ../shared/data/cohort/hipster.vcf.bgz: real genotypes are needed")
    folder = given.folder / "prediction"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(contenders.machine())
    spark = get_session("prediction", {"spark.driver.memory": "2g"}, "local[2]")
    cohort = ingest(spark, folder)
    told = ", ".join(f"{len(part):,}" for part in cohort.parts)
    print(f"{len(cohort.x):,} variants; training, validation and test samples: {told}\n")
    values = {trait: simulate(trait, cohort) for trait in given.traits}
    write(values, cohort, folder)
    ingest_traits.run(
        spark, ingest_traits.Config(inputs=(f"{folder}/traits.csv",), warehouse=f"{folder}/tables")
    )
    print("| " + " | ".join(HEADER) + " |\n|" + " ---: |" * len(HEADER), flush=True)
    rows = []
    with (given.folder / "prediction.jsonl").open("a") as out:
        for trait, (value, genetic) in values.items():
            row = train(spark, folder, cohort, trait, value, given.only)
            row["best"] = r2(value, genetic, cohort.parts.test)
            show(row)
            out.write(json.dumps(row) + "\n")
            rows.append(row)
    spark.stop()
    shutil.rmtree(folder)
    print()
    for line in conclusions(rows):
        print(line)


def ingest(spark: SparkSession, folder: Path) -> Cohort:
    """Take the cohort in by the job, and give its genotypes as a matrix."""
    config = ingest_variants.Config(inputs=(str(HIPSTER),), warehouse=f"{folder}/tables")
    ingest_variants.run(spark, config)
    chosen = select(spark, config.warehouse)
    ids = chosen.sample_ids
    n = len(ids)
    table = doses.pack(chosen.scanned, n, chosen.rows).toArrow()
    table = table.sort_by([("contigName", "ascending"), ("start", "ascending")])
    planes = doses.planes(table.column("doses"))
    counted = doses.counts(planes, n)
    x = doses.standardised(planes, n, *doses.moments(counted))
    contigs = table.column("contigName").to_numpy(zero_copy_only=False)
    parts = split(ids, seed=SEED, validation=VALIDATION, test=TEST)
    return Cohort(ids, x, doses.minor_frequency(counted), contigs, parts)


def simulate(trait: Trait, cohort: Cohort) -> tuple[Floats, Floats]:
    """A trait of mean 0 and variance 1, and its genetic part, (samples,) each.

    Causal variants are drawn among the frequent ones, effects of standardised doses are normal.
    """
    drawn = [DRAWN, int(trait.h2 * 1000), trait.causal, int(trait.pairs)]
    rng = np.random.default_rng(drawn)
    frequent = rng.permutation(np.flatnonzero(cohort.frequency >= FREQUENT[trait.pairs]))
    if trait.pairs:
        parts = products(frequent, trait.causal, cohort)
    else:
        parts = cohort.x[frequent[: trait.causal]]
    genetic = rng.normal(size=len(parts)) @ parts
    genetic = np.sqrt(trait.h2) * (genetic - genetic.mean()) / genetic.std()
    return genetic + np.sqrt(1 - trait.h2) * rng.normal(size=len(genetic)), genetic


def products(variants: npt.NDArray[np.int64], pairs: int, cohort: Cohort) -> Floats:
    """Products of two variants on different contigs, less what either explains by itself:
    (pairs, samples), each of variance 1.
    """
    made: list[Floats] = []
    left = list(variants)
    while len(made) < pairs:
        one = left.pop()
        other = next(v for v in reversed(left) if cohort.contigs[v] != cohort.contigs[one])
        left.remove(other)
        a, b = cohort.x[one], cohort.x[other]
        alone = np.column_stack([np.ones(len(a)), a, b])
        rest = a * b - alone @ np.linalg.lstsq(alone, a * b, rcond=None)[0]
        made.append(rest / rest.std())
    return np.array(made)


def write(values: dict[Trait, tuple[Floats, Floats]], cohort: Cohort, folder: Path) -> None:
    """All traits as ``traits.csv``."""
    columns = {trait.name: value for trait, (value, _) in values.items()}
    table = pa.table({"sample": list(cohort.ids), **columns}).to_pandas()
    table.to_csv(folder / "traits.csv", index=False, float_format="%.17g")


def train(
    spark: SparkSession,
    folder: Path,
    cohort: Cohort,
    trait: Trait,
    value: Floats,
    who: Sequence[str],
) -> dict[str, Any]:
    """Train some on one trait: what each reaches on the test samples, what it costs, what it says.

    A predictor that is not installed is named, and left out.
    """
    row: dict[str, Any] = {"h2": trait.h2, "causal": trait.made_of, "cost": {}, "said": {}}
    scores: dict[str, Floats] = {}
    meter = measure.Meter()
    for name in who:
        meter.lap()
        try:
            if name == "ridge":
                scores[name] = ridge(cohort, value)
            else:
                scores[name], told, text = job(spark, folder, cohort, trait, name)
        except SetupError as error:
            print(f"{name} left out: {error}", flush=True)
            continue
        row["cost"][name] = meter.lap()
        if name != "ridge":
            row["said"][name] = "".join(re.findall(r"^The network .*$", text, re.MULTILINE))
            row |= theory(told, trait.h2, len(cohort.parts.train))
    test = cohort.parts.test
    row["r2"] = {name: r2(value, found, test) for name, found in scores.items()}
    row["against"] = {
        f"{one}, {other}": comparison.difference(
            value[test], scores[one][test], scores[other][test], binary=False, seed=SEED
        )
        for one in NETWORKS
        for other in ("ridge", "gblup")
        if one in scores and other in scores
    }
    return row


def job(
    spark: SparkSession, folder: Path, cohort: Cohort, trait: Trait, predictor: str
) -> tuple[Floats, dict[str, Any], str]:
    """Train by the job: predictions of all but the training samples, numbers of the run,
    ``performance_metrics.txt``.
    """
    config = train_model.Config(
        family="genomic_prediction",
        predictor=predictor,
        trait=trait.name,
        model=f"{trait.name}_{predictor}",
        validation=VALIDATION,
        test=TEST,
        ranks=0,
        seed=SEED,
        warehouse=f"{folder}/tables",
        models=f"{folder}/models",
        mlflow="none",
    )
    told = train_model.run(spark, config)
    rows = store.read(spark, tables.PREDICTIONS, config.warehouse)
    found = rows.where(rows["model"] == config.name).toPandas().set_index("sampleId")["score"]
    scores = found.reindex(list(cohort.ids)).to_numpy(np.float64)
    text = registry.load(registry.find(config.models, config.name)).metrics
    return scores, told, text


def ridge(cohort: Cohort, value: Floats) -> Floats:
    """Predictions by scikit-learn's ridge regression on all variants, its penalty chosen by leaving
    out each training sample in turn.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = cohort.x.T  # (samples, variants)
    train = cohort.parts.train
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES * X.shape[1]))
    model.fit(X[train], value[train])
    predicted: Floats = model.predict(X)
    return predicted


def r2(value: Floats, predicted: Floats, test: npt.NDArray[np.int64]) -> Estimate:
    """R2 of the test samples with its interval."""
    return metrics.regression(value[test], predicted[test], seed=SEED).r2


def theory(told: dict[str, Any], h2: float, n: int) -> dict[str, float]:
    """What the run says that theory allows, and that for the true h2: `models.ridge.expected`."""
    segments = told["independent_segments"]
    return {
        "fitted": told["heritability"],
        "expected": told["expected_r2"],
        "expected_true": h2 * n * h2 / (n * h2 + segments),
        "segments": segments,
    }


def show(row: dict[str, Any]) -> None:
    """Print a line of the table."""
    names = ("fitted", "expected", "expected_true")
    cells = [f"{row['h2']:g}", row["causal"]]
    cells += [f"{row[name]:.3f}" if name in row else "" for name in names]
    cells += [skill(row["best"]), *(skill(row["r2"].get(name)) for name in WHO)]
    print("| " + " | ".join(cells) + " |", flush=True)


def skill(found: Estimate | None) -> str:
    """R2 and its interval."""
    return "" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def conclusions(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What each costs; of each network how often it is worth that, and every comparison."""
    lines = []
    for name in WHO:
        costs = [row["cost"][name] for row in rows if name in row["cost"]]
        if costs:
            cpu, wall = (statistics.median(c[kind] for c in costs) for kind in ("cpu", "wall"))
            beside = ", GBLUP beside it" if name in NETWORKS else ""
            lines.append(f"- {name}: {cpu:.1f} CPU s, {wall:.1f} wall s a trait (median{beside})")
    for one in NETWORKS:
        for other in ("ridge", "gblup"):
            told = [row["against"].get(f"{one}, {other}") for row in rows]
            if found := list(filter(None, told)):
                won, lost = sum(d.low > 0 for d in found), sum(d.high < 0 for d in found)
                lines.append(
                    f"- {one} beats {other} on {won} of {len(found)} traits, "
                    f"and is beaten by it on {lost}"
                )
    for row in rows:
        trait = f"h2 {row['h2']:g}, {row['causal']}"
        for name, said in row["said"].items():
            if name in NETWORKS:
                lines.append(f"- {trait}, {name}: {said}")
        for pair, found in row["against"].items():
            one, other = pair.split(", ")
            if other == "ridge":
                lines.append(f"- {trait}: {comparison.verdict(one, other, 'r2', found)}")
    return lines


if __name__ == "__main__":
    main()
