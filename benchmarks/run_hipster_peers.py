"""The peers' part of the hipster benchmark, each run by a Python of its own: see README.md.

python run_hipster_peers.py {variantspark,hail} FOLDER TREES RESULT SEED [SEED ...]

Both read the training samples' VCF of FOLDER. Appends a JSON line for each seed to the file RESULT.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import measure

CONF = {"spark.driver.memory": "4g", "spark.ui.enabled": "false"}
RATE = 0.1  # share of the variants that a node looks at, everybody's
ALL = 1_000_000  # variants at most, of which it tells the importance
BATCH = 50  # trees that VariantSpark grows at once, as in its examples


def variantspark(folder: Path, trees: int, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """VariantSpark's forest, as its documentation grows one. It reads the VCF in its first fit."""
    import varspark as vs
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.jars", vs.find_jar())
    for key, value in CONF.items():
        builder = builder.config(key, value)
    context = vs.VarsparkContext(builder.getOrCreate(), silent=True)
    data = context.import_vcf(str(folder / "training.vcf"))
    labels = context.load_label(str(folder / "labels.csv"), "label")
    meter = measure.Meter()
    for seed in seeds:
        meter.lap()
        grown = data.importance_analysis(
            labels, n_trees=trees, mtry_fraction=RATE, oob=True, seed=seed, batch_size=BATCH
        )
        found = dict(grown.important_variables(ALL))
        cost = meter.lap()
        yield {"fit": cost, "importance": found, "oob_accuracy": 1 - grown.oob_error()}
    context.stop()


def hail(folder: Path) -> Iterator[dict[str, Any]]:
    """Hail's logistic regression, a variant at a time: importance is the square of Wald's z."""
    import hail as hl

    hl.init(master="local[2]", quiet=True, log="/dev/null", spark_conf=CONF)
    data = hl.import_vcf(str(folder / "training.vcf"), reference_genome="GRCh37")
    labels = hl.import_table(str(folder / "labels.csv"), delimiter=",", impute=True, key="sample")
    data = data.annotate_cols(label=labels[data.s].label)
    data = data.checkpoint(str(folder / "training.mt"), overwrite=True)
    meter = measure.Meter()
    tests = hl.logistic_regression_rows(
        test="wald", y=data.label, x=data.GT.n_alt_alleles(), covariates=[1.0]
    )
    rows = tests.select("z_stat").collect()
    cost = meter.lap()
    found = {
        f"{row.locus.contig}_{row.locus.position}_{'_'.join(row.alleles)}": row.z_stat**2
        for row in rows
        if row.z_stat is not None and math.isfinite(row.z_stat)
    }
    yield {"fit": cost, "importance": found}
    hl.stop()


def main() -> None:
    """Do what the command line says."""
    who, folder, trees, result, *seeds = sys.argv[1:]
    if who == "hail":
        made = hail(Path(folder))
    else:
        made = variantspark(Path(folder), int(trees), [int(seed) for seed in seeds])
    with Path(result).open("a") as out:
        for told in made:
            out.write(json.dumps(told) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
