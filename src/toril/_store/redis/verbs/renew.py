"""What a renewer calls: the script that extends locks, and the commands that announce a worker.

Never here: calling (renewer).
"""

from collections.abc import Sequence
from functools import partial

from toril._model.record import Ref
from toril._model.report import WorkerInfo
from toril._model.times import Millis
from toril._store.redis.core import keys, presence, scripts
from toril._store.redis.core.server import places
from toril._store.redis.net.renewer import Command, Held, Renewing
from toril._store.redis.net.resp import Reply, Word

# The jobs of a queue that run, and that somebody wants to end: id and why.
WISHES = "toril:cancels"


def renewing(prefix: str) -> Renewing:
    """Return how locks under this prefix are renewed."""
    return Renewing(
        script=scripts.load("renew"),
        pack=partial(_pack, prefix),
        unpack=_unpack,
        base=partial(keys.base, prefix),
        wishes=lambda queue: f"{keys.base(prefix, queue)}{WISHES}",
        announce=partial(_announce, prefix),
        forget=partial(_forget, prefix),
    )


def _pack(
    prefix: str, held: Sequence[Held], lock_ms: Millis
) -> tuple[Sequence[str], Sequence[Word]]:
    numbers = places([ref.queue for ref, _ in held])
    rows = [(numbers[ref.queue], ref.id, token) for ref, token in held]
    bases = [keys.base(prefix, queue) for queue in numbers]
    return bases, scripts.load("renew").pack({"held": rows}, lock=lock_ms)


def _unpack(reply: Reply, held: Sequence[Held]) -> Sequence[Ref]:
    return [ref for (ref, _), kept in zip(held, reply, strict=True) if not kept]


def _announce(prefix: str, worker: WorkerInfo) -> Sequence[Command]:
    note = presence.note_key(prefix, worker.id)
    index = presence.index_key(prefix)
    gone = worker.seen_ms - presence.KEEP_MS
    return (
        ("SET", note, presence.encode(worker), "PX", presence.KEEP_MS),
        ("ZADD", index, worker.seen_ms, worker.id),
        ("ZREMRANGEBYSCORE", index, "-inf", gone),
        # The one connection that lives exactly as long as the worker: BullMQ lists it by its name.
        ("CLIENT", "SETNAME", presence.connection_name(prefix, worker.queues[0], worker.id)),
    )


def _forget(prefix: str, worker: str) -> Sequence[Command]:
    return (
        ("DEL", presence.note_key(prefix, worker)),
        ("ZREM", presence.index_key(prefix), worker),
    )
