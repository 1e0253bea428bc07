"""What a family of models can do on a trait: more than one split and one number can say.

* Cross-validation: each sample is scored by a model that has not seen it nor its relatives.
* Learning curve: fewer training samples, the same test samples: would more people help?
* Permuted labels: the same training and test on labels that mean nothing. Given the labels of the
  training samples those of the test samples are then in any order alike, so that the AUC of an
  honest model has a mean of exactly 0.5, whatever the model is, and its correlation a mean of 0. A
  mean above that is a leak: what was trained has seen labels of test samples, as a choice of
  variants by all samples has. The same numbers give the p-value of what was observed (Ojala and
  Garriga 2010, J Mach Learn Res 11, 1833).
* Comparison: the difference of two families on the same test samples, resampled together, which
  is far more exact than two intervals that overlap or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from geneai_spark import progress
from geneai_spark.config import option
from geneai_spark.errors import InputError
from geneai_spark.features import doses
from geneai_spark.models import examples, metrics, results
from geneai_spark.models.comparison import CHANCE, chance, difference
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Fit, Study
from geneai_spark.models.measurements import (
    METRICS,
    NULL,
    Measured,
    Row,
    rows_of,
    shown_mean,
    warning,
)

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationOptions:
    """How often is trained, and on what."""

    folds: int = option("parts of the cross-validation; 0: none", 5)
    shares: tuple[float, ...] = option(
        "shares of the training samples, 0..1, for the learning curve; all are a point of it, too",
        (0.25, 0.5),
    )
    permutations: int = option("trainings on permuted labels, which tell chance; 0: none", 20)

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.folds < 0 or self.folds == 1:
            raise ValueError("folds must be 2 or more, or 0 for none")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError("shares must lie above 0, and at most at 1")
        if self.permutations < 0:
            raise ValueError("permutations must be 0 or more")


def evaluate(
    study: Study,
    models: Mapping[str, Fit],
    options: EvaluationOptions,
) -> list[Row]:
    """Measure each of some models, and compare them.

    Args:
        study: its split is that of the learning curve, the permutations and the comparison; its
            groups are measured apart in the cross-validation.
        models: how each is trained, by name; the first mentioned come first.
        options: see there.

    Raises:
        InputError: test samples that do not differ, or training samples of a fold or a share.
    """
    test = study.split.test
    if len(np.unique(study.values[test])) < 2:
        raise InputError(
            f"test: expected samples that differ in {study.trait!r}, found {len(test)} that do "
            "not: give a larger test, or another seed"
        )
    whole = {}
    for name, fit in models.items():  # all of them first: what cannot be trained is told early
        with progress.stage(f"evaluate {name}: all training samples", _spark(study)) as stage:
            whole[name] = _scores(study, fit, "test")
            stage.result = _told(_measured(study, whole[name], test))
    rows: list[Row] = []
    for name, fit in models.items():
        rows += learning_curve(study, name, fit, options.shares, whole[name])
        if options.folds:
            rows += cross_validation(study, name, fit, options.folds)
        if options.permutations:
            rows += permutation_null(study, name, fit, options.permutations, whole[name])
    return rows + compare(study, whole)


def cross_validation(study: Study, name: str, fit: Fit, k: int) -> list[Row]:
    """Measure each fold, all folds' held-out scores together, and groups of these.

    The study's validation samples stay validation samples, but in their own fold.
    """
    fold = examples.folds(study.sample_ids, k, relatives=study.relatives, seed=study.seed)
    known = np.sort(np.concatenate(study.split))
    scores, sizes = np.full(len(study.sample_ids), np.nan), []
    rows: list[Row] = []
    with progress.stage(f"evaluate {name}: {k} folds", _spark(study)) as stage:
        for i in range(k):
            own = known[fold[known] == i]
            if not len(own):
                continue
            rest = np.setdiff1d(known, own)
            validation = np.intersect1d(study.split.validation, rest)
            parts = Split(np.setdiff1d(rest, validation), validation, own)
            sizes.append(len(parts.train))
            scores[own] = _scores(replace(study, split=parts), fit, f"fold {i + 1} of {k}")[own]
            told = _measured(study, scores, own)
            rows += rows_of(name, "fold", str(i + 1), sizes[-1], told, METRICS[study.binary])
        pooled, size = _measured(study, scores, known), round(float(np.mean(sizes)))
        rows += rows_of(name, "pooled", "all", size, pooled, METRICS[study.binary])
        stage.result = _told(pooled)
    for group, told in results.by_group(study, scores, known)[0].items():
        rows += rows_of(name, "group", group, size, told, METRICS[study.binary])
    return rows


def learning_curve(
    study: Study, name: str, fit: Fit, shares: Sequence[float], whole: Floats
) -> list[Row]:
    """Measure the test samples by models of fewer training samples, the smaller share part of the
    larger.

    Args:
        whole: scores by the model of all training samples.
    """
    place = examples.places(study.sample_ids, relatives=study.relatives, seed=study.seed)
    train, test = study.split.train, study.split.test
    rows: list[Row] = []
    for share in sorted({*shares, 1.0}):
        some = train[place[train] < share]
        if share == 1:
            told = _measured(study, whole, test)
        else:
            title = f"evaluate {name}: {len(some):,} training samples"
            with progress.stage(title, _spark(study)) as stage:
                fewer = replace(study, split=study.split._replace(train=some))
                told = _measured(study, _scores(fewer, fit, f"share {share:g}"), test)
                stage.result = _told(told)
        rows += rows_of(name, "learning", f"{share:g}", len(some), told, METRICS[study.binary])
    return rows


def permutation_null(study: Study, name: str, fit: Fit, n: int, whole: Floats) -> list[Row]:
    """Measure models of permuted labels, by seeds from the study's on.

    Args:
        n: permutations; of few samples, those that leave a test of one class do not count.
        whole: scores by the model of the true labels.
    """
    train, test = study.split.train, study.split.test
    observed = _measured(study, whole, test)
    rows: list[Row] = []
    with progress.stage(f"evaluate {name}: {n} permutations", _spark(study)) as stage:
        for seed in range(study.seed + 1, study.seed + 1 + n):
            other = replace(study, values=permuted(study, seed))
            if len(np.unique(other.values[test])) < 2 or len(np.unique(other.values[train])) < 2:
                continue
            scores = _scores(other, fit, f"permutation {seed}")
            # The interval of the AUC needs no resamples, and no other is looked at.
            told = _measured(other, scores, test, resamples=0 if study.binary else 1000)
            flags = ("skill",) if told is not None and told.beats_chance else ()
            found = rows_of(name, "null", str(seed), len(train), told, NULL[study.binary])
            rows += [row._replace(flags=flags) for row in found]
        means = []
        for row in rows_of(name, "chance", "all", len(train), observed, NULL[study.binary]):
            null = [one.found.value for one in rows if one.metric == row.metric]
            if null := [value for value in null if np.isfinite(value)]:
                mean, p, leak = chance(row.found.value, null, CHANCE[row.metric])
                flags = ("leak",) if leak else ()
                means.append(row._replace(found=mean, p=p, flags=flags))
        stage.result = "; ".join(warning(row) or shown_mean(row) for row in means)
    return rows + means


def permuted(study: Study, seed: int) -> Floats:
    """The trait with the known values of the split's samples in another order."""
    known = np.sort(np.concatenate(study.split))
    values = study.values.copy()
    values[known] = np.random.default_rng(seed).permutation(values[known])
    return values


