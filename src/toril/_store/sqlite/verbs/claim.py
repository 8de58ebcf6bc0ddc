"""The verbs claim, renew and recover: who holds which job, and for how long.

Never here: what becomes of a job that has run (finish).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import msgspec

from toril._model.bounds import CHARACTERS_A_CALL, JOBS_A_CALL, LOOK_AHEAD
from toril._model.crashes import SILENT, charge, stalled_reason
from toril._model.decide import End, Outcome
from toril._model.record import Claim, Record, Ref
from toril._model.series import count_job
from toril._model.states import State
from toril._model.stored import reader
from toril._model.stored_options import fault_of
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import LARGE, QueueRow, Unit, to_json
from toril._store.values import Claimed, ClaimRequest, Recovered

from .configure import end_pause
from .finish import end_waiting
from .positions import make_ready

MAX_DUE = 1_000

_TOO_LARGE = Outcome(
    end=End.FAILED,
    reason="the job is larger than SQLite can read: its data, progress and errors together "
    "(store large data elsewhere, and pass a reference to it)",
)

_Row = tuple[int, int, int, Record]  # key, lane, size of the data, and the job
_records = reader(list[_Row])


def claim(unit: Unit, requests: Sequence[ClaimRequest], now: Millis) -> list[Claimed]:
    """Carry out the verb claim."""
    return [_claim_one(unit, request, now) for request in requests]


def claim_after_finish(unit: Unit, requests: Sequence[ClaimRequest], now: Millis) -> list[Claimed]:
    """Claim what a finish asks for besides, and announce the queues that ran dry."""
    answers = claim(unit, requests, now)
    goes_on = {a.queue for a in answers if a.jobs or a.blocked or a.next_ms is not None}
    for name in sorted(unit.settled - goes_on):
        queue = unit.find_queue(name)
        if queue is not None and not (queue.ready or queue.jobs[State.ACTIVE]):
            queue.emit(now, {"kind": "drained"})
    unit.settled.clear()
    return answers


def _claim_one(unit: Unit, request: ClaimRequest, now: Millis) -> Claimed:
    queue = unit.find_queue(request.queue)
    if queue is None:
        return Claimed(queue=request.queue, now_ms=now)
    promote_due(unit, queue, now)
    limit, blocked, until = _room(unit, queue, request, now)
    jobs = _take(unit, queue, request, min(limit, JOBS_A_CALL), now) if limit > 0 else ()
    next_ms = queue.next_due
    if until is not None:
        next_ms = until if next_ms is None else min(until, next_ms)
    return Claimed(queue=request.queue, jobs=jobs, next_ms=next_ms, blocked=blocked, now_ms=now)


def promote_due(unit: Unit, queue: QueueRow, now: Millis) -> None:
    """Make delayed jobs ready whose time has come, at most 1,000 a call."""
    if queue.next_due is None or queue.next_due > now:
        return
    due = unit.rows("claim.due", (queue.key, now, MAX_DUE))
    make_ready(unit, queue, [tuple(row) for row in due], now, prev="delayed")
    queue.next_due, queue.is_due_known = unit.value("claim.next_due", (queue.key,)), True


def _room(
    unit: Unit, queue: QueueRow, request: ClaimRequest, now: Millis
) -> tuple[int, str, Millis | None]:
    """Return how many jobs may start now, what holds the others back, and until when."""
    limit = request.limit
    if queue.paused and end_pause(queue, now):
        return 0, "paused", queue.pause_until
    if queue.limited_until > now:
        return 0, "rate", queue.limited_until
    if queue.concurrency is not None:
        limit = min(limit, queue.concurrency - queue.jobs[State.ACTIVE])
        if limit <= 0:
            return 0, "concurrency", None
    most, _ = _rate(queue, request)
    if most is not None:
        if queue.window_end <= now:
            queue.window_used = 0
        if queue.window_used >= most:
            return 0, "rate", queue.window_end
        limit = min(limit, most - queue.window_used)
    return limit, "", None


def _rate(queue: QueueRow, request: ClaimRequest) -> tuple[int | None, Millis]:
    if queue.rate_max is not None:
        return queue.rate_max, queue.rate_ms or 0
    if request.rate is not None:
        return request.rate.max, request.rate.window_ms
    return None, 0


def _take(
    unit: Unit, queue: QueueRow, request: ClaimRequest, limit: int, now: Millis
) -> tuple[Claim, ...]:
    found = _candidates(unit, queue, request, limit, now)
    if not found:
        return ()
    until = now + request.lock_ms
    keys = to_json([key for key, _, _ in found])
    unit.run("claim.take", (now, request.worker, request.token, until, unit.owner, keys))
    prioritized = sum([lane > 0 for _, lane, _ in found])
    queue.count(State.PRIORITIZED, State.ACTIVE, prioritized)
    queue.count(State.WAITING, State.ACTIVE, len(found) - prioritized)
    most, window = _rate(queue, request)
    started = sum([record.deferred is None for _, _, record in found])
    if most is not None and started:
        if queue.window_used == 0:
            queue.window_end = now + window
        queue.window_used += started
        queue.window_max = most
    queue.emit(
        now,
        *[{"kind": "active", "job_id": record.id, "prev": "waiting"} for _, _, record in found],
    )
    return tuple([Claim(_readable(record), request.token, until, key) for key, _, record in found])


def _readable(record: Record) -> Record:
    """Return a record that is to fail at once where nobody can read its options."""
    fault = fault_of(record.opts)
    if fault is None:
        return record
    return msgspec.structs.replace(record, opts="{}", deferred=record.deferred or fault)


def _candidates(
    unit: Unit, queue: QueueRow, request: ClaimRequest, limit: int, now: Millis
) -> list[tuple[int, int, Record]]:
    """Read the next jobs as (key, lane, record), fewer where all are more than SQLite returns."""
    skip = to_json(sorted(request.skip)) if request.skip else "[]"
    while True:
        ahead = max(limit, LOOK_AHEAD) if request.skip else limit
        asked = (queue.key, queue.name, limit, ahead, now, request.worker, skip, LARGE)
        try:
            found = _records(unit.value("claim.candidates", asked))
            return [(row[0], row[1], _complete(unit, row)) for row in _bounded(found)]
        except apsw.TooBigError:
            if limit == 1:
                key, id = unit.value("claim.first", (queue.key, ahead, skip))
                end_waiting(unit, queue, (key, id), _TOO_LARGE, now)
            limit = max(limit // 2, 1)


def _bounded(found: list[_Row]) -> list[_Row]:
    """Return the first of these jobs, so few that their data together is not too large."""
    left = CHARACTERS_A_CALL
    for count, (_, _, size, _) in enumerate(found):
        left -= size
        if left < 0 and count:
            return found[:count]
    return found


def _complete(unit: Unit, row: _Row) -> Record:
    """Return a record with its data: what is large is slow as a part of a JSON text."""
    key, _, size, record = row
    if size <= LARGE:
        return record
    return msgspec.structs.replace(record, data=unit.value("claim.data", (key,)))


def renew(unit: Unit, held: Sequence[tuple[Ref, str]], lock_ms: Millis, now: Millis) -> list[Ref]:
    """Extend locks; give the jobs whose lock is lost."""
    asked = to_json([(ref.queue, ref.id, token) for ref, token in held])
    found = dict(unit.pairs("claim.held", (asked,)))
    unit.run_each("claim.renew", list(found.values()), now + lock_ms)
    return [ref for number, (ref, _) in enumerate(held) if number not in found]


@dataclass(frozen=True, slots=True)
class Dead:
    """Who is known to be dead, and how often a job may crash.

    Shape    processes: their keys. workers: their ids, and how they died.
    """

    max_stalls: int
    processes: Sequence[int] = ()
    workers: Mapping[str, str] = field(default_factory=dict[str, str])

    def how(self, worker: str | None, host: str | None, pid: int | None) -> str:
        """Return what is known of a job's last worker, the holder of its lock."""
        told = self.workers.get(worker or "")
        if told is not None:
            return told
        if pid is not None:
            return f"worker {worker} died: its process {pid} on {host} is gone"
        return SILENT % worker


