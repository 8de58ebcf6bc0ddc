"""Who makes a change, and the how many-th of theirs it is: so that a change is made once.

A script that changes something is given a caller and a number, and keeps its answer under them:
the same call sent again gets the same answer. Never here: sending.
"""

import secrets


class Caller:
    """Makes one change at a time; each has a higher number than the one before."""

    __slots__ = ("id", "number")

    def __init__(self, id: str) -> None:
        self.id = id
        self.number = 0


class Callers:
    """Lends callers out, and takes back those whose last call is surely over."""

    __slots__ = ("_count", "_free", "_process")

    def __init__(self) -> None:
        self._process = secrets.token_hex(8)
        self._count = 0
        self._free: list[Caller] = []

    def lend(self) -> Caller:
        """Return a caller that has no call under way, with the number of its next one."""
        if self._free:
            caller = self._free.pop()
        else:
            self._count += 1
            caller = Caller(f"{self._process}:{self._count}")
        caller.number += 1
        return caller

    def take_back(self, caller: Caller) -> None:
        """Lend this one again. One whose call may still arrive somewhere is not given back."""
        self._free.append(caller)
