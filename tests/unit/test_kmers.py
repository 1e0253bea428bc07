"""K-mers of reads: a counter written by hand, and hashes of the reference MurmurHash3."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from geneai_spark.jobs import extract_kmers
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from geneai_spark import config, genotypes, store, tables
from geneai_spark.errors import ConfigError
from geneai_spark.features import kmer_kernels as kernels
from geneai_spark.features import kmers

#: The first 64 bits, unsigned, of mmh3.hash64(text, 42) of the package mmh3 5.
MURMUR = {
    "A": 16750156190880784680,
    "ACG": 1731421407650554201,
    "ACGTACGT": 10699921299968710553,
    "ACGTACGTA": 3684529260574405972,
    "GATTACAGATTACAG": 1440751216958571143,
    "GATTACAGATTACAGA": 9022265440444049191,
    "GATTACAGATTACAGAT": 9120835036629316185,
    "ACGTTGCAACGTTGCAACGTTGCATTT": 18084875842211853786,
    "CATGCCTAGGTCAATGCGTTACGGATACCTA": 18358909493241043870,
}


def by_hand(sequences: list[str], k: int) -> Counter[str]:
    """Canonical k-mers, a slice at a time."""
    opposite = str.maketrans("ACGT", "TGCA")
    found: Counter[str] = Counter()
    for text in map(str.upper, sequences):
        for i in range(len(text) - k + 1):
            one = text[i : i + k]
            if not set(one) - set("ACGT"):
                found[min(one, one[::-1].translate(opposite))] += 1
    return found


def code(text: str) -> int:
    value = 0
    for base in text:
        value = value * 4 + "ACGT".index(base)
    return value


def counted(sequences: list[str], k: int) -> Counter[str]:
    data, starts, lengths, _ = genotypes.packed_bytes(pa.array(sequences, pa.string()))
    rows = np.arange(len(sequences))
    codes = kernels.kmers(data, starts, lengths, rows, kernels.CODE_OF, k)
    return Counter(kmers.texts(codes, k).to_pylist())


@given(
    sequences=st.lists(st.text("ACGTNacgtn.", max_size=40), min_size=1, max_size=4),
    k=st.sampled_from([1, 2, 3, 8, 31]),
)
@settings(deadline=None)  # kernels may have to be compiled
def test_kmers__as_counted_by_hand(sequences: list[str], k: int) -> None:
    long = "".join(sequences)
    assert counted([*sequences, long], k) == by_hand([*sequences, long], k)


@pytest.mark.parametrize("text", MURMUR)
def test_murmur__is_the_reference(text: str) -> None:
    assert int(kernels.murmur(np.uint64(code(text)), len(text), 42)) == MURMUR[text]


def test_extract_kmers__counts_and_sketches_of_samples(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    genome = "".join(rng.choice(list("ACGT"), 3000))
    samples: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows = []
    for i in range(400):
        cohort, sample = ("c", f"s{i % 2}") if i % 9 else ("other", "s0")
        at = int(rng.integers(0, 2900 if i % 2 else 1000))
        text = genome[at : at + 90]
        text = text[:40] + "N" + text[41:] if i % 7 == 0 else text
        samples[cohort, sample].append(text)
        rows.append(
            {"sourceId": f"f{i % 3}", "cohort": cohort, "sampleId": sample, "offset": i,
             "readName": f"r{i}", "mate": i % 3, "sequence": text, "quality": "I" * 90}
        )  # fmt: skip
    home = str(tmp_path)
    store.replace(store.from_rows(spark, rows, tables.READS), tables.READS, home)
    chosen = {"cohort": "c", "k": 5, "sketch_k": 21, "scaled": 7, "warehouse": home}
    told = extract_kmers.run(spark, extract_kmers.Config(**chosen))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in store.read(spark, tables.KMERS, home).collect():
        assert (row.cohort, row.k) == ("c", 5) and row.kmer not in found[row.sampleId]
        found[row.sampleId][row.kmer] = row["count"]
    assert found == {name: by_hand(samples["c", name], 5) for name in ("s0", "s1")}
    assert told == {"counts": sum(map(len, found.values())), "sketches": 2}

    sketches = {r.sampleId: r for r in store.read(spark, tables.KMER_SKETCHES, home).collect()}
    exact = {}
    for name, row in sketches.items():
        every = by_hand(samples["c", name], 21)
        hashes = {int(kernels.murmur(np.uint64(code(t)), 21, 42)): n for t, n in every.items()}
        kept = sorted((h, n) for h, n in hashes.items() if h <= round(2**64 / 7))
        assert list(zip(row.hashes, row.abundances, strict=True)) == kept
        exact[name] = set(every)
    one, other = (np.array(sketches[name].hashes) for name in ("s0", "s1"))
    shared = len(exact["s0"] & exact["s1"]) / len(exact["s0"] | exact["s1"])
    assert kmers.similarity(one, other) == pytest.approx(shared, abs=0.1)
    assert kmers.similarity(one, one) == 1 and kmers.similarity(one, one[:0]) == 0

    df = store.read(spark, tables.READS, home).where("cohort = 'c'").repartition(5)
    large = {(r.sampleId, r.kmer): r["count"] for r in kmers.counts(df, 13).collect()}
    assert large == {
        (name, text): n
        for name in ("s0", "s1")
        for text, n in by_hand(samples["c", name], 13).items()
    }


def test_config__ranges_are_checked_before_spark() -> None:
    for word, match in [
        ("k=32", "between 1 and 31"),
        ("scaled=1", "2 or more"),
        ("features=kmers", "some of counts, sketches"),
    ]:
        with pytest.raises(ConfigError, match=match):
            config.load(extract_kmers.Config, None, [word])
