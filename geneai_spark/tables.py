"""Every stored table, declared once: key, columns with comments, layout.

Coordinates are 0-based and half-open everywhere. :meth:`Table.conform` compares a DataFrame with
the declaration in both directions, reports every difference at once and casts nothing.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from geneai_spark.errors import TableError

TEXT, INT, LONG, DOUBLE = StringType(), IntegerType(), LongType(), DoubleType()
TIME, BINARY, TEXTS = TimestampType(), BinaryType(), ArrayType(TEXT)


def _columns(*columns: tuple[str, DataType, str]) -> StructType:
    """A schema from (name, type, comment); columns may be null, keys never are."""
    return StructType([StructField(n, t, True, {"comment": c}) for n, t, c in columns])


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes:
        name: also its folder in the warehouse.
        about: what one row is.
        key: columns that together are unique.
        schema: the declared columns, in order, each with a comment.
        cluster_by: columns by which rows lie together in files.
        statistics: columns on which Delta keeps file statistics; empty: Delta's choice (the
            first 32), which is slow where rows are wide.
        open_columns: patterns of further columns that a table may have, e.g. ``INFO_*``.
        optional: columns that match a pattern and have a fixed type where they exist.
    """

    name: str
    about: str
    key: tuple[str, ...]
    schema: StructType
    cluster_by: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    open_columns: tuple[str, ...] = ()
    optional: StructType = StructType()

    def is_open(self, column: str) -> bool:
        """Whether an undeclared ``column`` may be in the table."""
        return any(fnmatch.fnmatchcase(column, pattern) for pattern in self.open_columns)

    def differences(self, schema: StructType) -> list[str]:
        """Every difference between ``schema`` and the declaration, each as a sentence."""
        found = {field.name: field for field in schema.fields}
        told: list[str] = []
        for field in [*self.schema.fields, *self.optional.fields]:
            expected = field.dataType.simpleString()
            if field.name not in found:
                if field.name in self.schema.names:
                    told.append(f"{field.name}: no such column, expected {expected}")
            elif (actual := found[field.name].dataType.simpleString()) != expected:
                told.append(f"{field.name}: expected {expected}, found {actual}")
        known = {*self.schema.names, *self.optional.names}
        for name, field in found.items():
            if name not in known and not self.is_open(name):
                told.append(f"{name}: unknown column ({field.dataType.simpleString()})")
        seen: dict[str, str] = {}
        for field in schema.fields:  # Spark's names are case-insensitive, VCF's are not
            other = seen.setdefault(field.name.lower(), field.name)
            if other != field.name or schema.names.count(field.name) > 1:
                told.append(f"{field.name}: the same name as {other}, but for letter case")
        return told

    def conform(self, df: DataFrame) -> DataFrame:
        """``df`` with the declared columns first and in order, comments attached.

        Raises:
            TableError: naming every missing, unknown and differently typed column.
        """
        if told := self.differences(df.schema):
            raise TableError(f"table {self.name!r}: {'; '.join(told)}")
        notes = {f.name: f.metadata for f in [*self.schema.fields, *self.optional.fields]}
        others = [name for name in df.columns if name not in self.schema.names]
        columns = []
        for name in [*self.schema.names, *others]:
            column = F.col(f"`{name}`")
            metadata = {**notes.get(name, {}), **(df.schema[name].metadata or {})}
            if metadata != df.schema[name].metadata:
                column = column.alias(name, metadata=metadata)
            columns.append(column)
        return df.select(columns)


_CONTIG = ("contigName", TEXT, "chromosome or contig, as named in the file or normalised")
_START = ("start", LONG, "first base, 0-based: VCF POS - 1")
_END = ("end", LONG, "position after the last base, 0-based, exclusive")
_SOURCE = ("sourceId", TEXT, "the file: first 16 hex digits of the sha256 of its URI")
_COHORT = ("cohort", TEXT, "name of the set of samples that share one sample order")
_REF = ("referenceAllele", TEXT, "REF")
_ALTS = ("alternateAlleles", TEXTS, "ALT alleles in order; empty for `.`")
_SAMPLE_INDEX = ("sampleIndex", INT, "position in the packed genotype vectors, from 0")
_SAMPLE = ("sampleId", TEXT, "the sample's id in the file header; identifies a person: protect")
_FLAGS = ("flags", TEXTS, "names of the failed checks; empty: passed all")

