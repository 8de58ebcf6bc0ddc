"""One side adds, another works, a third moves jobs about or takes them away."""

import re
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import Refused, does, until

HOUR = 3_600_000


def jobs_left(keys: Any, prefix: str, queue: str = "cards") -> set[str]:
    """Name what is left of single jobs, whichever their ids."""
    found: set[str] = set()
    for key in keys.scan_iter(f"{prefix}:{queue}:*", count=1000):
        rest = str(key).removeprefix(f"{prefix}:{queue}:")
        if re.match(r"\d+(:|$)|[0-9a-f]{8}-|own-", rest):
            found.add(rest)
    return found


@pytest.mark.mixed
async def test_a_failed_job_is_run_again(trio: Trio) -> None:
    data = does(["throw", "once", 1], ["seen"])
    job = await trio.producer.add("cards", "n", data)
    await trio.worker.work("cards")
    await trio.ends("cards", job, "failed")
    await trio.reader.listen("cards")

    await trio.reader.retry("cards", job)
    seen = await trio.ends("cards", job, "completed")

    assert (seen.result["attemptsMade"], seen.result["attemptsStarted"]) == (1, 2)
    assert (seen.attempts_made, seen.starts) == (2, 2)
    await until(lambda: waited(trio), [{"jobId": job, "prev": "failed"}])


async def waited(trio: Trio) -> list[dict[str, Any]]:
    return [told for name, told in await trio.reader.heard("cards") if name == "waiting"]


async def test_a_completed_job_is_run_again(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["return", 1]))
    await trio.worker.work("cards")
    await trio.ends("cards", job, "completed")
    await trio.worker.rest()

    await trio.reader.retry("cards", job)

    seen = await trio.read("cards", job)
    assert (seen.state, seen.result, seen.finished, seen.started) == ("waiting", None, None, None)


async def test_a_job_with_a_priority_goes_back_to_its_place(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["throw", "boom"]), priority=4)
    await trio.worker.work("cards")
    await trio.ends("cards", job, "failed")
    await trio.worker.rest()

    await trio.reader.retry("cards", job)

    # BullMQ honours the priority since 6.4.
    place = "waiting" if trio.reader.name == "node5" else "prioritized"
    assert (await trio.read("cards", job)).state == place


async def test_only_a_finished_job_is_run_again(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does())

    with pytest.raises(Refused):
        await trio.reader.retry("cards", job)

    assert await trio.producer.counts("cards") == {"waiting": 1}


async def test_all_failed_jobs_are_run_again(trio: Trio) -> None:
    await trio.producer.add_bulk("cards", [("n", does(["throw", "once", 1]), {})] * 5)
    await trio.worker.work("cards")
    await until(lambda: trio.reader.counts("cards"), {"failed": 5})

    await trio.reader.retry_all("cards")

    await until(lambda: trio.reader.counts("cards"), {"completed": 5})


@pytest.mark.mixed
async def test_a_delayed_job_is_promoted(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(), delay=HOUR)
    await trio.worker.work("cards")

    await trio.reader.promote("cards", job)

    seen = await trio.ends("cards", job, "completed")
    assert seen.delay == 0
    with pytest.raises(Refused):
        await trio.reader.promote("cards", job)


async def test_a_promoted_job_keeps_its_priority(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(), delay=HOUR, priority=9)

    await trio.reader.promote("cards", job)

    assert (await trio.read("cards", job)).state == "prioritized"


async def test_all_delayed_jobs_are_promoted(trio: Trio) -> None:
    await trio.producer.add_bulk("cards", [("n", does(), {"delay": HOUR})] * 4)
    await trio.worker.work("cards")

    await trio.reader.promote_all("cards")

    await until(lambda: trio.producer.counts("cards"), {"completed": 4})


