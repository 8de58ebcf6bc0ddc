"""What is done on each side, to compare what it leaves in Redis; delays are whole minutes."""

import time
from collections.abc import Awaitable, Callable

from tests.interop.sides import Side, does, tree, until

MINUTE = 60_000
HOUR = 60 * MINUTE
Doing = Callable[[Side], Awaitable[None]]
DOINGS: dict[str, Doing] = {}
# Where a worker waited: it may have taken the marker before it was told to rest, or not.
WORKED: set[str] = set()


def doing(function: Doing) -> Doing:
    DOINGS[function.__name__] = function
    return function


async def stands(side: Side, queue: str = "cards", **counts: int) -> None:
    """Wait until the counts of a queue are these."""
    expected = {state.replace("_", "-"): count for state, count in counts.items()}
    await until(lambda: side.counts(queue), expected)


async def work(side: Side, *queues: str, **options: object) -> None:
    WORKED.add(side.prefix)
    for queue in queues or ("cards",):
        await side.work(queue, f"w-{queue}", stalledInterval=30_000, **options)


async def rest(side: Side, *queues: str) -> None:
    for queue in queues or ("cards",):
        await side.rest(f"w-{queue}")


@doing
async def add(side: Side) -> None:
    await side.add("cards", "plain", {"a": [1, "é", None]})
    await side.add("cards", "text", "data")


@doing
async def bulk(side: Side) -> None:
    await side.add_bulk(
        "cards", [("a", {}, {}), ("b", {"n": 1}, {"priority": 2}), ("c", {}, {"delay": HOUR})]
    )


@doing
async def delay(side: Side) -> None:
    await side.add("cards", "later", {}, delay=2 * HOUR)
    await side.add("cards", "sooner", {}, delay=HOUR)


@doing
async def delay_of_one_moment(side: Side) -> None:
    now = int(time.time() * 1000)
    for name in "abc":
        await side.add("cards", name, {}, delay=HOUR, timestamp=now)


@doing
async def priority(side: Side) -> None:
    for number in (5, 1, 2_097_151, 5):
        await side.add("cards", "n", {}, priority=number)


@doing
async def lifo(side: Side) -> None:
    for number in range(4):
        await side.add("cards", "n", {}, **({"lifo": True} if number % 2 else {}))


@doing
async def custom_id(side: Side) -> None:
    await side.add("cards", "n", {}, jobId="user-42")
    await side.add("cards", "again", {}, jobId="user-42")
    await side.add("cards", "next")


@doing
async def options(side: Side) -> None:
    await side.add(
        "cards",
        "n",
        {},
        attempts=3,
        backoff={"type": "exponential", "delay": 1000, "jitter": 0.5},
        removeOnComplete={"age": 3600, "count": 10},
        removeOnFail=5,
        keepLogs=7,
        stackTraceLimit=3,
        sizeLimit=1000,
        telemetry={
            "metadata": '{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
        },
    )
    await side.add("cards", "n", {}, removeOnComplete=True, removeOnFail=False, backoff=500)
    await side.add("cards", "n", {}, telemetry={"omitContext": True})


@doing
async def complete(side: Side) -> None:
    await side.add("cards", "n", does(["return", {"r": [1, None]}]))
    await work(side)
    await stands(side, completed=1)
    await rest(side)


@doing
async def active(side: Side) -> None:
    await side.add("cards", "n", does(["gate", "g"]))
    await side.add("cards", "waits", {})
    await work(side)
    await side.reached("g")


@doing
async def retry_later(side: Side) -> None:
    steps = does(["throw", "boom é\nline"])
    await side.add("cards", "n", steps, attempts=3, backoff={"type": "fixed", "delay": HOUR})
    await work(side)
    await stands(side, delayed=1)
    await rest(side)


@doing
async def fail(side: Side) -> None:
    await side.add("cards", "n", does(["throw", "boom"]), attempts=2)
    await work(side)
    await stands(side, failed=1)
    await rest(side)


@doing
async def fail_for_good(side: Side) -> None:
    await side.add("cards", "n", does(["fatal", "no use"]), attempts=5)
    await work(side)
    await stands(side, failed=1)
    await rest(side)


@doing
async def progress_and_logs(side: Side) -> None:
    steps = does(["log", "one"], ["progress", 5], ["log", "two"], ["progress", {"p": 1}])
    await side.add("cards", "n", steps, keepLogs=1)
    await work(side)
    await stands(side, completed=1)
    await rest(side)


@doing
async def snooze(side: Side) -> None:
    await side.add("cards", "n", does(["later", HOUR]))
    await work(side)
    await stands(side, delayed=1)
    await rest(side)


@doing
async def flow_added(side: Side) -> None:
    await side.add_flow(three_levels())


