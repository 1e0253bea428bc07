"""VCF files as Spark DataFrames: ``read(spark, path)`` or ``spark.read.format("geneai.vcf")``.

A Python data source: the files are cut into ranges of whole lines (see `bgzf`), each task parses
its ranges (see `vcf_records`) and hands Spark Arrow batches. The rows are those of the `variants`
table; genotypes are packed, one binary value a record (see `geneai_spark.genotypes`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from geneai_spark import filesystems
from geneai_spark.errors import ConfigError, FormatError
from geneai_spark.formats import bgzf, vcf_plan
from geneai_spark.formats.vcf_plan import VcfFile, inspect
from geneai_spark.formats.vcf_reserved import Field

if TYPE_CHECKING:
    import pyarrow as pa

    from geneai_spark.formats.vcf_faults import Fault
    from geneai_spark.formats.vcf_layout import Layout

__all__ = ["FORMAT", "VcfFile", "inspect", "read", "read_batches", "register"]

FORMAT = "geneai.vcf"
EMIT = ("variants", "all", "rejects")
ON_MALFORMED = ("reject", "fail")
PARTITION_BYTES = 32 << 20
#: Counting lines back to the start of a range is done for rejects up to this many stored bytes.
COUNT_LINES_BYTES = 256 << 20

REJECT = StructType(
    [
        StructField("line", LongType(), True, {"comment": "1-based line number, where known"}),
        StructField("offset", LongType(), True, {"comment": "offset in the file: virtual in BGZF"}),
        StructField("reason", StringType()),
        StructField("text", StringType(), True, {"comment": "the line's first bytes"}),
    ]
)
REJECTS = StructType([StructField("sourceId", StringType()), *REJECT.fields])

_OPTIONS = (
    "paths", "cohort", "genotypes", "info", "format", "samples", "regions", "onMalformed",
    "perFileCohort", "build", "fields", "partitionBytes", "emit",
)  # fmt: skip


def read(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    cohort: str = "default",
    genotypes: bool = True,
    info: Sequence[str] | None = None,
    format: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    on_malformed: str = "reject",
    per_file_cohort: bool = False,
    contigs: str | None = None,
    split_info: Sequence[str] = (),
    schema: StructType | Mapping[str, Field] | None = None,
    partition_bytes: int | None = None,
    emit: str = "variants",
) -> DataFrame:
    """Read VCF files (plain, gzip or BGZF, told from their bytes) into one DataFrame.

    Args:
        paths: files, folders and globs, on any storage that `filesystems` knows.
        cohort: name of the cohort whose samples the files share.
        genotypes: False reads sites only and never touches the sample columns.
        info: INFO keys to read, None for all; format: FORMAT keys likewise (GT is always read).
        samples: sample ids to read, in this order; None for all.
        regions: ``chr20:1,000-2,000`` (1-based inclusive); only records that overlap one. With a
            ``.tbi`` or ``.csi`` index beside a BGZF file only the blocks concerned are read.
        on_malformed: ``reject`` adds a struct column `reject` (line, offset, reason, text), null in
            good rows; lines that break the format are rows in which nothing else is set. ``fail``
            raises FormatError for the first such line.
        per_file_cohort: take each file as a cohort of its own, named after the file.
        contigs: rename contigs as this genome build does (``GRCh38``: 1, MT; ``hg38``: chr1, chrM).
        split_info: annotation keys (CSQ, ANN) to split into an array of structs, their fields named
            by the header's description; otherwise they stay one string.
        schema: declarations that win over the headers': a StructType with some of the INFO_ and
            call_ columns, or fields by ``INFO/KEY`` and ``FORMAT/KEY``.
        partition_bytes: stored bytes a task reads; default: a core's share, 2 to 32 MiB.
        emit: ``variants``; ``all`` adds `lines`, which sums up to the number of data lines (for
            reconciliation); ``rejects`` gives the rejected lines alone.

    Raises:
        StorageError, FormatError, BgzfError: a file cannot be read, or its header is broken.
        SampleMismatchError: files of one cohort differ in their samples.
        SchemaConflictError: files declare one key with different types.
        ConfigError: an argument asks for what does not exist.
    """
    files = inspect(paths)
    fields = _user_fields(schema)
    if partition_bytes is None:
        # A task a core where the files are small: fewer, larger output files cost least.
        share = sum(file.size for file in files) // spark.sparkContext.defaultParallelism + 1
        partition_bytes = min(max(share, 2 << 20), PARTITION_BYTES)
    given = {
        "paths": [file.uri for file in files],
        "cohort": cohort,
        "genotypes": genotypes,
        "info": None if info is None else list(info),
        "format": None if format is None else list(format),
        "samples": None if samples is None else list(samples),
        "regions": None if regions is None else list(regions),
        "onMalformed": on_malformed,
        "perFileCohort": per_file_cohort,
        "build": contigs,
        "fields": {k: [f.number, f.type, f.description] for k, f in fields.items()} or None,
        "partitionBytes": partition_bytes,
        "emit": emit,
    }
    options = {key: value for key, value in given.items() if value is not None}
    _settings(options)  # complains here, in the caller's process
    vcf_plan.make_plan(files, **_plan_arguments(options))
    register(spark)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options.items()}
    frame = spark.read.format(FORMAT).options(**texts).load()
    for key in split_info:
        frame = _split_annotation(frame, key)
    return frame


def register(spark: SparkSession) -> None:
    """Make ``spark.read.format("geneai.vcf")`` known to a session; does no harm twice."""
    manager = spark._jsparkSession.sessionState().dataSourceManager()
    if not manager.dataSourceExists(FORMAT):  # a second registration logs a warning
        spark.dataSource.register(VcfDataSource)


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options; from Spark they come as texts, in any case."""
    known = {name.lower(): name for name in _OPTIONS}
    out: dict[str, Any] = {"emit": "variants", "onMalformed": "reject", "partitionBytes": 16 << 20}
    for key, value in options.items():
        name = known.get(key.lower(), "paths" if key.lower() == "path" else None)
        if name is None:
            close = difflib.get_close_matches(key.lower(), known, 1)
            hint = f"; did you mean {known[close[0]]}?" if close else ""
            raise ConfigError(f"{FORMAT}: unknown option {key}{hint}")
        if isinstance(value, str) and name not in ("cohort", "onMalformed", "build", "emit"):
            try:
                value = json.loads(value)
            except ValueError:
                # spark.read.load("a.vcf"), .option("info", "AF,AC"), .option("genotypes", "False")
                word = value.lower()
                value = word == "true" if word in ("true", "false") else value
        if name in ("info", "format", "samples", "regions") and isinstance(value, str):
            value = [item for item in value.split(",") if item]
        out[name] = value
    for name, choices in (("emit", EMIT), ("onMalformed", ON_MALFORMED)):
        if out[name] not in choices:
            raise ConfigError(f"{FORMAT}: {name}={out[name]!r}: expected {' or '.join(choices)}")
    if "paths" not in out:
        raise ConfigError(f"{FORMAT}: no path given")
    return out


