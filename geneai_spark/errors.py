"""Every error a user can meet, as one tree.

::

    GeneaiError
    ├── ConfigError            a setting is unknown, missing or of the wrong type
    ├── SetupError            Java, a jar, a package or a tool is missing or unfit
    ├── StorageError           a URI cannot be listed, read or written
    │   └── UnsettledError     a commit met an error, and whether it is stored cannot be seen
    ├── TableError             a table lacks a column, or a column has another type
    │   └── ConflictError      another run has changed the table at the same time
    │       └── OvertakenError    and what it stored is what was to be stored
    ├── ModelError             a stored model is incomplete, changed, or not of a form we read
    ├── TrackingError          MLflow does not take what it is told
    └── InputError             an input file cannot be taken in as asked
        ├── FormatError        a file breaks its format: file, line, field, expected, found
        │   └── BgzfError      damaged compression: truncated, corrupt, no EOF block
        ├── SchemaConflictError   files that are merged declare one field differently
        ├── SampleMismatchError   files of one cohort have different samples
        └── ReconciliationError   records in are not stored + rejected

Messages never carry a sample id, a genotype or a phenotype: genomes are health data, and
messages end up in logs.
"""

from __future__ import annotations

import re


class GeneaiError(Exception):
    """The root: catching it catches every error this project raises on purpose."""


class ConfigError(GeneaiError):
    """A setting is unknown, missing or of the wrong type; raised before Spark starts."""


class SetupError(GeneaiError):
    """Something the machine should have (Java, a jar, an extra) is missing or unfit."""


class StorageError(GeneaiError):
    """A URI cannot be listed, read or written."""


class UnsettledError(StorageError):
    """A commit met an error, and storage does not answer whether it is stored all the same."""


class TableError(GeneaiError):
    """A DataFrame or stored table differs from its declaration; lists every difference."""


class ConflictError(TableError):
    """Another run has changed the table at the same time; nothing was stored, a later try may."""


class OvertakenError(ConflictError):
    """Another run has stored, at the same time, what was to be stored; no other try is made."""


class ModelError(GeneaiError):
    """A stored model is incomplete, damaged, changed, or holds what a model may not."""


class TrackingError(GeneaiError):
    """MLflow does not take what it is told; the model itself is stored."""


class InputError(GeneaiError):
    """An input file cannot be taken in as asked."""


class FormatError(InputError):
    """A file breaks the rules of its format.

    Args:
        file: URI of the file.
        expected: what the format asks for.
        found: what stands there instead, shortened; never a sample id or a genotype.
        field: the column or header field at fault.
        line: 1-based line number in the (decompressed) file.
        offset: byte offset in the file, where no line number is known.
    """

    def __init__(
        self,
        file: str,
        expected: str,
        found: str,
        *,
        field: str | None = None,
        line: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.file, self.expected, self.found = file, expected, found
        self.field, self.line, self.offset = field, line, offset
        where = file
        if line is not None:
            where += f", line {line}"
        elif offset is not None:
            where += f", byte {offset}"
        if field is not None:
            where += f", {field}"
        super().__init__(f"{where}: expected {expected}, found {found}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders by pickle; keyword arguments need help.
        return _format_error, (
            type(self),
            self.file,
            self.expected,
            self.found,
            self.field,
            self.line,
            self.offset,
        )


def _format_error(
    cls: type[FormatError],
    file: str,
    expected: str,
    found: str,
    field: str | None,
    line: int | None,
    offset: int | None,
) -> FormatError:
    return cls(file, expected, found, field=field, line=line, offset=offset)


class BgzfError(FormatError):
    """Damaged compression: truncated, corrupt, wrong checksum, or no end-of-file block."""


class SchemaConflictError(InputError):
    """Files that are merged declare one INFO or FORMAT field with different types."""


class SampleMismatchError(InputError):
    """Files of one cohort have different samples; differences are told by column number."""


class ReconciliationError(InputError):
    """Records read are not records stored plus records rejected."""


def explain(error: BaseException) -> GeneaiError | None:
    """The error of ours behind ``error``; None where there is none.

    An error that is raised in a Python worker reaches the driver as text inside Spark's own
    exception; it is made again from its name and message.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, GeneaiError):
            return seen
        seen = seen.__cause__
    if lacking := re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", str(error)):
        return SetupError(_lacks(lacking[1].partition(".")[0]))
    found = re.findall(r"geneai_spark\.errors\.(\w+): ([^\n]+)", str(error))
    if not found:
        return None
    name, message = found[-1]
    cls = globals().get(name)
    if not (isinstance(cls, type) and issubclass(cls, GeneaiError)):
        return None
    made = cls.__new__(cls)
    made.args = (message,)
    return made


def _lacks(module: str) -> str:
    """What to do about a module that a task could not import."""
    if module == __name__.partition(".")[0]:
        what = "give spark-submit --py-files dist/geneai_spark.zip (make wheel)"
    else:
        what = "install requirements/core.txt there, or name a Python that has it (PYSPARK_PYTHON)"
    return f"the executors' Python has no module {module!r}: {what}"
