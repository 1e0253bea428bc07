"""Quality metrics beside bcftools and plink2: the table of docs/agreement.md.

``python -m tests.agreement`` measures every file of the shared cohort data and writes the table;
tests/integration/test_quality_agreement.py holds every line of it to be true.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from geneai_spark.formats import vcf
from geneai_spark.quality import measures
from geneai_spark.quality import sample_kernels as rows
from tests.conftest import ROOT, SHARED_DATA

DOCUMENT = ROOT / "docs" / "agreement.md"
FILES = ("hipster.vcf.bgz", "hail_sample.vcf", "HiSeq.10000.vcf")
FILL_TAGS = ("AN", "AC", "AF", "AC_Het", "AC_Hom", "F_MISSING", "HWE")
UNIT = measures.EXPECTED_UNIT


class Line(NamedTuple):
    """A line of the table: how many values were compared, and how far apart they are at most."""

    file: str
    metric: str
    oracle: str
    values: int
    difference: float


def repaired(path: Path, folder: Path) -> Path:
    """A copy as htslib wants it: contigs declared, no TAB at a line's end. BGZF stays as it is."""
    if path.suffix != ".vcf":
        return path
    lines = [line.rstrip("\t") for line in path.read_text().splitlines()]
    head = [line for line in lines if line.startswith("##")]
    contigs = dict.fromkeys(line.split("\t")[0] for line in lines if not line.startswith("#"))
    head += [f"##contig=<ID={c}>" for c in contigs if not any(f"<ID={c}," in h for h in head)]
    copy = folder / path.name
    copy.write_text("\n".join([*head, *lines[sum(x.startswith("##") for x in lines) :]]) + "\n")
    return copy


def ours(path: Path) -> tuple[pa.Table, measures.Counter]:
    """Metrics of the variants, in the file's order, and sums of the samples."""
    counter = measures.Counter(len(vcf.inspect(str(path))[0].header.samples), build="GRCh37")
    parts = []
    for batch in vcf.read_batches(str(path), on_malformed="fail"):
        filled = {n: batch.column(n) for n in batch.schema.names}
        for name, kind in (("sourceId", pa.string()), ("cohort", pa.string())):
            filled.setdefault(name, pa.nulls(batch.num_rows, kind))
        for part in counter.slices(pa.RecordBatch.from_pydict(filled)):
            parts.append(pa.RecordBatch.from_pydict(counter.add(part)))
    return pa.Table.from_batches(parts), counter


def run(*words: object) -> str:
    return subprocess.run(
        [str(w) for w in words], capture_output=True, check=True, text=True
    ).stdout


def plink2(path: Path, folder: Path, *words: str) -> None:
    run("plink2", "--vcf", path, "--double-id", "--allow-extra-chr", "--threads", "1",
        "--out", folder / "plink", *words)  # fmt: skip


def report(path: Path) -> dict[str, list[str]]:
    """A report of plink2 as columns."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return dict(
        zip((n.lstrip("#") for n in lines[0]), map(list, zip(*lines[1:], strict=True)), strict=True)
    )


def numbers(texts: Iterable[str]) -> np.ndarray:
    return np.array([np.nan if t in (".", "nan", "NA", "") else float(t) for t in texts])


def difference(one: Any, other: Any) -> tuple[int, float]:
    """How many values, and their largest difference; where one side has none, so has the other."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    assert a.shape == b.shape, (a.shape, b.shape)
    assert (np.isnan(a) == np.isnan(b)).all()
    return a.size, float(np.nanmax(np.abs(a - b), initial=0))


