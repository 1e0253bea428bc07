"""What networks learn from: the table ``examples``, a row a sample, and shards of it.

Genotypes lie by variant; a network wants them by sample. Tasks choose the variants that go with
the trait most among the training samples, turn their planes of two bits a genotype round, and write
a row for each sample. A process that trains reads its share of the files itself, a quarter of a
byte a genotype, and standardises a batch when it is used. Nothing of it goes through the driver.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from geneai_spark import parquet_parts, store, stored, tables
from geneai_spark.config import option
from geneai_spark.errors import InputError, StorageError
from geneai_spark.features import dose_kernels
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Planes
from geneai_spark.models.family import KEYS, Study
from geneai_spark.parquet_parts import Part
from geneai_spark.stored import Computed
from geneai_spark.table import Where
from geneai_spark.tasks import Batches, fold

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

PARTS = ("train", "validation", "test")
CHUNK_BYTES = 16 << 20  # of standardised doses, or of planes, at once
CHUNKS = 16  # of samples, at least, so that many processes can share them
CHUNK_WORDS = 16  # of samples, 64 each, that a task turns round at once: at most
FILES = 64  # at most
_DIGITS = 9  # of a correlation: the order of sums does not choose variants
_COLUMNS = StructType(
    [
        StructField("chunk", IntegerType()),
        StructField("variants", BinaryType()),
        StructField("planes", BinaryType()),
    ]
)


@dataclass(frozen=True)
class InputOptions:
    """How much of the genotypes is looked at, and by how many processes."""

    max_inputs: int = option(
        "variants that a network or another library's classifier looks at: those that go with the "
        "trait most in training", 10_000
    )  # fmt: skip
    ranks: int = option(
        "processes that train a network or xgboost together; 0: one a slot (a network in local "
        "mode: one a GPU, if there is any)", 1
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.max_inputs < 1:
            raise ValueError("max_inputs must be 1 or more")
        if self.ranks < 0:
            raise ValueError("ranks must be 0 or more")


class Inputs(NamedTuple):
    """Variants that a network looks at, in the order of its first layer.

    Attributes:
        keys: `KEYS` and ``sourceId``, a row a variant.
        mean: dose of the training samples, (variants,).
        scale: by which doses are divided: sqrt(2 p (1 - p)), (variants,).
    """

    keys: pa.Table
    mean: Floats
    scale: Floats

    def values(self) -> npt.NDArray[np.float32]:
        """What each genotype is to the network, (variants, 4); 0 where it is missing."""
        found = (np.arange(4) - self.mean[:, None]) / self.scale[:, None]
        found[:, 3] = 0
        return np.asarray(found, np.float32)

    def text(self) -> str:
        """``inputs.tsv`` of a model directory: a line a variant."""
        table = self.keys.select(KEYS).append_column("mean", pa.array(self.mean))
        table = table.append_column("scale", pa.array(self.scale))
        sink = io.BytesIO()
        sink.write(("\t".join(table.column_names) + "\n").encode())  # pyarrow would quote them
        options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        csv.write_csv(table, sink, options)
        return sink.getvalue().decode()


def read_text(text: str) -> Inputs:
    """Undo `Inputs.text`."""
    kinds = {"start": pa.int64(), "mean": pa.float64(), "scale": pa.float64()}
    options = csv.ConvertOptions(
        column_types={**dict.fromkeys(KEYS, pa.string()), **kinds}, strings_can_be_null=False
    )
    table = csv.read_csv(
        io.BytesIO(text.encode()),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=options,
    )
    return Inputs(table.select(KEYS), table["mean"].to_numpy(), table["scale"].to_numpy())


# ---------------------------------------------------------------- choosing variants


def strongest(study: Study, most: int) -> Inputs:
    """The variants whose doses correlate with the trait most, among the training samples alone.

    Args:
        most: variants to choose at most.

    Raises:
        InputError: none varies among the training samples.
    """
    n, training = len(study.sample_ids), study.split.train
    W = np.column_stack([np.ones(n), study.scaled()[1]])[training]
    y = study.values[training]
    y = y - W @ np.linalg.lstsq(W, y, rcond=None)[0]  # what covariates tell needs no variant
    y = y / max(np.sqrt(y @ y), 1e-300)
    names = [*KEYS, "sourceId"]

    def best(table: pa.Table) -> pa.Table:
        order = [("strength", "descending"), *((name, "ascending") for name in names)]
        return table.sort_by(order).slice(0, most)

    def work(batches: Batches) -> pa.Table | None:
        found: pa.Table | None = None
        for block in packing.slices(batches, max(1, CHUNK_BYTES // (8 * n))):
            table = _strength(block, n, training, y, names)
            found = best(table if found is None else pa.concat_tables([found, table]))
        return found if found is not None and len(found) else None

    def merge(one: pa.Table, other: pa.Table) -> pa.Table:
        return best(pa.concat_tables([one, other]))

    told = fold(_named(study.doses).select(*names, "doses"), work, merge)
    if told is None:
        raise InputError("no variant varies among the training samples")
    told = told.sort_by([(name, "ascending") for name in names])
    return Inputs(told.select(names), told["mean"].to_numpy(), told["scale"].to_numpy())


def _named(doses: DataFrame) -> DataFrame:
    return doses.withColumn("alternateAllele", F.element_at("alternateAlleles", 1))


def _strength(
    block: pa.RecordBatch, n: int, training: Ints, y: Floats, names: Sequence[str]
) -> pa.Table:
    """A row for each variant that varies in training: its name, moments and correlation squared."""
    planes = dose_kernels.take(packing.planes(block.column("doses")), training)
    mean, scale = packing.moments(packing.counts(planes, len(training)))
    varies = scale > 0
    planes, mean, scale = np.ascontiguousarray(planes[varies]), mean[varies], scale[varies]
    x = packing.standardised(planes, len(training), mean, scale)
    x -= x.mean(axis=1, keepdims=True)
    size = np.sqrt(np.einsum("ij,ij->i", x, x))
    with np.errstate(invalid="ignore"):
        strength = np.nan_to_num(np.round((x @ y / size) ** 2, _DIGITS))
    table = pa.Table.from_batches([block]).select(names).filter(pa.array(varies))
    for name, column in (("mean", mean), ("scale", scale), ("strength", strength)):
        table = table.append_column(name, pa.array(column))
    return table


# ---------------------------------------------------------------- a row a sample


def write(study: Study, inputs: Inputs) -> None:
    """Replace the model's rows of ``examples``, in the order of the chosen samples."""
    n, width = len(study.sample_ids), len(inputs.keys)
    words = -(-n // 64)
    step = int(np.clip(min(CHUNK_BYTES // (16 * width), words // CHUNKS), 1, CHUNK_WORDS))
    chunks = -(-words // step)
    files = min(chunks, FILES)
    names = [*KEYS, "sourceId"]
    place = {key: i for i, key in enumerate(_tuples(inputs.keys, names))}
    splits = np.full(n, None, object)
    for name, part in zip(PARTS, study.split, strict=True):
        splits[part] = name
    told = {"cohort": study.cohort, "model": study.model}
    schema = to_arrow_schema(tables.EXAMPLES.schema)
    values, others = study.values, study.scaled()[1].astype("<f4")

    def cut(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            keys = _tuples(batch, names)
            rows = [(row, place[key]) for row, key in enumerate(keys) if key in place]
            if not rows:
                continue
            here = np.array([row for row, _ in rows])
            found = packing.planes(batch.column("doses"))[here]
            order = np.array([i for _, i in rows], "<i4").tobytes()
            parts = [found[:, :, c * step : (c + 1) * step].tobytes() for c in range(chunks)]
            columns = [list(range(chunks)), [order] * chunks, parts]
            yield pa.RecordBatch.from_pydict(
                dict(zip(_COLUMNS.names, columns, strict=True)), to_arrow_schema(_COLUMNS)
            )

    def turned(batches: Batches) -> Iterator[pa.RecordBatch]:
        for chunk, planes in _assembled(batches, width, words, step):
            first = chunk * step * 64
            m = min(n, first + step * 64) - first
            mine = slice(first, first + m)
            yield pa.RecordBatch.from_arrays(
                [
                    *(pa.array([told[name]] * m, pa.string()) for name in ("cohort", "model")),
                    pa.array(np.arange(first, first + m, dtype=np.int32)),
                    pa.array(splits[mine].tolist(), pa.string()),
                    pa.array(values[mine], from_pandas=True),
                    packing.binary(dose_kernels.transpose(planes, m)),
                    pa.array([row.tobytes() for row in others[mine]], pa.binary()),
                ],
                schema=schema,
            )

    spread = (
        _named(study.doses)
        .select(*names, "doses")
        .mapInArrow(cut, _COLUMNS)
        .repartitionById(files, F.floor(F.col("chunk") * files / chunks).cast("int"))
    )
    made = Computed(spread, turned, tables.EXAMPLES.schema)
    made.write(tables.EXAMPLES, study.warehouse, Where.of(**told))


def forget(study: Study) -> None:
    """Remove the model's rows of ``examples``, if there are any."""
    spark = study.doses.sparkSession
    if store.version(spark, tables.EXAMPLES, study.warehouse) is not None:
        own = Where.of(cohort=study.cohort, model=study.model)
        store.put(spark, [], tables.EXAMPLES, study.warehouse, own)


def _tuples(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(rows.column(name).to_pylist() for name in names), strict=True)


def _assembled(batches: Batches, width: int, words: int, step: int) -> Iterator[tuple[int, Planes]]:
    """Each chunk of a task, planes of all variants in order: (variants, 2, its words)."""
    chunks: dict[int, Planes] = {}
    for batch in batches:
        for chunk, order, data in zip(*batch.columns, strict=True):
            number = chunk.as_py()
            size = min(words, (number + 1) * step) - number * step
            if number not in chunks:
                chunks[number] = np.empty((width, 2, size), np.uint64)
            rows = np.frombuffer(order.as_buffer(), "<i4")
            flat = np.frombuffer(data.as_buffer(), np.uint8).view("<u8")
            chunks[number][rows] = flat.reshape(len(rows), 2, size)
    yield from sorted(chunks.items())


# ---------------------------------------------------------------- shards


def parts(spark: SparkSession, warehouse: str, cohort: str, model: str) -> tuple[Part, ...]:
    """Where the model's examples lie, for processes that read them without Spark.

    Raises:
        StorageError: Python cannot read that storage.
    """
    rows = stored.stored_rows(spark, tables.EXAMPLES, warehouse, cohort=cohort, model=model)
    if rows is None:
        raise StorageError(
            f"{warehouse}: networks read the table examples without Spark, and Python cannot read "
            "it there: choose a warehouse on a local disk, S3, HDFS, GCS or Azure"
        )
    return rows.parts


@dataclass(frozen=True)
class Shard:
    """Samples that one process holds.

    Attributes:
        index: positions among the chosen samples, (m,).
        split: ``train``, …, None where the trait is not known, (m,).
        label: of the trait, NaN where it is not known, (m,).
        planes: doses, (m, 2, words of variants).
        covariates: standardised, (m, covariates).
    """

    index: Ints
    split: npt.NDArray[np.object_]
    label: Floats
    planes: Planes
    covariates: npt.NDArray[np.float32]

    def features(
        self, rows: Ints | slice, values: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """What a network sees of some rows: see :func:`features`."""
        return features(self.planes[rows], values, self.covariates[rows])


def ordered(places: Sequence[Part], equal: Mapping[str, str]) -> tuple[tuple[Part, ...], Shard]:
    """The parts that hold examples, by their first sample, and the labels of all.

    Names of files are drawn anew with each writing: the order in them is not.
    """
    found = [(read([part], equal, planes=False), part) for part in places]
    held = sorted(((s, p) for s, p in found if len(s.index)), key=lambda one: int(one[0].index[0]))
    index, split, label = (
        np.concatenate([getattr(shard, name) for shard, _ in held])
        for name in ("index", "split", "label")
    )
    empty = np.empty((len(index), 2, 0), np.uint64), np.empty((len(index), 0), np.float32)
    return tuple(part for _, part in held), Shard(index, split, label, *empty)


_LABELS, _WIDE = tables.EXAMPLES.schema.names[2:5], ("doses", "covariates")


def read(places: Sequence[Part], equal: Mapping[str, str], *, planes: bool = True) -> Shard:
    """The examples in some parts of the files.

    Args:
        equal: cohort and model.
        planes: false: labels alone, with planes of no word and no covariates.
    """
    table = pa.Table.from_batches(_batches(places, equal, _LABELS), _schema(_LABELS))
    index, split, label = (table.column(name).to_numpy(zero_copy_only=False) for name in _LABELS)
    order = np.argsort(index)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    doses, others = np.empty((len(table), 2, 0), np.uint64), np.empty((len(table), 0), np.float32)
    first = 0
    # A batch at a time: all of it together may pass what an Arrow array holds, 2 GiB.
    for batch in _batches(places, equal, _WIDE) if planes else ():
        own = packing.planes(batch.column("doses"))
        flat = b"".join(batch.column("covariates").to_pylist())
        beside = np.frombuffer(flat, "<f4").reshape(len(own), -1)
        if first == 0:
            doses = np.empty((len(table), *own.shape[1:]), np.uint64)
            others = np.empty((len(table), beside.shape[1]), np.float32)
        rows = place[first : first + len(own)]
        doses[rows], others[rows] = own, beside
        first += len(own)
    return Shard(
        index[order].astype(np.int64), split[order], label[order].astype(np.float64), doses, others
    )


def _schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema([to_arrow_schema(tables.EXAMPLES.schema).field(name) for name in names])


def _batches(
    places: Sequence[Part], equal: Mapping[str, str], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Some columns of the examples in some parts of the files; their order is the files'."""
    for part in places:
        yield from parquet_parts.read(part, _schema(names), equal)


def features(
    planes: Planes, values: npt.NDArray[np.float32], covariates: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What a network sees of samples: standardised doses, then covariates.

    Args:
        planes: (m, 2, words).
        values: from `Inputs.values`, (variants, 4).
        covariates: standardised, (m, covariates).

    Returns:
        (m, variants + covariates).
    """
    out = np.empty((len(planes), len(values)), np.float32)
    dose_kernels.look_up_by_column(planes, values, out)
    return np.concatenate([out, covariates], axis=1) if covariates.shape[1] else out