def _plan_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {"perFileCohort": "per_file_cohort"}
    taken = (
        "cohort",
        "genotypes",
        "info",
        "format",
        "samples",
        "regions",
        "perFileCohort",
        "build",
    )
    out = {names.get(k, k): settings[k] for k in taken if k in settings}
    out["fields"] = {
        key: Field(key.partition("/")[2], number, kind, text, "user")
        for key, (number, kind, text) in settings.get("fields", {}).items()
    }
    return out


def _user_fields(schema: StructType | Mapping[str, Field] | None) -> Mapping[str, Field]:
    if not isinstance(schema, StructType):
        return schema or {}
    kinds: dict[DataType, str] = {
        IntegerType(): "Integer",
        DoubleType(): "Float",
        StringType(): "String",
    }
    out = {}
    for column in schema.fields:
        kind, _, key = column.name.partition("_")
        key = column.metadata.get("vcf.key", key)
        array = isinstance(column.dataType, ArrayType)
        value = (
            column.dataType.elementType
            if isinstance(column.dataType, ArrayType)
            else column.dataType
        )
        comment = column.metadata.get("comment", "")
        if kind == "INFO" and isinstance(value, BooleanType):
            out[f"INFO/{key}"] = Field(key, "0", "Flag", comment)
        elif kind == "INFO" and value in kinds:
            out[f"INFO/{key}"] = Field(key, "." if array else "1", kinds[value], comment)
        elif kind == "call" and "vcf.type" in column.metadata:
            number = column.metadata.get("vcf.number", ".")
            out[f"FORMAT/{key}"] = Field(key, number, column.metadata["vcf.type"], comment)
        else:
            raise ConfigError(
                f"schema: {column.name} {column.dataType.simpleString()}: expected INFO_KEY as "
                "int, double, string, boolean or an array of them, or call_KEY with the metadata "
                "vcf.type (and vcf.number)"
            )
    return out


