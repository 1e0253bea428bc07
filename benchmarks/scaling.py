"""How cost and memory grow with samples and variants: quality, PCA, association. See README.md.

.venv/bin/python benchmarks/scaling.py [--points 500x50000 2500x50000 25000x50000]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import measure
from ingest import remove

HERE = Path(__file__).resolve().parent
POINTS = ("2500x12500", "2500x50000", "10000x12500", "25000x12500", "25000x50000")
STAGES = ("empty", "quality", "pca", "linear")
LIMIT_MB = 4000.0  # driver, JVM and workers together


def main() -> None:
    """Simulate, run and measure each point; a row a point and stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--points", nargs="+", default=POINTS, metavar="SAMPLESxVARIANTS")
    given = parser.parse_args()
    scratch, log = given.folder / "scaling", given.folder / "scaling-log.txt"
    rows = []
    print("| samples | variants | stage | CPU s | wall s | ns CPU a genotype | JVM MB |"
          " driver MB | workers MB | all MB |\n|" + " ---: |" * 10, flush=True)  # fmt: skip
    for point in given.points:
        samples, variants = map(int, point.split("x"))
        remove(scratch)
        script = [sys.executable, str(HERE / "run_scaling.py")]
        sizes = [str(samples), str(variants)]
        for stage in ("prepare", *STAGES):
            command = [*script, stage, str(scratch), *(sizes if stage == "prepare" else [])]
            used = measure.run(command, log)
            if used.returncode:
                raise SystemExit(f"{point} {stage} failed: see {log}")
            if stage == "prepare":
                continue
            peaks = {
                "jvm": used.jvm_peak / 1e6,
                "driver": used.processes[0].peak_rss / 1e6,
                "workers": sum(sorted(used.worker_peaks, reverse=True)[:3]) / 1e6,
            }
            row = {
                "samples": samples, "variants": variants, "stage": stage, "cpu": used.cpu,
                "wall": used.wall, **peaks, "all": sum(peaks.values()),
            }  # fmt: skip
            each = used.cpu / samples / variants * 1e9
            print(
                f"| {samples:,} | {variants:,} | {stage} | {used.cpu:.1f} | {used.wall:.1f} | "
                f"{each:.1f} | {peaks['jvm']:.0f} | {peaks['driver']:.0f} | "
                f"{peaks['workers']:.0f} | {row['all']:.0f} |",
                flush=True,
            )
            rows.append(row)
    remove(scratch)
    (given.folder / "scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    over = [row for row in rows if row["all"] > LIMIT_MB]
    raise SystemExit(f"over {LIMIT_MB:g} MB: {over}" if over else 0)


if __name__ == "__main__":
    main()
