"""Files into tables: idempotent by the ledger, reconciled, safe to interrupt.

`ingest_reads` and `ingest_alignments` are to be imported from `reads` and `alignments`: their
planning needs compiled kernels, which nobody else's driver has to load.
"""

from geneai_spark.ingest.options import (
    AlignmentOptions,
    ReadOptions,
    TraitOptions,
    VariantOptions,
)
from geneai_spark.ingest.traits import ingest_traits
from geneai_spark.ingest.variants import ingest_variants

__all__ = [
    "AlignmentOptions",
    "ReadOptions",
    "TraitOptions",
    "VariantOptions",
    "ingest_traits",
    "ingest_variants",
]
