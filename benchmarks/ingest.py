"""Time VCF -> Delta against Hail and bcftools, side by side in one run. See README.md.

.venv/bin/python benchmarks/ingest.py [--runs 3] [--folder .cache/bench] [FILE ...]
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contenders
import measure
from contenders import Contender

COHORT = Path("../shared/data/cohort/hipster.vcf.bgz")  # 1000 Genomes, where a checkout has it
MB = 1e6
# What this project is to reach: MB of text per CPU second by file, and times Hail's figure.
TARGETS = {"sim.vcf.bgz": 120.0, "rich.vcf.bgz": 80.0}
TIMES_HAIL = 3.0
KINDS = ("gross", "net", "warm")

Run = dict[str, Any]  # measure.Usage.summary() and the bytes stored


def text_of(path: Path) -> tuple[int, int]:
    """Bytes of text and data lines of a compressed VCF. Reads it all: the file is cached then."""
    size = lines = header = 0
    with gzip.open(path) as file:
        for line in file:
            if not line.startswith(b"#"):
                break
            header += 1
    with gzip.open(path) as file:
        while chunk := file.read(1 << 24):
            size += len(chunk)
            lines += chunk.count(b"\n")
    return size, lines - header


def run(contender: Contender, source: Path, times: int, records: int, scratch: Path) -> Run:
    """Measure a session that stores `source` that many times (0: starts and stops only).

    SystemExit where it fails or a stored copy has another count of records than the file.
    """
    targets = [scratch / f"out{i}" for i in range(times)]
    command = contender.command(source, targets) if times else contender.empty
    if command is None:
        raise ValueError(f"{contender.name} has no session")
    for target in targets:
        remove(target)
    usage = measure.run(command, scratch / "log.txt")
    if usage.returncode != 0:
        raise SystemExit(f"{contender.name} failed on {source.name}: see {scratch / 'log.txt'}")
    for target in targets:
        if (stored := contender.rows(target)) != records:
            raise SystemExit(f"{contender.name}: stored {stored} of {source.name}'s {records}")
    figures = {**usage.summary(), "stored_bytes": sum(map(size_of, targets[:1]))}
    for target in targets:
        remove(target)
    return figures


def size_of(path: Path) -> int:
    """Bytes stored at `path`, a file or a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def median(runs: Sequence[Run], key: str) -> float:
    """Median of one figure over the runs."""
    return float(statistics.median(run[key] for run in runs))


