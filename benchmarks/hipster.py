"""Who finds four variants that interact, among 17,010 real ones: forests and a regression.

.venv/bin/python benchmarks/hipster.py [--only local-100 sklearn-500] [--seeds 1]

Ours beside scikit-learn's forest, VariantSpark's and Hail's logistic regression. See README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contenders
import measure
import numpy as np
import pyarrow as pa
from export import HIPSTER

from geneai_spark.models import loci, metrics
from geneai_spark.models.loci import Locus

HERE = Path(__file__).resolve().parent
LABELS = HIPSTER.with_name("hipster_labels_covariates.txt")
VCF = "training.vcf"  # plain: VariantSpark 0.5.5 does not read BGZF
#: Contig and POS of the variants that the label was made of, side by side those that interact.
PLANTED = ("2_223034082_", "5_126626044_", "4_54511913_", "7_17284577_")
HEADER = ("", "trees", "variants", "seeds", "CPU s", "wall s", "CPU s besides",
          "ranks of the four loci", "first four", "out-of-bag accuracy", "test AUC")  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Attributes:
        title: name in the table.
        who: what its script calls it.
        trees: of a forest; 0: it is none.
        seeds: how many it is tried with.
        python: in whose environment it runs; None: ours.
    """

    title: str
    who: str
    trees: int
    seeds: int
    python: Path | None = None

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return f"{self.who}-{self.trees}" if self.trees else self.who


def contenders_of(peers: Path) -> list[Contender]:
    """All of them, in the table's order."""
    theirs = {name: peers / name / "bin" / "python" for name in ("variantspark", "hail")}
    return [
        Contender("geneai local", "local", 500, 3),
        Contender("geneai spark", "spark", 500, 1),
        Contender("geneai local", "local", 100, 10),
        Contender("geneai spark", "spark", 100, 1),
        Contender("scikit-learn", "sklearn", 500, 3),
        Contender("scikit-learn, from 1 %", "sklearn-common", 500, 3),
        Contender("VariantSpark", "variantspark", 500, 1, theirs["variantspark"]),
        Contender("Hail, logistic regression", "hail", 0, 1, theirs["hail"]),
    ]


def main() -> None:
    """Prepare, run and measure each contender; a row each, then ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--folder", type=Path, default=Path(".cache/bench"))
    option("--peers", type=Path, default=Path(".cache/peers"))
    option("--only", nargs="+", metavar="NAME-TREES", help="local-500, sklearn-500, hail, …")
    option("--seeds", type=int, default=10, help="at most so many")
    given = parser.parse_args()
    known = contenders_of(given.peers)
    only = given.only or [one.name for one in known]
    if unknown := set(only) - {one.name for one in known}:
        parser.error(f"unknown: {unknown}; known are {[one.name for one in known]}")
    if not HIPSTER.exists():
        raise SystemExit("no ../shared/data/cohort/hipster.vcf.bgz: real genotypes are needed")
    folder = given.folder / "hipster"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = given.folder / "hipster-log.txt"
    print(contenders.machine())
    prepare(folder, log)
    data = np.load(folder / "data.npz")
    print("| " + " | ".join(HEADER) + " |\n|" + " ---: |" * len(HEADER), flush=True)
    rows = []
    for one in (one for one in known if one.name in only):
        row = run(one, min(one.seeds, given.seeds), folder, log, data)
        if isinstance(row, str):
            print(f"{one.title} left out: {row}", flush=True)
        else:
            show(row)
            rows.append(row)
    (given.folder / "hipster.json").write_text(json.dumps(rows, indent=1) + "\n")
    shutil.rmtree(folder)
    print()
    for line in ratios(rows):
        print(line)


def prepare(folder: Path, log: Path) -> None:
    """Tables and files that everybody is given; for peers the VCF of the training samples."""
    script = [sys.executable, str(HERE / "run_hipster.py"), "prepare", str(folder)]
    used = measure.run([*script, str(HIPSTER), str(LABELS)], log)
    if used.returncode:
        raise SystemExit(f"preparing failed: see {log}")
    print(f"ingested by the jobs, start included: {used.cpu:.1f} CPU s, {used.wall:.1f} wall s\n")
    if shutil.which("bcftools"):
        wanted = ["-m2", "-M2", "-S", str(folder / "training.txt")]  # two alleles, as ours take
        command = ["bcftools", "view", *wanted, "-o", str(folder / VCF), str(HIPSTER)]
        subprocess.run(command, check=True)


def run(one: Contender, seeds: int, folder: Path, log: Path, data: Any) -> dict[str, Any] | str:
    """One contender's row, or why it has none."""
    script, python = HERE / "run_hipster.py", Path(sys.executable)
    if one.python is not None:
        script, python = HERE / "run_hipster_peers.py", one.python
        if not python.exists():
            return "it is not installed: run `make bench-hipster`"
        if not (folder / VCF).exists():
            return "no bcftools on the path, which makes the VCF of the training samples"
    result = folder / f"{one.name}.jsonl"
    words = [one.who, str(folder), str(one.trees), str(result)]
    used = measure.run([str(python), str(script), *words, *map(str, range(1, seeds + 1))], log)
    if used.returncode:
        return f"it failed: see {log}"
    told = [json.loads(line) for line in result.read_text().splitlines()]
    places = [ranks(made["importance"], data) for made in told]
    fits = [made["fit"] for made in told]
    return {
        "name": one.name,
        "title": one.title,
        "trees": one.trees,
        "variants": told[0].get("variants", len(data["names"])),
        "seeds": len(told),
        "fits": fits,
        **{kind: statistics.median(fit[kind] for fit in fits) for kind in ("cpu", "wall")},
        "besides": used.cpu - sum(fit["cpu"] for fit in fits),
        "usage": used.summary(),
        "ranks": places,
        "first": sum(set(found) == {1, 2, 3, 4} for found in places),
        **skill(told[0], data),
    }


