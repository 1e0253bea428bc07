"""Per-variant metrics from packed genotypes: call rate, allele counts, genotype classes.

Conventions, as bcftools has them where it has one: ``alleleNumber`` counts every called allele,
those of half calls (``0/.``) too; a sample is called when no allele of its genotype is missing;
a genotype is homozygous when all alleles it has are equal (so a haploid one is), otherwise
heterozygous (``1/2`` too). Allele lists start with REF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from geneai_spark import genotypes, tables
from geneai_spark.errors import TableError
from geneai_spark.quality import Check

KEYS = [
    "contigName",
    "start",
    "end",
    "sourceId",
    "cohort",
    "names",
    "referenceAllele",
    "alternateAlleles",
]


def variant_metrics(variants: DataFrame, n_samples: Mapping[str, int] | int) -> DataFrame:
    """Measure each variant: the columns of ``variant_quality`` but for ``flags``.

    Args:
        variants: the ``variants`` table, with genotypes.
        n_samples: samples of each cohort by name, or one number for all.

    Raises:
        TableError: ``variants`` has no genotypes (they were left out at ingestion).
    """
    needed = [*KEYS, "call_genotype", "call_ploidy"]
    if missing := [name for name in needed if name not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    fields = [f for f in tables.VARIANT_QUALITY.schema.fields if f.name != "flags"]
    schema = StructType(fields)
    arrow = to_arrow_schema(schema)

    def measure(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for cohort in pc.unique(batch.column("cohort")).to_pylist():
                one = batch.filter(pc.equal(batch.column("cohort"), cohort))
                size = n_samples if isinstance(n_samples, int) else n_samples.get(cohort, 0)
                yield _metrics(one, size).select(arrow.names).cast(arrow)

    return variants.select(needed).mapInArrow(measure, schema)


def _metrics(batch: pa.RecordBatch, n_samples: int) -> pa.RecordBatch:
    """Measure records of one cohort."""
    decoded = genotypes.calls(batch.column("call_genotype"), n_samples, batch.column("call_ploidy"))
    n_alleles = pc.list_value_length(batch.column("alternateAlleles")).to_numpy() + 1
    counts = genotypes.allele_counts(decoded, int(n_alleles.max(initial=1)))
    number = counts.sum(axis=1)  # (records,)
    classes = genotypes.genotype_counts(decoded)  # (records, 3): hom-REF, het, hom-ALT
    called = classes.sum(axis=1)
    with np.errstate(invalid="ignore"):
        frequencies = counts / number[:, None]  # (records, alleles); NaN where none is called
    own = np.arange(counts.shape[1]) < n_alleles[:, None]  # alleles that the record has
    offsets = pa.array(np.concatenate([[0], np.cumsum(n_alleles)]), pa.int32())
    measured = {
        "samplesCalled": pa.array(called, pa.int32()),
        "callRate": pa.array(
            called / n_samples if n_samples else np.full(len(called), np.nan), from_pandas=True
        ),
        "alleleNumber": pa.array(number, pa.int32()),
        "alleleCounts": pa.ListArray.from_arrays(offsets, pa.array(counts[own], pa.int32())),
        "alleleFrequencies": pa.ListArray.from_arrays(
            offsets, pa.array(frequencies[own]), mask=pa.array(number == 0)
        ),
        "homozygousReferences": pa.array(classes[:, 0]),
        "heterozygotes": pa.array(classes[:, 1]),
        "homozygousAlternates": pa.array(classes[:, 2]),
    }
    keys = {name: batch.column(name) for name in KEYS}
    return pa.RecordBatch.from_pydict({**keys, **measured})


def checks(*, min_call_rate: float = 0.95, min_minor_allele_frequency: float = 0.0) -> list[Check]:
    """The checks of a variant: ``low_call_rate``, ``monomorphic``, ``rare``.

    Args:
        min_call_rate: least fraction of samples called, 0..1.
        min_minor_allele_frequency: least total frequency of all alleles but the most common.
    """
    minor = 1 - F.array_max("alleleFrequencies")
    return [
        Check("low_call_rate", F.col("callRate") >= min_call_rate),
        Check("monomorphic", F.array_max("alleleFrequencies") < 1),
        Check("rare", minor >= min_minor_allele_frequency),
    ]
