"""Events: what happens in queues, read from anywhere, resumable after an id."""

import asyncio
from typing import Any

import pytest

from toril import ConfigError, Event, Events, Job, Queue, Toril
from toril.errors import JobError, StoreUnavailable
from toril.events import Added, Completed, Waiting


@pytest.fixture
def emails(app: Toril) -> Queue:
    queue = app.queue("emails")

    @queue.handler()
    async def send(job: Job[Any]) -> str:
        return "sent"

    return queue


async def take(events: Events, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(10):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_listener_hears_every_step_in_order(app: Toril, emails: Queue) -> None:
    async with emails.events() as events, app.worker():
        job = await emails.add("welcome")
        found = await take(events, 5)

    assert [event.kind for event in found] == ["added", "waiting", "active", "completed", "drained"]
    completed = found[3]
    assert isinstance(completed, Completed)
    assert (completed.job_id, completed.result) == (job.id, "sent")


async def test_a_fresh_listener_hears_only_what_is_new(emails: Queue) -> None:
    await emails.add("old")
    async with emails.events() as events:
        await emails.add("new")
        (first,) = await take(events, 1)

    assert isinstance(first, Added)
    assert first.name == "new"


async def test_a_listener_goes_on_after_the_last_it_saw(emails: Queue) -> None:
    await emails.add("one")
    async with emails.events(after="0") as events:
        seen = await take(events, 2)
    await emails.add("two")
    async with emails.events(after=events.last["emails"]) as again:
        missed = await take(again, 2)

    assert [type(event) for event in seen] == [Added, Waiting]
    assert isinstance(missed[0], Added)
    assert missed[0].name == "two"


async def test_several_queues_are_heard_together(app: Toril, emails: Queue) -> None:
    async with app.events("emails", "sms") as events:
        await emails.add("a")
        await app.queue("sms").add("b")
        found = await take(events, 4)

    assert {event.queue for event in found} == {"emails", "sms"}


async def test_an_id_alone_does_not_say_where_to_go_on_in_several_queues(app: Toril) -> None:
    with pytest.raises(ConfigError, match="belongs to one queue"):
        Events(app.context, ["a", "b"], after="7")


async def test_a_listener_comes_back_when_the_store_does(
    emails: Queue, app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    await app.open()
    read, faults = app.context.store.events, [1, 1]

    async def shaky(*args: Any, **how: Any) -> Any:
        if faults:
            faults.pop()
            raise StoreUnavailable("gone for a moment")
        return await read(*args, **how)

    app.context.store.events = shaky  # type: ignore[method-assign]
    async with emails.events(after="0") as events:
        await emails.add("a")
        found = await take(events, 2)

    assert [event.kind for event in found] == ["added", "waiting"]
    assert [record.message for record in caplog.records if "unreach" in record.message]


async def test_a_listener_can_be_closed_while_it_waits(emails: Queue) -> None:
    events = emails.events()
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0.05)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await events.close()


async def test_a_job_tells_what_happens_to_it_alone(app: Toril, emails: Queue) -> None:
    mine, other = await emails.add("mine"), await emails.add("other")

    async def listen() -> list[str]:
        return [event.kind async for event in mine.events(after="0")]

    heard = asyncio.create_task(listen())
    await app.worker().run_until_idle()
    await mine.remove()

    async with asyncio.timeout(10):
        assert await heard == ["added", "waiting", "active", "completed", "removed"]
    assert other.id != mine.id


async def test_events_of_no_queue_are_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one queue"):
        Toril(":memory:").events()


async def test_an_event_finds_its_job_as_it_stands_now(app: Toril, emails: Queue) -> None:
    job = await emails.add("welcome", {"to": "a@b.c"})
    await app.worker().run_until_idle()
    async with emails.events(after="0") as events:
        (added,) = await take(events, 1)

    assert isinstance(added, Added)
    found = await added.job()
    assert (found.id, found.data, found.record.state) == (job.id, {"to": "a@b.c"}, "completed")


@pytest.mark.parametrize("source", ["app", "job"])
async def test_events_find_their_jobs_wherever_they_are_read(
    app: Toril, emails: Queue, source: str
) -> None:
    job = await emails.add("welcome")
    read = app.events("emails", after={"emails": "0"}) if source == "app" else job.events("0")
    async for event in read:
        assert isinstance(event, Added)
        assert (await event.job()).id == job.id
        break


async def test_an_event_of_a_job_that_is_gone_finds_none(emails: Queue) -> None:
    job = await emails.add("welcome")
    await job.remove()
    async with emails.events(after="0") as events:
        (added,) = await take(events, 1)

    assert isinstance(added, Added)
    assert await added.job() is None


async def test_an_event_of_the_bare_store_says_why_it_finds_no_job(
    app: Toril, emails: Queue
) -> None:
    job = await emails.add("welcome")
    (added, _) = await app.context.store.events("emails", None)

    assert isinstance(added, Added)
    with pytest.raises(JobError, match=r"cannot find job '1'.*queue\.events\(\)") as caught:
        await added.job()
    assert (caught.value.queue, caught.value.job_id) == ("emails", job.id)


async def test_how_an_event_finds_its_job_is_no_part_of_what_it_tells(
    app: Toril, emails: Queue
) -> None:
    await emails.add("welcome")
    async with emails.events(after="0") as events:
        (read,) = await take(events, 1)
    (stored, _) = await app.context.store.events("emails", None)

    assert (read, repr(read)) == (stored, repr(stored))
