"""The verb remove with its four modes. Never here: retention (the scripts of finish and trim)."""

import asyncio
from functools import partial

from toril._model.bounds import JOBS_A_CALL
from toril._model.report import Selected, Selection
from toril._model.states import State
from toril._model.stored import flag
from toril._model.times import Millis
from toril._store.redis.core import keys
from toril._store.redis.core.selection import ROLES, Choice, RefusedJobs, act
from toril._store.redis.core.server import Server
from toril._store.refusals import jobs_active, locked, missing, owned, pause_first

from . import transfer

_PAST_THIS_MS_S = 0.002
_DRAINED = (State.WAITING, State.PRIORITIZED, State.DELAYED)


async def remove(server: Server, selection: Selection, now: Millis | None) -> Selected:
    """Carry out the verb remove."""
    match selection.mode:
        case "obliterate":
            return await _obliterate(server, selection, now)
        case "drain":
            states = [state for state in selection.states if state in _DRAINED]
            return await _sweep(server, selection, states, now)
        case "clean":
            states = [state for state in selection.states if state in ROLES]
            return await _sweep(server, selection, states, now)
        case "move":
            return await transfer.let_move(server, selection, now)
        case _:
            return await _remove(server, selection, now)


async def _remove(server: Server, selection: Selection, now: Millis | None) -> Selected:
    states = [state for state in selection.states if state in ROLES]
    refusal = partial(_refusal, server.prefix, selection.queue)
    choice = Choice("remove", {"children": flag(selection.children)}, refusal)
    return await act(server, selection, states, choice, now)


def _refusal(prefix: str, queue: str, refused: RefusedJobs) -> Exception:
    who = keys.split_job(prefix, refused.base + refused.who)
    match refused.word:
        case "locked":
            return locked(queue, refused.id, who.queue, who.id)
        case "owned":
            return owned(who.queue, who.id)
        case _:
            return missing(queue, refused.id)


async def _sweep(
    server: Server, selection: Selection, states: list[State], now: Millis | None
) -> Selected:
    """Drain or clean: silent but for one `cleaned` a call, and parents that lose children go on."""
    refusal = partial(_refusal, server.prefix, selection.queue)
    choice = Choice("sweep", {"tell": flag(selection.mode == "clean")}, refusal)
    return await act(server, selection, states, choice, now)


async def _obliterate(server: Server, selection: Selection, now: Millis | None) -> Selected:
    queue = selection.queue
    limit = min(selection.limit, JOBS_A_CALL)
    word, *more = await server.run(
        "obliterate", [queue], now=now, limit=limit, force=flag(selection.force)
    )
    if word == "running":
        raise pause_first(queue)
    if word == "active":
        raise jobs_active(queue, more[0])
    if word == "gone":
        server.registered.discard(queue)
        await server.link.read("SREM", keys.own(server.prefix, keys.REGISTRY), queue)
        # A stream that begins anew in the same ms would number its events from the start.
        await asyncio.sleep(_PAST_THIS_MS_S)
    return Selected(more=word == "more")
