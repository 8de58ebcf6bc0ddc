"""Schedulers: stored by one side, advanced by another, changed and removed by a third."""

import asyncio
import itertools
import time
from functools import partial
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import Scheduler, does, until

MINUTE = 60_000
YEARLY = "0 5 1 2 *"


async def the(trio: Trio) -> Scheduler:
    (found,) = await trio.reader.schedulers("cards")
    return found


async def pending(trio: Trio) -> str:
    """Give the one job that the scheduler has armed."""
    ids = await trio.reader.ids("cards", "delayed")
    assert len(ids) == 1, ids
    return ids[0]


@pytest.mark.mixed
async def test_an_interval_runs_at_once_and_then_in_its_slots(trio: Trio) -> None:
    before = time.time() * 1000
    await trio.producer.upsert("cards", "beat", {"every": 150}, "beat", does(["seen"], n=1))
    # A side that was just started takes its time for its first call.
    stored = time.time() * 1000
    await trio.worker.work("cards")
    ready = time.time() * 1000
    await until(lambda: enough(trio, 4), True)
    await trio.reader.unschedule("cards", "beat")

    runs = (await trio.worker.runs())[:4]
    slots = [int(run.id.rpartition(":")[2]) for run in runs]
    gaps = [after - one for one, after in itertools.pairwise(slots)]
    # A run that starts late on a busy machine skips slots; it never runs between them.
    assert all(gap % 150 == 0 for gap in gaps), gaps
    assert before - 5 <= slots[0] <= stored + 150
    for run, slot in zip(runs, slots, strict=True):
        assert run.began >= slot - 5
    assert min(run.began - max(slot, ready) for run, slot in zip(runs, slots, strict=True)) <= 250
    assert {run.name for run in runs} == {"beat"}
    inside = (await trio.read("cards", runs[2].id)).result
    assert inside["data"] == does(["seen"], n=1)


async def enough(trio: Trio, count: int) -> bool:
    return len(await trio.worker.runs()) >= count


RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "every": ({"every": 5 * MINUTE}, {"every": 5 * MINUTE}),
    "cron": ({"pattern": YEARLY, "tz": "Asia/Tokyo"}, {"pattern": YEARLY, "tz": "Asia/Tokyo"}),
    "cron-utc": ({"pattern": "*/10 * * * *", "tz": "UTC"}, {"pattern": "*/10 * * * *"}),
    "cron-seconds": ({"pattern": "30 0 12 * * 1-5", "tz": "Europe/Berlin"}, {}),
}


@pytest.mark.parametrize("rule", RULES)
async def test_every_side_reads_the_rule_and_the_next_run(trio: Trio, rule: str) -> None:
    repeat, expected = RULES[rule]
    await trio.producer.upsert("cards", "s", repeat, "tick", {"a": [1]})

    read = await the(trio)
    again = (await trio.worker.schedulers("cards"))[0]

    assert (read.id, read.count) == ("s", 1)
    assert (read.pattern, read.every) == (repeat.get("pattern"), repeat.get("every"))
    assert read.next is not None
    assert read.next == again.next
    assert {name: getattr(read, name) for name in expected} == expected
    job = f"repeat:s:{read.next}"
    seen = await trio.read("cards", job)
    assert (seen.name, seen.data) == ("tick", {"a": [1]})
    assert seen.state == ("waiting" if "every" in repeat else "delayed")


@pytest.mark.mixed
@pytest.mark.parametrize("rule", ["every", "cron", "cron-seconds"])
async def test_whoever_runs_an_iteration_arms_the_next(trio: Trio, rule: str) -> None:
    repeat, _ = RULES[rule]
    await trio.producer.upsert("cards", "s", repeat, "tick", does(["seen"], x=1))
    nexts = [await next_of(trio)]
    await trio.worker.work("cards")
    if "every" in repeat:
        await until(lambda: count_of(trio), 2)
        nexts.append(await next_of(trio))

    for _ in range(2):
        expected = (await the(trio)).count + 1
        await trio.reader.promote("cards", await pending(trio))
        await until(partial(count_of, trio), expected)
        nexts.append(await next_of(trio))

    assert nexts == sorted(set(nexts))
    assert await pending(trio) == f"repeat:s:{nexts[-1]}"
    assert (await trio.read("cards", f"repeat:s:{nexts[-1]}")).data == does(["seen"], x=1)
    fresh = trio.reader
    await fresh.upsert("cards", "proof", repeat)
    if "pattern" in repeat:
        # After two early runs it stands two occurrences further than one that starts now.
        assert (await schedulers(trio))["proof"].next == nexts[0]


