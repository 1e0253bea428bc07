from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneai_spark import genome
from geneai_spark.errors import ConfigError
from geneai_spark.genome import BUILDS, CONTIG_END, Interval


@pytest.mark.parametrize(
    ("build", "total"),
    # Total bases of 1..22, X, Y as the assemblies' own publications count them.
    [("GRCh37", 3_095_677_412), ("GRCh38", 3_088_269_832), ("T2T-CHM13", 3_117_275_501)],
)
def test_lengths_add_up_to_the_published_total(build: str, total: int) -> None:
    contigs = list(BUILDS[build].contigs.values())
    assert len(contigs) == 25
    assert sum(contigs[:-1]) == total


def test_lengths_of_grch37_are_those_of_a_real_header(shared_data: Path) -> None:
    with gzip.open(shared_data / "cohort" / "hipster.vcf.bgz", "rt") as file:
        head = [line for _, line in zip(range(400), file, strict=False)]
    found = dict(re.findall(r"##contig=<ID=([^,]+),length=(\d+)", "".join(head)))
    assert {c: int(found[c]) for c in BUILDS["GRCh37"].contigs} == BUILDS["GRCh37"].contigs


def test_shared_assemblies_differ_in_names_and_old_mitochondrion_only() -> None:
    for bare, prefixed in (("GRCh37", "hg19"), ("GRCh38", "hg38")):
        a, b = BUILDS[bare], BUILDS[prefixed]
        assert a.assembly == b.assembly
        assert [f"chr{c}" for c in list(a.contigs)[:-1]] == list(b.contigs)[:-1]
        assert list(a.contigs.values())[:-1] == list(b.contigs.values())[:-1]
    assert BUILDS["hg19"].contigs["chrM"] == 16571
    assert BUILDS["hg38"].contigs["chrM"] == BUILDS["GRCh38"].contigs["MT"] == 16569


@pytest.mark.parametrize(
    ("contig", "build", "expected"),
    [
        ("chr1", "GRCh37", "1"),
        ("1", "hg19", "chr1"),
        ("M", "GRCh38", "MT"),
        ("chrMT", "hg38", "chrM"),
        ("MT", "hg38", "chrM"),
        ("CHRX", "GRCh38", "X"),
        ("NC_000001.10", "GRCh37", "1"),
        ("NC_000001.11", "GRCh38", "1"),
        ("NC_000001.10", "GRCh38", "NC_000001.10"),  # another build's accession is kept
        ("NC_060925.1", "T2T-CHM13", "chr1"),
        ("nc_000024.10", "hg38", "chrY"),
        ("HLA-A*01:01:01:01", "hg38", "HLA-A*01:01:01:01"),
        ("chr1_KI270706v1_random", "GRCh38", "chr1_KI270706v1_random"),
        ("23", "GRCh38", "23"),
        ("chr01", "GRCh38", "chr01"),
    ],
)
def test_normalise(contig: str, build: str, expected: str) -> None:
    assert genome.normalise(contig, build) == expected


@pytest.mark.parametrize("build", BUILDS)
def test_normalise_is_idempotent_and_one_to_one(build: str) -> None:
    for other in BUILDS.values():
        names = [genome.normalise(c, build) for c in other.contigs]
        assert names == list(BUILDS[build].contigs)
        assert [genome.normalise(n, build) for n in names] == names


def test_normalise__raise_on_unknown_build() -> None:
    with pytest.raises(ConfigError, match=r"unknown genome build 'hg17'.*GRCh37"):
        genome.normalise("1", "hg17")


@pytest.mark.parametrize("build", BUILDS)
def test_guess_build_from_lengths(build: str) -> None:
    contigs = dict(BUILDS[build].contigs)
    assert genome.guess_build(contigs) == build
    assert genome.guess_build({k: contigs[k] for k in list(contigs)[19:20]}) == build


def test_guess_build_wants_matching_lengths() -> None:
    assert genome.guess_build({"1": 12345}) is None
    assert genome.guess_build({"1": 12345}, "GRCh38") is None  # lengths contradict the text
    assert genome.guess_build({"MT": 16569}) is None  # every build's
    assert genome.guess_build({"1": 249250621, "2": 5, "3": 6}) is None
    assert genome.guess_build({}) is None


