"""Every public method × every parameter × values of a wrong kind: refused by toril's own errors.

What is refused names its field, and nothing is stored. What is accepted is stored as it was given.
The methods and their parameters are read from the classes, so a new one is tested as it comes.
"""

import asyncio
import enum
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from toril import ConfigError, Exponential, Flow, Job, Queue, State, Toril, TorilError, Worker
from toril._app.alerts import AlertOptions
from toril._app.app import QueueOptions
from toril._app.queue import AddOptions
from toril._handlers.schedules import ScheduleOptions, Schedules
from toril._model.record import Record, Ref
from toril._worker.options import WorkerOptions


class Kind(enum.Enum):
    WELCOME = "welcome"


WRONG: dict[str, object] = {
    "int": 42,
    "negative": -1,
    "huge": 10**40,
    "bytes": b"x",
    "enum": Kind.WELCOME,
    "object": object(),
    "dict": {"a": 1},
    "list": [1],
    "surrogate": "caf\udce9",
    "nan": float("nan"),
    "none": None,
    "true": True,
    "empty": "",
    "long": "x" * 200_000,
}  # fmt: skip

# What a method needs besides the value that is tried.
NEEDED: dict[str, dict[str, Any]] = {
    "Queue.add": {"name": "a"}, "Queue.job": {"job_id": "1"}, "Queue.remove": {"job_id": "none"},
    "Queue.steer": {"verb": "remove"}, "Queue.dedup_job": {"key": "k"},
    "Queue.release_dedup": {"key": "k"}, "Queue.rate_limit": {"duration": 0},
    "Queue.clean": {"state": "completed"}, "Queue.schedule": {"schedule_id": "s", "every": "1h", "name": "n"},
    "Job.update": {"data": 1}, "Job.set_priority": {"priority": 1}, "Job.reschedule": {"delay": 1},
    "Job.progress": {"value": 1}, "Job.log": {"text": "a line"}, "Job.result": {"timeout": "10ms"},
    "Toril.queue": {"name": "q2"}, "Toril.flow": {"queue": "q", "name": "n"},
    "Toril.schedule": {"schedule_id": "s", "queue": "q", "name": "n", "every": "1h"},
    "Schedules.put": {"schedule_id": "s", "queue": "q", "name": "n", "every": "1h"},
    "Schedules.make": {"schedule_id": "s", "queue": "q", "name": "n", "every": "1h"},
    "Schedules.get": {"queue": "q", "schedule_id": "s"},
    "Schedules.drop": {"queue": "q", "schedule_id": "s"}, "Toril.add_flows": {"flows": []},
    "Queue.add_many": {"jobs": []}, "Toril.tree": {}, "Worker.stop": {}, "Worker.on": {"event": "failed"},
    "Toril.on": {"event": "failed"}, "Queue.find": {"where": {"a": 1}},
    "Schedules.pause": {"queue": "q", "schedule_id": "s"},
    "Schedules.resume": {"queue": "q", "schedule_id": "s"},
    "Schedules.run_now": {"queue": "q", "schedule_id": "s"}, "Toril.alert": {"to": "log"},
}  # fmt: skip
OPTIONS: dict[str, type] = {
    "Queue.add": AddOptions, "Toril.queue": QueueOptions, "Toril.schedule": ScheduleOptions,
    "Schedules.put": ScheduleOptions, "Toril.worker": WorkerOptions,
    "Toril.alert": AlertOptions,
}  # fmt: skip
# Not about values: they run, wait or iterate, or hand the value on to the user's own code.
LEFT_OUT = {
    "Queue.handler", "Queue.add_sync", "Queue.cancel_sync", "Queue.sweep", "Job.result", "Job.cancel_sync",
    "Job.events", "Job.take", "Job.told_to_end", "Job.written", "Toril.processor", "Toril.provide",
    "Toril.prepare", "Toril.events", "Queue.events", "Worker.run", "Worker.start", "Worker.bury",
    "Worker.drained", "Worker.run_until_idle", "Worker.off", "Schedules.store",
    "Schedules.put_declared", "Schedules.declare", "Schedules.of_task", "Toril.move_to", "Toril.backup", "Toril.close", "Toril.open",
    "Toril.off", "Toril.adopt", "Worker.listen",
}  # fmt: skip
CLASSES = (Toril, Queue, Job, Flow, Schedules, Worker)


