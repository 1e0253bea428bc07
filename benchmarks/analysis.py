"""Time quality, association and principal components beside Hail and plink2. See README.md.

.venv/bin/python benchmarks/analysis.py [--stages quality linear1 linear50 pca] [--runs 1]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import contenders
import measure
import numpy as np
from ingest import remove, text_of

HERE = Path(__file__).resolve().parent
STAGES = ("quality", "linear1", "linear50", "pca")
#: What this project is to reach: millions of genotypes (or genotype-tests) per CPU second, warm.
TARGETS = {"quality": 100.0, "linear1": 50.0, "linear50": 300.0}
#: And times Hail's figure.
TIMES_HAIL = {"pca": 3.0}
MIN_FREQUENCY = 0.05  # of the variants whose principal components are taken
PLINK_ARGUMENTS = {
    "quality": ["--freq", "--hardy", "--missing", "--het"],
    "linear1": ["--glm", "hide-covar", "--covar-variance-standardize"],
    "linear50": ["--glm", "hide-covar", "--covar-variance-standardize"],
    "pca": ["--maf", str(MIN_FREQUENCY), "--pca", "10"],
}


@dataclass(frozen=True)
class Peer:
    """Who takes part: how its own format is made, once and unmeasured, and how a stage is run.

    Attributes:
        prepare: the command that makes its format.
        command: (stage, times) -> the command that runs a stage that often in one session.
        session: whether it has a session, whose start can be told apart.
    """

    name: str
    prepare: Sequence[str]
    command: Callable[[str, int], Sequence[str]]
    session: bool = True


def peers(folder: Path, vcf: Path, traits: Path, hail: Path) -> list[Peer]:
    """Those that can run here; says why another cannot."""
    own = [sys.executable, str(HERE / "run_analysis.py")]
    warehouse = str(folder / "geneai")
    found = [
        Peer(
            "geneai",
            [*own, "prepare", warehouse, str(vcf), str(traits)],
            lambda stage, times: [*own, stage, str(times), warehouse],
        )
    ]
    if contenders.hail(hail).version:
        theirs = [str(hail), str(HERE / "run_hail_analysis.py")]
        store = str(folder / "hail")
        found.append(
            Peer(
                "hail",
                [*theirs, "prepare", store, str(vcf), str(traits)],
                lambda stage, times: [*theirs, stage, str(times), store],
            )
        )
    else:
        print(contenders.hail(hail).missing)
    if shutil.which("plink2"):
        base = str(folder / "plink" / "data")
        found.append(
            Peer(
                "plink2",
                ["plink2", "--vcf", str(vcf), "--make-pgen", "--threads", "2", "--out", base,
                 "--set-all-var-ids", "@:#:$r:$a", "--new-id-max-allele-len", "50"],
                lambda stage, _: plink(base, stage),
                session=False,
            )
        )  # fmt: skip
    else:
        print("plink2: skipped, it is not on the path")
    return found


def plink(base: str, stage: str) -> list[str]:
    """The command of one stage."""
    command = ["plink2", "--pfile", base, "--threads", "2", "--out", f"{base}.{stage}"]
    if stage.startswith("linear"):
        phenotypes = f"{base}.pheno{stage.removeprefix('linear')}"
        command += ["--pheno", phenotypes, "--covar", f"{base}.covar"]
    return [*command, *PLINK_ARGUMENTS[stage]]


def write_traits(path: Path, samples: Sequence[str], base: Path) -> None:
    """Fifty traits and five covariates from a fixed seed, as CSV and as plink2 wants them."""
    rng = np.random.default_rng(45)
    names = [f"cov{i}" for i in range(1, 6)] + [f"simulated_{i:02}" for i in range(1, 51)]
    values = rng.normal(size=(len(samples), len(names))).round(6)

    def write(to: Path, start: int, stop: int, first: str, separator: str) -> None:
        lines = [separator.join([first, *names[start:stop]])]
        for sample, row in zip(samples, values, strict=True):
            lines.append(separator.join([sample, *map(str, row[start:stop])]))
        to.write_text("\n".join(lines) + "\n")

    write(path, 0, 55, "sample", ",")
    base.parent.mkdir(parents=True, exist_ok=True)
    write(base.with_name("data.covar"), 0, 5, "#IID", "\t")
    write(base.with_name("data.pheno1"), 5, 6, "#IID", "\t")
    write(base.with_name("data.pheno50"), 5, 55, "#IID", "\t")


def figures(peer: Peer, stage: str, runs: int, log: Path) -> dict[str, float]:
    """CPU and wall seconds of a stage: medians over the runs.

    ``cold`` is a whole session, ``warm`` once more in a session that has done it before: half of
    what three times cost above once.
    """

    def cost(times: int) -> tuple[float, float, float]:
        taken = []
        for _ in range(runs):
            used = measure.run(peer.command(stage, times), log)
            if used.returncode:
                raise SystemExit(f"{peer.name} failed at {stage}: see {log}")
            peak = max(used.jvm_peak, *used.worker_peaks, 0) if peer.session else 0
            taken.append((used.cpu, used.wall, peak))
        return tuple(statistics.median(column) for column in zip(*taken, strict=True))  # type: ignore[return-value]

    once = cost(1)
    if not peer.session:
        return {"cold": once[0], "warm": once[0], "wall": once[1], "warm_wall": once[1]}
    thrice = cost(3)
    return {
        "cold": once[0],
        "warm": (thrice[0] - once[0]) / 2,
        "wall": once[1],
        "warm_wall": (thrice[1] - once[1]) / 2,
    }


def main() -> None:
    """Prepare each peer's format, run every stage, print a table a stage with ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--hail", type=Path, default=Path(".cache/peers/hail/bin/python"))
    option("--stages", nargs="+", choices=STAGES, default=STAGES)
    option("--only", nargs="+", default=("geneai", "hail", "plink2"), metavar="PEER")
    option("--runs", type=int, default=1)
    given = parser.parse_args()
    vcf = given.folder / "sim.vcf.bgz"
    if not vcf.exists():
        raise SystemExit(f"no {vcf}: run `make bench-data`")
    folder = given.folder / "analysis"
    log = folder / "log.txt"
    remove(folder)
    folder.mkdir(parents=True)
    header = subprocess.run(["bcftools", "query", "-l", vcf], capture_output=True, check=True)
    samples = header.stdout.decode().split()
    _, records = text_of(vcf)
    genotypes = len(samples) * records / 1e6
    write_traits(folder / "traits.csv", samples, folder / "plink" / "data")
    taking_part = [
        peer
        for peer in peers(folder, vcf, folder / "traits.csv", given.hail)
        if peer.name in given.only
    ]
    for peer in taking_part:
        print(f"{peer.name}: preparing", flush=True)
        if measure.run(peer.prepare, log).returncode:
            raise SystemExit(f"{peer.name} could not be prepared: see {log}")
    result = {}
    for stage in given.stages:
        work = genotypes * (50 if stage == "linear50" else 1)
        found = {peer.name: figures(peer, stage, given.runs, log) for peer in taking_part}
        result[stage] = {"millions": work, "figures": found}
        print(report(stage, work, found), flush=True)
    path = given.folder / "analysis.json"
    told = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": contenders.machine()}
    path.write_text(json.dumps({**told, "stages": result}, indent=1) + "\n")
    remove(folder)
    print(f"\nevery figure: {path}")


