"""Which function runs which jobs: what tasks, processors and queues register and workers look up.

Never here: running a handler.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import msgspec

from toril._jobs.job import Job
from toril._jobs.payload import encode
from toril._model.checks import check_text, check_whole, shown
from toril._model.options import (
    BackoffFunction,
    CrashPolicy,
    check_crash_policy,
    check_soft,
    unknown_option,
)
from toril._model.record import check_queue_name
from toril._model.times import Duration, Millis, to_ms
from toril.errors import ConfigError, TaskError

from .callables import check_runs, is_async, title_of
from .definitions import Definition, place_of, replaces
from .dependencies import Container
from .isolation_options import Isolation, IsolationOptions, isolate, read_path, take_isolation
from .retry_rule import ErrorTypes, RetryRule, make_rule

Fill = Callable[[Job[Any], Mapping[str, object]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What runs the jobs of one name in one queue; `name` None: of every name not taken.

    Shape    call gets the job, decodes its arguments itself, and returns the user's value: a
             coroutine function where `is_async`, otherwise it is run in a thread; with
             `isolation` a child process finds the function itself. function is what call
             calls in the end; fill calls it with the job's arguments and what it depends on
             (None: it has no arguments but the job). encode turns that value
             into JSON text, decode reads it back. concurrency caps this name within one worker. on_crash
             "fail" holds for every job, also for those whose adders did not say so. title is
             "module.name", for listings.
    """

    queue: str
    name: str | None
    call: Callable[[Job[Any]], Any]
    is_async: bool
    function: Callable[..., Any]
    fill: Fill | None = None
    encode: Callable[[object], str]
    decode: Callable[[str], Any] = msgspec.json.decode
    concurrency: int | None = None
    timeout_ms: Millis | None = None
    soft_timeout_ms: Millis | None = None
    backoff: BackoffFunction | None = None
    retry: RetryRule | None = None
    on_crash: CrashPolicy = "retry"
    title: str = ""
    isolation: Isolation | None = None
    place: Definition | None = None

    @property
    def in_thread(self) -> bool:
        """Whether it runs in a thread, which cannot be stopped."""
        return not self.is_async and self.isolation is None


class HandlerOptions(IsolationOptions, total=False):
    """The options of a handler: its limits, and whether it runs in child processes."""

    concurrency: int | None
    """How many of these jobs one worker runs at once. None: no limit of its own."""
    timeout: Duration | None
    """Limit of one attempt, for jobs without a `timeout` of their own."""
    soft_timeout: Duration | None
    """Warn the handler this long after an attempt began, for jobs without one of their own."""
    backoff: BackoffFunction | None
    """The wait before another attempt of jobs whose backoff is a name: a function
    `(attempt, error, job)` that returns a duration, or None to give up."""
    retry_on: ErrorTypes | None
    """Try again after these errors only, such as `(ConnectionError, TimeoutError)`; any other fails
    the job at once, whatever attempts are left. None (the default): after every error."""
    never_retry: ErrorTypes | None
    """Fail the job at once after these errors, whatever `retry_on` says."""
    on_crash: CrashPolicy
    """What happens when the process that runs a job dies: "retry" (the default) or "fail"."""


_OPTIONS = frozenset(HandlerOptions.__annotations__)


def make_handler(
    function: Callable[..., Any],
    *,
    queue: str,
    name: str | None,
    options: HandlerOptions,
    call: Callable[[Job[Any]], Any] | None = None,
    isolation: Isolation | None = None,
) -> Handler:
    """Make the handler that runs a function; `call` prepares its arguments, else it gets the job.

    Raises   ConfigError: no function, one whose body would not run, a bad queue name, a cap
             below 1, a bad time limit; the function is to run in a child process, and none could
             import it.
    """
    if not callable(function):
        raise ConfigError(f"{shown(function)} is not a function", field="handler", value=function)
    if name is not None:
        name = check_text(name, "name")
    check_runs(function)
    return Handler(
        name=name,
        call=call or function,
        is_async=is_async(function),
        function=function,
        place=place_of(function),
        isolation=isolation or take_isolation(options, function),
        **_common(title_of(function), queue, options),
    )


def make_distant(path: str, *, queue: str, name: str | None, options: HandlerOptions) -> Handler:
    """Make the handler that only child processes import: "package.module:function", or a class.

    Raises   ConfigError: the path cannot be one, or a bad option.
    """
    target = read_path(path, field="processor")
    return Handler(
        name=name,
        call=_elsewhere,
        is_async=False,
        function=_elsewhere,
        isolation=isolate(target, options),
        **_common(f"{target.module}.{target.name}", queue, options),
    )


