"""Add jobs that depend on nothing that is stored: no id, parent, child, schedule or dedup key.

Nothing is looked up for them, and a call is one statement a queue. Never here: other jobs (add).
"""

from collections.abc import Sequence
from typing import Any

from toril._model.options import JobOptions, due
from toril._model.record import NewJob
from toril._model.series import count_job
from toril._model.states import State
from toril._model.stored_options import to_text
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit
from toril._store.values import AddAnswer
from toril.errors import TorilError

from .positions import ready_state
from .room import refuse_full

Answer = tuple[AddAnswer, ...] | TorilError


def is_independent(job: NewJob) -> bool:
    """Return whether a job can be added without looking at what is stored."""
    return (
        job.id is None
        and job.parent is None
        and not job.expects_children
        and job.schedule is None
        and job.options.dedup is None
    )


def _is_plain(options: JobOptions) -> bool:
    """Return whether a job waits at the end of its queue, and has no time that matters."""
    return (
        not options.delay_ms
        and options.at_ms is None
        and not options.priority
        and not options.lifo
        and options.created_ms is None
        and options.deadline_ms is None
        and options.expires_ms is None
    )


def add_independent(
    unit: Unit, groups: Sequence[Sequence[NewJob]], now: Millis, *, bounded: bool
) -> list[Answer]:
    """Add groups of such jobs; see the verb add."""
    # Most jobs of a call share their options.
    options = {id(job.options): job.options for group in groups for job in group}
    plain = all(map(_is_plain, options.values()))
    place = _plain if plain else _placed
    rows: dict[str, list[Any]] = {}
    answers: list[Answer] = []
    for group in groups:
        full = refuse_full(unit, _waiting(group, now)) if bounded else None
        answers.append(full or tuple([AddAnswer(id) for id in place(unit, group, rows, now)]))
    for name, jobs in rows.items():
        unit.run_by_size("add.plain" if plain else "add.placed", jobs, 2, unit.queue(name).key, now)
    return answers


def _waiting(group: Sequence[NewJob], now: Millis) -> dict[str, int]:
    """Count the jobs of a group by queue: those that wait to run at once."""
    found: dict[str, int] = {}
    for job in group:
        options = job.options
        created = now if options.created_ms is None else options.created_ms
        found[job.queue] = found.get(job.queue, 0) + (due(options, created, now) is None)
    return found


def _plain(
    unit: Unit, group: Sequence[NewJob], rows: dict[str, list[Any]], now: Millis
) -> list[str]:
    """Place jobs at the end of their queues, make their rows, and return their ids."""
    ids: list[str] = []
    for job in group:
        queue = unit.queue(job.queue)
        queue.ids += 1
        queue.positions += 1
        queue.jobs[State.WAITING] += 1
        id = str(queue.ids)
        if job.queue not in rows:
            rows[job.queue] = []
            unit.ready.add(job.queue)
        rows[job.queue].append((id, job.name, job.data, to_text(job.options), queue.positions))
        queue.emit(
            now,
            {"kind": "added", "job_id": id, "name": job.name},
            {"kind": "waiting", "job_id": id},
        )
        count_job(queue.sample(now), job.name, "e")
        ids.append(id)
    return ids


def _placed(
    unit: Unit, group: Sequence[NewJob], rows: dict[str, list[Any]], now: Millis
) -> list[str]:
    """Place jobs where their options say, make their rows, and return their ids."""
    ids: list[str] = []
    for job in group:
        queue, options = unit.queue(job.queue), job.options
        queue.ids += 1
        id = str(queue.ids)
        created = now if options.created_ms is None else options.created_ms
        state, due_ms = start(queue, job, created, now)
        front = options.lifo and state is State.WAITING
        position = queue.front() if front else queue.take_positions(1)
        queue.count(None, state)
        announce(unit, queue, (id, job.name, state, due_ms), now)
        row = (
            id, job.name, job.data, to_text(options), state, lane(options, state), position,
            options.priority, delay(options, created, due_ms), created, due_ms,
            limit(options, created, None),
        )  # fmt: skip
        rows.setdefault(job.queue, []).append(row)
        ids.append(id)
    return ids


# What holds for other jobs as well.


def start(
    queue: QueueRow, job: NewJob, created: Millis, now: Millis
) -> tuple[State, Millis | None]:
    """Return in which state a new job begins, and when it is due if that is later."""
    if job.expects_children:
        return State.WAITING_CHILDREN, None
    due_ms = due(job.options, created, now)
    if due_ms is None:
        return ready_state(job.options.priority), None
    queue.next_due = due_ms if queue.next_due is None else min(queue.next_due, due_ms)
    return State.DELAYED, due_ms


def lane(options: JobOptions, state: State) -> int:
    """Return the lane of a new job."""
    return options.priority if state is State.PRIORITIZED else 0


def delay(options: JobOptions, created: Millis, due_ms: Millis | None) -> Millis:
    """Return the delay of a new job, from when it was created."""
    return options.delay_ms if due_ms is None else max(due_ms - created, 0) or options.delay_ms


def limit(options: JobOptions, created: Millis, schedule: str | None) -> Millis | None:
    """Return when a job may be over although nobody claims it; the run of a schedule never is."""
    first = options.first_limit_ms
    return None if first is None or schedule is not None else created + first


def announce(
    unit: Unit, queue: QueueRow, job: tuple[str, str, State, Millis | None], now: Millis
) -> None:
    """Tell of a new job: its id, name and state, and when it is due."""
    id, name, state, due_ms = job
    told: dict[str, Any] = {"kind": "waiting", "job_id": id}
    if state is State.WAITING_CHILDREN:
        told["kind"] = "waiting-children"
    elif state is State.DELAYED:
        told = {"kind": "delayed", "job_id": id, "due_ms": due_ms}
        unit.look.add(queue.name)
    else:
        unit.ready.add(queue.name)
    queue.emit(now, {"kind": "added", "job_id": id, "name": name}, told)
    count_job(queue.sample(now), name, "e")
