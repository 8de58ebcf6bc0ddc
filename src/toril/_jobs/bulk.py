"""Steering many jobs, and telling of each one why it could not be: by ids, or by what they are.

Never here: what a verb does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from toril._model.bounds import JOBS_A_CALL
from toril._model.options import unknown_option
from toril._model.record import Record, Ref
from toril._model.report import Counts, Query, Selected, Selection
from toril._model.states import FINISHED, State
from toril._model.times import Millis
from toril.errors import JobNotFound

from .cancel import cancel
from .session import Session
from .turns import Pace

VERBS = ("retry", "promote", "remove", "cancel")
# What changes while it is swept may move jobs past the place that is looked at.
PASSES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a verb acts: `reason` of a cancel, `reset_attempts` of a retry, `children` of both ends.

    Shape    children: a job is removed or cancelled with its children.
    """

    children: bool = True
    reset_attempts: bool = False
    reason: str = ""


DEFAULT_HOW = How()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs of a queue to act on.

    Units    before_ms: finished (else added) at or before this time, ms since the epoch.
    """

    states: tuple[State, ...]
    name: str | None = None
    before_ms: Millis | None = None
    limit: int | None = None

    def has(self, record: Record) -> bool:
        """Return whether a job is old enough."""
        at = record.created_ms if record.finished_ms is None else record.finished_ms
        return self.before_ms is None or at <= self.before_ms


@dataclass(frozen=True, slots=True)
class Steered:
    """What became of jobs: the ids that were acted on, and why the others were not."""

    done: list[str] = field(default_factory=list[str])
    refused: dict[str, Exception] = field(default_factory=dict[str, Exception])

    def note(self, other: "Steered") -> None:
        """Add what became of more."""
        self.done.extend(other.done)
        self.refused.update(other.refused)


async def steer(context: Session, queue: str, verb: str, ids: Sequence[str], how: How) -> Steered:
    """Act on the jobs with these ids, in calls of at most 250.

    Atomic   each job.    Raises   ConfigError: there is no such verb.
    """
    if verb not in VERBS:
        raise unknown_option(verb, VERBS, where="a verb", field="verb")
    steered = Steered()
    every = list(dict.fromkeys(ids))
    pace, start = Pace(JOBS_A_CALL), 0
    while some := every[start : start + pace.limit]:
        start += len(some)
        refused = await pace.call(_send(context, queue, verb, some, how))
        done = [each for each in some if each not in refused]
        steered.note(Steered(done, refused))
    return steered


async def _send(
    context: Session, queue: str, verb: str, ids: Sequence[str], how: How
) -> dict[str, Exception]:
    if verb == "cancel":
        refs = [Ref(queue, each) for each in ids]
        refused = await cancel(context, refs, how.reason, children=how.children)
        return {ref.id: error for ref, error in refused.items()}
    store = await context.ready()
    selection = Selection(queue=queue, ids=tuple(ids), limit=len(ids))
    selected: Selected
    match verb:
        case "retry":
            again = replace(selection, reset_attempts=how.reset_attempts)
            selected = await store.retry(again)
        case "promote":
            selected = await store.promote(selection)
        case _:
            selected = await store.remove(replace(selection, children=how.children))
    return selected.refused


async def sweep(context: Session, queue: str, verb: str, wanted: Wanted, how: How) -> Steered:
    """Act on the jobs that are in these states now, each once.

    Those that come while this goes on, or come back because a retried job failed again, are left
    alone. One that is gone when its turn comes is no refusal. Cut off, it can be run again.

    Atomic   each job.
    """
    store = await context.ready()
    (counts,) = await store.counts([queue])
    steered = Steered()
    for state in wanted.states:
        there = _count(counts, state)
        left = there if wanted.limit is None else min(there, wanted.limit - len(steered.done))
        one = replace(wanted, states=(state,), limit=left)
        steered.note(await _Sweep(context, queue, verb, one, how).run())
    return steered


class _Sweep:
    """One state of a queue, page by page; jobs that stay there are passed over."""

    def __init__(self, context: Session, queue: str, verb: str, wanted: Wanted, how: How) -> None:
        self._context = context
        self._queue = queue
        self._verb = verb
        self._wanted = wanted
        self._how = how
        self._seen: set[str] = set()
        self._steered = Steered()

    async def run(self) -> Steered:
        for _ in range(PASSES):
            before = len(self._seen)
            await self._pass()
            if len(self._seen) == before:
                break
        return self._steered

    async def _pass(self) -> None:
        (state,), offset = self._wanted.states, 0
        while self._left > 0:
            query = Query(
                queue=self._queue,
                states=(state,),
                name=self._wanted.name,
                offset=offset,
                limit=JOBS_A_CALL,
            )
            page = await self._context.store.find(query)
            gone = await self._act(page.jobs)
            offset += len(page.jobs) - (0 if state is State.ACTIVE else gone)
            too_young = bool(page.jobs) and not self._wanted.has(page.jobs[-1])
            # Finished jobs are listed in the order in which they finished.
            if not page.more or not page.jobs or (state in FINISHED and too_young):
                return

    @property
    def _left(self) -> int:
        return (self._wanted.limit or 0) - len(self._steered.done)

    async def _act(self, jobs: Sequence[Record]) -> int:
        fresh = [job.id for job in jobs if job.id not in self._seen and self._wanted.has(job)]
        some = fresh[: self._left]
        self._seen.update(some)
        steered = await steer(self._context, self._queue, self._verb, some, self._how)
        for job_id, error in list(steered.refused.items()):
            if isinstance(error, JobNotFound):
                del steered.refused[job_id]
        self._steered.note(steered)
        return len(steered.done)


def _count(counts: Counts, state: State) -> int:
    found: int = getattr(counts, state.value.replace("-", "_"))
    return found
