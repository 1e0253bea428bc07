"""One pass over packed genotypes: metrics of each variant, and sums of each sample.

A task keeps the samples' sums (:class:`Counter`) while it measures its variants, and tells them
at its end; tasks' sums are added up. All sums are exact, so that neither the number of tasks nor
their order shows in a result.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import genome, genotype_kernels, genotypes, tables
from geneai_spark.errors import TableError
from geneai_spark.genotypes import ABSENT, MISSING
from geneai_spark.quality import Check, flag, hwe_kernels, sample_kernels, tally, value_kernels
from geneai_spark.stored import Computed, Rows
from geneai_spark.tasks import Batches

Array = npt.NDArray[Any]

#: FORMAT field -> what its columns in the tables begin with.
VALUES = {"call_DP": "depth", "call_GQ": "genotypeQuality"}
#: Expected homozygosities are summed as integers of this unit: exact, whatever the order.
EXPECTED_UNIT = 2.0**-36
#: Packed genotypes that are worked on at once: bytes, and records for what each one costs.
SLICE_BYTES, SLICE_RECORDS = 16_000_000, 8192

KEYS = tables.VARIANT_QUALITY.schema.names[:8]


class Sums(NamedTuple):
    """Sums over variants, of each sample of a cohort.

    Attributes:
        counts: int64, shape (sample_kernels.ROWS, samples).
        values: of each of ``VALUES``, by prefix: count, sum, sum of squares, least and greatest;
            float64, shape (5, samples).
    """

    counts: Array
    values: dict[str, Array]

    @classmethod
    def nothing(cls, n_samples: int) -> Sums:
        """The sums over no variant."""
        counts = np.zeros((sample_kernels.ROWS, n_samples), np.int64)
        return cls(counts, {prefix: _no_values(n_samples) for prefix in VALUES.values()})

    def add(self, other: Sums) -> Sums:
        """Add the sums over other variants; changes these."""
        np.add(self.counts, other.counts, out=self.counts)
        least, greatest = value_kernels.LEAST, value_kernels.GREATEST
        for prefix, one in self.values.items():
            two = other.values[prefix]
            np.add(one[:least], two[:least], out=one[:least])
            np.minimum(one[least], two[least], out=one[least])
            np.maximum(one[greatest], two[greatest], out=one[greatest])
        return self


class Told(NamedTuple):
    """What a task tells beside its measured variants.

    Attributes:
        tallies: of each cohort's variants and their flags, see ``quality.tally``.
        sums: of each cohort's samples.
    """

    tallies: dict[str, dict[str, int]]
    sums: dict[str, Sums]

    @property
    def tally(self) -> dict[str, int]:
        """Of all cohorts together."""
        counts: Counts[str] = Counts()
        for one in self.tallies.values():
            counts.update(one)
        return dict(counts)

    def merge(self, other: Told) -> Told:
        """Put the other task's in."""
        for cohort, counts in other.tallies.items():
            kept = self.tallies.setdefault(cohort, {})
            for name, count in counts.items():
                kept[name] = kept.get(name, 0) + count
        for cohort, sums in other.sums.items():
            own = self.sums.get(cohort)
            self.sums[cohort] = sums if own is None else own.add(sums)
        return self


