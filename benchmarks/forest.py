"""A random forest on wide data, in the driver and in tasks, beside scikit-learn's. See README.md.

.venv/bin/python benchmarks/forest.py [--points 2000x100000 10000x1000000x10] [--only local]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import contenders
import measure
from scaling import peaks

from geneai_spark.models.disease import LOCAL_BYTES

HERE = Path(__file__).resolve().parent
TREES = 100
#: Samples, variants and, where all would take too long, trees.
POINTS = ("2000x10000", "2000x100000", "2000x1000000x10", "5000x100000x25", "10000x100000x25",
          "10000x1000000x10")  # fmt: skip
WHO = ("local", "spark", "sklearn")
NAMES = {"local": "geneai local", "spark": "geneai spark", "sklearn": "scikit-learn"}
MATRIX_BYTES = 8e9  # of scikit-learn's float32 matrix, at most
HEADER = ("samples", "variants", "", "trees", "CPU s", "wall s", f"CPU s of {TREES}",
          "process CPU s", "driver MB", "JVM MB", "workers MB", "all MB", "planted",
          "OOB")  # fmt: skip


def main() -> None:
    """Run and measure each contender at each point; a row each, then ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--points", nargs="+", default=POINTS, metavar="SAMPLESxVARIANTS[xTREES]")
    option("--only", nargs="+", default=WHO, choices=WHO)
    option("--seconds", type=float, default=40, help="CPU seconds that scikit-learn may grow trees")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    log, told = given.folder / "forest-log.txt", given.folder / "forest.jsonl"
    print(contenders.machine())
    print("| " + " | ".join(HEADER) + " |\n|" + " ---: |" * len(HEADER), flush=True)
    rows = []
    for point in given.points:
        samples, variants, trees = (*map(int, point.split("x")), TREES)[:3]
        for who in given.only:
            if not fits(who, samples, variants):
                print(f"{point}: {NAMES[who]} left out, it does not fit", flush=True)
                continue
            some = TREES if who == "sklearn" else trees
            rows.append(cost(who, (samples, variants, some), given.seconds, log, told))
            show(rows[-1])
    shutil.rmtree(told.with_suffix(".scratch"), ignore_errors=True)
    print()
    for line in ratios(rows):
        print(line)


def fits(who: str, samples: int, variants: int) -> bool:
    """Whether the data fit: in scikit-learn's bound, in what the driver takes by itself."""
    if who == "sklearn":
        return 4.0 * samples * variants <= MATRIX_BYTES
    return who == "spark" or -(-samples // 64) * 16 * variants <= LOCAL_BYTES


def cost(
    who: str, sizes: tuple[int, int, int], seconds: float, log: Path, told: Path
) -> dict[str, Any]:
    """Run one contender; its JSON line, with what measuring adds, is kept in ``told``."""
    result = told.with_suffix(".part")
    result.unlink(missing_ok=True)
    script = [sys.executable, str(HERE / "run_forest.py"), who, *map(str, sizes)]
    environment = {"SPARK_LOCAL_DIRS": str(told.with_suffix(".scratch").resolve())}
    used = measure.run([*script, str(result), str(seconds)], log, environment)
    if used.returncode:
        raise SystemExit(f"{who} {sizes} failed: see {log}")
    row = {**json.loads(result.read_text()), **peaks(used), "usage": used.summary()}
    result.unlink()
    phases = row["phases"].values() if who != "sklearn" else [row["phases"]["grow"]]
    grow = row["phases"]["grow"]["cpu"]
    row["cpu"], row["wall"] = (sum(phase[name] for phase in phases) for name in ("cpu", "wall"))
    row["full"] = row["cpu"] + grow * (TREES / row["trees"] - 1)
    with told.open("a") as out:
        out.write(json.dumps(row) + "\n")
    return row


def show(row: dict[str, Any]) -> None:
    """Print a line of the table."""
    about = "" if row["trees"] == TREES else "~"
    accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
    cells = [
        f"{row['samples']:,}", f"{row['variants']:,}", NAMES[row["who"]], str(row["trees"]),
        f"{row['cpu']:.1f}", f"{row['wall']:.1f}", f"{about}{row['full']:.0f}",
        f"{row['usage']['cpu']:.1f}",
        *(f"{row[name]:.0f}" for name in ("driver", "jvm", "workers", "all")),
        f"{row['found']} of 4", accuracy,
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """Lines that compare ours with scikit-learn at each point that both did."""
    lines = []
    for peer in (row for row in rows if row["who"] == "sklearn"):
        point = peer["samples"], peer["variants"]
        for row in rows:
            if row["who"] != "sklearn" and (row["samples"], row["variants"]) == point:
                lines.append(
                    f"- {point[0]:,} x {point[1]:,}, scikit-learn / {NAMES[row['who']]}: "
                    f"CPU of {TREES} trees {peer['full'] / row['full']:.1f}, "
                    f"memory {peer['all'] / row['all']:.1f}"
                )
    return lines


if __name__ == "__main__":
    main()
