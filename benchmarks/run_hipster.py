"""This project's and scikit-learn's part of the hipster benchmark: see README.md.

python run_hipster.py prepare FOLDER VCF LABELS   # tables, and files that everybody is given
python run_hipster.py {local,spark,sklearn,sklearn-common} FOLDER TREES RESULT SEED [SEED ...]

Appends a JSON line for each seed to the file RESULT.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

import measure
import numpy as np
import pandas as pd
from geneai_spark.jobs import ingest_traits, ingest_variants

from geneai_spark.features import dose_kernels, doses
from geneai_spark.models import disease, forest_spark, studies
from geneai_spark.models.family import Study
from geneai_spark.selection import select
from geneai_spark.session import get_session

SPLIT_SEED = 42
CONF = {"spark.driver.memory": "2g"}
RATE = 0.1  # share of the variants that a node looks at, everybody's
COMMON = 0.01  # minor allele frequency
NAME = "{contigName}_{start}_{referenceAllele}_{alternateAllele}"  # of a variant, with POS


def prepare(folder: Path, vcf: str, labels: str) -> None:
    """Ingest by the jobs; keep the training samples' names and ``data.npz``: names of variants in
    the forest's order, planes with nothing missing, the label, the split.
    """
    spark = get_session("hipster", CONF, "local[2]")
    tables = str(folder / "tables")
    ingest_variants.run(spark, ingest_variants.Config(inputs=(vcf,), warehouse=tables))
    frame = pd.read_csv(labels, index_col=0)["label"].rename_axis("sample")
    frame.to_csv(folder / "labels.csv")
    config = ingest_traits.Config(inputs=(str(folder / "labels.csv"),), warehouse=tables)
    ingest_traits.run(spark, config)
    with doses.holding() as hold:
        study = study_of(spark, tables, hold)
        train, _, test = study.split
        numbered = forest_spark.number(study.doses, hold)
        keys = forest_spark.keys(numbered)
        blocks = forest_spark.blocks(numbered, train, hold).toArrow().sort_by("block")
        flat = np.frombuffer(b"".join(blocks.column("planes").to_pylist()), "<u8")
    names = [NAME.format_map({**key, "start": key["start"] + 1}) for key in keys.to_pylist()]
    np.savez(
        folder / "data.npz",
        names=np.array(names),
        contigName=np.array(keys.column("contigName").to_pylist()),
        start=keys.column("start").to_numpy(),
        planes=flat.reshape(len(keys), 2, -1),
        truth=study.truth,
        train=train,
        test=test,
    )
    (folder / "training.txt").write_text("\n".join(study.sample_ids[i] for i in train) + "\n")
    spark.stop()


def study_of(spark: Any, tables: str, hold: doses.Hold) -> Study:
    """The label, of all variants and samples."""
    options = studies.StudyOptions(trait="label")
    chosen = select(spark, tables)
    return studies.build(spark, tables, "default", chosen, options, seed=SPLIT_SEED, hold=hold)


def geneai(engine: str, folder: Path, trees: int, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Train as the job does: the study once, a forest for each seed."""
    spark = get_session("hipster", CONF, "local[2]")
    options = disease.DiseaseOptions(
        trees=trees, variants_per_split=RATE, null_forests=0, engine=engine
    )
    with doses.holding() as hold:
        study = study_of(spark, str(folder / "tables"), hold)
        study.doses.count()
        meter = measure.Meter()
        for seed in seeds:
            meter.lap()
            with doses.holding() as own:
                trained = disease.train(replace(study, seed=seed, hold=own), options)
            cost = meter.lap()
            assert trained.importances is not None
            found = {
                NAME.format_map({**row, "start": row["start"] + 1}): row["importance"]
                for row in trained.importances.to_pylist()
            }
            yield {"fit": cost, "importance": found, "scores": trained.scores.tolist()}
    spark.stop()


def sklearn(
    folder: Path, trees: int, seeds: Sequence[int], least: float
) -> Iterator[dict[str, Any]]:
    """The same by scikit-learn, on a float32 matrix of the variants of some frequency at least."""
    from sklearn.ensemble import RandomForestClassifier

    data = np.load(folder / "data.npz")
    n, train, truth = len(data["truth"]), data["train"], data["truth"]
    planes = np.ascontiguousarray(data["planes"])
    kept = doses.minor_frequency(doses.counts(planes, n)) >= least
    planes, names = np.ascontiguousarray(planes[kept]), data["names"][kept]
    matrix = np.empty((len(planes), n))
    dose_kernels.look_up(planes, np.tile(np.arange(4.0), (len(planes), 1)), matrix)
    X = matrix.astype(np.float32).T  # (samples, variants), a variant's doses next to each other
    meter = measure.Meter()
    for seed in seeds:
        meter.lap()
        model = RandomForestClassifier(
            n_estimators=trees, max_features=RATE, oob_score=True, n_jobs=2, random_state=seed
        )
        model.fit(X[train], truth[train])
        cost = meter.lap()
        scores = model.predict_proba(X)[:, 1]
        scores[train] = model.oob_decision_function_[:, 1]
        found = dict(zip(names.tolist(), model.feature_importances_.tolist(), strict=True))
        told = {"variants": len(names), "fit": cost, "importance": found}
        yield {**told, "scores": scores.tolist()}


def main() -> None:
    """Do what the command line says."""
    who, folder, *words = sys.argv[1:]
    if who == "prepare":
        return prepare(Path(folder), *words)
    trees, result, *texts = words
    seeds = [int(text) for text in texts]
    if who.startswith("sklearn"):
        least = COMMON if who == "sklearn-common" else 0.0
        made = sklearn(Path(folder), int(trees), seeds, least)
    else:
        made = geneai(who, Path(folder), int(trees), seeds)
    with Path(result).open("a") as out:
        for told in made:
            out.write(json.dumps(told) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
