"""Simulate the VCF files that the benchmarks read. Run by the peers' Python (see README.md).

    .cache/peers/hail/bin/python benchmarks/simulate.py [--folder .cache/bench] [--only sim rich]

``sim.vcf.bgz``
    2,500 diploid samples, about 114,000 variants, FORMAT GT, phased: a neutral coalescent by
    msprime, written by tskit. About 1.15 GB of text, 43 MB as BGZF.
``rich.vcf.bgz``
    500 diploid samples, 50,000 variants, FORMAT GT:DP:GQ:AD:PL, INFO AC;AF;AN;DP;MQ, as a caller
    writes it: depth is Poisson around each sample's mean, reads are multinomial given the true
    genotype, PL is the genotype likelihood of those reads, the call is its maximum and GQ the
    distance to the second best. Some calls and depths are missing, some sites are multi-allelic.

Both come from fixed seeds: the same versions of msprime, tskit and NumPy write the same text.
A file that is there already is kept; ``--force`` writes it anew.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

ERROR_RATE = 0.005  # probability that a read shows an allele its genotype does not carry
PL_CAP = 999
GQ_CAP = 99
BASES = np.array(list("ACGT"))


def simulate_sim(out: IO[bytes], samples: int = 2500, length: float = 31.65e6) -> None:
    """Write `samples` diploids over `length` bases of neutral coalescent as VCF text."""
    import io

    import msprime

    trees = msprime.sim_ancestry(
        samples,
        population_size=10_000,
        recombination_rate=1e-8,
        sequence_length=length,
        random_seed=42,
    )
    trees = msprime.sim_mutations(trees, rate=1e-8, random_seed=43)
    text = io.TextIOWrapper(out, encoding="ascii", write_through=True)
    trees.write_vcf(
        text,
        contig_id="1",
        individual_names=[f"s{i:04d}" for i in range(samples)],
        position_transform=lambda positions: (np.asarray(positions) + 1).astype(int),
    )
    text.detach()


def genotypes_of(alleles: int) -> npt.NDArray[np.int64]:
    """Unordered diploid genotypes in the VCF's order, shape (genotypes, 2): 00 01 11 02 12 22."""
    return np.array([(j, k) for k in range(alleles) for j in range(k + 1)])


def simulate_rich(out: IO[bytes], samples: int = 500, variants: int = 50_000) -> None:
    """Write a caller's VCF of `variants` sites of `samples` diploids as VCF text."""
    rng = np.random.default_rng(44)
    mean_depth = rng.gamma(shape=20.0, scale=30.0 / 20.0, size=samples)  # about 30 reads
    positions = 10_000 + np.cumsum(rng.integers(1, 400, size=variants))
    out.write(rich_header(samples, int(positions[-1]) + 10_000).encode("ascii"))
    for position in positions:
        out.write(rich_record(rng, int(position), mean_depth))


def rich_header(samples: int, length: int) -> str:
    """The header of rich.vcf, with the columns line."""
    lines = [
        "##fileformat=VCFv4.2",
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##FILTER=<ID=LowQual,Description="Low quality">',
        f"##contig=<ID=1,length={length}>",
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Allele count in genotypes">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Called alleles">',
        '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth over all samples">',
        '##INFO=<ID=MQ,Number=1,Type=Float,Description="Mapping quality">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">',
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Genotype quality">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depth of each allele">',
        '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="Phred-scaled likelihoods">',
    ]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    names = [f"r{i:03d}" for i in range(samples)]
    return "\n".join([*lines, "\t".join(columns + names)]) + "\n"


