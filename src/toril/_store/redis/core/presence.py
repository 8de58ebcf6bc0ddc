"""Workers as they announce themselves, toril's and BullMQ's. Never here: announcing (renewer).

A worker of toril writes a note that ends on its own, and is in an index by the time it was
seen. A worker of BullMQ is known by the name of its connection.
"""

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import replace

import msgspec

from toril._model.record import check_queue_name
from toril._model.report import WorkerInfo
from toril._model.stored import or_else, reader, whole
from toril._model.times import Millis
from toril.errors import ConfigError

from . import keys
from .server import Server

INDEX = "toril:workers"
# How long a worker that is not heard of any more is still listed, as one that is not alive.
KEEP_MS = 300_000
_ALIVE_MS = 60_000
_LISTED = 1_000
_note = reader(WorkerInfo)


def note_key(prefix: str, worker: str) -> str:
    """Return the key of a worker's note."""
    return keys.own(prefix, f"toril:worker:{worker}")


def index_key(prefix: str) -> str:
    """Return the key of the index of workers: their ids by the time they were seen, in ms."""
    return keys.own(prefix, INDEX)


def encode(worker: WorkerInfo) -> str:
    """Write a worker's note."""
    return msgspec.json.encode(worker).decode()


def decode(text: str) -> WorkerInfo | None:
    """Read a worker's note; None when it is none."""
    return or_else(_note, text, None)


def connection_name(prefix: str, queue: str, worker: str) -> str:
    """Return the names of the connection of a worker, so that BullMQ lists it among the queue's workers."""
    return f"{keys.client_name(prefix, queue)}:w:{worker}"


async def workers(server: Server, queue: str | None) -> list[WorkerInfo]:
    """Carry out the verb workers."""
    own = await _announced(server)
    found = own + await _connected(server, own)
    return [worker for worker in found if queue is None or queue in worker.queues]


async def _announced(server: Server) -> list[WorkerInfo]:
    index = index_key(server.prefix)
    ranked, time = await server.link.many(
        [("ZREVRANGE", index, 0, _LISTED - 1, "WITHSCORES"), ("TIME",)]
    )
    if not ranked:
        return []
    now = whole(time[0]) * 1000
    seen = {id: whole(at) for id, at in zip(ranked[::2], ranked[1::2], strict=True)}
    notes = await server.link.read("MGET", *[note_key(server.prefix, id) for id in seen])
    workers = [decode(note) for note in notes if note]
    return [_as_seen(worker, seen, now) for worker in workers if worker is not None]


def _as_seen(worker: WorkerInfo, seen: dict[str, Millis], now: Millis) -> WorkerInfo:
    at = seen.get(worker.id, worker.seen_ms)
    return replace(worker, seen_ms=at, alive=now - at < _ALIVE_MS)


async def _connected(server: Server, own: list[WorkerInfo]) -> list[WorkerInfo]:
    """List BullMQ's workers; none where the user may not see who is connected."""
    try:
        listed, time = await server.link.many([("CLIENT", "LIST", "TYPE", "normal"), ("TIME",)])
    except ConfigError:
        return []
    now = whole(time[0]) * 1000
    # Servers before 7.2 do not tell whose library a connection is of. The connection that bears a
    # name of ours is the heartbeat's, which redis-py makes.
    ours = {(queue, who) for each in own for queue in each.queues for who in (each.id, each.name)}
    found: list[WorkerInfo] = []
    for line in listed.splitlines():
        facts = dict(word.partition("=")[::2] for word in line.split(" "))
        who = read_name(server.prefix, facts.get("name", ""))
        library = facts.get("lib-name", "").partition("(")[0]
        if who is None or library == "toril" or (library in ("", "redis-py") and who in ours):
            continue
        found.append(_node_worker(*who, facts, now))
    return found


async def forget(server: Server, workers: Iterable[str]) -> None:
    """Take workers off the list that are known to be dead."""
    gone = tuple(workers)
    notes = ("DEL", *[note_key(server.prefix, worker) for worker in gone])
    await server.link.many([notes, ("ZREM", index_key(server.prefix), *gone)])


def read_name(prefix: str, name: str) -> tuple[str, str] | None:
    """Read the name of a worker's connection: its queue, and its own name if it has one."""
    place, mark, own = name.partition(":w:")
    above, _, last = place.rpartition(":")
    if f"{above}:".startswith(f"{prefix}:"):
        try:
            segment = b64decode(last, validate=True).decode()
            queue = f"{above}:{segment}".removeprefix(f"{prefix}:")
            return check_queue_name(queue), own if mark else ""
        except ValueError:
            return None
    return None


def _node_worker(queue: str, name: str, facts: dict[str, str], now: Millis) -> WorkerInfo:
    """Make of a connection what it tells of a worker: neither its process nor what it does."""
    return WorkerInfo(
        id=f"connection-{facts.get('id', '')}",
        name=name,
        host=facts.get("addr", "").rpartition(":")[0],
        pid=0,
        queues=(queue,),
        concurrency=0,
        started_ms=now - whole(facts.get("age")) * 1000,
        seen_ms=now,
    )
