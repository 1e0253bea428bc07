"""How files are taken in: settings of the ingest jobs, and what is known of a file beforehand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from geneai_spark import filesystems
from geneai_spark.config import option
from geneai_spark.errors import ConfigError
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import traits
from geneai_spark.ingest import ledger
from geneai_spark.ingest.ledger import Entry


@dataclass(frozen=True)
class FileOptions:
    """How files are taken in, whatever their format; none of this decides what is stored."""

    force: bool = option("read unchanged files again", False)
    on_error: Literal["continue", "stop"] = option("after a file that fails", "continue")
    optimize: Literal["auto", "always", "never"] = option("merge small files afterwards", "auto")
    checksum: bool = option("keep each file's sha256 (reads it once more, meanwhile)", True)
    group_files: int = option("most files of one commit", 64)
    group_gigabytes: float = option("most gigabytes of one commit", 64.0)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide which rows a file gives."""
        common = {f.name for f in dataclasses.fields(FileOptions)}
        names = [f.name for f in dataclasses.fields(self) if f.name not in common]
        return {name: getattr(self, name) for name in names}

    def fingerprint(self) -> str:
        """A digest of them: with another one an unchanged file is read again."""
        return ledger.fingerprint(self.deciding())


@dataclass(frozen=True)
class VariantOptions(FileOptions):
    """How VCF, PLINK and BGEN files are taken in. The settings here decide what is stored: with
    other values an unchanged file is read again.
    """

    cohort: str = option("name of the set of samples that the files share", "default")
    per_file_cohort: bool = option("each file is a cohort of its own, named after it", False)
    genotypes: bool = option("false reads sites only", True)
    info: tuple[str, ...] | None = option("INFO keys to keep; null: all", None)
    format: tuple[str, ...] | None = option("FORMAT keys to keep; null: all", None)
    samples_file: str | None = option("text file of sample ids to keep, one a line", None)
    regions: tuple[str, ...] | None = option("only these regions, e.g. 22:1-5000", None)
    contigs: str | None = option("genome build whose contig names to use, e.g. GRCh38", None)
    split_info: tuple[str, ...] = option("INFO keys to split into fields, e.g. CSQ", ())
    on_malformed: Literal["reject", "fail"] = option(
        "a malformed line goes to table rejects, or fails its file", "reject"
    )
    plink_ids: Literal["auto", "iid", "fid_iid"] = option(
        "PLINK's sample ids; auto: FID_IID, or IID if every FID is 0, as plink2 has them", "auto"
    )
    plink_ref: Literal["a2", "a1"] = option("which allele of a .bim is REF", "a2")
    bgen_ref: Literal["first", "last"] = option(
        "which allele of a BGEN variant is REF; plink2 --export bgen writes it last", "first"
    )
    hard_call_threshold: float = option(
        "BGEN: a genotype further from whole dosages is missing, as plink2's", 0.1
    )

    def __post_init__(self) -> None:
        """Refuse a threshold that would call two genotypes at once."""
        if not 0 <= self.hard_call_threshold < 0.5:
            raise ValueError(
                f"hard_call_threshold must be 0 or more and below 0.5, "
                f"not {self.hard_call_threshold}"
            )

    def deciding(self) -> dict[str, Any]:
        """The settings that decide which rows a file of any kind gives; see `kinds` for others."""
        of_one_kind = ("plink_ids", "plink_ref", "bgen_ref", "hard_call_threshold")
        common = {k: v for k, v in super().deciding().items() if k not in of_one_kind}
        return common | {"samples": self.samples()}

    def samples(self) -> list[str] | None:
        """The sample ids of ``samples_file``, None for all."""
        if self.samples_file is None:
            return None
        ids = filesystems.read(self.samples_file).decode().split()
        if len(set(ids)) != len(ids):
            raise ConfigError(f"samples_file: {self.samples_file}: an id stands there twice")
        return ids


@dataclass(frozen=True)
class Source:
    """A file to take in: as listed, with its header's samples and build, and its cohort; what
    else was found in it; the files beside it that are part of it; the lines of its header to keep.
    """

    info: FileInfo
    samples: tuple[str, ...]
    build: str | None
    cohort: str
    head: Any = None
    companions: tuple[FileInfo, ...] = ()
    header: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The file's source id."""
        return filesystems.source_id(self.info.uri)


def cohort_names(files: Sequence[FileInfo], known: Mapping[str, Entry]) -> dict[str, str]:
    """A cohort of its own for each file, by URI: its name without endings.

    A file keeps the name it has in the ledger; where two files have one name, or another file
    has it already, a part of the source id is added, so that a name never changes hands.
    """
    names: dict[str, str] = {}
    taken = {entry.cohort: entry.sourceId for entry in known.values()}
    for info in files:
        own = filesystems.source_id(info.uri)
        stem = os.path.basename(info.uri).split(".vcf")[0]
        stem = stem.removesuffix(".bed").removesuffix(".bgen")
        longer = f"{stem}-{own[:6]}"
        if taken.get(longer) == own or taken.setdefault(stem, own) != own:
            stem = longer
        names[info.uri] = stem
    return names


@dataclass(frozen=True)
class ReadOptions(FileOptions):
    """How FASTQ files are taken in. The settings here decide what is stored: with other values an
    unchanged file is read again.
    """

    cohort: str = option("name of the set of samples that the reads belong to", "default")
    sample: str | None = option("the sample of all the files; null: by each file's name", None)
    layout: Literal["auto", "single", "paired", "interleaved"] = option(
        "mates: auto pairs files by name (_R1/_R2, _1/_2, ...) and takes others as single", "auto"
    )
    phred: int | None = option("33 or 64, added to quality scores; null: found in each file", None)
    on_malformed: Literal["reject", "fail"] = option(
        "a malformed record goes to table rejects, or fails its file", "reject"
    )

    def __post_init__(self) -> None:
        """Refuse an encoding that there is not."""
        if self.phred not in (None, 33, 64):
            raise ValueError(f"phred must be 33 or 64, not {self.phred}")


@dataclass(frozen=True)
class AlignmentOptions(FileOptions):
    """How SAM and BAM files are taken in. The settings here decide what is stored: with other
    values an unchanged file is read again.
    """

    cohort: str = option("name of the set of samples that the reads belong to", "default")
    sample: str | None = option(
        "the sample of reads whose group names none; null: by each file's name", None
    )
    on_malformed: Literal["reject", "fail"] = option(
        "a malformed record goes to table rejects, or fails its file", "reject"
    )


@dataclass(frozen=True)
class TraitOptions:
    """How files of traits are taken in; all but ``force`` decide what is stored."""

    cohort: str = option("the cohort whose samples the traits belong to", "default")
    sample_column: str | None = option("column of sample ids; null: found by its name", None)
    delimiter: str | None = option("one character; null: found from the first line", None)
    columns: tuple[str, ...] | None = option("traits to keep; null: all", None)
    text: tuple[str, ...] = option("traits to keep as text though they look like numbers", ())
    missing: tuple[str, ...] = option("what stands for a missing value", traits.MISSING)

    force: bool = option("read unchanged files again; replace traits of other files", False)

    def fingerprint(self) -> str:
        """A digest of what decides which rows a file gives."""
        return ledger.fingerprint({k: v for k, v in vars(self).items() if k != "force"})
