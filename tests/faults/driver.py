"""A driver to be killed: JOB and its settings. It says ``begin`` when Spark is up and the job
begins, and ``end`` when it is done.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from geneai_spark import config, job, session


def main(name: str, words: Sequence[str]) -> None:
    """Run the job as ``geneai`` does, in a session that is up already."""
    module = importlib.import_module(f"geneai_spark.jobs.{name}")
    settings = config.load(module.Config, None, list(words))
    session.get_session(name, settings.spark, storage=settings.storage)
    print("begin", flush=True)
    job.call(module.run, settings)
    print("end", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
