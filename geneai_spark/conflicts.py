"""Two runs that write one table at once, and storage that fails: Delta's errors as ours, and
another try where that helps.

Delta lets the first of two contradicting commits through and refuses the second, which then has
changed nothing: looking again at what is there now, and committing once more, is all it takes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from geneai_spark.errors import ConflictError, OvertakenError, StorageError

T = TypeVar("T")
P = ParamSpec("P")

TRIES = 20
STEADY = 6  # times that a look at a table is taken while storage fails in passing
#: What Java throws where an answer is cut short while it is parsed, or the connection is lost.
_UNCHECKED = "java.io.UncheckedIOException"
_CUT = frozenset([_UNCHECKED, "java.net.SocketException", "java.net.SocketTimeoutException"])
_CALM = 0.05, 2.0  # seconds between tries: at first, doubled each time, at most


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Delta's and Java's errors inside the block as ours, with ``what`` was written.

    Raises:
        ConflictError: another run has changed the table meanwhile.
        OvertakenError: another run has stored the same meanwhile.
        StorageError: the storage did not take it: full, not to be reached, forbidden.
    """
    try:
        yield
    except Exception as error:
        if (ours := _ours(what, error)) is None:
            raise
        raise ours from error


def _ours(what: str, error: Exception) -> Exception | None:
    kind = type(error).__name__  # Delta's are not imported: `store` alone knows Delta
    if kind == "ConcurrentTransactionException":
        return overtaken(what)
    if kind.startswith("Concurrent") or kind.endswith("ChangedException"):
        return ConflictError(
            f"{what}: another run changed the table at the same time ({kind}); nothing of this "
            "one was stored: run it again"
        )
    reason = _storage_reason(error)
    return None if reason is None else StorageError(f"{what}: {reason}")


def overtaken(what: str) -> OvertakenError:
    """The error of a run whose rows another one has stored."""
    return OvertakenError(
        f"{what}: another run changed the table at the same time and stored the same; nothing of "
        "this one was stored: run it again"
    )


def _causes(error: BaseException | None) -> Iterator[Any]:
    """The Java exceptions behind an error, the outermost first."""
    cause: Any = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    while cause is not None:
        yield cause
        cause = cause.getCause()


def _storage_reason(error: Exception) -> str | None:
    """The message of the java.io exception behind an error, if there is one."""
    reason = None
    for cause in _causes(error):
        if str(cause.getClass().getName()).startswith("java.io."):
            reason = (str(cause.getMessage() or "").splitlines() or [""])[0]
            reason = reason or str(cause.getClass().getSimpleName())
    return reason


def steady(look: Callable[P, T]) -> Callable[P, T]:
    """Have a look at a table taken again where an answer of S3 was cut short: a listing, which is
    parsed as it arrives, and of which neither Amazon's library nor Hadoop makes a second try.
    """

    @wraps(look)
    def patient(*given: P.args, **named: P.kwargs) -> T:
        for number in range(STEADY - 1):
            try:
                return look(*given, **named)
            except Exception as error:
                if not is_cut(error):
                    raise
            time.sleep(_pause(number))
        return look(*given, **named)

    return patient


def surely(store: Callable[[], None], is_stored: Callable[[], bool]) -> None:
    """Store something once, and again where a listing of S3 was cut short before it was stored. A
    commit is Hadoop's to send again.

    Args:
        is_stored: whether it was, where that was not heard.
    """
    for number in range(STEADY):
        try:
            return store()
        except Exception as error:
            if not is_listing_cut(error):
                raise
            if is_stored():
                return None
            if number == STEADY - 1:
                raise
        time.sleep(_pause(number))


def is_listing_cut(error: Exception) -> bool:
    """Whether it was a listing that was cut short, which nobody translates: Hadoop tells of other
    requests in words of its own, and Spark of a worker that died.
    """
    kinds = _kinds(error)
    return _UNCHECKED in kinds or (bool(kinds) and kinds[0] in _CUT)


def is_cut(error: Exception) -> bool:
    """Whether an answer of S3 was cut short, or the way to it broke."""
    return not _CUT.isdisjoint(_kinds(error))


def _kinds(error: Exception) -> list[str]:
    """Names of the Java exceptions behind an error, the outermost first."""
    first = error.__cause__ if isinstance(error, StorageError) else error
    return [str(cause.getClass().getName()) for cause in _causes(first)]


def _pause(number: int) -> float:
    return float(random.uniform(0.5, 1) * min(_CALM[0] * 2**number, _CALM[1]))


def retried(action: Callable[[], T], tries: int = TRIES) -> T:
    """Do it, and again while another run is in the way; with pauses of chance length, so that two
    that met once do not meet for ever.

    Raises:
        ConflictError: the last try met one, too. OvertakenError at once: what was to be stored is
            there, by another run.
    """
    for number in range(tries - 1):
        try:
            return action()
        except OvertakenError:
            raise
        except ConflictError:
            time.sleep(_pause(number))
    return action()
