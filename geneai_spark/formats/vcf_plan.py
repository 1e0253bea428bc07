"""What reading some VCF files takes: their headers, cohorts, columns and parts; no Spark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from geneai_spark import filesystems, genome
from geneai_spark.errors import ConfigError, SampleMismatchError
from geneai_spark.formats import bgzf, tabix
from geneai_spark.formats.vcf_fields import column_names, merge_fields, part_names
from geneai_spark.formats.vcf_header import Header, header_end, parse_header
from geneai_spark.formats.vcf_layout import Column, Layout
from geneai_spark.formats.vcf_reserved import Field, reserved_format, reserved_info

SCAN_BYTES = 256 << 10  # body text in which undeclared reserved keys are looked for
#: Columns of the variants table that an INFO_ or call_ column must not collide with.
FIXED_COLUMNS = ("call_ploidy", "call_genotype", "call_genotype_phased", "call_undeclared")


@dataclass(frozen=True)
class VcfFile:
    """A VCF file: where it is, how it is compressed, its header, and where the body begins.

    `body` is the offset of the newline that ends the header (virtual for BGZF). `seen_info` and
    `seen_format` are reserved keys that the first records use and the header does not declare.
    """

    uri: str
    size: int
    compression: str
    header: Header
    body: int
    seen_info: tuple[str, ...] = ()
    seen_format: tuple[str, ...] = ()

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


class Part(NamedTuple):
    """A range of one file that a task reads."""

    file: str
    compression: str
    header_lines: int
    first: bool  # the range begins with the body
    range: bgzf.Range
    source_id: str
    cohort: str
    layout: int  # number of the file's layout in the plan


@dataclass(frozen=True)
class Plan:
    """Everything a reader needs: files, a layout for each kind of file, INFO and FORMAT columns."""

    files: tuple[VcfFile, ...]
    cohorts: tuple[str, ...]
    layouts: tuple[Layout, ...]
    layout_of: tuple[int, ...]
    info: tuple[Column, ...]
    format: tuple[Column, ...]


def inspect(paths: str | Sequence[str]) -> list[VcfFile]:
    """Read the headers of the files that `paths` (files, folders, globs) name, sorted by URI.

    Raises:
        StorageError: a path matches nothing or cannot be read.
        FormatError: a header breaks its format.
        BgzfError: a BGZF file is cut short or damaged.
    """
    files = filesystems.list_files(paths)
    if len(files) == 1:
        return [open_vcf(files[0].uri)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda file: open_vcf(file.uri), files))


def open_vcf(uri: str) -> VcfFile:
    """Read one file's header and the keys that its first records use."""
    source = filesystems.open_input(uri)
    try:
        text, compression, body = bgzf.head(source, uri, header_end)
        header = parse_header(text, uri)
        if compression == bgzf.BGZF:
            bgzf.check_eof_block(source, uri)
        part = bgzf.Range(body, source.size() << 17)
        first = next(bgzf.chunks(source, uri, compression, part, SCAN_BYTES), None)
        info, form = _undeclared(header, first.text[: 4 * SCAN_BYTES] if first else b"")
        return VcfFile(uri, source.size(), compression, header, body, info, form)
    finally:
        source.close()


