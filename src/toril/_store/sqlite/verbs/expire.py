"""Jobs that wait although their time is over: their deadline has passed, or their time to start.

Never here: jobs that are claimed; their worker ends them.
"""

from collections.abc import Sequence

from toril._model.bounds import JOBS_A_CALL
from toril._model.decide import next_limit
from toril._model.record import Record
from toril._model.stored import reader
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import Unit, to_json
from toril.errors import ConfigError

from . import finish
from .read import Reading

MOST_ROUNDS = 40

_records = reader(list[tuple[int, Record]])


def find(db: Reading | Unit, queues: Sequence[str], now: Millis) -> list[tuple[int, Record]]:
    """List jobs of these queues, or of all, that wait although their time may be over."""
    return _records(db.value("claim.overdue", (now, to_json(list(queues)), JOBS_A_CALL)))


def end_overdue(unit: Unit, queues: Sequence[str], now: Millis) -> None:
    """Fail overdue jobs of these queues, or of all, a bounded number."""
    for key, record in find(unit, queues, now):
        _end(unit, key, record, now)


def end_one(unit: Unit, key: int, now: Millis) -> None:
    """Fail one job, if it waits and is overdue."""
    for _, record in _records(unit.value("claim.overdue_job", (now, key))):
        _end(unit, key, record, now)


def _end(unit: Unit, key: int, record: Record, now: Millis) -> None:
    try:
        limit = next_limit(record)
    except ConfigError:
        limit = None
    if limit is None or limit[0] > now:
        # It was met: the job has started. A deadline may be left.
        unit.run("claim.limit", (key, limit and limit[0]))
        return
    finish.end_waiting(unit, unit.queue(record.queue), (key, record.id), limit[1], now)
