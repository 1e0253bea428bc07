"""Files into tables: idempotent by the ledger, reconciled, safe to interrupt."""

from geneai_spark.ingest.options import TraitOptions, VariantOptions
from geneai_spark.ingest.traits import ingest_traits
from geneai_spark.ingest.variants import ingest_variants

__all__ = ["TraitOptions", "VariantOptions", "ingest_traits", "ingest_variants"]