def measure(
    variants: Rows,
    n_samples: Mapping[str, int] | int,
    *,
    checks: Sequence[Check] = (),
    of_samples: bool = True,
    groups: Mapping[str, Array] | None = None,
    builds: Mapping[str, str] | None = None,
) -> Computed:
    """Read the genotypes once: rows of ``variant_quality``; the tasks tell :class:`Told`.

    Args:
        variants: the ``variants`` table, with genotypes.
        n_samples: samples of each cohort by name, or one number for all.
        checks: of variants.
        of_samples: sum up each sample's variants, too.
        groups: of a cohort's samples: 1 control, 2 case, 0 neither; int8, shape (samples,).
        builds: a cohort's genome build, for pseudo-autosomal regions; without it the X and Y
            of the samples stay unmeasured.

    Raises:
        TableError: ``variants`` has no genotypes (they were left out at ingestion).
    """
    needed = [*KEYS, "call_genotype", "call_ploidy"]
    if missing := [name for name in needed if name not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    needed += [name for name in VALUES if name in variants.columns]
    schema = tables.VARIANT_QUALITY.schema
    arrow = to_arrow_schema(schema)
    measured = pa.schema([field for field in arrow if field.name != "flags"])

    def counter(cohort: str) -> Counter:
        size = n_samples if isinstance(n_samples, int) else n_samples.get(cohort, 0)
        group, build = (groups or {}).get(cohort), (builds or {}).get(cohort)
        return Counter(size, groups=group, build=build, of_samples=of_samples)

    def work(batches: Batches) -> Generator[pa.RecordBatch, None, Told]:
        counters: dict[str, Counter] = {}
        told = Told({}, {})
        for batch in batches:
            cohorts = pc.unique(batch.column("cohort")).to_pylist()
            for cohort in cohorts:
                if cohort not in counters:
                    counters[cohort] = counter(cohort)
                one = batch  # a filter copies
                if len(cohorts) > 1:
                    one = batch.filter(pc.equal(batch.column("cohort"), cohort))
                for part in counters[cohort].slices(one):
                    found = _batch(counters[cohort].add(part), part.num_rows, measured)
                    flagged = flag(found, checks)
                    told.merge(Told({cohort: tally(flagged, checks)}, {}))
                    yield flagged.cast(arrow)
        sums = {cohort: one.sums for cohort, one in counters.items()} if of_samples else {}
        return Told(told.tallies, sums)

    return Computed(variants.select(needed), work, schema, Told.merge)


def _batch(columns: Mapping[str, pa.Array], rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of ``schema``; columns that are not given are null."""
    arrays = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(rows, f.type)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class Counter:
    """Measures batches of one cohort's variants and keeps the sums of its samples.

    Args:
        n_samples: samples of the cohort.
        groups: 1 control, 2 case, 0 neither; int8, shape (samples,).
        build: the genome build.
        of_samples: whether to keep sums of samples.
    """

    def __init__(
        self,
        n_samples: int,
        *,
        groups: Array | None = None,
        build: str | None = None,
        of_samples: bool = True,
    ) -> None:
        self.n_samples, self.groups, self.build = n_samples, groups, build
        self.of_samples = of_samples
        self.sums = Sums.nothing(n_samples)

    def slices(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """``batch`` in pieces of a bounded number of packed bytes."""
        step = max(1, min(SLICE_RECORDS, SLICE_BYTES // max(1, 2 * self.n_samples)))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)

    def add(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Measure each variant of a batch: the columns of ``variant_quality`` that there are."""
        decoded = genotypes.calls(
            batch.column("call_genotype"), self.n_samples, batch.column("call_ploidy")
        )
        decoded = decoded.view()
        decoded.flags.writeable = False  # one type for the kernels, a copy or not
        n_alleles = pc.list_value_length(batch.column("alternateAlleles")).to_numpy() + 1
        tally = genotypes.tally(decoded, n_alleles)
        columns = {name: batch.column(name) for name in KEYS}
        columns |= _allele_columns(tally, self.n_samples)
        if self.groups is not None:
            columns |= _missingness_columns(decoded, self.groups)
        for name, prefix in VALUES.items():
            if name in batch.schema.names:
                columns |= self._add_values(batch.column(name), name, prefix)
        if self.of_samples:
            self._add_samples(batch, decoded, tally)
        return columns

    def _add_values(self, column: pa.Array, name: str, prefix: str) -> dict[str, pa.Array]:
        data, starts, lengths, valid = genotypes.packed_bytes(column)
        each = np.empty((len(starts), 5))  # (records, count, sum, squares, least, greatest)
        wrong = value_kernels.add_values(
            data, starts, lengths, valid, self.sums.values[prefix], each
        )
        if wrong >= 0:
            raise TableError(f"{name}: record {wrong} of the batch: expected a number a sample")
        n, total, squares, least, greatest = each.T
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n
            stdev = np.sqrt(np.maximum(squares - total * mean, 0) / n)
        none = n == 0
        return {
            f"{prefix}{what}": pa.array(numbers, mask=none)
            for what, numbers in (
                ("Mean", mean), ("Stdev", stdev), ("Min", least), ("Max", greatest)
            )
        }  # fmt: skip

    def _add_samples(self, batch: pa.RecordBatch, decoded: Array, tally: genotypes.Tally) -> None:
        change = _changes(batch, tally.offsets)
        places, expected = self._places(batch, tally)
        pairs = genotypes.codes(decoded)
        if pairs is not None:
            first = change[np.minimum(tally.offsets[:-1] + 1, len(change) - 1)]  # of ALT 1
            sample_kernels.add_usual(pairs, tally.usual, places, first, expected, self.sums.counts)
            single = tally.usual & (tally.classes[:, 1:].sum(axis=1) == 1)
            sample_kernels.add_singletons(pairs, single, self.sums.counts)
        sample_kernels.add_others(
            decoded, tally.usual, tally.offsets, places, change, expected, self.sums.counts
        )

    def _places(self, batch: pa.RecordBatch, tally: genotypes.Tally) -> tuple[Array, Array]:
        """Where each record lies, and its expected homozygosity in ``EXPECTED_UNIT``.

        Nei's unbiased estimate 1 - 2 p (1 - p) n / (n - 1), n alleles: plink2's ``--het
        small-sample``. Complete genotypes count, on autosomes diploid ones only.
        """
        contigs = batch.column("contigName").dictionary_encode()
        roles = [genome.role(name) for name in contigs.dictionary.to_pylist()]
        role = np.array(roles, object)[contigs.indices.to_numpy()]
        start, end = (batch.column(name).to_numpy() for name in ("start", "end"))
        places = np.zeros(batch.num_rows, np.int8)
        places[role == "autosome"] = sample_kernels.AUTOSOMAL
        if self.build is not None:
            places[role == "X"], places[role == "Y"] = sample_kernels.ON_X, sample_kernels.ON_Y
            for region in genome.BUILDS[self.build].par:
                inside = (role == genome.role(region.contig)) & (start < region.end)
                places[inside & (end > region.start)] = sample_kernels.ELSEWHERE
        ref = np.minimum(tally.offsets[:-1], len(tally.complete) - 1)
        alt = np.minimum(ref + 1, len(tally.complete) - 1)
        autosomal = places == sample_kernels.AUTOSOMAL
        alts = np.where(autosomal, tally.diploid[alt], tally.complete[alt]).astype(float)
        n = alts + np.where(autosomal, tally.diploid[ref], tally.complete[ref])
        varies = (np.diff(tally.offsets) == 2) & (alts > 0) & (alts < n)
        places[~varies & (places != sample_kernels.ON_Y)] = sample_kernels.ELSEWHERE
        n = np.where(varies, n, 2.0)
        p = np.where(varies, alts / n, 0.0)
        homozygosity = 1 - 2 * p * (1 - p) * n / (n - 1)
        return places, np.rint(homozygosity / EXPECTED_UNIT).astype(np.int64)


def _no_values(n_samples: int) -> Array:
    sums = np.zeros((5, n_samples))
    sums[value_kernels.LEAST], sums[value_kernels.GREATEST] = np.inf, -np.inf
    return sums


def _allele_columns(tally: genotypes.Tally, n_samples: int) -> dict[str, pa.Array]:
    """What counts of alleles and genotypes tell."""
    records = len(tally.classes)
    offsets = tally.offsets.astype(np.int32)
    number = np.add.reduceat(tally.called, offsets[:-1]) if records else np.zeros(0, np.int32)
    called = tally.classes.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        frequencies = tally.called / np.repeat(number, np.diff(offsets))
        heterozygosity = tally.classes[:, 1] / called
        rate = called / n_samples if n_samples else np.full(records, np.nan)
    squares = np.add.reduceat(frequencies**2, offsets[:-1]) if records else np.zeros(0)
    p, mid = hwe_kernels.hwe_tests(tally.offsets, tally.diploids, tally.diploid, tally.homozygous)
    alts = pa.array(offsets - np.arange(records + 1, dtype=np.int32))
    untested = pa.array(tally.diploids == 0)
    starts, uncalled = pa.array(offsets), pa.array(number == 0)
    lists = pa.ListArray.from_arrays
    return {
        "samplesCalled": pa.array(called, pa.int32()),
        "callRate": pa.array(rate, from_pandas=True),
        "alleleNumber": pa.array(number, pa.int32()),
        "alleleCounts": lists(starts, pa.array(tally.called)),
        "alleleFrequencies": lists(starts, pa.array(frequencies), mask=uncalled),
        "homozygousReferences": pa.array(tally.classes[:, 0]),
        "heterozygotes": pa.array(tally.classes[:, 1]),
        "homozygousAlternates": pa.array(tally.classes[:, 2]),
        "heterozygosity": pa.array(heterozygosity, from_pandas=True),
        "expectedHeterozygosity": pa.array(1 - squares, from_pandas=True),
        "hwePValues": lists(alts, pa.array(p), mask=untested),
        "hweMidPValues": lists(alts, pa.array(mid), mask=untested),
    }


def _missingness_columns(decoded: Array, groups: Array) -> dict[str, pa.Array]:
    missing = genotype_kernels.missing_by_group(decoded, groups)  # (records, controls and cases)
    sizes = np.array([(groups == 1).sum(), (groups == 2).sum()])
    return {
        "missingCases": pa.array(missing[:, 1]),
        "missingControls": pa.array(missing[:, 0]),
        "missingnessPValue": pa.array(hwe_kernels.fisher_tests(missing, sizes)),
    }


def _changes(batch: pa.RecordBatch, offsets: Array) -> Array:
    """What each allele changes: int8, shape (alleles,)."""
    ref = _texts(batch.column("referenceAllele"))
    alt = _texts(batch.column("alternateAlleles").flatten())
    return np.asarray(sample_kernels.changes(ref[0], ref[1], alt[0], alt[1], offsets))


def _texts(column: pa.Array) -> tuple[Array, Array]:
    """The bytes of a column of texts, and where each text begins and the last one ends."""
    data, starts, lengths, _ = genotypes.packed_bytes(column)
    return data, np.append(starts, starts[-1:] + lengths[-1:])


def warm_up() -> None:
    """Compile every kernel for the types that a worker meets."""
    schema = to_arrow_schema(tables.VARIANTS.schema)
    calls = [[(0, 0), (0, 1)], [(0, 2), (1, ABSENT)], [(MISSING, MISSING)] * 2]
    packed, ploidy = genotypes.pack_calls(np.array(calls, np.int8))
    rows = [
        {"contigName": "1", "start": 0, "end": 1, "referenceAllele": "A", "alternateAlleles": alts}
        for alts in (["C"], ["C", "AT"], [])
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema)
    columns = {name: batch.column(name) for name in KEYS}
    columns |= {"call_genotype": packed, "call_ploidy": ploidy}
    columns |= {name: genotypes.pack_values(np.ones((3, 2, 1), np.int32)) for name in VALUES}
    counter = Counter(2, groups=np.array([1, 2], np.int8), build="GRCh38")
    counter.add(pa.RecordBatch.from_pydict(columns))
