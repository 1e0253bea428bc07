"""An application on a cluster that ingests the same files into one warehouse after another.

INPUTS and the warehouses. It says ``begin`` before each and ``end`` after it. Its tasks tell, by a
file beside the warehouse, that they have begun to parse, and wait then: time to kill one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geneai_spark import session, tasks
from geneai_spark.ingest import ingest_variants, writing

PAUSE = 2.5  # seconds


def slowly(real: Any, warehouse: str) -> Any:
    """`writing.run` with tasks that tell and wait."""

    def run(spark: Any, table: Any, folders: Any, work: Any, parse: Any) -> Any:
        def slow(one: Any) -> Iterable[Any]:
            for number, piece in enumerate(parse(one)):
                yield piece
                if not number:
                    Path(f"{warehouse}.{tasks.partition()}").touch()
                    time.sleep(PAUSE)

        return real(spark, table, folders, work, slow)

    return run


def main(inputs: str, *warehouses: str) -> None:
    """Take the files in, into each warehouse."""
    spark, real = session.get_session("faults"), writing.run
    for warehouse in warehouses:
        writing.run = slowly(real, warehouse)
        print("begin", flush=True)
        ingest_variants(spark, warehouse, inputs)
        print("end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