def cases() -> Iterator[tuple[str, str]]:
    for kind in CLASSES:
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            title = f"{kind.__name__}.{name}"
            if name.startswith("_") or title in LEFT_OUT:
                continue
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
                    yield title, parameter.name
    for title, options in OPTIONS.items():
        yield from ((title, f"**{name}") for name in sorted(get_type_hints(options)))


async def call(app: Toril, job: Job[Any], title: str, parameter: str, value: object) -> object:
    """Call a method with this value, and what else it needs; await it, or take its first step."""
    kind, _, name = title.partition(".")
    owners: dict[str, Callable[[], object]] = {
        "Toril": lambda: app,
        "Queue": lambda: app.queue("q"),
        "Job": lambda: job,
        "Flow": lambda: app.flow("q", "root"),
        "Schedules": lambda: app.schedules,
        "Worker": lambda: app.worker("q"),
    }
    given = dict(NEEDED.get(title, {}))
    if title == "Toril.tree":
        given["root"] = job
    method = getattr(owners[kind](), name)
    found = inspect.signature(method).parameters.get(parameter)
    if found is not None and found.kind is found.VAR_POSITIONAL:
        returned = method(*given.values(), value)
    elif found is not None and found.kind is found.POSITIONAL_ONLY:
        returned = method(*([None] if parameter == "handler" else []), value)
    else:
        given[parameter.removeprefix("**")] = value
        returned = method(**given)
    if hasattr(returned, "__aiter__"):
        return [each async for each in returned]
    if isinstance(returned, Flow):
        return await returned.add()
    return await returned if inspect.isawaitable(returned) else returned


async def stock(app: Toril) -> object:
    store = await app.context.ready()
    queues = await store.queues()
    settings = [replace(each, limited_until=None) for each in await store.settings(queues)]
    schedules = [each.id for each in await store.schedules()]
    return await store.counts(queues), settings, schedules, await store.get([Ref("q", "there")])


@pytest.mark.parametrize(("title", "parameter"), list(cases()), ids=lambda value: value)
async def test_wrong_values_are_refused_by_name(memory: Toril, title: str, parameter: str) -> None:
    await try_all(memory, title, parameter)


REACHING = [
    each for each in cases() if each[0].startswith(("Queue.", "Job.")) and "**" not in each[1]
]


@pytest.mark.parametrize(("title", "parameter"), REACHING, ids=lambda value: value)
async def test_wrong_values_do_not_reach_a_server(
    redis_url: str, redis_prefix: str, title: str, parameter: str
) -> None:
    async with Toril(redis_url, prefix=redis_prefix) as app:
        await try_all(app, title, parameter)


async def try_all(anywhere: Toril, title: str, parameter: str) -> None:
    there = await anywhere.queue("q").add("there", {"n": 1}, id="there", delay="1h")
    refused: dict[str, TorilError] = {}
    for label, value in WRONG.items():
        error = await attempt(anywhere, there, (title, parameter), value)
        if error is not None:
            refused[label] = error
    unnamed = {label: str(error) for label, error in refused.items() if not names_its_field(error)}
    assert not unnamed

    # Again, now that what was accepted has changed what it changes.
    job = await anywhere.queue("q").add("there", {"n": 1}, id="there", delay="1h")
    before = await stock(anywhere)
    for label in refused:
        await attempt(anywhere, job, (title, parameter), WRONG[label])
    assert await stock(anywhere) == before


async def attempt(
    app: Toril, job: Job[Any], what: tuple[str, str], value: object
) -> TorilError | None:
    """Call a method with a wrong value; return the error of toril's own that it raised."""
    try:
        async with asyncio.timeout(5):
            await call(app, job, *what, value)
    except TorilError as error:
        return error
    except BaseException as error:
        raise AssertionError(f"{what} = {value!r:.80}: {error!r}") from error
    finally:
        app.schedules.declared.clear()
    return None


