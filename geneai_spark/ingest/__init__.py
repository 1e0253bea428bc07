"""Files into tables: idempotent by the ledger, reconciled, safe to interrupt.

`ingest_reads` is to be imported from `reads`: its planning needs compiled kernels, which nobody
else's driver has to load.
"""

from geneai_spark.ingest.options import ReadOptions, TraitOptions, VariantOptions
from geneai_spark.ingest.traits import ingest_traits
from geneai_spark.ingest.variants import ingest_variants

__all__ = ["ReadOptions", "TraitOptions", "VariantOptions", "ingest_traits", "ingest_variants"]
