"""Who adds jobs is told when nobody works on them: once a queue, and in the background."""

import asyncio
import logging

import pytest

from toril import Job, Toril
from toril._jobs import unserved


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unserved, "FIRST_S", 0.02)
    monkeypatch.setattr(unserved, "AGAIN_S", 0.05)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "toril.queue")
    return caplog


def queues(told: pytest.LogCaptureFixture) -> list[str]:
    found = (record for record in told.records if record.name == "toril.queue")
    return [record.__dict__["queue"] for record in found]


async def until_told(told: pytest.LogCaptureFixture, count: int) -> None:
    async with asyncio.timeout(5):
        while len(queues(told)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def work(job: Job) -> None:
    """Do nothing."""


async def test_a_queue_that_nobody_serves_is_named(
    app: Toril, told: pytest.LogCaptureFixture
) -> None:
    await app.queue("mail").add("x")
    await until_told(told, 1)

    assert queues(told) == ["mail"]
    assert "queue='mail': no live worker serves it" in told.text


async def test_each_is_named_once(app: Toril, told: pytest.LogCaptureFixture) -> None:
    await app.queue("mail").add("x")
    await until_told(told, 1)
    await asyncio.sleep(0.1)
    await app.queue("mail").add("x")
    await app.queue("other").add("x")
    await until_told(told, 2)

    assert queues(told) == ["mail", "other"]


async def test_a_flow_is_looked_after_too(app: Toril, told: pytest.LogCaptureFixture) -> None:
    await app.flow("roots", "root", children=[("leaves", "leaf", {})]).add()
    await until_told(told, 2)

    assert queues(told) == ["leaves", "roots"]


async def test_a_queue_that_this_app_serves_is_not_asked_about(
    app: Toril, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(app.context.store, "workers", lambda: asked.append(1), raising=False)
    async with app.worker("mail", work):
        await app.queue("mail").add("x")
        await asyncio.sleep(0.1)

    assert (queues(told), asked) == ([], [])


async def test_a_queue_that_another_process_serves_is_not_named(
    tmp_path: object, told: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with Toril(url) as server, Toril(url) as producer, server.worker("mail", work):
        while not await producer.workers():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await producer.queue("mail").add("x")
        await producer.queue("other").add("x")
        await until_told(told, 1)

    assert queues(told) == ["other"]


async def test_it_can_be_turned_off(told: pytest.LogCaptureFixture) -> None:
    async with Toril(":memory:", warn_unserved=False) as app:
        await app.queue("mail").add("x")
        await asyncio.sleep(0.1)

    assert queues(told) == []


async def test_a_script_that_adds_and_ends_is_told_when_it_closes(
    tmp_path: object, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "FIRST_S", 60)
    async with Toril(f"sqlite:///{tmp_path}/jobs.db") as app:
        await app.queue("mail").add("x")
        assert queues(told) == []

    assert queues(told) == ["mail"]


async def test_an_app_that_worked_itself_closes_without_a_word(
    tmp_path: object, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "FIRST_S", 60)
    async with Toril(f"sqlite:///{tmp_path}/jobs.db") as app:
        await app.queue("mail").add("x")
        async with app.worker("mail", work):
            pass

    assert queues(told) == []


async def test_what_goes_with_its_app_is_left_alone(told: pytest.LogCaptureFixture) -> None:
    async with Toril(":memory:") as app:
        await app.queue("mail").add("x")
    await asyncio.sleep(0.1)

    assert told.records == []
