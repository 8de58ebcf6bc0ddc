"""Listeners: functions of users that are called when something happens.

An event has a name, or is a class of records (`toril.hooks`). What a listener raises is logged with
its name and harms nothing. Never here: when something happens.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

from toril._model.record import check_queue_name
from toril._model.suggest import did_you_mean
from toril._store.forks import keep
from toril.errors import ConfigError

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

AppEvent = Literal[LocalEvent, "added"]
APP_EVENTS: tuple[str, ...] = (*LOCAL_EVENTS, "added")
"""Those of workers, and `added`: a job was stored by this process."""

# Their first argument is the job.
JOB_EVENTS = frozenset(
    ["added", "active", "completed", "failed", "cancelled", "attempt_failed", "progress",
     "lock_lost"]
)  # fmt: skip

Listener = Callable[..., object]
L = TypeVar("L", bound=Listener)

log = logging.getLogger("toril.worker")


def check_event(event: object, known: Sequence[str], queue: str | None) -> None:
    """Check what a user wants to listen to.

    Raises   ConfigError: there is no such event, or it is not about a queue.
    """
    if isinstance(event, type):
        return
    if type(event) is not str or event not in known:
        guess = did_you_mean(event, known, before="; ")
        raise ConfigError(
            f"workers have no event {event!r}{guess}",
            field="event",
            value=event,
            hint=f"known: {', '.join(known)}",
        )
    if queue is not None:
        check_queue_name(queue)
        if event not in JOB_EVENTS:
            raise ConfigError(
                f"the event {event!r} is not about a job, so it has no queue",
                field="queue",
                value=queue,
                hint=f"leave queue out; events about jobs: {', '.join(sorted(JOB_EVENTS))}",
            )


def name_of(listener: Listener) -> str:
    """Return the name of a user's function, as the log shows it."""
    try:
        return str(listener.__qualname__)
    except BaseException as error:
        guard.let_signals_pass(error)
        return guard.repr_of(listener)


class Listeners:
    """Keep listeners, sync or async, and call them.

    Sync listeners run at once, where the event happens; async ones as tasks of their own. `calling`
    names the event whose sync listener runs right now.
    """

    __slots__ = ("_by_event", "_kinds", "_tasks", "calling", "loop")

    def __init__(self) -> None:
        self._by_event: dict[object, list[tuple[Listener, str | None]]] = {}
        self._kinds: tuple[type[Any], ...] = ()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self.calling: str | None = None
        # Where async listeners run of what happens in another thread.
        self.loop: asyncio.AbstractEventLoop | None = None

    def on(
        self, event: object, *, queue: str | None = None, known: Sequence[str] = LOCAL_EVENTS
    ) -> Callable[[L], L]:
        """Decorate a listener of this event, of all queues or of one.

        Raises   ConfigError: there is no such event.
        """
        check_event(event, known, queue)

        def keep(listener: L) -> L:
            self.add(event, listener, queue)
            return listener

        return keep

    def add(self, event: object, listener: Listener, queue: str | None = None) -> None:
        """Call this from now on."""
        self._by_event.setdefault(event, []).append((listener, queue))
        self._kinds = tuple(each for each in self._by_event if isinstance(each, type))

    def remove(self, event: object, listener: Listener) -> None:
        """Call this no more; it need not have been there."""
        left = [each for each in self._by_event.pop(event, []) if each[0] != listener]
        if left:
            self._by_event[event] = left
        self._kinds = tuple(each for each in self._by_event if isinstance(each, type))

    def heard(self, event: str) -> bool:
        """Return whether anybody listens."""
        return event in self._by_event

    def wants(self, kind: type[Any]) -> bool:
        """Return whether anybody listens to records of this class."""
        return bool(self._kinds) and issubclass(kind, self._kinds)

    def tell_record(self, what: object) -> None:
        """Call everyone who listens to the class of a record, or to one of its bases."""
        for kind in self._kinds:
            if isinstance(what, kind):
                self.tell(kind, what)

    def tell(self, event: object, *args: Any) -> None:
        """Call everyone who listens; what they raise is logged."""
        listeners = self._by_event.get(event)
        if listeners is None:
            return
        name = event if isinstance(event, str) else getattr(event, "__name__", repr(event))
        for listener, queue in tuple(listeners):
            if queue is not None and getattr(args[0], "queue", None) != queue:
                continue
            outer, self.calling = self.calling, name
            try:
                answer = listener(*args)
                if inspect.isawaitable(answer):
                    self._follow(name, listener, answer)
            except BaseException as error:
                guard.let_signals_pass(error)
                _blame(name, listener, error)
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

    async def ended(self, seconds: float) -> None:
        """Wait this long for async listeners of the running loop."""
        loop = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is loop]
        if mine:
            await asyncio.wait(mine, timeout=seconds)

    def excuse(self, task: asyncio.Task[Any] | None) -> None:
        """Let a listener go on that waits for the worker's end itself."""
        self._tasks.pop(task, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def forget(self) -> None:
        """Leave async listeners that still run to the parent of this process."""
        keep(self._tasks)
        self._tasks = {}

    def _follow(self, event: str, listener: Listener, answer: Any) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if self.loop is None:
                raise
            self.loop.call_soon_threadsafe(self._follow, event, listener, answer)
            return
        task = loop.create_task(_await(event, listener, answer))
        # The loop keeps only weak references to its tasks.
        self._tasks[task] = f"event={event!r} listener={name_of(listener)!r}"
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
    name = name_of(listener)
    facts = {"event": event, "listener": name}
    text = "listener.failed event=%r listener=%r"
    guard.write_log(log, logging.ERROR, text, event, name, extra=facts, exc_info=error)
