"""Events: what happens in queues, read from anywhere, resumable after an id."""

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Any

import pytest

from toril import ConfigError, Event, Events, Job, Queue, Toril
from toril._jobs import event_reader
from toril.errors import JobError, StoreCorrupt, StoreUnavailable
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


# One reader for many listeners.


class Reads:
    """Counts what the store of an app reads of its events, and the reads that wait."""

    def __init__(self, app: Toril) -> None:
        self._read = app.context.store.events
        self.decoded = 0
        self.made = 0
        self.waiting = 0
        app.context.store.events = self._counted  # type: ignore[method-assign]

    async def _counted(self, queue: str, after: str | None, **how: Any) -> list[Event]:
        self.made += 1
        waits = bool(how.get("timeout_ms"))
        self.waiting += waits
        try:
            found = await self._read(queue, after, **how)
        finally:
            self.waiting -= waits
        self.decoded += len(found)
        return found


async def until(look: Callable[[], object]) -> None:
    while not look():  # noqa: ASYNC110  # no event of ours would tell
        await asyncio.sleep(0.01)


async def hear(events: AsyncIterable[Event], *, until: str = "completed") -> list[str]:
    kinds: list[str] = []
    async for event in events:
        kinds.append(event.kind)
        if event.kind == until:
            break
    return kinds


async def busy_day(app: Toril, *, listening: bool) -> tuple[float, Reads]:
    """Run 1,000 jobs of 0.4 s that report progress; give the time that it took."""
    queue = app.queue(f"fan{listening}")

    @queue.handler()
    async def work(job: Job[Any]) -> None:
        for part in range(4):
            await asyncio.sleep(0.1)
            await job.progress(part)

    await queue.pause()
    jobs = await queue.add_many([("work", n) for n in range(1_000)])
    reads = Reads(app)
    async with app.worker(queue.name, concurrency=1_000), asyncio.timeout(60):
        listeners = [asyncio.create_task(hear(job.events())) for job in jobs if listening]
        await until(lambda: not listening or reads.waiting)
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        await queue.resume()
        await asyncio.gather(*(job.result() for job in jobs))
        for kinds in await asyncio.gather(*listeners):
            assert kinds == ["active", *["progress"] * 4, "completed"]
        took = time.perf_counter() - began
    return took, reads


@pytest.mark.serial
async def test_a_thousand_listeners_cost_one_reader(anywhere: Toril) -> None:
    alone, _ = await busy_day(anywhere, listening=False)
    together, reads = await busy_day(anywhere, listening=True)

    # Each once, and some again by whoever fell behind.
    assert reads.decoded < 3 * 7_000
    assert together < 3 * alone + 1


async def test_results_and_listeners_share_the_reader(anywhere: Toril) -> None:
    queue = anywhere.queue("emails")
    queue.handler()(nothing)
    job = await queue.add("a")
    reads = Reads(anywhere)
    async with queue.events() as one, queue.events() as two, asyncio.timeout(10):
        waiting = asyncio.create_task(job.result())
        about = asyncio.create_task(hear(job.events()))
        await until(lambda: reads.waiting)
        await asyncio.sleep(0.05)
        assert reads.waiting == 1
        await anywhere.worker().run_until_idle()
        expected = ["active", "completed"]
        assert [await hear(one), await hear(two), await about] == [expected] * 3
        assert await waiting is None
    async with asyncio.timeout(10):
        await until(lambda: not reads.waiting)


async def nothing(_: Job[Any]) -> None:
    pass


@pytest.mark.parametrize("place", ["anywhere", "after"])
async def test_a_slow_listener_holds_up_nobody_and_loses_nothing(
    anywhere: Toril, place: str
) -> None:
    queue = anywhere.queue("emails")
    await queue.add("first")
    after = "0" if place == "after" else None
    async with queue.events(after) as slow, queue.events() as quick, asyncio.timeout(30):
        ids: list[str] = []
        for _ in range(4):
            ids += [job.id for job in await queue.add_many([("a", n) for n in range(500)])]
        heard = await take_ids(quick, 2_000)
        unread = sum(follower._unread for follower in slow._followers)
        assert unread <= event_reader.MOST
        late = await take_ids(slow, 2_000 + bool(after))
        await queue.add("last")
        rest = [event.kind for event in [*await take(slow, 2), *await take(quick, 2)]]

    assert heard == ids
    assert late[-2_000:] == ids
    assert rest == ["added", "waiting"] * 2