@pytest.mark.parametrize(
    ("contigs", "reference", "expected"),
    [
        ((), "file:///ref/human_g1k_v37.fasta", "GRCh37"),
        ((), "ftp://x/phase2_reference_assembly_sequence/hs37d5.fa.gz", "GRCh37"),
        (("chr1",), "Homo_sapiens_assembly38.fasta", "hg38"),
        (("1",), "GRCh38.p13", "GRCh38"),
        ((), "hg19.fa", "hg19"),
        (("chr1",), "ucsc.hg19.fasta", "hg19"),
        (("chr1",), "chm13v2.0.fa", "T2T-CHM13"),
        ((), "1000GenomesPilot-NCBI36", None),
        ((), "mm10.fa", None),
    ],
)
def test_guess_build_from_reference(
    contigs: tuple[str, ...], reference: str, expected: str | None
) -> None:
    assert genome.guess_build(contigs, reference) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr20", Interval("chr20", -1, CONTIG_END)),
        ("chr20:1,000-2,000", Interval("chr20", 999, 2000)),
        ("20:7", Interval("20", 6, CONTIG_END)),
        ("20:7-", Interval("20", 6, CONTIG_END)),
        ("20:7-7", Interval("20", 6, 7)),
        ("20:0-7", Interval("20", -1, 7)),
        ("HLA-A*01:01:5-9", Interval("HLA-A*01:01", 4, 9)),
        ("{HLA-A*01:01}", Interval("HLA-A*01:01")),
        ("{HLA-A*01:01}:5-9", Interval("HLA-A*01:01", 4, 9)),
    ],
)
def test_parse_region(text: str, expected: Interval) -> None:
    assert genome.parse_region(text) == expected


def test_parse_region_prefers_a_known_contig() -> None:
    assert genome.parse_region("HLA:01:01", ["HLA:01:01"]) == Interval("HLA:01:01")
    assert genome.parse_region("HLA:01:01") == Interval("HLA:01", 0, CONTIG_END)


@pytest.mark.parametrize("text", ["", ":", ":1-2", "1:", "1:a-b", "1:5-4", "1:-5", "1 :1-2", "a b",
                                  "1:1-2-3", "{}:1-2", "1:,-,", "1:1-99999999999"])  # fmt: skip
def test_parse_region__raise_on_nonsense(text: str) -> None:
    with pytest.raises(ConfigError, match="expected CONTIG"):
        genome.parse_region(text)


@given(
    st.text(st.sampled_from("abc19X_.:*-"), min_size=1).filter(lambda c: c.strip()),
    st.integers(-1, CONTIG_END),
    st.integers(0, CONTIG_END),
)
def test_region_text_round_trip(contig: str, start: int, length: int) -> None:
    interval = Interval(contig, start, max(start, min(CONTIG_END, start + length), 0))
    if interval.start < interval.end or interval.start == -1:
        assert genome.parse_region(str(interval)) == interval


def test_interval_overlap_is_half_open() -> None:
    interval = Interval("1", 10, 20)
    assert interval.overlaps("1", 19, 25)
    assert interval.overlaps("1", 5, 11)
    assert not interval.overlaps("1", 20, 25)
    assert not interval.overlaps("1", 5, 10)
    assert not interval.overlaps("2", 12, 13)
    assert Interval("1").overlaps("1", -1, 0)  # a record at POS 0


@pytest.mark.parametrize(("start", "end"), [(-2, 5), (5, 4)])
def test_interval__raise_on_bad_ends(start: int, end: int) -> None:
    with pytest.raises(ConfigError, match="expected a contig"):
        Interval("1", start, end)


def test_par_lies_within_its_chromosome_and_is_equally_long_on_both() -> None:
    for build in BUILDS.values():
        assert [p.contig[-1] for p in build.par] == ["X", "X", "Y", "Y"]
        for region in build.par:
            assert 0 <= region.start < region.end <= build.contigs[region.contig]
        if build.assembly != "T2T-CHM13":  # its X and Y come from two people
            sizes = [p.end - p.start for p in build.par]
            assert sizes[:2] == sizes[2:]


@pytest.mark.parametrize(
    ("contig", "role"),
    [("1", "autosome"), ("chr22", "autosome"), ("NC_000023.10", "X"), ("chrY", "Y"), ("chrM", "MT"),
     ("23", None), ("GL000207.1", None)],
)  # fmt: skip
def test_role__by_any_name(contig, role):
    assert genome.role(contig) == role
