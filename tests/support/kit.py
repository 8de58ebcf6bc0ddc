"""A small kit for tests of a store: make jobs in any state, claim and settle them, hear events.

Time is `kit.now`, a whole number that moves only when a test says so.
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from msgspec import structs

from toril._model.decide import Action, Decision, End
from toril._model.options import JobOptions
from toril._model.record import Claim, NewJob, Record, Ref
from toril._model.report import JobPatch, Selected, Selection, SettingsPatch
from toril._model.states import EVERY, State
from toril._store.protocol import Store
from toril._store.values import AddAnswer, Claimed, ClaimRequest, Finished
from toril.errors import TorilError
from toril.events import Deduplicated, Event, JobEvent

QUEUE = "mail"
KIDS = "kids"
T0 = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
LOCK = 30 * SECOND

T = TypeVar("T")
_JOB_FIELDS = set(NewJob.__struct_fields__)


def new(name: str = "job", *, queue: str = QUEUE, **given: Any) -> NewJob:
    """Make a job to hand in; what is no field of NewJob is an option of the job."""
    own = {key: given.pop(key) for key in sorted(_JOB_FIELDS & given.keys())}
    return NewJob(queue=queue, name=name, options=JobOptions(**given), **own)


def complete(claim: Claim, result: str = "null", **more: Any) -> Decision:
    return _decision(claim, Action.COMPLETE, more, end=End.RETURNED, result=result)


def fail(claim: Claim, reason: str = "boom", **more: Any) -> Decision:
    return _decision(claim, Action.FAIL, more, end=End.RAISED, reason=reason, exhausted=True)


def again(claim: Claim, delay_ms: int = 0, **more: Any) -> Decision:
    return _decision(claim, Action.RETRY, more, end=End.RAISED, reason="boom", delay_ms=delay_ms)


def snooze(claim: Claim, delay_ms: int = SECOND, **more: Any) -> Decision:
    return _decision(claim, Action.SNOOZE, more, end=End.SNOOZED, delay_ms=delay_ms, counted=False)


def release(claim: Claim, **more: Any) -> Decision:
    usual = {"end": End.RELEASED, "counted": False}
    return _decision(claim, Action.RELEASE, usual | more)


def crash(claim: Claim, stalls: int = 1, **more: Any) -> Decision:
    return release(claim, end=End.CRASHED, reason="killed", stalls=stalls, **more)


def await_children(claim: Claim, **more: Any) -> Decision:
    return _decision(claim, Action.AWAIT, more, end=End.AWAITS, counted=False)


def _decision(claim: Claim, action: Action, more: dict[str, Any], **usual: Any) -> Decision:
    made = {"token": claim.token, "handle": claim.handle} | usual | more
    return Decision(queue=claim.record.queue, id=claim.record.id, action=action, **made)


def ref_of(claim: Claim) -> Ref:
    return Ref(claim.record.queue, claim.record.id)


def ids(jobs: Iterable[Ref] | Iterable[Record]) -> list[str]:
    return [job.id for job in jobs]


def is_about(event: Event, ref: Ref) -> bool:
    """Say whether an event tells of this job, be it as the one that was dropped."""
    dropped = event.dropped_id if isinstance(event, Deduplicated) else None
    return isinstance(event, JobEvent) and ref.id in (event.job_id, dropped)


class Kit:
    """A store, a clock that stands still, and what has been heard so far."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = T0
        self.held: dict[Ref, Claim] = {}
        self.child: dict[Ref, Ref] = {}
        self._heard: dict[str, str] = {}
        self._tokens = itertools.count(1)

    def tick(self, ms: int) -> None:
        """Let so many milliseconds go by."""
        self.now += ms

    def about(self, at_ms: int) -> Any:
        """Give what equals a time that the store tells of its own time-outs."""
        return at_ms

    def token(self) -> str:
        return f"token-{next(self._tokens)}"

    # Put in.

    async def add(self, name: str = "job", *, queue: str = QUEUE, **given: Any) -> Ref:
        """Store one job and say where it is, be it the one that was there already."""
        (added,) = await self.add_group(new(name, queue=queue, **given))
        return Ref(queue, added.id)

    async def add_group(self, *jobs: NewJob) -> tuple[AddAnswer, ...]:
        """Store jobs as one group; raise what refused it."""
        [answer] = await self.store.add([jobs], now=self.now)
        return granted(answer)

    async def add_many(self, count: int, name: str = "job", **given: Any) -> list[Ref]:
        """Store so many equal jobs as one group, in the order of what is returned."""
        job = new(name, **given)
        return [Ref(job.queue, added.id) for added in await self.add_group(*[job] * count)]

    async def add_flow(self, parent: NewJob, *children: NewJob) -> tuple[Ref, ...]:
        """Store a parent (with an id of its own) and its children as one group."""
        root = structs.replace(parent, id=parent.id or "root", expects_children=True)
        above = Ref(root.queue, root.id or "")
        group = (root, *(structs.replace(child, parent=above) for child in children))
        return tuple(
            Ref(job.queue, added.id)
            for job, added in zip(group, await self.add_group(*group), strict=True)
        )

    # Run.

    async def ask(
        self, limit: int = 1, *, queue: str = QUEUE, token: str | None = None, **request: Any
    ) -> Claimed:
        """Claim, and give the whole answer."""
        wanted = self.wanted(limit, queue=queue, token=token, **request)
        [answer] = await self.store.claim([wanted], now=self.now)
        return answer

    def wanted(
        self, limit: int = 1, *, queue: str = QUEUE, token: str | None = None, **request: Any
    ) -> ClaimRequest:
        return ClaimRequest(queue=queue, limit=limit, token=token or self.token(), **request)

    async def claim(self, queue: str = QUEUE, **request: Any) -> Claim:
        """Claim the one job that comes next; there must be one."""
        answer = await self.ask(queue=queue, **request)
        assert len(answer.jobs) == 1, f"nothing to claim in {queue!r}: {answer}"
        (claim,) = answer.jobs
        self.held[ref_of(claim)] = claim
        return claim

    async def claim_order(self, queue: str = QUEUE) -> list[str]:
        """Claim one by one until nothing is left, and give the ids in that order."""
        order: list[str] = []
        while jobs := (await self.ask(queue=queue)).jobs:
            order += [claim.record.id for claim in jobs]
        return order

    async def finish(self, *decisions: Decision, then: Sequence[ClaimRequest] = ()) -> Finished:
        return await self.store.finish(decisions, then, now=self.now)

    async def settle(self, decision: Decision) -> str:
        """Carry out one decision and give its word; raise what refused it."""
        return granted((await self.finish(decision)).words[0])

    async def run(self, queue: str = QUEUE, *, result: str = "null") -> Ref:
        """Claim the next job and complete it."""
        claim = await self.claim(queue)
        await self.settle(complete(claim, result))
        return ref_of(claim)

    async def run_to_failure(self, queue: str = QUEUE, *, reason: str = "boom") -> Ref:
        """Claim the next job and let it fail for good."""
        claim = await self.claim(queue)
        await self.settle(fail(claim, reason))
        return ref_of(claim)

    # Bring about.

    async def make(self, state: State, *, queue: str = QUEUE, **given: Any) -> Ref:
        """Bring a new job into this state, by verbs only; no other job may be ready."""
        defaults: dict[State, dict[str, Any]] = {
            State.PRIORITIZED: {"priority": 5},
            State.DELAYED: {"delay_ms": SECOND},
        }
        ref = await self.add(queue=queue, **defaults.get(state, {}) | given)
        if state not in (State.WAITING, State.PRIORITIZED, State.DELAYED):
            claim = await self.claim(queue)
            assert ref_of(claim) == ref, "another job was ready first"
            await self._leave_active(claim, state)
        assert await self.state(ref) == state
        return ref

    async def _leave_active(self, claim: Claim, state: State) -> None:
        match state:
            case State.COMPLETED:
                await self.settle(complete(claim))
            case State.FAILED:
                await self.settle(fail(claim))
            case State.WAITING_CHILDREN:
                parent = ref_of(claim)
                self.child[parent] = await self.add("child", queue=KIDS, parent=parent)
                await self.settle(await_children(claim))
            case _:
                pass

    async def configure(self, *, queue: str = QUEUE, **patch: Any) -> None:
        await self.store.configure(queue, SettingsPatch(**patch), now=self.now)

    async def pause(self, queue: str = QUEUE) -> None:
        await self.configure(queue=queue, paused=True)

    async def resume(self, queue: str = QUEUE) -> None:
        await self.configure(queue=queue, paused=False)

    async def update(self, ref: Ref, **patch: Any) -> None:
        """Change one job; raise what refused it."""
        [answer] = await self.store.update(
            [JobPatch(queue=ref.queue, id=ref.id, **patch)], now=self.now
        )
        granted(answer)

    async def recover(self, *queues: str, max_stalls: int = 3) -> list[str]:
        """Take back what was left behind, and give the ids."""
        taken = await self.store.recover(queues, max_stalls=max_stalls, now=self.now)
        return [one.id for one in taken]

    async def crash(self, queue: str = QUEUE, **recovery: Any) -> Claim:
        """Claim the next job, let its lock run out, and have it taken back."""
        claim = await self.claim(queue)
        self.tick(LOCK + 1)
        assert await self.recover(queue, **recovery) == [claim.record.id]
        return claim

    async def retry(self, *refs: Ref, **more: Any) -> Selected:
        return await self.store.retry(chosen(*refs, **more), now=self.now)

    async def promote(self, *refs: Ref, **more: Any) -> Selected:
        return await self.store.promote(chosen(*refs, **more), now=self.now)

    async def remove(self, *refs: Ref, **more: Any) -> Selected:
        return await self.store.remove(chosen(*refs, **more), now=self.now)

    async def sweep(self, mode: str, *states: State, queue: str = QUEUE, **more: Any) -> Selected:
        """Drain, clean or obliterate."""
        selection = Selection(queue=queue, states=states or EVERY, mode=mode, **more)
        return await self.store.remove(selection, now=self.now)

    # Look.

    async def find(self, ref: Ref) -> Record | None:
        [record] = await self.store.get([ref])
        return record

    async def record(self, ref: Ref) -> Record:
        record = await self.find(ref)
        assert record is not None, f"{ref} is gone"
        return record

    async def state(self, ref: Ref) -> State | None:
        record = await self.find(ref)
        return record.state if record else None

    async def counts(self, queue: str = QUEUE) -> dict[str, int]:
        """Count the jobs in each state, leaving out the states that have none."""
        [counts] = await self.store.counts([queue])
        found = {name.replace("_", "-"): n for name, n in counts.by_state.items()}
        return {state: count for state, count in found.items() if count}

    # Hear.

    async def hear(self, queue: str = QUEUE) -> list[Event]:
        """Give the events of a queue since it was heard last."""
        events: list[Event] = []
        while page := await self.store.events(queue, self._heard.get(queue)):
            self._heard[queue] = page[-1].id
            events += page
        return events

    async def kinds(self, queue: str = QUEUE) -> list[str]:
        return [event.kind for event in await self.hear(queue)]

    async def told_of(self, ref: Ref) -> list[str]:
        """Give the kinds of the events about this job since its queue was heard last."""
        return [event.kind for event in await self.hear(ref.queue) if is_about(event, ref)]

    async def hush(self) -> None:
        """Take everything so far as heard."""
        for queue in await self.store.queues():
            await self.hear(queue)


def chosen(*refs: Ref, **more: Any) -> Selection:
    queue = more.pop("queue", refs[0].queue if refs else QUEUE)
    return Selection(queue=queue, ids=tuple(ref.id for ref in refs), **more)


def granted(answer: T | TorilError) -> T:
    """Give an answer, or raise the error that stands in its place."""
    if isinstance(answer, TorilError):
        raise answer
    return answer


async def blocked(task: asyncio.Task[Any]) -> None:
    """See that a task waits for something to happen."""
    done, _ = await asyncio.wait({task}, timeout=0.02)
    assert not done, f"it did not wait: {task}"
