"""One training of the forest benchmark, in a process of its own: see README.md.

python run_forest.py {local,spark,sklearn} SAMPLES VARIANTS TREES RESULT [SECONDS]

Appends a JSON line to the file RESULT. scikit-learn grows as many of the trees as SECONDS of CPU
allow, and two at least.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

import measure
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from geneai_spark.features import dose_kernels, doses
from geneai_spark.models import disease, forest
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from geneai_spark.session import get_session
from geneai_spark.tasks import Batches

SEED = 48
BLOCK = 1024  # variants simulated at once, from a seed of their own
CAUSAL, FREQUENCY, FLIPPED = 4, 0.3, 0.1
CONTIGS, STEP = 22, 1000  # bases from a variant to the next
CONF = {
    "spark.driver.memory": "4g",
    # Spark keeps a DataFrame in pieces of 4 MB. In regions of 2 MB, the collector's choice for such
    # a heap, a piece and its header take three, and 10,000 x 1,000,000 do not fit.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m "
    "-XX:G1HeapRegionSize=16m",
}
TRIED = 2  # trees by which scikit-learn's time is foreseen


def causal(samples: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Doses of the planted variants, (4, samples), and the label, (samples,).

    A case has an ALT allele at both of the first two or at both of the last two; one label in ten
    is turned.
    """
    rng = np.random.default_rng([SEED, 1])
    found = rng.binomial(2, FREQUENCY, (CAUSAL, samples)).astype(np.int8)
    one, two, three, four = found > 0
    truth = ((one & two) | (three & four)) ^ (rng.random(samples) < FLIPPED)
    return found, truth.astype(np.int8)