@doing
async def flow_run(side: Side) -> None:
    await side.add_flow(three_levels())
    for queue in ("others", "checks", "images", "uploads"):
        await work(side, queue)
        await stands(side, queue, completed=1)
        await rest(side, queue)


def three_levels() -> dict[str, object]:
    middle = tree("images", "middle", tree("checks", "leaf", data=does(["return", 1])), priority=3)
    return tree("uploads", "root", middle, tree("others", "other"))


@doing
async def flow_of_one_queue(side: Side) -> None:
    await side.add_flow(
        tree("cards", "root", tree("cards", "a", tree("cards", "b")), tree("cards", "c"))
    )


def policy(**opts: bool) -> Doing:
    async def child_fails(side: Side) -> None:
        bad = tree("checks", "bad", data=does(["throw", "rude"]), **opts)
        await side.add_flow(tree("uploads", "parent", bad, tree("checks", "good")))
        await work(side, "checks")
        await stands(side, "checks", failed=1, completed=1)
        await rest(side, "checks")
        await work(side, "uploads")
        if opts:
            ended = "failed" if "failParentOnFailure" in opts else "completed"
            await stands(side, "uploads", **{ended: 1})
        await rest(side, "uploads")

    return child_fails


DOINGS |= {
    "child_fails_and_blocks": policy(),
    "child_fails_parent": policy(failParentOnFailure=True),
    "child_fails_continue": policy(continueParentOnFailure=True),
    "child_fails_ignored": policy(ignoreDependencyOnFailure=True),
    "child_fails_removed": policy(removeDependencyOnFailure=True),
}


@doing
async def handler_waits_for_child(side: Side) -> None:
    await side.add("uploads", "parent", does(["child", "checks", "c", {}], ["await"]))
    await work(side, "uploads")
    await stands(side, "uploads", waiting_children=1)
    await rest(side, "uploads")


@doing
async def scheduler_every(side: Side) -> None:
    await side.upsert("cards", "beat", {"every": 10 * MINUTE}, "beat", {"a": 1})


@doing
async def scheduler_every_run(side: Side) -> None:
    await side.upsert("cards", "beat", {"every": 10 * MINUTE}, "beat", {"a": 1})
    await work(side)
    await stands(side, completed=1, delayed=1)
    await rest(side)


@doing
async def scheduler_cron(side: Side) -> None:
    await side.upsert("cards", "yearly", {"pattern": "0 5 1 2 *", "tz": "Asia/Tokyo"}, "tick")


@doing
async def scheduler_cron_run(side: Side) -> None:
    rule = {"pattern": "0 5 1 2 *", "tz": "UTC", "limit": 5, "endDate": 4_102_444_800_000}
    await side.upsert("cards", "yearly", rule, "tick", {"a": 1})
    (job,) = await side.ids("cards", "delayed")
    await side.promote("cards", job)
    await work(side)
    await stands(side, completed=1, delayed=1)
    await rest(side)


@doing
async def scheduler_changed_and_removed(side: Side) -> None:
    await side.upsert("cards", "kept", {"pattern": "0 5 1 2 *", "tz": "UTC"}, "old", {"a": 1})
    await side.upsert("cards", "kept", {"pattern": "0 5 1 3 *", "tz": "UTC"}, "new")
    await side.upsert("cards", "gone", {"pattern": "0 5 1 2 *", "tz": "UTC"})
    await side.unschedule("cards", "gone")


def dedup(first: dict[str, object], **how: object) -> Doing:
    async def duplicates(side: Side) -> None:
        for name in "abc":
            given = {"id": "key", **how}
            await side.add("cards", name, {"n": name}, deduplication=given, **first)

    return duplicates


DOINGS |= {
    "dedup_simple": dedup({}),
    "dedup_ttl": dedup({}, ttl=HOUR),
    "dedup_extend": dedup({}, ttl=HOUR, extend=True),
    "dedup_replace": dedup({"delay": HOUR}, replace=True),
    "dedup_debounce": dedup({"delay": HOUR}, ttl=HOUR, extend=True, replace=True),
}


@doing
async def dedup_reschedule(side: Side) -> None:
    for hours in (1, 2, 3):
        how = {"id": "key", "reschedule": True}
        await side.add("cards", "n", {"n": hours}, delay=hours * HOUR, deduplication=how)


@doing
async def dedup_keep_last(side: Side) -> None:
    how = {"id": "key", "keepLastIfActive": True}
    await side.add("cards", "a", does(["gate", "g"]), deduplication=how)
    await work(side)
    await side.reached("g")
    for name in "bc":
        await side.add("cards", name, {"n": name}, deduplication=how)


@doing
async def dedup_keep_last_run(side: Side) -> None:
    await dedup_keep_last(side)
    await side.go("g")
    await stands(side, completed=2)
    await rest(side)


