"""Classifiers of other libraries, on the variants that go with the trait most.

Spark MLlib's and xgboost's are trained by tasks, scikit-learn's on the driver. All look at what a
network looks at (`inputs`): standardised doses and covariates of the table ``examples``, chosen and
scaled by the training samples alone. What they fit is stored as arrays and scored without them.

`forest` looks at all variants instead: variants that act together, but not alone, are lost here
where `max_inputs` cuts them off.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from geneai_spark import store, tables
from geneai_spark.errors import InputError, SetupError
from geneai_spark.features import dose_kernels
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Planes
from geneai_spark.models import covariates, directory, forest, inputs, loci, scoring, trees
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import Study, Trained, Wanted
from geneai_spark.models.trees import Fitted, Ints
from geneai_spark.tasks import Batches

NEEDS = {"scikit": "sklearn", "xgboost": "xgboost", "mllib": "", "logistic": ""}
NAMES = tuple(NEEDS)
_MLLIB = "Meng et al. 2016, J Mach Learn Res 17, 34: Spark MLlib"
REFERENCES = {
    "scikit": "Pedregosa et al. 2011, J Mach Learn Res 12, 2825: scikit-learn",
    "mllib": _MLLIB,
    "logistic": _MLLIB,
    "xgboost": "Chen and Guestrin 2016, KDD, 785: xgboost",
}
INPUTS = "inputs.tsv"
MAX_BYTES = 4 << 30  # of features that the driver takes
PART_BYTES = 32 << 20  # of features in a partition
_ROWS = StructType(
    [
        StructField("sampleIndex", IntegerType()),
        StructField("label", DoubleType()),
        StructField("x", ArrayType(FloatType(), containsNull=False)),
    ]
)


@dataclass(frozen=True)
class Task:
    """What a library is given.

    Attributes:
        rows: training samples: ``sampleIndex``, ``label``, ``x``; in partitions that depend on
            nothing but their number, sorted.
        local: reads the same into the driver: features (m, features) and labels, (m,).
        folder: URI that driver and executors share.
    """

    rows: DataFrame
    local: Callable[[], tuple[trees.Features, Matrix]]
    folder: str
    trees: int
    variants_per_split: float
    sample_fraction: float
    min_leaf: int
    max_depth: int
    ranks: int
    seed: int
    regularization: float

    def vectors(self) -> DataFrame:
        """The rows as Spark's estimators take them: ``label``, ``features``."""
        features = array_to_vector(F.col("x").cast("array<double>"))
        return self.rows.select("label", features.alias("features"))


def check(name: str) -> None:
    """Tell what is not installed.

    Raises:
        SetupError: the library is not.
    """
    if NEEDS[name] and importlib.util.find_spec(NEEDS[name]) is None:
        raise SetupError(f"classifier={name} is not installed: make extra-classifiers")


def train(study: Study, name: str, options: Any) -> Trained:
    """Fit a library's classifier on the training samples.

    Args:
        name: of `NAMES`.
        options: `disease.DiseaseOptions`.
    """
    check(name)
    truth = study.truth[study.split.train]  # refuses a trait of more than two values
    if truth.min() == truth.max():
        raise InputError(f"training samples: {len(truth)}, of one class only")
    wanted = inputs.strongest(study, options.max_inputs)
    inputs.write(study, wanted)
    scale, z = study.scaled()
    fitted = _fit(name)(_task(study, wanted, options))
    held = {"format": "geneai classifier 1", "kind": fitted.kind, "base": fitted.base}
    held |= fitted.arrays
    n, known = len(study.sample_ids), len(wanted.keys)
    planes = scoring.gather(study.doses, Wanted(wanted.keys), n).planes
    scores = _probability(held, wanted, planes, z)
    scores[study.split.train] = np.nan if fitted.held_out is None else fitted.held_out
    numbers = {f"importance_{c}": float(fitted.importance[known + i])
               for i, c in enumerate(scale.names)}  # fmt: skip
    return Trained(
        model=directory.dumps_arrays(held),
        suffix="pkl",
        config={
            "family": "disease_association",
            "classifier": name,
            "variants": known,
            "settings": dict(fitted.settings),
            "covariates": scale.told(),
        },
        scores=scores,
        numbers={"variants": known, **numbers},
        importances=_importances(study, wanted, planes, held, fitted.importance[:known], options),
        references=(REFERENCES[name],),
        held_out=fitted.held_out is not None,
        documents={INPUTS: wanted.text(), **fitted.documents},
    )