def rich_record(
    rng: np.random.Generator, position: int, mean_depth: npt.NDArray[np.float64]
) -> bytes:
    """One VCF line. `mean_depth` has shape (samples,)."""
    samples = len(mean_depth)
    alleles = int(rng.choice([2, 3, 4], p=[0.95, 0.04, 0.01]))
    pairs = genotypes_of(alleles)  # (genotypes, 2)
    carried = (pairs[:, :, None] == np.arange(alleles)).mean(axis=1)  # (genotypes, alleles)
    expected = (1 - ERROR_RATE) * carried + ERROR_RATE / alleles

    # Allele frequencies fall off as in a real cohort, genotypes are in Hardy-Weinberg proportions.
    alternate = np.exp(rng.uniform(np.log(1 / (2 * samples)), np.log(0.5), size=alleles - 1))
    frequencies = np.append(1 - alternate.sum() / alleles, alternate / alleles)
    haplotypes = np.sort(rng.choice(alleles, size=(samples, 2), p=frequencies), axis=1)
    truth = haplotypes[:, 1] * (haplotypes[:, 1] + 1) // 2 + haplotypes[:, 0]  # (samples,)

    missing = rng.random(samples) < 0.01
    depth = np.where(missing, 0, rng.poisson(mean_depth))
    missing = depth == 0
    reads = rng.multinomial(depth, expected[truth])  # AD: (samples, alleles)
    likelihood = reads @ np.log10(expected).T  # (samples, genotypes)
    phred = np.rint(10 * (likelihood.max(axis=1, keepdims=True) - likelihood))
    pl = np.minimum(phred, PL_CAP).astype(int)
    call = pl.argmin(axis=1)
    gq = np.minimum(np.partition(pl, 1, axis=1)[:, 1], GQ_CAP)

    called = pairs[call[~missing]]  # (called samples, 2)
    counts = np.bincount(called.ravel(), minlength=alleles)[1:]
    number = called.size
    reference = int(rng.integers(4))
    letters = BASES[[(reference + i) % 4 for i in range(alleles)]]

    info = ";".join(
        [
            "AC=" + ",".join(map(str, counts)),
            "AF=" + ",".join(f"{count / max(number, 1):.4g}" for count in counts),
            f"AN={number}",
            f"DP={int(depth.sum())}",
            f"MQ={rng.normal(59.5, 0.5):.2f}",
        ]
    )
    quality = min(float(pl[~missing, 0].sum()), 1e6) if number else 0.0
    fixed = "\t".join(
        [
            "1",
            str(position),
            f"rs{position}" if rng.random() < 0.5 else ".",
            letters[0],
            ",".join(letters[1:]),
            f"{quality:.2f}",
            "PASS" if quality >= 30 else "LowQual",
            info,
            "GT:DP:GQ:AD:PL",
        ]
    )
    list_of = {length: ",".join(["%d"] * length) for length in (alleles, len(pairs))}
    full = f"%d/%d:%d:%d:{list_of[alleles]}:{list_of[len(pairs)]}"
    unread = f"./.:0:.:{','.join('0' * alleles)}:."  # the two ways callers write a missing cell
    absent = np.where(rng.random(samples) < 0.5, "./.", unread)
    template = "\t".join(np.where(missing, absent, full))
    cells = np.column_stack([pairs[call], depth, gq, reads, pl])[~missing]
    return (fixed + "\t" + template % tuple(cells.ravel().tolist()) + "\n").encode("ascii")


FILES: dict[str, Callable[[IO[bytes]], None]] = {"sim": simulate_sim, "rich": simulate_rich}


@contextmanager
def bgzip_to(path: Path) -> Iterator[IO[bytes]]:
    """A pipe into `bgzip` whose output appears at `path` only when all of it is there."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as sink:
        process = subprocess.Popen(["bgzip", "-c"], stdin=subprocess.PIPE, stdout=sink)
        assert process.stdin is not None
        with process.stdin as pipe:
            yield pipe
        if process.wait() != 0:
            raise SystemExit("bgzip failed")
    partial.rename(path)


def main() -> None:
    """Write the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--only", nargs="+", choices=sorted(FILES), default=list(FILES))
    parser.add_argument("--force", action="store_true", help="write a file that is there already")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = options.folder / f"{name}.vcf.bgz"
        if path.exists() and not options.force:
            print(f"{path}: already there")
            continue
        started = time.monotonic()
        with bgzip_to(path) as pipe:
            FILES[name](pipe)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
