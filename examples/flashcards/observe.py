"""Play the scenarios of the flash cards, and print PASS or FAIL for each line."""

import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from observing import LATE, Program, Stage, Web, main, tally, until  # noqa: E402

from toril import Job, JobLocked, Queue, Toril  # noqa: E402
from toril.errors import TorilError  # noqa: E402

PREFIX = "flash-cards"
OPTIMIZE, CHECK, UPLOAD = "image:optimize", "image:check-valid", "image:upload"
# One second of work takes so long here.
SECOND = 0.05


def picture() -> bytes:
    """Make a real picture."""
    out = BytesIO()
    Image.radial_gradient("L").resize((900, 600)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


PICTURE = picture()


def opened(settings: dict[str, str], prefix: str = PREFIX) -> Toril:
    return Toril(settings["TORIL_URL"], prefix=prefix, warn_unserved=False)


async def found(queue: Queue, job_id: str) -> Job[Any]:
    job = await queue.job(job_id)
    assert job is not None
    return job


async def story(queue: Queue, count: int) -> list[str]:
    """Return the kinds of the first events of a queue."""
    kinds: list[str] = []
    async with asyncio.timeout(8), queue.events(after="0") as stream:
        async for event in stream:
            kinds.append(event.kind)
            if len(kinds) == count:
                break
    return kinds


async def play(stage: Stage) -> None:
    await asyncio.gather(
        configuration(stage), cards(stage), pausing(stage), workers(stage), library(stage)
    )


def settings_of(stage: Stage, **more: str) -> dict[str, str]:
    settings = stage.fresh()
    folder = stage.scratch / f"{stage.store}-cards-{len(os.listdir(stage.scratch))}-{id(settings)}"
    return {**settings, "CARDS": str(folder), "CARDS_SECOND": str(SECOND), **more}


async def configuration(stage: Stage) -> None:
    settings = settings_of(stage)
    async with opened(settings) as app, opened(settings, "other") as other:
        with stage.scenario("S000-01") as line:
            await app.queue(OPTIMIZE).add("optimize-size", {"file": "cat.jpg", "id": 7})
            line("a name with a colon is accepted", await tally(app.queue(OPTIMIZE)) == {"W": 1})
            line("it is found by its bare name", await app.queues() == [OPTIMIZE])
            line("another prefix sees none of it", await tally(other.queue(OPTIMIZE)) == {})
            if stage.store == "redis":
                keys = await keys_of(settings["TORIL_URL"])
                fits = all(key.startswith((f"{PREFIX}:", "toril:")) for key in keys)
                line("every key begins with the prefix, or is toril's own", keys and fits, keys)
        with stage.scenario("S000-01") as line:
            lost = Toril("redis://127.0.0.1:1", prefix=PREFIX)
            try:
                await lost.queue(OPTIMIZE).add("optimize-size", {})
            except TorilError as error:
                line("a wrong port is one error that names it", "127.0.0.1:1" in str(error), error)
            else:
                line("a wrong port is one error that names it", False)
            await lost.close()

        with stage.scenario("S000-01") as line:

            async def secret() -> str:
                await asyncio.sleep(0)
                return settings["TORIL_URL"]

            async with Toril(secret, prefix=PREFIX, warn_unserved=False) as later:
                counts = await tally(later.queue(OPTIMIZE))
                line("a factory may look up a secret first", counts == {"W": 1}, counts)
        with stage.scenario("S000-02") as line:
            queue = app.queue(OPTIMIZE)
            job = await found(queue, "1")
            line("W=1, job id 1, name optimize-size", (job.id, job.name) == ("1", "optimize-size"))
            line("data is file and id, attempts made 0", set(job.data) == {"file", "id"})
            kinds = await story(queue, 2)
            line("events: added, waiting", kinds == ["added", "waiting"], kinds)
            (view,) = await app.overview(OPTIMIZE)
            line("no worker is listening on this queue", list(view.workers) == [], view.workers)


async def keys_of(url: str) -> list[str]:
    import redis.asyncio

    client = redis.asyncio.from_url(url, decode_responses=True)
    try:
        return sorted([key async for key in client.scan_iter()])
    finally:
        await client.aclose()


async def post(web: Web, name: str = "cat.jpg") -> dict[str, Any]:
    status, card = await web.send("POST", f"/flash-cards?front=cat&name={name}", PICTURE)
    assert status == 201, card
    return dict(card)


async def cards(stage: Stage) -> None:
    """The flow of a card: first without workers, then one after the other."""
    settings = settings_of(stage)
    async with opened(settings) as app, stage.web("web:web", **settings) as (web, _):
        images, checks, uploads = (app.queue(name) for name in (OPTIMIZE, CHECK, UPLOAD))
        with stage.scenario("S000-02") as line:
            began = time.monotonic()
            card = await post(web)
            took = time.monotonic() - began
            line("the answer is the stored card, and does not wait", took < LATE, took)
            status, _ = await web.send("POST", "/flash-cards?front=x&name=x.jpg", b"no picture")
            line("what is no picture is answered with 422", status == 422, status)
        with stage.scenario("S000-14") as line:
            line("checks W=2", await tally(checks) == {"W": 2})
            line("upload WC=1", await tally(uploads) == {"WC": 1})
            line(
                "optimise waits for its delay, then in the queue",
                sum((await tally(images)).values()) == 1,
            )
            parent = await found(uploads, card["job"])
            await asyncio.gather(*(stage_worker(stage, settings, parent, line, uploads, app),))
            shown = (await web.get(f"/flash-cards/{card['id']}"))[1]
            line("the row has the image", shown["image"] == "image_url_from_s3_cat.jpg", shown)
            small = Path(settings["CARDS"]) / f"{card['id']}-small-cat.jpg"
            with Image.open(small) as image:
                line("the picture is optimised", max(image.size) == 320, image.size)
            _, state = await web.get(f"/flash-cards/jobs/{card['job']}")
            expected = {"state": "completed", "children": {"pending": 0, "completed": 3}}
            line("its dependencies are counted", state == expected, state)
        with stage.scenario("S000-13") as line:
            (job,) = [each async for each in images.jobs("completed")]
            log = (await job.logs()).lines
            line(
                "log and progress of the child reach the job",
                job.last_progress == 100 and bool(log),
            )
            line("it ran once, without a stall", job.attempts_made == 1)
        with stage.scenario("S000-16") as line:
            card = await post(web)
            await until(lambda: tally(checks), {"W": 2, "C": 2})
            status, _ = await web.send("DELETE", f"/flash-cards/jobs/{card['job']}")
            left = [await tally(queue) for queue in (images, checks, uploads)]
            line(
                "the parent goes, and its children with it",
                left == [{"C": 1}, {"C": 2}, {"C": 1}],
                left,
            )


async def stage_worker(
    stage: Stage, settings: dict[str, str], parent: Job[Any], line: Any, uploads: Queue, app: Toril
) -> None:
    async with stage.worker("jobs.py", "--queues", f"{OPTIMIZE},{CHECK}", **settings) as worker:
        await until(lambda: tally(uploads), {"W": 1}, within=15)
        line("when all children are done the parent waits, W=1, not active", True)
        times = {}
        async for each in app.queue(CHECK).jobs("completed"):
            assert each.started_at is not None
            assert each.finished_at is not None
            times[each.name] = (each.started_at, each.finished_at)
        first, second = times["check-term"], times["check-policy"]
        line("the checks ran one after the other", first[1] <= second[0], times)
        pids = {each for each in (await _logs(app)) if each.startswith("process ")}
        alone = f"process {worker.process.pid}" not in pids and len(pids) == 1
        stage.line("S000-13", "the child's pid is not that of the worker", alone, pids)
        await worker.says("Job has been started: ")
        stage.line("S000-09", "Job has been started: <id>", True)
        await worker.says("Job has been finished: ", times=3)
        stage.line("S000-09", "Job has been finished: <id>", True)
    async with stage.worker("jobs.py", "--queues", UPLOAD, **settings):
        await until(parent.state, "completed", within=10)
        line("an upload worker runs it at once: C=1", True)
    values = await parent.children_values()
    line("three values; one key has the queue of the optimised file", len(values) == 3)
    optimised = [value for key, value in values.items() if OPTIMIZE in key]
    line("which is the input file", optimised == ["cat.jpg"], values)
    line("the others are true", sorted(map(str, values.values())) == ["True", "True", "cat.jpg"])
    children = await parent.children()
    line("children by name", children["optimize-size"] == "cat.jpg")


async def _logs(app: Toril) -> list[str]:
    return [
        text
        async for each in app.queue(OPTIMIZE).jobs("completed")
        for text in (await each.logs()).lines
    ]


async def pausing(stage: Stage) -> None:
    settings = settings_of(stage)
    async with (
        opened(settings) as app,
        stage.web("web:web", **settings) as (web, _),
        stage.worker("jobs.py", **settings),
    ):
        images, checks, uploads = (app.queue(name) for name in (OPTIMIZE, CHECK, UPLOAD))
        with stage.scenario("S000-17") as line:
            _, answer = await web.send("PATCH", "/flash-cards/queue/state?state=PAUSE")
            line("PATCH pauses image:optimize only", answer == {"queue": OPTIMIZE, "paused": True})
            line("is_paused() is true in every process", await images.is_paused())
            card = await post(web)
            await until(lambda: tally(checks), {"C": 2})
            line("adding works, and the checks finish", True)
            await until(lambda: tally(images), {"W": 1})
            line("the optimise child does not start", True)
            line("the parent stays WC", await tally(uploads) == {"WC": 1})
            began = time.monotonic()
            _, answer = await web.send("PATCH", "/flash-cards/queue/state?state=RESUME")
            await until(lambda: tally(images), {"A": 1})
            took = time.monotonic() - began
            line("RESUME: the job is active at once", took < LATE, took)
            (job,) = [each async for each in images.jobs("active")]
            try:
                await job.remove()
            except JobLocked:
                line("an active job cannot be removed", True)
            else:
                line("an active job cannot be removed", False)
            await images.pause()
            await until(lambda: tally(images), {"C": 1}, within=10)
            line("pausing does not touch it: it completes", True)
            await images.resume()
            parent = await found(uploads, card["job"])
            await until(parent.state, "completed", within=10)


async def add(queue: Queue, count: int, seconds: float = 10) -> None:
    data = {"file": "cat.jpg", "id": 1, "seconds": seconds}
    await queue.add_many([("optimize-size", data)] * count)


async def workers(stage: Stage) -> None:
    """Two worker processes, two jobs at once each; their limit is the queue's."""
    settings = settings_of(stage, CARDS_CONCURRENCY="2", CARDS_RATE="10/2s")
    folder = Path(settings["CARDS"])
    folder.mkdir()
    (folder / "1-cat.jpg").write_bytes(PICTURE)
    async with opened(settings) as app, AsyncExitStack() as stack:
        queue = app.queue(OPTIMIZE)
        one, two = [
            await stack.enter_async_context(
                stage.worker("jobs.py", "--queues", OPTIMIZE, "--name", name, **settings)
            )
            for name in ("one", "two")
        ]
        with stage.scenario("S000-08") as line:
            await add(queue, 5, seconds=30)
            await until(lambda: tally(queue), {"A": 4, "W": 1})
            line("two processes, two each: A=4, W=1", True)
            await until(lambda: _names(app), ["one", "two"])
            line("both workers are listed", True)
            await until(lambda: tally(queue), {"C": 5}, within=15)
            line("then C=5", True)
            ran = _count(one, "finished"), _count(two, "finished")
            await until(lambda: _count(one, "finished") + _count(two, "finished"), 5)
            line("each ran once, both processes had some", min(ran) >= 1, ran)
        with stage.scenario("S000-09") as line:
            mine, theirs = set(_ids(one)), set(_ids(two))
            line("a listener in a worker hears of the jobs of that worker only", not mine & theirs)
        with stage.scenario("S000-11") as line:
            await asyncio.sleep(2)
            await add(queue, 25, seconds=0)
            limited = 0.0

            async def done() -> bool:
                nonlocal limited
                limited = max(limited, await queue.rate_limit_ttl())
                return await tally(queue) == {"C": 30}

            await until(done, within=15)
            jobs = [each async for each in queue.jobs("completed")]
            starts = sorted(each.started_at.timestamp() for each in jobs if each.started_at)[-25:]
            took = starts[-1] - starts[0]
            line("25 jobs take two windows of 2 s, over both workers", 4 <= took < 4.5 + LATE, took)
            worst = max(
                sum(first <= each < first + 2 for each in starts)
                for first in (starts[0], starts[10], starts[20])
            )
            line("never more than 10 starts in a window", worst <= 10, worst)
            line("rate_limit_ttl() > 0 meanwhile", limited > 0, limited)
            made = {each.attempts_made for each in jobs}
            line("a limit is no attempt", made == {1}, made)
        with stage.scenario("S000-08") as line:
            await asyncio.sleep(2)
            await add(queue, 4, seconds=10)
            two.process.send_signal(signal.SIGTERM)
            await until(lambda: tally(queue), {"C": 34}, within=15)
            line("one worker is stopped politely: the other takes over", True)


async def _names(app: Toril) -> list[str]:
    return sorted(each.name for each in await app.workers(OPTIMIZE))


def _count(program: Program, what: str) -> int:
    return sum(f"Job has been {what}: " in each for each in program.lines)


def _ids(program: Program) -> list[str]:
    start = "Job has been started: "
    return [each.removeprefix(start).split()[0] for each in program.lines if each.startswith(start)]


# What the library does for any handler: with handlers of the observer's own.


async def library(stage: Stage) -> None:
    async with opened(stage.fresh()) as app:
        for number, scene in (
            ("S000-03", named), ("S000-04", lifecycles), ("S000-05", priorities),
            ("S000-06", one_at_once), ("S000-10", global_listener), ("S000-12", blocked),
            ("S000-15", three_levels), ("S000-16", removals),
            ("S000-07", two_at_once), ("S000-10", missed_events), ("S000-12", taken_over),
            ("S000-14", failed_child), ("S000-17", paused_here),
        ):  # fmt: skip
            with stage.scenario(number) as line:
                await scene(app, line)


async def named(app: Toril, line: Any) -> None:
    @app.processor("named")
    class Named:
        async def process(self, job: Job[Any]) -> Any:
            if job.name != "optimize-size":
                raise ValueError("No job name match")
            await asyncio.sleep(0.3)
            return job.data

    queue = app.queue("named")
    async with app.worker(queues=["named"]):
        job = await queue.add("optimize-size", {"file": "cat.jpg"})
        await until(lambda: tally(queue), {"A": 1})
        line("W=0 A=1, then C=1", await job.result(timeout=5) is not None)
        await job.refresh()
        line("the result equals the data", await job.result(timeout=5) == job.data)
        ran = (job.finished_at - job.started_at).total_seconds()  # type: ignore[operator]
        line(
            "processed_on and finished_on differ by the handler's time",
            0.29 <= ran < 0.3 + LATE,
            ran,
        )
        bad = await queue.add("resize")
        await until(bad.state, "failed")
        await bad.refresh()
        line("another name fails with the handler's error", "No job name match" in str(bad.error))


async def lifecycles(app: Toril, line: Any) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("plain", {}, "added waiting active completed drained"),
        ("with priority", {"priority": 2}, "added waiting active completed drained"),
        ("with delay", {"delay": "50ms"}, "added delayed waiting active completed drained"),
        ("fails twice", {"attempts": 2, "backoff": "50ms"},
         "added waiting active attempt_failed delayed waiting active attempt_failed failed "
         "retries-exhausted drained"),
    ]  # fmt: skip
    for at, (what, options, expected) in enumerate(cases):
        queue = app.queue(f"life-{at}")

        @queue.handler()
        async def run(job: Job[Any]) -> None:
            if job.data:
                raise ValueError("always")

        await queue.add("a", "attempts" in options, **options)
        await app.worker(queues=[queue.name]).run_until_idle(delayed=True)
        wanted = [kind for kind in expected.split() if kind != "attempt_failed"]
        kinds = [each for each in await _all(queue) if each != "attempt_failed"]
        line(f"{what}: {' → '.join(wanted)}", kinds == wanted, kinds)


