"""A store in two hundred lines: jobs in a dict, a clock that is told, and the table as its law.

Every step of a job goes through `Model._step`, which takes what may happen, and what is said of
it, from `states.TABLE`. What the model adds is only what the table leaves open: order, counters,
limits, dedup keys and families.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from toril._model.decide import Action
from toril._model.options import Dedup
from toril._model.record import NewJob, Ref
from toril._model.states import TABLE, State

READY = (State.WAITING, State.PRIORITIZED)
FINISHED = (State.COMPLETED, State.FAILED)
LAW = {f"{row.verb} {row.case}".strip(): row for row in TABLE}


@dataclass(eq=False, repr=False)
class Job:
    """A job, as little of it as decides what happens next."""

    ref: Ref
    options: NewJob
    parent: "Job | None" = None
    state: State | None = None
    place: tuple[int, int] = (0, 0)
    priority: int = 0
    delay: int = 0
    due: int = 0
    attempts_made: int = 0
    runs: int = 0
    stalls: int = 0
    token: str = ""
    lock_until: int = 0
    asked: bool = False
    open: list["Job"] = field(default_factory=list["Job"])
    broken: list["Job"] = field(default_factory=list["Job"])
    passed: list["Job"] = field(default_factory=list["Job"])

    def __repr__(self) -> str:
        return f"<{self.ref.queue}:{self.ref.id} {self.state}>"

    @property
    def dedup(self) -> Dedup | None:
        return self.options.options.dedup

    @property
    def continues(self) -> bool:
        """Whether a child has failed that does not stop it; one that is gone counts as such."""
        return any(
            child.state is None
            or child.parent is not self
            or child.options.options.parent_on_fail == "continue"
            for child in self.passed
        )

    @property
    def front_first(self) -> bool:
        return self.options.options.lifo and not self.priority


class Model:
    """What a store must do."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[Ref, Job] = {}
        self.paused: set[str] = set()
        self.concurrency: dict[str, int] = {}
        self.rates: dict[str, tuple[int, int]] = {}
        self.said: defaultdict[Ref, list[str]] = defaultdict(list)
        self._starts: dict[str, tuple[int, int]] = {}
        self._held: dict[str, tuple[Job, int | None]] = {}
        self._next: dict[str, NewJob] = {}
        self._count = 0

    # What can be seen.

    def in_state(self, *states: State, queue: str | None = None) -> list[Job]:
        return [
            job
            for job in self.jobs.values()
            if job.state in states and queue in (None, job.ref.queue)
        ]

    def ready(self, queue: str) -> list[Job]:
        """The jobs that could be claimed, in the order in which they would be."""
        return sorted(self.in_state(*READY, queue=queue), key=lambda job: job.place)

    # Produce.

    def add(self, new: NewJob, id: str) -> tuple[str, str]:
        """Add a job; `id` is the one that it gets if it is stored. Give id and word."""
        ref = Ref(new.queue, new.id or id)
        if new.id is not None and ref in self.jobs:
            self._say(ref, "add duplicate")
            return ref.id, "duplicate"
        dedup = new.options.dedup
        if dedup is not None:
            holder = self._deduplicate(new, ref, dedup)
            if holder is not None:
                return holder
        self._store(new, ref)
        return ref.id, "added"

    def _store(self, new: NewJob, ref: Ref) -> None:
        job = Job(ref, new, self.jobs.get(new.parent) if new.parent else None)
        self.jobs[ref] = job
        job.priority, job.delay = new.options.priority, new.options.delay_ms
        if job.parent:
            job.parent.open.append(job)
        if new.options.dedup is not None:
            self._hold(job, new.options.dedup)
        if new.expects_children:
            self._step(job, "add parent", State.WAITING_CHILDREN)
        elif job.delay:
            self._delay(job, "add delay", job.delay)
        else:
            case = "add priority" if job.priority else "add plain"
            self._ready(job, case, front=job.front_first)

    def _deduplicate(self, new: NewJob, ref: Ref, dedup: Dedup) -> tuple[str, str] | None:
        holder, until = self._held.get(dedup.key, (None, None))
        if holder is None or (until is not None and until <= self.now):
            return None
        if dedup.replace:
            if holder.state is not State.DELAYED:
                return holder.ref.id, "deduplicated"
            self._step(holder, "add replace", None, said=["removed"])
            self.said[ref].append("deduplicated")
            return None
        self._say(holder.ref, "add deduplicated")
        if dedup.keep_last and holder.state is State.ACTIVE:
            self._next[dedup.key] = new
            return holder.ref.id, "stored-next"
        if dedup.reschedule and holder.state is State.DELAYED:
            self.said[holder.ref].pop()  # the row of the rescheduling says it as well
            self._delay(holder, "add reschedule", new.options.delay_ms)
        return holder.ref.id, "deduplicated"

    def _hold(self, job: Job, dedup: Dedup) -> None:
        ttl = dedup.ttl_ms
        self._held[dedup.key] = (job, None if ttl is None else self.now + ttl)

    def _free(self, job: Job, *, finished: bool) -> None:
        """Give a dedup key back; a finished job keeps one that is held for a time."""
        if job.dedup is None:
            return
        key = job.dedup.key
        holder, until = self._held.get(key, (None, None))
        if holder is not job or (finished and until is not None):
            return
        del self._held[key]
        kept_back = self._next.pop(key, None)
        if finished and kept_back is not None:
            self._store(kept_back, Ref(kept_back.queue, kept_back.id or ""))

    # Consume.

    def claim(self, queue: str, limit: int, token: str, lock_ms: int) -> list[Job]:
        self._promote_due(queue)
        if queue in self.paused:
            return []
        if queue in self.concurrency:
            active = len(self.in_state(State.ACTIVE, queue=queue))
            limit = min(limit, self.concurrency[queue] - active)
        taken = self.ready(queue)[: max(min(limit, self._allowed(queue)), 0)]
        for job in taken:
            self._step(job, "claim take", State.ACTIVE)
            job.token, job.lock_until = token, self.now + lock_ms
            job.runs += 1
        if taken:
            since, count = self._starts.get(queue, (self.now, 0))
            self._starts[queue] = (since, count + len(taken))
        return taken

    def _allowed(self, queue: str) -> int:
        if queue not in self.rates:
            return len(self.jobs)
        most, window = self.rates[queue]
        since, count = self._starts.get(queue, (self.now, 0))
        if self.now >= since + window:
            self._starts.pop(queue, None)
            count = 0
        return most - count

    def _promote_due(self, queue: str) -> None:
        due = [job for job in self.in_state(State.DELAYED, queue=queue) if job.due <= self.now]
        for job in sorted(due, key=lambda job: (job.due, job.place)):
            self._ready(job, "claim due")

    def settle(self, job: Job, token: str, action: Action, delay_ms: int) -> str:
        """Carry out a decision; give its word, or the name of the error."""
        if job.state is not State.ACTIVE or job.token != token:
            return "LockLost"
        if (
            job.asked
            and action is not Action.COMPLETE
            and not (action is Action.AWAIT and job.broken)
        ):
            counted = action in (Action.FAIL, Action.RETRY)
            self._finish(job, State.FAILED, "finish cancelled", counted=counted)
            return "failed"
        match action:
            case Action.COMPLETE:
                return self._complete(job)
            case Action.FAIL:
                self._finish(job, State.FAILED, "finish fail")
                return "failed"
            case Action.RELEASE:
                return self._ready(job, "finish release", front=True)
            case Action.AWAIT if job.broken:
                return "FailedChildren"
            case Action.AWAIT if not job.open:
                return "active"
            case Action.AWAIT:
                self._step(job, "finish await-children", State.WAITING_CHILDREN)
                return "waiting-children"
            case Action.SNOOZE:
                self._delay(job, "finish snooze", delay_ms)
                return "delayed"
            case Action.RETRY:
                job.attempts_made += 1
                if delay_ms:
                    self._delay(job, "finish retry-later", delay_ms)
                    return "delayed"
                return self._ready(job, "finish retry-now", front=job.front_first)

    def _complete(self, job: Job) -> str:
        if job.open and not job.continues:
            return "PendingChildren"
        if job.broken:
            return "FailedChildren"
        self._finish(job, State.COMPLETED, "finish complete")
        return "completed"

    def _finish(self, job: Job, state: State, case: str, *, counted: bool = True) -> None:
        options = job.options.options
        keep = options.keep_completed if state is State.COMPLETED else options.keep_failed
        forget = keep is not None and keep.count == 0
        self._step(job, f"{case}-forget" if forget else case, None if forget else state)
        job.attempts_made += counted
        job.asked = False
        self._free(job, finished=True)
        parent = job.parent
        if parent is None or job not in parent.open:
            return
        policy = options.parent_on_fail if state is State.FAILED else "ignore"
        if policy in (None, "wait"):
            if not forget:
                return
            # Nobody could retry it: it holds nobody back.
            policy = "remove"
        parent.open.remove(job)
        if state is State.FAILED and policy in ("continue", "ignore"):
            parent.passed.append(job)
        if policy == "fail":
            parent.broken.append(job)
        if policy == "remove":
            job.parent = None
        self._tell_parent(parent, str(policy))

    def _tell_parent(self, parent: Job, policy: str) -> None:
        if policy == "fail" and parent.state in (State.WAITING_CHILDREN, State.DELAYED):
            front = parent.state is State.WAITING_CHILDREN and not parent.priority
            self._ready(parent, "child failed", front=front)
        elif parent.state is State.WAITING_CHILDREN and (policy == "continue" or not parent.open):
            case = "child continued" if policy == "continue" else "child last-settled"
            if parent.delay:
                self._delay(parent, f"{case}-delay", parent.delay)
            else:
                self._ready(parent, case, front=not parent.priority)

    def stalled(self) -> list[Job]:
        return [job for job in self.in_state(State.ACTIVE) if job.lock_until <= self.now]

    def recover(self, job: Job) -> None:
        # From two crashes on only a run by itself is charged, and here none is.
        job.stalls = min(job.stalls + 1, 2)
        self._step(job, "recover take-back", State.WAITING)
        job.place = (0, -self._tick())

    # Edit.

    # Each gives the name of the error when it does not apply.

    def promote(self, job: Job) -> str | None:
        if job.state is not State.DELAYED:
            return "WrongState"
        self._ready(job, "promote")
        return None

    def retry(self, job: Job) -> str | None:
        if job.state not in FINISHED:
            return "WrongState"
        self._ready(job, "retry", front=job.front_first)
        parent = job.parent
        if parent is not None and parent.state is not None and job not in parent.open:
            parent.open.append(job)
            if job in parent.broken:
                parent.broken.remove(job)
            if job in parent.passed:
                parent.passed.remove(job)
        return None

    def delay(self, job: Job, delay_ms: int) -> str | None:
        if job.state is not State.DELAYED:
            return "WrongState"
        self._delay(job, "update delay", delay_ms)
        return None

    def cancel(self, job: Job) -> str | None:
        if job.state in FINISHED:
            return "WrongState"
        if job.state is State.ACTIVE:
            job.asked = True
        else:
            self._finish(job, State.FAILED, "update cancel", counted=False)
        return None

    def prioritize(self, job: Job, priority: int) -> None:
        job.priority = priority
        if job.state in READY:
            job.state = State.PRIORITIZED if priority else State.WAITING
            job.place = (priority, self._tick())

    def tree(self, job: Job) -> list[Job]:
        below = [child for child in self.jobs.values() if child.parent is job]
        return [job, *(found for child in below for found in self.tree(child))]

    def remove(self, job: Job) -> str | None:
        """Remove a job and all below it, unless a part of it runs."""
        tree = self.tree(job)
        if any(found.state is State.ACTIVE for found in tree):
            return "JobLocked"
        for found in tree:
            self._step(found, "remove", None)
            self._free(found, finished=False)
        self._unlink(job)
        return None

    def drain(self, queue: str, *, delayed: bool) -> None:
        for job in self.in_state(*READY, *([State.DELAYED] if delayed else []), queue=queue):
            self._step(job, "drain delayed" if delayed else "drain", None)
            self._free(job, finished=False)

    def _unlink(self, job: Job) -> None:
        parent = job.parent
        if parent is None:
            return
        if job in parent.open:  # a failure that the parent knows of stays, though its job goes
            parent.open.remove(job)
            self._tell_parent(parent, "ignore")

    # The law.

    def _ready(self, job: Job, case: str, *, front: bool = False) -> str:
        state = State.PRIORITIZED if job.priority else State.WAITING
        self._step(job, case, state)
        job.delay = 0
        job.place = (job.priority, -self._tick() if front else self._tick())
        return str(state)

    def _delay(self, job: Job, case: str, delay_ms: int) -> None:
        self._step(job, case, State.DELAYED)
        job.delay, job.due = delay_ms, self.now + delay_ms
        job.place = (0, self._tick())

    def _step(
        self, job: Job, case: str, target: State | None, *, said: list[str] | None = None
    ) -> None:
        """Move a job as the table allows, and note what the table says is announced."""
        row = LAW[case]
        assert job.state in (row.source or (None,)), f"{case} of a job that is {job.state}"
        assert target in (row.target or (None,)), f"{case} leads to {row.target}, not {target}"
        job.state = target
        job.token = ""
        self.said[job.ref] += row.events if said is None else said
        if target is None:
            del self.jobs[job.ref]

    def _say(self, ref: Ref, case: str) -> None:
        self.said[ref] += LAW[case].events

    def _tick(self) -> int:
        self._count += 1
        return self._count
