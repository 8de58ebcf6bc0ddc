"""The verb configure: what holds for a whole queue. Never here: reading it (`read.settings`)."""

from typing import Any

from toril._model.options import Keep
from toril._model.report import QueueSettings, SettingsPatch, Unset
from toril._model.stored import flag
from toril._model.times import Millis
from toril._store.redis.core import registry
from toril._store.redis.core.server import PATIENCE_S, Server

from .consume import keep_text
from .read import settings_of

_LEAVE, _CLEAR = "", "-"


async def configure(
    server: Server, queue: str, patch: SettingsPatch, now: Millis | None
) -> QueueSettings:
    """Carry out the verb configure; a long list of BullMQ 5 is merged in bounded steps."""
    letters = patch.dead_letter
    queues = [queue, letters] if isinstance(letters, str) else [queue]
    await registry.register(server.link, server.prefix, queues, PATIENCE_S)
    server.registered.update(queues)
    holds, left = await server.run("configure", [queue], now=now, **_arguments(patch))
    rest = _arguments(SettingsPatch(paused=False))
    while left:
        holds, left = await server.run("configure", [queue], now=now, **rest)
    return settings_of(queue, holds)


def _arguments(patch: SettingsPatch) -> dict[str, Any]:
    rate, note = patch.rate, patch.pause
    most, window = (rate, rate) if isinstance(rate, Unset) else rate or (None, None)
    return {
        "paused": _text(patch.paused),
        "concurrency": _text(patch.concurrency),
        "max": _text(most),
        "duration": _text(window),
        "limit": _text(patch.limit_for_ms),
        "completed": _text(patch.keep_completed),
        "failed": _text(patch.keep_failed),
        "letters": _text(patch.dead_letter),
        "events": _text(patch.events_limit),
        "most": _text(patch.max_waiting),
        "declared": "1" if patch.declared else _LEAVE,
        "note": "" if note is None else note.text,
        "since": "" if note is None or note.since_ms is None else note.since_ms,
        "ends": "" if note is None or note.until_ms is None else note.until_ms,
    }


def _text(value: bool | int | str | Keep | Unset | None) -> str:
    """Write a field of a patch as the script reads it."""
    match value:
        case Unset():
            return _LEAVE
        case None:
            return _CLEAR
        case Keep():
            return keep_text(value)
        case bool():
            return str(flag(value))
        case _:
            return str(value)
