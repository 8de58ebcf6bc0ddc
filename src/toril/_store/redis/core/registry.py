"""Which queues there are: those that are registered, and those that only BullMQ knows.

BullMQ keeps no list of its queues. What is stored is looked through in bounded steps, and what was
found is remembered for a while. Never here: what holds for a queue.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from toril._model.record import check_queue_name
from toril._store.redis.net.client import RedisClient
from toril.errors import ConfigError

from . import keys, scripts

# A look at all keys begins anew after so long; one call takes it so many steps further.
_AGAIN_S = 10.0
_STEPS, _KEYS_A_STEP = 100, 1_000
_END = "0"


@dataclass(slots=True)
class Sighting:
    """What the last look at all keys has found, and where the one under way has come to."""

    known: frozenset[str] = frozenset()
    found: set[str] = field(default_factory=set[str])
    cursor: str = _END
    due: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def register(link: RedisClient, prefix: str, queues: Sequence[str], patience: float) -> None:
    """Note that queues exist.

    Raises   ConfigError: a name cannot be a queue's, or leads or follows another one's; the
             others are noted.
    """
    script = scripts.load("register")
    rows = [(check_queue_name(name),) for name in queues]
    base = keys.base(prefix, "")
    others = await link.run(script, [base], script.pack({"queue_name": rows}), patience=patience)
    for name, other in zip(queues, others, strict=True):
        if other:
            raise ConfigError(
                f"queue {name!r} and queue {other!r} cannot live in one store: one name is "
                "the beginning of the other",
                field="queue",
                value=name,
                hint="rename one of them",
            )


async def names(link: RedisClient, prefix: str, sighting: Sighting, patience: float) -> set[str]:
    """Return the names of the queues that are registered, and those that BullMQ was seen to have."""
    script = scripts.load("queues")
    base = keys.base(prefix, "")

    async def look(cursor: str) -> tuple[list[str], str, list[str]]:
        packed = script.pack({}, cursor=cursor, pattern=f"{prefix}:*:meta", step=_KEYS_A_STEP)
        registered, after, seen = await link.run(script, [base], packed, patience=patience)
        return registered, after, seen

    async with sighting.lock:
        going_on = sighting.cursor != _END
        if not going_on and time.monotonic() < sighting.due:
            noted, _, _ = await look("")
            return {*noted, *sighting.known}
        registered: list[str] = []
        for _ in range(_STEPS):
            registered, sighting.cursor, seen = await look(sighting.cursor)
            sighting.found.update(_queues(prefix, seen))
            if sighting.cursor == _END:
                sighting.known, sighting.found = frozenset(sighting.found), set()
                sighting.due = time.monotonic() + _AGAIN_S
                break
        return {*registered, *sighting.known, *sighting.found}


def _queues(prefix: str, metas: list[str]) -> set[str]:
    """Read the names of queues from the keys of their settings; pass over what is none."""
    found: set[str] = set()
    for key in metas:
        name = key.removeprefix(f"{prefix}:").removesuffix(":meta")
        try:
            found.add(check_queue_name(name))
        except ConfigError:
            continue
    return found