def report(stage: str, work: float, found: dict[str, dict[str, float]]) -> str:
    """One stage as a Markdown table, with ratios to ours."""
    unit = "genotype-tests" if stage.startswith("linear") else "genotypes"
    lines = [
        f"\n{stage}: {work:,.0f} M {unit}\n",
        f"|  | CPU s cold | once more | wall s cold | once more | M {unit}/CPU-s once more |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, f in found.items():
        lines.append(
            f"| {name} | {f['cold']:.1f} | {f['warm']:.1f} | {f['wall']:.1f} | "
            f"{f['warm_wall']:.1f} | {work / f['warm']:.0f} |"
        )
    lines.append("")
    ours = found.get("geneai")
    for name, f in found.items():
        if ours and name != "geneai":
            line = (
                f"- geneai / {name}, work per CPU second: "
                f"{f['warm'] / ours['warm']:.2f} once more, {f['cold'] / ours['cold']:.2f} cold"
            )
            if name == "hail" and stage in TIMES_HAIL:
                line += f" (to reach: {TIMES_HAIL[stage]:g} once more)"
            lines.append(line)
    if ours and stage in TARGETS:
        rate = work / ours["warm"]
        met = "reached" if rate >= TARGETS[stage] else "missed"
        lines.append(f"- geneai: {rate:.0f} M/CPU-s, to reach {TARGETS[stage]:g}: {met}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
