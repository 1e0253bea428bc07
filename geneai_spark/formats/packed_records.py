"""What readers of files with a block of genotypes a record share (PLINK, BGEN): what is asked for,
the columns that come of it, and records to Arrow batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, DoubleType, StructField, StructType

from geneai_spark import genome, tables
from geneai_spark.errors import ConfigError, FormatError, SampleMismatchError
from geneai_spark.formats.vcf_plan import few

Array = NDArray[Any]
P = TypeVar("P")

BATCH_BYTES = 16 << 20  # of genotypes in an Arrow batch
BATCH_ROWS = 4096
SHOWN = 200  # characters of a rejected record that are kept

REJECTS = to_arrow_schema(tables.REJECTS.schema)
_GENOTYPE = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">'
_GP = '##FORMAT=<ID=GP,Number=G,Type=Float,Description="Genotype probabilities, 0..1">'
_CM = '##INFO=<ID=CM,Number=1,Type=Float,Description="Position on the genetic map, centimorgans">'
#: What the header of a VCF file with the same records says: see table ``vcf_headers``.
PLINK_HEADER = ("##fileformat=VCFv4.3", _CM, _GENOTYPE)
BGEN_HEADER = ("##fileformat=VCFv4.3", _GENOTYPE, _GP)
#: PLINK's numbers of the human sex chromosomes and mitochondria. XY is the pseudo-autosomal part
#: of X: downstream its place tells that, as with VCF files.
_CODES = {"23": "X", "24": "Y", "25": "X", "XY": "X", "26": "MT"}


@dataclass(frozen=True)
class Reading:
    """What is asked of files.

    Attributes:
        genotypes: False reads sites only.
        info, format: keys to keep; None keeps all that the format has.
        samples: samples to read, in this order; None reads all of each file.
        regions: only records that overlap one.
        build: rename contigs as this genome build does.
        on_malformed: ``reject`` or ``fail``.
    """

    genotypes: bool = True
    info: tuple[str, ...] | None = None
    format: tuple[str, ...] | None = None
    samples: tuple[str, ...] | None = None
    regions: tuple[genome.Interval, ...] | None = None
    build: str | None = None
    on_malformed: str = "reject"

    @classmethod
    def of(
        cls,
        *,
        genotypes: bool = True,
        info: Sequence[str] | None = None,
        format: Sequence[str] | None = None,
        samples: Sequence[str] | None = None,
        regions: Sequence[str] | None = None,
        contigs: str | None = None,
        on_malformed: str = "reject",
    ) -> Reading:
        """From the arguments that `vcf.read` takes, too.

        Raises:
            ConfigError: a region or build is not one.
        """
        if on_malformed not in ("reject", "fail"):
            raise ConfigError(f"on_malformed={on_malformed!r}: expected reject or fail")
        intervals = None
        if contigs is not None:
            genome.contig_aliases(contigs)  # a build that there is not is told at once
        if regions is not None:
            intervals = tuple(genome.parse_region(region) for region in regions)
            if contigs is not None:
                intervals = tuple(
                    replace(one, contig=genome.normalise(one.contig, contigs)) for one in intervals
                )
        return cls(
            genotypes,
            None if info is None else tuple(info),
            None if format is None else tuple(format),
            None if samples is None else tuple(samples),
            intervals,
            contigs,
            on_malformed,
        )

    def contig(self, name: str) -> str:
        """A contig's name: PLINK's and Oxford's codes undone, then as the build has it."""
        plain = contig(name)
        return plain if self.build is None else genome.normalise(plain, self.build)

    def wants(self, contig: str, start: int, end: int) -> bool:
        """Whether a record is in the regions."""
        if self.regions is None:
            return True
        return any(region.overlaps(contig, start, max(end, start + 1)) for region in self.regions)

    def choice(self, uri: str, samples: Sequence[str]) -> Array | None:
        """For each sample to read its place in the file; None where that is all, in order.

        Raises:
            SampleMismatchError: one that is asked for is not there.
            ConfigError: one is named twice.
        """
        if self.samples is None or not self.genotypes or self.samples == tuple(samples):
            return None
        if (twice := len(self.samples) - len(set(self.samples))) > 0:
            raise ConfigError(f"samples: {twice} are named more than once")
        place = {name: i for i, name in enumerate(samples)}
        lacking = [i for i, name in enumerate(self.samples, 1) if name not in place]
        if lacking:
            raise SampleMismatchError(
                f"{uri}: {len(lacking)} of the {len(self.samples)} samples asked for are not in it "
                f"(numbers {few(lacking)} of the list)"
            )
        return np.array([place[name] for name in self.samples], np.int64)


def contig(name: str) -> str:
    """A human contig by its own name: ``01`` -> 1, ``23`` -> X, ``chr26`` -> chrM.

    >>> contig("01"), contig("23"), contig("XY"), contig("chr24"), contig("26"), contig("0")
    ('1', 'X', 'X', 'chrY', 'MT', '0')
    """
    prefix, bare = (name[:3], name[3:]) if name[:3].lower() == "chr" else ("", name)
    if re.fullmatch(r"0[1-9]", bare):
        bare = bare[1:]
    bare = _CODES.get(bare, bare)
    return prefix + ("M" if prefix and bare == "MT" else bare)


