"""GeneAI on Spark: distributed AI for genomic studies on Apache Spark and Delta Lake."""

__version__ = "0.1.0"
