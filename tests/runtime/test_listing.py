"""Listing jobs while they change: each once, and none that stays is passed over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from toril import Job, Queue, State, Toril
from toril._app.queue import AddOptions
from toril._jobs import paging


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every list have many pages."""
    monkeypatch.setattr(paging, "IDS", 40)
    monkeypatch.setattr(paging, "PAGE", 15)


async def fill(app: Toril, queue: Queue, state: State, count: int) -> list[Job[Any]]:
    """Put so many jobs in a state."""

    @queue.handler()
    async def work(job: Job[Any]) -> None:
        if state is State.FAILED:
            raise ValueError
        if state is State.ACTIVE:
            await asyncio.sleep(60)

    options = AddOptions()
    if state is State.DELAYED:
        options["delay"] = "1h"
    if state is State.PRIORITIZED:
        options["priority"] = 3
    if state is State.WAITING_CHILDREN:
        flows = [app.flow(queue.name, "p", children=[("kids", "k")]) for _ in range(count)]
        return [tree.job for tree in await app.add_flows(flows)]
    jobs = await queue.add_many([("a", n, options) for n in range(count)])
    if state in (State.COMPLETED, State.FAILED):
        await app.worker(queue.name, concurrency=50).run_until_idle()
    return jobs


CHANGES: dict[str, tuple[State, Callable[[Job[Any]], Awaitable[Any]]]] = {
    "remove waiting": (State.WAITING, lambda job: job.remove()),
    "cancel waiting": (State.WAITING, lambda job: job.cancel()),
    "remove prioritized": (State.PRIORITIZED, lambda job: job.remove()),
    "move prioritized to the end": (State.PRIORITIZED, lambda job: job.set_priority(9)),
    "move prioritized to the front": (
        State.PRIORITIZED,
        lambda job: job.set_priority(1, lifo=True),
    ),
    "promote delayed": (State.DELAYED, lambda job: job.promote()),
    "move delayed to the end": (State.DELAYED, lambda job: job.reschedule("9h")),
    "cancel parents": (State.WAITING_CHILDREN, lambda job: job.cancel()),
    "remove completed": (State.COMPLETED, lambda job: job.remove()),
    "retry failed": (State.FAILED, lambda job: job.retry()),
}


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("change", CHANGES)
async def test_jobs_may_be_changed_while_they_are_listed(
    anywhere: Toril, change: str, newest_first: bool
) -> None:
    state, act = CHANGES[change]
    queue = anywhere.queue("q")
    jobs = await fill(anywhere, queue, state, 170)

    found: list[str] = []
    async for job in queue.jobs(state, newest_first=newest_first):
        found.append(job.id)
        await act(job)

    assert sorted(found) == sorted(job.id for job in jobs)


async def test_a_queue_that_is_worked_on_is_listed_whole(
    anywhere: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "IDS", 10_000)
    queue = anywhere.queue("q")

    @queue.handler()
    async def work(job: Job[Any]) -> None:
        if job.attempt == 1:
            raise ValueError

    added = await queue.add_many([("a", n, {"attempts": 2}) for n in range(500)])
    async with anywhere.worker(concurrency=5):
        found = [job.id async for job in queue.jobs()]

    assert sorted(found) == sorted(job.id for job in added)


async def test_others_may_change_the_list_too(anywhere: Toril) -> None:
    queue = anywhere.queue("q")
    jobs = await queue.add_many([("a", n) for n in range(200)])
    gone = {job.id for job in jobs[:100]}

    found: list[str] = []
    async for job in queue.jobs("waiting"):
        found.append(job.id)
        if len(found) == 60:
            await asyncio.gather(*(job.remove() for job in jobs[:100]))
            await queue.add_many([("new", n, {"lifo": True}) for n in range(90)])

    assert len(found) == len(set(found))
    assert {job.id for job in jobs} - gone <= set(found)


async def test_a_name_and_a_limit_hold_in_every_page(anywhere: Toril) -> None:
    queue = anywhere.queue("q")
    await queue.add_many([("b" if n % 7 == 0 else "a", n) for n in range(200)])

    found = [job.data async for job in queue.jobs(name="b", limit=20)]
    async for job in queue.jobs(name="b"):
        await job.remove()

    assert found == [n for n in range(200) if n % 7 == 0][:20]
    assert (await queue.counts()).waiting == 200 - 29


@pytest.mark.parametrize("gone", [1, 9, 30, 50])
async def test_items_that_go_meanwhile_hide_no_others(gone: int) -> None:
    items, read_at = list(range(50)), list[int]()

    async def read(offset: int, limit: int) -> list[int]:
        read_at.append(offset)
        if len(read_at) == 3:
            del items[:gone]
        return items[offset : offset + limit]

    found = [item async for page in paging.walk(read, 10) for item in page]

    assert len(found) == len(set(found))
    assert set(found) >= set(items)


async def test_all_children_are_cancelled_though_some_end_meanwhile(
    anywhere: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toril._jobs.cancel.PAGE", 10)
    kids = [("kids", "k", n, {"parent_on_fail": "ignore"}) for n in range(45)]
    tree = await anywhere.flow("p", "a", children=kids).add()
    store, calls = anywhere.context.store, list[int]()
    children = store.children

    async def shrinking(*args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            await asyncio.gather(*(kid.job.cancel() for kid in tree.children[:10]))
        return await children(*args, **how)

    monkeypatch.setattr(store, "children", shrinking)
    await tree.job.cancel()

    assert (await anywhere.queue("kids").counts()).failed == 45
