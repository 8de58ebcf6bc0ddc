"""Dead letters: a copy of a job that failed for good, as a job of another queue."""

from collections.abc import Sequence
from datetime import UTC, datetime

import apsw
import msgspec

from toril._model.dead_letter import LETTER_NAME, DeadLetter, Original, may_go
from toril._model.decide import Decision
from toril._model.options import JobOptions, Keep
from toril._model.record import NewJob
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json

from . import add, remove

# What stands beside a letter's data in the row that holds it, in bytes.
ROOM = 4_096


def withdraw(unit: Unit, letters: Sequence[int], now: Millis) -> None:
    """Take letters back whose jobs completed after all, or failed again; not one that is read."""
    if not letters:
        return
    found = unit.rows("finish.letters", (to_json(letters),))
    for key, name, id, state in found:
        remove.delete(unit, unit.queue(name), state, [key])
        unit.queue(name).emit(now, {"kind": "removed", "job_id": id, "prev": state})


def dead_letter(
    unit: Unit, queue: QueueRow, failed: tuple[Decision, int | None], now: Millis
) -> None:
    """Add the letter to the queue's dead-letter queue, within the step that failed the job.

    One that SQLite could not hold is not written: the job must fail all the same.
    """
    decision, key = failed
    target = queue.dead_letter
    name, data, opts = unit.value("read.original", (queue.key, decision.id))
    if target is None or not may_go(target, queue=queue.name, name=name, data=data):
        return
    when = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")
    letter = DeadLetter(
        original_job=Original(
            id=decision.id,
            name=name,
            queue=queue.name,
            data=msgspec.Raw(data.encode()),
            opts=msgspec.Raw(opts.encode()),
        ),
        error={"message": decision.reason or "failed", "stack": decision.stack},
        failed_at=when.replace("+00:00", "Z"),
    )
    text = to_json(letter)
    if len(to_json([text])) + ROOM > unit.db.limit(apsw.SQLITE_LIMIT_LENGTH):
        return  # the job itself is kept, and says why it failed
    # Letters stay until somebody deals with them.
    options = JobOptions(keep_completed=Keep(), keep_failed=Keep())
    job = NewJob(queue=target, name=LETTER_NAME, data=text, options=options)
    add.put(unit, job, now)
    unit.run("finish.link_letter", (key, unit.db.last_insert_rowid()))
