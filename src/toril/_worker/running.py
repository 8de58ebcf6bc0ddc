"""The jobs of a worker: each from its claim until the store has settled it (see `phase`).

Only the task that runs the user's code is ever cancelled, never what makes the decision after it.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from toril._handlers.handlers import Handler
from toril._isolation.executor import NOT_RUN, Ended, Executors, perform
from toril._isolation.outcome import custom_backoff, reason_of, ruled
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

from .claims import ClaimSource
from .heartbeat import lease_clock
from .host import WorkerHost
from .last_crash import is_of_child, last_crash
from .loop_lag import line_of
from .phase import Phase
from .reporting import no_handler
from .running_job import FOR_GOOD, RunningJob, Slots, Why, unstorable, within_limit

# Code that suppresses its cancellation is cancelled again this often.
INSIST_S = 1.0
# A decision that the store refuses is sent again at first after that, and then less often.
LONGEST_INSIST_S = 30.0
# How long a cancelled job's code may clean up; on the loop it is then cancelled again, this often.
CLEANUP_S = 5.0
MAX_INSISTS = 5
# So often may a job that waits for children find none pending before it is taken for a mistake.
MAX_RERUNS = 100


class RunningJobs:
    """Run claimed jobs, and turn the ends of their tries into decisions.

    `outbox` holds the decisions that wait to be carried, in the order in which they were made.
    """

    def __init__(self, host: WorkerHost, executors: Executors) -> None:
        self._host = host
        self._executors = executors
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._crashy: deque[RunningJob] = deque()
        self._alone: RunningJob | None = None
        self._slots = Slots()
        self._preparing: set[asyncio.Task[Any]] = set()
        self.held: set[RunningJob] = set()
        self.outbox: list[tuple[RunningJob, Decision]] = []
        self.closing = False
        self.empty = asyncio.Event()
        self.empty.set()

    @property
    def solitary(self) -> bool:
        """Whether a job runs alone, or waits for that: nothing may be claimed meanwhile."""
        return self._alone is not None or bool(self._crashy)

    # From a claim to the handler.

    def take(self, claim: Claim, source: ClaimSource, lease_until: float, now_ms: Millis) -> None:
        """Take a job in hand that was claimed at this time, and run it, now or when it may."""
        record = claim.record
        job = self._host.reporter.job(self._host.context, claim)
        clock = self._host.context.store.clock
        running = RunningJob(claim, job, source, lease_until, now_ms, clock)
        self.held.add(running)
        self.empty.clear()
        running.enter()
        # A claim that was under way when a job began to run alone must not give it company.
        if self.closing or self._alone is not None:
            self._settle(running, NOT_RUN)
        elif record.deferred is not None:
            outcome = Outcome(end=End.FAILED, reason=record.deferred)
            why = record.cancelled
            self._pass_over(running, outcome if why is None else cancelled(why))
        else:
            late = too_late(record, now_ms)
            if late is None:
                self._admit(running)
            else:
                self._pass_over(running, late)

    def _pass_over(self, running: RunningJob, outcome: Outcome) -> None:
        """Fail a job without running it; its schedule goes on."""
        ended = running.failure(outcome)
        if running.claim.record.schedule is None:
            self._settle(running, ended)
            return
        task = self._loop.create_task(self._host.prepare(running.claim))
        # The loop keeps only weak references to its tasks.
        self._preparing.add(task)
        task.add_done_callback(partial(self._passed_over, running, ended))

    def _passed_over(self, running: RunningJob, ended: Ended, task: asyncio.Task[None]) -> None:
        self._preparing.discard(task)
        if running.phase is Phase.CLAIMED:
            self._settle(running, ended)

    def _ask_how_it_crashed(self, running: RunningJob, then: Callable[[str | None], None]) -> None:
        def answered(task: asyncio.Task[str | None]) -> None:
            self._preparing.discard(task)
            # Without an answer, it goes on all the same.
            sound = not task.cancelled() and task.exception() is None
            if running.phase is Phase.CLAIMED:
                then(task.result() if sound else None)

        record = running.claim.record
        question = last_crash(self._host.context.store, Ref(record.queue, record.id))
        task = self._loop.create_task(question)
        self._preparing.add(task)
        task.add_done_callback(answered)

    def _fail_crashed(self, running: RunningJob, how: str | None) -> None:
        """Fail a job that its handler must not run again after a crash, and say how that was."""
        self._pass_over(running, Outcome(end=End.FAILED, reason=stalled_reason(how)))

    def _admit(self, running: RunningJob) -> None:
        record = running.claim.record
        handler = self._host.registry.find(record.queue, record.name)
        if handler is None:
            self._host.reporter.unknown(record, self._host.registry.names(record.queue))
            outcome = Outcome(end=End.UNKNOWN, reason=no_handler(record))
            self._settle(running, Ended(outcome, error=UnknownTask(no_handler(record))))
            return
        if record.stalls and handler.on_crash == "fail":
            self._ask_how_it_crashed(running, partial(self._fail_crashed, running))
            return
        running.handler = handler = running.bound(handler)
        self._run(running, handler)

    def _run(self, running: RunningJob, handler: Handler) -> None:
        """Run a job now, or alone when that is possible."""
        if running.claim.record.stalls < alone_from(self._host.max_stalls):
            self._launch(running, handler)
        elif handler.isolation is None:
            self._hold(running)
        else:
            self._ask_how_it_crashed(running, partial(self._run_crashed, running, handler))

    def _run_crashed(self, running: RunningJob, handler: Handler, how: str | None) -> None:
        """Run a job that crashed, on its own unless only its child process died."""
        if self.closing or running.why is not None:
            self._settle(running, NOT_RUN)
        elif is_of_child(how) and self._alone is None:
            self._launch(running, handler)
        else:
            self._hold(running)

    def _hold(self, running: RunningJob) -> None:
        running.advance(Phase.WAITING)
        self._crashy.append(running)
        # Later, so that the rest of the same claim is running by then.
        self._loop.call_soon(self._next_alone)

    def _next_alone(self) -> None:
        if self._crashy and not self._running and self._alone is None:
            running = self._alone = self._crashy.popleft()
            if running.handler is not None:
                self._launch(running, running.handler)

    def _launch(self, running: RunningJob, handler: Handler) -> None:
        record = running.claim.record
        loop = self._loop
        running.advance(Phase.RUNNING)
        running.started = loop.time()
        running.slot = self._slots.take()
        if record.schedule is None and running is not self._alone:
            work = self._perform(running, handler)
        else:
            work = self._prepared(running, handler)
        running.task = loop.create_task(work)
        running.task.add_done_callback(partial(self._done, running))
        running.wind(self.interrupt)
        if handler.isolation is None:
            running.begin(self.interrupt)
        self._running += 1
        self._host.reporter.started(running.job)

    async def _prepared(self, running: RunningJob, handler: Handler) -> Ended:
        """Do what must be done in the store before this job runs, then run it."""
        try:
            if running is self._alone:
                await self._host.alone(running.claim)
        except LockLost:
            self._lose(running)
            return NOT_RUN
        except StoreError:
            # It must not crash while nobody knows that it ran alone: another time.
            return NOT_RUN
        if running.claim.record.schedule is not None:
            await self._host.prepare(running.claim)
        return await self._perform(running, handler)

    def _perform(self, running: RunningJob, handler: Handler) -> Coroutine[Any, Any, Ended]:
        return perform(handler, running.job, self._executors, partial(self._begins, running))

    def _begins(self, running: RunningJob) -> bool:
        """Start the clocks of a try, unless the lock is over before its code begins."""
        if running.lease_until < lease_clock():
            self._lose(running)
            return False
        running.begin(self.interrupt)
        return True

    # From the handler to a decision.

    def _done(self, running: RunningJob, task: asyncio.Task[Ended]) -> None:
        if running.task is task:
            self._end(running, task)

    def _end(self, running: RunningJob, task: asyncio.Task[Ended] | None) -> None:
        """End a try; without a task its code is left to itself."""
        self._running -= 1
        running.task = None
        running.seconds = self._loop.time() - running.started
        running.stop_clocks()
        self._slots.free(running.slot)
        if running is self._alone:
            self._alone = None
            self._host.wake()
        if running.phase is Phase.GONE:
            pass  # it was abandoned while it ran
        elif running.why is Why.LOCK_LOST:
            self._forget(running)
        else:
            self._settle(running, ruled(running.handler, running.read(task)))
        if self._crashy:
            self._next_alone()

    def _settle(self, running: RunningJob, ended: Ended) -> None:
        ended = within_limit(self._host.context.limits, running.claim.record, ended)
        outcome = ended.outcome
        if outcome.end in (End.RAISED, End.TIMED_OUT) and not outcome.final:
            outcome = self._with_backoff(running, ended)
        if outcome.end is End.CRASHED and running.handler is not None:
            outcome = msgspec.structs.replace(outcome, once=running.handler.on_crash == "fail")
        running.ended = ended
        decision = decide(
            running.claim,
            outcome,
            random=random.random,
            now=running.now(),
            unknown_limit_ms=self._host.unknown_limit_ms,
            max_stalls=self._host.max_stalls,
        )
        running.advance(Phase.DECIDED)
        self.outbox.append((running, running.signed(decision, self._host.version)))
        self._host.wake()

    def _with_backoff(self, running: RunningJob, ended: Ended) -> Outcome:
        record = running.claim.record
        options = record.options
        if not isinstance(options.backoff, Custom) or record.attempt >= options.attempts:
            return ended.outcome
        own = running.handler.backoff if running.handler is not None else None
        error = ended.error or JobFailed(
            ended.outcome.reason or "", queue=record.queue, job_id=record.id
        )
        wait, fault = custom_backoff(own or self._host.backoff, record.attempt, error, running.job)
        if fault is not None:
            self._host.reporter.trouble(f"backoff of job {record.name!r}", fault)
        return msgspec.structs.replace(ended.outcome, backoff_ms=wait)

    # From a decision to the end.

    def send(self, most: int) -> list[tuple[RunningJob, Decision]]:
        """Return the decisions for one trip; their jobs free their places, lapsed ones are lost."""
        batch, self.outbox = self.outbox[:most], self.outbox[most:]
        now = lease_clock()
        sound: list[tuple[RunningJob, Decision]] = []
        for running, decision in batch:
            if running.phase is not Phase.DECIDED:
                continue
            if running.why is Why.LOCK_LOST or running.lease_until < now:
                self._lose(running)
                self._forget(running)
                continue
            running.advance(Phase.SENT)
            # A job that may have to run on at once must not find its place taken.
            if decision.action is not Action.AWAIT:
                running.leave()
            sound.append((running, decision))
        return sound

    def unsend(self, batch: Sequence[tuple[RunningJob, Decision]]) -> None:
        """Take back the decisions of a trip that did not arrive; they go first next time."""
        again = [(running, decision) for running, decision in batch if running.phase is Phase.SENT]
        for running, _ in again:
            running.advance(Phase.DECIDED)
            running.enter()
        self.outbox[:0] = again
        if again:
            self._host.wake()

    def settled(self, running: RunningJob, decision: Decision, answer: str | TorilError) -> None:
        """Take what the store says of a decision."""
        if running.phase is not Phase.SENT:
            return
        if answer == "active":
            self._again(running)
        elif isinstance(answer, str):
            self._forget(running)
            self._host.reporter.settled(
                running.job, decision, answer, running.ended, running.seconds
            )
        else:
            self._refused(running, decision, answer)

    def _again(self, running: RunningJob) -> None:
        """Run on: the job wanted to wait for its children, and none is pending."""
        running.advance(Phase.CLAIMED)
        running.enter()
        running.reruns += 1
        if self.closing or running.handler is None or self._alone is not None:
            self._settle(running, NOT_RUN)
        elif running.reruns > MAX_RERUNS:
            reason = f"it asked {running.reruns} times to wait for children, and none was pending"
            self._settle(running, running.failure(Outcome(end=End.RAISED, reason=reason)))
        else:
            self._run(running, running.handler)

    def _refused(self, running: RunningJob, decision: Decision, error: TorilError) -> None:
        if isinstance(error, PendingChildren | FailedChildren):
            running.enter()
            outcome = Outcome(end=End.RAISED, reason=reason_of(error))
            self._settle(running, Ended(outcome, error=error))
        elif is_final(error) and not running.refusals:
            running.refusals += 1
            running.enter()
            self._host.reporter.trouble(f"settling job {running.claim.record.id!r}", error)
            self._settle(running, Ended(unstorable(decision, error), error=error))
        elif isinstance(error, StoreError | ConfigError):
            # Only this one: the trip as a whole went well.
            running.refusals += 1
            pause = min(INSIST_S * 2.0 ** (running.refusals - 1), LONGEST_INSIST_S)
            self._loop.call_later(pause, self._send_again, running, decision)
            self._host.reporter.trouble(f"settling job {running.claim.record.id!r}", error)
        else:
            if isinstance(error, LockLost | JobNotFound):
                self._lose(running)
            else:
                self._host.reporter.trouble(f"settling job {running.claim.record.id!r}", error)
            self._forget(running)

    def _send_again(self, running: RunningJob, decision: Decision) -> None:
        self.unsend([(running, decision)])

    def _forget(self, running: RunningJob) -> None:
        running.advance(Phase.GONE)
        self.held.discard(running)
        if running.leave():
            self._host.wake()
        if not self.held:
            self.empty.set()

    # Interrupting.

    def lost(self, held: Sequence[RunningJob]) -> None:
        """Act on locks that are gone; those whose decision is under way hear it from the store."""
        for running in held:
            if running.phase in (Phase.SENT, Phase.GONE):
                continue
            self._lose(running)
            if running.phase.runs:
                self.interrupt(running, Why.LOCK_LOST)
            elif running.phase is Phase.WAITING:
                self._crashy.remove(running)
                self._forget(running)

    def _lose(self, running: RunningJob) -> None:
        if running.why is not Why.LOCK_LOST:
            running.why = Why.LOCK_LOST
            self._host.reporter.lock_lost(running.job)

    def cancel(self, wishes: Sequence[tuple[RunningJob, str]]) -> None:
        """End jobs that somebody wants to end; of one that has ended the store says what it is."""
        for running, why in wishes:
            if running.phase in (Phase.SENT, Phase.GONE) or running.why is not None:
                continue
            running.job.told_to_end(why)
            if running.phase.runs:
                self.interrupt(running, Why.CANCELLED)
            elif running.phase is Phase.WAITING:
                self._crashy.remove(running)
                self._settle(running, running.failure(cancelled(why)))

    def interrupt(self, running: RunningJob, why: Why) -> None:
        """Cancel a running handler; a thread cannot be stopped and is left to itself.

        The thread of a cancelled job has a while to end. A child process that does not end its
        job is killed when that is cancelled again.
        """
        if running.task is None or (running.why is not None and why in FOR_GOOD):
            return
        if running.phase is Phase.RUNNING:
            running.advance(Phase.STOPPING)
        running.why = running.why or why
        running.job.cancelled.set()
        if running.soft is not None:
            running.soft.spare()
        if not running.runs_in(self._executors.threads):
            running.task.cancel(why.value)
            # Past a deadline a child process is killed as soon as past a timeout.
            patient = why is Why.CANCELLED or (why is Why.DEADLINE and not running.in_process)
            pause = CLEANUP_S if patient else INSIST_S
            self._loop.call_later(pause, self._insist, running)
        elif why is Why.CANCELLED:
            self._loop.call_later(CLEANUP_S, self._abandon, running, running.task)
        else:
            running.task.cancel()
            self.ask(running, why)

    def _abandon(self, running: RunningJob, task: asyncio.Task[Ended]) -> None:
        """Leave the thread of a cancelled job to itself, if it still runs."""
        if running.task is task:
            task.cancel()
            self.ask(running, Why.CANCELLED)

    def ask(self, running: RunningJob, why: Why) -> None:
        """Tell code in a thread that it should end, and everybody that it may not."""
        running.job.cancelled.set()
        thread = self._executors.threads.thread_of(running.job)
        self._host.reporter.unstoppable(
            running.job,
            f"{why.value}, and Python cannot stop the thread it runs in",
            None if thread is None else line_of(thread),
        )

    def _insist(self, running: RunningJob) -> None:
        if running.task is None or running.phase is Phase.GONE:
            return
        running.insists += 1
        if running.insists == 1 and running.why is not None and not running.in_process:
            self._host.reporter.unstoppable(
                running.job, f"{running.why.value}, and it suppresses its cancellation"
            )
        if running.insists > MAX_INSISTS and running.why in FOR_GOOD:
            self._end(running, None)
            return
        running.task.cancel()
        self._loop.call_later(INSIST_S, self._insist, running)

    # Stopping.

    def close(self) -> None:
        """Run nothing more: what is claimed from now on, or waits to run alone, is put back."""
        self.closing = True
        while self._crashy:
            self._settle(self._crashy.popleft(), NOT_RUN)

    def give_up(self) -> None:
        """Let go of jobs whose code has ended and whose end the store refuses: their locks lapse."""
        for running in [
            running for running in self.held if not running.phase.runs and running.refusals
        ]:
            error = TorilError("its end could not be stored before the worker stopped")
            self._host.reporter.trouble(f"settling job {running.claim.record.id!r}", error)
            self._forget(running)
        self.outbox = [
            (running, decision) for running, decision in self.outbox if running in self.held
        ]

    def with_code(self, *, in_threads: bool) -> list[RunningJob]:
        """List the jobs whose handlers run: in threads, or where they can be stopped."""
        return [
            running
            for running in self.held
            if running.phase.runs
            and running.handler is not None
            and running.runs_in(self._executors.threads) is in_threads
        ]

    def abandon(self) -> None:
        """Leave code on the loop that refuses to end to itself, and its locks to lapse."""
        for running in self.with_code(in_threads=False):
            self._forget(running)
