"""What a worker says of itself with each heartbeat: what runs where, and what its process uses.

Never here: telling it (heartbeat).
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from toril._isolation.memory import resident
from toril._model.record import Claim
from toril._model.report import Slot, WorkerInfo

# A note of a worker stays small, however many jobs it runs.
MOST_SLOTS = 64


class Occupant(Protocol):
    """A job in hand."""

    claim: Claim

    @property
    def busy_slot(self) -> int | None:
        """The slot in which its code runs; None: it does not."""
        ...


class Vitals:
    """The use of CPU since the last heartbeat, and of memory now, of this process."""

    def __init__(self) -> None:
        self._seen = time.monotonic()
        self._used = time.process_time()

    def told(self, info: WorkerInfo, held: Sequence[Occupant]) -> WorkerInfo:
        """Return what a worker says, with what runs in its slots and what its process uses."""
        seen, used = time.monotonic(), time.process_time()
        passed = seen - self._seen
        cpu = round((used - self._used) / passed, 3) if passed > 0 else None
        self._seen, self._used = seen, used
        slots = tuple(_slots(held))
        return replace(info, slots=slots, rss=resident(os.getpid()), cpu=cpu)


def _slots(held: Sequence[Occupant]) -> list[Slot]:
    found = [
        Slot(
            number=number,
            queue=each.claim.record.queue,
            id=each.claim.record.id,
            name=each.claim.record.name,
            started_ms=each.claim.record.started_ms or 0,
        )
        for each in held
        if (number := each.busy_slot) is not None
    ]
    return sorted(found, key=lambda slot: slot.number)[:MOST_SLOTS]
