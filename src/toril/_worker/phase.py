"""Where a claimed job is in its worker: the phases, and the only steps between them.

```
              ┌──────────────── it waits for children, and none is pending ─────────────┐
              ▼                                                                         │
 claim ──▶ CLAIMED ──▶ RUNNING ──────────────────────────▶ DECIDED ──▶ SENT ──▶ GONE    │
              │           ▲  └──▶ STOPPING ──────────────▶    ▲          │ └────────────┘
              └▶ WAITING ─┘       (timeout, cancelled,        └──────────┘
                 (runs alone)      lock lost, shutdown)   not stored: again
```

A job also goes to GONE when its lock is lost, since another worker may have it then. Only RUNNING
and STOPPING have a task; only DECIDED and SENT have a decision.
"""

from enum import Enum


class Phase(Enum):
    """Where a job is between its claim and the store's answer to its end."""

    # The phases that may follow: a tuple, for looking a phase up in a dict costs more.
    after: tuple["Phase", ...]

    CLAIMED = "in hand: its handler is looked up, or its last crash is"
    WAITING = "it runs alone, and waits until the others have ended"
    RUNNING = "its code runs"
    STOPPING = "its code was told to stop, and has not ended yet"
    DECIDED = "its decision waits to be sent to the store"
    SENT = "its decision is sent; the answer is not here yet"
    GONE = "this worker has nothing to do with it any more"

    @property
    def runs(self) -> bool:
        """Return whether the job's code has begun and has not ended."""
        return self is Phase.RUNNING or self is Phase.STOPPING


# From a phase, the phases that may follow, and when.
STEPS: dict[Phase, dict[Phase, str]] = {
    Phase.CLAIMED: {
        Phase.RUNNING: "its handler begins",
        Phase.WAITING: "it was in hand in crashes before: it must run alone",
        Phase.DECIDED: "it is not run: no handler, expired, cancelled, or the worker stops",
    },
    Phase.WAITING: {
        Phase.RUNNING: "no other job runs",
        Phase.DECIDED: "it was cancelled, or the worker stops",
        Phase.GONE: "its lock is lost",
    },
    Phase.RUNNING: {
        Phase.STOPPING: "its time is over, it was cancelled, its lock is lost, or the worker stops",
        Phase.DECIDED: "its code ended",
        Phase.GONE: "its lock is lost, or the worker stops and its code does not",
    },
    Phase.STOPPING: {
        Phase.DECIDED: "its code ended, or is left to itself",
        Phase.GONE: "its lock is lost, or the worker stops and its code does not",
    },
    Phase.DECIDED: {
        Phase.SENT: "a call to the store carries the decision",
        Phase.GONE: "its lock is lost, or the worker stops and the store refuses",
    },
    Phase.SENT: {
        Phase.GONE: "the store has settled it, or its lock was lost",
        Phase.DECIDED: "the call failed, or the store refused the decision",
        Phase.CLAIMED: "it waits for children, and none is pending: it runs again",
    },
    Phase.GONE: {},
}
for _phase, _steps in STEPS.items():
    _phase.after = tuple(_steps)


def check_step(old: Phase, new: Phase) -> None:
    """Raise RuntimeError when no step leads from one phase to the other."""
    if new not in old.after:
        raise RuntimeError(f"a job cannot go from {old.name} to {new.name}; this is a bug in toril")