async def _all(queue: Queue) -> list[str]:
    """Return the kinds of the events of a queue, to the last `drained`."""
    kinds: list[str] = []
    async with asyncio.timeout(8), queue.events(after="0") as stream:
        async for event in stream:
            kinds.append(event.kind)
            if event.kind == "drained":
                break
    return kinds


async def priorities(app: Toril, line: Any) -> None:
    queue = app.queue("ordered")
    ran: list[str] = []

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        ran.append(job.name)

    await queue.pause()
    for name, priority in (("A", 5), ("B", 1), ("C", 0), ("D", 3), ("E", 1)):
        await queue.add(name, priority=priority)
    await queue.resume()
    await app.worker(queues=["ordered"]).run_until_idle()
    line("C, B, E, D, A", ran == list("CBEDA"), ran)
    refused = 0
    for wrong in (-1, 2**21, 1.5):
        try:
            await queue.add("x", priority=wrong)  # type: ignore[arg-type]
        except TorilError:
            refused += 1
    line("-1, 2**21 and 1.5 are refused", refused == 3, refused)


async def one_at_once(app: Toril, line: Any) -> None:
    queue = app.queue("once")
    go = asyncio.Semaphore(0)

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        await go.acquire()

    await queue.add_many([("a", {})] * 2)
    async with app.worker(queues=["once"]):
        await until(lambda: tally(queue), {"A": 1, "W": 1})
        line("the default concurrency is 1: A=1 W=1", True)
        go.release()
        await until(lambda: tally(queue), {"A": 1, "C": 1})
        line("when the first ends the second starts", True)
        go.release()
        await until(lambda: tally(queue), {"C": 2})


