"""Entry points for spark-submit, one job a file: `geneai_spark.jobs` once installed."""