def _split_annotation(frame: DataFrame, key: str) -> DataFrame:
    """A CSQ or ANN string as an array of structs, named as the header's description says."""
    column = next((c for c in frame.schema if c.metadata.get("vcf.key") == key), None)
    if column is None or not column.name.startswith("INFO_"):
        raise ConfigError(f"split_info: no INFO key {key}")
    text = column.metadata.get("comment", "")
    match = re.search(r"[Ff]ormat:?\s*['\"]?\s*([^'\"]*\|[^'\"]*)", text) or re.search(
        r"'([^']*\|[^']*)'", text
    )
    if match is None:
        raise ConfigError(f"split_info: {key}: its header description names no fields A|B|C")
    names = [re.sub(r"\W+", "_", name.strip()) for name in match[1].split("|")]
    value = F.col(f"`{column.name}`")
    items = F.split(value, ",") if not isinstance(column.dataType, ArrayType) else value
    split = F.transform(
        items,
        lambda item: F.struct(
            *(F.get(F.split(item, r"\|"), F.lit(i)).alias(name) for i, name in enumerate(names))
        ),
    )
    return frame.withColumn(column.name, split)


# ------------------------------------------------------------------------------ the data source


class VcfDataSource(DataSource):
    """``spark.read.format("geneai.vcf")``; options are those of `read`, in camel case."""

    @classmethod
    def name(cls) -> str:
        """The format's name."""
        return FORMAT

    def schema(self) -> StructType:
        """The columns that the files' headers declare."""
        settings = _settings(self.options)
        return table_schema(_plan(settings), settings)

    def reader(self, schema: StructType) -> VcfReader:
        """A reader of these files."""
        return VcfReader(_settings(self.options), schema)


@dataclass
class VcfPartition(InputPartition):
    """What one task reads."""

    parts: list[vcf_plan.Part]
    layouts: dict[int, Layout]

    def __init__(self, parts: list[vcf_plan.Part], layouts: dict[int, Layout]) -> None:
        self.parts, self.layouts = parts, layouts


class VcfReader(DataSourceReader):
    """Plans the partitions and reads them."""

    def __init__(self, settings: dict[str, Any], schema: StructType) -> None:
        self.settings, self.columns = settings, schema.fieldNames()

    def partitions(self) -> Sequence[InputPartition]:
        """Ranges of whole lines, about `partitionBytes` each."""
        plan = _plan(self.settings)
        return [
            VcfPartition(held, {part.layout: plan.layouts[part.layout] for part in held})
            for held in vcf_plan.parts(plan, int(self.settings["partitionBytes"]))
        ]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Arrow batches of one partition."""
        if not isinstance(partition, VcfPartition):
            return
        for part in partition.parts:
            batches = read_part(
                part,
                partition.layouts[part.layout],
                self.settings["emit"],
                self.settings["onMalformed"],
            )
            for batch in batches:
                yield batch.select(self.columns)


def _plan(settings: Mapping[str, Any]) -> vcf_plan.Plan:
    return vcf_plan.make_plan(inspect(settings["paths"]), **_plan_arguments(settings))


_SPARK_TYPES: dict[str, DataType] = {
    "int32": IntegerType(),
    "int64": LongType(),
    "double": DoubleType(),
    "bool": BooleanType(),
    "string": StringType(),
    "binary": BinaryType(),
}


def table_schema(plan: vcf_plan.Plan, settings: Mapping[str, Any]) -> StructType:
    """Spark's schema of what a plan reads."""
    if settings["emit"] == "rejects":
        return REJECTS
    fields = {column.name: column.field for column in (*plan.info, *plan.format)}
    columns = []
    for one in plan.layouts[0].schema:
        kind = str(one.type)
        if kind.startswith("map"):
            spark_type: DataType = MapType(StringType(), StringType())
        elif kind.startswith("list"):
            spark_type = ArrayType(_SPARK_TYPES[str(one.type.value_type)])
        else:
            spark_type = _SPARK_TYPES[kind]
        metadata = {}
        if field := fields.get(one.name):
            metadata = {
                "comment": field.description,
                "vcf.key": field.key,
                "vcf.number": field.number,
                "vcf.type": field.type,
            }
        columns.append(StructField(one.name, spark_type, True, metadata))
    columns[3:3] = [StructField("sourceId", StringType()), StructField("cohort", StringType())]
    if settings["onMalformed"] == "reject":
        columns.append(StructField("reject", REJECT))
    if settings["emit"] == "all":
        columns.append(StructField("lines", IntegerType()))
    return StructType(columns)


