"""The options of queues and of processors that are given by their import path."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from toril._handlers.dependencies import Container
from toril._handlers.handlers import HandlerOptions
from toril._handlers.task import AsyncTask, BlockingTask, Task, TaskOptions
from toril._jobs.limits import Size
from toril._jobs.node import Add
from toril._model.checks import check_list, check_text
from toril._model.options import NAMES, Keep, Options, unknown_option
from toril._model.report import SettingsPatch
from toril._model.search import fixed
from toril._model.times import parse_rate
from toril.errors import ConfigError

_KEEPS = ("keep", "keep_completed", "keep_failed")
_SETTINGS = ("rate", "concurrency", "dead_letter", "events_limit", "max_waiting")

_KINDS = {True: AsyncTask, False: BlockingTask}
_TASK = NAMES | set(TaskOptions.__annotations__)
DEFAULT_QUEUE = "default"


class QueueOptions(Options, total=False):
    """The options of `app.queue(...)`: defaults of its jobs, and settings for all its workers.

    The settings are stored and hold for every worker; `max_payload` holds for this app.
    """

    rate: str | None
    """Starts per time for all workers together, such as "200/60s". None: no limit."""
    concurrency: int | None
    """How many jobs run at once in all workers together. None: no limit."""
    dead_letter: str | None
    """The queue that receives a letter for each job that failed permanently."""
    events_limit: int
    """About how many events are kept, at least the newest 1,000 in use. Default: 10,000."""
    max_waiting: int | None
    """How many jobs may wait to run; more are refused, or wait for room (`on_full`)."""
    max_payload: Size
    """Largest data, result and progress of a job, in bytes or as text such as "5MB"."""


class DistantOptions(HandlerOptions, total=False):
    """The options of a processor that is given by its import path."""

    name: str | None
    """The name of the jobs that it handles. None: every name without a handler of its own."""


def task_name(function: Callable[..., Any], options: TaskOptions) -> str:
    """Return the name of a task's jobs."""
    given: object = options.get("name") or getattr(function, "__name__", None)
    if given is None:
        raise ConfigError(
            f"{function!r} has no name of its own, so its jobs have none",
            field="name",
            value=None,
            hint='give it one: app.task(function, name="resize") or @app.task(name="resize")',
        )
    return check_text(given, "name")


def make_task(
    function: Callable[..., Any], options: TaskOptions, add: Add, container: Container
) -> Task[..., Any]:
    """Make a task of a function.

    Raises   ConfigError: an unknown option, or a function without a name.
    """
    for name in options:
        if name not in _TASK:
            raise unknown_option(name, _TASK, where="a task")
    kind = cast("type[Task[..., Any]]", _KINDS[inspect.iscoroutinefunction(function)])
    return kind(
        function,
        queue=options.get("queue", DEFAULT_QUEUE),
        name=task_name(function, options),
        add=add,
        options=only(options, NAMES),
        container=container,
    )


def only(options: Mapping[str, object], names: Collection[str]) -> Options:
    """Return those options that have one of these names."""
    return cast("Options", {name: fixed(value) for name, value in options.items() if name in names})


def handling(options: TaskOptions) -> HandlerOptions:
    """Return the options of a task that are about running it."""
    backoff = options.get("backoff")
    return HandlerOptions(
        concurrency=options.get("concurrency"),
        timeout=options.get("timeout"),
        soft_timeout=options.get("soft_timeout"),
        on_crash=options.get("on_crash", "retry"),
        backoff=backoff if callable(backoff) else None,
        retry_on=options.get("retry_on"),
        never_retry=options.get("never_retry"),
        isolation=options.get("isolation"),
        init=options.get("init"),
        max_rss=options.get("max_rss"),
        recycle_after=options.get("recycle_after"),
    )


def redacted(options: TaskOptions) -> tuple[str, ...]:
    """Return the paths in a task's data that are not shown.

    Raises   ConfigError: no list of texts.
    """
    given: object = options.get("redact", ())
    check_list(given, "redact", hint='pass a list of paths, such as ["card.number"]')
    return tuple(check_text(each, "redact") for each in cast("list[object]", given))


def queue_defaults(options: QueueOptions) -> Options:
    """Return the options of a queue that are defaults of its jobs."""
    own = (*_KEEPS, *_SETTINGS, "max_payload")
    return only(options, {name for name in options if name not in own})


def queue_settings(queue: str, options: QueueOptions) -> SettingsPatch | None:
    """Return the options of a queue that are stored for all its workers."""
    given: dict[str, Any] = {**options}
    made = {name: given[name] for name in _SETTINGS if name in given}
    if made.get("rate") is not None:
        made["rate"] = parse_rate(made["rate"])
    if made.get("dead_letter") == queue:
        raise ConfigError(
            f"dead_letter={queue!r} is the queue itself: its letters would fail into it again",
            field="dead_letter",
            value=queue,
            hint=f'name another queue, such as "{queue}-dead"',
        )
    if "keep" in given:
        made["keep_completed"] = made["keep_failed"] = Keep.of(given["keep"])
    for name in ("keep_completed", "keep_failed"):
        if name in given:
            made[name] = Keep.of(given[name], field=name)
    return SettingsPatch(**made) if made else None
