"""A job's children, as their parent's keys tell of them. Never here: settling them.

A parent has a set of the children that are pending, and a place for each way to end. Read pending
first, the others afterwards: who ends meanwhile is seen at the end, and nobody is missed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from toril._model.record import Ref
from toril._model.report import Child, Children
from toril._model.stored import whole
from toril._store.redis.core import keys
from toril._store.redis.core.server import Server

_A_CALL = 500
# What a parent remembers of a child that is not kept: "nth timestamp name".
GONE = "toril:child:"
# Stands for the rest of a flow that comes in several calls, and is no child.
REST = ":toril:rest"

_FIELDS = ("name", "toril:nth", "timestamp", "failedReason", "finishedOn")


class _Known(NamedTuple):
    """What is known of a child's hash; `order` is its place among its siblings.

    Shape    reason: why it failed for good; one that is pending all the same blocks its parent.
    """

    order: tuple[int, int, int, str]
    name: str
    reason: str | None


async def children(
    server: Server, parent: Ref, outcome: str | None, page: tuple[int, int]
) -> Children:
    """Carry out the verb children."""
    offset, limit = page
    key = keys.job_key(server.prefix, parent)
    ends = await _ends(server, key)
    wanted = [child for child, (how, _) in ends.items() if outcome in (None, how)]
    known = await _known(server, key, wanted) if limit > 0 else {}
    wanted.sort(key=lambda child: known[child].order if child in known else (0, 0, 0, ""))
    totals = [how for how, _ in ends.values()]
    return Children(
        items=tuple(
            _child(server.prefix, child, known[child], *ends[child])
            for child in wanted[offset : offset + limit]
        ),
        pending=totals.count("pending"),
        completed=totals.count("completed"),
        failed=totals.count("failed"),
        ignored=totals.count("ignored"),
    )


def _child(prefix: str, key: str, known: _Known, outcome: str, value: str | None) -> Child:
    ref = keys.split_job(prefix, key)
    return Child(
        queue=ref.queue,
        id=ref.id,
        name=known.name,
        outcome=outcome,
        # One that is pending and has failed for good holds its parent back: it says why.
        value=known.reason if outcome in ("failed", "pending") else value,
    )


async def _ends(server: Server, parent: str) -> dict[str, tuple[str, str | None]]:
    """Say of each child how it ended, and with what."""
    [pending] = await _scanned(server, [("SSCAN", f"{parent}:dependencies")])
    completed, ignored, failed = await _scanned(
        server,
        [
            ("HSCAN", f"{parent}:processed"),
            ("HSCAN", f"{parent}:failed"),
            ("ZSCAN", f"{parent}:unsuccessful"),
        ],
    )
    waiting = [child for child in pending if not child.endswith(REST)]
    ends: dict[str, tuple[str, str | None]] = dict.fromkeys(waiting, ("pending", None))
    for word, flat in (("completed", completed), ("ignored", ignored), ("failed", failed)):
        ends |= {child: (word, value) for child, value in _pairs(flat)}
    return ends


def _pairs(flat: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)


async def _scanned(server: Server, reads: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Read whole keys in bounded steps, several at once."""
    found: list[list[str]] = [[] for _ in reads]
    cursors = dict.fromkeys(range(len(reads)), "0")
    while cursors:
        calls = [(*reads[at], cursor, "COUNT", _A_CALL) for at, cursor in cursors.items()]
        replies = await server.link.many(calls, damaged=("0", []))
        for at, (cursor, items) in zip(list(cursors), replies, strict=True):
            found[at] += items
            cursors[at] = cursor
            if cursor == "0":
                del cursors[at]
    return found


async def _known(server: Server, parent: str, wanted: Sequence[str]) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for start in range(0, len(wanted), _A_CALL):
        some = wanted[start : start + _A_CALL]
        gone = ("HMGET", parent, *[f"{GONE}{child}" for child in some])
        notes, *rows = await server.link.many(
            [gone, *[("HMGET", child, *_FIELDS) for child in some]], damaged=(None,) * len(_FIELDS)
        )
        for child, note, row in zip(some, notes, rows, strict=True):
            known[child] = _read(server.prefix, child, note, row)
    return known


def _read(prefix: str, child: str, note: str | None, row: Sequence[str | None]) -> _Known:
    name, nth, created, reason, finished = row
    if note is not None:
        # A job of the same id that came later is not this child.
        nth, _, rest = note.partition(" ")
        created, _, name = rest.partition(" ")
    id = keys.split_job(prefix, child).id
    # Ids that are numbers stand in their order, others after them.
    number = whole(id) if id.isascii() and id.isdecimal() else 1 << 62
    ended = reason if finished else None
    return _Known((whole(nth), whole(created), number, id), name or "", ended)
