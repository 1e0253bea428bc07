"""The reader against bcftools, column by column, on every file of the shared data it reads."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from geneai_spark import genotypes
from geneai_spark.formats import vcf
from tests.conftest import SHARED_DATA, requires

FILES = sorted(
    path
    for pattern in ("cohort/*.vcf*", "gvcf/*.vcf.gz", "hts-specs-vcf/4.*/passed/*.vcf")
    for path in SHARED_DATA.glob(pattern)
)
pytestmark = [
    requires("bcftools"),
    pytest.mark.skipif(not FILES, reason=f"no shared data at {SHARED_DATA}"),
]


def query(path: Path, text: str) -> list[str] | None:
    """The lines of `bcftools query -f TEXT`; None where bcftools refuses the file."""
    done = subprocess.run(
        ["bcftools", "query", "-f", text + "\n", str(path)], capture_output=True, check=False
    )
    return done.stdout.decode().split("\n")[:-1] if done.returncode == 0 else None


@cache
def batches(path: Path) -> list[pa.RecordBatch]:
    return list(vcf.read_batches(str(path), on_malformed="fail"))


@pytest.fixture(params=FILES, ids=lambda p: f"{p.parent.parent.name}/{p.name}")
def path(request: pytest.FixtureRequest) -> Path:
    if query(request.param, "%POS") is None:
        pytest.skip("bcftools does not read this file")
    return request.param


def column(path: Path, name: str) -> list[object]:
    return [value for batch in batches(path) for value in batch.column(name).to_pylist()]


def test_sites__equal(path: Path) -> None:
    theirs = query(path, "%CHROM\t%POS\t%ID\t%REF\t%ALT\t%QUAL\t%FILTER")
    ours = zip(
        *(
            column(path, name)
            for name in (
                "contigName", "start", "names", "referenceAllele", "alternateAlleles", "qual",
                "filters",
            )
        ),
        strict=True,
    )  # fmt: skip
    for line, (contig, start, names, ref, alts, qual, filters) in zip(theirs, ours, strict=True):
        chrom, pos, ids, their_ref, alt, their_qual, their_filters = line.split("\t")
        assert (contig, start + 1, ref) == (chrom, int(pos), their_ref)
        assert (";".join(names) or ".") == ids
        assert (",".join(alts) or ".") == alt
        assert (";".join(filters) if filters else ".") == their_filters
        if their_qual == ".":
            assert qual is None
        else:  # bcftools keeps floats in 32 bits and prints six digits
            assert qual == pytest.approx(float(their_qual), rel=1e-5, nan_ok=True)


def gt_lines(path: Path) -> list[str]:
    out = []
    for batch in batches(path):
        n = samples(path)
        ploidy = batch.column("call_ploidy")
        calls = genotypes.calls(batch.column("call_genotype"), n, ploidy)
        phased = genotypes.phased(batch.column("call_genotype_phased"), n, ploidy)
        out += ["\t".join(one) for one in genotypes.gt_strings(calls, phased)]
    return out


@cache
def samples(path: Path) -> int:
    return len(vcf.inspect(str(path))[0].header.samples)


def test_genotypes__equal(path: Path) -> None:
    if samples(path) == 0:
        assert all(value is None for value in column(path, "call_genotype"))
        return
    theirs = query(path, "[%GT\t]")
    if theirs is None:  # no GT in the header
        pytest.skip("bcftools knows no GT in this file")
    for line, ours in zip(theirs, gt_lines(path), strict=True):
        assert ours == line.removesuffix("\t")


def test_format_values__equal(path: Path) -> None:
    n = samples(path)
    header = vcf.inspect(str(path))[0].header
    for key, field in header.format.items():
        theirs = query(path, f"[%{key}\t]") if n and key != "GT" else None
        if theirs is None:
            continue
        cells = [cell for line in theirs for cell in line.removesuffix("\t").split("\t")]
        packed = [batch.column(f"call_{key}") for batch in batches(path)]
        if field.type in ("Character", "String"):
            ours = [cell for part in packed for cell in texts(part, n)]
            assert ours == cells, key
        else:
            same_numbers(key, [told(part, n) for part in packed], numbers(cells))


Numbers: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def numbers(cells: list[str]) -> Numbers:
    """How many values each cell holds, and all of them one after another; NaN for missing."""
    counts = np.array([cell.count(",") + 1 for cell in cells], np.int64)
    values = [np.nan if v == "." else float(v) for v in ",".join(cells).split(",")] if cells else []
    return counts, np.array(values, np.float64)


def told(packed: pa.Array, n: int) -> Numbers:
    """The same of a FORMAT column of ours, without its padding."""
    if packed.null_count == len(packed):
        return np.ones(n * len(packed), np.int64), np.full(n * len(packed), np.nan)
    decoded = genotypes.values(packed, n)
    assert isinstance(decoded, np.ndarray)
    decoded = decoded.reshape(-1, decoded.shape[2])
    if decoded.dtype.kind == "f":
        kept = decoded.view(np.uint32) != genotypes.FLOAT_ABSENT_BITS
        with np.errstate(invalid="ignore"):  # BCF's missing value is a signalling NaN
            values = decoded.astype(float)
    else:
        kept = decoded != genotypes.INT_ABSENT
        values = np.where(decoded == genotypes.INT_MISSING, np.nan, decoded.astype(float))
    return kept.sum(axis=1), values[kept]


def texts(packed: pa.Array, n: int) -> list[str]:
    """A FORMAT column of text of ours, cell after cell."""
    if packed.null_count == len(packed):
        return ["."] * (n * len(packed))
    decoded = genotypes.values(packed, n)
    return [str(one[0]) for one in decoded.reshape(-1, decoded.shape[2])]


def same_numbers(key: str, ours: list[Numbers], theirs: Numbers) -> None:
    """Equal lengths, and values within the six digits that bcftools prints."""
    counts, values = (np.concatenate(parts) for parts in zip(*ours, strict=True))
    np.testing.assert_array_equal(counts, theirs[0], err_msg=key)
    np.testing.assert_allclose(values, theirs[1], rtol=1e-5, atol=1e-38, err_msg=key)


def test_info__equal(path: Path) -> None:
    header = vcf.inspect(str(path))[0].header
    for key, field in header.info.items():
        theirs = query(path, f"%INFO/{key}")
        if theirs is None:
            continue
        ours = column(path, f"INFO_{key}")
        if field.type == "Flag":
            assert [bool(one) for one in ours] == [one == "1" for one in theirs], key
        elif field.type in ("Character", "String"):
            spelt = [
                ",".join(v or "." for v in one) if isinstance(one, list) else one or "."
                for one in ours
            ]
            assert [one or "." for one in spelt] == [one or "." for one in theirs], key
        else:
            lists = [one if isinstance(one, list) else [one] for one in ours]
            flat = [np.nan if v is None else v for one in lists for v in one]
            counts = np.array([len(one) for one in lists], np.int64)
            same_numbers(key, [(counts, np.array(flat, np.float64))], numbers(theirs))


def test_hipster__is_17010_by_2504() -> None:
    path = SHARED_DATA / "cohort" / "hipster.vcf.bgz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    assert sum(batch.num_rows for batch in batches(path)) == 17010
    assert samples(path) == 2504
