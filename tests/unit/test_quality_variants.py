"""Variant metrics against bcftools and against counts done one by one."""

from __future__ import annotations

import subprocess

import numpy as np
import pyarrow as pa
import pytest

from geneai_spark import quality, tables
from geneai_spark.errors import TableError
from geneai_spark.quality import Check
from geneai_spark.quality.variants import checks, variant_metrics
from tests import packed
from tests.conftest import requires


def bcftools(*arguments: str, stdin: str) -> str:
    command = ["bcftools", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, text=True).stdout


@requires("bcftools")
def test_variant_metrics__as_bcftools_counts_a_real_cohort(spark, shared_data):
    path = shared_data / "cohort" / "hail_sample.vcf"
    ids, sites, calls = packed.read(path)
    found = variant_metrics(packed.variants(spark, sites, calls), len(ids)).collect()

    # the plugin refuses a contig that the header does not declare
    declared = path.read_text().replace("#CHROM", "##contig=<ID=20>\n#CHROM", 1)
    tags = "AN,AC,AF,AC_Het,AC_Hom,F_MISSING"
    text = bcftools("+fill-tags", "-", "--", "-t", tags, stdin=declared)
    wanted = "\t".join(f"%{tag}" for tag in ("CHROM,POS,REF,ALT," + tags).split(","))
    text = bcftools("query", "-f", wanted + "\n", stdin=text)
    expected = {}
    for line in text.splitlines():
        contig, pos, ref, alts, an, ac, af, het, hom, missing = line.split("\t")
        key = (contig, int(pos) - 1, ref, alts)
        assert key not in expected
        expected[key] = (an, ac, af, het, hom, missing)

    assert len(found) == len(expected) == 346
    for row in found:
        key = (row.contigName, row.start, row.referenceAllele, ",".join(row.alternateAlleles))
        an, ac, af, het, hom, missing = expected[key]
        assert row.alleleNumber == int(an)
        assert row.alleleCounts[1:] == [int(n) for n in ac.split(",")]
        assert row.alleleCounts[0] == int(an) - sum(row.alleleCounts[1:])
        if int(an):
            assert row.alleleFrequencies[1:] == pytest.approx(
                [float(f) for f in af.split(",")], abs=1e-6
            )
        assert row.callRate == pytest.approx(1 - float(missing), abs=1e-6)
        if len(row.alternateAlleles) == 1:  # AC_Het and AC_Hom count alleles, not genotypes
            assert row.heterozygotes == int(het)
            assert row.homozygousAlternates == int(hom) / 2


ODD = [
    # haploid REF and ALT, half call, missing, lone missing, triploid
    [(0,), (1,), (0, None), (None, None), (None,), (1, 1, 1)],
    [(0, 0), (0, 1), (1, 2), (2, 2), (0, 2), (1, 1)],
    [(None, None)] * 6,
]
SITES = [("1", 9, "A", ["C"]), ("1", 19, "A", ["C", "G"]), ("X", -1, "N", ["T"])]


def test_variant_metrics__haploid_half_missing_and_multi_allelic(spark):
    odd, multi, none = (
        variant_metrics(packed.variants(spark, SITES, ODD), 6).orderBy("contigName", "start")
    ).collect()
    assert (odd.samplesCalled, odd.alleleNumber, odd.alleleCounts) == (3, 6, [2, 4])
    assert (odd.homozygousReferences, odd.heterozygotes, odd.homozygousAlternates) == (1, 0, 2)
    assert odd.callRate == 0.5
    assert (multi.alleleCounts, multi.alleleNumber) == ([4, 4, 4], 12)
    counts = (multi.homozygousReferences, multi.heterozygotes, multi.homozygousAlternates)
    assert counts == (1, 3, 2)
    assert (none.samplesCalled, none.callRate, none.alleleNumber) == (0, 0.0, 0)
    assert none.alleleCounts == [0, 0] and none.alleleFrequencies is None
    assert none.start == -1


def test_variant_metrics__conforms_and_does_not_depend_on_partitions(spark):
    variants = packed.variants(spark, SITES, ODD)
    one = variant_metrics(variants.repartition(1), 6)
    assert tables.VARIANT_QUALITY.differences(one.schema) == []
    seven = variant_metrics(variants.repartition(7), 6)
    assert sorted(one.collect()) == sorted(seven.collect())


def test_variant_metrics__each_cohort_has_its_own_size(spark):
    small = packed.variants(spark, SITES[:1], [[(0, 1), (0, 0)]], cohort="small")
    large = packed.variants(spark, SITES[:1], [[(0, 1)] * 5], cohort="large")
    found = variant_metrics(small.union(large).repartition(1), {"small": 2, "large": 5})
    counts = {row.cohort: row.alleleCounts for row in found.collect()}
    assert counts == {"small": [3, 1], "large": [5, 5]}


def test_variant_metrics__raises_without_genotypes(spark):
    sites_only = packed.variants(spark, SITES, ODD).drop("call_genotype")
    with pytest.raises(TableError, match="no column call_genotype"):
        variant_metrics(sites_only, 6)


def test_flag__names_failed_checks_and_null_fails(spark):
    variants = packed.variants(spark, SITES, ODD)
    flagged = variant_metrics(variants, 6, checks=checks(min_minor_allele_frequency=0.4))
    flags = {row.start: row.flags for row in flagged.collect()}
    assert flags == {
        9: ["low_call_rate", "rare"],
        19: [],
        -1: ["low_call_rate", "monomorphic", "rare"],
    }
    assert [row.start for row in quality.keep(flagged).collect()] == [19]
    lenient = quality.keep(flagged, allow=["low_call_rate", "rare"])
    assert sorted(row.start for row in lenient.collect()) == [9, 19]


def test_flag__raises_on_absent_column():
    with pytest.raises(TableError, match=r"check .deep. cannot be computed: .*depth.* width"):
        quality.flag(pa.table({"width": [1]}), [Check("deep", quality.at_least("depth", 10))])


def test_flag__lists_null_empty_and_not_a_number_as_numpy_on_each():
    lists = [[0.2, 0.9], None, [], [0.5], [float("nan"), 0.1], [0.3, 0.4, 0.1]]
    rows = pa.RecordBatch.from_pydict({"p": pa.array(lists, pa.list_(pa.float64()))})
    for part, own in ((rows, lists), (rows.slice(1, 4), lists[1:5])):
        least = quality.least_of(part, "p").to_pylist()
        assert least == [float(np.nanmin(one)) if one else None for one in own]
        greatest = quality.greatest_of(part, "p").to_pylist()
        assert greatest == [float(np.nanmax(one)) if one else None for one in own]


def test_tally__counts_flags():
    checks = [Check("a", quality.at_least("x", 2)), Check("b", quality.at_least("x", 1))]
    flagged = quality.flag(pa.table({"x": [2, 1, 0, None]}), checks)
    assert flagged["flags"].to_pylist() == [[], ["a"], ["a", "b"], ["a", "b"]]
    assert quality.tally(flagged, checks) == {"rows": 4, "passed": 1, "a": 3, "b": 2}
    assert quality.tally(flagged.slice(0, 0), checks) == {"rows": 0, "passed": 0, "a": 0, "b": 0}


def test_keep__raises_on_unflagged(spark):
    with pytest.raises(TableError, match="call flag"):
        quality.keep(spark.range(1))


def test_flag__without_checks_nothing_fails():
    assert quality.flag(pa.table({"x": [1, 2]}), [])["flags"].to_pylist() == [[], []]
