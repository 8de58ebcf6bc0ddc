"""The verbs events and last_event: a queue's stream, as values.

A read that blocks has a connection of its own. One that is given up in the middle takes its
connection with it. Never here: writing events.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from toril._model.stored import or_else, reader, whole
from toril._model.times import Millis
from toril._store.redis.core.server import Server
from toril._store.redis.net.client import RedisClient
from toril._store.redis.net.connection import pause
from toril._store.redis.net.faults import Kind, as_error, judge
from toril._store.redis.net.resp import Connection, ConnectionLost, ErrorReply, Reply, Word
from toril.errors import ConfigError
from toril.events import KINDS, Custom, Event, JobEvent, make

# A server that is asked to wait longer may be gone without anybody noticing.
_BLOCK_MS = 5_000
_DEADLINE_S = _BLOCK_MS / 1000 + 1
_SPARE = 2
_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_START = "0-0"
_json = reader()


class StreamPosition(Protocol):
    """What reading events needs of a site."""

    @property
    def server(self) -> Server:
        """The server."""
        ...

    @property
    def readers(self) -> "Readers":
        """The connections for reads that block."""
        ...


async def events(
    site: StreamPosition, queue: str, after: str | None, limit: int, timeout_ms: Millis
) -> list[Event]:
    """Carry out the verb events."""
    key = f"{site.server.base(queue)}events"
    start = _START if after is None else _checked(after)
    reply = await site.server.link.read(*_xread(key, start, limit))
    if not reply and timeout_ms > 0:
        reply = await site.readers.read(key, start, limit, timeout_ms)
    return [_event(queue, id, flat) for _, entries in reply or () for id, flat in entries]


async def last_event(server: Server, queue: str) -> str:
    """Carry out the verb last_event."""
    return str(await server.run("last_event", [queue]))


def _xread(key: str, after: str, limit: int, *block: Word) -> tuple[Word, ...]:
    return ("XREAD", "COUNT", limit, *block, "STREAMS", key, after)


def _checked(after: str) -> str:
    if not _ID.fullmatch(after):
        raise ConfigError(
            f"after={after!r} is not the id of an event of this store",
            field="after",
            value=after,
            hint="give the id of an event that you received, or None",
        )
    return after


class Readers:
    """Connections for reads that block, one for each that is under way; a few are kept for later."""

    def __init__(self, link: RedisClient) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._free: defaultdict[str, list[Connection]] = defaultdict(list)
        self._lent: set[Connection] = set()
        self._closed = False

    async def read(self, key: str, after: str, limit: int, timeout_ms: Millis) -> Reply:
        """Read what comes after an id, waiting this long for the first of it; None: nothing came.

        Raises   StoreUnavailable · ConfigError · StoreCorrupt · StoreError.
        """
        until = self._loop.time() + timeout_ms / 1000
        failures = 0
        while (left := until - self._loop.time()) > 0:
            block = min(max(round(left * 1000), 1), _BLOCK_MS)
            try:
                reply = await self._call(key, _xread(key, after, limit, "BLOCK", block))
            except (ConnectionLost, ErrorReply) as error:
                self._pass_over(error, key)
                await asyncio.sleep(min(pause(failures), left))
                failures += 1
                reply = None if self._closed else await self._link.read(*_xread(key, after, limit))
            if reply or self._closed:
                return reply
        return None

    def close(self) -> None:
        """Disconnect; reads that are under way end with nothing."""
        self._closed = True
        for connection in [*self._lent, *(each for some in self._free.values() for each in some)]:
            connection.abort("it was closed")
        self._free.clear()

    def _pass_over(self, error: Exception, key: str) -> None:
        """Note a fault that passes.

        Raises   what one means that does not.
        """
        fault = judge(error)
        if not fault.passes and fault.kind not in (Kind.MOVED, Kind.ASK):
            raise as_error(fault, self._link.address, "reading events", key) from error
        self._link.lost_sight(fault)

    async def _call(self, key: str, words: Sequence[Word]) -> Reply:
        group = self._link.group(key)
        connection = self._spare(group) or await self._link.dial(key, deadline=_DEADLINE_S)
        self._lent.add(connection)
        answered = False
        try:
            reply = await connection.call(*words)
            answered = True
        finally:
            self._lent.discard(connection)
            if answered and len(self._free[group]) < _SPARE and not self._closed:
                self._free[group].append(connection)
            else:
                # What it still waits for would be an answer to somebody else.
                connection.abort("nobody reads it any more")
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _spare(self, group: str) -> Connection | None:
        free = self._free[group]
        while free:
            connection = free.pop()
            if connection.lost is None:
                return connection
        return None


# From an entry of a stream to an event.


def _json_or_text(text: str) -> Any:
    """Read a JSON value; what another program wrote badly is given as it stands."""
    return or_else(_json, text, text)


def _state(text: str) -> str:
    return "waiting" if text in ("wait", "paused") else text


# How a field of an entry is called in an event, and how it is read.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "jobId": ("job_id", str),
    "name": ("name", str),
    "prev": ("prev", _state),
    "delay": ("due_ms", whole),
    "data": ("data", _json_or_text),
    "returnvalue": ("result", _json_or_text),
    "failedReason": ("reason", str),
    "attemptsMade": ("attempts_made", whole),
    "deduplicationId": ("dedup_key", str),
    "deduplicatedJobId": ("dropped_id", str),
    "count": ("count", whole),
}
# What each kind of event can hold; anything else that an entry says of itself is passed over.
_HELD = {kind: frozenset(cls.__dataclass_fields__) for kind, cls in KINDS.items()}


def _event(queue: str, id: str, flat: Sequence[str]) -> Event:
    said = dict(zip(flat[::2], flat[1::2], strict=True))
    kind = said.pop("event", "")
    at_ms = whole(id.partition("-")[0])
    cls = KINDS.get(kind)
    if cls is None or (issubclass(cls, JobEvent) and "jobId" not in said):
        # Anybody may publish to the stream, also under a name that means something else to us.
        return Custom(id=id, queue=queue, at_ms=at_ms, name=kind, fields=said)
    fields: dict[str, Any] = {}
    for word, text in said.items():
        name, read = _FIELDS.get(word, ("", str))
        if name in _HELD[kind]:
            fields[name] = read(text)
    return make(kind, id=id, queue=queue, at_ms=at_ms, fields=fields)
