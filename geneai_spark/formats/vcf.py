"""VCF files as Spark DataFrames: ``read(spark, path)`` or ``spark.read.format("geneai.vcf")``.

A Python data source: the files are cut into ranges of whole lines (see `bgzf`), each task parses
its ranges (see `vcf_records`) and hands Spark Arrow batches. The rows are those of the `variants`
table; genotypes are packed, one binary value a record (see `geneai_spark.genotypes`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
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

from geneai_spark.errors import ConfigError
from geneai_spark.formats import vcf_plan
from geneai_spark.formats.vcf_plan import VcfFile, inspect
from geneai_spark.formats.vcf_reserved import Field

if TYPE_CHECKING:
    import pyarrow as pa

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
    "perFileCohort", "build", "splitInfo", "fields", "partitionBytes", "emit",
)  # fmt: skip
#: Arguments of `read` whose options have another name.
_ARGUMENTS = {
    "on_malformed": "onMalformed",
    "per_file_cohort": "perFileCohort",
    "contigs": "build",
    "split_info": "splitInfo",
    "partition_bytes": "partitionBytes",
}


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
    _, options = plan(
        files, cohort=cohort, genotypes=genotypes, info=info, format=format, samples=samples,
        regions=regions, on_malformed=on_malformed, per_file_cohort=per_file_cohort,
        contigs=contigs, split_info=split_info, schema=schema,
        partition_bytes=partition_bytes or task_bytes(files, spark), emit=emit,
    )  # fmt: skip
    register(spark)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options.items()}
    return spark.read.format(FORMAT).options(**texts).load()


def plan(files: Sequence[VcfFile], **arguments: Any) -> tuple[vcf_plan.Plan, dict[str, Any]]:
    """Lay out how to read files, by the named arguments of `read` (``paths`` apart).

    Returns:
        The plan, and the arguments as options of the data source, what is not given left out.

    Raises:
        The errors of `read`.
    """
    given = {_ARGUMENTS.get(name, name): value for name, value in arguments.items()}
    fields = _user_fields(given.pop("schema", None))
    given["paths"] = [file.uri for file in files]
    given["fields"] = {k: [f.number, f.type, f.description] for k, f in fields.items()} or None
    options = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in given.items()
        if value is not None and value != ()
    }
    settings = _settings(options)
    return vcf_plan.make_plan(files, **_plan_arguments(settings)), options


def task_bytes(files: Sequence[VcfFile], spark: SparkSession) -> int:
    """Stored bytes that a task reads unless told otherwise: a core's share, 2 to 32 MiB.

    A task a core where the files are small: fewer, larger output files cost least.
    """
    share = sum(file.size for file in files) // spark.sparkContext.defaultParallelism + 1
    return min(max(share, 2 << 20), PARTITION_BYTES)


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
        if name in ("info", "format", "samples", "regions", "splitInfo") and isinstance(value, str):
            value = [item for item in value.split(",") if item]
        out[name] = value
    for name, choices in (("emit", EMIT), ("onMalformed", ON_MALFORMED)):
        if out[name] not in choices:
            raise ConfigError(f"{FORMAT}: {name}={out[name]!r}: expected {' or '.join(choices)}")
    if "paths" not in out:
        raise ConfigError(f"{FORMAT}: no path given")
    return out


def _plan_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {"perFileCohort": "per_file_cohort", "splitInfo": "split_info"}
    taken = (
        "cohort",
        "genotypes",
        "info",
        "format",
        "samples",
        "regions",
        "perFileCohort",
        "build",
        "splitInfo",
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
        # Here, not above: planning happens in processes of its own, which need no kernels.
        from geneai_spark.formats import vcf_parts

        if not isinstance(partition, VcfPartition):
            return
        for part in partition.parts:
            layout = partition.layouts[part.layout]
            parsed = vcf_parts.parse_part(part, layout, self.settings["onMalformed"])
            for batch in vcf_parts.rows(parsed, self.settings):
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
        elif kind.startswith("list<element: struct") or kind.startswith("list<item: struct"):
            parts = StructType(
                [StructField(part.name, StringType()) for part in one.type.value_type]
            )
            spark_type = ArrayType(parts)
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
    from geneai_spark.formats import vcf_parts

    emit, policy = arguments.pop("emit", "variants"), arguments.pop("on_malformed", "reject")
    target = arguments.pop("partition_bytes", 1 << 62)
    plan = vcf_plan.make_plan(inspect(path), **arguments)
    for held in vcf_plan.parts(plan, target):
        for part in held:
            layout = plan.layouts[part.layout]
            parsed = vcf_parts.parse_part(part, layout, policy)
            yield from vcf_parts.rows(parsed, {"emit": emit, "onMalformed": policy})