def wanted(held: Contents) -> Wanted:
    """The variants that it looks at."""
    names = covariates.read(held.config).names
    return Wanted(inputs.read_text(held.documents[INPUTS]).keys, names)


def score(held: Contents, planes: Planes, given: Matrix) -> Matrix:
    """Probability of being a case; of what is missing the training samples' mean."""
    z = covariates.standardised(given, covariates.read(held.config))
    known = inputs.read_text(held.documents[INPUTS])
    return _probability(directory.loads_arrays(held.model), known, planes, z)


def _fit(name: str) -> Callable[[Task], Fitted]:
    """The library's function; imported here, for it need not be installed."""
    if name == "scikit":
        from geneai_spark.models import scikit

        return scikit.forest
    if name == "xgboost":
        from geneai_spark.models import boosting

        return boosting.fit
    from geneai_spark.models import mllib

    return mllib.forest if name == "mllib" else mllib.logistic


def _probability(
    held: Mapping[str, Any], wanted: inputs.Inputs, planes: Planes, z: Matrix
) -> Matrix:
    turned = dose_kernels.transpose(np.ascontiguousarray(planes), len(z))
    values, others = wanted.values(), z.astype(np.float32)
    step = max(1, PART_BYTES // (4 * max(len(values), 1)))
    parts = [
        trees.probability(held, inputs.features(turned[i : i + step], values, others[i : i + step]))
        for i in range(0, len(z), step)
    ]
    return np.concatenate(parts)


def _task(study: Study, wanted: inputs.Inputs, options: Any) -> Task:
    spark, n = study.doses.sparkSession, len(study.sample_ids)
    values = wanted.values()
    equal = {"cohort": study.cohort, "model": study.model}
    width = len(values) + len(study.scaled()[0].names)
    bytes_ = 4 * width * len(study.split.train)
    parts = max(4, -(-bytes_ // PART_BYTES))

    def decoded(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            others = np.frombuffer(b"".join(batch.column("covariates").to_pylist()), "<f4")
            x = inputs.features(
                packing.planes(batch.column("doses")), values, others.reshape(batch.num_rows, -1)
            )
            offsets = np.arange(len(x) + 1, dtype=np.int32) * x.shape[1]
            column = pa.ListArray.from_arrays(offsets, x.ravel())
            named = [batch.column(name) for name in _ROWS.names[:2]]
            yield pa.RecordBatch.from_arrays([*named, column], _ROWS.names)

    def local() -> tuple[trees.Features, Matrix]:
        if bytes_ > MAX_BYTES:
            raise InputError(
                f"{len(study.split.train):,} samples x {width:,} variants: classifier=scikit takes "
                f"{MAX_BYTES >> 30} GiB of doses at most: lower max_inputs, or choose mllib"
            )
        shard = inputs.read(inputs.parts(spark, study.warehouse, **equal), equal)
        own = np.flatnonzero(shard.split == "train")
        return shard.features(own, values), shard.label[own]

    stored = store.read(spark, tables.EXAMPLES, study.warehouse)
    for key, value in equal.items():
        stored = stored.where(F.col(key) == value)
    rows = (
        stored.where(F.col("split") == "train")
        .select("sampleIndex", "label", "doses", "covariates")
        .repartitionById(parts, F.floor(F.col("sampleIndex") * parts / n).cast("int"))
        .sortWithinPartitions("sampleIndex")
        .mapInArrow(decoded, _ROWS)
    )
    names = set(Task.__dataclass_fields__) - {"rows", "local", "folder", "seed"}
    return Task(
        rows,
        local,
        f"{study.warehouse.rstrip('/')}/_checkpoints/{study.cohort}-{study.model}",
        seed=study.seed,
        **{name: getattr(options, name) for name in names},
    )


def _importances(
    study: Study,
    wanted: inputs.Inputs,
    planes: Planes,
    held: Mapping[str, Any],
    importance: Matrix,
    options: Any,
) -> pa.Table:
    """Variants by the library's own importance, the most important first, and their loci."""
    training = study.split.train
    some: Ints = loci.strongest(importance)
    filled = forest.filled(np.ascontiguousarray(planes[some]), training)
    places = loci.clump(
        wanted.keys, importance, some, filled, training,
        window=options.locus_window, r2=options.locus_r2,
    )  # fmt: skip
    splits = trees.uses(held, len(importance) + len(study.scaled()[0].names))[: len(importance)]
    return loci.ranked(wanted.keys, importance, splits, places, importance > 0)