def _elsewhere(job: Job[Any]) -> NoReturn:
    raise TaskError(f"{job!r} runs only in a child process")


def _common(title: str, queue: str, options: HandlerOptions) -> dict[str, Any]:
    for option in options:
        if option not in _OPTIONS:
            raise unknown_option(option, _OPTIONS, where=f"handler {title}")
    cap = options.get("concurrency")
    if cap is not None:
        check_whole(cap, "concurrency", 1)
    limit_ms = _limit("timeout", options.get("timeout"))
    soft_ms = _limit("soft_timeout", options.get("soft_timeout"))
    check_soft(soft_ms, limit_ms)
    on_crash = options.get("on_crash", "retry")
    check_crash_policy(on_crash)
    return {
        "queue": check_queue_name(queue),
        "encode": partial(encode, where=f"result of {title}"),
        "concurrency": cap,
        "timeout_ms": limit_ms,
        "soft_timeout_ms": soft_ms,
        "backoff": options.get("backoff"),
        "retry": make_rule(options.get("retry_on"), options.get("never_retry")),
        "on_crash": on_crash,
        "title": title,
    }


def _limit(name: str, given: Duration | None) -> Millis | None:
    return None if given is None else to_ms(given, field=name) or None


def _together(handlers: Iterable[Handler]) -> int | None:
    caps = [handler.concurrency for handler in handlers]
    known = [cap for cap in caps if cap is not None]
    return sum(known) if len(known) == len(caps) else None


def _replaces(handler: Handler, other: Handler) -> bool:
    if handler.title != other.title:
        return False
    if handler.function is other.function:
        return True
    what = f"handler {handler.title}"
    return replaces(what, handler.place, other.place)


class Registry:
    """The handlers of one app or one worker."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._handlers: dict[str, dict[str | None, Handler]] = {}
        self._declared: dict[str, int] = {}

    def add(self, handler: Handler) -> None:
        """Register a handler; one whose code has run again replaces the earlier one.

        Raises   ConfigError: this name of this queue has another one already; it names both.
        """
        names = self._handlers.setdefault(handler.queue, {})
        other = names.get(handler.name)
        if other is not None and not _replaces(handler, other):
            what = "every name" if handler.name is None else repr(handler.name)
            raise ConfigError(
                f"{what} in queue {handler.queue!r} has two handlers, "
                f"{other.title} and {handler.title}",
                field="name",
                value=handler.name,
                hint="give one of them another name or queue",
            )
        names[handler.name] = handler

    def drop(self, handlers: Iterable[Handler]) -> None:
        """Forget handlers."""
        for handler in handlers:
            self._handlers.get(handler.queue, {}).pop(handler.name, None)

    def copy(self, replace: Callable[[Handler], Handler]) -> "Registry":
        """Return a registry like this one, in which other handlers may represent these."""
        other = Registry(self.container)
        other._declared = dict(self._declared)
        for handler in self.handlers():
            other.add(replace(handler))
        return other

    def find(self, queue: str, name: str) -> Handler | None:
        """Find what runs jobs of this name, else what runs every name of the queue."""
        names = self._handlers.get(queue)
        if names is None:
            return None
        return names.get(name) or names.get(None)

    def declare(self, queue: str, concurrency: int) -> None:
        """Note how many jobs of a queue a processor wants to run at once within a worker."""
        self._declared[queue] = self._declared.get(queue, 0) + concurrency

    def places(self) -> dict[str, int | None]:
        """Return how many jobs of each queue shall run at once within a worker; None: nobody said.

        What processors want counts, else the caps of the handlers together if all have one.
        """
        return {
            queue: self._declared.get(queue) or _together(names.values())
            for queue, names in self._handlers.items()
        }

    def queues(self) -> tuple[str, ...]:
        """Return the names of the queues that have handlers, in the order they were first registered."""
        return tuple(self._handlers)

    def names(self, queue: str) -> tuple[str, ...]:
        """List the job names of a queue that have a handler of their own."""
        return tuple(name for name in self._handlers.get(queue, {}) if name is not None)

    def handlers(self, queue: str | None = None) -> Iterator[Handler]:
        """Return every handler, or those of one queue."""
        for each, names in self._handlers.items():
            if queue is None or each == queue:
                yield from names.values()
