"""Jobs that wait although their time is over: their deadline has passed, or their time to start.

A set tells of them, which may be behind: the script looks at each job. Never here: jobs that are
claimed; their worker ends them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from toril._model.decide import next_limit
from toril._model.record import Record
from toril._model.states import State
from toril._model.times import Millis
from toril._store.redis.core.scripts import row_of
from toril._store.redis.core.selection import calls
from toril._store.redis.core.server import Server
from toril._store.redis.core.wire import FIELDS, read_record
from toril.errors import ConfigError

# What one look lists, and how many looks one call of the verb takes.
A_LOOK = 250
MOST_LOOKS = 40
_GIVEN = ("opts", "timestamp", "ats", "toril:unknown", "rjk")
_json = msgspec.json.encode


def candidate(prefix: str, queue: str, id: str, given: Sequence[Any]) -> Record:
    """Make a record of what the script tells of a job whose time may be over."""
    told: dict[str, Any] = dict(zip(_GIVEN, given, strict=True))
    fields = [told.get(name) for name in FIELDS]
    return read_record(prefix, queue, id, State.WAITING, fields)


async def end_overdue(server: Server, records: Sequence[Record], now: Millis | None) -> None:
    """Fail those of these jobs that wait and whose time is over."""
    for call in calls(server, [record.queue for record in records]):
        left = [_row(call.places[records[n].queue], records[n]) for n in call.numbers]
        while left:
            looked: int = await server.run("expire", list(call.places), {"over": left}, now=now)
            left = left[looked:]


def _row(place: int, record: Record) -> tuple[Any, ...]:
    over = row_of("expire", "over")
    try:
        limit = next_limit(record)
    except ConfigError:
        limit = None
    if limit is None:
        return over(queue=place, id=record.id, run=record.runs, at=None, reason=None, tried=None)
    at, outcome = limit
    text = _json((None, None, outcome.end.word, outcome.reason)).decode()
    return over(
        queue=place, id=record.id, run=record.runs, at=at, reason=outcome.reason, tried=text
    )