async def global_listener(app: Toril, line: Any) -> None:
    queue = app.queue("heard")

    @queue.handler()
    async def run(job: Job[Any]) -> str:
        return job.id

    heard: list[tuple[str, str]] = []
    workers = [app.worker(queues=["heard"]) for _ in range(2)]
    async with queue.events() as stream, workers[0], workers[1]:
        await queue.add_many([("a", {})] * 3)
        async for event in stream:
            if event.kind in ("active", "completed"):
                heard.append((event.kind, event.job_id))  # type: ignore[attr-defined]
            if sum(kind == "completed" for kind, _ in heard) == 3:
                break
    each = [[kind for kind, job_id in heard if job_id == wanted] for wanted in "123"]
    line("3 × active and 3 × completed, each once, in order", each == [["active", "completed"]] * 3)


async def blocked(app: Toril, line: Any) -> None:
    queue = app.queue("blocked")
    runs: list[str] = []

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        runs.append(job.id)
        time.sleep(1.5)  # noqa: ASYNC251 - to block the loop is the point

    await queue.add("spin")
    await app.worker(queues=["blocked"], lock="1s", stalled_interval="100ms").run_until_idle()
    line("a handler that blocks longer than its lock runs once: C=1", runs == ["1"], runs)
    kinds = await _all(queue)
    line("no stalled event", "stalled" not in kinds, kinds)