async def next_of(trio: Trio) -> int:
    return (await the(trio)).next or 0


async def count_of(trio: Trio) -> int:
    return (await the(trio)).count


async def schedulers(trio: Trio) -> dict[str, Scheduler]:
    return {one.id: one for one in await trio.reader.schedulers("cards")}


async def test_a_scheduler_ends_after_its_limit(trio: Trio) -> None:
    await trio.producer.upsert("cards", "s", {"every": 100, "limit": 3}, "tick", does())

    await trio.worker.work("cards")
    await until(lambda: trio.reader.counts("cards"), {"completed": 3})
    await asyncio.sleep(0.25)

    assert await trio.reader.counts("cards") == {"completed": 3}


async def test_a_scheduler_ends_at_its_end(trio: Trio) -> None:
    # Beyond what a side that was just started takes for its first call.
    end = int(time.time() * 1000) + 1_500
    await trio.producer.upsert("cards", "s", {"every": 150, "endDate": end}, "tick", does())

    await trio.worker.work("cards")
    await until(lambda: over(end), True)

    runs = [int(run.id.rpartition(":")[2]) for run in await trio.worker.runs()]
    # Node looks at the end when it arms a run, toril at the run: one slot later may be Node's.
    assert max(runs) <= (end if trio.worker.name == "toril" else end + 150)
    assert len(runs) >= 2
    assert await trio.reader.ids("cards", "delayed") == []


async def over(end: int) -> bool:
    """Say whether the time is well past the last slot that may have a run."""
    return time.time() * 1000 > end + 500


async def test_a_scheduler_begins_at_its_start(trio: Trio) -> None:
    start = int(time.time() * 1000) + 90 * MINUTE
    await trio.producer.upsert("cards", "s", {"every": MINUTE, "startDate": start})

    assert (await the(trio)).next == start
    assert await pending(trio) == f"repeat:s:{start}"


async def test_another_side_may_change_the_rule(trio: Trio) -> None:
    await trio.producer.upsert("cards", "s", {"pattern": YEARLY, "tz": "UTC"}, "old", {"a": 1})

    later = {"pattern": "0 0 1 3 *", "tz": "UTC"}
    await trio.worker.upsert("cards", "s", later, "new", {"b": 2})

    now = await the(trio)
    assert (now.pattern, now.count) == ("0 0 1 3 *", 1)
    seen = await trio.read("cards", await pending(trio))
    assert (seen.id, seen.name, seen.data) == (f"repeat:s:{now.next}", "new", {"b": 2})


async def test_storing_the_same_rule_again_keeps_its_one_run(trio: Trio) -> None:
    repeat = {"pattern": YEARLY, "tz": "UTC"}
    await trio.producer.upsert("cards", "s", repeat, "tick", {"a": 1})
    first = await the(trio)

    await trio.worker.upsert("cards", "s", repeat, "tick", {"a": 2})

    assert await the(trio) == first
    assert (await trio.read("cards", await pending(trio))).data == {"a": 2}


async def test_another_side_may_remove_it_with_its_pending_run(trio: Trio) -> None:
    await trio.producer.upsert("cards", "s", {"pattern": YEARLY, "tz": "UTC"})

    assert await trio.worker.unschedule("cards", "s") is True

    assert await trio.reader.schedulers("cards") == []
    assert await trio.reader.counts("cards") == {}
    assert await trio.reader.unschedule("cards", "s") is False


async def test_many_schedulers_are_listed_by_their_next_run(trio: Trio) -> None:
    for month in (6, 3, 9):
        repeat = {"pattern": f"0 0 1 {month} *", "tz": "UTC"}
        await trio.producer.upsert("cards", f"m{month}", repeat)

    listed = [one.next for one in await trio.reader.schedulers("cards")]

    assert listed == sorted(listed, key=lambda at: at or 0)
    assert len(listed) == 3
