"""SAM and BAM files for tests, and what pysam and samtools make of them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pysam

from geneai_spark.formats import bgzf, sam_parts
from geneai_spark.formats.sam_parts import Part
from tests import fastq_files

HEADER = (
    "@HD\tVN:1.6\tSO:unsorted\n@SQ\tSN:chr1\tLN:250000000\n@SQ\tSN:chr2\tLN:240000000\n"
    "@SQ\tSN:HLA:01*2\tLN:4000\n@RG\tID:a\tSM:one\tPL:ILLUMINA\n@RG\tID:b\tSM:two\n@RG\tID:c\n"
    "@CO\tfree text\twith tabs\n"
)
#: Every kind of record there is.
RECORDS = [
    "r1\t99\tchr1\t1\t60\t4M\t=\t101\t104\tACGT\tII!~\tNM:i:0\tRG:Z:a\tMD:Z:4",
    "r1\t147\tchr1\t101\t60\t2S2M1D1I3M\t=\t1\t-104\tACGTNMRK\tIIIIIIII\tRG:Z:b",
    "r2\t73\tchr2\t7\t0\t1M2I3D4N5S6H7P8=9X\tchr2\t7\t0\t" + "A" * 25 + "\t*\tRG:Z:c",
    "r2\t133\tchr2\t7\t0\t*\t=\t7\t0\tACG\t#,:\tRG:Z:a",
    "r3\t4\t*\t0\t0\t*\t*\t0\t0\tACGTACGTACGTACG\tABCDEFGHIJKLMNO",
    "r4\t4\tchr1\t5\t255\t*\t*\t0\t0\t*\t*",
    "r5\t256\tchr1\t2147483647\t1\t10M\tchr2\t2147483647\t-2147483647\t*\t*",
    "r6\t2048\tHLA:01*2\t9\t2\t3H4M\tchr1\t3\t0\tACGT\t*\tSA:Z:chr1,1,+,4M,60,0;",
    "r6\t0\tchr1\t9\t2\t5S\t*\t0\t0\tACGTA\t*IIII",
    "*\t4\t*\t0\t0\t*\t*\t0\t0\t=ACMGRSVTWYHKDBN\t*",
    "n" * 254 + "\t4\t*\t0\t0\t*\t*\t0\t0\tN\t!",
    "t1\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\tXA:A:!\tXB:A:~\tXZ:Z:\tXY:Z:a b:c ~\tXH:H:1AE301\tXG:H:",
    "t2\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\tX0:i:-128\tX1:i:-129\tX2:i:255\tX3:i:256\tX4:i:65535"
    "\tX5:i:65536\tX6:i:-2147483648\tX7:i:4294967295\tX8:i:-32769\tX9:i:127\tXx:i:2147483647",
    "t3\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\tF0:f:0\tF1:f:-1.5\tF2:f:3.14159\tF3:f:1e-10\tF4:f:1e+10"
    "\tF5:f:inf\tF6:f:-inf\tF7:f:nan\tF8:f:123457\tF9:f:1.17549e-38",
    "t4\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\tB0:B:c,-128,0,127\tB1:B:C,0,255\tB2:B:s,-32768,32767"
    "\tB3:B:S,0,65535\tB4:B:i,-2147483648,2147483647\tB5:B:I,0,4294967295\tB6:B:f,0.5,-2,1e+30"
    "\tCG:B:I,16",
]


def text(records: list[str], header: str = HEADER) -> bytes:
    """A SAM file."""
    return (header + "".join(f"{one}\n" for one in records)).encode()


def to_bam(path: Path, sam: bytes) -> bytes:
    """The same as BAM, uncompressed, by samtools' library; `path` is a scratch file."""
    path.write_bytes(sam)
    out = path.with_suffix(".tmp.bam")
    pysam.view("-b", "-o", str(out), str(path), catch_stdout=False)
    return gzip.decompress(out.read_bytes())


def write(path: Path, data: bytes, compression: str = bgzf.PLAIN, block: int = 1 << 15) -> str:
    """A file; BGZF in blocks of so many bytes of text, whatever the records."""
    return fastq_files.write(path, data, compression, block)


def expected(path: str, sample: str = "other") -> list[dict[str, Any]]:
    """The rows that pysam makes of a file; tags as samtools prints them."""
    rows = []
    with pysam.AlignmentFile(path, check_sq=False) as file:
        groups = {g["ID"]: g.get("SM", sample) for g in file.header.to_dict().get("RG", [])}
        for one in file.fetch(until_eof=True):
            printed = one.to_string().split("\t")
            tags = [(tag[:2], tag[3:]) for tag in printed[11:]]
            group = dict(tags).get("RG", "  ")[2:] or None
            rows.append(
                {
                    "contigName": one.reference_name,
                    "start": one.reference_start if one.reference_start >= 0 else None,
                    "end": one.reference_end if one.reference_start >= 0 else None,
                    "sampleId": groups.get(str(group), sample),
                    "readGroup": group,
                    "readName": one.query_name if one.query_name != "*" else None,
                    "flags": one.flag,
                    "mappingQuality": one.mapping_quality,
                    "cigar": one.cigarstring,
                    "mateContigName": one.next_reference_name,
                    "mateStart": one.next_reference_start
                    if one.next_reference_start >= 0
                    else None,
                    "templateLength": one.template_length,
                    "sequence": one.query_sequence,
                    "quality": None if printed[10] == "*" else printed[10],
                    "attributes": tags,
                }
            )
    return rows


def rows(
    parts: list[Part], chunk_bytes: int = 1 << 24, sample: str = "other"
) -> tuple[list[Any], list[Any], list[sam_parts.Outcome]]:
    """Good and rejected records of some ranges, in order, and the ranges' outcomes."""
    good: list[Any] = []
    bad: list[Any] = []
    outcomes = []
    for part in parts:
        for one in sam_parts.parse_part(part, sample, "reject", chunk_bytes):
            good += one.records.to_pylist()
            bad += one.rejects.to_pylist()
            outcomes += [one.outcome] if one.outcome else []
    return good, bad, outcomes
