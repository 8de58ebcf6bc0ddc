"""Ending jobs whose time is over where no worker does it: whoever waits for one sees to it.

Never here: whether a job is over; the store decides that, by its own clock.
"""

import asyncio
from contextlib import suppress

from toril._model.decide import next_limit
from toril._model.record import Record, Ref
from toril._model.report import JobPatch
from toril._model.states import FINISHED, State
from toril._model.times import Millis
from toril._store.protocol import Store
from toril.errors import ConfigError, TorilError

# How soon to look again at a job that goes on although its time is over.
AGAIN_S = 1.0
_MARGIN_S = 0.01


def limit_of(record: Record) -> Millis | None:
    """Return when a job is over although nobody claims it; None: never, or it has ended."""
    if record.state in FINISHED:
        return None
    # Stored options that nobody can read are the worker's to report.
    with suppress(ConfigError):
        limit = next_limit(record)
        return None if limit is None else limit[0]
    return None


async def end_if_overdue(store: Store, record: Record) -> bool:
    """Let a job fail whose time is over, unless it runs; return whether there was a need to."""
    limit = limit_of(record)
    if limit is None or record.state is State.ACTIVE or limit > store.clock.now_ms():
        return False
    await store.update([JobPatch(queue=record.queue, id=record.id, overdue=True)])
    return True


async def end_in_time(store: Store, record: Record) -> None:
    """Let a job fail when its time is over, as long as somebody waits for it."""
    found: Record | None = record
    pause = 0.0
    while found is not None and (limit := limit_of(found)) is not None:
        await asyncio.sleep(max(limit / 1000 - store.clock.now_ms() / 1000 + _MARGIN_S, pause))
        pause = AGAIN_S
        # Whoever waits for the job hears from the store what is wrong.
        with suppress(TorilError):
            await end_if_overdue(store, found)
            (found,) = await store.get([Ref(record.queue, record.id)])