async def take_ids(events: Events, count: int) -> list[str]:
    """Give the ids of so many jobs as they were added."""
    found: list[str] = []
    async for event in events:
        if isinstance(event, Added):
            found.append(event.job_id)
        if isinstance(event, Waiting) and len(found) == count:
            break
    return found


async def test_listeners_that_come_and_go_hear_each_event_once(anywhere: Toril) -> None:
    queue, added, over = anywhere.queue("emails"), list[str](), asyncio.Event()

    async def produce() -> None:
        for n in range(400):
            added.append((await queue.add("a", n)).id)
        over.set()

    async def listen(number: int) -> tuple[str | None, list[str]]:
        """Read in pieces, going on each time after the last id."""
        found: list[str] = []
        last = None if number % 2 else "0"
        size = 3 + number
        while len(found) < size or not over.is_set():
            events = queue.events(last)
            async with asyncio.timeout(20):
                async for event in events:
                    if isinstance(event, Added):
                        found.append(event.job_id)
                        if len(found) % size == 0:
                            break
            last = events.last["emails"]
        return found[0], found

    async with asyncio.timeout(30):
        producing = asyncio.create_task(produce())
        tasks = [asyncio.create_task(listen(number)) for number in range(30)]
        await producing
        # The last piece of each needs a few more.
        await queue.add_many([("end", n) for n in range(60)])
        heard = await asyncio.gather(*tasks)
    every = [event.job_id for event in await added_to(anywhere, "emails")]
    for first, found in heard:
        start = every.index(str(first))
        assert found == every[start : start + len(found)]


async def added_to(app: Toril, queue: str) -> list[Added]:
    found: list[Added] = []
    after: str | None = None
    while events := await app.context.store.events(queue, after):
        after = events[-1].id
        found += [event for event in events if isinstance(event, Added)]
    return found


async def test_a_fault_that_does_not_pass_reaches_every_listener(app: Toril, emails: Queue) -> None:
    async with emails.events() as one, emails.events() as two:
        listeners = [asyncio.create_task(take(each, 1)) for each in (one, two)]
        await asyncio.sleep(0.05)

        async def broken(*_: Any, **__: Any) -> list[Event]:
            raise StoreCorrupt("a page is damaged")

        read = app.context.store.events
        app.context.store.events = broken  # type: ignore[method-assign]
        await emails.add("ends the read under way")
        results = await asyncio.gather(*listeners, return_exceptions=True)
        # What was read before the fault is told first.
        for result in results:
            assert isinstance(result, StoreCorrupt) or result
        for each in (one, two):
            with pytest.raises(StoreCorrupt):
                await take(each, 9)
        app.context.store.events = read  # type: ignore[method-assign]
    async with emails.events(after="0") as again:
        assert len(await take(again, 2)) == 2


async def test_a_queue_that_is_made_again_goes_on_telling(anywhere: Toril) -> None:
    queue = anywhere.queue("emails")
    async with queue.events() as events:
        await queue.add("a")
        assert await take_ids(events, 1)
        await queue.obliterate()
        job = await queue.add("b")
        await queue.resume()

        async with asyncio.timeout(10):
            async for event in events:
                if isinstance(event, Added):
                    assert event.job_id == job.id
                    break


def test_each_loop_has_a_reader_of_its_own(tmp_path: Path) -> None:
    app = Toril(f"sqlite:///{tmp_path / 'jobs.db'}")
    ready, heard = threading.Barrier(4), list[list[str]]()

    async def listen() -> None:
        async with app.queue("emails").events() as events:
            await asyncio.to_thread(ready.wait, 10)
            heard.append(await take_ids(events, 3))

    threads = [threading.Thread(target=lambda: asyncio.run(listen())) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(10)

    async def add() -> list[str]:
        return [job.id for job in await app.queue("emails").add_many([("a", n) for n in range(3)])]

    ids = asyncio.run(add())
    for thread in threads:
        thread.join(10)
    asyncio.run(app.close())
    assert heard == [ids] * 3
