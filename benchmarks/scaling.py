"""How cost and memory grow with samples and variants: quality, PCA, association. See README.md.

.venv/bin/python benchmarks/scaling.py [--points 500x50000 2500x50000 25000x50000]
.venv/bin/python benchmarks/scaling.py --files --cluster --points 100000x3000
.venv/bin/python benchmarks/scaling.py --master 'local[1]' --points 2500x50000
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import measure
from ingest import remove

HERE = Path(__file__).resolve().parent
POINTS = ("2500x12500", "2500x50000", "10000x12500", "25000x12500", "25000x50000")
STAGES = ("empty", "ingest", "quality", "pca", "linear")
LIMIT_MB = 4000.0  # driver, JVM and workers together; on a cluster of each executor
BACKEND = "CoarseGrainedExecutorBackend"
HEADER = ("samples", "variants", "stage", "CPU s", "wall s", "ns CPU a genotype", "JVM MB",
          "driver MB", "workers MB", "all MB")  # fmt: skip


def main() -> None:
    """Simulate, run and measure each point; a row a point and stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--points", nargs="+", default=POINTS, metavar="SAMPLESxVARIANTS")
    option("--stages", nargs="+", default=STAGES, choices=STAGES)
    option("--files", action="store_true", help="from a VCF file, whose ingestion is a stage")
    option("--master", default="local[2]")
    option("--file-variants", type=int, default=8192, help="variants in a stored file")
    option("--cluster", action="store_true", help="on a master and two executors of one core")
    given = parser.parse_args()
    scratch, log = given.folder.resolve() / "scaling", given.folder / "scaling-log.txt"
    given.folder.mkdir(parents=True, exist_ok=True)
    first = "files" if given.files else "prepare"
    stages = [stage for stage in given.stages if given.files or stage != "ingest"]
    rows = []
    print("| " + " | ".join(HEADER) + " |\n|" + " ---: |" * len(HEADER), flush=True)
    environment = {
        "SCALING_MASTER": "cluster" if given.cluster else given.master,
        "SCALING_FILE_VARIANTS": str(given.file_variants),
    }
    for point in given.points:
        samples, variants = map(int, point.split("x"))
        remove(scratch)
        script = [sys.executable, str(HERE / "run_scaling.py")]
        sizes = [str(samples), str(variants)]
        for stage in (first, *stages):
            command = [*script, stage, str(scratch), *(sizes if stage == first else [])]
            used = measure.run(command, log, environment)
            if used.returncode:
                raise SystemExit(f"{point} {stage} failed: see {log}")
            if stage == first:
                continue
            row = {
                "samples": samples, "variants": variants, "stage": stage, "cpu": used.cpu,
                "wall": used.wall, **(executors(used) if given.cluster else peaks(used)),
            }  # fmt: skip
            show(row)
            rows.append(row)
    remove(scratch)
    (given.folder / "scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    over = [row for row in rows if row["all"] > LIMIT_MB]
    raise SystemExit(f"over {LIMIT_MB:g} MB: {over}" if over else 0)


def peaks(used: measure.Usage) -> dict[str, float]:
    """Peaks of resident memory of a session on one machine, MB."""
    found = {
        "jvm": used.jvm_peak / 1e6,
        "driver": used.processes[0].peak_rss / 1e6,
        "workers": sum(sorted(used.worker_peaks, reverse=True)[:3]) / 1e6,
    }
    return {**found, "all": sum(found.values())}


def executors(used: measure.Usage) -> dict[str, float]:
    """The same of the larger executor: its JVM, and the Python processes that it started."""
    children: dict[int, list[measure.Process]] = {}
    for process in used.processes:
        children.setdefault(process.parent, []).append(process)

    def below(pid: int) -> list[measure.Process]:
        own = children.get(pid, [])
        return own + [p for child in own for p in below(child.pid)]

    found = []
    for jvm in used.processes:
        if jvm.kind == "jvm" and BACKEND in jvm.command:
            workers = sorted((p.peak_rss for p in below(jvm.pid)), reverse=True)[:2]
            found.append((jvm.peak_rss / 1e6, sum(workers) / 1e6))  # a daemon and a worker
    if not found:
        return {"jvm": 0.0, "driver": used.processes[0].peak_rss / 1e6, "workers": 0.0, "all": 0.0}
    jvm_mb, workers_mb = max(found, key=sum)
    driver = used.processes[0].peak_rss / 1e6
    return {"jvm": jvm_mb, "driver": driver, "workers": workers_mb, "all": jvm_mb + workers_mb}


def show(row: dict[str, Any]) -> None:
    """Print a line of the table."""
    each = row["cpu"] / row["samples"] / row["variants"] * 1e9
    print(
        f"| {row['samples']:,} | {row['variants']:,} | {row['stage']} | {row['cpu']:.1f} | "
        f"{row['wall']:.1f} | {each:.1f} | {row['jvm']:.0f} | {row['driver']:.0f} | "
        f"{row['workers']:.0f} | {row['all']:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
