"""A store and a model of it take the same steps, and must agree after each.

The model is `model.Model`; what every store must hold besides is in `invariants`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.property import invariants
from tests.property.model import FINISHED, READY, Job, Model
from toril._model.decide import Action, Decision, End
from toril._model.options import Dedup, JobOptions, Keep
from toril._model.record import NewJob, Record, Ref
from toril._model.report import JobPatch, Query, Selected, Selection, SettingsPatch
from toril._model.states import EVERY, State
from toril._store.protocol import ClaimRequest
from toril._store.sqlite.store import SQLiteStore
from toril.errors import TorilError
from toril.events import Event, JobEvent

T = TypeVar("T")
MAIN, KIDS = "main", "kids"
T0 = 1_800_000_000_000
LOCK = 30_000
WINDOW = 2_000
END = {
    Action.COMPLETE: End.RETURNED,
    Action.FAIL: End.RAISED,
    Action.RETRY: End.RAISED,
    Action.SNOOZE: End.SNOOZED,
    Action.RELEASE: End.RELEASED,
    Action.AWAIT: End.AWAITS,
}

queues = st.sampled_from([MAIN, KIDS])
delays = st.sampled_from([0, 0, 500, 1_000, 1_000, 40_000])
priorities = st.sampled_from([0, 0, 1, 2, 2, 2_097_151])
keeps = st.sampled_from([None, None, Keep(count=0)])
dedups = st.sampled_from(
    [
        Dedup("simple"),
        Dedup("throttle", ttl="1s"),
        Dedup("debounce", ttl="1s", extend=True, replace=True),
        Dedup("replace", replace=True),
    ]
)
options = st.builds(
    JobOptions,
    priority=priorities,
    delay_ms=delays,
    lifo=st.booleans(),
    keep_completed=keeps,
    keep_failed=keeps,
)
policies = st.sampled_from(["fail", "continue", "ignore", "wait", None])
children = st.builds(
    JobOptions, priority=priorities, delay_ms=delays, keep_failed=keeps, parent_on_fail=policies
)


class StoreMachine(RuleBasedStateMachine):
    """Steps both; ids come from the store, everything else is foretold by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = SQLiteStore(":memory:")
        self.run(self.store.open())
        self.model = Model()
        self.model.now = T0
        self.replay = invariants.Replay()
        self.heard: dict[str, str | None] = {MAIN: None, KIDS: None}
        self.tokens = 0
        self.last: tuple[Decision, str] | None = None

    def run(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(10):
                return await work

        return self.runner.run(bounded())

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    @property
    def now(self) -> int:
        return self.model.now

    def some(self, data: st.DataObject, *states: State) -> Job:
        refs = [job.ref for job in self.model.in_state(*states)]
        return self.model.jobs[data.draw(st.sampled_from(refs), label="job")]

    @initialize(limit=st.sampled_from([None, 2]), rate=st.sampled_from([None, 2]))
    def configure(self, limit: int | None, rate: int | None) -> None:
        patch = SettingsPatch(concurrency=limit)
        self.run(self.store.configure(MAIN, patch, now=self.now))
        if limit is not None:
            self.model.concurrency[MAIN] = limit
        if rate is not None:
            patch = SettingsPatch(rate=(rate, WINDOW))
            self.run(self.store.configure(KIDS, patch, now=self.now))
            self.model.rates[KIDS] = (rate, WINDOW)

    # Produce.

    def hand_in(self, *group: NewJob) -> None:
        [answer] = self.run(self.store.add([group], now=self.now))
        assert not isinstance(answer, TorilError), answer
        for new, added in zip(group, answer, strict=True):
            id, word = self.model.add(new, added.id)
            assert (added.id, added.word) == (id, word)

    @rule(queue=queues, options=options)
    def add(self, queue: str, options: JobOptions) -> None:
        self.hand_in(NewJob(queue=queue, name="plain", options=options))

    @rule(group=st.lists(options, min_size=2, max_size=4))
    def add_many(self, group: list[JobOptions]) -> None:
        self.hand_in(*[NewJob(queue=MAIN, name="many", options=one) for one in group])

    @rule(id=st.sampled_from(["a", "b"]), options=options)
    def add_with_id(self, id: str, options: JobOptions) -> None:
        self.hand_in(NewJob(queue=MAIN, name="own id", id=id, options=options))

    @rule(dedup=dedups, delay_ms=delays)
    def add_once(self, dedup: Dedup, delay_ms: int) -> None:
        options = JobOptions(dedup=dedup, delay_ms=delay_ms)
        self.hand_in(NewJob(queue=MAIN, name="once", options=options))

    @rule(delay_ms=delays)
    def add_last(self, delay_ms: int) -> None:
        # An id of its own, for only the store knows which one it keeps back otherwise.
        self.tokens += 1
        options = JobOptions(dedup=Dedup("last", keep_last=True), delay_ms=delay_ms)
        id = f"last-{self.tokens}"
        self.hand_in(NewJob(queue=MAIN, name="last", id=id, options=options))

    @rule(parent=options, kids=st.lists(children, min_size=1, max_size=3))
    def add_flow(self, parent: JobOptions, kids: list[JobOptions]) -> None:
        self.tokens += 1
        root = Ref(MAIN, f"flow-{self.tokens}")
        self.hand_in(
            NewJob(queue=MAIN, name="up", id=root.id, options=parent, expects_children=True),
            *[NewJob(queue=KIDS, name="kid", options=one, parent=root) for one in kids],
        )

    @precondition(lambda self: self.model.in_state(State.ACTIVE))
    @rule(data=st.data(), kid=children)
    def give_a_child(self, data: st.DataObject, kid: JobOptions) -> None:
        parent = self.some(data, State.ACTIVE)
        self.hand_in(NewJob(queue=KIDS, name="late kid", options=kid, parent=parent.ref))

    # Consume.

    @rule(queue=queues, limit=st.integers(1, 4))
    def claim(self, queue: str, limit: int) -> None:
        self.last = None
        self.tokens += 1
        token = f"token-{self.tokens}"
        request = ClaimRequest(queue=queue, limit=limit, token=token, lock_ms=LOCK)
        [answer] = self.run(self.store.claim([request], now=self.now))
        foretold = self.model.claim(queue, limit, token, LOCK)

        assert [claim.record.id for claim in answer.jobs] == [job.ref.id for job in foretold]
        for claim in answer.jobs:
            assert (claim.token, claim.lock_until) == (token, self.now + LOCK)
            assert claim.record.state is State.ACTIVE

    def decide(self, job: Job, action: Action, token: str, delay_ms: int = 0) -> Decision:
        return Decision(
            queue=job.ref.queue,
            id=job.ref.id,
            token=token,
            action=action,
            end=END[action],
            result="null",
            reason="boom" if action in (Action.FAIL, Action.RETRY) else None,
            delay_ms=delay_ms,
            counted=action not in (Action.SNOOZE, Action.RELEASE, Action.AWAIT),
            exhausted=action is Action.FAIL,
        )

    def settle(self, decision: Decision, job: Job) -> str:
        [word] = self.run(self.store.finish([decision], now=self.now)).words
        got = type(word).__name__ if isinstance(word, TorilError) else str(word)
        foretold = self.model.settle(job, decision.token, decision.action, decision.delay_ms)
        assert got == foretold, f"{got}, not {foretold}"
        return got

    @precondition(lambda self: self.model.in_state(State.ACTIVE))
    @rule(data=st.data(), action=st.sampled_from(list(Action)), delay_ms=delays)
    def finish(self, data: st.DataObject, action: Action, delay_ms: int) -> None:
        job = self.some(data, State.ACTIVE)
        if action is Action.SNOOZE:
            delay_ms = delay_ms or 500
        elif action is not Action.RETRY:
            delay_ms = 0
        decision = self.decide(job, action, job.token, delay_ms)
        word = self.settle(decision, job)
        carried_out = word.islower() and word != "active" and job.state is not None
        self.last = (decision, word) if carried_out else None

    @precondition(lambda self: len(self.model.in_state(State.ACTIVE)) > 1)
    @rule()
    def complete_all(self) -> None:
        """Only what has no parent: which of several parents goes first is nobody's promise."""
        self.last = None
        jobs = [job for job in self.model.in_state(State.ACTIVE) if job.parent is None]
        tokens = [job.token for job in jobs]
        decisions = [self.decide(job, Action.COMPLETE, job.token) for job in jobs]
        words = self.run(self.store.finish(decisions, now=self.now)).words
        for job, token, word in zip(jobs, tokens, words, strict=True):
            got = type(word).__name__ if isinstance(word, TorilError) else word
            assert got == self.model.settle(job, token, Action.COMPLETE, 0)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), action=st.sampled_from(list(Action)))
    def finish_as_a_stranger(self, data: st.DataObject, action: Action) -> None:
        job = self.some(data, *EVERY)
        assert self.settle(self.decide(job, action, "a stranger's"), job) == "LockLost"

    @precondition(lambda self: self.last)
    @rule()
    def repeat(self) -> None:
        assert self.last is not None
        decision, word = self.last
        assert self.run(self.store.finish([decision], now=self.now)).words == (word,)

    @rule(ms=st.sampled_from([1, 500, 1_000, WINDOW, LOCK + 1]))
    def tick(self, ms: int) -> None:
        self.model.now += ms

    @rule()
    def recover(self) -> None:
        self.last = None
        taken = self.run(self.store.recover([], now=self.now))
        foretold = {job.ref: job for job in self.model.stalled()}
        assert {Ref(one.queue, one.id) for one in taken} == set(foretold)
        for one in taken:
            job = foretold[Ref(one.queue, one.id)]
            self.model.recover(job)
            assert (one.stalls, one.fatal) == (job.stalls, False)

    # Edit.

    @rule(queue=queues, paused=st.booleans())
    def pause_or_resume(self, queue: str, paused: bool) -> None:
        self.run(self.store.configure(queue, SettingsPatch(paused=paused), now=self.now))
        (self.model.paused.add if paused else self.model.paused.discard)(queue)

    @rule(limit=st.sampled_from([None, 1, 3]))
    def limit_concurrency(self, limit: int | None) -> None:
        self.run(self.store.configure(MAIN, SettingsPatch(concurrency=limit), now=self.now))
        self.model.concurrency.pop(MAIN, None)
        if limit is not None:
            self.model.concurrency[MAIN] = limit

    def select(
        self, verb: Callable[..., Awaitable[Selected]], job: Job, foretold: str | None = None
    ) -> None:
        selection = Selection(queue=job.ref.queue, ids=(job.ref.id,))
        answer: Selected = self.run(verb(selection, now=self.now))
        refused = {id: type(error).__name__ for id, error in answer.refused.items()}
        assert refused == ({job.ref.id: foretold} if foretold else {})
        assert answer.ids == (() if foretold else (job.ref.id,))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        self.last = None
        job = self.some(data, *EVERY)
        self.select(self.store.promote, job, None if job.state is State.DELAYED else "WrongState")
        if job.state is State.DELAYED:
            self.model.promote(job)

    @precondition(lambda self: self.model.in_state(*FINISHED))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self.last = None
        job = self.some(data, *FINISHED)
        self.select(self.store.retry, job)
        self.model.retry(job)

    @precondition(lambda self: self.model.in_state(*READY))
    @rule(data=st.data(), priority=priorities)
    def prioritize(self, data: st.DataObject, priority: int) -> None:
        self.last = None
        job = self.some(data, *READY, State.DELAYED)
        patch = JobPatch(queue=job.ref.queue, id=job.ref.id, priority=priority)
        assert self.run(self.store.update([patch], now=self.now)) == [None]
        self.model.prioritize(job, priority)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.last = None
        job = self.some(data, *EVERY)
        self.select(self.store.remove, job, self.model.remove(job))

    @rule(delayed=st.booleans())
    def drain(self, delayed: bool) -> None:
        self.last = None
        states = (*READY, State.DELAYED) if delayed else READY
        selection = Selection(queue=MAIN, states=states, mode="drain")
        self.run(self.store.remove(selection, now=self.now))
        self.model.drain(MAIN, delayed=delayed)

    # What holds after each step.

    def listing(self, queue: str) -> list[Record]:
        query = Query(queue=queue, states=EVERY, limit=1_000)
        return list(self.run(self.store.find(query)).jobs)

    def news(self, queue: str) -> list[Event]:
        events: list[Event] = self.run(self.store.events(queue, self.heard[queue], limit=5_000))
        self.heard[queue] = events[-1].id if events else self.heard[queue]
        return events

    @invariant()
    def the_store_is_sound(self) -> None:
        for queue in (MAIN, KIDS):
            listed = self.listing(queue)
            [counts] = self.run(self.store.counts([queue]))
            invariants.each_job_is_in_one_state(listed)
            invariants.counts_equal_the_listing(counts, listed)
            for record in listed:
                invariants.fields_fit_the_state(record)
            self.the_model_agrees(queue, listed)
            self.what_is_said_agrees(queue, listed)

    def the_model_agrees(self, queue: str, listed: list[Record]) -> None:
        mine = {job.ref.id: job for job in self.model.jobs.values() if job.ref.queue == queue}
        assert {record.id: record.state for record in listed} == {
            id: job.state for id, job in mine.items()
        }
        for record in listed:
            job = mine[record.id]
            assert (record.attempts_made, record.runs, record.stalls, record.priority) == (
                job.attempts_made,
                job.runs,
                job.stalls,
                job.priority,
            )
            if job.state is State.DELAYED:
                assert record.due_ms == job.due
        in_order = [record.id for record in listed if record.state in READY]
        page = self.run(self.store.find(Query(queue=queue, states=READY, limit=1_000)))
        assert [record.id for record in page.jobs] == [
            job.ref.id for job in self.model.ready(queue)
        ]
        assert sorted(in_order) == sorted(record.id for record in page.jobs)

    def what_is_said_agrees(self, queue: str, listed: list[Record]) -> None:
        events = self.news(queue)
        said: defaultdict[Ref, list[str]] = defaultdict(list)
        for event in events:
            if isinstance(event, JobEvent):
                said[Ref(queue, event.job_id)].append(event.kind)
        foretold = {ref: said for ref, said in self.model.said.items() if ref.queue == queue}
        assert said == {ref: kinds for ref, kinds in foretold.items() if kinds}
        for ref in foretold:
            del self.model.said[ref]
        self.replay.follow(events)
        self.replay.agrees_with(listed)


TestStore = pytest.mark.timeout(90)(StoreMachine.TestCase)
TestStore.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
