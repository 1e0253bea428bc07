"""What a family of models is given, and what it gives: the contract of `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from geneai_spark.errors import InputError
from geneai_spark.features.doses import Hold, Planes
from geneai_spark.models import covariates
from geneai_spark.models.covariates import Covariates, Matrix, Scale
from geneai_spark.models.directory import Contents
from geneai_spark.models.examples import Split


@dataclass(frozen=True)
class Study:
    """Samples with a label, and their genotypes.

    Attributes:
        cohort: its name.
        trait: what is to be predicted.
        sample_ids: the chosen samples, (n,).
        values: of the trait, (n,), NaN where it is missing; of two classes 1 and 0.
        binary: whether it has two classes.
        split: positions of those with a label that train, validate and test.
        doses: of the n samples, from `features.doses.pack`; nothing is imputed.
        hold: see `features.doses.holding`.
        seed: of everything random.
        warehouse: where tables are, for families that need more of them.
        model: the model's name.
        relatives: pairs of positions of relatives.
        covariates: that predict beside the genotypes, of the n samples; None: none do.
        groups: each sample's group, to be measured apart; None belongs to none.
    """

    cohort: str
    trait: str
    sample_ids: Sequence[str]
    values: npt.NDArray[np.float64]
    binary: bool
    split: Split
    doses: DataFrame
    hold: Hold
    seed: int = 42
    warehouse: str = ""
    model: str = ""
    relatives: Sequence[tuple[int, int]] = ()
    covariates: Covariates | None = None
    groups: Sequence[str | None] | None = None

    @property
    def truth(self) -> npt.NDArray[np.int8]:
        """1 for cases, 0 for controls, -1 where the trait is missing, (n,).

        Raises:
            InputError: the trait has more than two values.
        """
        if not self.binary:
            raise InputError(
                f"trait {self.trait!r} has more than two values: give case_above to cut it into "
                "controls and cases, or choose family=genomic_prediction"
            )
        return np.nan_to_num(self.values, nan=-1).astype(np.int8)

    def scaled(self) -> tuple[Scale, Matrix]:
        """Covariates by mean and spread of the training samples: these, and (n, covariates).

        Raises:
            InputError: one does not vary among the training samples.
        """
        given = self.covariates or covariates.none(len(self.sample_ids))
        scale = covariates.fit(given, self.split.train)
        return scale, covariates.standardised(given.values, scale)

    def check_covariates(self, config: Mapping[str, Any]) -> None:
        """A family of another package may not know covariates.

        Args:
            config: of the trained model.

        Raises:
            InputError: they were asked for, and the model does not have them.
        """
        asked = self.covariates.names if self.covariates else ()
        if covariates.read(config).names != asked:
            raise InputError(f"covariates: the family {config.get('family')} does not take any")


@dataclass(frozen=True)
class Trained:
    """A fitted model, and what it says of the samples it was given.

    Attributes:
        model: what `trained_model` holds.
        suffix: of that file.
        config: what was fitted: settings, numbers of variants, and so on.
        scores: probability of being a case, or the value predicted, (n,): of a training sample by
            what was not fitted on it where the family can tell (else NaN).
        numbers: for the run's metrics.
        importances: rows of the table ``variant_importances`` without cohort, trait and model;
            None where the family has none.
        held_out: whether scores of training samples are by parts not fitted on them.
        baseline: the same scores by the simplest model that this one should beat.
        documents: further files of text for the model directory, by name.
        references: papers that the method is by, for the model card.
    """

    model: bytes
    suffix: str
    config: Mapping[str, Any]
    scores: npt.NDArray[np.float64]
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)
    importances: pa.Table | None = None
    held_out: bool = False
    baseline: npt.NDArray[np.float64] | None = None
    documents: Mapping[str, str] = field(default_factory=dict)
    references: Sequence[str] = ()


#: What a variant is called, in tables and in models.
KEYS = ("contigName", "start", "referenceAllele", "alternateAllele")


class Wanted(NamedTuple):
    """The variants that a model looks at: `KEYS`, a row a variant; and covariates, by name."""

    keys: pa.Table
    covariates: tuple[str, ...] = ()


#: Trains on a study: a family with its options.
Fit: TypeAlias = Callable[[Study], Trained]


class Family(Protocol):
    """A module with these functions, and its settings."""

    Options: Any

    def train(self, study: Study, options: Any) -> Trained:
        """Fit on the training samples alone."""

    def wanted(self, held: Contents) -> Wanted:
        """What a stored model has to be told of samples."""

    def score(self, held: Contents, planes: Planes, covariates: Matrix) -> Matrix:
        """Probability of being a case, or the value predicted, of n samples.

        Args:
            planes: doses at the wanted variants, in their order, (variants, 2, words); what is
                missing is for the model to fill.
            covariates: those wanted, in their order, (n, covariates), NaN where missing; without
                any (n, 0).
        """
