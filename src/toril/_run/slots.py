"""The jobs in a worker's hand: each from its claim until the store has settled it.

A slot is a plain object; the user's code runs in the one task that it has, and only that task is
ever cancelled. The slot always lives to hand over a decision. Never here: carrying decisions to
the store.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from toril._model.backoff import Custom
from toril._model.crashes import alone_from, stalled_reason
from toril._model.decide import Action, Decision, End, Outcome, cancelled, decide, too_late
from toril._model.record import Claim, Ref
from toril._model.times import Millis
from toril.errors import (
    ConfigError,
    FailedChildren,
    JobFailed,
    JobNotFound,
    LockLost,
    PendingChildren,
    StoreError,
    TorilError,
    UnknownTask,
    is_final,
)

from .crashed import is_of_child, last_crash
from .executors import NOT_RUN, Ended, Executors, perform
from .executors.outcome import custom_backoff, reason_of
from .handlers import Handler
from .heartbeat import lease_clock
from .lanes import Lane
from .looplag import line_of
from .means import Means
from .slot import FOR_GOOD, Slot, Why, unstorable, within_limit
from .telling import no_handler

__all__ = ["Means", "Slot", "Slots", "Why"]

# Code that suppresses its cancellation is cancelled again this often.
INSIST_S = 1.0
# A decision that the store refuses is sent again at first after that, and then less often.
LONGEST_INSIST_S = 30.0
# So long may the code of a cancelled job clean up: on the loop it is then cancelled again, and
# after so many times left to itself, as it is at once in a thread.
CLEANUP_S = 5.0
MAX_INSISTS = 5
# So often may a job that waits for children find none pending before it is taken for a mistake.
MAX_RERUNS = 100


class Slots:
    """Run claimed jobs, and turn the ends of their tries into decisions.

    `outbox` holds the decisions that wait to be carried, in the order in which they were made.
    """

    def __init__(self, means: Means, executors: Executors) -> None:
        self._means = means
        self._executors = executors
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._crashy: deque[Slot] = deque()
        self._alone: Slot | None = None
        self._preparing: set[asyncio.Task[Any]] = set()
        self.held: set[Slot] = set()
        self.outbox: list[tuple[Slot, Decision]] = []
        self.closing = False
        self.empty = asyncio.Event()
        self.empty.set()

    @property
    def solitary(self) -> bool:
        """Say whether a job runs alone, or waits for that: nothing may be claimed meanwhile."""
        return self._alone is not None or bool(self._crashy)

    # From a claim to the handler.

    def take(self, claim: Claim, lane: Lane, lease_until: float, now_ms: Millis) -> None:
        """Take a job in hand that was claimed at this time, and run it, now or when it may."""
        record = claim.record
        job = self._means.telling.job(self._means.context, claim)
        slot = Slot(claim, job, lane, lease_until, now_ms)
        self.held.add(slot)
        self.empty.clear()
        slot.enter()
        # A claim that was under way when a job began to run alone must not give it company.
        if self.closing or self._alone is not None:
            self._settle(slot, NOT_RUN)
        elif record.deferred is not None:
            outcome = Outcome(end=End.FAILED, reason=record.deferred)
            why = record.cancelled
            self._pass_over(slot, outcome if why is None else cancelled(why))
        else:
            late = too_late(record, now_ms)
            if late is None:
                self._admit(slot)
            else:
                self._pass_over(slot, late)

    def _pass_over(self, slot: Slot, outcome: Outcome) -> None:
        """Fail a job without running it; its schedule goes on."""
        ended = slot.failure(outcome)
        if slot.claim.record.schedule is None:
            self._settle(slot, ended)
            return
        task = self._loop.create_task(self._means.prepare(slot.claim))
        # The loop keeps only weak references to its tasks.
        self._preparing.add(task)
        task.add_done_callback(partial(self._passed_over, slot, ended))

    def _passed_over(self, slot: Slot, ended: Ended, task: asyncio.Task[None]) -> None:
        self._preparing.discard(task)
        if slot in self.held:
            self._settle(slot, ended)

    def _ask_how_it_crashed(self, slot: Slot, then: Callable[[str | None], None]) -> None:
        def answered(task: asyncio.Task[str | None]) -> None:
            self._preparing.discard(task)
            # Without an answer, it goes on all the same.
            sound = not task.cancelled() and task.exception() is None
            if slot in self.held:
                then(task.result() if sound else None)

        record = slot.claim.record
        question = last_crash(self._means.context.store, Ref(record.queue, record.id))
        task = self._loop.create_task(question)
        self._preparing.add(task)
        task.add_done_callback(answered)

    def _fail_crashed(self, slot: Slot, how: str | None) -> None:
        """Fail a job that its handler must not run again after a crash, and say how that was."""
        self._pass_over(slot, Outcome(end=End.FAILED, reason=stalled_reason(how)))

    def _admit(self, slot: Slot) -> None:
        record = slot.claim.record
        handler = self._means.registry.find(record.queue, record.name)
        if handler is None:
            self._means.telling.unknown(record, self._means.registry.names(record.queue))
            outcome = Outcome(end=End.UNKNOWN, reason=no_handler(record))
            self._settle(slot, Ended(outcome, error=UnknownTask(no_handler(record))))
            return
        if record.stalls and handler.on_crash == "fail":
            self._ask_how_it_crashed(slot, partial(self._fail_crashed, slot))
            return
        slot.handler = handler = slot.bound(handler)
        self._run(slot, handler)

    def _run(self, slot: Slot, handler: Handler) -> None:
        """Run a job now, or by itself when that may be."""
        if slot.claim.record.stalls < alone_from(self._means.max_stalls):
            self._launch(slot, handler)
        elif handler.isolation is None:
            self._hold(slot)
        else:
            self._ask_how_it_crashed(slot, partial(self._run_crashed, slot, handler))

    def _run_crashed(self, slot: Slot, handler: Handler, how: str | None) -> None:
        """Run a job that crashed, by itself unless only its child process died."""
        if self.closing or slot.why is not None:
            self._settle(slot, NOT_RUN)
        elif is_of_child(how) and self._alone is None:
            self._launch(slot, handler)
        else:
            self._hold(slot)

    def _hold(self, slot: Slot) -> None:
        self._crashy.append(slot)
        # Later, so that the rest of the same claim is running by then.
        self._loop.call_soon(self._next_alone)

    def _next_alone(self) -> None:
        if self._crashy and not self._running and self._alone is None:
            slot = self._alone = self._crashy.popleft()
            if slot.handler is not None:
                self._launch(slot, slot.handler)

    def _launch(self, slot: Slot, handler: Handler) -> None:
        record = slot.claim.record
        loop = self._loop
        slot.started = loop.time()
        if record.schedule is None and slot is not self._alone:
            work = self._perform(slot, handler)
        else:
            work = self._prepared(slot, handler)
        slot.task = loop.create_task(work)
        slot.task.add_done_callback(partial(self._done, slot))
        slot.wind(self.interrupt)
        if handler.isolation is None:
            slot.begin(self.interrupt)
        self._running += 1
        self._means.telling.started(slot.job)

    async def _prepared(self, slot: Slot, handler: Handler) -> Ended:
        """Do what must be done in the store before this job runs, then run it."""
        try:
            if slot is self._alone:
                await self._means.alone(slot.claim)
        except LockLost:
            self._lose(slot)
            return NOT_RUN
        except StoreError:
            # It must not crash while nobody knows that it ran alone: another time.
            return NOT_RUN
        if slot.claim.record.schedule is not None:
            await self._means.prepare(slot.claim)
        return await self._perform(slot, handler)

    def _perform(self, slot: Slot, handler: Handler) -> Coroutine[Any, Any, Ended]:
        return perform(handler, slot.job, self._executors, partial(self._begins, slot))

    def _begins(self, slot: Slot) -> bool:
        """Start the clocks of a try, unless the lock is over before its code begins."""
        if slot.lease_until < lease_clock():
            self._lose(slot)
            return False
        slot.begin(self.interrupt)
        return True

    # From the handler to a decision.

    def _done(self, slot: Slot, task: asyncio.Task[Ended]) -> None:
        if slot.task is task:
            self._end(slot, task)

    def _end(self, slot: Slot, task: asyncio.Task[Ended] | None) -> None:
        """End a try; without a task its code is left to itself."""
        self._running -= 1
        slot.task = None
        slot.seconds = self._loop.time() - slot.started
        slot.stop_clocks()
        if slot is self._alone:
            self._alone = None
            self._means.wake()
        if slot.why is Why.LOCK_LOST or slot not in self.held:
            self.drop(slot)
        else:
            self._settle(slot, slot.read(task))
        if self._crashy:
            self._next_alone()

    def _settle(self, slot: Slot, ended: Ended) -> None:
        ended = within_limit(self._means.context.limits, slot.claim.record, ended)
        outcome = ended.outcome
        if outcome.end in (End.RAISED, End.TIMED_OUT):
            outcome = self._with_backoff(slot, ended)
        if outcome.end is End.CRASHED and slot.handler is not None:
            outcome = msgspec.structs.replace(outcome, once=slot.handler.on_crash == "fail")
        slot.ended = ended
        decision = decide(
            slot.claim,
            outcome,
            random=random.random,
            now=slot.now(),
            unknown_limit_ms=self._means.unknown_limit_ms,
            max_stalls=self._means.max_stalls,
        )
        self.outbox.append((slot, decision))
        self._means.wake()

    def _with_backoff(self, slot: Slot, ended: Ended) -> Outcome:
        record = slot.claim.record
        options = record.options
        if not isinstance(options.backoff, Custom) or record.attempt >= options.attempts:
            return ended.outcome
        own = slot.handler.backoff if slot.handler is not None else None
        error = ended.error or JobFailed(
            ended.outcome.reason or "", queue=record.queue, job_id=record.id
        )
        wait, fault = custom_backoff(own or self._means.backoff, record.attempt, error, slot.job)
        if fault is not None:
            self._means.telling.trouble(f"backoff of job {record.name!r}", fault)
        return msgspec.structs.replace(ended.outcome, backoff_ms=wait)

    # From a decision to the end.

    def send(self, most: int) -> list[tuple[Slot, Decision]]:
        """Give the decisions for one trip; their jobs free their places, lapsed ones are lost."""
        batch, self.outbox = self.outbox[:most], self.outbox[most:]
        now = lease_clock()
        sound: list[tuple[Slot, Decision]] = []
        for slot, decision in batch:
            if slot.why is Why.LOCK_LOST or slot.lease_until < now:
                self._lose(slot)
                self.drop(slot)
                continue
            slot.sent = True
            # A job that may have to run on at once must not find its place taken.
            if decision.action is not Action.AWAIT:
                slot.leave()
            sound.append((slot, decision))
        return sound

    def unsend(self, batch: Sequence[tuple[Slot, Decision]]) -> None:
        """Take back the decisions of a trip that did not arrive; they go first next time."""
        for slot, _ in batch:
            self._reenter(slot)
        self.outbox[:0] = batch
        if batch:
            self._means.wake()

    def settled(self, slot: Slot, decision: Decision, answer: str | TorilError) -> None:
        """Take what the store says of a decision."""
        if answer == "active":
            self._again(slot)
        elif isinstance(answer, str):
            self._forget(slot)
            self._means.telling.settled(slot.job, decision, answer, slot.ended, slot.seconds)
        else:
            self._refused(slot, decision, answer)

    def _again(self, slot: Slot) -> None:
        """Run on: the job wanted to wait for its children, and none is pending."""
        self._reenter(slot)
        slot.reruns += 1
        if self.closing or slot.handler is None or self._alone is not None:
            self._settle(slot, NOT_RUN)
        elif slot.reruns > MAX_RERUNS:
            reason = f"it asked {slot.reruns} times to wait for children, and none was pending"
            self._settle(slot, slot.failure(Outcome(end=End.RAISED, reason=reason)))
        else:
            self._run(slot, slot.handler)

    def _refused(self, slot: Slot, decision: Decision, error: TorilError) -> None:
        if isinstance(error, PendingChildren | FailedChildren):
            self._reenter(slot)
            outcome = Outcome(end=End.RAISED, reason=reason_of(error))
            self._settle(slot, Ended(outcome, error=error))
        elif is_final(error) and not slot.refusals:
            slot.refusals += 1
            self._reenter(slot)
            self._means.telling.trouble(f"settling job {slot.claim.record.id!r}", error)
            self._settle(slot, Ended(unstorable(decision, error), error=error))
        elif isinstance(error, StoreError | ConfigError):
            # Only this one: the trip as a whole went well.
            slot.refusals += 1
            pause = min(INSIST_S * 2.0 ** (slot.refusals - 1), LONGEST_INSIST_S)
            self._loop.call_later(pause, self._send_again, slot, decision)
            self._means.telling.trouble(f"settling job {slot.claim.record.id!r}", error)
        else:
            if isinstance(error, LockLost | JobNotFound):
                self._lose(slot)
            else:
                self._means.telling.trouble(f"settling job {slot.claim.record.id!r}", error)
            self._forget(slot)

    def _send_again(self, slot: Slot, decision: Decision) -> None:
        if slot in self.held:
            self.unsend([(slot, decision)])

    def _reenter(self, slot: Slot) -> None:
        slot.sent = False
        slot.enter()

    def drop(self, slot: Slot) -> None:
        """Let go of a job without a decision: it is not this worker's any more."""
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        self.held.discard(slot)
        if slot.leave():
            self._means.wake()
        if not self.held:
            self.empty.set()

    # Interrupting.

    def lost(self, held: Sequence[Slot]) -> None:
        """Act on locks that are gone; those whose decision is under way hear it from the store."""
        for slot in held:
            if slot not in self.held or slot.sent:
                continue
            self._lose(slot)
            if slot.task is not None:
                self.interrupt(slot, Why.LOCK_LOST)
            elif slot in self._crashy:
                self._crashy.remove(slot)
                self.drop(slot)

    def _lose(self, slot: Slot) -> None:
        if slot.why is not Why.LOCK_LOST:
            slot.why = Why.LOCK_LOST
            self._means.telling.lock_lost(slot.job)

    def cancel(self, wishes: Sequence[tuple[Slot, str]]) -> None:
        """End jobs that somebody wants to end; of one that has ended the store says what it is."""
        for slot, why in wishes:
            if slot not in self.held or slot.sent or slot.why is not None:
                continue
            slot.job.told_to_end(why)
            if slot.task is not None:
                self.interrupt(slot, Why.CANCELLED)
            elif slot in self._crashy:
                self._crashy.remove(slot)
                self._settle(slot, slot.failure(cancelled(why)))

    def interrupt(self, slot: Slot, why: Why) -> None:
        """Cancel a running handler; a thread cannot be stopped and is left to itself.

        The thread of a cancelled job has a while to end. A child process that does not end its
        job is killed when that is cancelled again.
        """
        if slot.task is None or (slot.why is not None and why in FOR_GOOD):
            return
        slot.why = slot.why or why
        slot.job.cancelled.set()
        if slot.soft is not None:
            slot.soft.spare()
        if not slot.runs_in(self._executors.threads):
            slot.task.cancel(why.value)
            # Past a deadline a child process is killed as soon as past a timeout.
            patient = why is Why.CANCELLED or (why is Why.DEADLINE and not slot.in_process)
            pause = CLEANUP_S if patient else INSIST_S
            self._loop.call_later(pause, self._insist, slot)
        elif why is Why.CANCELLED:
            self._loop.call_later(CLEANUP_S, self._abandon, slot, slot.task)
        else:
            slot.task.cancel()
            self.ask(slot, why)

    def _abandon(self, slot: Slot, task: asyncio.Task[Ended]) -> None:
        """Leave the thread of a cancelled job to itself, if it still runs."""
        if slot.task is task:
            task.cancel()
            self.ask(slot, Why.CANCELLED)

    def ask(self, slot: Slot, why: Why) -> None:
        """Tell code in a thread that it should end, and everybody that it may not."""
        slot.job.cancelled.set()
        thread = self._executors.threads.thread_of(slot.job)
        self._means.telling.unstoppable(
            slot.job,
            f"{why.value}, and Python cannot stop the thread it runs in",
            None if thread is None else line_of(thread),
        )

    def _insist(self, slot: Slot) -> None:
        if slot.task is None or slot not in self.held:
            return
        slot.insists += 1
        if slot.insists == 1 and slot.why is not None and not slot.in_process:
            self._means.telling.unstoppable(
                slot.job, f"{slot.why.value}, and it suppresses its cancellation"
            )
        if slot.insists > MAX_INSISTS and slot.why in FOR_GOOD:
            self._end(slot, None)
            return
        slot.task.cancel()
        self._loop.call_later(INSIST_S, self._insist, slot)

    # Stopping.

    def close(self) -> None:
        """Run nothing more: what is claimed from now on, or waits to run alone, is put back."""
        self.closing = True
        while self._crashy:
            self._settle(self._crashy.popleft(), NOT_RUN)

    def give_up(self) -> None:
        """Let go of jobs whose code has ended and whose end the store refuses: their locks lapse."""
        for slot in [slot for slot in self.held if slot.task is None and slot.refusals]:
            error = TorilError("its end could not be stored before the worker stopped")
            self._means.telling.trouble(f"settling job {slot.claim.record.id!r}", error)
            self._forget(slot)
        self.outbox = [(slot, decision) for slot, decision in self.outbox if slot in self.held]

    def running(self, *, in_threads: bool) -> list[Slot]:
        """List the jobs whose handlers run: in threads, or where they can be stopped."""
        return [
            slot
            for slot in self.held
            if slot.task is not None
            and slot.handler is not None
            and slot.runs_in(self._executors.threads) is in_threads
        ]

    def abandon(self) -> None:
        """Leave code on the loop that refuses to end to itself, and its locks to lapse."""
        for slot in self.running(in_threads=False):
            self._forget(slot)
