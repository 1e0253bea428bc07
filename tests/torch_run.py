"""A network trained in several ways by one application; what each came to, as JSON.

Run by Python or spark-submit: HOME (a folder for tables), OUT (a local file), and the ways:
``plain``; ``killed``, in which a rank is killed once its second epoch is done; ``dead``, in which
the whole training fails by that, and another job goes on; ``gpu``, with as many ranks as there are
GPUs.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geneai_spark import session
from geneai_spark.errors import ModelError
from geneai_spark.features import doses as packing
from geneai_spark.models import prediction
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study, Trained
from tests import structured

N, M, RANKS = 400, 200, 2
SPLIT = Split(np.arange(0, 260), np.arange(260, 330), np.arange(330, 400))
OPTIONS = prediction.PredictionOptions(
    predictor="torch", hidden=(16, 8), batch=16, epochs=20, patience=0, max_inputs=150,
    learning_rate=5e-4,
)  # fmt: skip


def study(spark: Any, hold: Any, home: str) -> Study:
    """Four hundred samples whose trait is the sum of twenty variants, and noise."""
    rng = np.random.default_rng(8)
    made = rng.binomial(2, 0.3, (M, N)).astype(float)
    values = made[:20].sum(axis=0) + rng.normal(0, 2, N)
    packed = hold(packing.pack(structured.variants(spark, made), N, np.arange(N)))
    ids = [f"s{i}" for i in range(N)]
    return Study("default", "y", ids, values, False, SPLIT, packed, hold, 3, home, "net")


def ranks() -> list[int]:
    """Processes of ranks: those that torchrun started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        is_script = any(word.endswith(b"train.py") for word in command[-2:])
        if is_script and b"-m" not in command and b"RANK=1" in variables:
            found.append(int(folder.name))
    return found


def kill_one(home: str, done: list[int]) -> None:
    """Kill rank 1 after its second epoch."""
    history = Path(home) / "_checkpoints" / "default-net" / "history.json"
    while not done:
        try:
            if len(json.loads(history.read_text())) >= 2 and (found := ranks()):
                os.kill(found[-1], signal.SIGKILL)
                done.append(found[-1])
        except (OSError, ValueError):
            pass
        time.sleep(0.02)


def failure(given: Study, options: prediction.PredictionOptions) -> str:
    """What a training says that fails."""
    try:
        prediction.train_alone(given, options)
    except ModelError as error:
        return f"{error}\n"
    return "it did not fail"


def outcome(trained: Trained) -> dict[str, Any]:
    """Losses of each epoch, scores of the test samples, and on what it was trained."""
    scores = trained.scores[SPLIT.test].tolist()
    device = trained.config["network"]["device"]
    return {"history": trained.config["history"], "scores": scores, "device": device}


def main(home: str, out: str, *ways: str) -> None:
    """Train in each way."""
    spark = session.get_session("torch")
    on_cluster = "spark://" in spark.sparkContext.master
    told: dict[str, Any] = {}
    with packing.holding() as hold:
        given = study(spark, hold, home)
        for way in ways:
            killed: list[int] = []
            many = on_cluster or way == "dead"
            wanted = 0 if way == "gpu" else RANKS if many else 1
            own = replace(OPTIONS, ranks=wanted, retries=0 if way == "dead" else 2)
            if way in ("killed", "dead"):
                killer = threading.Thread(target=kill_one, args=(home, killed), daemon=True)
                killer.start()
            said = io.StringIO()
            with redirect_stderr(said):
                if way == "dead":
                    said.write(failure(given, own))
                trained = prediction.train_alone(given, own)
            told[way] = {**outcome(trained), "killed": len(killed), "said": said.getvalue()}
    Path(out).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