async def test_a_delay_is_made_shorter_and_longer(trio: Trio) -> None:
    short = await trio.producer.add("cards", "short", does(), delay=HOUR)
    long = await trio.producer.add("cards", "long", does(), delay=300)
    await trio.worker.work("cards")

    await trio.reader.change_delay("cards", long, HOUR)
    await trio.reader.change_delay("cards", short, 100)
    await trio.ends("cards", short, "completed")

    seen = await trio.read("cards", long)
    assert (seen.state, seen.delay) == ("delayed", HOUR)
    with pytest.raises(Refused):
        await trio.reader.change_delay("cards", short, 100)


async def test_priorities_are_changed(trio: Trio) -> None:
    given: dict[str, int] = {"a": 0, "b": 5, "c": 5, "d": 3, "e": 0}
    ids = {
        name: await trio.producer.add("cards", name, does(), priority=priority)
        for name, priority in given.items()
    }

    await trio.reader.change_priority("cards", ids["a"], 7)
    await trio.reader.change_priority("cards", ids["b"], 0)
    await trio.reader.change_priority("cards", ids["c"], 3, lifo=True)
    assert await trio.producer.counts("cards") == {"waiting": 2, "prioritized": 3}
    await trio.worker.work("cards")
    await trio.ends("cards", ids["a"], "completed")

    assert [run.name for run in await trio.worker.runs()] == ["e", "b", "c", "d", "a"]
    assert (await trio.read("cards", ids["a"])).priority == 7


async def test_the_priority_of_a_delayed_job_holds_when_it_is_due(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(), delay=HOUR)

    await trio.reader.change_priority("cards", job, 5)
    await trio.reader.promote("cards", job)

    assert (await trio.read("cards", job)).state == "prioritized"


