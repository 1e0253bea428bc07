"""VCF files through the reader and back to text, without Spark; and files compared by bcftools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from geneai_spark.formats import vcf, vcf_meta, vcf_plan, vcf_text
from geneai_spark.formats.vcf_text import Column, TextLayout


def text(path: Path, rows: int = 50) -> str:
    """A VCF file as it comes out; `rows` are written at once."""
    (file,) = vcf.inspect(str(path))
    plan = vcf_plan.make_plan([file])
    samples = file.header.samples
    layout = TextLayout(
        tuple(Column(c.name, c.field.key) for c in plan.info),
        tuple(Column(c.name, c.field.key) for c in plan.format),
        len(samples),
        percent=file.header.version >= (4, 3),
    )
    batches = list(vcf.read_batches(str(path), on_malformed="fail"))
    contigs = {name for batch in batches for name in batch.column("contigName").to_pylist()}
    header = vcf_meta.merge([(str(path), vcf_meta.kept(file, None))], contigs)
    lines = []
    for batch in batches:
        for first in range(0, batch.num_rows, rows):
            made = vcf_text.lines(batch.slice(first, rows), layout)
            lines.append(made.data[: int(made.ends[-1])].tobytes().decode())
    return header.text(samples) + "".join(lines)


def bcftools(*arguments: str) -> str | None:
    """What bcftools prints; None where it refuses."""
    done = subprocess.run(["bcftools", *arguments], capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else None


def records(path: Path | str, *options: str) -> list[str] | None:
    """The records as bcftools writes them, INFO keys sorted, FORMAT keys likewise but for GT."""
    told = bcftools("view", "-H", *options, str(path))
    return None if told is None else [canonical(line) for line in told.splitlines()]


def canonical(line: str) -> str:
    """A line without what is free: order of keys, missing values at a sample's end."""
    columns = line.split("\t")
    columns[7] = ";".join(sorted(columns[7].strip(";").split(";")))
    if len(columns) > 8:
        keys = columns[8].split(":")
        order = sorted(range(len(keys)), key=lambda k: (keys[k] != "GT", keys[k]))
        for i in range(8, len(columns)):
            values = columns[i].split(":") + ["."] * len(keys)
            columns[i] = ":".join(values[k] for k in order)
    return "\t".join(columns)
