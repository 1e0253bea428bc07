"""The command ``geneai``: every job by name, and a few tools around them.

Nothing is imported before it is needed, so that ``geneai --help`` answers at once.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

TOOLS = {
    "demo": ("real variants from VCF to a Manhattan picture", "geneai demo"),
    "doctor": ("check Java, Spark, jars and storage; how to mend them", "geneai doctor"),
    "data": ("list public data sets, download one", "geneai data download chr22-demo --to data"),
    "models": (
        "list, show, promote, export versions of models",
        "geneai models list models=models",
    ),
    "tables": ("list, describe the tables, their history", "geneai tables describe variants"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``geneai COMMAND …``; returns the exit code (0 done, 1 failed, 2 wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(overview())
        return 0
    if command in ("-V", "--version"):
        from geneai_spark import __version__

        print(f"geneai {__version__}")
        return 0
    if command in TOOLS:
        return _tool(command)(arguments)
    known = [*job_names(), *TOOLS]
    if command not in known:
        close = difflib.get_close_matches(command.replace("-", "_"), known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        print(f"geneai: no command {command!r}; {hint} (geneai --help)", file=sys.stderr)
        return 2
    from geneai_spark import job

    module = load_job(command)
    return job.execute(module.run, module.Config, arguments)


def overview() -> str:
    """The text of ``geneai --help``: each command, what it does, an example."""
    rows = [(name, *_about(name)) for name in job_names()]
    tools = [(name, *told) for name, told in TOOLS.items()]
    width = max(len(name) for name, *_ in rows + tools)
    lines = ["usage: geneai COMMAND [--config FILE] [--profile NAME] [key=value ...]"]
    for title, part in (("jobs", rows), ("tools", tools)):
        lines += ["", f"{title}:"]
        for name, about, example in part:
            lines += [f"  {name:<{width}}  {about}", f"  {'':<{width}}    {example}"]
    lines += ["", "geneai COMMAND --help says more; geneai --version says which this is"]
    return "\n".join(lines)


def jobs_folder() -> Any:
    """The folder of jobs: ``geneai_spark.jobs`` where installed, else the checkout's ``jobs``."""
    try:
        return resources.files("geneai_spark.jobs")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parent.parent / "jobs"


def job_names() -> list[str]:
    """Names of all jobs, sorted."""
    names = (entry.name for entry in jobs_folder().iterdir())
    return sorted(n.removesuffix(".py") for n in names if n.endswith(".py") and n[0] != "_")