def places(variants: int) -> list[int]:
    """Numbers of the planted variants."""
    return [(2 * i + 1) * variants // (2 * CAUSAL) for i in range(CAUSAL)]


def simulate(block: int, samples: int, variants: int) -> doses.Planes:
    """Planes of a block of independent variants, each of a frequency of its own, 0.02 to 0.5."""
    first = block * BLOCK
    n, words = min(BLOCK, variants - first), -(-samples // 64)
    rng = np.random.default_rng([SEED, 2, block])
    p = rng.uniform(0.02, 0.5, (n, 1))
    drawn = np.frombuffer(rng.bytes(n * words * 128), np.uint16).reshape(n, -1)
    above = [
        np.packbits(drawn < (chance * 65536).astype(np.uint16), axis=1, bitorder="little")
        for chance in (1 - (1 - p) ** 2, p**2)  # a dose above 0, above 1
    ]
    some, two = (bits.view("<u8") for bits in above)
    found = np.stack([some & ~two, two], axis=1)
    for place, dose in zip(places(variants), causal(samples)[0], strict=True):
        if first <= place < first + n:
            for plane in (0, 1):
                found[place - first, plane] = forest.bits(np.flatnonzero(dose == plane + 1), words)
    found |= ~forest.bits(np.arange(samples), words)  # after the last sample: missing
    return found


def key(variant: int, variants: int) -> tuple[str, int]:
    """Contig and start of a variant."""
    each = -(-variants // CONTIGS)
    return str(1 + variant // each), variant % each * STEP


def frame(spark: SparkSession, samples: int, variants: int) -> DataFrame:
    """The simulated variants as `doses.pack` would give them."""

    def made(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for block in batch.column(0).to_pylist():
                planes = simulate(block, samples, variants)
                n = len(planes)
                keys = [key(block * BLOCK + i, variants) for i in range(n)]
                columns: dict[str, Any] = {
                    "contigName": [contig for contig, _ in keys],
                    "start": [start for _, start in keys],
                    "end": [start + 1 for _, start in keys],
                    "referenceAllele": ["A"] * n,
                    "alternateAlleles": [["C"]] * n,
                    "sourceId": ["simulated"] * n,
                    "cohort": ["default"] * n,
                    "names": [[]] * n,
                }
                columns["doses"] = doses.binary(planes)
                yield pa.RecordBatch.from_pydict(columns, doses.ARROW)

    blocks = -(-variants // BLOCK)
    return spark.range(0, blocks, 1, min(blocks, 64)).mapInArrow(made, doses.SCHEMA)


def geneai(engine: str, samples: int, variants: int, trees: int) -> dict[str, Any]:
    """Train as the job does, on simulated doses that are held as the job holds them."""
    spark = get_session("forest", CONF, "local[2]")
    _, truth = causal(samples)
    everyone, nobody = np.arange(samples), np.empty(0, np.int64)
    meter = measure.Meter()
    laps: dict[str, dict[str, float]] = {}
    grow = forest.grow

    def timed(*args: Any, **named: Any) -> forest.Grown:
        laps["prepare"] = meter.lap()
        levels: list[tuple[int, int]] = []
        grown = grow(*args, **named, told=lambda depth, nodes: levels.append((depth, nodes)))
        laps["grow"] = {**meter.lap(), "levels": len(levels)}
        return grown

    forest.grow = timed
    with doses.holding() as hold:
        held = hold(frame(spark, samples, variants))
        assert held.count() == variants
        study = Study(
            "default", "simulated", [f"s{i}" for i in range(samples)], truth.astype(np.float64),
            True, Split(everyone, nobody, nobody), held, hold, SEED,
        )  # fmt: skip
        meter.lap()
        options = disease.DiseaseOptions(trees=trees, null_forests=0, engine=engine)
        trained = disease.train(study, options)
        laps["finish"] = meter.lap()
    assert trained.importances is not None
    first = trained.importances.slice(0, CAUSAL).to_pylist()
    planted = {key(place, variants) for place in places(variants)}
    spark.stop()
    return {
        "trees": trees,
        "phases": laps,
        "found": len(planted & {(row["contigName"], row["start"]) for row in first}),
        "accuracy": float(np.mean((trained.scores > 0.5) == truth)),
        "model_bytes": len(trained.model),
    }


def sklearn(samples: int, variants: int, trees: int, seconds: float) -> dict[str, Any]:
    """The same with scikit-learn, on a float32 matrix in its best order: a variant's doses next to
    each other. Making it is not counted as training.
    """
    from sklearn.ensemble import RandomForestClassifier

    meter = measure.Meter()
    _, truth = causal(samples)
    matrix = np.empty((variants, samples), np.float32)
    by_genotype = np.arange(4.0)
    for block in range(-(-variants // BLOCK)):
        planes = simulate(block, samples, variants)
        values = np.empty((len(planes), samples))
        dose_kernels.look_up(planes, np.tile(by_genotype, (len(planes), 1)), values)
        matrix[block * BLOCK : block * BLOCK + len(planes)] = values
    rate = disease.DiseaseOptions().variants_per_split
    model = RandomForestClassifier(
        n_estimators=min(TRIED, trees), max_features=rate, n_jobs=2, random_state=SEED,
        warm_start=True,
    )  # fmt: skip
    laps = {"prepare": meter.lap()}
    began, grown = time.process_time(), min(TRIED, trees)
    model.fit(matrix.T, truth)
    each = (time.process_time() - began) / grown
    if (more := int(min(trees, seconds / each))) > grown:
        model.set_params(n_estimators=more, oob_score=more >= trees)
        model.fit(matrix.T, truth)
        grown = more
    laps["grow"] = meter.lap()
    first = np.argsort(-model.feature_importances_)[:CAUSAL]
    return {
        "trees": grown,
        "phases": laps,
        "found": len(set(places(variants)) & set(first.tolist())),
        "accuracy": float(model.oob_score_) if grown == trees else None,
    }


def main() -> None:
    """Do what the command line says."""
    who, samples, variants, trees, result, *more = sys.argv[1:]
    sizes = int(samples), int(variants), int(trees)
    if who == "sklearn":
        told = sklearn(*sizes, float(more[0]) if more else math.inf)
    else:
        told = geneai(who, *sizes)
    with Path(result).open("a") as out:
        out.write(
            json.dumps({"who": who, "samples": sizes[0], "variants": sizes[1], **told}) + "\n"
        )


if __name__ == "__main__":
    main()
