"""This project's part of the ingest benchmark: run by the project's own Python, see README.md.

    python run_geneai.py empty
    python run_geneai.py ingest FILE OUT...   # the job ingest_variants, as a user runs it
    python run_geneai.py reads FILE,FILE OUT...   # the job ingest_reads
    python run_geneai.py export WAREHOUSE FILE...   # the job export_variants, to each FILE
    python run_geneai.py spark FILE OUT...    # formats.vcf.read, and Spark writes the rows

Each OUT is a warehouse that does not exist yet.

`empty` starts and stops a session, so that its cost can be told apart.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from geneai_spark.session import get_session

MASTER = "local[2]"
CONF = {"spark.driver.memory": "4g"}

mode, *paths = sys.argv[1:]
spark = get_session("benchmark", CONF, MASTER)
if mode == "spark":
    from geneai_spark import store, tables
    from geneai_spark.formats import vcf

    source, *targets = paths
    for target in targets:
        store.write(vcf.read(spark, source, on_malformed="fail"), tables.VARIANTS, target)
elif mode == "ingest":
    from geneai_spark.jobs import ingest_variants

    source, *targets = paths
    for target in targets:
        ingest_variants.run(spark, ingest_variants.Config(inputs=[source], warehouse=target))
elif mode == "reads":
    from geneai_spark.jobs import ingest_reads

    source, *targets = paths
    for target in targets:
        inputs = tuple(source.split(","))
        ingest_reads.run(spark, ingest_reads.Config(inputs=inputs, warehouse=target))
elif mode == "export":
    from geneai_spark.jobs import export_variants

    source, *targets = paths
    for target in targets:
        config = export_variants.Config(output=target, warehouse=source, overwrite=True)
        export_variants.run(spark, config)
elif mode != "empty":
    raise SystemExit(f"unknown mode {mode!r}: empty, ingest, reads, export or spark")
spark.stop()