def recover(unit: Unit, queues: Sequence[str], now: Millis, dead: Dead) -> list[Recovered]:
    """Take jobs back whose lock is gone, or whose owner is one of the `dead`."""
    asked = (to_json(list(dead.processes)), to_json(list(queues)), to_json(list(dead.workers)))
    found = unit.rows("claim.stalled", (now, *asked, JOBS_A_CALL))
    recovered: list[Recovered] = []
    taken: list[list[Any]] = []
    tries: list[list[Any]] = []
    for key, name, id, task, stalls, alone, run, worker, started, once, host, pid in found:
        queue = unit.queue(name)
        how = dead.how(worker, host, pid)
        stalls, fatal = charge(stalls, alone=bool(alone), limit=dead.max_stalls, once=bool(once))
        taken.append([key, queue.front(), stalled_reason(how) if fatal else None, stalls])
        tries.append([key, run, worker, started, now, "stalled", how])
        queue.emit(
            now,
            {"kind": "waiting", "job_id": id, "prev": "active"},
            {"kind": "stalled", "job_id": id},
        )
        queue.count(State.ACTIVE, State.WAITING)
        count_job(queue.sample(now), task, "s")
        unit.ready.add(name)
        recovered.append(Recovered(queue=name, id=id, stalls=stalls, fatal=fatal))
    for worker in dead.workers:
        unit.run("presence.worker_leave", (worker,))
    for (name,) in unit.rows("queue.resumable", (now,)):
        end_pause(unit.queue(name), now)
        unit.look.add(name)
    if taken:
        unit.run_each("claim.take_back", taken)
        unit.run_each("finish.tries", tries)
    return recovered