def compare(study: Study, whole: Mapping[str, Floats]) -> list[Row]:
    """Differences of each two models on the test samples that both have scored."""
    rows, metric = [], METRICS[study.binary][0]
    for one, other in combinations(whole, 2):
        both = np.isfinite(whole[one]) & np.isfinite(whole[other])
        own = study.split.test[both[study.split.test]]
        found = difference(
            study.values[own], whole[one][own], whole[other][own],
            binary=study.binary, seed=study.seed,
        )  # fmt: skip
        cases = int((study.values[own] == 1).sum()) if study.binary else None
        train = len(study.split.train)
        rows.append(Row(one, "compare", other, train, len(own), cases, metric, found))
    return rows


def _scores(study: Study, fit: Fit, what: str) -> Floats:
    """Scores by a model of the study's training samples; what it held is let go."""
    train = study.values[study.split.train]
    if len(np.unique(train)) < 2:
        raise InputError(
            f"{what}: expected training samples that differ in {study.trait!r}, found "
            f"{len(train)} that do not: fewer folds, larger shares, or another seed"
        )
    with doses.holding() as hold:
        trained = fit(replace(study, hold=hold))
    study.check_covariates(trained.config)
    return np.asarray(trained.scores, np.float64)


def _measured(study: Study, scores: Floats, own: Ints, *, resamples: int = 1000) -> Measured | None:
    """Metrics of some samples, as far as they have scores; None where they do not differ."""
    own = own[np.isfinite(scores[own])]
    truth = study.values[own]
    if len(np.unique(truth)) < 2:
        return None
    if study.binary:
        return metrics.classification(
            truth,
            scores[own],
            threshold=results.THRESHOLD,
            seed=study.seed,
            resamples=resamples,
        )
    return metrics.regression(truth, scores[own], seed=study.seed, resamples=resamples)


def _told(told: Measured | None) -> str:
    if told is None:
        return "no samples that differ"
    return results.skill(told)


def _spark(study: Study) -> SparkSession:
    return study.doses.sparkSession
