"""Views of packed genotypes for other tools: ALT dosages, and Glow's array of structs.

Both make rows wide and slow: use them at the border to other tools. Inside, functions decode
packed batches with ``genotypes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    FloatType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from geneai_spark import cohorts, genotypes
from geneai_spark.errors import TableError

GLOW_GENOTYPES = ArrayType(
    StructType(
        [
            StructField("sampleId", StringType()),
            StructField("phased", BooleanType()),
            StructField("calls", ArrayType(IntegerType())),
        ]
    )
)


def dosage_view(variants: DataFrame, samples: DataFrame) -> DataFrame:
    """Replace the packed genotypes by ``dosages``: array<float>, ALT copies of each sample.

    Samples stand in the order of ``sampleIndex``; NaN where an allele is missing. At a
    multi-allelic record every ALT allele counts.

    Raises:
        TableError: ``variants`` has no genotypes.
    """

    def dosages(batch: pa.RecordBatch, ids: list[str]) -> pa.Array:
        return _lists(genotypes.dosages(_decode(batch, len(ids))))

    return _view(variants, samples, "dosages", ArrayType(FloatType()), dosages)


def glow_view(variants: DataFrame, samples: DataFrame) -> DataFrame:
    """Replace the packed genotypes by Glow's ``genotypes``.

    That is array<struct<sampleId, phased, calls>>: ``calls`` holds allele indices, -1 missing,
    as many as the sample has; ``phased`` is true where all separators are ``|``.

    Raises:
        TableError: ``variants`` has no genotypes.
    """

    def structs(batch: pa.RecordBatch, ids: list[str]) -> pa.Array:
        decoded = _decode(batch, len(ids))  # (records, samples, ploidy)
        bars = genotypes.phased(
            batch.column("call_genotype_phased"), len(ids), batch.column("call_ploidy")
        )
        has = decoded != genotypes.ABSENT
        separators = has[:, :, 1:].sum(axis=2)
        phased = (separators > 0) & (bars[:, :, : decoded.shape[2] - 1].sum(axis=2) == separators)
        offsets = np.concatenate([[0], np.cumsum(has.sum(axis=2).ravel())])
        calls = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(decoded[has], pa.int32())
        )
        names = pa.array(ids, pa.string()).take(
            pa.array(np.tile(np.arange(len(ids)), batch.num_rows))
        )
        each = pa.StructArray.from_arrays(
            [names, pa.array(phased.ravel()), calls], ["sampleId", "phased", "calls"]
        )
        return pa.ListArray.from_arrays(_steps(batch.num_rows, len(ids)), each)

    return _view(variants, samples, "genotypes", GLOW_GENOTYPES, structs)


def _view(
    variants: DataFrame,
    samples: DataFrame,
    name: str,
    type_: DataType,
    make: Callable[[pa.RecordBatch, list[str]], pa.Array],
) -> DataFrame:
    """Replace all ``call_*`` columns by one that ``make`` computes, cohort by cohort."""
    packed = ["call_ploidy", "call_genotype", "call_genotype_phased"]
    if missing := [column for column in packed if column not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    ids: Mapping[str, list[str]] = cohorts.sample_ids(samples.toArrow())
    kept = [field for field in variants.schema.fields if not field.name.startswith("call_")]
    schema = StructType([*kept, StructField(name, type_)])
    arrow = to_arrow_schema(schema)
    rest = [field.name for field in kept]

    def view(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for cohort in pc.unique(batch.column("cohort")).to_pylist():
                one = batch.filter(pc.equal(batch.column("cohort"), cohort))
                columns = [one.column(column) for column in rest]
                made = make(one, ids.get(cohort, []))
                found = pa.RecordBatch.from_arrays([*columns, made], names=arrow.names)
                yield found.cast(arrow)

    return variants.select(*rest, *packed).mapInArrow(view, schema)


def _decode(batch: pa.RecordBatch, n_samples: int) -> genotypes.Array:
    return genotypes.calls(batch.column("call_genotype"), n_samples, batch.column("call_ploidy"))


def _lists(matrix: genotypes.Array) -> pa.ListArray:
    """Make each row of a matrix a list."""
    return pa.ListArray.from_arrays(_steps(*matrix.shape), pa.array(matrix.ravel()))


def _steps(rows: int, size: int) -> pa.Array:
    return pa.array(np.arange(rows + 1) * size, pa.int32())
