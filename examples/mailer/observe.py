"""Play the scenarios of the mailer, and print PASS or FAIL for each line."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from observing import Program, Stage, Web, main, tally, until  # noqa: E402

from toril import Exponential, Job, Queue, Toril  # noqa: E402
from toril.events import Completed, Failed  # noqa: E402
from toril.testing import Harness  # noqa: E402

# One second of the waits takes so long here, and how late a start may be.
SECOND, LATE = 0.2, 2.0
ADA = {"name": "Ada", "email": "ada@example.com", "token": "t0k3n"}


class Post:
    """A mail server, and the address of an alert: what arrived at each."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.alerts: list[dict[str, Any]] = []
        self.down = False
        self.slow = 0.0
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.smtp = self.http = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Post"]:
        async with (
            await asyncio.start_server(self._mail, "127.0.0.1", 0) as mail,
            await asyncio.start_server(self._alert, "127.0.0.1", 0) as alert,
        ):
            self.smtp = mail.sockets[0].getsockname()[1]
            self.http = alert.sockets[0].getsockname()[1]
            yield self

    async def _mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP with one client."""

        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        await say("421 the provider is down" if self.down else "220 ready")
        while not self.down and (line := await reader.readline()):
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                await say("354 go on")
                text = (await reader.readuntil(b"\r\n.\r\n")).decode()
                to = text.split("To: ")[1].split("\r\n")[0]
                kind = to.split("@")[0]
                self.now[kind] = self.now.get(kind, 0) + 1
                self.most[kind] = max(self.most.get(kind, 0), self.now[kind])
                await asyncio.sleep(self.slow)
                self.now[kind] -= 1
                self.mails.append(text)
                await say("250 accepted")
            elif verb == b"QUIT":
                await say("221 bye")
                break
            else:
                await say("250 mail.example.com" if verb in (b"EHLO", b"HELO") else "250 ok")
        writer.close()

    async def _alert(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.split("content-length:")[1].split("\r\n")[0])
        self.alerts.append(json.loads(await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    def settings(self, stage: Stage) -> dict[str, str]:
        return {
            **stage.fresh(),
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.smtp),
            "ALERT_URL": f"http://127.0.0.1:{self.http}/alerts",
            "MAILER_SECOND": str(SECOND),
        }


def opened(settings: dict[str, str]) -> Toril:
    return Toril(settings["TORIL_URL"], warn_unserved=False)


async def found(queue: Queue, job_id: str) -> Job[Any]:
    job = await queue.job(job_id)
    assert job is not None
    return job


async def post_json(web: Web, path: str, body: object) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    return await web.send("POST", path, data, Content_Type="application/json")


async def play(stage: Stage) -> None:
    await asyncio.gather(
        mails(stage), letters(stage), limits(stage), stops(stage), reports(stage), library(stage)
    )
    await unit(stage)


async def mails(stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        post = await stack.enter_async_context(Post().open())
        settings = post.settings(stage)
        app = await stack.enter_async_context(opened(settings))
        web, _ = await stack.enter_async_context(stage.web("web:web", **settings))
        emails = app.queue("emails")
        with stage.scenario("S003-10") as line:
            to = [f"bulk{n}@example.com" for n in range(20)]
            _, answer = await post_json(web, "/emails/bulk?template=news", to)
            jobs = [await found(emails, each) for each in answer["ids"]]
            line("jobs are returned in the order of the input", [j.data["to"] for j in jobs] == to)
        with stage.scenario("S003-09") as line:
            _, answer = await post_json(web, "/emails/welcome", ADA)
            job = await found(emails, answer["id"])
            link = "https://example.com/verify/t0k3n"
            data = {
                "type": "welcome",
                "to": ADA["email"],
                "data": {"name": "Ada", "verificationLink": link},
            }
            line("the data of the welcome mail", job.data == data, job.data)
            options = job.record.options
            line("five attempts, over the queue's three", options.attempts == 5, options)
        with stage.scenario("S003-11") as line:
            status, answer = await web.get(f"/emails/{job.id}")
            keys = ["id", "state", "progress", "data", "attempts", "failedReason", "timestamp"]
            line("the status of a job", list(answer) == keys, answer)
            missing = await web.get("/emails/999")
            line(
                "an unknown id: 404, Job 999 not found",
                missing == (404, {"detail": "Job 999 not found"}),
                missing,
            )
        with stage.scenario("S003-04") as line:
            _, seen = await web.get("/emails/metrics")
            at = datetime.fromisoformat(seen.pop("timestamp"))
            line("the time is ISO 8601", abs(datetime.now(UTC) - at) < timedelta(minutes=1))
            expected = {"waiting": 21, "active": 0, "completed": 0, "failed": 0}
            line("the numbers are the store's", seen == expected, seen)
        worker = await stack.enter_async_context(stage.worker("jobs.py", **settings))
        with stage.scenario("S003-10") as line:
            await until(lambda: len(post.mails), 21, within=15)
            first = [each.split("To: ")[1].split("\r\n")[0] for each in post.mails[:4]]
            line("the welcome mail was sent before the bulk mails", ADA["email"] in first, first)
        with stage.scenario("S003-09") as line:
            (mail,) = [each for each in post.mails if "To: ada@" in each]
            line(
                "the mail arrived over SMTP, with its link",
                "verify/t0k3n" in mail.replace("=\r\n", ""),
            )
            await worker.says("sent welcome to ada@example.com")
            await until(lambda: emails.job(job.id), None)
            line("on success the record is gone at once", True)
        with stage.scenario("S003-11") as line:
            status, _ = await web.get(f"/emails/{job.id}")
            line("a job that was removed is answered with 404", status == 404)
        with stage.scenario("S003-01") as line:
            unnamed = await emails.add({"to": "linus@example.com"})
            await worker.says(f"Completed job {unnamed.id} of type default")
            story = [
                f"Processing job {unnamed.id} of type default",
                f"Processing email job: {unnamed.id}",
                f"Email job completed: {unnamed.id}",
                f"Completed job {unnamed.id} of type default",
            ]
            where = [_at(worker, each) for each in story]
            line("four lines, in order", where == sorted(where) and -1 not in where, where)
            await worker.says(f"✅ Job {unnamed.id} completed")
            stage.line("S001-02", "✅ Job <id> completed", True)
        with stage.scenario("S003-02") as line:
            post.down = True
            began = time.time()
            _, answer = await web.send("POST", "/emails/scheduled?to=x@example.com&delay=400ms")
            line("the returned job is D=1 at once", (await tally(emails)).get("D", 0) >= 1)
            job = await found(emails, answer["id"])
            await until(job.state, "failed", within=10)
            await job.refresh()
            starts = _starts(job)
            line(
                "it starts after its delay",
                0.4 <= starts[0] - began < 0.4 + LATE,
                starts[0] - began,
            )
            waits = _waits(job)
            line("then after 1 s and 2 s", _near(waits, [1, 2]), waits)
            failed = f"Failed job {job.id} of type default: "
            line("the error is logged with its stack", _at(worker, failed) >= 0)


def _at(worker: Program, text: str) -> int:
    return next((at for at, each in enumerate(worker.lines) if text in each), -1)


def _starts(job: Job[Any]) -> list[float]:
    return [(each.started_ms or 0) / 1000 for each in job.attempts]


def _waits(job: Job[Any]) -> list[float]:
    return [
        (after.started_ms or 0) / 1000 - before.ended_ms / 1000
        for before, after in pairwise(job.attempts)
    ]


def _near(waits: list[float], seconds: list[int]) -> bool:
    return len(waits) == len(seconds) and all(
        each * SECOND - 0.002 <= wait <= each * SECOND + LATE
        for wait, each in zip(waits, seconds, strict=True)
    )


async def letters(stage: Stage) -> None:
    """A provider that is down: retries, one letter, one alert; then the letter is replayed."""
    async with (
        Post().open() as post,
        opened(settings := post.settings(stage)) as app,
        stage.web("web:web", **settings) as (web, _),
        stage.worker("jobs.py", **settings) as worker,
    ):
        emails, dead = app.queue("emails"), app.queue("dead-letter")
        post.down = True
        with stage.scenario("S001-03") as line:
            data = {"to": "a@example.com", "template": "x"}
            backoff = Exponential(SECOND)
            job = await emails.add("bulk-email", data, attempts=4, backoff=backoff)

            async def letters_too_soon() -> bool:
                await job.refresh()
                early = len(job.attempts) < 4 and await tally(dead) != {}
                assert not early
                return await job.state() == "failed"

            await until(letters_too_soon, within=10)
            line("no dead letter before the last attempt", True)
            await job.refresh()
            waits = _waits(job)
            line("it waits 1, 2 and 4 times the first wait", _near(waits, [1, 2, 4]), waits)
            errors = [each.reason for each in job.attempts]
            line("four attempts, each with its error", len(errors) == 4 and all(errors), errors)
            line("exactly one dead letter", await tally(dead) == {"W": 1}, await tally(dead))
            await worker.says(f"❌ Job {job.id} failed: ")
            line("❌ Job <id> failed, once", _times(worker, f"❌ Job {job.id} failed: ") == 1)
            await until(lambda: len(post.alerts) >= 1, within=10)
            firing = [each for each in post.alerts if each["alert"]["kind"] == "dead_letters"]
            line("exactly one alert", len(firing) == 1, post.alerts)
        with stage.scenario("S003-08") as line:
            (letter,) = [each async for each in dead.jobs()]
            seen = (letter.name, set(letter.data))
            line(
                "failed-job: originalJob, error, failedAt",
                seen == ("failed-job", {"originalJob", "error", "failedAt"}),
                seen,
            )
            original = letter.data["originalJob"]
            line(
                "with id, data and options of the original", {"id", "data", "opts"} <= set(original)
            )
            line(
                "and message and stack of the error",
                set(letter.data["error"]) == {"message", "stack"},
            )
            line(
                "Job <id> moved to dead letter queue",
                _at(worker, f"Job {job.id} moved to dead letter queue") >= 0,
            )
        with stage.scenario("S003-06") as line:
            line(
                "a failed job stays, with the stack of each attempt",
                len(job.stack) == 4,
                len(job.stack),
            )
        with stage.scenario("S001-03") as line:
            post.down = False
            _, answer = await web.send("POST", "/dead-letters/replay")
            line("a replay runs the job again", answer["ids"] == [job.id], answer)
            await until(job.state, "completed", within=10)
            await until(lambda: tally(dead), {})
            line("success removes the letter", True)
            line("and the mail arrived", len(post.mails) == 1)


def _times(worker: Program, text: str) -> int:
    return sum(text in each for each in worker.lines)


async def limits(stage: Stage) -> None:
    async with (
        Post().open() as post,
        opened(settings := post.settings(stage)) as app,
    ):
        emails = app.queue("emails")
        post.slow = 0.05
        for name in ("high", "normal"):
            kind = "high-priority" if name == "high" else "normal"
            await emails.add_many([(kind, {"to": f"{name}@example.com"})] * 10)
        async with stage.worker("jobs.py", **settings):
            with stage.scenario("S003-05") as line:
                await until(lambda: tally(emails), {"C": 20, "D": 1}, within=15)
                line("never more than 3 high-priority at once", post.most["high"] <= 3, post.most)
                line("never more than 1 normal at once", post.most["normal"] == 1, post.most)
        post.slow = 0
        async with stage.worker("jobs.py", **{**settings, "MAILER_RATE": "10/1s"}):
            with stage.scenario("S001-02") as line:
                jobs = await emails.add_many(
                    [("bulk-email", {"to": "r@example.com", "template": "x"})] * 25
                )
                await until(lambda: tally(emails), {"C": 45, "D": 1}, within=15)
                done = [await found(emails, job.id) for job in jobs]
                starts = sorted(each.started_at.timestamp() for each in done if each.started_at)
                took = starts[-1] - starts[0]
                line("25 jobs at 10 per second start in 10, 10, 5", 2 <= took < 2 + LATE, took)
            with stage.scenario("S001-01") as line:
                await emails.limit(rate=None)
                await emails.add_many(
                    [("bulk-email", {"to": "k@example.com", "template": "x"})] * 105
                )
                await until(lambda: _only(emails), {"C": 100}, within=15)
                line("exactly 100 completed jobs are kept", True)
        with stage.scenario("S001-07") as line:
            try:
                await emails.add("bulk-email", {"to": object()})
            except ValueError as error:
                line(
                    "what is not JSON is refused where it is added, with its path",
                    "to" in str(error),
                    error,
                )


async def _only(queue: Queue) -> dict[str, int]:
    counts = await tally(queue)
    return {key: value for key, value in counts.items() if key != "D"}


async def stops(stage: Stage) -> None:
    async with (
        Post().open() as post,
        opened(settings := post.settings(stage)) as app,
    ):
        emails = app.queue("emails")
        post.slow = 1
        mail = {"to": "slow@example.com", "template": "x"}
        with stage.scenario("S001-08") as line:
            async with stage.worker("jobs.py", "--queues", "emails", **settings) as worker:
                await emails.add("bulk-email", mail)
                await until(lambda: post.now.get("slow"), 1)
                worker.process.send_signal(signal.SIGTERM)
                code = await asyncio.wait_for(worker.process.wait(), 10)
                line(
                    "SIGTERM: the job completes, and the worker ends with 0",
                    (code, len(post.mails)) == (0, 1),
                    code,
                )
        with stage.scenario("S001-06") as line:
            fast = ("--lock", "1s", "--stalled-interval", "100ms")
            async with stage.worker("jobs.py", *fast, **settings) as worker:
                await emails.add("bulk-email", mail)
                await until(lambda: post.now.get("slow"), 1)
                worker.process.kill()
                await worker.process.wait()
            post.slow = 0
            async with stage.worker("jobs.py", *fast, **settings):
                await until(lambda: _only(emails), {"C": 2}, within=15)
                line(
                    "the worker is killed: another runs its job again, without a manual step", True
                )


async def reports(stage: Stage) -> None:
    async with Post().open() as post, opened(settings := post.settings(stage)) as app:
        emails = app.queue("emails")
        with stage.scenario("S003-03") as line:
            async with AsyncExitStack() as stack:
                for _ in range(3):
                    await stack.enter_async_context(stage.worker("jobs.py", **settings))
                (job,) = [each async for each in emails.jobs("delayed")]
                line("three instances: one job for the next midnight", job.name == "daily-report")
                options = job.record.options
                line(
                    "with priority 1 and five attempts",
                    (job.record.priority, options.attempts) == (1, 5),
                )
                (plan,) = await app.schedules.list("emails")
                hour = datetime.fromtimestamp((plan.next_ms or 0) / 1000, UTC).time()
                stage.line(
                    "S001-04", "its next run is at that time, UTC", str(hour) == "00:00:00", hour
                )
                await app.schedules.run_now("emails", "midnight")
                await until(lambda: len(post.mails), 1, within=10)
                line("run now sends the report", "admin@example.com" in post.mails[0])


# What the library does for any handler: with handlers of the observer's own.


async def library(stage: Stage) -> None:
    async with opened(stage.fresh()) as app:
        for number, scene in (
            ("S003-07", time_limits), ("S003-12", monitor), ("S001-02", concurrency),
            ("S001-05", retried_task), ("S001-06", no_hoarding), ("S001-04", nightly),
        ):  # fmt: skip
            with stage.scenario(number) as line:
                await scene(app, line)


async def time_limits(app: Toril, line: Any) -> None:
    queue = app.queue("limited")
    marks: list[int] = []

    @queue.handler("slow")
    async def slow(job: Job[Any]) -> None:
        await asyncio.sleep(10 * 0.05)
        marks.append(job.attempt)

    @queue.handler("next")
    async def following(job: Job[Any]) -> None: ...

    async with app.worker(queues=["limited"]):
        job = await queue.add("slow", timeout=5 * 0.05, attempts=3, backoff="10ms", priority=1)
        after = await queue.add("next", priority=2)
        await after.result(timeout=8)
        await until(job.state, "failed")
        await asyncio.sleep(0.5)
    await job.refresh()
    ran = [each.ended_ms - (each.started_ms or 0) for each in job.attempts]
    line("each attempt fails at its timeout", [e.end for e in job.attempts] == ["timeout"] * 3)
    line("not later", all(250 <= each < 250 + LATE * 1000 for each in ran), ran)
    line("its code has stopped", marks == [], marks)


async def monitor(app: Toril, line: Any) -> None:
    """A process without a worker that says what others do; here the observer."""
    queue = app.queue("watched")
    said: list[str] = []

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        if job.name == "bad":
            raise ValueError("no such template")

    async with queue.events() as stream:
        good, bad = await queue.add("good"), await queue.add("bad")
        await app.worker(queues=["watched"]).run_until_idle()
        async for event in stream:
            match event:
                case Completed(job_id=job_id):
                    said.append(f"Job {job_id} completed successfully")
                case Failed(job_id=job_id, reason=reason):
                    said.append(f"Job {job_id} failed: {reason}")
                    break
                case _:
                    pass
    wanted = [f"Job {good.id} completed successfully", f"Job {bad.id} failed: no such template"]
    line("completed and failed are seen from outside the worker", said == wanted, said)


async def concurrency(app: Toril, line: Any) -> None:
    queue = app.queue("five")
    now = most = 0

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1

    await queue.add_many([("a", {})] * 15)
    await app.worker(queues=["five"], concurrency=5).run_until_idle()
    line("concurrency 5: never more than five at once", most == 5, most)


async def retried_task(app: Toril, line: Any) -> None:
    said: list[str] = []

    def after(attempt: int, error: BaseException, job: Job[Any]) -> float | None:
        said.append(f"Failed to send email: {error}")
        return 0.2 if isinstance(error, (ConnectionError, TimeoutError)) else None

    @app.task(queue="tasks", attempts=4, backoff=after)
    async def send(user_id: int, email: str) -> dict[str, str]:
        said.append(f"Sending welcome email to {email}")
        if user_id == 1:
            raise ConnectionError("the provider is down")
        if user_id == 2:
            raise ValueError("no such user")
        return {"status": "sent", "email": email}

    async with app.worker(queues=["tasks"]):
        good = await send.enqueue(0, "ada@example.com")
        expected = {"status": "sent", "email": "ada@example.com"}
        line("the result is returned", await good.result(timeout=8) == expected)
        said.clear()
        down = await send.enqueue(1, "b@example.com")
        await until(down.state, "failed")
        await down.refresh()
        line("four runs in all", len(down.attempts) == 4, len(down.attempts))
        pauses = [(b.started_ms or 0) - a.ended_ms for a, b in pairwise(down.attempts)]
        line("the delay apart", all(199 <= each < 200 + LATE * 1000 for each in pauses), pauses)
        fits = "the provider is down" in str(down.error) and "ConnectionError" in down.stack[-1]
        line("it ends with the original error", fits, down.error)
        line(
            "four lines: Sending welcome email to …",
            said.count("Sending welcome email to b@example.com") == 4,
        )
        wrong = await send.enqueue(2, "c@example.com")
        await until(wrong.state, "failed")
        await wrong.refresh()
        line("another error is not retried", len(wrong.attempts) == 1, len(wrong.attempts))
    late = await send.using(expires="50ms").enqueue(0, "d@example.com")
    await asyncio.sleep(0.1)
    await app.worker(queues=["tasks"]).run_until_idle()
    await late.refresh()
    line(
        "what has not started when it expires never runs",
        late.attempts_made == 0 and late.end == "expired",
        late.end,
    )


async def no_hoarding(app: Toril, line: Any) -> None:
    queue = app.queue("fair")
    go = asyncio.Event()

    @queue.handler()
    async def run(job: Job[Any]) -> None:
        if job.name == "long":
            await go.wait()

    async with app.worker(queues=["fair"]):
        long = await queue.add("long")
        await until(long.state, "active")
        async with app.worker(queues=["fair"]):
            quick = [await queue.add("quick") for _ in range(2)]
            for each in quick:
                await each.result(timeout=5)
            line(
                "a busy worker holds no job that an idle one could run",
                await long.state() == "active",
            )
        go.set()
        await long.result(timeout=5)


async def nightly(app: Toril, line: Any) -> None:
    ran: list[str] = []
    moved = Toril(":memory:")

    @moved.task(queue="cleanup", name="daily-cleanup", cron="0 2 * * *", tz="UTC")
    async def cleanup() -> None:
        ran.append(f"{clock.now:%d %H:%M:%S}")

    async with Harness(moved, now=datetime(2026, 1, 1, tzinfo=UTC)) as clock:
        await clock.advance("3d")
    line(
        "with a clock that is moved: one run a day, at 02:00:00 UTC",
        ran == ["01 02:00:00", "02 02:00:00", "03 02:00:00"],
        ran,
    )
    rule = {"queue": "plans", "name": "daily-cleanup"}
    for _ in range(10):
        await app.schedules.put("daily", cron="0 2 * * *", **rule)  # type: ignore[arg-type]
    line("stored ten times it is one schedule", len(await app.schedules.list("plans")) == 1)
    await app.schedules.put("daily", cron="0 3 * * *", **rule)  # type: ignore[arg-type]
    (plan,) = await app.schedules.list("plans")
    line("another cron replaces it", plan.rule.cron == "0 3 * * *", plan.rule)


async def unit(stage: Stage) -> None:
    """The test that an application has of its mailer: no server, no network."""
    sys.path.insert(0, str(HERE))
    import jobs
    import mailer

    with stage.scenario("S003-13") as line:
        began = time.monotonic()
        async with Harness(jobs.jobs) as harness:
            await mailer.send_welcome_email(ADA)
            wanted = {"type": "welcome", "to": ADA["email"]}
            harness.assert_enqueued("welcome-email", queue="emails", includes=wanted)
        took = time.monotonic() - began
        line("a test sees what was enqueued, without a server", took < LATE, took)


if __name__ == "__main__":
    main(HERE, play)
