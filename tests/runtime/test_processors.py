"""Processors: classes with one method per job name, made when a worker starts."""

import asyncio
import importlib
import logging
from typing import Any

import pytest

from toril import ConfigError, Depends, Job, State, Toril, handles


class Cards:
    def __init__(self, title: str = "cards") -> None:
        self.title = title


class Storage:
    made = 0

    def __init__(self) -> None:
        Storage.made += 1


async def connect(cards: Cards) -> str:
    return f"connected to {cards.title}"


async def test_each_method_handles_its_name(app: Toril) -> None:
    @app.processor("image:optimize", concurrency=2)
    class Images:
        @handles("optimize-size")
        async def optimize(self, job: Job[Any]) -> str:
            return f"optimized {job.data}"

        @handles("resize", concurrency=1)
        def resize(self, job: Job[Any]) -> str:
            return f"resized {job.data}"

        @handles()
        async def other(self, job: Job[Any]) -> str:
            return f"no job name match: {job.name}"

    queue = app.queue("image:optimize")
    jobs = await queue.add_many([("optimize-size", 1), ("resize", 2), ("crop", 3)])
    await app.worker().run_until_idle()

    assert [await job.result() for job in jobs] == [
        "optimized 1",
        "resized 2",
        "no job name match: crop",
    ]


async def test_one_process_method_handles_every_name(app: Toril) -> None:
    @app.processor("demo")
    class Demo:
        async def process(self, job: Job[Any]) -> str:
            return job.name

    job = await app.queue("demo").add("anything")
    await app.worker().run_until_idle()

    assert await job.result() == "anything"


async def test_what_a_constructor_asks_for_is_injected(app: Toril) -> None:
    app.provide(Cards, Cards("flash"))

    @app.processor("demo")
    class Demo:
        def __init__(self, cards: Cards, link: str = Depends(connect), n: int = 3) -> None:
            self.words = [cards.title, link, str(n)]

        async def process(self, job: Job[Any]) -> list[str]:
            return self.words

    job = await app.queue("demo").add("a")
    await app.worker().run_until_idle()

    assert await job.result() == ["flash", "connected to flash", "3"]


async def test_a_factory_is_called_once_for_all_processors_of_a_worker(app: Toril) -> None:
    app.provide(Storage, Storage)
    Storage.made = 0

    for queue in ("a1", "b1"):

        @app.processor(queue)
        class Demo:
            def __init__(self, storage: Storage) -> None: ...

            async def process(self, job: Job[Any]) -> None: ...

    async with app.worker():
        assert Storage.made == 1
    async with app.worker():
        assert Storage.made == 2


async def test_a_missing_dependency_names_class_parameter_and_fix(app: Toril) -> None:
    @app.processor("demo")
    class Demo:
        def __init__(self, cards: Cards) -> None: ...

        async def process(self, job: Job[Any]) -> None: ...

    with pytest.raises(ConfigError, match=r"'cards' \(Cards\) of .*Demo.*app\.provide\(Cards"):
        await app.worker().start()


def test_a_class_that_handles_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="handles nothing"):

        @Toril(":memory:").processor("demo")
        class Demo: ...


def test_a_type_provided_twice_is_refused() -> None:
    app = Toril(":memory:")
    app.provide(Cards, Cards())

    with pytest.raises(ConfigError, match="provided twice"):
        app.provide(Cards, Cards())


async def test_a_processor_that_nobody_registered_is_noticed(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    class Forgotten:
        @handles("a")
        async def a(self, job: Job[Any]) -> None: ...

    with caplog.at_level(logging.WARNING, "toril.app"):
        async with app.worker("demo", lambda job: None):
            pass

    named = [getattr(record, "processor", "") for record in caplog.records]
    assert any(name.endswith("Forgotten") for name in named)
    assert Forgotten.__name__ == "Forgotten"


async def test_a_class_of_an_installed_package_is_not_reported_as_forgotten(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    class Library:
        async def a(self, job: Job[Any]) -> None: ...

    Library.a.__module__ = "msgspec"
    handles("a")(Library.a)
    demo = importlib.import_module("toril.demo.flashcards")
    with caplog.at_level(logging.WARNING, "toril.app"):
        async with app.worker("demo", lambda job: None):
            pass

    named = [getattr(record, "processor", "") for record in caplog.records]
    assert [name for name in named if name.startswith(("msgspec", demo.__name__))] == []
    assert Library.__name__ == "Library"


async def test_a_worker_for_one_queue_leaves_other_processors_alone(app: Toril) -> None:
    @app.processor("other")
    class Other:
        def __init__(self, cards: Cards) -> None: ...

        async def process(self, job: Job[Any]) -> None: ...

    job = await app.queue("demo").add("a")
    await app.worker("demo", lambda job: "done").run_until_idle()

    assert await job.state() is State.COMPLETED


async def test_its_concurrency_is_how_many_of_its_queue_run_at_once(app: Toril) -> None:
    together = asyncio.Barrier(2)

    @app.processor("image:optimize", concurrency=2)
    class Images:
        @handles("first")
        async def first(self, job: Job[Any]) -> int:
            return await together.wait()

        @handles("second")
        async def second(self, job: Job[Any]) -> int:
            return await together.wait()

    await app.queue("image:optimize").add_many([("first", 1), ("second", 2)])
    worker = app.worker()
    async with asyncio.timeout(10):
        await worker.run_until_idle()

    assert worker.shares == {"image:optimize": 2}
    assert (await app.queue("image:optimize").counts()).completed == 2


async def test_static_and_class_methods_are_marked_on_either_side(memory: Toril) -> None:
    @memory.processor("cards")
    class Cards:
        @handles("inner")
        @staticmethod
        async def inner(job: Job[Any]) -> str:
            return "inner"

        @staticmethod
        @handles("outer")
        async def outer(job: Job[Any]) -> str:
            return "outer"

        @handles("kind")
        @classmethod
        def kind(cls, job: Job[Any]) -> str:
            return cls.__name__

    queue = memory.queue("cards")
    async with memory.worker():
        jobs = [await queue.add(name) for name in ("inner", "outer", "kind")]
        assert [await job.result(timeout=10) for job in jobs] == ["inner", "outer", "Cards"]
