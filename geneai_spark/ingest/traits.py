"""Files of traits into ``traits``, ``rejects`` and the ledger ``ingests``, as for variants:
an unchanged file changes nothing, a changed one replaces its own rows, the ledger comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import filesystems, progress, store, tables
from geneai_spark.errors import GeneaiError, InputError, ReconciliationError
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats import traits
from geneai_spark.ingest import checks, ledger
from geneai_spark.ingest.ledger import Entry
from geneai_spark.ingest.options import TraitOptions
from geneai_spark.stored import latest_or_empty
from geneai_spark.table import Where

_KIND = "traits"


def ingest_traits(
    spark: SparkSession, warehouse: str, inputs: str | Sequence[str], **options: Any
) -> dict[str, int | float | str]:
    """Take files of traits into ``traits``, ``rejects`` and ``ingests``.

    Args:
        inputs: files, folders and globs.
        options: see :class:`geneai_spark.ingest.options.TraitOptions`.

    Returns:
        files, files_unchanged, records_in (lines), records_stored (samples), records_rejected,
        values, traits.

    Raises:
        StorageError: an input matches nothing.
        InputError: files that were not stored, each with its reason; the others are stored.
    """
    chosen = TraitOptions(**options)
    known, fingerprint = ledger.load(spark, warehouse), chosen.fingerprint()
    files = filesystems.list_files(inputs)
    done: list[Entry] = []
    failed: list[Entry] = []
    names: set[str] = set()
    values = unchanged = 0
    for info in files:
        before = known.get(filesystems.source_id(info.uri))
        if not chosen.force and ledger.is_current(before, info, fingerprint):
            unchanged += 1
            continue
        try:
            with progress.stage(f"ingest {info.uri.rpartition('/')[2]}", spark) as stage:
                info = filesystems.stat(info.uri)
                found, checksum = _parse(info, chosen)
                entry = _store(spark, warehouse, info, found, checksum, chosen)
                stage.result = f"{found.samples:,} samples, {len(found.traits):,} traits"
        except GeneaiError as error:
            reason = str(error).removeprefix(f"{info.uri}: ")
            failed.append(ledger.failed_entry(info, _KIND, reason, fingerprint, before))
        else:
            done.append(entry)
            values += found.values.num_rows
            names.update(found.traits)
    if failed:
        ledger.record(spark, warehouse, failed)
        told = "; ".join(f"{entry.uri}: {entry.reason}" for entry in failed)
        raise InputError(f"{len(failed)} of {len(files)} files were not stored: {told}")
    return {
        "files": len(files),
        "files_unchanged": unchanged,
        "records_in": sum(entry.recordsIn or 0 for entry in done),
        "records_stored": sum(entry.recordsStored for entry in done),
        "records_rejected": sum(entry.recordsRejected for entry in done),
        "values": values,
        "traits": len(names),
    }


def _parse(info: FileInfo, options: TraitOptions) -> tuple[traits.Traits, str]:
    """What the file holds, with the sha256 of its bytes."""
    try:
        found = traits.read(
            info.uri,
            sample_column=options.sample_column,
            delimiter=options.delimiter,
            columns=options.columns,
            text=options.text,
            missing=options.missing,
        )
        checksum = filesystems.checksum(info.uri)
    except GeneaiError:
        checks.same_file(info)  # what was read of a file that changed may make any error
        raise
    checks.same_file(info)
    return found, checksum


def _store(
    spark: SparkSession,
    warehouse: str,
    info: FileInfo,
    found: traits.Traits,
    checksum: str,
    options: TraitOptions,
) -> Entry:
    source = filesystems.source_id(info.uri)
    _check_other_files(spark, warehouse, source, found, options)
    table = found.values.append_column("sourceId", pa.repeat(pa.scalar(source), len(found.values)))
    table = table.append_column("cohort", pa.repeat(pa.scalar(options.cohort), len(table)))
    table = table.select(tables.TRAITS.schema.names)
    where = Where.of(sourceId=source)
    if options.force and found.traits:
        where |= Where.of(cohort=options.cohort, trait=found.traits)
    commit = store.put(spark, table, tables.TRAITS, warehouse, where)
    if commit.rows is not None and commit.rows != len(table):
        raise ReconciliationError(f"{len(table)} values read, {commit.rows} stored")
    _rejects(spark, warehouse, source, found)
    entry = ledger.stored_entry(
        info,
        _KIND,
        cohort=options.cohort,
        checksum=checksum,
        recordsIn=found.samples + len(found.rejected),
        recordsStored=found.samples,
        recordsRejected=len(found.rejected),
        options=options.fingerprint(),
        genomeBuild=None,
        tableVersion=commit.version,
    )
    ledger.record(spark, warehouse, [entry])
    return entry


def _check_other_files(
    spark: SparkSession,
    warehouse: str,
    source: str,
    found: traits.Traits,
    options: TraitOptions,
) -> None:
    """A sample has one value of a trait: another file's is replaced on request only."""
    if options.force:
        return
    others = latest_or_empty(spark, tables.TRAITS, warehouse).where(
        (F.col("cohort") == options.cohort) & (F.col("sourceId") != source)
    )
    mine = spark.createDataFrame(found.values.select(["sampleId", "trait"]))
    clash = others.join(mine, ["sampleId", "trait"], "left_semi").groupBy("trait").count().collect()
    if clash:
        named = ", ".join(f"{r['trait']} ({r['count']} samples)" for r in sorted(clash)[:10])
        raise InputError(
            f"another file has given cohort {options.cohort!r} values of {named}; "
            "force=true replaces these traits"
        )


def _rejects(spark: SparkSession, warehouse: str, source: str, found: traits.Traits) -> None:
    where = Where.of(sourceId=source)
    old = latest_or_empty(spark, tables.REJECTS, warehouse).where(where.sql)
    if not found.rejected and old.isEmpty():
        return
    rows = [{"sourceId": source, **vars(one)} for one in found.rejected]
    store.put(spark, rows, tables.REJECTS, warehouse, where)
