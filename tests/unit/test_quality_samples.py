"""Sample metrics: by hand, against bcftools, and the same on one and on seven partitions."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import BinaryType, StructField, StructType

from geneai_spark import genotypes, quality, store, tables
from geneai_spark.errors import InputError, TableError
from geneai_spark.quality import groups, measures, sample_kernels
from geneai_spark.quality.samples import checks, from_sums, sample_metrics
from geneai_spark.quality.variants import checks as variant_checks
from geneai_spark.quality.variants import variant_metrics
from tests import packed
from tests.conftest import requires

SITES = [
    ("1", 9, "A", ["G"]),  # transition
    ("1", 19, "A", ["C", "AT"]),  # transversion and insertion
    ("2", 29, "AT", ["A"]),  # deletion
    ("2", 39, "c", ["t"]),  # lower case
    ("2", 49, "AT", ["GC"]),  # two bases
    ("3", 59, "A", ["*", "T"]),
    ("3", 69, "A", ["<DEL>"]),
    ("3", 79, "A", ["T"]),
    ("3", 89, "A", []),
]
CALLS = [
    [(0, 0), (0, 1), (1, 1), (None, None), (0, None), (0, 0)],
    [(0, 0), (0, 1), (2, 1), (0, 2), (2, 2), (0, 0)],
    [(0, 0), (0, 1), (1, 1), (None,), (None, 1), (0, 0)],
    [(0, 0), (1, 0), (1, 1), (0, 0), (0, 0), (0, 1)],
    [(0, 0), (0, 1), (1, 1), (None, None), (0, 0), (0, 0)],
    [(0, 0), (0, 1), (1, 1), (None, None), (0, 2), (1, 2)],
    [(0, 0), (0, 1), (1, 1), (None, None), (0, 0), (0, 0)],
    [(0, 0), (0, 0), (1, 1), (0, 0), (0, 0), (0, 0)],
    [(0, 0), (0, 0), (0, 0), (None, None), (0, 0), (0, 0)],
]
IDS = ["a", "b", "c", "d", "e", "f"]


FORTY = {"default": [f"s{i}" for i in range(40)]}


def rows_of(table):
    return [SimpleNamespace(**row) for row in table.to_pylist()]


def measured(variants, n=6, **options):
    return rows_of(sample_metrics(variants, {"default": IDS[:n]}, **options))


@requires("bcftools")
def test_sample_metrics__as_bcftools_stats(spark, tmp_path):
    def spell(call):
        return "/".join("." if a is None else str(a) for a in call)

    head = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">']
    head += [f"##contig=<ID={c}>" for c in "123"]
    head.append(
        "\t".join(
            ["#CHROM", *["POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"], *IDS]
        )
    )
    for (contig, start, ref, alts), calls in zip(SITES, CALLS, strict=True):
        fields = [contig, start + 1, ".", ref, ",".join(alts) or ".", ".", ".", ".", "GT"]
        head.append("\t".join(map(str, [*fields, *map(spell, calls)])))
    path = tmp_path / "made.vcf"
    path.write_text("\n".join(head) + "\n")
    told = subprocess.run(
        ["bcftools", "stats", "-s", "-", path], capture_output=True, check=True, text=True
    ).stdout
    psc = [line.split("\t") for line in told.splitlines() if line.startswith("PSC\t")]
    found = measured(packed.variants(spark, SITES, CALLS))
    assert len(found) == len(psc) == 6
    for row, line in zip(found, psc, strict=True):
        ours = (row.transitions, row.transversions, row.indels, row.singletons)
        assert ours == (int(line[6]), int(line[7]), int(line[8]), int(line[10]))
        assert row.variants - row.variantsCalled == int(line[13])
    assert sum(row.singletons for row in found) == 1


def test_sample_metrics__classes_and_inbreeding_by_hand(spark):
    sites = [("chr1", i, "A", ["G"]) for i in range(4)]
    calls = [
        [(0, 0), (0, 1), (1, 1)],
        [(0, 1), (0, 1), (None, None)],
        [(1, 1), (1, 1), (1, 1)],  # does not vary
        [(0,), (0, 1), (0, 0)],  # haploid on an autosome: takes no part in F
    ]
    first, second, third = measured(packed.variants(spark, sites, calls), 3)
    classes = [
        (r.homozygousReferences, r.heterozygotes, r.homozygousAlternates) for r in (first, second)
    ]
    assert classes == [(2, 1, 1), (0, 3, 1)]
    assert (third.variantsCalled, third.callRate) == (3, 0.75)
    assert (first.hetHomRatio, second.hetHomRatio, third.hetHomRatio) == (1.0, 3.0, 0.0)
    # Nei: 1 - 2pq n/(n-1): p = 1/2 of 6, 1/2 of 4, 1/4 of 4 alleles
    e = [1 - 0.5 * 6 / 5, 1 - 0.5 * 4 / 3, 1 - 0.375 * 4 / 3]
    assert (first.autosomalVariants, first.homozygotes) == (2, 1)
    assert first.expectedHomozygotes == pytest.approx(e[0] + e[1], abs=1e-10)
    f = (1 - e[0] - e[1]) / (2 - e[0] - e[1])
    assert first.inbreedingCoefficient == pytest.approx(f, abs=1e-10)
    assert third.expectedHomozygotes == pytest.approx(e[0] + e[2], abs=1e-10)


def sexes(spark, **options):
    """Two men (haploid, and written as homozygous), two women, on X; Y with a call in men."""
    rng = np.random.default_rng(3)
    sites, calls = [], []
    for i in range(60):
        a, b, c, d, e, f = (int(x) for x in rng.integers(0, 2, 6))
        sites.append(("X", 3_000_000 + i, "A", ["G"]))
        calls.append([(a,), (b, b), (c, d), (e, f)])
        sites.append(("X", 60_000 + i, "A", ["G"]))  # pseudo-autosomal: all are heterozygous
        calls.append([(0, 1)] * 4)
        sites.append(("Y", 3_000_000 + i, "A", ["G"]))
        calls.append([(a,), (b, b), (None,), (None, None)])
        sites.append(("Y", 10_000 + i, "A", ["G"]))  # pseudo-autosomal
        calls.append([(a,), (b, b), (0, 0), (0, 1)])
    return measured(packed.variants(spark, sites, calls), 4, **options)


def test_sample_metrics__sex_from_x_without_its_shared_ends(spark):
    found = sexes(spark, builds={"default": "GRCh37"})
    assert [row.inferredSex for row in found] == ["male", "male", "female", "female"]
    assert [row.xInbreedingCoefficient for row in found[:2]] == [1.0, 1.0]
    assert all(abs(row.xInbreedingCoefficient) < 0.35 for row in found[2:])
    assert [row.yCallRate for row in found] == [1.0, 1.0, 0.0, 0.0]
    assert all(50 <= row.xVariants <= 60 for row in found)


def test_sample_metrics__y_has_a_say_if_asked(spark):
    agree = sexes(spark, builds={"default": "hg19"}, min_male_y=0.5)
    assert [row.inferredSex for row in agree] == ["male", "male", "female", "female"]
    never = sexes(spark, builds={"default": "GRCh37"}, min_male_y=0.0)
    assert [row.inferredSex for row in never] == ["male", "male", None, None]


def test_sample_metrics__no_sex_without_a_build(spark):
    for row in sexes(spark):
        assert (row.xVariants, row.yCallRate, row.inferredSex) == (0, None, None)


def many(spark, records=120, samples=40):
    rng = np.random.default_rng(11)
    choices = [(0, 0), (0, 1), (1, 0), (1, 1), (None, None), (0, None), (1,), (0, 2), (2, 2)]
    sites, calls, values = [], [], []
    for i in range(records):
        odd = i % 5 == 0
        sites.append((["1", "2", "X"][i % 3], 5_000_000 + i, "A", ["G", "AT"] if odd else ["C"]))
        p = [0.5, 0.15, 0.15, 0.1, 0.1, 0, 0, 0, 0] if i % 2 else [1 / 9] * 9
        p = p if odd else [*p[:7], 0, 0]
        picked = rng.choice(len(choices), samples, p=np.array(p) / sum(p))
        calls.append([choices[k] for k in picked])
        depth = rng.integers(0, [100, 3000, 100_000][i % 3], samples)
        depth[rng.random(samples) < 0.2] = genotypes.INT_MISSING
        quality_ = rng.gamma(3, 20, samples).astype(np.float32)
        values.append((depth.astype(np.int32), quality_))
    frame = packed.variants(spark, sites, calls)
    rows = [
        (*row, *(genotypes.pack_values(v[None, :, None])[0].as_py() for v in pair))
        for row, pair in zip(frame.collect(), values, strict=True)
    ]
    more = [StructField("call_DP", BinaryType()), StructField("call_GQ", BinaryType())]
    return spark.createDataFrame(rows, StructType([*frame.schema.fields, *more])), values


def test_metrics__do_not_depend_on_partitions(spark):
    variants, _ = many(spark)
    one, seven, many_tasks = (
        sample_metrics(variants.repartition(n), FORTY, builds={"default": "hg38"})
        for n in (1, 7, 40)
    )
    flagged = quality.flag(one, checks())
    assert tables.SAMPLE_QUALITY.differences(from_arrow_schema(flagged.schema)) == []
    assert one.num_rows == 40 and one.equals(seven) and one.equals(many_tasks)
    assert all(row.xVariants and row.singletons is not None for row in rows_of(one))
    assert sorted(variant_metrics(variants.repartition(1), 40).collect()) == sorted(
        variant_metrics(variants.repartition(7), 40).collect()
    )


def test_metrics__depth_and_genotype_quality_as_numpy(spark):
    variants, values = many(spark)
    depth = np.array([d for d, _ in values], float)  # (records, samples)
    depth[depth == genotypes.INT_MISSING] = np.nan
    rows = variant_metrics(variants, 40).orderBy("start").collect()
    for what, f in (("Mean", np.nanmean), ("Stdev", np.nanstd), ("Min", np.nanmin)):
        found = [row[f"depth{what}"] for row in rows]
        np.testing.assert_allclose(found, f(depth, axis=1), rtol=1e-12)
    gq = np.array([q for _, q in values], float)
    np.testing.assert_allclose(
        [row.genotypeQualityStdev for row in rows], gq.std(axis=1), rtol=1e-9
    )
    each = rows_of(sample_metrics(variants, FORTY))
    for what, f in (("Mean", np.nanmean), ("Stdev", np.nanstd), ("Max", np.nanmax)):
        found = [getattr(row, f"depth{what}") for row in each]
        np.testing.assert_allclose(found, f(depth, axis=0), rtol=1e-12)
    found = [row.genotypeQualityMean for row in each]
    np.testing.assert_allclose(found, gq.mean(axis=0), atol=1 / 512)
    np.testing.assert_allclose([r.genotypeQualityMax for r in each], gq.max(axis=0), rtol=0)


def test_metrics__null_where_the_field_was_not_stored(spark):
    variants = packed.variants(spark, SITES, CALLS)
    assert {row.depthMean for row in variant_metrics(variants, 6).collect()} == {None}
    assert {row.depthMean for row in measured(variants)} == {None}


def test_metrics__raise_on_values_that_are_no_number_a_sample(spark):
    variants = packed.variants(spark, SITES, CALLS)
    two = variants.withColumn("call_DP", F.lit(bytearray([1, 5, 5])))
    with pytest.raises(Exception, match="call_DP: record 0 of the batch: expected a number"):
        variant_metrics(two, 6).collect()


@pytest.mark.parametrize("direct", [True, False])
def test_measure__writes_variants_and_tells_the_rest_of_one_reading(
    spark, tmp_path, monkeypatch, direct
):
    variants, _ = many(spark)
    if not direct:
        monkeypatch.setattr(store, "can_adopt", lambda *_, **__: False)
    own = variant_checks(min_call_rate=0.8)
    measure = measures.measure(variants.repartition(3), 40, checks=own, builds={"default": "hg38"})
    commit, told = measure.write(tables.VARIANT_QUALITY, str(tmp_path))
    stored = store.read(spark, tables.VARIANT_QUALITY, str(tmp_path), commit.version)
    assert sorted(stored.collect()) == sorted(variant_metrics(variants, 40, checks=own).collect())
    failed = stored.where(F.array_contains("flags", "low_call_rate")).count()
    assert 0 < failed == told.tally["low_call_rate"] and told.tally["rows"] == 120
    alone = sample_metrics(variants, FORTY, builds={"default": "hg38"})
    assert from_sums(told.sums, FORTY).equals(alone)


def test_from_sums__a_cohort_without_variants_has_its_samples_all_the_same():
    found = rows_of(from_sums({}, {"b": ["x"], "a": ["y", "z"]}))
    assert [(row.cohort, row.sampleId, row.variants) for row in found] == [
        ("a", "y", 0), ("a", "z", 0), ("b", "x", 0)
    ]  # fmt: skip
    assert found[0].callRate is None and found[0].depthMin is None


def test_variant_metrics__missingness_of_cases_against_controls(spark):
    from scipy.stats import fisher_exact

    group = np.array([1, 1, 1, 2, 2, 0], np.int8)
    found = variant_metrics(packed.variants(spark, SITES, CALLS), 6, groups={"default": group})
    rows = found.orderBy("start").collect()
    assert [(r.missingCases, r.missingControls) for r in rows[:3]] == [(2, 0), (0, 0), (2, 0)]
    assert rows[0].missingnessPValue == pytest.approx(fisher_exact([[0, 3], [2, 0]]).pvalue)


def trait(values, name="status", texts=None):
    rows = [
        {"cohort": "default", "sampleId": s, "trait": name, "value": v, "text": t}
        for s, v, t in zip(IDS, values, texts or [None] * 6, strict=False)
    ]
    return pa.Table.from_pylist(rows, to_arrow_schema(tables.TRAITS.schema))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_case_control__both_codings(shift):
    found = groups.case_control(
        trait([0.0 + shift, 1.0 + shift, 0.0 + shift]), {"default": IDS}, "status"
    )
    assert found["default"].tolist() == [1, 2, 1, 0, 0, 0]


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [1.0, 1.0], [0.5, 1.0], [None, 1.0]])
def test_case_control__raises_on_other_values_without_naming_them(values):
    with pytest.raises(InputError, match="trait 'status': expected cases and controls") as caught:
        groups.case_control(trait(values), {"default": IDS}, "status")
    assert "0.5" not in str(caught.value)
    with pytest.raises(InputError, match="no cohort has a trait 'other'"):
        groups.case_control(trait(values), {"default": IDS}, "other")


def test_add_sex__and_its_check():
    told = trait([1.0, 2.0, None, 0.0, None], "sex", [None, None, "Male", None, "f"])
    inferred = ["male", "male", None, None, "female", None]
    each = pa.table({"cohort": ["default"] * 6, "sampleId": IDS, "inferredSex": inferred})
    sexed = groups.add_sex(each, told, "sex")
    assert sexed["reportedSex"].to_pylist() == ["male", "female", "male", None, "female", None]
    only = [check for check in checks(reported_sex=True) if check.name == "sex_mismatch"]
    flags = {row.sampleId: row.flags for row in rows_of(quality.flag(sexed, only))}
    assert {s for s, f in flags.items() if f} == {"b", "c"}
    with pytest.raises(InputError, match="1 samples have other values"):
        groups.add_sex(each, trait([1.0, 3.0], "sex"), "sex")
    with pytest.raises(InputError, match="no trait 'other'"):
        groups.add_sex(each, told, "other")


def test_checks__flag_outliers():
    rows = [
        {"cohort": c, "callRate": 1.0, "homozygotes": 900 + (i == 9) * 90,
         "autosomalVariants": 1000 * (i != 8), "inbreedingCoefficient": 0.0}
        for c in "ab" for i in range(10)
    ]  # fmt: skip
    each = pa.Table.from_pylist(rows)
    found = quality.flag(each, checks(max_heterozygosity_deviations=2.5, max_inbreeding=0.1))
    assert [row.flags for row in rows_of(found)] == (
        [[]] * 8 + [["heterozygosity"]] * 2  # the ninth has no variant, the last one differs
    ) * 2
    with pytest.raises(TableError, match="'low_depth' cannot be computed"):
        quality.flag(each, checks(min_depth=10))
    unknown = each.append_column("depthMean", pa.nulls(20, pa.float64()))
    deep = quality.flag(unknown, checks(min_depth=1))
    assert {tuple(flags) for flags in deep["flags"].to_pylist()} == {("low_depth",)}


@pytest.mark.parametrize(
    ("ref", "alt", "change"),
    [
        ("A", "G", "TRANSITION"), ("t", "C", "TRANSITION"), ("A", "C", "TRANSVERSION"),
        ("TA", "TG", "TRANSITION"), ("AT", "GC", "OTHER"), ("A", "AT", "INDEL"),
        ("CATG", "CG", "INDEL"), ("CAG", "TG", "OTHER"), ("A", "CT", "OTHER"),
        ("A", "*", "OTHER"), ("A", "<INS>", "OTHER"), ("N", "A", "OTHER"), ("A", "A[1:5[", "OTHER"),
    ],
)  # fmt: skip
def test_changes__of_an_allele(ref, alt, change):
    batch = pa.RecordBatch.from_pydict({"referenceAllele": [ref], "alternateAlleles": [[alt]]})
    found = measures._changes(batch, np.array([0, 2]))
    assert found.tolist() == [0, getattr(sample_kernels, change)]