async def test_the_data_of_a_job_is_replaced(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", {"old": 1})

    await trio.reader.update("cards", job, does(["seen"], new=["é", None]))
    await trio.worker.work("cards")
    inside = await trio.producer.result("cards", job)

    assert inside["data"] == does(["seen"], new=["é", None])


async def test_a_job_is_removed_in_any_state_but_active(trio: Trio, keys: Any) -> None:
    await trio.worker.work("cards")
    done = await trio.producer.add("cards", "done", does(["log", "x"]))
    failed = await trio.producer.add("cards", "failed", does(["throw", "boom"]))
    active = await trio.producer.add("cards", "active", does(["gate", "g"]))
    await trio.worker.reached("g")
    waiting = await trio.producer.add("cards", "waiting", {}, jobId="own-id")
    urgent = await trio.producer.add("cards", "urgent", {}, priority=1)
    delayed = await trio.producer.add("cards", "delayed", {}, delay=HOUR)
    await trio.reader.listen("cards")

    for job in (done, failed, waiting, urgent, delayed):
        await trio.reader.remove("cards", job)
    with pytest.raises(Refused):
        await trio.reader.remove("cards", active)

    assert await trio.producer.counts("cards") == {"active": 1}
    assert jobs_left(keys, trio.reader.prefix) == {active, f"{active}:lock"}
    removed = [
        {"jobId": done, "prev": "completed"},
        {"jobId": failed, "prev": "failed"},
        {"jobId": waiting, "prev": "wait"},
        {"jobId": urgent, "prev": "prioritized"},
        {"jobId": delayed, "prev": "delayed"},
    ]
    await until(lambda: heard(trio, "removed"), removed)
    await trio.worker.go("g")


async def heard(trio: Trio, *names: str) -> list[dict[str, Any]]:
    return [told for name, told in await trio.reader.heard("cards") if name in names]


async def test_the_armed_run_of_a_scheduler_is_not_removed(trio: Trio) -> None:
    await trio.producer.upsert("cards", "s", {"pattern": "0 5 1 2 *", "tz": "UTC"})
    (job,) = await trio.reader.ids("cards", "delayed")

    with pytest.raises(Refused):
        await trio.reader.remove("cards", job)

    assert await trio.worker.ids("cards", "delayed") == [job]


@pytest.mark.parametrize("delayed", [False, True])
async def test_drain_takes_what_waits(trio: Trio, keys: Any, delayed: bool) -> None:
    await trio.worker.work("cards")
    done = await trio.producer.add("cards", "done", does())
    active = await trio.producer.add("cards", "active", does(["gate", "g"]))
    await trio.worker.reached("g")
    await trio.producer.add_bulk("cards", [("n", {}, {})] * 3)
    await trio.producer.add("cards", "urgent", {}, priority=2)
    late = await trio.producer.add("cards", "late", {}, delay=HOUR)

    await trio.reader.drain("cards", delayed)

    left = {"completed": 1, "active": 1} | ({} if delayed else {"delayed": 1})
    assert await trio.producer.counts("cards") == left
    kept = {done, active, f"{active}:lock"} | (set() if delayed else {late})
    assert jobs_left(keys, trio.reader.prefix) == kept
    await trio.worker.go("g")


async def test_drain_keeps_the_armed_run_of_a_scheduler(trio: Trio) -> None:
    await trio.producer.upsert("cards", "s", {"pattern": "0 5 1 2 *", "tz": "UTC"})
    await trio.producer.add("cards", "late", {}, delay=HOUR)

    await trio.reader.drain("cards", True)

    (job,) = await trio.producer.ids("cards", "delayed")
    assert job.startswith("repeat:s:")


@pytest.mark.parametrize("state", ["completed", "failed", "wait", "delayed", "prioritized"])
async def test_clean_takes_jobs_of_one_state_up_to_a_limit(
    trio: Trio, keys: Any, state: str
) -> None:
    steps = does(["throw", "boom"]) if state == "failed" else does(["log", "x"])
    opts = {"delayed": {"delay": 1}, "prioritized": {"priority": 1}}.get(state, {})
    jobs = await trio.producer.add_bulk("cards", [("n", steps, opts)] * 4)
    if state in ("completed", "failed"):
        await trio.worker.work("cards")
        await until(lambda: trio.reader.counts("cards"), {state: 4})
    await trio.reader.listen("cards")

    some = await trio.reader.clean("cards", state, 2)
    rest = await trio.reader.clean("cards", state)

    assert (len(some), len(rest)) == (2, 2)
    assert sorted(some + rest) == jobs
    assert await trio.producer.counts("cards") == {}
    assert jobs_left(keys, trio.reader.prefix) == set()
    await until(lambda: heard(trio, "cleaned"), [{"count": "2"}, {"count": "2"}])


async def test_obliterate_needs_force_while_jobs_run(trio: Trio, keys: Any) -> None:
    await trio.worker.work("cards")
    await trio.producer.add("cards", "done", does(["log", "x"], ["progress", 5]))
    await trio.producer.add("cards", "failed", does(["throw", "boom"]))
    active = await trio.producer.add("cards", "active", does(["gate", "g"]))
    await trio.worker.reached("g")
    await trio.producer.add_bulk("cards", [("n", {}, {}), ("n", {}, {"priority": 1})])
    await trio.producer.add("cards", "late", {}, delay=HOUR)
    await trio.producer.upsert("cards", "s", {"pattern": "0 5 1 2 *", "tz": "UTC"})

    with pytest.raises(Refused):
        await trio.reader.obliterate("cards")
    assert (await trio.read("cards", active)).state == "active"
    await trio.reader.obliterate("cards", force=True)

    assert await trio.producer.counts("cards") == {}
    assert await trio.producer.schedulers("cards") == []
    assert jobs_left(keys, trio.reader.prefix) == set()
    await trio.worker.go("g")


async def test_a_queue_lives_again_after_it_was_obliterated(trio: Trio) -> None:
    await trio.producer.add("cards", "old", {})
    await trio.reader.obliterate("cards")

    await trio.worker.work("cards")
    job = await trio.producer.add("cards", "new", does(["return", 1]))

    assert await trio.reader.result("cards", job) == 1