async def three_levels(app: Toril, line: Any) -> None:
    ran: list[str] = []

    @app.queue("levels").handler()
    async def run(job: Job[Any]) -> list[str]:
        ran.append(job.name)
        return sorted(child.name for child in await job.children())

    nodes = [("levels", "decode", {}), ("levels", "resize", {})]
    middle = app.flow("levels", "optimize-size", {}, children=nodes)
    root = app.flow(
        "levels", "uploading-image", {}, children=[middle, ("levels", "check-term", {})]
    )
    tree = await root.add()
    await app.worker(queues=["levels"]).run_until_idle()
    order = ran.index("optimize-size") > max(ran.index("decode"), ran.index("resize"))
    line("leaves, middle, root", order and ran[-1] == "uploading-image", ran)
    values = await tree.job.result(timeout=5)
    line(
        "the root sees its direct children only", values == ["check-term", "optimize-size"], values
    )


async def removals(app: Toril, line: Any) -> None:
    async def flow() -> Any:
        children = [("leaves", "a", {}), ("leaves", "b", {})]
        return await app.flow("tops", "top", {}, children=children).add()

    leaves, tops = app.queue("leaves"), app.queue("tops")
    tree = await flow()
    await tree.job.remove()
    line(
        "a parent that waits goes with its children",
        [await tally(leaves), await tally(tops)] == [{}, {}],
    )
    tree = await flow()
    await tree["a"].remove()
    pending = (await tree.job.dependencies()).pending
    line("one child less to wait for", pending == 1, pending)
    await leaves.remove(tree["b"].id)
    line("without the last one it waits to run", await tally(tops) == {"W": 1})
    await tops.remove(tree.job.id)
    go = asyncio.Event()

    @leaves.handler()
    async def run(job: Job[Any]) -> None:
        await go.wait()

    tree = await flow()
    async with app.worker(queues=["leaves"]):
        await until(lambda: tally(leaves), {"A": 1, "W": 1})
        try:
            await tree.job.remove()
        except JobLocked as error:
            line("a running child is named, and nothing is removed", "leaves" in str(error), error)
        line("all of them are there", await tally(tops) == {"WC": 1})
        go.set()
        await until(lambda: tally(leaves), {"C": 2})


