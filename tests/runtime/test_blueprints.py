"""Tasks and processors that are defined without an app, and included in one later."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from toril import Blueprint, ConfigError, Job, TaskError, Toril, handles, listens

STORES = ("memory", "redis")
PACKAGE = "tests.runtime.modules"


class Settings:
    currency = "EUR"


def shop() -> tuple[Blueprint, Any, list[object]]:
    """Define one of everything without an app."""
    blueprint, told = Blueprint("shop"), list[object]()

    blueprint.provide(Settings, Settings())

    @blueprint.task(queue="shop")
    async def price(amount: int, settings: Settings) -> str:
        return f"{amount} {settings.currency}"

    @blueprint.processor("pictures")
    class Pictures:
        @handles("shrink")
        async def shrink(self, job: Job[Any]) -> str:
            return job.name

    @blueprint.handler("other")
    async def other(job: Job[Any]) -> str:
        return job.queue

    @blueprint.on("completed")
    def completed(job: Job[Any], result: object) -> None:
        told.append(result)

    @blueprint.middleware
    def around(job: Job[Any]) -> Iterator[None]:
        told.append(f"before {job.name}")
        yield

    @blueprint.lifespan
    def life(app: Toril) -> Iterator[None]:
        told.append("start")
        yield

    blueprint.before_enqueue(lambda draft: draft.headers.update(by="shop"))
    blueprint.schedule("nightly", queue="shop", name="price", data={"amount": 1}, cron="0 3 * * *")
    return blueprint, price, told


async def test_an_app_that_includes_a_blueprint_has_all_of_it(app: Toril) -> None:
    blueprint, price, told = shop()
    app.include(blueprint)
    jobs = [
        await price.enqueue(5),
        await app.queue("pictures").add("shrink"),
        await app.queue("other").add("x"),
    ]
    async with app.worker():
        results = [await job.result(timeout=5) for job in jobs]

    assert results == ["5 EUR", "shrink", "other"]
    assert sorted(map(str, told)) == [
        "5 EUR", "before price", "before shrink", "before x", "other", "shrink", "start",
    ]  # fmt: skip
    assert jobs[0].headers == {"by": "shop"}
    assert [each.id for each in await app.schedules.list("shop")] == ["nightly"]


async def test_what_is_defined_after_the_app_included_it_counts_too(app: Toril) -> None:
    blueprint = Blueprint("late")
    app.include(blueprint, blueprint)

    @blueprint.task
    async def late() -> str:
        return "late"

    job = await late.enqueue()
    async with app.worker():
        assert await job.result(timeout=5) == "late"


async def test_without_an_app_a_task_can_be_called_and_not_enqueued() -> None:
    blueprint = Blueprint("lonely")

    @blueprint.task
    async def double(number: int) -> int:
        return 2 * number

    assert await double(21) == 42
    with pytest.raises(TaskError, match=r"<Blueprint 'lonely'> belongs to no app yet"):
        await double.enqueue(21)


def test_a_blueprint_belongs_to_one_app() -> None:
    blueprint = Blueprint("shop")
    Toril(":memory:").include(blueprint)
    with pytest.raises(ConfigError, match="included in another app"):
        Toril(":memory:").include(blueprint)


def test_a_name_that_is_taken_is_refused_when_it_is_included() -> None:
    app, blueprint = Toril(":memory:"), Blueprint()

    def first() -> None: ...

    def second() -> None: ...

    app.task(first, name="same")
    blueprint.task(second, name="same")
    with pytest.raises(ConfigError, match="has two handlers"):
        app.include(blueprint)


@pytest.fixture
def fresh_modules() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


@pytest.mark.usefixtures("fresh_modules")
async def test_modules_are_found_by_a_pattern(app: Toril) -> None:
    found = app.autodiscover(f"{PACKAGE}.*")
    mail = _module("mail")

    assert found == [f"{PACKAGE}.{name}" for name in ("inner", "inner.jobs", "mail")]
    job = await mail.welcome.enqueue("ada")
    async with app.worker():
        assert await job.result(timeout=5) == "sent to ada"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.mark.usefixtures("fresh_modules")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [(f"{PACKAGE}.*.jobs", ["inner.jobs"]), (f"{PACKAGE}.mail", ["mail"])],
)
def test_a_pattern_may_be_narrow(pattern: str, names: list[str]) -> None:
    assert Toril(":memory:").autodiscover(pattern) == [f"{PACKAGE}.{name}" for name in names]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (f"{PACKAGE}.*.nothing", "modules of tests.runtime.modules: "),
        ("no_such_package.*", "there is no module 'no_such_package'"),
    ],
)
@pytest.mark.usefixtures("fresh_modules")
def test_a_pattern_without_a_module_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Toril(":memory:").autodiscover(pattern)


# Listeners of processors.


async def test_a_processor_listens_with_what_was_injected(app: Toril) -> None:
    told: list[object] = []

    class Base:
        @listens("closing")
        def closing(self) -> None:
            told.append("closing")

    @app.processor("mail")
    class Mail(Base):
        def __init__(self, settings: Settings) -> None:
            self.settings = settings

        async def process(self, job: Job[Any]) -> str:
            if job.name == "bad":
                raise ValueError("no such address")
            return job.name

        @listens("active")
        @listens("completed")
        def done(self, job: Job[Any], *result: object) -> None:
            told.append((job.name, *result, self.settings.currency))

        @listens("failed")
        async def failed(self, job: Job[Any], error: BaseException) -> None:
            told.append(f"{job.name}: {error}")

    app.provide(Settings, Settings())

    async def elsewhere(job: Job[Any]) -> None: ...

    app.queue("other").handler()(elsewhere)
    await app.queue("other").add("unheard")
    await app.queue("mail").add("good")
    await app.queue("mail").add("bad")
    worker = app.worker(concurrency=1)
    await worker.run_until_idle()
    first = list(told)
    await app.queue("mail").add("again")
    await worker.run_until_idle()

    assert first == [
        ("good", "EUR"), ("good", "good", "EUR"), ("bad", "EUR"), "bad: no such address", "closing",
    ]  # fmt: skip
    assert told[len(first) :] == [("again", "EUR"), ("again", "again", "EUR"), "closing"]


def test_a_processor_listens_to_events_that_exist() -> None:
    with pytest.raises(ConfigError, match="did you mean 'completed'"):
        listens("complete")  # type: ignore[arg-type]