def lines(path: Path) -> Iterator[Line]:
    """Compare one file with every oracle."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy = repaired(path, folder)
        found, counter = ours(copy)
        for group in (
            fill_tags(copy, found), stats(copy, counter), depths(copy, found, counter),
            plink_variants(copy, folder, found), plink_samples(copy, folder, counter),
        ):  # fmt: skip
            for metric, oracle, (values, largest) in group:
                yield Line(path.name, metric, oracle, values, largest)


def numpy(found: pa.Table, column: str) -> np.ndarray:
    return np.asarray(found[column].to_numpy(zero_copy_only=False), float)


def alternates(found: pa.Table, column: str, first: int) -> np.ndarray:
    """The entries of ALT alleles, one after the other; a record without any has none."""
    widths = [len(alts) for alts in found["alternateAlleles"].to_pylist()]
    out: list[float] = []
    for width, entries in zip(widths, found[column].to_pylist(), strict=True):
        out += [np.nan] * width if entries is None else entries[first:]
    return np.array(out)


def two_alleles(found: pa.Table) -> np.ndarray:
    return np.array([len(alts) == 1 for alts in found["alternateAlleles"].to_pylist()])


def fill_tags(path: Path, found: pa.Table) -> Iterator[tuple[str, str, tuple[int, float]]]:
    tagged = subprocess.run(
        ["bcftools", "+fill-tags", str(path), "-Ou", "--", "-t", ",".join(FILL_TAGS)],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    query = "\t".join(f"%{tag}" for tag in ("POS", "ALT", *(f"INFO/{t}" for t in FILL_TAGS)))
    text = subprocess.run(
        ["bcftools", "query", "-f", query + "\n"], input=tagged, capture_output=True, check=True
    ).stdout.decode()
    cells = list(zip(*(line.split("\t") for line in text.splitlines()), strict=True))
    theirs = dict(zip(("POS", "ALT", *FILL_TAGS), cells, strict=True))
    assert [int(p) - 1 for p in theirs["POS"]] == found["start"].to_pylist()

    def each_alt(tag: str) -> np.ndarray:
        pairs = [(t, a) for t, a in zip(theirs[tag], theirs["ALT"], strict=True) if a != "."]
        split = [t.split(",") if t != "." else ["."] * len(a.split(",")) for t, a in pairs]
        return numbers([text for texts in split for text in texts])

    oracle = "bcftools +fill-tags"
    yield "alleleNumber", oracle, difference(numpy(found, "alleleNumber"), numbers(theirs["AN"]))
    yield "alleleCounts", oracle, difference(alternates(found, "alleleCounts", 1), each_alt("AC"))
    frequencies = alternates(found, "alleleFrequencies", 1)
    yield "alleleFrequencies", oracle, difference(frequencies, each_alt("AF"))
    yield "callRate", oracle, difference(1 - numpy(found, "callRate"), numbers(theirs["F_MISSING"]))
    two = two_alleles(found)  # with more, its test neglects the other alleles' homozygotes
    tests = np.nan_to_num(alternates(found.filter(pa.array(two)), "hwePValues", 0), nan=1.0)
    theirs_ = [float(t) for t, keep in zip(theirs["HWE"], two, strict=True) if keep]
    yield "hwePValues (2 alleles)", oracle, difference(tests, theirs_)
    for ours_, tag, copies in (
        ("heterozygotes", "AC_Het", 1),
        ("homozygousAlternates", "AC_Hom", 2),
    ):
        counts = [float(t) for t, keep in zip(theirs[tag], two, strict=True) if keep]
        yield ours_, oracle, difference(numpy(found, ours_)[two], np.array(counts) / copies)


def stats(path: Path, counter: measures.Counter) -> Iterator[tuple[str, str, tuple[int, float]]]:
    text = run("bcftools", "stats", "-s", "-", path)
    psc = [line.split("\t") for line in text.splitlines() if line.startswith("PSC\t")]
    columns = {6: rows.TS, 7: rows.TV, 8: rows.INDELS, 10: rows.SINGLETONS}
    names = {6: "transitions", 7: "transversions", 8: "indels", 10: "singletons"}
    for column, row in columns.items():
        theirs = [float(line[column]) for line in psc]
        yield (
            f"samples: {names[column]}",
            "bcftools stats",
            difference(counter.sums.counts[row], theirs),
        )
    called = counter.sums.counts[[rows.REF, rows.HETS, rows.ALT]].sum(axis=0)
    missing = counter.sums.counts[rows.VARIANTS] - called
    theirs = [float(line[13]) for line in psc]
    yield "samples: variantsCalled", "bcftools stats", difference(missing, theirs)
    count, total = counter.sums.values["depth"][:2]
    if count.any():
        theirs = [float(line[9]) for line in psc]  # one decimal is printed
        yield "samples: depthMean", "bcftools stats", difference(total / count, theirs)


def depths(
    path: Path, found: pa.Table, counter: measures.Counter
) -> Iterator[tuple[str, str, tuple[int, float]]]:
    for field, prefix in (("DP", "depth"), ("GQ", "genotypeQuality")):
        if f"FORMAT=<ID={field}," not in run("bcftools", "view", "-h", path):
            continue
        text = run("bcftools", "query", "-f", f"[%{field}\\t]\\n", path)
        matrix = np.array([numbers(line.split("\t")[:-1]) for line in text.splitlines()])
        there = np.isfinite(matrix).any(axis=1)
        for what, f in (
            ("Mean", np.nanmean),
            ("Stdev", np.nanstd),
            ("Min", np.nanmin),
            ("Max", np.nanmax),
        ):
            theirs = np.full(len(matrix), np.nan)
            theirs[there] = f(matrix[there], axis=1)
            name = f"{prefix}{what}"
            yield name, f"bcftools query %{field}, NumPy", difference(numpy(found, name), theirs)
        count, total, _, least, greatest = counter.sums.values[prefix]
        for name, mine, f in (("Mean", total / count, np.nanmean), ("Min", least, np.nanmin),
                              ("Max", greatest, np.nanmax)):  # fmt: skip
            yield (f"samples: {prefix}{name}", f"bcftools query %{field}, NumPy",
                   difference(mine, f(matrix, axis=0)))  # fmt: skip


def plink_variants(
    path: Path, folder: Path, found: pa.Table
) -> Iterator[tuple[str, str, tuple[int, float]]]:
    plink2(path, folder, "--max-alleles", "2", "--freq", "--missing", "--hardy")
    two = two_alleles(found)
    frequencies = alternates(found.filter(pa.array(two)), "alleleFrequencies", 1)
    theirs = numbers(report(folder / "plink.afreq")["ALT_FREQS"])
    yield "alleleFrequencies (2 alleles)", "plink2 --freq", difference(frequencies, theirs)
    theirs = numbers(report(folder / "plink.vmiss")["F_MISS"])
    yield (
        "callRate (2 alleles)",
        "plink2 --missing",
        difference(1 - numpy(found, "callRate")[two], theirs),
    )
    hardy = report(folder / "plink.hardy")
    # plink2 counts its A1; that it is REF or ALT does not matter to the test
    ref = found.filter(pa.array(two))["referenceAllele"].to_pylist()
    ref_first = np.array([a1 == r for a1, r in zip(hardy["A1"], ref, strict=True)])
    hom_a1, hom_ax = numbers(hardy["HOM_A1_CT"]), numbers(hardy["TWO_AX_CT"])
    for name, theirs in (
        ("heterozygotes", numbers(hardy["HET_A1_CT"])),
        ("homozygousReferences", np.where(ref_first, hom_a1, hom_ax)),
        ("homozygousAlternates", np.where(ref_first, hom_ax, hom_a1)),
    ):
        yield f"{name} (2 alleles)", "plink2 --hardy", difference(numpy(found, name)[two], theirs)
    tested = found.filter(pa.array(two))
    for name, words, column in (
        ("hwePValues", ("--hardy",), "P"), ("hweMidPValues", ("--hardy", "midp"), "MIDP")
    ):  # fmt: skip
        plink2(path, folder, "--max-alleles", "2", *words)
        theirs = numbers(report(folder / "plink.hardy")[column])
        mine = np.nan_to_num(alternates(tested, name, 0), nan=1.0 if column == "P" else 0.5)
        yield f"{name} (2 alleles)", f"plink2 {' '.join(words)}", difference(mine, theirs)
        big = theirs > 0
        largest = float(np.max(np.abs(np.log10(mine[big]) - np.log10(theirs[big])), initial=0))
        yield f"log10 {name} (2 alleles)", f"plink2 {' '.join(words)}", (int(big.sum()), largest)
    if not two.all():
        plink2(path, folder, "--min-alleles", "3", "--hardy")
        hardy = report(folder / "plink.hardy")
        many = found.filter(pa.array(~two))
        alts = many["alternateAlleles"].to_pylist()
        spelt = zip(hardy["A1"], hardy["AX"], hardy["P"], strict=True)
        p = {(i, a1): float(value) for i, (a1, _, value) in _numbered(spelt, alts)}
        theirs = np.array([p[i, alt] for i, one in enumerate(alts) for alt in one])
        mine = alternates(many, "hwePValues", 0)
        yield "hwePValues (3 alleles and more)", "plink2 --hardy", difference(mine, theirs)


def _numbered(spelt: Iterable[Any], alts: list[list[str]]) -> Iterator[tuple[int, Any]]:
    """Number the lines of a report that has one an allele by record."""
    lines_ = iter(spelt)
    for i, one in enumerate(alts):
        for _ in range(len(one) + 1):
            yield i, next(lines_)


def plink_samples(
    path: Path, folder: Path, counter: measures.Counter
) -> Iterator[tuple[str, str, tuple[int, float]]]:
    plink2(path, folder, "--missing")
    theirs = numbers(report(folder / "plink.smiss")["F_MISS"])
    called = counter.sums.counts[[rows.REF, rows.HETS, rows.ALT]].sum(axis=0)
    rate = called / counter.sums.counts[rows.VARIANTS]
    yield "samples: callRate", "plink2 --missing", difference(1 - rate, theirs)
    plink2(path, folder, "--sample-counts", "cols=homref,homalt,het")
    classes = report(folder / "plink.scount")
    for name, row, column in (
        ("homozygousReferences", rows.REF, "HOM_REF_CT"), ("heterozygotes", rows.HETS, "HET_CT"),
        ("homozygousAlternates", rows.ALT, "HOM_ALT_CT"),
    ):  # fmt: skip
        theirs = numbers(classes[column])
        yield (
            f"samples: {name}",
            "plink2 --sample-counts",
            difference(counter.sums.counts[row], theirs),
        )
    if counter.n_samples < 2:
        return  # no frequencies
    plink2(path, folder, "--max-alleles", "2", "--het", "small-sample")
    het = report(folder / "plink.het")
    n, homozygous, expected = counter.sums.counts[[rows.AUTO, rows.AUTO_HOM, rows.AUTO_EXPECTED]]
    expected = expected * UNIT
    f = (homozygous - expected) / (n - expected)
    for name, mine, column in (
        ("autosomalVariants", n, "OBS_CT"), ("homozygotes", homozygous, "O(HOM)"),
        ("expectedHomozygotes", expected, "E(HOM)"), ("inbreedingCoefficient", f, "F"),
    ):  # fmt: skip
        yield (
            f"samples: {name}",
            "plink2 --het small-sample",
            difference(mine, numbers(het[column])),
        )


def table(found: Iterable[Line]) -> str:
    """The lines as Markdown."""
    head = "| file | metric | oracle | values | largest difference |\n|---|---|---|---:|---:|\n"
    return head + "".join(
        f"| {x.file} | {x.metric} | {x.oracle} | {x.values:,} | {x.difference:.1e} |\n"
        if x.difference else f"| {x.file} | {x.metric} | {x.oracle} | {x.values:,} | 0 |\n"
        for x in found
    )  # fmt: skip


def main() -> None:
    found = [line for name in FILES for line in lines(SHARED_DATA / "cohort" / name)]
    before, _, rest = DOCUMENT.read_text("utf-8").partition("| file |")
    after = rest[rest.index("\n## ") :]
    DOCUMENT.write_text(before + table(found) + after, "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
