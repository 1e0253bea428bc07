"""Features of samples and variants, one module an extractor."""

from __future__ import annotations

from collections.abc import Mapping

from geneai_spark.features import structure
from geneai_spark.features.structure import Extractor

#: Extractors by name, in the order in which one uses what another found.
EXTRACTORS: Mapping[str, Extractor] = {
    "ld": structure.prune,
    "kinship": structure.relate,
    "pca": structure.components,
}
