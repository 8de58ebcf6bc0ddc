"""Who is to blame when the process that runs a job dies. Pure. Never here: taking a job back."""

from typing import NamedTuple

STALLED_REASON = "job stalled more than allowable limit"
# How the reason of a crash begins that was a child process's, and not its worker's.
CHILD_DIED = "the process that ran it"
# What is said of a worker (%s) that let its lock lapse.
SILENT = "worker %s was not heard of: it died, or stood still"
_ALONE_FROM = 2
_NEVER = 2**31


class Blame(NamedTuple):
    """How crashes are charged: one more while there were fewer than `below`; fatal over `over`."""

    below: int
    over: int


def alone_from(limit: int) -> int:
    """Return the number of crashes from which on a job runs alone in its worker.

    It does so that what crashes is found out, and no bystander is charged; sooner when fewer
    crashes are allowed at all.
    """
    return min(_ALONE_FROM, max(limit, 1))


def blames(limit: int) -> tuple[Blame, Blame]:
    """Return how a job is charged that ran beside others, and how one that ran alone.

    A bystander is not to blame, only a job that ran alone is, unless no crash is allowed at
    all. One that was held to be run alone, and had not begun, did not crash anything.
    """
    return Blame(alone_from(limit), _NEVER if limit else 0), Blame(_NEVER, limit)


def charge(stalls: int, *, alone: bool, limit: int, once: bool = False) -> tuple[int, bool]:
    """Count a crash, and say whether the job is to fail for it.

    A job that must run at most `once` fails whoever is to blame: nobody knows how far it came.
    """
    blame = blames(limit)[alone]
    stalls += stalls < blame.below
    return stalls, once or stalls > blame.over


def stalled_reason(how: str | None) -> str:
    """Return why a job fails that crashed too often; `how` its last worker died, where known."""
    return STALLED_REASON if how is None else f"{STALLED_REASON}: {how}"
