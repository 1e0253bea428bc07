"""This project's part of the analysis benchmark: run by the project's own Python, see README.md.

    python run_analysis.py prepare WAREHOUSE VCF TRAITS   # the tables that the stages read
    python run_analysis.py STAGE TIMES WAREHOUSE          # 0 times: a session that does nothing

Stages: quality, linear1, linear50, pca. Each is the job that a user runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from geneai_spark.session import get_session

MASTER = "local[2]"
CONF = {"spark.driver.memory": "4g"}
COVARIATES = [f"cov{i}" for i in range(1, 6)]
TRAITS = [f"simulated_{i:02}" for i in range(1, 51)]

stage, *words = sys.argv[1:]
spark = get_session("benchmark", CONF, MASTER)
if stage == "prepare":
    from geneai_spark.jobs import ingest_traits, ingest_variants

    warehouse, vcf, traits = words
    ingest_variants.run(spark, ingest_variants.Config(inputs=[vcf], warehouse=warehouse))
    ingest_traits.run(spark, ingest_traits.Config(inputs=[traits], warehouse=warehouse))
else:
    from geneai_spark.jobs import check_quality, extract_features, run_gwas

    times, warehouse = int(words[0]), words[1]
    for _ in range(times):
        if stage == "quality":
            check_quality.run(spark, check_quality.Config(warehouse=warehouse))
        elif stage == "pca":
            extract_features.run(
                spark,
                extract_features.Config(
                    warehouse=warehouse, features=["pca"], pruned=False, k=10, min_frequency=0.05
                ),
            )
        elif stage in ("linear1", "linear50"):
            traits = TRAITS[: int(stage.removeprefix("linear"))]
            run_gwas.run(
                spark, run_gwas.Config(traits=traits, covariates=COVARIATES, warehouse=warehouse)
            )
        else:
            raise SystemExit(f"unknown stage {stage!r}: quality, linear1, linear50 or pca")
spark.stop()