class Site(NamedTuple):
    """A record without its genotypes; `start` is 0-based, `cm` its place on the genetic map."""

    contig: str
    start: int
    names: list[str]
    ref: str
    alts: list[str]
    cm: float | None = None

    @property
    def end(self) -> int:
        """0-based, exclusive."""
        return self.start + len(self.ref)


class Fault(NamedTuple):
    """Why a record is not stored; `line` 1-based, `offset` in bytes, `text` how it begins."""

    line: int | None
    offset: int | None
    field: str
    expected: str
    found: str
    text: str


class Parsed(NamedTuple):
    """What some records gave: the good ones, the rejected ones, how many that were."""

    records: pa.RecordBatch
    rejects: pa.RecordBatch
    lines: int


class MalformedError(ValueError):
    """A record breaks its format: the field, what was expected, what was found."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(field, expected, found)
        self.field, self.expected, self.found = field, expected, found


def schema(reading: Reading, *, cm: bool = False, gp: bool = False) -> StructType:
    """The columns of ``variants`` that a format gives.

    Args:
        cm: whether it knows centimorgans; gp: whether it has genotype probabilities.
    """
    fields = list(tables.VARIANTS.schema.fields)
    if cm and (reading.info is None or "CM" in reading.info):
        fields.append(
            _field("INFO_CM", DoubleType(), "position on the genetic map, centimorgans", "CM", "1")
        )
    if reading.genotypes:
        names = ("call_ploidy", "call_genotype", "call_genotype_phased")
        fields += [one for one in tables.VARIANTS.optional if one.name in names]
        if gp and (reading.format is None or "GP" in reading.format):
            fields.append(
                _field("call_GP", BinaryType(), "genotype probabilities, 0..1", "GP", "G")
            )
    return StructType(fields)


def _field(name: str, kind: Any, comment: str, key: str, number: str) -> StructField:
    told = {"comment": comment, "vcf.key": key, "vcf.number": number, "vcf.type": "Float"}
    return StructField(name, kind, True, told)


def batch(
    columns: pa.Schema, sites: Sequence[Site], source: str, cohort: str, **calls: pa.Array
) -> pa.RecordBatch:
    """Sites and their genotype columns as a batch of `columns`."""
    n = len(sites)
    made = calls | {
        "contigName": [site.contig for site in sites],
        "start": [site.start for site in sites],
        "end": [site.end for site in sites],
        "names": [site.names for site in sites],
        "referenceAllele": [site.ref for site in sites],
        "alternateAlleles": [site.alts for site in sites],
        "sourceId": pa.repeat(pa.scalar(source), n),
        "cohort": pa.repeat(pa.scalar(cohort), n),
        "INFO_CM": [site.cm for site in sites],
    }
    arrays = []
    for one in columns:
        values = made.get(one.name)
        if values is None:
            values = pa.nulls(n, one.type)  # qual, filters
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, one.type))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def rejects(uri: str, faults: Sequence[Fault], source: str, on_malformed: str) -> pa.RecordBatch:
    """Rows of ``rejects``.

    Raises:
        FormatError: the first fault, where ``on_malformed`` is ``fail``.
    """
    if faults and on_malformed == "fail":
        one = faults[0]
        raise FormatError(
            uri, one.expected, one.found, field=one.field, line=one.line, offset=one.offset
        )
    rows = [
        {
            "sourceId": source,
            "line": one.line,
            "offset": one.offset,
            "reason": f"{one.field}: expected {one.expected}, found {one.found}",
            "text": one.text[:SHOWN],
        }
        for one in faults
    ]
    return pa.RecordBatch.from_pylist(rows, REJECTS)


def packed(matrix: Array) -> pa.Array:
    """A contiguous matrix as one binary value a row, without a copy."""
    matrix = np.ascontiguousarray(matrix)
    width = matrix[0].nbytes if len(matrix) else 0
    offsets = (np.arange(len(matrix) + 1) * width).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(matrix)]
    return pa.Array.from_buffers(pa.binary(), len(matrix), buffers)


def check_unique(uri: str, samples: Sequence[str], first_line: int) -> None:
    """Raise FormatError where two samples have one id; lines are told, ids never."""
    seen: dict[str, int] = {}
    for i, sample in enumerate(samples):
        if sample in seen:
            told = f"lines {seen[sample] + first_line} and {i + first_line} have the same"
            raise FormatError(uri, "each sample id once", told, line=i + first_line)
        seen[sample] = i


def shares(parts: Iterable[tuple[P, int]], target: int) -> Iterator[list[P]]:
    """Put parts, each with its bytes, together so that a task reads about `target` of them."""
    held: list[P] = []
    room = float(target)
    for part, size in parts:
        if held and size > room:
            yield held
            held, room = [], float(target)
        held.append(part)
        room -= size
    if held:
        yield held


def data_frame(
    spark: SparkSession,
    work: Sequence[P],
    parse: Callable[[P], Iterable[Parsed]],
    columns: StructType,
) -> DataFrame:
    """Rows that tasks make, one task an element of `work`; rejected records are left out."""

    def each(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (i for one in batches for i in one.column("id").to_pylist()):
            for parsed in parse(work[number]):
                yield parsed.records

    numbers = spark.range(0, len(work), 1, max(1, len(work)))
    return numbers.mapInArrow(each, columns)