def load_job(name: str) -> ModuleType:
    """The module of a job: it has ``Config`` and ``run``."""
    try:
        return importlib.import_module(f"geneai_spark.jobs.{name}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("geneai_spark.jobs"):
            raise
    spec = importlib.util.spec_from_file_location(
        f"geneai_job_{name}", jobs_folder() / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _about(name: str) -> tuple[str, str]:
    """(what the job does, an example): from its docstring and its YAML's first line."""
    from geneai_spark.config import conf_folder

    source = jobs_folder().joinpath(f"{name}.py").read_text(encoding="utf-8")
    about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".")
    example = f"geneai {name} --help"
    conf = conf_folder().joinpath(f"{name}.yaml")
    if conf.is_file():
        first = conf.read_text(encoding="utf-8").partition("\n")[0]
        if first.startswith(f"# geneai {name}"):
            example = first.removeprefix("# ")
    return about.replace("``", ""), example


def _tool(name: str) -> Callable[[Sequence[str]], int]:
    if name == "tables":
        return tables_main
    places = {"demo": "demo", "doctor": "doctor", "models": "models_command", "data": "datasets"}
    module = importlib.import_module(f"geneai_spark.{places[name]}")
    run: Callable[[Sequence[str]], int] = module.main
    return run


# --- geneai tables --------------------------------------------------------------------------


def tables_main(argv: Sequence[str]) -> int:
    """Run ``geneai tables list|describe|history [TABLE …] [key=value …]``."""
    usage = (
        "usage: geneai tables list|describe|history [TABLE ...] [warehouse=URI]\n\n"
        "  list      every table: rows it is made of, version\n"
        "  describe  columns with comments, rows, files, last commits; default: every table\n"
        "  history   commits: version, time, operation, rows\n\n"
        "example:\n  geneai tables describe variants warehouse=s3a://bucket/study"
    )
    words = list(argv)
    if not words or any(word in ("-h", "--help") for word in words):
        print(usage)
        return 0 if words else 2
    action, names = words.pop(0), [w for w in words if "=" not in w and not w.startswith("--")]
    from geneai_spark.errors import GeneaiError, explain
    from geneai_spark.tables import TABLES

    shows: Mapping[str, Callable[..., list[str]]] = {
        "list": _list,
        "describe": _describe,
        "history": _history,
    }
    wrong = [f"table {n!r}" for n in names if n not in TABLES]
    if action not in shows or wrong:
        what = wrong[0] if action in shows else f"action {action!r}"
        close = difflib.get_close_matches(
            (names[0] if wrong and action in shows else action), [*TABLES, *shows], 1
        )
        hint = f"; did you mean {close[0]!r}?" if close else ""
        print(f"geneai tables: no {what}{hint}\n{usage}", file=sys.stderr)
        return 2
    try:
        spark, warehouse = _open([w for w in words if w not in names])
        for line in shows[action](spark, warehouse, names):
            print(line)
    except Exception as error:
        ours = explain(error)
        if not isinstance(ours, GeneaiError):
            raise
        print(f"geneai tables: {ours}", file=sys.stderr)
        return 1
    return 0


def _open(words: list[str]) -> tuple[Any, str]:
    from geneai_spark import session
    from geneai_spark.config import JobConfig, load

    config = load(JobConfig, None, words)
    spark = session.get_session("geneai tables", config.spark, storage=config.storage)
    return spark, config.warehouse


def _existing(spark: Any, warehouse: str, names: Sequence[str]) -> list[Any]:
    from geneai_spark import store
    from geneai_spark.tables import TABLES

    if names:
        return [TABLES[name] for name in names]
    found = [table for table in TABLES.values() if store.exists(spark, table, warehouse)]
    if not found:
        print(f"no tables in {warehouse}", file=sys.stderr)
    return found


def _list(spark: Any, warehouse: str, names: Sequence[str]) -> list[str]:
    from geneai_spark import upkeep

    lines = []
    for table in _existing(spark, warehouse, names):
        told = upkeep.describe(spark, table, warehouse)
        lines.append(f"{table.name:<16} {told['rows']:>14,} rows  version {told['version']:<5} "
                     f"{table.about}")  # fmt: skip
    return lines


def _describe(spark: Any, warehouse: str, names: Sequence[str]) -> list[str]:
    from geneai_spark import upkeep

    lines = []
    for table in _existing(spark, warehouse, names):
        told = upkeep.describe(spark, table, warehouse)
        width = max(len(name) for name, *_ in told["columns"])
        kinds = min(24, max(len(kind) for _, kind, _ in told["columns"]))
        lines += [
            f"{table.name}: a row is {told['about']}",
            f"  place     {told['location']}",
            f"  rows      {told['rows']:,} in {told['files']:,} files, {told['bytes']:,} bytes",
            f"  version   {told['version']}",
            f"  key       {', '.join(told['key'])}",
        ]
        if told["clustered_by"]:
            lines.append(f"  clustered by {', '.join(told['clustered_by'])}")
        lines.append("  columns")
        for name, kind, comment in told["columns"]:
            lines.append(f"    {name:<{width}}  {kind:<{kinds}}  {comment}")
        lines += [*_commits(upkeep.history(spark, table, warehouse, 5)), ""]
    return lines


def _history(spark: Any, warehouse: str, names: Sequence[str]) -> list[str]:
    from geneai_spark import upkeep

    lines = []
    for table in _existing(spark, warehouse, names):
        lines += [table.name, *_commits(upkeep.history(spark, table, warehouse, 50)), ""]
    return lines


def _commits(history: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["  commits, newest first"]
    for commit in history:
        metrics = commit["metrics"]
        shown = [f"{k}={metrics[k]}" for k in ("numOutputRows", "numDeletedRows") if k in metrics]
        lines.append(
            f"    {commit['version']:>5}  {commit['timestamp']:%Y-%m-%d %H:%M:%S}  "
            f"{commit['operation']:<14} {' '.join(shown)}".rstrip()
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
