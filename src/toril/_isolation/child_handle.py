"""A child as its worker sees it: whether it is ready, which job it runs, and how that ends.

Everything here but the two threads is called on the event loop. Never here: which child gets
which job.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from toril._handlers.isolation_options import Isolation, find_main
from toril._jobs.environment import moves
from toril._jobs.job import Job
from toril._model.crashes import CHILD_DIED
from toril._model.decide import End, Outcome
from toril._model.times import Millis
from toril.errors import JobFailed

from . import memory
from .os_process import ChildProcess, Death
from .outcome import Ended
from .output import Output, Say
from .protocol import (
    Ask,
    Broken,
    Cancel,
    Grown,
    Hello,
    JobDone,
    Ready,
    Run,
    Stuck,
    ToChild,
    ToParent,
    line,
)
from .threads import Threads
from .verbs import Answers

START_S = 60.0
# A frame of this size fits into the pipe of a child that has read all others.
SHORT = 2_048
# What a child wrote is read by then, unless somebody else still holds its output open.
OUTPUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildHost:
    """What every child needs: who answers it, threads to write with, and where it may print."""

    answers: Answers
    threads: Threads
    say: Say


class ChildHandle:
    """One child process, from its start to its burial; it starts as it is made.

    Shape    ready: None, or why it could not start. gone: done when nothing is left of it.
    """

    def __init__(self, isolation: Isolation, host: ChildHost) -> None:
        self.isolation = isolation
        self._host = host
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Broken | None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.jobs = 0
        self.rss = 0
        self.usable = True
        self._number = 0
        self._job: Job[Any] | None = None
        self._end: asyncio.Future[Ended | None] | None = None
        self._stack: str | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._why: str | None = None
        self._timer = self._loop.call_later(START_S, self._too_slow)
        self._output = Output(str(isolation.target), host.say)
        self._lock = threading.Lock()
        self._process: ChildProcess | None = None
        self._unwanted = False
        name = f"toril-child-{isolation.target}"
        threading.Thread(target=self._live, name=name, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a job runs in it."""
        return self._end is not None

    @property
    def spent(self) -> bool:
        """Whether it has done its share and shall be replaced."""
        most, limit = self.isolation.recycle_after, self.isolation.max_rss
        worn = most is not None and self.jobs >= most
        return worn or (limit is not None and self.rss > limit)

    def start(self, job: Job[Any], soft_ms: Millis | None) -> "asyncio.Future[Ended | None]":
        """Send it a job, and give what will hold its end; None: it had died before it began."""
        self._number += 1
        self._job, self._stack = job, None
        self._end = self._loop.create_future()
        self._output.expect(self._number, f"{job.queue}:{job.id}")
        token = job.token or ""
        self._send(Run(number=self._number, record=job.record, token=token, soft_ms=soft_ms))
        return self._end

    def interrupt(self, why: str) -> None:
        """Tell the job that it should end."""
        job = self._job
        if job is not None:
            self._send(Cancel(number=self._number, reason=job.cancelled_reason, why=why))

    def kill(self, why: str) -> None:
        """Kill it; the job that it runs has failed by that."""
        self._why = self._why or why
        self.usable = False
        with self._lock:
            self._unwanted = True
        if self._process is not None:
            self._process.kill()
        self._ended(self._died(f"was killed: {why}"))

    def retire(self, within: float) -> None:
        """Let it end, and kill it if it does not within this many seconds."""
        self.usable = False
        process = self._process
        if process is None or self.gone.done():
            self.kill("it was not needed any more")
            return
        self._background(process.close)
        timer = self._loop.call_later(within, process.kill)
        self.gone.add_done_callback(lambda _: timer.cancel())

    def look(self) -> None:
        """See how much memory the job takes, and whether the process is still there."""
        process = self._process
        if process is not None:
            process.sweep()
            self._grown(memory.resident(process.pid))

    def _grown(self, rss: int | None) -> None:
        if rss is None:
            return
        self.rss = rss
        limit = self.isolation.max_rss
        if limit is not None and rss > limit and self.busy:
            self.kill(f"RSS {memory.shown(rss)} is above max_rss={memory.shown(limit)}")

    # What it says.

    def _hear(self, frame: ToParent) -> None:
        match frame:
            case Ready():
                self.rss = frame.rss or 0
                self._started(None)
            case Broken():
                self.usable = False
                self._started(frame)
            case Ask():
                self._answer(frame)
            case Grown():
                self._grown(frame.rss)
            case Stuck():
                # One of an earlier job comes too late.
                self._stack = frame.stack if frame.number == self._number else None
            case JobDone():
                self.rss = frame.rss or self.rss
                self.jobs += 1
                if frame.number == self._number and self._job is not None:
                    self._ended(_told(frame.outcome, self._job))

    def _started(self, broken: Broken | None) -> None:
        self._timer.cancel()
        if not self.ready.done():
            self.ready.set_result(broken)

    def _too_slow(self) -> None:
        self.kill(f"it was not ready within {START_S:.0f} s")

    def _ended(self, ended: Ended | None) -> None:
        end, self._end, self._job = self._end, None, None
        if end is not None and not end.done():
            end.set_result(ended)

    def _answer(self, ask: Ask) -> None:
        job = self._job
        if job is not None:
            self._follow(self._reply(ask, job))

    async def _reply(self, ask: Ask, job: Job[Any]) -> None:
        reply = await self._host.answers.reply(ask, job)
        if self._process is not None:
            await self._host.threads.run(self._process.write, reply)

    def _follow(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        # The loop keeps only weak references to its tasks.
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    # What it is told.

    def _send(self, frame: Run | Cancel) -> None:
        process = self._process
        if process is None:
            return
        # Cancelling is for what may not read its pipe any more; a thread can wait for it.
        if isinstance(frame, Run) and len(line(frame)) <= SHORT:
            process.write(frame)
        else:
            self._background(lambda: process.write(frame))

    def _background(self, call: Callable[[], None]) -> None:
        self._host.threads.run(lambda _: call(), None)

    # In its thread.

    def _live(self) -> None:
        """Have a process from its start to its end, and say how that was; never end in silence."""
        try:
            death, read = self._attend(ChildProcess(str(self.isolation.target)))
        except Exception as error:
            self._post(self._over, None, f"{type(error).__name__}: {error}", True)
        else:
            self._post(self._over, death, None, read)

    def _attend(self, process: ChildProcess) -> tuple[Death, bool]:
        """Hear what a process says to the end, and bury it; say whether its output was read too."""
        with self._lock:
            self._process = process
            if self._unwanted:
                process.kill()
        output = threading.Thread(target=self._read_output, args=(process.output,), daemon=True)
        output.start()
        try:
            process.write(_hello(self.isolation, self._output.secret))
            for frame in process.reports():
                self._post(self._hear, frame)
        except Exception:
            # Somebody else wrote into the pipe: nothing that follows can be trusted.
            process.kill()
        self._output.hurry.set()
        death = process.bury()
        output.join(OUTPUT_S)
        read = not output.is_alive()
        if read:
            process.release()
        return death, read

    def _read_output(self, descriptor: int) -> None:
        """Pass on what it prints; a child whose output nobody reads would stand still, so end it."""
        try:
            self._output.follow(descriptor)
        except BaseException as error:
            why = f"what it prints cannot be passed on: {type(error).__name__}: {error}"
            self._post(self.kill, why)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        # A closed loop has nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _over(self, death: Death | None, error: str | None, read: bool) -> None:
        """Nothing is left of it: whoever waits for it hears so.

        Shape    read: its output was read to the end, and so it is known which jobs it began.
        """
        self.usable = False
        if death is not None and death.rss is None and self.rss:
            death = Death(code=death.code, rss=self.rss)
        how = f"was killed: {self._why}" if self._why else f"{death or error}"
        crashed = death is not None and self._why is None
        self._started(Broken(reason=error or f"it {how}", died=crashed))
        began = self._output.began >= self._number or not read
        self._ended(self._died(how) if began else None)
        if not self.gone.done():
            self.gone.set_result(None)

    def _died(self, how: str) -> Ended | None:
        if self._job is None:
            return None
        reason = f"{CHILD_DIED} {how}"
        if self._why is not None:
            return failed(self._job, reason, self._stack)
        return crashed(self._job, reason, self._stack)


def failed(job: Job[Any], reason: str, stack: str | None = None) -> Ended:
    """Say that a try failed, in the worker's own words or a child's."""
    return _told(Outcome(end=End.RAISED, reason=reason, stack=stack), job)


def crashed(job: Job[Any], reason: str, stack: str | None = None) -> Ended:
    """Return the end of a run whose process died: a crash, which uses up no attempt."""
    return _told(Outcome(end=End.CRASHED, reason=reason, stack=stack), job)


def _told(outcome: Outcome, job: Job[Any]) -> Ended:
    """Return an end that a child tells of; its error is known by its text alone."""
    if outcome.end is End.RETURNED:
        return Ended(outcome)
    stack = () if outcome.stack is None else (outcome.stack,)
    reason = outcome.reason or outcome.end.value
    end = outcome.end.word
    return Ended(
        outcome, error=JobFailed(reason, stack=stack, end=end, queue=job.queue, job_id=job.id)
    )


def _hello(isolation: Isolation, secret: str) -> ToChild:
    watched = isolation.max_rss is not None
    return Hello(
        parent=os.getpid(),
        path=list(sys.path),
        argv=list(sys.argv),
        target=isolation.target,
        secret=secret,
        init=isolation.init,
        around=isolation.around,
        lifespans=isolation.lifespans,
        main=find_main() if isolation.needs_main else None,
        watch=watched and memory.resident(os.getpid()) is None,
        log_level=logging.root.level if logging.root.handlers else None,
        moves=moves(),
    )
