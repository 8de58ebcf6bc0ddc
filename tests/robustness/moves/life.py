"""A store full of all kinds of jobs, and handlers that write down what they ran."""

import time
from collections import Counter
from typing import Any

from tests.support.kit import Kit
from toril import Fail, Job, Toril
from toril._model.options import Dedup

STEPS = 7
KIDS = 3
# What runs at the target, how often each.
EXPECTED = Counter(
    [f"step {n}" for n in range(STEPS)]
    + [f"urgent {n}" for n in range(2)]
    + ["once", "mine", "kid 1", "kid 2", "sum of 3"]
)
# What stands in the queue when it has come there, and when all has run.
ARRIVED = {"waiting": STEPS + 2, "prioritized": 2, "delayed": 3, "waiting_children": 1, "failed": 2}
LEFT = {"delayed": 3, "failed": 2}


def handlers(app: Toril, ran: list[str]) -> None:
    """Let an app run the jobs, each of which is written down."""

    @app.task(name="step", queue="work")
    async def step(what: str) -> None:
        ran.append(what)

    @app.task(name="broken", queue="work")
    async def broken(what: str) -> None:
        ran.append(what)
        raise Fail("it is broken")

    @app.task(name="kid", queue="kids")
    async def kid(what: str) -> int:
        ran.append(what)
        return 1

    @app.task(name="sum", queue="work")
    async def total(job: Job[Any]) -> None:
        results = await job.children_values()
        ran.append(f"sum of {sum(results.values())}")


async def fill(app: Toril) -> None:
    """Put in jobs of all kinds: in each state but active, a flow, a schedule, settings."""
    ran: list[str] = []
    handlers(app, ran)
    work = app.queue("work", keep_completed=False, keep_failed="all", concurrency=4)
    for n in range(2):
        await work.add("broken", {"what": f"broken {n}"})
    await app.worker(queues="work").run_until_idle()
    kids = [("kids", "kid", {"what": f"kid {n}"}) for n in range(KIDS)]
    await app.flow("work", "sum", {}, children=kids).add()
    kit = Kit(app.context.store)
    kit.now = int(time.time() * 1000)
    await kit.run("kids", result="1")
    await work.add_many([("step", {"what": f"step {n}"}) for n in range(STEPS)])
    for n in range(2):
        await work.add("step", {"what": f"urgent {n}"}, priority=3)
        await work.add("step", {"what": f"late {n}"}, delay="1h")
    await work.add("step", {"what": "mine"}, id="mine")
    await work.add("step", {"what": "once"}, dedup=Dedup("once"))
    await app.schedules.put("nightly", cron="0 2 * * *", queue="work", name="step")


async def run_all(app: Toril) -> None:
    """Run what is ready."""
    await app.worker(queues=["work", "kids"]).run_until_idle()


async def states(app: Toril, queue: str) -> dict[str, int]:
    """Count the jobs in each state, leaving out the states that have none."""
    counts = (await app.queue(queue).counts()).by_state
    return {state: count for state, count in counts.items() if count}
