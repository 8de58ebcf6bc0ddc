"""The verb add: place new jobs, answer duplicates, link parents and children.

A group is checked as a whole before anything of it is written. Never here: who may be claimed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from toril._model.options import Dedup, due
from toril._model.record import NewJob, Ref
from toril._model.states import State
from toril._model.stored import Unreadable, flag, reader
from toril._model.stored_options import from_text, to_text
from toril._model.times import Millis
from toril._store.refusals import no_child, no_parent
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json
from toril._store.values import AddAnswer
from toril.errors import ConfigError, TorilError

from . import family, remove, search
from .independent import (
    Answer,
    add_independent,
    announce,
    delay,
    is_independent,
    lane,
    limit,
    start,
)
from .positions import delay_job
from .room import refuse_full


class Known(msgspec.Struct, array_like=True):
    """A job that exists already, as an add has to know it."""

    queue: str
    id: str
    key: int
    state: State
    parent: int | None = None
    parent_lives: int = 0
    name: str = ""
    result: str | None = None
    reason: str | None = None


_known = reader(list[Known])
_kept = reader(tuple[str, str, str, str | None, str | None, tuple[str, str] | None])


def add(unit: Unit, groups: Sequence[Sequence[NewJob]], now: Millis) -> list[Answer]:
    """Carry out the verb add."""
    answers = _add(unit, groups, now, bounded=_any_bounded(unit, groups))
    search.index(unit, groups, answers)
    return answers


def ready_soon(groups: Sequence[Sequence[NewJob]]) -> frozenset[str]:
    """Return the names of the queues in which these jobs may be claimed once they are stored."""
    return frozenset(
        job.queue
        for group in groups
        for job in group
        if not (job.expects_children or job.options.delay_ms or job.options.at_ms)
    )


def put(unit: Unit, job: NewJob, now: Millis) -> None:
    """Add a job that is accepted already: it finds its place however many wait."""
    _add(unit, [[job]], now, bounded=False)


def _add(
    unit: Unit, groups: Sequence[Sequence[NewJob]], now: Millis, *, bounded: bool
) -> list[Answer]:
    if all(is_independent(job) for group in groups for job in group):
        return add_independent(unit, groups, now, bounded=bounded)
    return _Adding(unit, groups, now, bounded=bounded).answers()


def _any_bounded(unit: Unit, groups: Sequence[Sequence[NewJob]]) -> bool:
    names = {job.queue for group in groups for job in group}
    return any(unit.queue(name).max_waiting is not None for name in names)


class _Adding:
    """The state of one call: what exists, what was planned and not yet written."""

    def __init__(
        self, unit: Unit, groups: Sequence[Sequence[NewJob]], now: Millis, *, bounded: bool
    ) -> None:
        self.unit = unit
        self.groups = groups
        self.now = now
        self.rows: list[list[Any]] = []
        self.links: list[list[Any]] = []
        # Of the group that is being stored: children that have failed before they were linked, and
        # children whose jobs were replaced. Their parents hear of it when the group is stored.
        self.failed: list[tuple[int, str, str, str, str | None]] = []
        self.replaced: list[tuple[int, str, str]] = []
        self.known = self._look_up()
        self.bounded = bounded
        self.key: int = unit.value("add.last_key") or 0

    def _look_up(self) -> dict[Ref, Known]:
        asked: set[Ref] = set()
        for group in self.groups:
            for job in group:
                if job.id is not None:
                    asked.add(Ref(job.queue, job.id))
                if job.parent is not None:
                    asked.add(job.parent)
        if not asked:
            return {}
        refs = to_json([(ref.queue, ref.id) for ref in asked])
        found = _known(self.unit.value("add.known", (refs,)))
        return {Ref(job.queue, job.id): job for job in found}

    def answers(self) -> list[Answer]:
        """Place each group, or say why it is refused."""
        made: list[Answer] = []
        for group in self.groups:
            # Below a parent that exists nothing is added: its tree is stored already.
            stored = self._stored_before(group)
            fresh = [job for job, known in zip(group, stored, strict=True) if not known]
            answer = (
                self._refuse(fresh)
                or self._no_room(fresh)
                or tuple(
                    [
                        AddAnswer(job.id or "", "duplicate") if known else self._place(job)
                        for job, known in zip(group, stored, strict=True)
                    ]
                )
            )
            made.append(answer)
            if isinstance(answer, tuple) and (self.replaced or not all(a.created for a in answer)):
                self._settle_parents(fresh)
        self._write()
        return made

    def _stored_before(self, group: Sequence[NewJob]) -> list[bool]:
        """Return for each job whether it stands below a parent of its group that exists already."""
        before: set[Ref] = set()
        stood: set[Ref] = set()
        found: list[bool] = []
        for job in group:
            below = job.parent in stood
            found.append(below)
            if job.expects_children and job.id is not None:
                ref = Ref(job.queue, job.id)
                if below or ref in before or ref in self.known:
                    stood.add(ref)
                before.add(ref)
        return found

    def _refuse(self, group: Sequence[NewJob]) -> TorilError | None:
        planned: dict[Ref, Ref | None] = {}
        for job in group:
            error = None if job.parent is None else self._refuse_child(job, job.parent, planned)
            if error is not None:
                return error
            if job.id is not None:
                planned[Ref(job.queue, job.id)] = job.parent
        return None

    def _no_room(self, group: Sequence[NewJob]) -> TorilError | None:
        return refuse_full(self.unit, self._new(group)) if self.bounded else None

    def _new(self, group: Sequence[NewJob]) -> dict[str, int]:
        """Count by queue the jobs of a group that are new, and of those the ones that wait."""
        self._write()
        seen: set[Ref | tuple[str, str]] = set()
        new: dict[str, int] = {}
        for job in group:
            if self._stands_already(job, seen):
                continue
            created = self.now if job.options.created_ms is None else job.options.created_ms
            later = job.expects_children or due(job.options, created, self.now) is not None
            new[job.queue] = new.get(job.queue, 0) + (not later)
        return new

    def _stands_already(self, job: NewJob, seen: set[Ref | tuple[str, str]]) -> bool:
        """Return whether another job represents this one; note what this one would take."""
        if job.id is not None:
            ref = Ref(job.queue, job.id)
            if ref in self.known or ref in seen:
                return True
        dedup = job.options.dedup
        if dedup is not None:
            word = (job.queue, dedup.key)
            key = self.unit.queue(job.queue).key
            held = self.unit.value("add.dedup_holder", (key, dedup.key, self.now))
            if word in seen or (held is not None and not (held[1] is None and held[2] is None)):
                return True
            seen.add(word)
        if job.id is not None:
            seen.add(Ref(job.queue, job.id))
        return False

    def _refuse_child(
        self, job: NewJob, parent: Ref, planned: Mapping[Ref, Ref | None]
    ) -> TorilError | None:
        if parent not in planned and parent not in self.known:
            return no_parent(parent)
        there = self.known.get(Ref(job.queue, job.id or ""))
        if there is None:
            return None
        above = self.known.get(parent)
        why = None
        if there.parent_lives and (above is None or above.key != there.parent):
            why = "already has another parent"
        elif self._is_above(Ref(there.queue, there.id), parent, planned):
            why = "cannot be a child of its own descendant"
        if why is None:
            return None
        return no_child(Ref(there.queue, there.id), why)

    def _is_above(self, ref: Ref, parent: Ref, planned: Mapping[Ref, Ref | None]) -> bool:
        """Return whether a job is the parent that it would get, or stands above it."""
        self._write()
        seen: set[Ref] = set()
        at: Ref | None = parent
        while at is not None and at not in seen:
            if at == ref:
                return True
            seen.add(at)
            if at in planned and (planned[at] is not None or at not in self.known):
                at = planned[at]
            else:
                found = self.unit.value("add.parent", (at.queue, at.id))
                at = None if found is None else Ref(*found)
        return False

    def _place(self, job: NewJob) -> AddAnswer:
        queue = self.unit.queue(job.queue)
        queue.ids += 1
        id = job.id or str(queue.ids)
        there = self.known.get(Ref(job.queue, id)) if job.id is not None else None
        if there is not None:
            self._attach(job, there)
            queue.emit(self.now, {"kind": "duplicated", "job_id": id})
            return AddAnswer(id, "duplicate")
        if job.options.dedup is not None:
            held = self._deduplicate(queue, job, id, job.options.dedup)
            if held is not None:
                return held
        self._plan(queue, job, id)
        return AddAnswer(id)

    def _plan(self, queue: QueueRow, job: NewJob, id: str) -> None:
        options = job.options
        created = self.now if options.created_ms is None else options.created_ms
        parent = self.known[job.parent] if job.parent else None
        self.key += 1
        state, due_ms = start(queue, job, created, self.now)
        front = options.lifo and state is State.WAITING
        row: list[Any] = [self.key, queue.key, id, job.name, job.data, to_text(options), state]
        row += [lane(options, state)]
        row += [queue.front() if front else queue.take_positions(1)]
        row += [options.priority, delay(options, created, due_ms), created, due_ms]
        row += [parent.key, parent.queue, parent.id] if parent else [None, None, None]
        dedup = options.dedup.key if options.dedup else None
        row += [options.parent_on_fail, flag(job.expects_children), job.schedule, dedup]
        row += [limit(options, created, job.schedule)]
        self.rows.append(row)
        queue.count(None, state)
        self.known[Ref(job.queue, id)] = Known(
            queue=job.queue,
            id=id,
            key=self.key,
            state=state,
            parent=parent.key if parent else None,
            parent_lives=flag(parent is not None),
            name=job.name,
        )
        if parent:
            self.links.append([parent.key, job.queue, id, job.name, "pending", None])
        announce(self.unit, queue, (id, job.name, state, due_ms), self.now)

    def _attach(self, job: NewJob, there: Known) -> None:
        """Link a job that exists to the parent that was given for it."""
        if job.parent is None:
            return
        above = self.known[job.parent]
        self._write()
        policy = job.options.parent_on_fail
        self.unit.run("add.adopt", (there.key, above.key, above.queue, above.id, policy))
        outcome, value = "pending", None
        if there.state is State.COMPLETED:
            outcome, value = "completed", there.result
        elif there.state is State.FAILED:
            reason = there.reason or "failed"
            self.failed.append((above.key, there.queue, there.id, reason, policy))
        self.links.append([above.key, there.queue, there.id, there.name, outcome, value])
        there.parent, there.parent_lives = above.key, 1

    def _settle_parents(self, group: Sequence[NewJob]) -> None:
        """Settle what is known of children already, and release parents that wait for nothing.

        A child may have ended before, represent another job by its dedup key, or be replaced.
        """
        parents = {self.known[job.parent].key for job in group if job.parent in self.known}
        self._write()
        for child in self.failed:
            family.fail_child(self.unit, child, self.now)
        family.detach(self.unit, self.replaced, self.now)
        self.failed, self.replaced = [], []
        family.release_settled(self.unit, sorted(parents), self.now)

    def _write(self) -> None:
        if self.rows:
            self.unit.run_by_size("add.full", self.rows, 4)
            self.rows = []
        if self.links:
            self.unit.run_each("add.children", self.links)
            self.unit.run_each("add.mark_family", self.links)
            self.links = []

    def _deduplicate(self, queue: QueueRow, job: NewJob, id: str, dedup: Dedup) -> AddAnswer | None:
        """Return which job represents this one, or None when it is to be added."""
        self._write()
        now, ttl = self.now, dedup.ttl_ms
        until = None if ttl is None else now + ttl
        held = self.unit.value("add.dedup_holder", (queue.key, dedup.key, now))
        if held is None:
            self.unit.run("add.dedup_hold", (queue.key, dedup.key, id, until))
            return None
        holder, expires, key, state, parent = held
        if dedup.replace and state == State.DELAYED:
            self._replace(queue, dedup, (holder, key), id)
            if parent is not None:
                self.replaced.append((parent, queue.name, holder))
            kept = expires if ttl is not None and not dedup.extend else until
            self.unit.run("add.dedup_hold", (queue.key, dedup.key, id, kept))
            return None
        if expires is None and key is None:  # its holder is gone: the key is stale
            self.unit.run("add.dedup_hold", (queue.key, dedup.key, id, until))
            return None
        if dedup.keep_last and state == State.ACTIVE:
            self._store_next(queue, job, dedup, (holder, id))
            return AddAnswer(holder, "stored-next")
        if dedup.replace:
            return AddAnswer(holder, "deduplicated")
        if dedup.extend and ttl is not None:
            self.unit.run("add.dedup_extend", (queue.key, dedup.key, until))
        self._say_deduplicated(queue, dedup, holder, id)
        if dedup.reschedule and state == State.DELAYED:
            self._reschedule(queue, job, (key, holder))
        return AddAnswer(holder, "deduplicated")

    def _say_deduplicated(self, queue: QueueRow, dedup: Dedup, stays: str, dropped: str) -> None:
        body = {"kind": "deduplicated", "job_id": stays, "dedup_key": dedup.key}
        queue.emit(self.now, {**body, "dropped_id": dropped})

    def _replace(self, queue: QueueRow, dedup: Dedup, old: tuple[str, int], id: str) -> None:
        remove.delete(self.unit, queue, State.DELAYED, [old[1]])
        queue.emit(self.now, {"kind": "removed", "job_id": old[0], "prev": State.DELAYED})
        self.known.pop(Ref(queue.name, old[0]), None)
        self._say_deduplicated(queue, dedup, id, old[0])

    def _store_next(self, queue: QueueRow, job: NewJob, dedup: Dedup, ids: tuple[str, str]) -> None:
        text = kept_text(job, job.id or ids[1])
        self.unit.run("add.dedup_next", (queue.key, dedup.key, text))
        self._say_deduplicated(queue, dedup, ids[0], ids[1])

    def _reschedule(self, queue: QueueRow, job: NewJob, holder: tuple[int, str]) -> None:
        options = job.options
        created = self.now if options.created_ms is None else options.created_ms
        until = due(options, created, self.now) or created
        place = (holder[0], holder[1], max(until - created, 0))
        delay_job(self.unit, queue, place, until, prev=State.DELAYED)
        queue.emit(self.now, {"kind": "delayed", "job_id": holder[1], "due_ms": until})


def kept_text(job: NewJob, id: str | None) -> str:
    """Write a duplicate that is kept back, with the id that it is to have."""
    parent = [job.parent.queue, job.parent.id] if job.parent else None
    return to_json([job.name, job.data, to_text(job.options), id, job.schedule, parent])


def next_job(text: str, queue: str) -> NewJob | None:
    """Read a duplicate that was kept back; None where there is none to read."""
    try:
        name, data, opts, id, schedule, parent = _kept(text)
        options = from_text(opts)
    except (Unreadable, ConfigError):
        return None
    return NewJob(
        queue=queue,
        name=name,
        data=data,
        options=options,
        id=id,
        schedule=schedule,
        parent=Ref(*parent) if parent else None,
    )
