"""Who is to blame when the process that runs a job dies. Pure. Never here: taking a job back."""

STALLED_REASON = "job stalled more than allowable limit"
_ALONE_FROM = 2


def alone_from(limit: int) -> int:
    """Give the number of crashes from which on a job runs by itself in its worker.

    It does so that what crashes is found out, and no bystander is charged; sooner when fewer
    crashes are allowed at all.
    """
    return min(_ALONE_FROM, max(limit, 1))


def charge(stalls: int, *, alone: bool, limit: int, once: bool = False) -> tuple[int, bool]:
    """Count a crash, and say whether the job is to fail for it.

    A bystander is not to blame, only a job that ran by itself is. One that was held to be run by
    itself, and had not begun, did not crash anything. A job that must run at most `once` fails
    whoever is to blame: nobody knows how far it came.
    """
    stalls += int(alone or stalls < alone_from(limit))
    return stalls, once or (stalls > limit and (alone or limit == 0))


def stalled_reason(how: str | None) -> str:
    """Say why a job fails that crashed too often; `how` its last worker died, where known."""
    return STALLED_REASON if how is None else f"{STALLED_REASON}: {how}"
