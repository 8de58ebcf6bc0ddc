"""Telling of what happens in a worker: listeners of its users, and hooks of its observers.

A *listener* belongs to one worker and one event, and gets the job itself. A *hook* sees frozen
records of everything: logging is one, tracing and metrics are others. Neither can harm a job:
what it raises is logged. Both cost nothing where nobody listens.
"""

import asyncio
import difflib
import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeVar, get_args

from toril._model.printable import safe_lines
from toril._store.forks import keep
from toril.errors import ConfigError, TorilError

from . import guard

LocalEvent = Literal[
    "active",
    "completed",
    "failed",
    "cancelled",
    "attempt_failed",
    "progress",
    "stalled",
    "drained",
    "error",
    "lock_lost",
    "ready",
    "closing",
    "closed",
]
LOCAL_EVENTS: tuple[str, ...] = get_args(LocalEvent)

Listener = Callable[..., object]
L = TypeVar("L", bound=Listener)

# How much of one fact a line of the log shows; `extra` has it whole.
MAX_SHOWN = 500
# The longest line of a stack that is shown.
MAX_LINE = 2_000

log = logging.getLogger("toril.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something a hook may want to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHappening(Happening):
    """Something that happened to one job in this worker."""

    queue: str
    job_id: str
    job_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(JobHappening):
    """A try of a job began; `run` numbers all its starts, `attempt` those that count."""

    attempt: int
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TryEnded(JobHappening):
    """A try of a job ended, and the store knows.

    Shape    word: what became of the job: completed · failed · delayed · waiting · …
             end: how the try itself ended.
    """

    attempt: int
    word: str
    end: str
    seconds: float
    reason: str | None = None
    stack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleted(TryEnded):
    """The job is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(TryEnded):
    """The job failed for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(JobFailed):
    """The job failed for good because somebody wanted it to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(TryEnded):
    """The try failed, and the job runs again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPutBack(TryEnded):
    """The job runs again, without a failure: snoozed, released, waiting for children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeadLettered(JobHappening):
    """The job failed for good, and its letter stands in the queue `letters`."""

    letters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockGone(JobHappening):
    """The job's lock was lost: what this worker did for it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLapsed(Happening):
    """A claim was answered only after its locks had lapsed: this worker runs none of its jobs."""

    queue: str
    jobs: int
    lock_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NameUnknown(JobHappening):
    """A job has a name that no handler of its queue has."""

    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentsUnfit(JobHappening):
    """A job has arguments that its handler does not take, or lacks some; it is requeued."""

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUnstoppable(JobHappening):
    """A job should have stopped and its code goes on."""

    why: str
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStalled(Happening):
    """A job was taken back from a worker that is gone."""

    queue: str
    job_id: str
    stalls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(Happening):
    """The event loop stood still; `where` is the file and line, `source` its text."""

    seconds: float
    job: str
    where: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(Happening):
    """Something of the worker's own did not work; it goes on."""

    what: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesDiffer(Happening):
    """The worker's own limit is not that of another worker, or of the queue.

    Shape    rate: its own. other: the different one, `of` a worker's id or the queue.
    """

    queue: str
    rate: str
    other: str
    of: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHappening(Happening):
    """Something that happened to the worker as a whole."""

    worker: str
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady(WorkerHappening):
    """The worker claims jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerClosing(WorkerHappening):
    """The worker claims no more; running jobs have their grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerClosed(WorkerHappening):
    """The worker has ended."""


class Hook(Protocol):
    """What observes a worker."""

    def wants(self, kind: type[Happening]) -> bool:
        """Say whether records of this kind are worth making."""
        ...

    def __call__(self, what: Happening) -> None:
        """Take note; must not block."""
        ...


class Hooks:
    """Hand records to the hooks that want them."""

    __slots__ = ("_hooks",)

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self._hooks = tuple(hooks)

    def wants(self, kind: type[Happening]) -> bool:
        """Say whether anybody wants this kind; ask before making a record on a hot path."""
        try:
            for hook in self._hooks:
                if hook.wants(kind):
                    return True
        except BaseException as error:
            guard.let_signals_pass(error)
            # Making the record costs little, and `tell` reports the hook.
            return True
        return False

    def tell(self, what: Happening) -> None:
        """Hand a record to everyone who wants it."""
        kind = type(what)
        for hook in self._hooks:
            try:
                if hook.wants(kind):
                    hook(what)
            except BaseException as error:
                guard.let_signals_pass(error)
                facts = {"hook": guard.repr_of(hook), "kind": kind.__name__}
                guard.write_log(log, logging.ERROR, "hook.failed", extra=facts, exc_info=error)


class Listeners:
    """Keep a worker's local listeners, sync or async, and call them.

    Sync listeners run at once, on the event loop; async ones as tasks of their own. `calling`
    names the event whose sync listener runs right now.
    """

    __slots__ = ("_by_event", "_tasks", "calling")

    def __init__(self) -> None:
        self._by_event: dict[str, list[Listener]] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        self.calling: str | None = None

    def on(self, event: str) -> Callable[[L], L]:
        """Decorate a listener of this event.

        Raises   ConfigError: there is no such event.
        """
        if type(event) is not str or event not in LOCAL_EVENTS:
            near = difflib.get_close_matches(str(event), LOCAL_EVENTS, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"workers have no event {event!r}{guess}",
                field="event",
                value=event,
                hint=f"known: {', '.join(LOCAL_EVENTS)}",
            )

        def keep(listener: L) -> L:
            self._by_event.setdefault(event, []).append(listener)
            return listener

        return keep

    def remove(self, event: str, listener: Listener) -> None:
        """Call this no more; it need not have been there."""
        listeners = self._by_event.get(event, [])
        if listener in listeners:
            listeners.remove(listener)

    def heard(self, event: str) -> bool:
        """Say whether anybody listens."""
        return event in self._by_event

    def tell(self, event: str, *args: Any) -> None:
        """Call everyone who listens; what they raise is logged."""
        listeners = self._by_event.get(event)
        if listeners is None:
            return
        for listener in tuple(listeners):
            outer, self.calling = self.calling, event
            try:
                answer = listener(*args)
                if inspect.isawaitable(answer):
                    self._follow(event, listener, answer)
            except BaseException as error:
                guard.let_signals_pass(error)
                _blame(event, listener, error)
            finally:
                self.calling = outer

    async def settle(self, hurry: asyncio.Event, at_least: float) -> None:
        """Wait for async listeners until it is time to hurry, then cancel those that still run.

        Units    at_least in seconds: how long they may run in any case.
        """
        if not self._tasks:
            return
        await asyncio.wait(self._tasks, timeout=at_least)
        over = asyncio.create_task(hurry.wait())
        while self._tasks and not over.done():
            await asyncio.wait((over, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        late, self._tasks = self._tasks, {}
        for task, what in late.items():
            facts = {"listener": what}
            guard.write_log(log, logging.WARNING, "listener.cancelled %s", what, extra=facts)
            task.cancel("the worker stops")
        if late:
            await asyncio.wait(late, timeout=at_least)

    def excuse(self, task: asyncio.Task[Any] | None) -> None:
        """Let a listener go on that waits for the worker's end itself."""
        self._tasks.pop(task, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def forget(self) -> None:
        """Leave async listeners that still run to the parent of this process."""
        keep(self._tasks)
        self._tasks = {}

    def _follow(self, event: str, listener: Listener, answer: Any) -> None:
        task = asyncio.create_task(_await(event, listener, answer))
        # The loop keeps only weak references to its tasks.
        self._tasks[task] = f"event={event!r} listener={_name_of(listener)!r}"
        task.add_done_callback(lambda done: self._tasks.pop(done, None))


async def _await(event: str, listener: Listener, answer: Any) -> None:
    try:
        await answer
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and guard.is_cancelled():
            raise
        guard.let_signals_pass(error)
        _blame(event, listener, error)


def _blame(event: str, listener: Listener, error: BaseException) -> None:
    name = _name_of(listener)
    facts = {"event": event, "listener": name}
    text = "listener.failed event=%r listener=%r"
    guard.write_log(log, logging.ERROR, text, event, name, extra=facts, exc_info=error)


def _name_of(listener: Listener) -> str:
    try:
        return str(listener.__qualname__)
    except BaseException as error:
        guard.let_signals_pass(error)
        return guard.repr_of(listener)


# Each kind of record, the name of its line in the log, and how loud it is.
_LINES: dict[type[Happening], tuple[str, int]] = {
    JobStarted: ("job.started", logging.DEBUG),
    JobCompleted: ("job.completed", logging.INFO),
    JobFailed: ("job.failed", logging.ERROR),
    JobCancelled: ("job.cancelled", logging.WARNING),
    AttemptFailed: ("job.attempt_failed", logging.WARNING),
    JobPutBack: ("job.put_back", logging.INFO),
    JobDeadLettered: ("job.dead_lettered", logging.WARNING),
    LockGone: ("job.lock_lost", logging.WARNING),
    ClaimLapsed: ("claim.lapsed", logging.INFO),
    NameUnknown: ("job.unknown_name", logging.WARNING),
    ArgumentsUnfit: ("job.arguments_unfit", logging.WARNING),
    CodeUnstoppable: ("job.unstoppable", logging.WARNING),
    JobStalled: ("job.stalled", logging.WARNING),
    LoopBlocked: ("loop.blocked", logging.WARNING),
    Trouble: ("worker.trouble", logging.ERROR),
    RatesDiffer: ("worker.rates_differ", logging.WARNING),
    WorkerReady: ("worker.ready", logging.INFO),
    WorkerClosing: ("worker.closing", logging.INFO),
    WorkerClosed: ("worker.closed", logging.INFO),
}


class LogHook:
    """Write what happens to the log `toril.worker`: a constant name a line, facts in `extra`.

    The facts also stand in the message, so that a plain format shows them.
    """

    __slots__ = ()

    def wants(self, kind: type[Happening]) -> bool:
        """Say whether a line of this kind would be written."""
        return kind in _LINES and log.isEnabledFor(_LINES[kind][1])

    def __call__(self, what: Happening) -> None:
        """Write the line."""
        name, level = _LINES[type(what)]
        facts = {each.name: getattr(what, each.name) for each in fields(what)}
        error = facts.pop("error", None)
        stack = facts.pop("stack", None)
        if error is not None:
            facts["reason"] = guard.text_of(error) or type(error).__name__
        text = " ".join(
            f"{key}={_short(value)}" for key, value in facts.items() if value is not None
        )
        if stack and level >= logging.ERROR:
            # A child process tells it, which has text of others in it.
            text = "\n".join((text, *safe_lines(stack.rstrip().expandtabs(), MAX_LINE)))
        # What toril raises says in its message what to do; the rest needs its traceback.
        trace = None if isinstance(error, TorilError) else error
        log.log(level, f"{name} %s", text, extra=facts, exc_info=trace)  # noqa: G004


def _short(value: object) -> str:
    text = guard.repr_of(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
