"""Make rows readable that another program wrote badly, so that one of them fails no batch.

The tables are STRICT, so what can be wrong is text that is not UTF-8, JSON of another shape, and
numbers that cannot be counted on. Never here: looking for such rows without need, since it reads
the whole file.
"""

import time
from collections.abc import Callable
from typing import Any

import apsw

from toril._model.checks import MAX_WHOLE
from toril._model.stored import flag, reader
from toril.errors import TorilError

from .sql import SQLiteConnection
from .statements import statements
from .transaction import Unit, to_json

# After a look that found nothing, how long until the next one.
REST_S = 10.0
# What a row that cannot be read, or be counted on with, makes a call fail with.
_SIGNS = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
_SQL_SIGNS = (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError)

_texts = reader(list[str])
_retention = reader(tuple[int | None, int | None])
_events = reader(list[dict[str, Any]])


class Mender:
    """Mends the rows of one store when a call failed that they may have failed.

    Shape    tell: called with what was mended, from the thread that mends.
    """

    def __init__(self) -> None:
        self._rest_until = 0.0
        self.tell: Callable[[str], None] | None = None

    def may_help(self, error: BaseException) -> bool:
        """Return whether a call may have failed because of what is stored."""
        if isinstance(error, TorilError | UnicodeEncodeError):
            return False
        return isinstance(error, _SIGNS + _SQL_SIGNS) and time.monotonic() >= self._rest_until

    def mend(self, unit: Unit, _: object = None) -> bool:
        """Mend every row that needs it, in the transaction of `unit`; return whether one did."""
        unit.forget_all()
        _register(unit.db)
        counts: dict[str, int] = {}
        queues: set[int] = set()
        for name in statements():
            if name.startswith("mend."):
                before = unit.db.total_changes()
                queues.update(key for (key,) in unit.run(name))
                counts[name.removeprefix("mend.")] = unit.db.total_changes() - before
        if not any(counts.values()):
            self._rest_until = time.monotonic() + REST_S
            return False
        if self.tell is not None:
            what = ", ".join(f"{count} of {table}" for table, count in counts.items() if count)
            names = ", ".join(map(repr, unit.rows("queue.names_of", (to_json(sorted(queues)),))))
            self.tell(what + (f" (queues {names})" if names else ""))
        return True


def _register(db: SQLiteConnection) -> None:
    functions: dict[str, Callable[..., Any]] = {
        "sound": _sound,
        "mended": _mended,
        "texts": _reads(_texts),
        "retention": _reads(_retention),
        "happenings": _reads(_events),
        "whole": _is_whole,
        "bounded": _bounded,
    }
    for name, function in functions.items():
        db.create_scalar_function(name, function, -1, deterministic=True)


def _sound(*texts: bytes | None) -> int:
    try:
        for text in texts:
            if text is not None:
                text.decode()
    except UnicodeDecodeError:
        return 0
    return 1


def _mended(text: bytes | None) -> str | None:
    return None if text is None else text.decode(errors="backslashreplace")


def _reads(read: Callable[[bytes], object]) -> Callable[[bytes | None], int]:
    def reads(text: bytes | None) -> int:
        try:
            return flag(text is None or read(text) is not None)
        except ValueError:
            return 0

    return reads


def _is_whole(*numbers: int | None) -> int:
    return flag(all(n is None or -MAX_WHOLE <= n <= MAX_WHOLE for n in numbers))


def _bounded(number: int | None) -> int | None:
    return None if number is None else max(-MAX_WHOLE, min(number, MAX_WHOLE))