async def two_at_once(app: Toril, line: Any) -> None:
    queue = app.queue("two")
    go = asyncio.Event()

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        await go.wait()

    await queue.add_many([("a", {})] * 3)
    async with app.worker(queues=["two"], concurrency=2):
        await until(lambda: tally(queue), {"A": 2, "W": 1})
        line("concurrency 2: A=2 W=1", True)
        go.set()
        await until(lambda: tally(queue), {"C": 3})
        line("later C=3", True)


async def missed_events(app: Toril, line: Any) -> None:
    queue = app.queue("missed")

    async def next_of(after: str | None) -> Any:
        async with asyncio.timeout(8), queue.events(after=after) as stream:
            async for event in stream:
                if event.kind == "added":
                    return event
        raise AssertionError("unreachable")

    waiting = asyncio.create_task(next_of(None))
    await asyncio.sleep(0.1)
    await queue.add("first")
    seen = await waiting
    await queue.add("second")
    missed = await next_of(seen.id)
    line("with its last id a listener gets what it missed", missed.name == "second", missed)
    line("and the job of an event", (await missed.job()).name == "second")
    waiting = asyncio.create_task(next_of(None))
    await asyncio.sleep(0.1)
    await queue.add("third")
    line("one that starts fresh gets only new ones", (await waiting).name == "third")


