"""A store and a model of it take the same steps, and must agree after each.

The model is `model.Model`; what every store must hold besides is in `invariants`.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec import structs

from tests.robustness.property import invariants
from tests.robustness.property.lockstep import SLACK_MS, Lockstep
from tests.robustness.property.model import READY, Job, Model
from tests.robustness.property.strategies import (
    KIDS,
    LOCK,
    MAIN,
    WINDOW,
    actions,
    delays,
    jobs,
    mostly,
    of_a_child,
    options,
    priorities,
    queues,
    waits,
)
from tests.support.redis_kit import RedisKit
from tests.support.servers import fresh_prefix, shared_server
from toril._model.decide import Action, Decision, End
from toril._model.options import JobOptions
from toril._model.record import NewJob, Record, Ref
from toril._model.report import JobPatch, Query, Selected, Selection, SettingsPatch
from toril._model.states import EVERY, State
from toril._store.connect import connect
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import ClaimRequest
from toril.errors import TorilError
from toril.events import Event, JobEvent

T0 = 1_800_000_000_000
END = {
    Action.COMPLETE: End.RETURNED,
    Action.FAIL: End.RAISED,
    Action.RETRY: End.RAISED,
    Action.SNOOZE: End.SNOOZED,
    Action.RELEASE: End.RELEASED,
    Action.AWAIT: End.AWAITS,
}


class StoreMachine(RuleBasedStateMachine):
    """Steps both; ids come from the store, everything else is foretold by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store: Any = self.make_store()
        self.run(self.store.open())
        self.model = Model()
        self.model.now = T0
        self.replay = invariants.Replay()
        self.heard: dict[str, str | None] = {MAIN: None, KIDS: None}
        self.serial = 0
        self.last: tuple[Decision, str] | None = None

    def make_store(self) -> Any:
        return SQLiteStore(":memory:")

    def wait(self, ms: int) -> None:
        self.model.now += ms

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

    def fresh(self, word: str) -> str:
        self.serial += 1
        return f"{word}-{self.serial}"

    def some(self, data: st.DataObject, *states: State) -> Job:
        refs = [job.ref for job in self.model.in_state(*states)]
        return self.model.jobs[data.draw(st.sampled_from(refs), label="job")]

    @initialize(rate=st.sampled_from([None, 2]))
    def limit_rate(self, rate: int | None) -> None:
        if rate is not None:
            patch = SettingsPatch(rate=(rate, WINDOW))
            self.run(self.store.configure(KIDS, patch, now=self.now))
            self.model.rates[KIDS] = (rate, WINDOW)

    # Produce.

    def hand_in(self, *group: NewJob) -> None:
        self.last = None
        [answer] = self.run(self.store.add([group], now=self.now))
        assert not isinstance(answer, TorilError), answer
        for new, added in zip(group, answer, strict=True):
            id, word = self.model.add(new, added.id)
            assert (added.id, added.word) == (id, word)

    @rule(some=st.lists(jobs, min_size=1, max_size=3))
    def add(self, some: list[NewJob]) -> None:
        for new in some:
            dedup = new.options.dedup
            if dedup and dedup.keep_last:  # else only the store knows the id of one kept back
                new = structs.replace(new, id=self.fresh("last"))
            self.hand_in(new)

    @rule(parent=options, kids=st.lists(of_a_child, min_size=1, max_size=3))
    def add_flow(self, parent: JobOptions, kids: list[JobOptions]) -> None:
        root = Ref(MAIN, self.fresh("flow"))
        self.hand_in(
            NewJob(queue=MAIN, name="up", id=root.id, options=parent, expects_children=True),
            *[NewJob(queue=KIDS, name="kid", options=one, parent=root) for one in kids],
        )

    @precondition(lambda self: self.model.in_state(State.ACTIVE))
    @rule(data=st.data(), kid=of_a_child)
    def give_a_child(self, data: st.DataObject, kid: JobOptions) -> None:
        parent = self.some(data, State.ACTIVE)
        self.hand_in(NewJob(queue=KIDS, name="late kid", options=kid, parent=parent.ref))

    # Consume.

    def claim_some(self, queue: str, limit: int) -> list[Job]:
        self.last = None
        token = self.fresh("token")
        request = ClaimRequest(queue=queue, limit=limit, token=token, lock_ms=LOCK)
        [answer] = self.run(self.store.claim([request], now=self.now))
        foretold = self.model.claim(queue, limit, token, LOCK)

        assert [claim.record.id for claim in answer.jobs] == [job.ref.id for job in foretold]
        for claim in answer.jobs:
            assert (claim.token, claim.lock_until) == (token, self.now + LOCK)
            assert claim.record.state is State.ACTIVE
        return foretold

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

    @rule(queue=queues, limit=st.integers(1, 6), wait_ms=waits)
    def claim(self, queue: str, limit: int, wait_ms: int) -> None:
        self.wait(wait_ms)
        self.claim_some(queue, limit)

    @rule(
        queue=st.sampled_from([KIDS, KIDS, MAIN]),
        ends=st.lists(st.sampled_from([Action.COMPLETE, Action.FAIL]), min_size=1, max_size=3),
        wait_ms=waits,
    )
    def run_some(self, queue: str, ends: list[Action], wait_ms: int) -> None:
        self.wait(wait_ms)
        for action in ends:
            for job in self.claim_some(queue, 1):
                self.settle(self.decide(job, action, job.token), job)

    @rule(data=st.data(), ends=st.lists(st.tuples(actions, delays), min_size=1, max_size=4))
    def finish(self, data: st.DataObject, ends: list[tuple[Action, int]]) -> None:
        for action, delay_ms in ends:
            for queue in (MAIN, KIDS):
                if not self.model.in_state(State.ACTIVE, queue=queue):
                    self.claim_some(queue, len(ends))
            if self.model.in_state(State.ACTIVE):
                self.finish_one(self.some(data, State.ACTIVE), action, delay_ms)

    def finish_one(self, job: Job, action: Action, delay_ms: int) -> None:
        if action is Action.SNOOZE:
            delay_ms = delay_ms or 500
        elif action is not Action.RETRY:
            delay_ms = 0
        decision = self.decide(job, action, job.token, delay_ms)
        word = self.settle(decision, job)
        carried_out = word.islower() and word != "active" and job.state is not None
        self.last = (decision, word) if carried_out else None

    @precondition(lambda self: self.last)
    @rule()
    def repeat(self) -> None:
        self.repeat_last()

    def repeat_last(self) -> None:
        assert self.last is not None
        decision, word = self.last
        assert self.run(self.store.finish([decision], now=self.now)).words == (word,)

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
    @rule(data=st.data(), action=actions)
    def finish_as_a_stranger(self, data: st.DataObject, action: Action) -> None:
        job = self.some(data, *EVERY)
        assert self.settle(self.decide(job, action, "a stranger's"), job) == "LockLost"

    @precondition(lambda self: self.model.in_state(State.ACTIVE))
    @rule(wait_ms=mostly(LOCK + 1, 0))
    def recover(self, wait_ms: int) -> None:
        self.recover_all(wait_ms)

    def recover_all(self, wait_ms: int) -> None:
        self.last = None
        self.wait(wait_ms)
        taken = self.run(self.store.recover([], now=self.now))
        foretold = {job.ref: job for job in self.model.stalled()}
        assert {Ref(one.queue, one.id) for one in taken} == set(foretold)
        for one in taken:
            job = foretold[Ref(one.queue, one.id)]
            self.model.recover(job)
            assert (one.stalls, one.fatal) == (job.stalls, False)

    # Edit.

    @rule(queue=queues, paused=mostly(False, True), limit=mostly(None, 1, 3))
    def configure(self, queue: str, paused: bool, limit: int | None) -> None:
        patch = SettingsPatch(paused=paused, concurrency=limit)
        self.run(self.store.configure(queue, patch, now=self.now))
        (self.model.paused.add if paused else self.model.paused.discard)(queue)
        self.model.concurrency.pop(queue, None)
        if limit is not None:
            self.model.concurrency[queue] = limit

    def selected(self, answer: Selected, job: Job, foretold: str | None = None) -> None:
        """See that the one job was acted on, or refused as foretold."""
        refused = {id: type(error).__name__ for id, error in answer.refused.items()}
        assert refused == ({job.ref.id: foretold} if foretold else {})
        assert answer.ids == (() if foretold else (job.ref.id,))

    def one(self, job: Job) -> Selection:
        self.last = None
        return Selection(queue=job.ref.queue, ids=(job.ref.id,))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), delay_ms=delays, priority=priorities)
    def edit(self, data: st.DataObject, delay_ms: int, priority: int) -> None:
        job = self.some(data, *EVERY)
        verbs: list[Callable[[Job], None]] = [
            self.promote,
            self.retry,
            self.cancel,
            lambda job: self.change_delay(job, delay_ms),
        ]
        if job.state in (*READY, State.DELAYED):
            verbs.append(lambda job: self.change_priority(job, priority))
        verbs[data.draw(st.integers(0, len(verbs) - 1), label="verb")](job)

    def promote(self, job: Job) -> None:
        answer = self.run(self.store.promote(self.one(job), now=self.now))
        self.selected(answer, job, self.model.promote(job))

    def retry(self, job: Job) -> None:
        answer = self.run(self.store.retry(self.one(job), now=self.now))
        self.selected(answer, job, self.model.retry(job))

    @precondition(lambda self: self.model.in_state(State.ACTIVE))
    @rule(data=st.data())
    def cancel_what_runs(self, data: st.DataObject) -> None:
        self.cancel(self.some(data, State.ACTIVE))

    def cancel(self, job: Job) -> None:
        assert self.change(job, cancel="") == self.model.cancel(job)

    def change_delay(self, job: Job, delay_ms: int) -> None:
        assert self.change(job, delay_ms=delay_ms) == self.model.delay(job, delay_ms)

    def change_priority(self, job: Job, priority: int) -> None:
        assert self.change(job, priority=priority) is None
        self.model.prioritize(job, priority)

    def change(self, job: Job, **what: int | str) -> str | None:
        self.last = None
        patch = JobPatch(queue=job.ref.queue, id=job.ref.id, **what)  # type: ignore[arg-type]
        [error] = self.run(self.store.update([patch], now=self.now))
        return type(error).__name__ if error else None

    @precondition(lambda self: len(self.model.jobs) > 4)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = self.some(data, *EVERY)
        answer = self.run(self.store.remove(self.one(job), now=self.now))
        self.selected(answer, job, self.model.remove(job))

    @precondition(lambda self: len(self.model.jobs) > 20)
    @rule(delayed=st.booleans())
    def drain(self, delayed: bool) -> None:
        self.last = None
        states = (*READY, State.DELAYED) if delayed else READY
        selection = Selection(queue=MAIN, states=states, mode="drain")
        self.run(self.store.remove(selection, now=self.now))
        self.model.drain(MAIN, delayed=delayed)

    # What holds after each step.

    def listing(self, queue: str, states: tuple[State, ...]) -> list[Record]:
        query = Query(queue=queue, states=states, limit=1_000)
        return list(self.run(self.store.find(query)).jobs)

    def news(self, queue: str) -> list[Event]:
        events: list[Event] = self.run(self.store.events(queue, self.heard[queue], limit=5_000))
        self.heard[queue] = events[-1].id if events else self.heard[queue]
        return events

    @invariant()
    def the_store_is_sound_and_the_model_agrees(self) -> None:
        for queue in (MAIN, KIDS):
            listed = self.listing(queue, EVERY)
            [counts] = self.run(self.store.counts([queue]))
            invariants.each_job_is_in_one_state(listed)
            invariants.counts_equal_the_listing(counts, listed)
            for record in listed:
                invariants.fields_fit_the_state(record)
            self.jobs_agree(queue, listed)
            self.events_agree(queue, listed)

    def jobs_agree(self, queue: str, listed: list[Record]) -> None:
        mine = {job.ref.id: job for job in self.model.jobs.values() if job.ref.queue == queue}
        assert {record.id: str(record.state) for record in listed} == {
            id: str(job.state) for id, job in mine.items()
        }
        for record in listed:
            job = mine[record.id]
            assert record.attempts_made == job.attempts_made
            assert (record.runs, record.stalls) == (job.runs, job.stalls)
            assert record.priority == job.priority
            assert record.due_ms == (job.due if job.state is State.DELAYED else None)
        in_order = [record.id for record in self.listing(queue, READY)]
        assert in_order == [job.ref.id for job in self.model.ready(queue)]

    def events_agree(self, queue: str, listed: list[Record]) -> None:
        events = self.news(queue)
        said: defaultdict[Ref, list[str]] = defaultdict(list)
        for event in events:
            if isinstance(event, JobEvent):
                said[Ref(queue, event.job_id)].append(event.kind)
        foretold = {ref: kinds for ref, kinds in self.model.said.items() if ref.queue == queue}
        assert said == {ref: kinds for ref, kinds in foretold.items() if kinds}
        for ref in foretold:
            del self.model.said[ref]
        self.replay.follow(events)
        self.replay.agrees_with(listed)