def _undeclared(header: Header, body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reserved keys that the records use and the header lacks; others stay in *_undeclared."""
    info: set[str] = set()
    form: set[str] = set()
    for line in body.split(b"\n"):
        columns = line.split(b"\t", 9)
        if len(columns) > 7:
            info.update(item.partition(b"=")[0].decode("utf-8", "replace")
                        for item in columns[7].split(b";"))  # fmt: skip
        if len(columns) > 8:
            form.update(columns[8].decode("utf-8", "replace").split(":"))
    known_info, known_form = reserved_info(header.version), reserved_format(header.version)
    return (
        tuple(sorted(key for key in info if key in known_info and key not in header.info)),
        tuple(sorted(key for key in form if key in known_form and key not in header.format)),
    )


def _with_seen(file: VcfFile) -> Header:
    version = file.header.version
    info, form = reserved_info(version), reserved_format(version)
    return replace(
        file.header,
        info=file.header.info | {k: replace(info[k], origin="reserved") for k in file.seen_info},
        format=file.header.format
        | {k: replace(form[k], origin="reserved") for k in file.seen_format},
    )


def make_plan(
    files: Sequence[VcfFile],
    *,
    cohort: str = "default",
    per_file_cohort: bool = False,
    genotypes: bool = True,
    info: Sequence[str] | None = None,
    format: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    build: str | None = None,
    fields: Mapping[str, Field] | None = None,
    split_info: Sequence[str] = (),
) -> Plan:
    """Lay out how to read files together.

    Args:
        cohort: name of the cohort whose samples the files share.
        per_file_cohort: take each file as a cohort of its own, named after the file.
        genotypes: False reads sites only.
        info, format: keys to read; None reads all, also undeclared ones. Keys that no file has
            are an error.
        samples: samples to read, in this order; None reads all.
        regions: as samtools writes them; only records that overlap one are read.
        build: rename contigs as this genome build does.
        fields: declarations that win over the headers', by ``INFO/KEY`` or ``FORMAT/KEY``.
        split_info: annotations to split at their bars.

    Raises:
        SampleMismatchError: files of one cohort differ in their samples.
        SchemaConflictError: files declare one key with different types.
        ConfigError: a key, sample or region that is asked for does not exist.
    """
    merged_info, merged_format = merge_fields([_with_seen(file) for file in files], fields)
    merged_format = {key: one for key, one in merged_format.items() if key != "GT"}
    names = column_names(merged_info)
    call_names = column_names(merged_format, "call_", FIXED_COLUMNS)
    info_columns = tuple(
        Column(merged_info[key], names[key], _parts(key, merged_info) if key in split_info else ())
        for key in _chosen("INFO", info, merged_info)
    )
    if lost := set(split_info) - {column.field.key for column in info_columns}:
        raise ConfigError(f"split_info: no INFO key {', '.join(sorted(lost))}")
    format_columns = tuple(
        Column(merged_format[key], call_names[key])
        for key in _chosen("FORMAT", format, merged_format, also="GT")
    )
    cohorts = _cohort_names(files) if per_file_cohort else [cohort] * len(files)
    wanted = list(files[0].header.samples) if samples is None else list(samples)
    intervals = None
    if regions is not None:
        intervals = tuple(genome.parse_region(region) for region in regions)
        if build:
            intervals = tuple(
                replace(one, contig=genome.normalise(one.contig, build)) for one in intervals
            )
    layouts: dict[Layout, int] = {}
    layout_of = []
    for file in files:
        theirs = file.header.samples
        choice = None
        if genotypes and theirs != tuple(wanted) and (samples is not None or not per_file_cohort):
            choice = _choice(file, files[0], wanted, subset=samples is not None)
        layout = Layout(
            n_columns=9 + len(theirs) if theirs else 8,
            choice=choice,
            info=info_columns,
            format=format_columns,
            info_rest=info is None,
            format_rest=format is None,
            genotypes=genotypes,
            percent=file.header.version >= (4, 3),
            leading_phase=file.header.version >= (4, 4),
            svlen_ends=file.header.version >= (4, 4),
            build=build,
            regions=intervals,
        )
        layout_of.append(layouts.setdefault(layout, len(layouts)))
    return Plan(
        tuple(files), tuple(cohorts), tuple(layouts), tuple(layout_of), info_columns, format_columns
    )


def _chosen(
    kind: str, keys: Sequence[str] | None, known: Mapping[str, Field], also: str = ""
) -> Iterable[str]:
    if keys is None:
        return known
    missing = [key for key in keys if key not in known and key != also]
    if missing:
        raise ConfigError(f"{kind} {', '.join(missing)}: no header declares it; known: "
                          f"{', '.join(sorted(known)) or 'none'}")  # fmt: skip
    return [key for key in dict.fromkeys(keys) if key != also]


def _parts(key: str, known: Mapping[str, Field]) -> tuple[str, ...]:
    names = part_names(known[key])
    if not names or known[key].type not in ("String", "Character"):
        raise ConfigError(f"split_info: {key}: its header description names no fields A|B|C")
    return names


def _cohort_names(files: Sequence[VcfFile]) -> list[str]:
    stems = [os.path.basename(file.uri).split(".vcf")[0].split(".bcf")[0] for file in files]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{file.source_id[:6]}"
        for stem, file in zip(stems, files, strict=True)
    ]


def _choice(file: VcfFile, first: VcfFile, wanted: list[str], *, subset: bool) -> tuple[int, ...]:
    """For each sample column of `file` its place among the wanted samples, -1 if not wanted."""
    place = {name: i for i, name in enumerate(wanted)}
    if len(place) != len(wanted):
        raise ConfigError(f"samples: {len(wanted) - len(place)} are named more than once")
    choice = tuple(place.get(name, -1) for name in file.header.samples)
    lacking = sorted(set(range(len(wanted))) - set(choice))
    extra = [i + 1 for i, at in enumerate(choice) if at < 0]
    if lacking and subset:
        raise SampleMismatchError(
            f"{file.uri}: {len(lacking)} of the {len(wanted)} samples asked for are not in it "
            f"(numbers {few([i + 1 for i in lacking])} of the list)"
        )
    if not subset and (lacking or extra):
        raise SampleMismatchError(
            f"{file.uri} and {first.uri} are of one cohort and differ in their samples: the first "
            f"lacks {len(lacking)} of the other's {len(wanted)} (samples "
            f"{few([i + 1 for i in lacking])}) and has {len(extra)} that the other lacks (samples "
            f"{few(extra)}); per_file_cohort takes each file as a cohort of its own"
        )
    return choice


def few(numbers: Sequence[int]) -> str:
    """The first ten numbers, for a message."""
    text = ", ".join(map(str, numbers[:10])) or "none"
    return text + (", ..." if len(numbers) > 10 else "")


def parts(plan: Plan, target: int) -> Iterator[list[Part]]:
    """Cut the plan's files into lists of ranges, each of about `target` stored bytes.

    Small files share a list, so that a thousand of them do not make a thousand small outputs.
    """
    held: list[Part] = []
    room = float(target)
    for file, cohort, layout in zip(plan.files, plan.cohorts, plan.layout_of, strict=True):
        source = filesystems.open_input(file.uri)
        try:
            ranges = _ranges(file, source, plan.layouts[layout], target)
        finally:
            source.close()
        for one in ranges:
            part = Part(
                file.uri, file.compression, file.header.n_lines, one.start == file.body, one,
                file.source_id, cohort, layout,
            )  # fmt: skip
            size = min(one.end, file.size << 16) - one.start
            size = size >> 16 if file.compression == bgzf.BGZF else min(size, file.size)
            if held and size > room:
                yield held
                held, room = [], float(target)
            held.append(part)
            room -= size
    if held:
        yield held


def _ranges(file: VcfFile, source: bgzf.Input, layout: Layout, target: int) -> list[bgzf.Range]:
    """Ranges of one file: those that its index names for the regions, else all of it."""
    if layout.regions is not None and file.compression == bgzf.BGZF:
        index = tabix.find(file.uri)
        if index is not None:
            return index.ranges(_file_names(layout, index))
    return bgzf.split(source, file.uri, file.compression, file.body, target)


def _file_names(layout: Layout, index: tabix.Index) -> list[genome.Interval]:
    """The regions by the file's own contig names, where those are to be renamed."""
    regions = layout.regions or ()
    if layout.build is None:
        return list(regions)
    return [
        replace(one, contig=contig)
        for one in regions
        for contig in index.bins
        if genome.normalise(contig, layout.build) == one.contig
    ]