VARIANTS = Table(
    "variants",
    "a VCF record; genotypes are packed, one binary value a record and field",
    ("sourceId", "contigName", "start", "referenceAllele", "alternateAlleles"),
    _columns(
        _CONTIG,
        _START,
        _END,
        _SOURCE,
        _COHORT,
        ("names", TEXTS, "ID, split at `;`; empty for `.`"),
        _REF,
        _ALTS,
        ("qual", DOUBLE, "QUAL; null for `.`"),
        ("filters", TEXTS, "FILTER, split at `;`; null for `.`, else PASS or the failed filters"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
    open_columns=("INFO_*", "call_*"),
    optional=_columns(
        ("call_ploidy", INT, "width of the record's genotype matrix: longest call, at least 2"),
        (
            "call_genotype",
            BINARY,
            "allele indices, (samples, ploidy), row-major, int8 (int16 past 126 ALT alleles); "
            "-1 missing, -2 absent",
        ),
        (
            "call_genotype_phased",
            BINARY,
            "bits, little-endian order, of (samples, ploidy - 1): phased with the allele before",
        ),
        ("call_undeclared", MapType(TEXT, TEXT), "FORMAT fields of unknown type, TAB-joined text"),
        ("INFO_undeclared", MapType(TEXT, TEXT), "INFO fields of unknown type, as text"),
    ),
)

SAMPLES = Table(
    "samples",
    "a sample of a cohort",
    ("cohort", "sampleIndex"),
    _columns(
        _COHORT,
        _SAMPLE_INDEX,
        _SAMPLE,
        ("sourceId", TEXT, "the first file that brought the cohort's samples"),
    ),
)

TRAITS = Table(
    "traits",
    "a sample's value of one trait, covariate or clinical variable; missing values have no row",
    ("cohort", "sampleId", "trait"),
    _columns(
        _COHORT,
        _SAMPLE,
        ("trait", TEXT, "name of the column in the file"),
        ("value", DOUBLE, "the value where the trait is numeric, else null"),
        ("text", TEXT, "the value where the trait is not numeric, else null"),
        _SOURCE,
    ),
)

REJECTS = Table(
    "rejects",
    "an input line that was not stored; lines in = stored + rejected, always",
    ("sourceId", "line", "offset"),
    _columns(
        _SOURCE,
        ("line", LONG, "1-based line number in the text; null where unknown"),
        ("offset", LONG, "byte offset of the line or block; null where unknown"),
        ("reason", TEXT, "why: field, expected, found"),
        ("text", TEXT, "the line's first characters, as in the file"),
    ),
)

INGESTS = Table(
    "ingests",
    "an input file, with the outcome of its last ingestion: the ledger",
    ("sourceId",),
    _columns(
        _SOURCE,
        ("uri", TEXT, "where the file is"),
        ("kind", TEXT, "variants or traits"),
        _COHORT,
        ("size", LONG, "bytes"),
        ("modified", DOUBLE, "modification time, seconds since 1970"),
        ("etag", TEXT, "the object store's version mark; null on file systems"),
        ("checksum", TEXT, "sha256 of the file's bytes, hex; null where switched off or failed"),
        ("status", TEXT, "stored or failed"),
        ("reason", TEXT, "why it failed; null if stored"),
        ("recordsIn", LONG, "data lines in the file (with regions: those inside them)"),
        ("recordsStored", LONG, "lines of this file now in the table"),
        ("recordsRejected", LONG, "lines of this file now in rejects"),
        ("options", TEXT, "fingerprint of the options; others ingest the file again"),
        ("genomeBuild", TEXT, "reference genome, from the header or the option"),
        ("softwareVersion", TEXT, "geneai-spark's version"),
        ("tableVersion", LONG, "version of the table that holds the rows"),
        ("finishedAt", TIME, "when"),
    ),
)

RUNS = Table(
    "runs",
    "a run of a job, succeeded or failed",
    ("runId",),
    _columns(
        ("runId", TEXT, "random id"),
        ("job", TEXT, "name of the job"),
        ("status", TEXT, "succeeded or failed"),
        ("startedAt", TIME, "when it began"),
        ("seconds", DOUBLE, "wall time"),
        ("config", TEXT, "settings as JSON, without secrets"),
        ("metrics", TEXT, "the job's numbers as JSON"),
        ("error", TEXT, "class of the error; null if succeeded"),
        ("message", TEXT, "the error's message; null if succeeded or not one of ours"),
        ("tablesRead", MapType(TEXT, LONG), "table -> version read"),
        ("tablesWritten", MapType(TEXT, LONG), "table -> version written"),
        ("softwareVersion", TEXT, "geneai-spark's version"),
    ),
)

VARIANT_QUALITY = Table(
    "variant_quality",
    "quality metrics of a variant; flags, drops nothing",
    ("cohort", "contigName", "start", "referenceAllele", "alternateAlleles", "sourceId"),
    _columns(
        _CONTIG,
        _START,
        _END,
        _SOURCE,
        _COHORT,
        ("names", TEXTS, "ID, split at `;`"),
        _REF,
        _ALTS,
        ("samplesCalled", INT, "samples with a complete genotype"),
        ("callRate", DOUBLE, "samplesCalled / samples, 0..1"),
        ("alleleNumber", INT, "called alleles (AN)"),
        ("alleleCounts", ArrayType(INT), "count of each allele, REF first"),
        ("alleleFrequencies", ArrayType(DOUBLE), "alleleCounts / alleleNumber; null if none"),
        ("homozygousReferences", INT, "samples called with REF only; haploid ones too"),
        ("heterozygotes", INT, "samples with two different alleles"),
        ("homozygousAlternates", INT, "samples called with one ALT only; haploid ones too"),
        _FLAGS,
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
)

SAMPLE_QUALITY = Table(
    "sample_quality",
    "quality metrics of a sample; flags, drops nothing",
    ("cohort", "sampleIndex"),
    _columns(
        _COHORT,
        _SAMPLE_INDEX,
        _SAMPLE,
        ("variants", LONG, "variants looked at"),
        ("variantsCalled", LONG, "variants with a complete genotype"),
        ("callRate", DOUBLE, "variantsCalled / variants, 0..1"),
        ("heterozygotes", LONG, "variants with two different alleles"),
        ("homozygousAlternates", LONG, "variants with only one ALT allele, called in full"),
        _FLAGS,
    ),
)

ASSOCIATIONS = Table(
    "associations",
    "a test of one ALT allele against one trait",
    ("cohort", "trait", "test", "contigName", "start", "referenceAllele", "alternateAllele"),
    _columns(
        _CONTIG,
        _START,
        _END,
        _COHORT,
        ("names", TEXTS, "ID, split at `;`"),
        _REF,
        ("alternateAllele", TEXT, "the tested allele; effects are per copy of it"),
        ("trait", TEXT, "the trait tested"),
        ("test", TEXT, "linear, logistic, ..."),
        ("effect", DOUBLE, "change of the trait per copy of the allele (log odds if logistic)"),
        ("standardError", DOUBLE, "of the effect"),
        ("statistic", DOUBLE, "the test's statistic: t, z or chi-squared"),
        ("pValue", DOUBLE, "two-sided"),
        ("sampleCount", INT, "samples with trait, covariates and genotype"),
        ("alleleFrequency", DOUBLE, "of the tested allele in these samples"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "trait", "pValue"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        VARIANTS,
        SAMPLES,
        TRAITS,
        REJECTS,
        INGESTS,
        RUNS,
        VARIANT_QUALITY,
        SAMPLE_QUALITY,
        ASSOCIATIONS,
    )
}