async def taken_over(app: Toril, line: Any) -> None:
    """A job that runs without trouble was never taken over."""
    queue = app.queue("locked")
    runs: list[int] = []

    @queue.handler()
    async def run(job: Job[Any]) -> str:
        runs.append(job.run)
        return "done"

    async with app.worker(queues=["locked"], lock="5s", stalled_interval="1s", max_stalls=1):
        job = await queue.add("a")
        line("lock, interval and stalls are set per worker", await job.result(timeout=5) == "done")
    await job.refresh()
    line("attempts made and stalls are counted apart", (job.attempts_made, runs) == (1, [1]), runs)


async def failed_child(app: Toril, line: Any) -> None:
    @app.queue("halves").handler()
    async def run(job: Job[Any]) -> str:
        if job.name == "bad":
            raise ValueError("no such picture")
        return job.name

    for policy, state in (
        ("fail", "failed"),
        ("ignore", "completed"),
        ("wait", "waiting-children"),
    ):
        children = [
            ("halves", "bad", {}, {"parent_on_fail": policy}),
            ("halves", "good", {}),
        ]
        tree = await app.flow("halves", "whole", {}, children=children).add()
        await app.worker(queues=["halves"]).run_until_idle()
        seen = await tree.job.state()
        line(f"parent_on_fail={policy}: the parent is {state}", seen == state, seen)
    counts = await tree.job.dependencies()
    line("its children are counted", (counts.pending, counts.completed) == (1, 1), counts)


async def paused_here(app: Toril, line: Any) -> None:
    queue = app.queue("local")

    @queue.handler()
    async def run(job: Job[Any]) -> None: ...

    await queue.pause()
    async with Toril(app.url, prefix=PREFIX, warn_unserved=False) as again:
        line("a pause survives the process", await again.queue("local").is_paused())
    await queue.resume()
    async with app.worker(queues=["local"]) as one, app.worker(queues=["local"]):
        one.pause()
        await queue.add("a")
        await until(lambda: tally(queue), {"C": 1})
        line("pause of one worker leaves the other working", one.paused)


if __name__ == "__main__":
    main(HERE, play)
