"""The verb finish: carry out decisions on claimed jobs.

First every decision is checked, then all are carried out together: results in one statement,
then those that need care one by one. Never here: which decision is taken (`_model.decide`).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from toril._model.decide import Action, Decision, End, Outcome, cancelled, kept_stacks
from toril._model.options import JobOptions
from toril._model.record import cancel_reason
from toril._model.series import count_job, waited
from toril._model.states import State
from toril._model.stored import flag, or_else, reader
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.refusals import decision_refused
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json
from toril.errors import (
    ConfigError,
    TorilError,
)

from . import add, family, retention
from .dead_letter import dead_letter, withdraw
from .positions import delay_job, make_ready

Answer = str | TorilError
KEEP_TRIES = 100

# The answer to a decision that this token carried out before: where the job went then.
_DONE = {
    State.COMPLETED: {Action.COMPLETE},
    State.FAILED: {Action.FAIL},
    State.DELAYED: {Action.RETRY, Action.SNOOZE},
    State.WAITING: {Action.RETRY, Action.RELEASE},
    State.PRIORITIZED: {Action.RETRY, Action.RELEASE},
    State.WAITING_CHILDREN: {Action.AWAIT},
}


class Standing(msgspec.Struct, array_like=True):
    """A job as a decision finds it."""

    number: int
    key: int | None
    state: State | None = None
    token: str | None = None
    settled_by: str | None = None
    priority: int | None = None
    opts: str | None = None
    parent: int | None = None
    policy: str | None = None
    family: int | None = None
    dedup: str | None = None
    stack: str | None = None
    run: int | None = None
    worker: str | None = None
    started: Millis | None = None
    name: str | None = None
    attempts_made: int | None = None
    letter: int | None = None
    cancelled: str | None = None
    created: Millis | None = None


_standings = reader(list[Standing])
_list = reader(list[str])
Pair = tuple[Decision, Standing]


def finish(unit: Unit, decisions: Sequence[Decision], now: Millis) -> list[Answer]:
    """Carry out the decisions; one answer each."""
    asked = to_json([(d.handle, d.queue, d.id) for d in decisions])
    found = _standings(unit.value("finish.look_up", (asked,)))
    answers: list[Answer] = []
    completed: list[Pair] = []
    done: dict[tuple[int | None, str, Action], Answer] = {}
    settled: set[int | None] = set()
    for standing in found:
        decision = decisions[standing.number]
        mark = (standing.key, decision.token, decision.action)
        if mark in done:  # the same decision twice in one call
            answers.append(done[mark])
            continue
        if standing.key in settled:
            answers.append(decision_refused(decision, "lost", "it was settled by this very call"))
            continue
        answer = _refuse(unit, decision, standing)
        if answer is None and decision.action is Action.COMPLETE:
            answer = done[mark] = "completed"
            settled.add(standing.key)
            completed.append((decision, standing))
        elif answer is None:
            answer = done[mark] = _other(unit, (decision, standing), now)
            settled.add(standing.key)
        answers.append(answer)
    if completed:
        _complete(unit, completed, now)
    # A place below the queue's concurrency, or a limit, may matter to others who wait.
    unit.look.update({decision.queue for decision in decisions})
    return answers


def _refuse(unit: Unit, decision: Decision, job: Standing) -> Answer | None:
    if job.key is None:
        return decision_refused(decision, "gone")
    if job.state is not State.ACTIVE or job.token != decision.token:
        if job.settled_by == decision.token and _did(decision, job):
            return str(job.state)
        if job.token:
            return decision_refused(decision, "held")
        return decision_refused(decision, "lost", f"it is {job.state}")
    if decision.action in (Action.COMPLETE, Action.AWAIT) and job.family:
        pending, failed = unit.value("finish.open_children", (job.key,))
        # A parent that continues after a failure need not wait for the others.
        complete = decision.action is Action.COMPLETE
        if pending and complete and not unit.value("finish.continued", (job.key,)):
            return decision_refused(decision, "pending")
        if failed:
            return decision_refused(decision, "failed-children")
    return None


def _did(decision: Decision, job: Standing) -> bool:
    """Return whether the job is where this decision put it."""
    if job.state is State.FAILED and job.cancelled is not None:
        return decision.action is not Action.COMPLETE
    return decision.action in _DONE.get(job.state, ())  # type: ignore[arg-type]


def _complete(unit: Unit, pairs: Sequence[Pair], now: Millis) -> None:
    rows: list[list[Any]] = []
    children: list[list[Any]] = []
    for decision, job in pairs:
        queue = unit.queue(decision.queue)
        expires = retention.expiry(_options(job), State.COMPLETED, now)
        position = queue.take_positions(1)
        queue.count(State.ACTIVE, State.COMPLETED)
        rows.append(
            [job.key, position, decision.result or "null", expires, decision.token, decision.slot]
        )
        if job.dedup is not None:
            free_dedup(unit, queue, job.dedup, decision.id, now)
        if job.parent is not None:
            children.append([job.parent, queue.name, decision.id, decision.result or "null"])
        _count(queue, job, "c", now)
    unit.run_by_size("finish.complete", rows, 2, now)
    unit.settled.update({decision.queue for decision, _ in pairs})
    if children:
        family.complete_children(unit, children, now)
    for decision, _ in pairs:
        unit.queue(decision.queue).emit(
            now,
            {
                "kind": "completed",
                "job_id": decision.id,
                "result": msgspec.Raw(decision.result.encode()) if decision.result else None,
                "prev": "active",
            },
        )
    withdraw(unit, [job.letter for _, job in pairs if job.letter is not None], now)
    _after(unit, pairs, State.COMPLETED, now)


def _count(queue: QueueRow, job: Standing, what: str, now: Millis) -> None:
    """Count the end of a try, with how long it ran and its job had waited."""
    ran = wait = None
    if job.state is State.ACTIVE and job.started is not None:
        ran = now - job.started
        wait = waited(job.run, job.started, job.created or 0, _options(job))
    count_job(queue.sample(now), job.name or "", what, ran, wait)


def _blame(queue: QueueRow, pair: Pair, now: Millis) -> str | None:
    """Note why an attempt failed; return the fingerprint of that, if it did."""
    decision, job = pair
    if decision.fault is None:
        return None
    queue.blamed.append((decision.fault, decision.id, job.name or "", now))
    return decision.fault.fingerprint


def _after(unit: Unit, pairs: Sequence[Pair], state: State, now: Millis) -> None:
    """Count finished jobs and let those go that are not kept."""
    by_queue: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_queue.setdefault(pair[0].queue, []).append(pair)
    for name, mine in by_queue.items():
        queue = unit.queue(name)
        unit.run("queue.count_minute", (queue.key, state, now // 60_000, len(mine)))
        if state is State.COMPLETED:
            queue.ever_completed += len(mine)
        else:
            queue.ever_failed += len(mine)
        options = [(job.key, _options(job)) for _, job in mine]
        retention.after_finish(unit, queue, state, options, now)


def _options(job: Standing) -> JobOptions:
    try:
        return from_text(job.opts or "{}")
    except ConfigError:
        # What nobody can read holds nobody up: the worker has failed the job for it.
        return JobOptions()


def _other(unit: Unit, pair: Pair, now: Millis) -> Answer:
    decision, job = pair
    queue = unit.queue(decision.queue)
    if job.cancelled is not None:
        decision = _as_cancelled(decision, job.cancelled)
        pair = decision, job
    if decision.rate_limit_ms:
        queue.limited_until = max(queue.limited_until, now + decision.rate_limit_ms)
    if decision.action is Action.AWAIT and not unit.value("finish.open_children", (job.key,))[0]:
        return "active"
    _record_try(unit, pair, now)
    if decision.stalls is not None:
        unit.run("finish.crashed", (job.key, decision.stalls))
    match decision.action:
        case Action.FAIL:
            _fail(unit, queue, pair, now)
            unit.settled.add(decision.queue)
            return "failed"
        case Action.AWAIT:
            unit.run("finish.await", (job.key,))
            queue.count(State.ACTIVE, State.WAITING_CHILDREN)
            body = {"kind": "waiting-children", "job_id": decision.id, "prev": "active"}
            queue.emit(now, body)
            return "waiting-children"
        case _:
            return _put_back(unit, queue, pair, now)


def _as_cancelled(decision: Decision, why: str) -> Decision:
    """Let a job end that somebody wants to end: it has not completed, and is not to run again."""
    return msgspec.structs.replace(
        decision,
        action=Action.FAIL,
        end=End.CANCELLED,
        reason=cancel_reason(why),
        delay_ms=0,
        exhausted=False,
        fault=None,
    )


def end_waiting(
    unit: Unit, queue: QueueRow, job: tuple[int, str], outcome: Outcome, now: Millis
) -> None:
    """Fail a job (key, id) that waits, whatever for: it was cancelled, or its time is over."""
    key, id = job
    (standing,) = _standings(unit.value("finish.look_up", (to_json([(key, queue.name, id)]),)))
    if standing.cancelled is not None:
        outcome = cancelled(standing.cancelled)  # somebody's wish comes first
    decision = Decision(
        queue=queue.name,
        id=id,
        token="",
        action=Action.FAIL,
        end=outcome.end,
        reason=outcome.reason,
        counted=False,
    )
    if outcome.end is not End.CANCELLED:  # of that the job itself tells
        unit.run("finish.count_run", (key,))
        ended = (now, outcome.end.word, outcome.reason)
        unit.run_each("finish.tries", [[key, (standing.run or 0) + 1, None, None, *ended]])
    _fail(unit, queue, (decision, standing), now)


def _put_back(unit: Unit, queue: QueueRow, pair: Pair, now: Millis) -> Answer:
    """Let a job wait again: at its end of the queue, in front, or until a time."""
    decision, job = pair
    assert job.key is not None
    stack = _stack(decision, job)
    if decision.action is Action.RETRY or decision.stalls is not None:
        _count(queue, job, "r" if decision.stalls is None else "s", now)
    counted, unknown = flag(decision.counted), flag(decision.unknown)
    note = (decision.reason, stack, decision.slot, _blame(queue, pair, now))
    unit.run("finish.note", (job.key, counted, unknown, *note))
    if decision.delay_ms > 0:
        due = now + decision.delay_ms
        place = (job.key, decision.id, decision.delay_ms)
        delay_job(unit, queue, place, due, prev=State.ACTIVE)
        queue.emit(now, {"kind": "delayed", "job_id": decision.id, "due_ms": due})
        return "delayed"
    priority = job.priority or 0
    lifo = _options(job).lifo and not priority
    front = lifo if decision.action is Action.RETRY else True
    make_ready(unit, queue, [(job.key, decision.id, priority)], now, prev="active", front=front)
    if decision.stalls is not None:
        queue.emit(now, {"kind": "stalled", "job_id": decision.id})
    return "prioritized" if priority else "waiting"


def _texts(stack: str | None) -> list[str]:
    return or_else(_list, stack, list[str]())


def _stack(decision: Decision, job: Standing) -> str | None:
    """Return the texts of failed tries with this one, as the JSON array that is stored."""
    if decision.stack is None and not decision.counted:
        return None
    keep = _options(job).keep_stack
    return to_json(kept_stacks(_texts(job.stack), decision.stack, keep))


def _record_try(unit: Unit, pair: Pair, now: Millis) -> None:
    decision, job = pair
    if decision.action is Action.AWAIT:
        return
    found = None if decision.fault is None else decision.fault.fingerprint
    ended = (now, decision.end.word, decision.reason, decision.slot, found)
    row = [job.key, job.run, job.worker, job.started, *ended]
    unit.run_each("finish.tries", [row])
    if job.run is not None and job.run > KEEP_TRIES:
        unit.run("finish.old_tries", (job.key, job.run - KEEP_TRIES))


def _fail(unit: Unit, queue: QueueRow, pair: Pair, now: Millis) -> None:
    decision, job = pair
    reason = decision.reason or "failed"
    expires = retention.expiry(_options(job), State.FAILED, now)
    stack = _stack(decision, job)
    place = (queue.take_positions(1), reason, stack, expires, flag(decision.counted))
    unit.run("finish.fail", (job.key, now, *place, decision.slot, _blame(queue, pair, now)))
    queue.count(job.state, State.FAILED)
    _count(queue, job, "f", now)
    if job.dedup is not None:
        free_dedup(unit, queue, job.dedup, decision.id, now)
    if job.parent is not None:
        child = (job.parent, queue.name, decision.id, reason, job.policy)
        family.fail_child(unit, child, now)
    body = {"kind": "failed", "job_id": decision.id, "reason": reason, "prev": job.state}
    queue.emit(now, body)
    if decision.exhausted:
        made = (job.attempts_made or 0) + 1
        queue.emit(now, {"kind": "retries-exhausted", "job_id": decision.id, "attempts_made": made})
    if queue.dead_letter is not None:
        withdraw(unit, [] if job.letter is None else [job.letter], now)
        dead_letter(unit, queue, (decision, job.key), now)
    _after(unit, [pair], State.FAILED, now)


def free_dedup(
    unit: Unit, queue: QueueRow, word: str, id: str, now: Millis, *, early: bool = False
) -> None:
    """Release a job's dedup key, and add the duplicate that was kept for then.

    A job that has finished keeps a key that it holds for a time, unless `early` says otherwise.
    """
    row = unit.value("finish.dedup_row", (queue.key, word, id))
    if row is None:
        return
    expires, following = row
    if expires is None or expires <= now or early:
        unit.run("finish.dedup_free", (queue.key, word, id))
    if following is None:
        return
    job = add.next_job(following, queue.name)
    if job is None:
        return
    # A parent that no longer waits was told that nothing holds it back.
    if job.parent is not None and not unit.value("finish.waits", (job.parent.queue, job.parent.id)):
        job = msgspec.structs.replace(job, parent=None)
    add.put(unit, job, now)
