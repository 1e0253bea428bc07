"""Tables to files: the way back from `ingest`."""

from __future__ import annotations

from geneai_spark.export.variants import ExportOptions, export_variants

__all__ = ["ExportOptions", "export_variants"]
