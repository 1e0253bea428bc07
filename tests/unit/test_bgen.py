"""BGEN files against the specification, by fractions: every depth of bits, ploidy, phase."""

from __future__ import annotations

import itertools
import random
import sqlite3
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneai_spark import genotypes
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgen, bgen_records
from geneai_spark.formats.packed_records import Reading
from tests.genotype_files import Variant
from tests.genotype_files import bgen as bgen_bytes
from tests.genotype_files import bgen_1 as bgen_1_bytes

PLAIN = Variant([[255, 0], [0, 255]], [2, 2], [False, False])


def rows(
    uri: str,
    reading: Reading | None = None,
    *,
    target: int = 1 << 20,
    ref: str = "first",
    threshold: float = 0.1,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Stored and rejected records of a file."""
    reading = reading or Reading()
    work, _ = bgen.plan([bgen.inspect(uri)], ["c"], reading, target, ref, threshold)
    parsed = [one for t in work for part in t for one in bgen_records.parse_part(part, reading)]
    good = [row for one in parsed for row in one.records.to_pylist()]
    return good, [row for one in parsed for row in one.rejects.to_pylist()]


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def decoded(row: dict[str, Any], n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ploidy = [row["call_ploidy"]]
    return (
        genotypes.calls([row["call_genotype"]], n, ploidy)[0],
        genotypes.phased([row["call_genotype_phased"]], n, ploidy)[0],
        genotypes.values([row["call_GP"]], n)[0],
    )


# --------------------------------------------------------- what the specification says, slowly


def vcf_order(ploidy: int, alleles: int) -> list[tuple[int, ...]]:
    """Genotypes as VCF orders them: by the highest allele, then the next."""
    every = itertools.combinations_with_replacement(range(alleles), ploidy)
    return sorted(every, key=lambda genotype: genotype[::-1])


def probabilities(one: Variant, sample: int) -> dict[tuple[int, ...], Fraction]:
    """Of each genotype of a sample; allele numbers are the file's."""
    top, k = (1 << one.bits) - 1, len(one.alleles)
    stored = [Fraction(number, top) for number in one.stored[sample]]
    if not one.phased:
        listed = vcf_order(one.ploidies[sample], k)
        return dict(zip(listed, [*stored, 1 - sum(stored)], strict=True))
    haplotypes = [stored[i : i + k - 1] for i in range(0, len(stored), k - 1)] if k > 1 else []
    each = [[*part, 1 - sum(part)] for part in haplotypes] or [[Fraction(1)]] * one.ploidies[sample]
    out = dict.fromkeys(vcf_order(one.ploidies[sample], k), Fraction(0))
    for way in itertools.product(range(k), repeat=one.ploidies[sample]):
        chance = Fraction(1)
        for haplotype, allele in zip(each, way, strict=True):
            chance *= haplotype[allele]
        out[tuple(sorted(way))] += chance
    return out


def hard_call(
    chances: dict[tuple[int, ...], Fraction], k: int, threshold: Fraction
) -> tuple[int, ...] | None:
    """The genotype nearest to the dosages, if it is near enough."""
    dosage = [sum(p * g.count(a) for g, p in chances.items()) for a in range(k)]
    distance = {g: sum(abs(dosage[a] - g.count(a)) for a in range(k)) / 2 for g in chances}
    best = min(distance, key=lambda g: distance[g])
    return best if distance[best] <= threshold else None


def numbers(chance: random.Random, top: int, many: int) -> list[int]:
    """Probabilities that are sure, nearly sure or anything; the last is not among them."""
    sure = chance.randrange(many)
    left, out = top, [0] * many
    slack = chance.choice([0, top // 20, top])
    for i in range(many):
        if i != sure:
            out[i] = chance.randint(0, min(left, slack))
            left -= out[i]
    out[sure] = left
    return out[:-1]


def variant(seed: int, bits: int, k: int, phased: bool, ploidies: list[int]) -> Variant:
    chance, stored, missing = random.Random(seed), [], []
    for ploidy in ploidies:
        missing.append(chance.random() < 0.2)
        many = k if phased else len(vcf_order(ploidy, k))
        one = [
            number
            for _ in range(ploidy if phased else 1)
            for number in numbers(chance, (1 << bits) - 1, many)
        ]
        stored.append([0] * len(one) if missing[-1] else one)
    return Variant(stored, ploidies, missing, phased, bits, tuple("ACGT"[:k]))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    bits=st.integers(1, 32),
    k=st.integers(1, 4),
    phased=st.booleans(),
    ploidies=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    compression=st.integers(0, 2),
    ref=st.sampled_from(["first", "last"]),
)
def test_decode__equals_the_specification(
    tmp_path_factory: pytest.TempPathFactory, seed: int, bits: int, k: int, phased: bool,
    ploidies: list[int], compression: int, ref: str,
) -> None:  # fmt: skip
    one, n = variant(seed, bits, k, phased, ploidies), len(ploidies)
    ids = [f"S{i}" for i in range(n)]
    data = bgen_bytes([one], compression=compression, ids=ids)
    uri = write(tmp_path_factory.getbasetemp() / "one.bgen", data)
    (row,), bad = rows(uri, ref=ref, threshold=0.125)
    assert not bad
    new = {a: (a + 1) % k if ref == "last" else a for a in range(k)}  # a file's allele, stored
    alleles = [row["referenceAllele"], *row["alternateAlleles"]]
    assert [alleles[new[a]] for a in range(k)] == list(one.alleles)
    calls, bars, gp = decoded(row, n)
    for i, ploidy in enumerate(ploidies):
        call = [a for a in calls[i].tolist() if a != genotypes.ABSENT]
        if one.missing[i] or ploidy == 0:
            assert call == [-1] * max(ploidy, 1)
            assert np.isnan(gp[i]).all()
            continue
        chances = probabilities(one, i)
        best = hard_call(chances, k, Fraction(1, 8))
        expected = None if best is None else sorted(new[a] for a in best)
        assert (None if call == [-1] * ploidy else sorted(call)) == expected
        renamed = {tuple(sorted(new[a] for a in g)): p for g, p in chances.items()}
        theirs = [float(renamed[g]) for g in vcf_order(ploidy, k)]
        assert gp[i, : len(theirs)].tolist() == pytest.approx(theirs, abs=1e-6)
        assert np.isnan(gp[i, len(theirs) :]).all()
        if not phased or expected is None:
            assert not bars[i].any()


def test_phased__haplotypes_stand_in_their_order() -> None:
    top = 255  # 1|0, 0|1, both as likely, 1|1
    stored = [[0, top], [top, 0], [127, 128], [0, 0]]
    one = Variant(stored, [2] * 4, [False] * 4, phased=True)
    part = bgen.Part("", 4, 2, 0, 0, np.zeros(1), "", None, False, 0.1)
    block = b"".join([struct.pack("<I", len(one.data)), one.data])
    head = bgen_records._Variant([], "22", 1, ["A", "G"], 0)
    found = bgen_records._decode(block, head, part, False)
    assert found.calls.tolist() == [[1, 0], [0, 1], [1, 0], [1, 1]]
    assert found.bars.tolist() == [[1], [1], [1], [1]]
    even = Variant([[50, 50]], [2], [False], phased=True, bits=7, alleles=("A", "G"))
    even = even._replace(stored=[[63, 63]], bits=7)  # 0.496 each: which is which is not known
    part = part._replace(n_samples=1)
    block = struct.pack("<I", len(even.data)) + even.data
    found = bgen_records._decode(block, head, part, False)
    assert (found.calls.tolist(), found.bars.tolist()) == ([[0, 1]], [[0]])


@pytest.mark.parametrize("compression", [0, 1])
def test_layout_1__three_numbers_a_sample(tmp_path: Path, compression: int) -> None:
    one = 1 << 15
    three = [(one, 0, 0), (0, one, 0), (0, 1638, one - 1638), (0, 0, 0), (0, one // 2, one // 2)]
    data = bgen_1_bytes([(PLAIN, three), (PLAIN, three)], compression=compression)
    good, bad = rows(write(tmp_path / "a.bgen", data))
    assert (len(good), bad) == (2, [])
    calls, bars, gp = decoded(good[1], 5)
    assert calls.tolist() == [[0, 0], [0, 1], [1, 1], [-1, -1], [-1, -1]]
    assert not bars.any()
    assert gp[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1638 / one, 1 - 1638 / one]]
    assert np.isnan(gp[3]).all()
    assert bgen.inspect(str(tmp_path / "a.bgen")).samples == tuple(
        f"sample_{i}" for i in range(1, 6)
    )


def test_inspect__samples_of_the_file_then_of_the_sample_file(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.bgen", bgen_bytes([PLAIN], ids=None))
    assert bgen.inspect(uri).samples == ("sample_1", "sample_2")
    beside = tmp_path / "a.sample"
    beside.write_text("ID_1 ID_2 missing sex\n0 0 0 D\n0 A 0 NA\n0 B 0 NA\n")
    assert bgen.inspect(uri).samples == ("A", "B")
    beside.write_text("ID_1 ID_2 missing\n0 0 0\nF A 0\nG A 0\n")
    assert bgen.inspect(uri).samples == ("F_A", "G_A")
    beside.write_text("ID missing\n0 0\nA 0\nB 0\n")
    assert bgen.inspect(uri).samples == ("A", "B")
    beside.write_text("ID missing\n0 0\nA 0\n")
    with pytest.raises(FormatError, match=r"a\.sample: expected 2 lines of header and 2 of"):
        bgen.inspect(uri)
    write(tmp_path / "a.bgen", bgen_bytes([PLAIN], ids=["X", "Y"]))
    assert bgen.inspect(uri).samples == ("X", "Y")


def test_parts_and_index__make_the_rows_of_the_whole(tmp_path: Path) -> None:
    every = [
        variant(i, 8, 2, i % 2 == 1, [2, 1, 2])._replace(position=i + 1, rsid=f"rs{i}", own="")
        for i in range(20)
    ]
    uri = write(tmp_path / "a.bgen", bgen_bytes(every, ids="ABC"))
    whole, _ = rows(uri)
    assert [row["names"] for row in whole] == [[f"rs{i}"] for i in range(20)]
    for target in (1, 100, 300):
        assert rows(uri, target=target)[0] == whole
    places = bgen.inspect(uri).offsets
    calls: list[Any] = []
    real, bgen._walk = bgen._walk, lambda *given: calls.append(given) or real(*given)
    try:
        for shift, walks in ((0, 0), (1, 1)):  # an index of another file is not believed
            (tmp_path / "a.bgen.bgi").unlink(missing_ok=True)
            with sqlite3.connect(tmp_path / "a.bgen.bgi") as index:
                index.execute("CREATE TABLE Variant (file_start_position, size_in_bytes)")
                sizes = zip(places[:-1].tolist(), np.diff(places).tolist(), strict=True)
                index.executemany(
                    "INSERT INTO Variant VALUES (?, ?)", [(a + shift, b) for a, b in sizes]
                )
            index.close()
            calls.clear()
            assert rows(uri)[0] == whole
            assert len(calls) == walks
    finally:
        bgen._walk = real
    some, _ = rows(uri, Reading.of(regions=["22:5-6"], samples=["C", "A"], format=["GT"]))
    assert [row["start"] for row in some] == [4, 5]
    assert "call_GP" not in some[0]
    theirs = genotypes.calls([whole[4]["call_genotype"]], 3, [2])[0]
    assert genotypes.calls([some[0]["call_genotype"]], 2, [2])[0].tolist() == [
        theirs[2].tolist(), theirs[0].tolist(),
    ]  # fmt: skip


def damaged(data: bytes, how: str) -> bytes:
    """A change to the second of two uncompressed variants."""
    at = data.rindex(b"id1")
    body = data.index(struct.pack("<IH", 2, 2), at)
    if how == "samples":
        return data[:body] + struct.pack("<I", 3) + data[body + 4 :]
    if how == "ploidy":
        return data[: body + 8] + b"\x03" + data[body + 9 :]
    if how == "bits":
        return data[: body + 11] + b"\x00" + data[body + 12 :]
    if how == "sum":
        return data[: body + 12] + b"\xff\xff" + data[body + 14 :]
    return data


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("samples", "expected 2 samples and 2 alleles, found 3 and 2"),
        ("ploidy", "ploidy: expected 2 to 2"),
        ("bits", "1 to 32 bits, found 0, 0"),
        ("sum", "add up to 1 or less, found more in sample 1"),
    ],
)
def test_rejects__a_damaged_variant_with_its_place(tmp_path: Path, how: str, match: str) -> None:
    data = bgen_bytes([PLAIN, PLAIN], compression=0)
    uri = write(tmp_path / "a.bgen", damaged(data, how))
    good, (bad,) = rows(uri)
    assert len(good) == 1
    assert match in bad["reason"]
    assert (bad["line"], bad["offset"]) == (None, data.rindex(b"id1") - 2)
    assert bad["text"] == "rs1 id1 22:100"
    with pytest.raises(FormatError, match=match):
        rows(uri, Reading(on_malformed="fail"))


@pytest.mark.parametrize("compression", [1, 2])
def test_rejects__damaged_compression(tmp_path: Path, compression: int) -> None:
    data = bytearray(bgen_bytes([PLAIN, PLAIN], compression=compression))
    data[-3] ^= 255 if compression == 1 else 0
    if compression == 2:
        data[data.rindex(b"\x28\xb5\x2f\xfd")] ^= 255
    good, (bad,) = rows(write(tmp_path / "a.bgen", bytes(data)))
    assert len(good) == 1
    assert "damaged data" in bad["reason"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda d: d[:-1],
            "byte [0-9]+: expected 2 variants, found the file's end within number 2",
        ),
        (lambda d: d[:60], "found the file's end within number 1"),
        (lambda d: d + b"x", "the file's end after 2 variants, found 1 more bytes"),
        (lambda d: d[:16] + b"nope" + d[20:], "expected BGEN: 'bgen' at byte 16, found b'nope'"),
        (lambda d: d[:20] + struct.pack("<I", 3 << 2) + d[24:], "flags: .* found layout 3"),
        (lambda d: d[:24] + struct.pack("<I", 99) + d[28:], "2 sample ids, found a broken block"),
        (lambda d: d[:5], "'bgen' at byte 16"),
        (lambda d: d[:4] + struct.pack("<I", 9999) + d[8:], "lengths of the header"),
    ],
)
def test_inspect__names_what_does_not_fit(tmp_path: Path, change: Any, match: str) -> None:
    uri = write(tmp_path / "a.bgen", change(bgen_bytes([PLAIN, PLAIN])))
    with pytest.raises(FormatError, match=match):
        bgen.inspect(uri)