def read_batches(path: str, **arguments: Any) -> Iterator[pa.RecordBatch]:
    """Read files in this process, without Spark: the batches that `read` would give Spark.

    Takes `read`'s arguments but `split_info` and `schema`; for tools, tests and small files.
    """
    emit, policy = arguments.pop("emit", "variants"), arguments.pop("on_malformed", "reject")
    target = arguments.pop("partition_bytes", 1 << 62)
    plan = vcf_plan.make_plan(inspect(path), **arguments)
    for held in vcf_plan.parts(plan, target):
        for part in held:
            yield from read_part(part, plan.layouts[part.layout], emit, policy)


def read_part(
    part: vcf_plan.Part, layout: Layout, emit: str, on_malformed: str
) -> Iterator[pa.RecordBatch]:
    """Arrow batches of one range of one file."""
    # Here, not above: planning happens in processes of its own, which need no compiled kernels.
    import pyarrow as pa

    from geneai_spark.formats.vcf_records import Parser

    reject_type = pa.struct(
        [
            ("line", pa.int64()),
            ("offset", pa.int64()),
            ("reason", pa.string()),
            ("text", pa.string()),
        ]
    )

    def assemble(batch: pa.RecordBatch, faults: list[dict[str, Any]], lines: int) -> pa.RecordBatch:
        """Add the columns that are the same in all rows, and the rejected lines as rows."""
        n = batch.num_rows + len(faults)
        columns = {name: batch.column(name) for name in batch.schema.names}
        if faults:
            for name, column in columns.items():
                columns[name] = pa.concat_arrays([column, pa.nulls(len(faults), column.type)])
        columns["sourceId"] = pa.repeat(pa.scalar(part.source_id), n)
        columns["cohort"] = pa.repeat(pa.scalar(part.cohort), n)
        if on_malformed == "reject":
            nothing = pa.nulls(batch.num_rows, reject_type)
            rejected = pa.array(faults, reject_type)
            columns["reject"] = pa.concat_arrays([nothing, rejected]) if faults else nothing
        if emit == "all":
            columns["lines"] = pa.array([lines] + [0] * (n - 1), pa.int32())
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    source = filesystems.open_input(part.file)
    try:
        parser = Parser(layout)
        counter = _LineCounter(part, source)
        waiting = 0  # lines of runs that gave no row (all outside the regions)
        for chunk in bgzf.chunks(source, part.file, part.compression, part.range):
            for batch, lines, found in parser.parse(chunk.text):
                faults = [_reject(part, chunk, fault, counter, on_malformed) for fault in found]
                if emit == "rejects":
                    if faults:
                        rows = [{"sourceId": part.source_id, **fault} for fault in faults]
                        yield pa.RecordBatch.from_pylist(
                            rows, pa.schema([("sourceId", pa.string()), *reject_type])
                        )
                elif batch.num_rows or faults:
                    yield assemble(batch, faults, lines + waiting)
                    waiting = 0
                else:
                    waiting += lines
            counter.add(chunk)
    finally:
        source.close()


class _LineCounter:
    """Line numbers: known from the header on, counted back for other ranges when first asked."""

    def __init__(self, part: vcf_plan.Part, source: bgzf.Input) -> None:
        self.part, self.source = part, source
        self.before: int | None = (
            part.header_lines if part.first else None
        )  # lines before the chunk
        self.passed = 0

    def add(self, chunk: bgzf.Chunk) -> None:
        self.passed += chunk.text.count(b"\n")

    def line(self, chunk: bgzf.Chunk, position: int, *, always: bool) -> int | None:
        start = self.part.range.start >> (16 if self.part.compression == bgzf.BGZF else 0)
        if self.before is None and (always or start <= COUNT_LINES_BYTES):
            first = chunk.offset_of(0)
            count = bgzf.count_lines(self.source, self.part.file, self.part.compression, first)
            self.before = count - self.passed
        if self.before is None:
            return None
        return self.before + self.passed + chunk.text.count(b"\n", 0, position) + 1


def _reject(
    part: vcf_plan.Part, chunk: bgzf.Chunk, fault: Fault, counter: _LineCounter, policy: str
) -> dict[str, Any]:
    line = counter.line(chunk, fault.position, always=policy == "fail")
    offset = chunk.offset_of(fault.position)
    if policy == "fail":
        raise FormatError(
            part.file, fault.expected, fault.found, field=fault.field, line=line, offset=offset
        )
    return {"line": line, "offset": offset, "reason": fault.reason, "text": fault.text}
