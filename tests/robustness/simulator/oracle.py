"""What must hold in every simulated world, whatever befalls it.

Judged from outside: from what handlers see, from the store's rows, and from the events that it
wrote, which are held against the table of states.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tests.robustness.property.invariants import (
    counts_equal_the_listing,
    each_job_is_in_one_state,
    fields_fit_the_state,
)
from tests.robustness.simulator.plan import Plan, Spec
from toril._model.crashes import alone_from
from toril._model.record import Record, Ref
from toril._model.report import Query
from toril._model.states import TABLE, State
from toril._store.sqlite.verbs import read
from toril._store.sqlite.verbs.read import Reading
from toril.events import Added, Completed, Event, Failed, JobEvent

MAX_STALLS = 3
SETTLED = (State.COMPLETED, State.FAILED)
_PLACES = {
    "waiting": "ready",
    "delayed": "delayed",
    "active": "active",
    "waiting-children": "waiting-children",
    "completed": "completed",
    "failed": "failed",
    "removed": "gone",
}
_CLASSES = {State.WAITING: "ready", State.PRIORITIZED: "ready"}


class Violation(AssertionError):
    """A promise was broken in a simulated world."""


def _moves() -> set[tuple[str, str]]:
    """Read from the table of states which place may follow on which."""
    found: set[tuple[str, str]] = set()
    for row in TABLE:
        steps = [_PLACES[event] for event in row.events if event in _PLACES]
        for source in row.source or (None,):
            place = "" if source is None else _CLASSES.get(source, str(source))
            for step in steps:
                found.add((place, step))
    return found


MOVES = _moves()


class Oracle:
    def __init__(self, plan: Plan, now: Callable[[], float]) -> None:
        self._plan = plan
        self._now = now
        self._limits = dict(plan.places)
        self._events_read: dict[str, int] = defaultdict(int)
        self.trace: list[str] = []
        self.reading: Reading
        self.specs: dict[str, Spec] = {}
        self.parents: dict[str, list[Spec]] = {}
        self.wished: dict[str, set[str]] = defaultdict(set)
        self.places: dict[str, str] = {}
        self.steps: dict[str, tuple[int, int]] = {}
        self.runs: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.begun: dict[tuple[str, int], str] = {}
        self.returned: set[tuple[str, int]] = set()
        self.awaited: set[tuple[str, int]] = set()
        self.running: dict[str, dict[int, tuple[str, str, str, bool]]] = defaultdict(dict)

    def say(self, text: str) -> None:
        self.trace.append(f"{self._now() - 1000:9.4f}  {text}")

    def complain(self, text: str) -> None:
        self.say(f"VIOLATION {text}")
        raise Violation(text)

    def expect(self, spec: Spec) -> None:
        self.specs[spec.id] = spec
        for child in spec.children:
            self.expect(child)
        if spec.children:
            self.parents[spec.id] = list(spec.children)

    def forget(self, spec: Spec, holder: str) -> None:
        """Take a job as dropped whose key another one holds; that one must not have ended."""
        self.say(f"{spec.id} is dropped for {holder}")
        del self.specs[spec.id]
        if self.places.get(holder) in ("completed", "failed", "gone"):
            self.complain(f"{spec.id} was dropped for {holder}, which had ended")

    # Handlers.

    def begins(self, process: str, job: Any, mark: int) -> str:
        """Judge the start of a handler, and say what it is to do."""
        id, run = job.id, job.run
        self.say(f"{process} runs {id} run {run} attempt {job.attempt}")
        spec = self.specs.get(id)
        most = spec.options.get("attempts", 1) if spec else 1
        if job.attempt > most and "retry" not in self.wished[id]:
            self.complain(f"{id} begins attempt {job.attempt} of {most}")
        before = self.begun.get((id, run))
        if before is not None and (id, run) not in self.awaited:
            self.complain(f"run {run} of {id} begins twice, in {before} and {process}")
        self.begun[id, run] = process
        alone = job.name != "thread" and job.record.stalls >= alone_from(MAX_STALLS)
        if job.name != "thread":
            self._has_room(process, job, mark, alone)
        self._children_ended(id)
        self.starts[id] += 1
        return id

    def _has_room(self, process: str, job: Any, mark: int, alone: bool) -> None:
        others = self.running[process]
        if others and (alone or any(other[3] for other in others.values())):
            self.complain(f"{job.id} does not run alone in {process}: {list(others.values())}")
        others[mark] = (job.queue, job.name, job.id, alone)
        here = [each for each in others.values() if each[0] == job.queue]
        if len(here) > self._limits[job.queue]:
            self.complain(f"{process} has {len(here)} places of {job.queue} taken: {here}")
        if self._plan.total is not None and len(others) > self._plan.total:
            self.complain(f"{process} runs {len(others)} jobs: {list(others.values())}")
        if [each[1] for each in here].count("capped") > 1:
            self.complain(f"{process} runs two of a name that is capped at one: {here}")

    def _children_ended(self, id: str) -> None:
        children = self.parents.get(id, [])
        if self._is_free_of_children(id):
            return
        found = read.get(self.reading, [Ref(child.queue, child.id) for child in children])
        open_ones = [each.id for each in found if each is not None and each.state not in SETTLED]
        if open_ones:
            self.complain(f"{id} runs before its children {open_ones}")

    def _is_free_of_children(self, id: str) -> bool:
        """Say whether a parent may run beside its children: one failed early, or runs again."""
        children = self.parents.get(id, [])
        if any(child.options.get("parent_on_fail") == "continue" for child in children):
            return True
        return any("retry" in self.wished[each] for each in (id, *(c.id for c in children)))

    def ended(self, process: str, job: Any, mark: int, how: str) -> None:
        self.running[process].pop(mark, None)
        self.say(f"{process} ends {job.id} run {job.run}: {how}")
        if how == "ok":
            self.returned.add((job.id, job.run))
        if how == "await":
            self.awaited.add((job.id, job.run))

    # The store.

    def look(self) -> None:
        """Hold the rows and the events of every queue against each other and the table."""
        for queue in ("work", "side"):
            self._follow(queue)
            page = read.find(self.reading, Query(queue=queue, states=tuple(State), limit=5_000))
            try:
                each_job_is_in_one_state(page.jobs)
                counts_equal_the_listing(read.counts(self.reading, [queue])[0], page.jobs)
                for record in page.jobs:
                    fields_fit_the_state(record)
            except AssertionError as error:
                self.complain(str(error))
            self._in_step(page.jobs)
            self._one_a_key(page.jobs)
            for record in page.jobs:
                place = _CLASSES.get(record.state, str(record.state))
                if self.places.get(record.id) != place:
                    told = self.places.get(record.id)
                    self.complain(f"{record.id} is {place}, and events say {told}")

    def _in_step(self, records: Sequence[Record]) -> None:
        """See that the runs of each schedule lie in its slots, and that one waits at most."""
        pending: Counter[str] = Counter()
        for record in records:
            id = record.schedule
            if id is None:
                continue
            first, every = self.steps[id]
            if (int(record.id.rpartition(":")[2]) - first) % every:
                self.complain(f"{record.id} lies between the slots of {id}")
            pending[id] += record.runs == 0 and record.state not in SETTLED
            if pending[id] > 1:
                self.complain(f"two runs of {id} wait")

    def _one_a_key(self, records: Sequence[Record]) -> None:
        """See that of the jobs of a dedup key one at most has not ended."""
        keys = [each.dedup for each in records if each.dedup and each.state not in SETTLED]
        if len(keys) > len(set(keys)):
            self.complain(f"two jobs have one key: {keys}")

    def _follow(self, queue: str) -> None:
        while found := read.events(self.reading, queue, self._events_read[queue], 1_000):
            for event in found:
                self._heed(event)
            self._events_read[queue] = int(found[-1].id)

    def _heed(self, event: Event) -> None:
        if isinstance(event, Added):
            # A run that waits is replaced by another of its id.
            self.places.pop(event.job_id, None)
        place = _PLACES.get(event.kind)
        if not isinstance(event, JobEvent) or place is None:
            return
        id = event.job_id
        before = self.places.get(id, "")
        self.say(
            f"     event {id} {event.kind}{' ' + event.reason if isinstance(event, Failed) else ''}"
        )
        if (before, place) not in MOVES:
            self.complain(f"{id} goes from {before or 'nowhere'} to {place}")
        self.places[id] = place
        self.runs[id] += place == "active"
        if isinstance(event, Completed):
            self._completed_rightly(id, event.result)

    def _completed_rightly(self, id: str, result: Any) -> None:
        run = result["run"]
        if run != self.runs[id]:
            self.complain(f"{id} completed with what run {run} returned, and ran {self.runs[id]}")
        if (id, run) not in self.returned:
            self.complain(f"{id} completed, and no handler of run {run} has returned")

    def settled(self) -> bool:
        every = read.counts(self.reading, ["work", "side"])
        return not any(c.ready or c.active or c.delayed or c.waiting_children for c in every)

    # The end.

    def judge(self) -> None:
        """Account for every job when nothing is left to do."""
        self.look()
        for id in self.specs:
            place = self.places.get(id)
            if place not in ("completed", "failed", "gone"):
                self.complain(f"{id} is {place or 'lost'} in the end")
            if place == "gone" and not self._was_removed(id):
                self.complain(f"{id} is gone, and nobody removed it")
        for queue in ("work", "side"):
            page = read.find(self.reading, Query(queue=queue, states=SETTLED, limit=5_000))
            for record in page.jobs:
                self._ended_rightly(record)

    def _was_removed(self, id: str) -> bool:
        if "remove" in self.wished[id]:
            return True
        return any(
            any(child.id == id for child in children) and self._was_removed(parent)
            for parent, children in self.parents.items()
        )

    def _ended_rightly(self, record: Record) -> None:
        id = record.id
        wished = self._wishes(id)
        if record.state is not State.FAILED:
            return
        heeded = record.cancelled is None or (record.reason or "").startswith("cancelled")
        if "cancelled" in wished and "retry" not in self.wished[id] and not heeded:
            self.complain(f"{id} was cancelled, and failed for {record.reason!r}")
        spec = self.specs.get(id)
        reason = record.reason or ""
        script = {what for what, _ in spec.script} if spec else set()
        options = spec.options if spec else {}
        attempts = options.get("attempts", 1)
        spent = record.attempts_made >= attempts
        causes = {
            "boom": "raise" in script and spent,
            "fail": "fail" in script,
            "it did not end within": {"timeout_ms", "soft_timeout_ms"} & {*options} and spent,
            "deadline": "deadline_ms" in options,
            "expired": "expires_ms" in options,
            "its soft timeout": "soft_timeout_ms" in options and spent,
            "cancelled": "cancelled" in wished,
            "child ": bool(spec and spec.children),
            # It may begin, but not complete, while children of it are open again or still.
            f"the decision to complete job {id!r} ": self._is_free_of_children(id),
            "job stalled": record.stalls > MAX_STALLS or options.get("on_crash") == "fail",
        }
        if not any(holds and reason.startswith(text) for text, holds in causes.items()):
            self.complain(f"{id} failed without cause: {reason!r} {record}")

    def _wishes(self, id: str) -> set[str]:
        mine = set(self.wished[id])
        for parent, children in self.parents.items():
            if any(child.id == id for child in children):
                mine |= self.wished[parent]
        return mine