def ranks(importance: dict[str, float], data: Any) -> list[int | None]:
    """The locus that each planted variant is in, 1 the first; None where it is in none.

    Loci are made of everybody's importances in the same way: `models.loci`.
    """
    number = {name: i for i, name in enumerate(data["names"].tolist())}
    own = [name for name in number if name.endswith(">")]
    # VariantSpark leaves symbolic alleles, <CN0> say, out of its names.
    number |= {name[: name.rindex("_") + 1]: number[name] for name in own}
    if unknown := importance.keys() - number.keys():
        raise SystemExit(f"{len(unknown)} unknown variants: {sorted(unknown)[:3]}")
    known = np.zeros(len(data["names"]))
    for name, value in importance.items():
        known[number[name]] = value
    keys = pa.table({name: data[name].tolist() for name in ("contigName", "start")})
    some = loci.strongest(known)
    found = loci.clump(keys, known, some, data["planes"][some], data["train"])
    names = data["names"].tolist()
    return [rank(found, number[name]) for at in PLANTED for name in names if name.startswith(at)]


def rank(found: Sequence[Locus], variant: int) -> int | None:
    """The place of the locus that a variant is in."""
    return next((i for i, locus in enumerate(found, 1) if variant in locus.members), None)


def skill(told: dict[str, Any], data: Any) -> dict[str, Any]:
    """Out-of-bag accuracy of the training samples and AUC of the test samples, where there are."""
    if "scores" not in told:
        return {"accuracy": told.get("oob_accuracy"), "auc": None}
    scores = np.array(told["scores"])
    train, test = (
        metrics.classification(data["truth"][own], scores[own])
        for own in (data["train"], data["test"])
    )
    return {"accuracy": train.accuracy.value, "auc": test.roc_auc}


def show(row: dict[str, Any]) -> None:
    """Print a line of the table."""
    auc = "" if row["auc"] is None else "{:.3f} ({:.3f} to {:.3f})".format(*row["auc"])
    cells = [
        row["title"], str(row["trees"] or ""), f"{row['variants']:,}", str(row["seeds"]),
        *(f"{row[name]:.1f}" for name in ("cpu", "wall", "besides")),
        ", ".join("none" if place is None else f"{place:,}" for place in row["ranks"][0]),
        f"{row['first']} of {row['seeds']}",
        "" if row["accuracy"] is None else f"{row['accuracy']:.3f}", auc,
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a forest of as many trees costs others, by what it costs us."""
    return [
        f"- {peer['title']} / {ours['title']}, {ours['trees']} trees: "
        f"CPU {peer['cpu'] / ours['cpu']:.1f}, wall {peer['wall'] / ours['wall']:.1f}"
        for peer in rows
        for ours in rows
        if ours["name"].startswith(("local", "spark")) and ours["trees"] == peer["trees"]
        if not peer["name"].startswith(("local", "spark"))
    ]


if __name__ == "__main__":
    main()