@doing
async def rate_limit(side: Side) -> None:
    await side.limit("cards", rate=(2, 10 * MINUTE))
    await side.add_bulk("cards", [("n", {}, {})] * 3)
    await work(side)
    await stands(side, completed=2, waiting=1)
    await rest(side)


@doing
async def rate_limit_by_hand(side: Side) -> None:
    await side.add("cards", "n")
    await side.rate_limit("cards", 10 * MINUTE)


@doing
async def global_concurrency(side: Side) -> None:
    await side.limit("cards", concurrency=1)
    await side.add_bulk("cards", [("n", does(["gate", "g"]), {})] * 2)
    await work(side, concurrency=2)
    await side.reached("g")


@doing
async def pause(side: Side) -> None:
    await side.add("cards", "before")
    await side.pause("cards")
    await side.add("cards", "after", {}, delay=HOUR)
    await side.add("cards", "after")


@doing
async def resume(side: Side) -> None:
    await pause(side)
    await side.resume("cards")


@doing
async def retention(side: Side) -> None:
    opts = {"removeOnComplete": 2, "removeOnFail": True}
    good = [("good", does(["log", "x"]), opts)] * 4
    await side.add_bulk("cards", [*good, ("bad", does(["throw", "boom"]), opts)])
    await work(side)
    await stands(side, completed=2)
    await rest(side)


@doing
async def retry(side: Side) -> None:
    await fail(side)
    await side.retry("cards", "1")


@doing
async def retry_all(side: Side) -> None:
    await side.add_bulk("cards", [("n", does(["throw", "boom"]), {"priority": 1})] * 2)
    await work(side)
    await stands(side, failed=2)
    await rest(side)
    await side.retry_all("cards")


@doing
async def retry_of_a_child(side: Side) -> None:
    bad = tree("checks", "bad", data=does(["throw", "b"]), ignoreDependencyOnFailure=True)
    made = await side.add_flow(tree("uploads", "parent", bad, tree("images", "never")))
    await work(side, "checks")
    await stands(side, "checks", failed=1)
    await rest(side, "checks")
    await side.retry("checks", made.children[0].id)


@doing
async def promote(side: Side) -> None:
    await side.add("cards", "plain", {}, delay=HOUR)
    await side.add("cards", "urgent", {}, delay=HOUR, priority=4)
    for job in ("1", "2"):
        await side.promote("cards", job)


@doing
async def promote_all(side: Side) -> None:
    await side.add_bulk("cards", [("n", {}, {"delay": HOUR, "priority": 1})] * 2)
    await side.promote_all("cards")


@doing
async def change_delay(side: Side) -> None:
    await side.add("cards", "n", {}, delay=HOUR)
    await side.change_delay("cards", "1", 3 * HOUR)


@doing
async def change_priority(side: Side) -> None:
    await side.add_bulk("cards", [("n", {}, {}), ("n", {}, {"priority": 3}), ("n", {}, {})])
    await side.add("cards", "late", {}, delay=HOUR)
    await side.change_priority("cards", "1", 7)
    await side.change_priority("cards", "2", 0)
    await side.change_priority("cards", "3", 7, lifo=True)
    await side.change_priority("cards", "4", 1)


@doing
async def remove(side: Side) -> None:
    await side.add("cards", "a", {}, jobId="own", deduplication={"id": "key"})
    await side.add("cards", "b", {}, delay=HOUR)
    for job in ("own", "2"):
        await side.remove("cards", job)


@doing
async def remove_with_children(side: Side) -> None:
    made = await side.add_flow(three_levels())
    await side.remove("uploads", made.id)


@doing
async def remove_last_child(side: Side) -> None:
    made = await side.add_flow(tree("uploads", "parent", tree("checks", "c"), priority=5))
    await side.remove("checks", made.children[0].id)


@doing
async def detach(side: Side) -> None:
    made = await side.add_flow(tree("uploads", "parent", tree("checks", "c")))
    await side.detach("checks", made.children[0].id)


@doing
async def drain(side: Side) -> None:
    await side.add_bulk("cards", [("n", {}, {}), ("n", {}, {"priority": 1})])
    await side.add("cards", "late", {}, delay=HOUR)
    await side.drain("cards")


@doing
async def drain_delayed(side: Side) -> None:
    await side.add("cards", "late", {}, delay=HOUR)
    await side.drain("cards", True)


@doing
async def clean(side: Side) -> None:
    await side.add_bulk("cards", [("n", does(["log", "x"]), {})] * 3)
    await work(side)
    await stands(side, completed=3)
    await rest(side)
    await side.clean("cards", "completed", 2)


@doing
async def obliterate(side: Side) -> None:
    await side.add_bulk("cards", [("n", {}, {}), ("n", {}, {"delay": HOUR})])
    await side.upsert("cards", "s", {"pattern": "0 5 1 2 *", "tz": "UTC"})
    await side.obliterate("cards")