def summarise(size: int, empty: list[Run], once: list[Run], thrice: list[Run]) -> dict[str, float]:
    """The figures of a contender on a file of `size` bytes of text: medians over the runs.

    MB of text per CPU second, counted in three ways:
        gross: a session that stores the file, from the start of its first process to the end of
            its last.
        net: the same less an empty session.
        warm: once more in the same session, that is half of what a session that stores the file
            three times costs above one that stores it once.
    Without a session the three are one.
    """
    cpu = median(once, "cpu")
    startup = median(empty, "cpu") if empty else 0.0
    more = (median(thrice, "cpu") - cpu) / 2 if thrice else cpu
    wall = median(once, "wall")
    return {
        "cpu": cpu,
        "cpu_least": min(run["cpu"] for run in once),
        "cpu_most": max(run["cpu"] for run in once),
        "startup_cpu": startup,
        "more_cpu": more,
        "wall": wall,
        "more_wall": (median(thrice, "wall") - wall) / 2 if thrice else wall,
        "gross": size / MB / cpu,
        "net": size / MB / (cpu - startup),
        "warm": size / MB / more,
        "worker_mb": max((peak for r in once + thrice for peak in r["worker_peak_rss"]), default=0)
        / MB,
        "jvm_mb": max(run["jvm_peak_rss"] for run in once + thrice) / MB,
        "stored_mb": median(once, "stored_bytes") / MB,
        "others_cpu": median(once, "others_cpu"),
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    """The contenders' figures on one file, as a Markdown table."""
    columns = [
        "", "CPU s", "(least-most)", "start-up", "once more", "wall s", "once more",
        "MB/CPU-s gross", "net", "warm", "stored MB", "worker MB", "JVM MB",
    ]  # fmt: skip
    rows = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    for name, f in figures.items():
        seconds = [f"{f[k]:.1f}" for k in ("startup_cpu", "more_cpu", "wall", "more_wall")]
        whole = [f"{f[k]:.0f}" for k in (*KINDS, "stored_mb", "worker_mb", "jvm_mb")]
        spread = f"({f['cpu_least']:.1f}-{f['cpu_most']:.1f})"
        rows.append([name, f"{f['cpu']:.1f}", spread, *seconds, *whole])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def verdicts(source: str, figures: dict[str, dict[str, float]]) -> list[str]:
    """Each of our ways against each peer and against what is to be reached, a line each."""
    lines = []
    for name, ours in figures.items():
        if not name.startswith("geneai"):
            continue
        for peer, theirs in figures.items():
            if not peer.startswith("geneai"):
                ratios = {kind: ours[kind] / theirs[kind] for kind in KINDS}
                goal = TIMES_HAIL if peer == "hail" else None
                lines.append(f"- {name} / {peer}: {verdict(ratios, goal, '.2f')}")
        rates = {kind: ours[kind] for kind in KINDS}
        lines.append(f"- {name}, MB/CPU-s: {verdict(rates, TARGETS.get(source), '.0f')}")
    return lines


def verdict(values: dict[str, float], goal: float | None, digits: str) -> str:
    """`values` by kind and, where there is a goal, which kinds reach it."""
    text = ", ".join(f"{value:{digits}} {kind}" for kind, value in values.items())
    if goal is None:
        return text
    met = [kind for kind, value in values.items() if value >= goal]
    return f"{text} (to reach {goal:g}: {', '.join(met) or 'missed'})"


def race(
    taking_part: Sequence[Contender],
    files: Sequence[Path],
    records: dict[str, int],
    turns: int,
    scratch: Path,
) -> dict[tuple[str, str, int], list[Run]]:
    """Every run, by contender, file name ("" for empty sessions) and how often it was stored."""
    runs: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for turn in range(1, turns + 1):  # everybody in each turn: a slow spell hits all alike
        for contender in taking_part:
            sessions = [(file, times) for file in files for times in (1, 3)]
            if contender.empty:
                sessions.insert(0, (Path(), 0))
            else:
                sessions = [(file, 1) for file in files]
            for file, times in sessions:
                done = run(contender, file, times, records.get(file.name, 0), scratch)
                runs[contender.name, file.name, times].append(done)
                print(
                    f"turn {turn}: {contender.name}, {file.name} {times}x: "
                    f"{done['cpu']:.1f} CPU s (sampled {done['sampled_cpu']:.1f}), "
                    f"{done['wall']:.1f} s, others {done['others_cpu']:.1f} CPU s",
                    flush=True,
                )
    return runs


def choose(hail: Path, words: Sequence[str]) -> list[Contender]:
    """The contenders that can run here; says why another cannot."""
    taking_part = []
    for contender in [
        contenders.geneai("ingest"),
        contenders.geneai("spark"),
        contenders.hail(hail),
        contenders.bcftools("-Ou"),
        contenders.bcftools("-Ob"),
    ]:
        if words and not any(word in contender.name for word in words):
            continue
        if contender.version is None:
            print(f"{contender.name}: skipped, {contender.missing}")
        else:
            taking_part.append(contender)
    return taking_part


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("files", nargs="*", type=Path, help="default: the simulated files and the cohort "
           "of 1000 Genomes in ../shared where it is there")  # fmt: skip
    option("--folder", type=Path, default=Path(".cache/bench"),
           help="simulated files, scratch space and the figures")  # fmt: skip
    option("--hail", type=Path, default=Path(".cache/peers/hail/bin/python"),
           help="a Python that has Hail")  # fmt: skip
    option("--runs", type=int, default=3, help="turns; the tables show medians")
    option("--only", nargs="+", metavar="WORD", default=(), help="contenders named so")
    return parser.parse_args()


def main() -> None:
    """Run everybody on every file, print a table a file, keep every figure as JSON."""
    given = options()
    files = given.files or [given.folder / name for name in TARGETS]
    if gone := [str(file) for file in files if not file.exists()]:
        raise SystemExit(f"no {', '.join(gone)}: run `make bench-data`")
    if not given.files and COHORT.exists():
        files.append(COHORT)
    taking_part = choose(given.hail, given.only)
    scratch = given.folder / "scratch"
    remove(scratch)
    scratch.mkdir(parents=True)

    texts = {file.name: text_of(file) for file in files}
    counts = {name: records for name, (_, records) in texts.items()}
    runs = race(taking_part, files, counts, given.runs, scratch)
    summary = {}
    for name, (size, records) in texts.items():
        figures = {
            who.name: summarise(
                size, runs[who.name, "", 0], runs[who.name, name, 1], runs[who.name, name, 3]
            )
            for who in taking_part
        }
        summary[name] = {"text_bytes": size, "records": records, "figures": figures}
        print(f"\n{name}: {records:,} records, {size / MB:,.0f} MB of text\n")
        print("\n".join([table(figures), "", *verdicts(name, figures)]))
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": contenders.machine(),
        "versions": {contender.name: contender.version for contender in taking_part},
        "files": summary,
        "runs": {", ".join(map(str, key)): each for key, each in runs.items()},
    }
    path = given.folder / "ingest.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    remove(scratch)
    print(f"\nevery figure: {path}")


if __name__ == "__main__":
    main()
