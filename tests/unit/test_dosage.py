"""Views of packed genotypes against what pysam reads."""

from __future__ import annotations

import math

import pytest

from geneai_spark import tables
from geneai_spark.errors import TableError
from geneai_spark.features.dosage import dosage_view, glow_view
from tests import packed

SITES = [("1", 9, "A", ["C"]), ("1", 19, "A", ["C", "G"])]
CALLS = [[(0,), (1, 1), (0, None), (None,)], [(0, 2), (1, 2), (2, 2), (0, 0, 1)]]
IDS = ["a", "b", "c", "d"]


def samples_of(spark, ids, cohort="default"):
    rows = [(cohort, i, sample, "source") for i, sample in enumerate(ids)]
    return spark.createDataFrame(rows[::-1], tables.SAMPLES.schema)


def test_dosage_view__counts_alternates(spark):
    view = dosage_view(packed.variants(spark, SITES, CALLS), samples_of(spark, IDS))
    assert view.schema["dosages"].dataType.simpleString() == "array<float>"
    assert not [name for name in view.columns if name.startswith("call_")]
    first, second = view.orderBy("start").collect()
    assert first.dosages[:2] == [0, 2] and all(map(math.isnan, first.dosages[2:]))
    assert second.dosages == [1, 2, 2, 1]
    assert second.alternateAlleles == ["C", "G"]


def test_glow_view__as_pysam_reads_a_real_file(spark, shared_data):
    ids, sites, calls = packed.read(shared_data / "cohort" / "hail_sample.vcf", limit=40)
    view = glow_view(packed.variants(spark, sites, calls), samples_of(spark, ids))
    found = {
        (row.start, row.referenceAllele, tuple(row.alternateAlleles)): row.genotypes
        for row in view.repartition(3).collect()
    }
    for (_, start, ref, alts), record in zip(sites, calls, strict=True):
        own = found[(start, ref, tuple(alts))]
        assert [g.sampleId for g in own] == ids
        expected = [[-1 if allele is None else allele for allele in call] for call in record]
        assert [g.calls for g in own] == expected
        assert not any(g.phased for g in own)


def test_glow_view__haploid_triploid_phased(spark):
    phased = packed.variants(spark, SITES[:1], [[(0, 1), (1,)]], bars=[[[True], [False]]])
    (row,) = glow_view(phased, samples_of(spark, ["a", "b"])).collect()
    assert [(g.phased, g.calls) for g in row.genotypes] == [(True, [0, 1]), (False, [1])]


def test_views__raise_without_genotypes_and_on_a_gap_in_the_samples(spark):
    variants = packed.variants(spark, SITES, CALLS)
    with pytest.raises(TableError, match="no column call_genotype"):
        dosage_view(variants.drop("call_genotype"), samples_of(spark, IDS))
    gap = samples_of(spark, IDS).where("sampleIndex != 1")
    with pytest.raises(TableError, match="position 1 is not there once"):
        dosage_view(variants, gap)