class LockstepMachine(StoreMachine):
    """Steps the model and both stores, which must also give each other's answers."""

    def make_store(self) -> Any:
        redis = connect(shared_server().url, fresh_prefix())
        self.both = Lockstep(
            SQLiteStore(":memory:"), redis, RedisKit(redis, shared_server(), slack_ms=SLACK_MS)
        )
        return self.both

    def wait(self, ms: int) -> None:
        super().wait(ms)
        self.both.wait(ms)

    @precondition(lambda self: len(self.model.in_state(State.ACTIVE)) == 1)
    @rule(wait_ms=mostly(LOCK + 1, 0))
    def recover(self, wait_ms: int) -> None:
        """Only one job: in which order several come back is nobody's promise."""
        self.recover_all(wait_ms)

    @precondition(lambda self: self.last and self.last[0].action is not Action.AWAIT)
    @rule()
    def repeat(self) -> None:
        """Not of an await whose job has ended: Redis answers that from what it keeps of a call."""
        self.repeat_last()

    @invariant()
    def no_time_passes_but_what_the_machine_lets(self) -> None:
        self.both.wait(0)


TestStore = pytest.mark.timeout(90)(StoreMachine.TestCase)
TestStore.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    # Shrinking takes minutes: the seed that is printed repeats a failure.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

TestLockstep = pytest.mark.timeout(90)(LockstepMachine.TestCase)
# The same steps at each run; `make torture` takes new ones, and more.
TestLockstep.settings = settings(
    TestStore.settings,
    max_examples=5 * int(os.environ.get("TORIL_ROUNDS", "1")),
    stateful_step_count=25,
    derandomize="TORIL_ROUNDS" not in os.environ,
    database=None,
)
