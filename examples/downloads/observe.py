"""Play the scenarios of the downloads in a real browser, and print PASS or FAIL for each line."""

import asyncio
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Browser, Page, async_playwright, expect

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from observing import LATE, Stage, Web, main, tally, until  # noqa: E402

from toril import Job, Queue, Toril  # noqa: E402

SIZE = 10 * 1024 * 1024
FILE = hashlib.shake_256(b"a file").digest(SIZE)
HASH = hashlib.sha256(FILE).hexdigest()
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


class Files(BaseHTTPRequestHandler):
    """Serves /file, /held (its second half only when `gate` is set) and /broken; else 404."""

    gate = threading.Event()

    def do_GET(self) -> None:
        if self.path not in ("/file", "/held", "/broken"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        self.wfile.write(FILE[: SIZE // 2])
        if self.path == "/broken":
            return
        if self.path == "/held":
            self.gate.wait(20)
        self.wfile.write(FILE[SIZE // 2 :])

    def log_message(self, format: str, *words: object) -> None:
        pass


@contextmanager
def files() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        Files.gate.set()
        server.shutdown()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    found = [path for name in ("chromium", "google-chrome") if (path := shutil.which(name))]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found[0], args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def play(stage: Stage) -> None:
    Files.gate = threading.Event()
    with files() as source:
        await asyncio.gather(site(stage, source), two_at_once(stage, source), features(stage))


async def site(stage: Stage, source: str) -> None:
    folder = stage.scratch / f"{stage.store}-downloads"
    settings = {**stage.fresh(), "DOWNLOADS": str(folder)}
    async with (
        chromium() as browser,
        opened(settings) as app,
        stage.web("web:web", **settings) as (web, server),
        stage.worker("jobs.py", **settings) as worker,
    ):
        queue = app.queue("downloads")
        first, second = await browser.new_page(), await browser.new_page()
        for each in (first, second):
            await each.goto(web.base)
            await expect(each.locator("body[data-connected]")).to_be_attached()
        await arrives(stage, first, queue, folder, source, worker.lines)
        await one_at_a_time(stage, (first, second), web, queue, source)
        await collide(stage, web, queue, folder, source)
        await fails(stage, first, queue, folder, source)
        with stage.scenario("S002-05") as line:
            await second.close()
            job = await queue.job(await click(first, f"{source}/file"))
            assert job is not None
            await job.result(timeout=15)
            errors = [each for each in server.lines if "Traceback" in each]
            line("a browser that disconnects causes no error", errors == [], errors)
        await first.close()


def opened(settings: dict[str, str]) -> Toril:
    return Toril(settings["TORIL_URL"], warn_unserved=False)


async def click(page: Page, url: str) -> str:
    """Start a download as a person does, and return its id."""
    await page.get_by_label("Address").fill(url)
    async with page.expect_response("**/downloads?*") as answer:
        await page.get_by_role("button", name="Start job").click()
    job_id: str = (await (await answer.value).json())["id"]
    return job_id


async def arrives(
    stage: Stage, page: Page, queue: Queue, folder: Path, source: str, lines: list[str]
) -> None:
    with stage.scenario("S002-04") as line:
        await expect(page).to_have_title("Downloads")
        await expect(page.get_by_role("heading", name="Active jobs:")).to_be_visible()
        await expect(page.get_by_role("button", name="Start job")).to_be_visible()
        line("GET / shows a title, Active jobs: and the button Start job", True)
    seen: list[int] = []

    async def follow() -> None:
        async with queue.events() as stream:
            async for event in stream:
                if event.kind == "progress":
                    seen.append(event.data)  # type: ignore[attr-defined]

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    with stage.scenario("S002-01") as line:
        job_id = await click(page, f"{source}/file")
        job = await queue.job(job_id)
        assert job is not None
        line("the id is returned after the job is stored", True)
        line("startdownload with {url}", (job.name, list(job.data)) == ("startdownload", ["url"]))
        status = await page.evaluate("fetch('downloads', {method: 'POST'}).then(a => a.status)")
        line("an error in saving is reported to the caller", status == 422, status)
    with stage.scenario("S002-03") as line:
        name = await job.result(timeout=15)
        data = (folder / name).read_bytes()
        line("the file is there, complete", hashlib.sha256(data).hexdigest() == HASH, len(data))
        now = time.localtime()
        start = time.strftime(f"%Y%m{time.strftime('%a', now)[:2]}", now)
        line("named YYYYMMddmmssa", name.startswith(start) and name[-1] == "m", name)
        line("the job is C=1", await tally(queue) == {"C": 1})
        line("line: download done", any("download done" in each for each in lines))
        await until(lambda: seen[-1:] == [100])
        fits = seen[0] == 0 and seen == sorted(seen) and len(seen) > 5
        line("progress moves from 0 to 100 while the bytes come", fits, seen)
    following.cancel()


async def one_at_a_time(
    stage: Stage, pages: tuple[Page, Page], web: Web, queue: Queue, source: str
) -> None:
    first, second = pages
    with stage.scenario("S002-02") as line:
        jobs = [await click(first, f"{source}/held") for _ in range(4)]
        await until(lambda: tally(queue), {"A": 1, "W": 3, "C": 1})
        line("four quick clicks: A=1, W=3", True)
    with stage.scenario("S002-05") as line:
        began = time.monotonic()
        for each in pages:
            await expect(each.locator(f"#job-{jobs[0]}")).to_contain_text("Running")
        took = time.monotonic() - began
        line(
            "both browsers show the id and Running within 1 s, without a reload",
            took < 1 + LATE,
            took,
        )
        hidden = await first.locator(f"#job-{jobs[1]}").count()
        line("a waiting job has no line", hidden == 0, hidden)
        await second.reload()
        await expect(second.locator(f"#active-{jobs[0]}")).to_have_text(jobs[0])
        line("a reload during the run lists the id as active", True)
        bar = first.locator(f"#job-{jobs[0]} progress")
        await expect(bar).to_have_js_property("value", 50)
        line("its bar shows how far it is", True)
        Files.gate.set()
        for each in pages:
            await expect(each.locator(f"#job-{jobs[3]}")).to_contain_text("Completed")
        line("the line turns to Completed, in both browsers", True)
        line("though the worker is a process of its own", True)
    with stage.scenario("S002-02") as line:
        done = [await _times(queue, each) for each in jobs]
        fits = all(end <= start for (_, end), (start, _) in pairwise(done))
        line("strictly one after the other, in click order", fits, done)


async def _times(queue: Queue, job_id: str) -> tuple[float, float]:
    job = await queue.job(job_id)
    assert job is not None
    assert job.started_at is not None
    assert job.finished_at is not None
    return job.started_at.timestamp(), job.finished_at.timestamp()


async def collide(stage: Stage, web: Web, queue: Queue, folder: Path, source: str) -> None:
    with stage.scenario("S002-03") as line:
        held = len(list(folder.iterdir()))
        added = [await _start(web, f"{source}/file") for _ in range(5)]
        for each in added:
            job = await queue.job(each)
            assert job is not None
            await job.result(timeout=15)
        names = list(folder.iterdir())
        line("names that collide do not overwrite each other", len(names) == held + 5, len(names))
        whole = all(each.stat().st_size == SIZE for each in names)
        line("and each has the size of its source", whole)


async def _start(web: Web, url: str) -> str:
    _, answer = await web.send("POST", f"/downloads?{urlencode({'url': url})}")
    job_id: str = answer["id"]
    return job_id


async def fails(stage: Stage, page: Page, queue: Queue, folder: Path, source: str) -> None:
    with stage.scenario("S002-06") as line:
        for path, why in (("missing", "404"), ("broken", "the stream broke")):
            bad = await click(page, f"{source}/{path}")
            good = await click(page, f"{source}/file")
            await expect(page.locator(f"#job-{bad}")).to_contain_text("Failed")
            await expect(page.locator(f"#job-{bad}")).to_contain_text(why)
            line(f"/{path}: the page shows Failed, and the reason", True)
            await expect(page.locator(f"#job-{good}")).to_contain_text("Completed")
            line("and the next job runs", True)
        line("F=2", (await tally(queue))["F"] == 2)
        kept = os.listdir(folder)
        line("files are there", kept != [])
        line("and no part of one is left", not any(each.endswith(".part") for each in kept), kept)
        await page.locator(f"#job-{bad}").get_by_role("button", name="Restart").click()
        await until(lambda: _runs(queue, bad), 2)
        line("Restart runs it again", True)


async def _runs(queue: Queue, job_id: str) -> int:
    job = await queue.job(job_id)
    assert job is not None
    return len(job.attempts)


async def two_at_once(stage: Stage, source: str) -> None:
    folder = stage.scratch / f"{stage.store}-two"
    settings = {**stage.fresh(), "DOWNLOADS": str(folder), "DOWNLOADS_AT_ONCE": "2"}
    with stage.scenario("S002-02") as line:
        async with opened(settings) as app, stage.worker("jobs.py", **settings):
            queue = app.queue("downloads")
            for _ in range(3):
                await queue.add("startdownload", {"url": f"{source}/held"})
            await until(lambda: tally(queue), {"A": 2, "W": 1})
            line("DOWNLOADS_AT_ONCE=2: two at a time", True)
            await until(lambda: tally(queue), {"C": 3}, within=15)


# S002-07: the feature list, one line each.


async def features(stage: Stage) -> None:
    async with opened(stage.fresh()) as app:
        with stage.scenario("S002-07") as line:
            await ordered(app, line)
            await timed(app, line)
            await told(app, line)
            await changed(app, line)
            await stopped(app, line)
            two = [Toril("redis://127.0.0.1:6390/3"), Toril.from_settings(Redis())]
            line("Redis settings by URL or object", two[0].store_url == two[1].store_url)
            for each in two:
                await each.close()


class Redis:
    """Settings of a Redis server as an object."""

    redis_host = "127.0.0.1"
    redis_port = 6390
    redis_db = 3


async def ordered(app: Toril, line: Any) -> None:
    queue = app.queue("ordered")
    ran: list[str] = []

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        ran.append(job.name)

    for name, priority in (("c", 9), ("a", 1), ("b", 5)):
        await queue.add(name, priority=priority)
    await app.worker(queues=["ordered"]).run_until_idle()
    line("priority order", ran == ["a", "b", "c"], ran)


async def timed(app: Toril, line: Any) -> None:
    queue = app.queue("timed")
    starts: list[float] = []

    @queue.handler("flaky")
    async def flaky(job: Job[Any]) -> None:
        starts.append(time.monotonic())
        if len(starts) == 1:
            raise ValueError("not yet")

    @queue.handler("slow")
    async def slow(job: Job[Any]) -> None:
        await asyncio.sleep(30)

    @queue.handler("later")
    async def later(job: Job[Any]) -> float:
        return time.time()

    began = time.time()
    async with app.worker(queues=["timed"], concurrency=3):
        retried = await queue.add("flaky", attempts=2, backoff="300ms")
        late = await queue.add("later", delay="300ms")
        too_long = await queue.add("slow", timeout="200ms")
        await retried.result(timeout=8)
        waited = starts[1] - starts[0]
        line("a failed job is tried again after a delay", waited >= 0.3, waited)
        at = await late.result(timeout=8)
        line("a delayed job starts at its time", at - began >= 0.3, at - began)
        await until(too_long.state, "failed")
        await too_long.refresh()
        reason = str(too_long.error)
        line("a job that runs longer than its TTL fails with that reason", "200" in reason, reason)


async def told(app: Toril, line: Any) -> None:
    queue = app.queue("told")
    go = asyncio.Event()

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        await job.log("half way")
        await job.progress(50)
        await go.wait()

    kinds: list[str] = []

    async def follow() -> None:
        async with queue.events() as stream:
            async for event in stream:
                kinds.append(event.kind)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    async with app.worker(queues=["told"]):
        job = await queue.add("read")

        async def half() -> bool:
            await job.refresh()
            return job.last_progress == 50 and bool((await job.logs()).lines)

        await until(half)
        line("log lines are readable while the job runs", True)
        line("progress", True)
        go.set()
        await job.result(timeout=8)
        await job.remove()
    await until(lambda: "removed" in kinds)
    wanted = ["added", "active", "completed", "removed"]
    line("events of the queue: enqueue, start, complete, remove", set(wanted) <= set(kinds), kinds)
    following.cancel()


async def changed(app: Toril, line: Any) -> None:
    queue = app.queue("changed")
    job = await queue.add("a", {"n": 1})
    await job.update({"n": 2})
    await job.refresh()
    data = job.data
    await queue.remove(job.id)
    line("jobs are added, updated and removed", data == {"n": 2} and await tally(queue) == {}, data)


async def stopped(app: Toril, line: Any) -> None:
    queue = app.queue("stopped")

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        await asyncio.sleep(job.data)

    one, other = (app.worker(queues=["stopped"], concurrency=2) for _ in range(2))
    async with one, other:
        one.pause()
        await queue.add_many([("nap", 0.01)] * 3)
        await until(lambda: tally(queue), {"C": 3})
        line("pause of one worker: the other goes on", one.paused and not other.paused)
        one.resume()
        await queue.add_many([("nap", 20)] * 3)
        await until(lambda: tally(queue), {"A": 3, "C": 3})
        line("concurrency", True)
        began = time.monotonic()
        await asyncio.gather(one.stop(grace=0.2), other.stop(grace=0.2))
        took = time.monotonic() - began
    counts = await tally(queue)
    line("shutdown with a time limit; what ran waits again", counts == {"W": 3, "C": 3}, counts)
    line("which is kept", took < 3 + LATE, took)


if __name__ == "__main__":
    main(HERE, play)
