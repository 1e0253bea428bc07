"""What to read from a VCF file: the columns to make of INFO and FORMAT, and the choices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from geneai_spark.formats.vcf_reserved import Field
from geneai_spark.genome import Interval

ARROW_TYPES = {
    "Integer": pa.int32(),
    "Float": pa.float64(),
    "Character": pa.string(),
    "String": pa.string(),
}
#: Annotation fields whose commas and bars stay as they are; `vcf.read(split_info=...)` splits them.
ANNOTATIONS = ("CSQ", "ANN", "BCSQ", "vep")


class Column(NamedTuple):
    """A typed INFO key or FORMAT field and the name of its table column.

    `parts` names the fields of an annotation that is to be split at its bars.
    """

    field: Field
    name: str
    parts: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.DataType:
        """Arrow type of an INFO column."""
        if self.parts:
            return pa.list_(pa.struct([(part, pa.string()) for part in self.parts]))
        return self.text_type

    @property
    def text_type(self) -> pa.DataType:
        """Arrow type of an INFO column before annotations are split."""
        if self.field.type == "Flag":
            return pa.bool_()
        scalar = self.field.number == "1" or self.field.key in ANNOTATIONS
        value = ARROW_TYPES[self.field.type]
        return value if scalar else pa.list_(value)


@dataclass(frozen=True)
class Layout:
    """What to read from a file and how; small and picklable.

    Attributes:
        n_columns: columns of the header line.
        choice: for each sample column of the file its place in the output, -1 to leave it out;
            None takes all in order.
        info, format: columns to make; GT is not among `format`.
        info_rest, format_rest: whether keys without a column are kept in `*_undeclared`.
        genotypes: whether to read genotypes at all; without it nothing behind FORMAT is touched.
        percent: whether text is percent-encoded (VCF 4.3 and later).
        leading_phase: whether a phase may stand before the first allele (VCF 4.4 and later).
        svlen_ends: whether SVLEN tells where symbolic alleles end (VCF 4.4 and later).
        build: rename contigs as this genome build does.
        regions: keep only records that overlap one; None keeps all.
    """

    n_columns: int
    choice: tuple[int, ...] | None
    info: tuple[Column, ...]
    format: tuple[Column, ...]
    info_rest: bool = True
    format_rest: bool = True
    genotypes: bool = True
    percent: bool = True
    leading_phase: bool = False
    svlen_ends: bool = False
    build: str | None = None
    regions: tuple[Interval, ...] | None = None

    def is_split(self, key: str) -> bool:
        """Whether an INFO key is an annotation that is to be split."""
        return any(column.parts for column in self.info if column.field.key == key)

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the batches."""
        strings = pa.list_(pa.string())
        text_map = pa.map_(pa.string(), pa.string())
        columns = [
            ("contigName", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("names", strings),
            ("referenceAllele", pa.string()),
            ("alternateAlleles", strings),
            ("qual", pa.float64()),
            ("filters", strings),
            *((column.name, column.arrow) for column in self.info),
            ("INFO_undeclared", text_map),
        ]
        if self.genotypes:
            columns += [
                ("call_ploidy", pa.int32()),
                ("call_genotype", pa.binary()),
                ("call_genotype_phased", pa.binary()),
                *((column.name, pa.binary()) for column in self.format),
                ("call_undeclared", text_map),
            ]
        return pa.schema(columns)
