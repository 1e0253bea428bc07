"""Hail's part of the analysis benchmark: run by Hail's own Python, see README.md.

    python run_hail_analysis.py prepare FOLDER VCF TRAITS
    python run_hail_analysis.py STAGE TIMES FOLDER

The same stages as run_analysis.py, as Hail's documentation writes them; results are written as
Hail tables.
"""

from __future__ import annotations

import sys

import hail as hl

stage, *words = sys.argv[1:]
hl.init(
    master="local[2]",
    quiet=True,
    log="/dev/null",
    spark_conf={"spark.driver.memory": "4g", "spark.ui.enabled": "false"},
)
COVARIATES = [f"cov{i}" for i in range(1, 6)]
TRAITS = [f"simulated_{i:02}" for i in range(1, 51)]

if stage == "prepare":
    folder, vcf, traits = words
    data = hl.import_vcf(vcf, force_bgz=True, reference_genome="GRCh37")
    table = hl.import_table(traits, delimiter=",", impute=True, key="sample")
    data.annotate_cols(pheno=table[data.s]).write(f"{folder}/data.mt", overwrite=True)
else:
    times, folder = int(words[0]), words[1]
    for _ in range(times):
        data = hl.read_matrix_table(f"{folder}/data.mt")
        if stage == "quality":
            data = hl.sample_qc(hl.variant_qc(data))
            data.rows().write(f"{folder}/variants.ht", overwrite=True)
            data.cols().write(f"{folder}/samples.ht", overwrite=True)
        elif stage == "pca":
            data = hl.variant_qc(data)
            data = data.filter_rows(hl.min(data.variant_qc.AF) >= 0.05)
            _, scores, _ = hl.hwe_normalized_pca(data.GT, k=10)
            scores.write(f"{folder}/scores.ht", overwrite=True)
        else:
            traits = TRAITS[: int(stage.removeprefix("linear"))]
            tests = hl.linear_regression_rows(
                y=[data.pheno[name] for name in traits],
                x=data.GT.n_alt_alleles(),
                covariates=[1.0, *(data.pheno[name] for name in COVARIATES)],
            )
            tests.write(f"{folder}/tests.ht", overwrite=True)
hl.stop()
