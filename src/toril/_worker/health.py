"""Whether a worker does what it is there for, in plain values.

Never here: finding that out.
"""

from dataclasses import dataclass

# So long may a store say nothing until a worker counts as cut off.
SILENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What can be said of a worker.

    Shape    live: it is not stuck, and starting it again would not help. ready: it claims jobs, or
             would if there were any. reason: what is wrong, where something is. running: how many
             jobs it has in hand.
    """

    live: bool = True
    ready: bool = True
    reason: str | None = None
    running: int = 0


def cut_off(silent_s: float, fault: str | None) -> str | None:
    """Return what is wrong when a store has not answered for this long."""
    if silent_s <= SILENCE_S:
        return None
    why = f": {fault}" if fault else ""
    return f"the store has not answered for {silent_s:.0f} s{why}"
