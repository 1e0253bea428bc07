"""Why a VCF line is not stored, in words; they tell no genotype and no sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from geneai_spark.formats import vcf_kernels as kernels
from geneai_spark.formats.vcf_layout import Layout
from geneai_spark.formats.vcf_lines import Lines
from geneai_spark.formats.vcf_reserved import Field

_SITE_RULES = {
    kernels.CHROM: (
        0,
        "CHROM",
        "a contig name without white space, comma or brackets",
    ),
    kernels.POS: (1, "POS", "an integer from 0 to 2147483647"),
    kernels.ID: (2, "ID", "identifiers separated by semicolons, or '.'"),
    kernels.REF: (3, "REF", "one or more bases"),
    kernels.ALT: (
        4,
        "ALT",
        "bases, '*', <ID> or breakends, separated by commas, or '.'",
    ),
    kernels.QUAL: (5, "QUAL", "a number not below 0, or '.'"),
    kernels.FILTER: (6, "FILTER", "PASS, '.', or names separated by semicolons"),
    kernels.INFO: (7, "INFO", "KEY=VALUE items separated by semicolons, or '.'"),
    kernels.FORMAT: (8, "FORMAT", "unlike keys separated by colons, GT first"),
}


class Fault(NamedTuple):
    """Why a line is not stored: `field` broke the rule `expected`; `found` stands there instead."""

    position: int  # in the chunk
    record: int  # lines of the chunk before it
    field: str
    expected: str
    found: str
    text: str  # the line's first bytes

    @property
    def reason(self) -> str:
        """The fault as the rejects table has it."""
        return f"{self.field}: expected {self.expected}, found {self.found}"


def explain(lines: Lines, layout: Layout, info: Sequence[Field], row: int, first: int) -> Fault:
    """Put the fault of a record into words; `first` is how many lines of the chunk came before."""
    code, which, where = (int(v) for v in lines.fault[row])
    start, end = int(lines.cols[row, 0]), int(lines.ends[row])
    name, expected, found = _words(lines, layout, info, (code, which, where), row)
    line = lines.text(start, min(end, start + 200))
    return Fault(start, first + row, name, expected, found, line)


def _words(
    lines: Lines, layout: Layout, info: Sequence[Field], fault: tuple[int, int, int], row: int
) -> tuple[str, str, str]:
    """Field, expected and found of a fault; never what a sample column holds."""
    code, which, where = fault
    if code == kernels.COLUMNS:
        many = "10 or more" if which > 9 and where > 9 else str(where)
        return "line", f"{which} tab-separated columns", many
    if code == kernels.ENCODING:
        return "line", "UTF-8 text", "other bytes"
    if code in _SITE_RULES:
        column, name, expected = _SITE_RULES[code]
        start, end = lines.span(column)
        return name, expected, _quote(lines.text(start[row], end[row]))
    if code in (
        kernels.INFO_TYPE, kernels.INFO_COUNT, kernels.INFO_FLAG, kernels.INFO_NEGATIVE
    ):  # fmt: skip
        one = info[which]
        expected = {
            kernels.INFO_TYPE: f"Type={one.type}",
            kernels.INFO_COUNT: f"Number={one.number} values",
            kernels.INFO_FLAG: "a flag without a value, or with 0 or 1",
            kernels.INFO_NEGATIVE: "a number not below 0",
        }[code]
        return f"INFO {one.key}", expected, _quote(_info_value(lines, row, one.key))
    if code == kernels.SAMPLES:
        return "line", f"{which} sample columns", str(where)
    sample = f"sample column {where}"
    if code == kernels.SUBFIELDS:
        found = "an empty column" if which == 0 else f"{which} values in {sample}"
        return "FORMAT", "no more values than FORMAT has keys", found
    if code == kernels.ALLELE:
        return "FORMAT GT", f"alleles up to {which}", f"a greater one in {sample}"
    if code in (kernels.GT, kernels.PHASE):
        rule = "a genotype" if code == kernels.GT else "a first phase that the others imply"
        return "FORMAT GT", rule, f"another text in {sample}"
    one = layout.format[which].field
    rule = f"Type={one.type}" if code == kernels.VALUE_TYPE else f"Number={one.number} values"
    return f"FORMAT {one.key}", rule, f"otherwise in {sample}"


def _info_value(lines: Lines, row: int, key: str) -> str:
    start, end = lines.span(7)
    items = lines.text(start[row], end[row]).split(";")
    return next((item for item in items if item.partition("=")[0] == key), "")


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