def names_its_field(error: TorilError) -> bool:
    if not isinstance(error, ConfigError):
        return True
    return error.field is not None and error.field.split(".")[0] in str(error)


Make = Callable[[Toril], Awaitable[object]]


async def _result(app: Toril, timeout: Any) -> object:
    job = Job[Any](
        app.context,
        Record(queue="q", id="1", name="n", data="1", opts="{}", state=State.WAITING, created_ms=0),
    )
    return await job.result(timeout)


async def _returned(value: object) -> object:
    return value


MISUSES: dict[str, tuple[Make, str]] = {
    "an enum as name": (lambda app: app.queue("q").add(Kind.WELCOME, {"to": "ada"}), "name"),  # type: ignore[arg-type]
    "two mappings": (lambda app: app.queue("q").add({"a": 1}, {"b": 2}), "name"),
    "an enum in many": (lambda app: app.queue("q").add_many([(Kind.WELCOME, {})]), "jobs"),  # type: ignore[list-item]
    "a queue object": (lambda app: app.flow(app.queue("q"), "n").add(), "queue"),  # type: ignore[arg-type]
    "a child for children": (lambda app: app.flow("q", "n", children=("kids", "k")).add(), "children"),  # type: ignore[arg-type]
    "a child's name": (lambda app: app.flow("q", "n", children=[("kids", Kind.WELCOME)]).add(), "children"),
    "a child's queue": (lambda app: app.flow("q", "n", children=[("ki\udce9ds", "k")]).add(), "queue"),
    "a schedule's name": (lambda app: app.schedules.put("s", queue="q", name=Kind.WELCOME, every=9), "name"),  # type: ignore[arg-type]
    "a queue for its name": (lambda app: _returned(app.worker(app.queue("q"), print)), "queues"),  # type: ignore[call-overload]
    "a number for an event": (lambda app: _returned(app.queue("q").events(5)), "after"),  # type: ignore[arg-type]
    "a grace": (lambda app: app.worker("q", print).stop(grace="soon"), "grace"),
    "a class for a backoff": (lambda app: app.queue("q").add("n", backoff=Exponential), "backoff"),  # type: ignore[arg-type]
    "a timeout": (lambda app: _result(app, b"1"), "timeout"),
    "a schedule's data": (lambda app: app.schedules.put("s", queue="q", name="n", data="x" * 2_000_000, every=9), "data"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSES)
async def test_no_wrong_type_is_taken_for_another_call(anywhere: Toril, case: str) -> None:
    make, field = MISUSES[case]

    async def run() -> None:
        await make(anywhere)

    with pytest.raises(ConfigError, match=field):
        await run()

    store = await anywhere.context.ready()
    assert not any(counts.total for counts in await store.counts(await store.queues()))


SETTINGS: dict[str, list[dict[str, Any]]] = {
    "concurrency": [{"concurrency": value} for value in (0, -1, True, 2.5, "3", 10**30)],
    "rate": [{"rate": value} for value in ("", "0/s", "5", "5/0s", 5, (1, 2), "x/1s", -1)],
    "max_waiting": [{"max_waiting": value} for value in (0, -1, True, 2.5, "3", 10**30)],
    "events_limit": [{"events_limit": value} for value in (-1, None, "9", 1.5, True)],
    "dead_letter": [{"dead_letter": value} for value in ("q", "", "a::b", "wait", 5, "d\udce9")],
    "keep": [{"keep": value} for value in (-1, object(), {"count": -1}, {"size": 1}, 1.5)],
    "max_payload": [{"max_payload": value} for value in (0, -1, "5 apples", 2.5, True, b"1")],
}


@pytest.mark.parametrize("setting", SETTINGS)
async def test_settings_of_a_queue_are_checked_before_the_store(
    anywhere: Toril, setting: str
) -> None:
    for given in SETTINGS[setting]:
        with pytest.raises(ConfigError, match=setting):
            anywhere.queue("q", **given)
        if setting in ("concurrency", "max_waiting", "rate"):
            with pytest.raises(ConfigError, match=setting):
                await anywhere.queue("q").limit(**given)
    # Nothing is left of what was refused.
    assert (await anywhere.queue("q", concurrency=3).settings()).concurrency == 3
