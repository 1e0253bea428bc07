"""Packed genotypes against plain Python readings of the layout, pysam and bcftools."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneai_spark import genotypes
from geneai_spark.errors import TableError

COHORT = Path(__file__).parents[3] / "shared" / "data" / "cohort"


@st.composite
def records(draw, uniform: bool | None = None):
    """Make records of one cohort: each a list of samples, each a list of alleles and bars.

    An allele is an index or None (missing); every sample has at least one.
    """
    samples = draw(st.integers(1, 9))
    most = draw(st.sampled_from([1, 9, 126, 130, 3000]))
    uniform = draw(st.booleans()) if uniform is None else uniform
    allele = st.one_of(st.none(), st.integers(0, most))
    made = []
    for _ in range(draw(st.integers(0, 6))):
        longest = 2 if uniform else draw(st.integers(1, 4))
        least = 2 if uniform else 1
        record = [
            draw(st.lists(st.tuples(allele, st.booleans()), min_size=least, max_size=longest))
            for _ in range(samples)
        ]
        made.append(record)
    return samples, made


def as_arrays(samples: int, made) -> tuple[np.ndarray, np.ndarray]:
    """Write records as padded matrices, the straightforward way."""
    width = max([2] + [len(call) for record in made for call in record])
    calls = np.full((len(made), samples, width), -2, np.int16)
    bars = np.zeros((len(made), samples, width - 1), bool)
    for r, record in enumerate(made):
        for s, call in enumerate(record):
            for p, (allele, bar) in enumerate(call):
                calls[r, s, p] = -1 if allele is None else allele
                if p:
                    bars[r, s, p - 1] = bar
    return calls, bars


def text(call) -> str:
    spelt = "".join(
        ("" if p == 0 else "|" if bar else "/") + ("." if allele is None else str(allele))
        for p, (allele, bar) in enumerate(call)
    )
    return spelt


@settings(deadline=None)
@given(records())
def test_calls__what_was_packed_comes_back(made):
    samples, made = made
    calls, bars = as_arrays(samples, made)
    packed, ploidy = genotypes.pack_calls(calls)
    mask = genotypes.pack_phased(bars, ploidy)

    decoded = genotypes.calls(packed, samples, ploidy)
    phase = genotypes.phased(mask, samples, ploidy)

    # decoded as wide as its widest record: rows of `calls` beyond that are padding
    assert (decoded == calls[:, :, : decoded.shape[2]]).all()
    assert (calls[:, :, decoded.shape[2] :] == -2).all()
    assert (phase == bars[:, :, : phase.shape[2]]).all()
    assert genotypes.gt_strings(decoded, phase) == [[text(c) for c in record] for record in made]


@settings(deadline=None)
@given(records(), st.data())
def test_calls__slices_and_nulls(made, data):
    samples, made = made
    calls, _ = as_arrays(samples, made)
    packed, ploidy = genotypes.pack_calls(calls)
    null = data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made)))
    cut = data.draw(st.integers(0, len(made)))
    masked = pa.array(
        [None if n else v.as_py() for n, v in zip(null, packed, strict=True)], pa.binary()
    )
    widths = pa.array(
        [None if n else v.as_py() for n, v in zip(null, ploidy, strict=True)], pa.int32()
    )
    decoded = genotypes.calls(masked[cut:], samples, widths[cut:])
    for i, r in enumerate(range(cut, len(made))):
        expected = np.full((samples, decoded.shape[2]), -2)
        if null[r]:
            expected[:, 0] = -1
        else:
            own = calls[r, :, : decoded.shape[2]]
            expected[:, : own.shape[1]] = own
        assert (decoded[i] == expected).all()


def test_calls__uniform_is_a_view_of_the_arrow_buffer():
    packed, ploidy = genotypes.pack_calls(np.arange(24, dtype=np.int8).reshape(3, 4, 2))
    decoded = genotypes.calls(packed[1:], 4, ploidy[1:])
    assert decoded.tolist() == np.arange(8, 24).reshape(2, 4, 2).tolist()
    buffer = np.frombuffer(packed.buffers()[2], np.uint8)
    assert np.shares_memory(decoded, buffer)
    assert not decoded.flags.writeable


def test_calls__layout_of_the_documentation():
    # a haploid 0 beside 1|2, a lone '.', a half call; bytes written by hand
    raw = struct.pack("8b", 0, -2, 1, 2, -1, -2, 0, -1)
    decoded = genotypes.calls([raw], 4, 2)
    phase = genotypes.phased([bytes([0b0010])], 4, 2)
    assert genotypes.gt_strings(decoded, phase) == [["0", "1|2", ".", "0/."]]
    # three samples, triploid: separators are bits 0..5, sample 1's second is bit 3
    decoded = genotypes.calls([struct.pack("9b", 0, 0, 1, 1, 1, 1, 0, 1, -2)], 3, 3)
    phase = genotypes.phased([bytes([0b001000])], 3, 3)
    assert genotypes.gt_strings(decoded, phase) == [["0/0/1", "1/1|1", "0/1"]]


@pytest.mark.parametrize("ploidy", [3, None])
def test_calls__raises_on_wrong_sample_count(ploidy):
    packed, _ = genotypes.pack_calls(np.zeros((1, 5, 2), np.int8))
    with pytest.raises(TableError, match="record 0 of the batch holds 10 bytes"):
        genotypes.calls(packed, 4, ploidy)


def test_calls__raises_where_int16_could_pass_for_more_alleles():
    packed, ploidy = genotypes.pack_calls(np.full((1, 3, 2), 200, np.int16))
    assert (genotypes.calls(packed, 3, ploidy) == 200).all()
    with pytest.raises(TableError, match="ambiguous"):
        genotypes.calls(packed, 3)


def test_calls__no_samples_no_records():
    assert genotypes.calls([None, None], 0).shape == (2, 0, 2)
    assert genotypes.calls([], 5).shape == (0, 5, 2)
    assert genotypes.phased([], 5).shape == (0, 5, 1)
    assert genotypes.gt_strings(np.empty((0, 5, 2), np.int8), np.empty((0, 5, 1), bool)) == []


@settings(deadline=None)
@given(records())
def test_counts__as_counted_one_by_one(made):
    samples, made = made
    calls, _ = as_arrays(samples, made)
    for dtype in (np.int8, np.int16):
        if dtype is np.int8 and calls.max(initial=0) > 127:
            continue
        typed = calls.astype(dtype)
        top = int(calls.max(initial=0)) + 1
        dose, first = genotypes.dosages(typed), genotypes.dosages(typed, 1)
        n_alleles = genotypes.allele_counts(typed, top)
        classes = genotypes.genotype_counts(typed)
        for r, record in enumerate(made):
            counted = [0, 0, 0]
            for s, call in enumerate(record):
                alleles = [a for a, _ in call]
                if None in alleles:
                    assert math.isnan(dose[r, s]) and math.isnan(first[r, s])
                    continue
                assert dose[r, s] == sum(a > 0 for a in alleles)
                assert first[r, s] == alleles.count(1)
                kind = 1 if len(set(alleles)) > 1 else 2 if alleles[0] else 0
                counted[kind] += 1
            assert classes[r].tolist() == counted
            flat = [a for call in record for a, _ in call]
            assert n_alleles[r].tolist() == [flat.count(a) for a in range(top)]


INTS = st.integers(genotypes.INT_MISSING, 2**31 - 1)


@settings(deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda samples: st.lists(
            st.integers(1, 3).flatmap(
                lambda size: hnp.arrays(
                    np.int32, (samples, size), elements=st.one_of(st.integers(-200, 200), INTS)
                )
            ),
            min_size=1,
            max_size=5,
        )
    )
)
def test_values__integers_come_back(matrices):
    samples = matrices[0].shape[0]
    width = max(m.shape[1] for m in matrices)
    full = np.full((len(matrices), samples, width), genotypes.INT_ABSENT, np.int32)
    for i, m in enumerate(matrices):
        full[i, :, : m.shape[1]] = m
    decoded = genotypes.values(genotypes.pack_values(full), samples)
    assert (decoded == full[:, :, : decoded.shape[2]]).all()
    assert (full[:, :, decoded.shape[2] :] == genotypes.INT_ABSENT).all()


@settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(width=32, allow_nan=False)))
def test_values__floats_keep_their_bits(matrix):
    bits = matrix.view(np.uint32)
    bits[0, 0, 0], bits[1, :, 1] = genotypes.FLOAT_MISSING_BITS, genotypes.FLOAT_ABSENT_BITS
    decoded = genotypes.values(genotypes.pack_values(bits.view(np.float32)), 2)
    assert (decoded.view(np.uint32) == bits).all()
    assert genotypes.missing_mask(decoded)[0, 0, 0]


def test_values__layout_of_the_documentation():
    column = [
        b"\x01" + struct.pack("4b", 7, -128, 9, -127),  # two samples, two values each
        b"\x02" + struct.pack("<2h", 300, -32768),
        b"\x03" + struct.pack("<2i", 70000, -(2**31) + 1),
        None,
    ]
    m, e = genotypes.INT_MISSING, genotypes.INT_ABSENT
    assert genotypes.values(column, 2).tolist() == [
        [[7, m], [9, e]],
        [[300, e], [m, e]],
        [[70000, e], [e, e]],
        [[m, e], [m, e]],
    ]
    assert genotypes.values([b"\x07a,b\t.\t", None], 3).tolist() == [
        [["a,b"], ["."], [""]],
        [["."], ["."], ["."]],
    ]
    floats = genotypes.values([b"\x05" + struct.pack("<2f", 0.5, -1), None], 2)
    assert floats[0].tolist() == [[0.5], [-1.0]]
    assert genotypes.missing_mask(floats)[1].all()


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ([b"\x01abc"], "not a multiple of 2"),
        ([b"\x09ab"], "unknown type code 9"),
        ([b"\x07a\tb\tc"], "3 text values, not 2"),
        ([b"\x01ab", b"\x05" + b"\0" * 8], "mixes"),
        ([b""], "without its type byte"),
    ],
)
def test_values__raises_on_bad_bytes(column, match):
    with pytest.raises(TableError, match=match):
        genotypes.values(column, 2)


@pytest.mark.skipif(not (COHORT.exists() and shutil.which("bcftools")), reason="needs bcftools")
def test_gt_strings__as_bcftools_prints_a_real_file():
    pysam = pytest.importorskip("pysam")
    path = COHORT / "hail_sample.vcf"
    with pysam.VariantFile(str(path)) as file:
        samples = len(file.header.samples)
        rows = [
            [
                [(a, v.phased) for a in (v["GT"] if v["GT"] else (None,))]
                for v in record.samples.values()
            ]
            for record in file
        ]
    calls, bars = as_arrays(samples, rows)
    packed, ploidy = genotypes.pack_calls(calls)
    mask = genotypes.pack_phased(bars, ploidy)
    ours = genotypes.gt_strings(
        genotypes.calls(packed, samples, ploidy), genotypes.phased(mask, samples, ploidy)
    )
    printed = subprocess.run(
        ["bcftools", "query", "-f", "[%GT\t]\n", path], check=True, capture_output=True, text=True
    )
    assert ours == [line.rstrip("\t").split("\t") for line in printed.stdout.splitlines()]


def test_tally__as_counted_one_by_one():
    rng = np.random.default_rng(8)
    n_alleles = rng.integers(1, 5, 60)
    plain = [(0, 0), (0, 1), (1, 0), (1, 1), (-1, -1), (-1, -2)]
    decoded = np.empty((60, 50, 2), np.int8)
    for r, n in enumerate(n_alleles):
        if r % 3 == 0 and n > 1:
            decoded[r] = [plain[k] for k in rng.integers(0, 6, 50)]
        else:
            decoded[r, :, 0] = rng.integers(-1, n, 50)
            decoded[r, :, 1] = rng.integers(-2, n, 50)
    found = genotypes.tally(decoded, n_alleles)
    wide = np.pad(decoded, ((0, 0), (0, 0), (0, 1)), constant_values=-2)
    for other in (
        genotypes.tally(wide, n_alleles),
        genotypes.tally(decoded.astype(np.int16), n_alleles),
    ):
        assert not other.usual.any()
        for name in found._fields[:-1]:
            assert (getattr(found, name) == getattr(other, name)).all(), name
    assert found.usual.any() and not found.usual.all()
    assert (found.classes == genotypes.genotype_counts(decoded)).all()
    for r, n in enumerate(n_alleles):
        own = slice(found.offsets[r], found.offsets[r + 1])
        calls = [tuple(a for a in call if a != -2) for call in decoded[r].tolist()]
        complete = [call for call in calls if -1 not in call]
        pairs = [call for call in complete if len(call) == 2]
        assert found.diploids[r] == len(pairs)
        for name, kind in (("called", calls), ("complete", complete), ("diploid", pairs)):
            counts = [sum(call.count(a) for call in kind) for a in range(n)]
            assert getattr(found, name)[own].tolist() == counts, name
        assert found.homozygous[own].tolist() == [pairs.count((a, a)) for a in range(n)]


def test_tally__raises_on_an_allele_that_is_not_there():
    with pytest.raises(TableError, match="record 1 of the batch names an allele"):
        genotypes.tally(np.array([[[0, 1]], [[0, 2]]], np.int8), np.array([2, 2]))


def test_code_counts__of_more_samples_than_a_counter_holds():
    codes = np.full((1, 200_001), 0x0101, np.uint16)
    codes[0, 7] = 0xFEFF
    assert genotypes.kernels.code_counts(codes).tolist() == [[0, 0, 200_000, 1]]


def test_missing_by_group__half_calls_are_missing():
    decoded = np.array([[[0, 1], [-1, -1], [0, -1], [-1, -2], [1, -2]]], np.int8)
    groups = np.array([1, 1, 2, 2, 2], np.int8)
    assert genotypes.kernels.missing_by_group(decoded, groups).tolist() == [[1, 2]]
