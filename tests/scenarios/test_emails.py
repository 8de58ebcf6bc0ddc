"""E-mails: scheduling, retries, limits by name, dead letters and monitoring of a mail application.

Each test is one line of what is to be observed; a second of the application is 100 ms here,
where nothing else is said.
"""

import asyncio
import itertools
import logging
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.helpers import (
    Journal,
    Valve,
    all_on_time,
    ended,
    on_time,
    program,
    soon,
    spied,
    stands,
    tally,
    until,
)
from toril import Exponential, Job, Queue, State, Toril
from toril.errors import TorilError

EMAILS = "emails"
LETTERS = "dead-letter"
SECOND = 0.1
WELCOME = {
    "type": "welcome",
    "to": "a@b.c",
    "data": {"name": "Ada", "verificationLink": "https://example.com/verify/t0k3n"},
}

log = logging.getLogger("emails")


@pytest.fixture
def emails(app: Toril) -> Queue:
    """Declare the queue's defaults, as the application has them."""
    return app.queue(EMAILS, attempts=3, backoff=Exponential(SECOND))


async def refuse(job: Job[Any]) -> None:
    raise ConnectionError("the provider is down")


# S003-02  Scheduled e-mail.


class TestScheduledEmail:
    async def schedule(self, emails: Queue) -> Job[Any]:
        job = await emails.add("scheduled-email", WELCOME, delay=3 * SECOND)
        log.info("Scheduled email job: %s", job.id)
        return job

    async def test_the_returned_job_has_an_id_and_is_delayed_at_once(
        self, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "emails")

        job = await self.schedule(emails)

        assert (job.id, await tally(emails)) == ("1", {"D": 1})
        assert "Scheduled email job: 1" in caplog.messages

    @pytest.mark.serial
    async def test_the_first_start_is_after_the_delay_then_after_1_s_and_2_s(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = Journal()

        async def failing(job: Job[Any]) -> None:
            with runs.run():
                raise ConnectionError("the provider is down")

        async with app.worker(EMAILS, failing):
            began = time.monotonic()
            await ended(await self.schedule(emails))

        on_time(3 * SECOND, runs.starts[0] - began)
        all_on_time([SECOND, 2 * SECOND], runs.pauses)


# S003-03  Midnight report.


REPORT = {"type": "daily-report", "recipients": ["admin@example.com"]}


class TestMidnightReport:
    """Three instances of the application declare it, and work."""

    async def start(self, stack: AsyncExitStack, url: str, runs: Journal, **rule: Any) -> Toril:
        async def report(job: Job[Any]) -> None:
            with runs.run(job.id):
                pass

        for _ in range(3):
            app = await stack.enter_async_context(Toril(url))
            app.queue(EMAILS).handler("daily-report")(report)
            app.schedule(
                *("midnight",),
                **rule,
                queue=EMAILS,
                name="daily-report",
                data=REPORT,
                priority=1,
                attempts=5,
            )
            await stack.enter_async_context(app.worker())
        return app

    async def test_one_job_is_armed_for_the_next_midnight(self, url: str) -> None:
        async with AsyncExitStack() as stack:
            app = await self.start(stack, url, Journal(), cron="0 0 * * *")

            assert await tally(app.queue(EMAILS)) == {"D": 1}
            (job,) = [job async for job in app.queue(EMAILS).jobs()]
            assert (job.name, job.data) == ("daily-report", REPORT)
            assert (job.record.priority, job.record.options.attempts) == (1, 5)
            assert job.record.due_ms == midnight(1)

    async def test_one_job_runs_and_the_one_for_the_midnight_after_is_armed(self, url: str) -> None:
        runs = Journal()
        async with AsyncExitStack() as stack:
            app = await self.start(stack, url, runs, cron="0 0 * * *")
            (job,) = [job async for job in app.queue(EMAILS).jobs()]

            await job.promote()  # midnight comes

            await stands(app.queue(EMAILS), C=1, D=1)
            assert runs.order == [job.id]
            (armed,) = [job async for job in app.queue(EMAILS).jobs(State.DELAYED)]
            assert armed.record.due_ms == midnight(2)

    @pytest.mark.serial
    async def test_one_job_per_run_with_midnight_every_200_ms(self, url: str) -> None:
        runs = Journal()
        async with AsyncExitStack() as stack:
            app = await self.start(stack, url, runs, every="200ms")
            await until(lambda: len(runs.order) >= 5, True)
            jobs = [job async for job in app.queue(EMAILS).jobs(State.COMPLETED)]

        assert set(Counter(runs.order).values()) == {1}
        due = sorted(int(job.id.rpartition(":")[2]) for job in jobs)
        gaps = [later - earlier for earlier, later in itertools.pairwise(due[1:])]
        assert set(gaps) == {200}


def midnight(days: int) -> int:
    """Give the midnight so many days from today on, in ms."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return round((today + timedelta(days=days)).timestamp() * 1000)


# S003-04  Metrics.


async def metrics(queue: Queue) -> dict[str, Any]:
    """Do what the metrics endpoint does."""
    counts = await queue.counts()
    return {
        "waiting": counts.waiting,
        "active": counts.active,
        "completed": counts.completed,
        "failed": counts.failed,
        "timestamp": datetime.now(UTC).isoformat(),
    }


class TestMetrics:
    async def test_the_numbers_are_those_of_the_store_and_the_timestamp_is_iso_8601(
        self, app: Toril, emails: Queue
    ) -> None:
        valve = Valve()

        @emails.handler()
        async def run(job: Job[Any]) -> None:
            if job.name == "bad":
                raise ValueError("no such template")
            if job.name == "slow":
                await valve.wait()

        plan = [("bad", {}, {"attempts": 1}), ("good", {}), ("good", {}), ("slow", {})]
        await emails.add_many([*plan, *[("good", {})] * 4])

        async with app.worker(concurrency=1):
            await stands(emails, F=1, C=2, A=1, W=4)
            seen = await metrics(emails)
            valve.let(1)

        stamp = datetime.fromisoformat(seen.pop("timestamp"))
        assert seen == {"waiting": 4, "active": 1, "completed": 2, "failed": 1}
        assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=1)

    async def test_it_takes_one_round_trip(self, app: Toril, emails: Queue) -> None:
        await emails.add("good", {})
        spy = spied(app)

        await metrics(emails)

        assert spy.calls == ["counts"]


# S003-05  Per-name limits.


class TestPerNameLimits:
    async def test_never_more_than_3_high_priority_and_1_normal_at_once(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = {"high-priority": Journal(), "normal": Journal()}

        async def send(job: Job[Any]) -> None:
            with runs[job.name].run():
                await asyncio.sleep(0.03)

        emails.handler("high-priority", concurrency=3)(send)
        emails.handler("normal", concurrency=1)(send)
        await emails.add_many([(name, {}) for name in runs for _ in range(10)])

        async with app.worker(concurrency=4):
            await stands(emails, C=20)

        assert {name: journal.most for name, journal in runs.items()} == {
            "high-priority": 3,
            "normal": 1,
        }

    async def test_all_four_places_are_taken_when_there_is_enough_of_both(
        self, app: Toril, emails: Queue
    ) -> None:
        valve = Valve()

        async def send(job: Job[Any]) -> None:
            await valve.wait()

        emails.handler("high-priority", concurrency=3)(send)
        emails.handler("normal", concurrency=1)(send)
        await emails.add_many([(n, {}) for n in ("high-priority", "normal") for _ in range(10)])

        async with app.worker(concurrency=4):
            await stands(emails, A=4, W=16)
            valve.let(20)
            await stands(emails, C=20)


# S003-06  Resilient job.


class TestResilientJob:
    @pytest.mark.serial
    async def test_waits_1_2_4_8_and_on_success_the_record_is_gone_at_once(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = Journal()

        async def fifth_time(job: Job[Any]) -> None:
            with runs.run():
                if job.attempt < 5:
                    raise ConnectionError("the provider is down")

        job = await emails.add(
            *("resilient", {}), attempts=5, backoff=Exponential(SECOND), keep_completed=False
        )

        async with app.worker(EMAILS, fifth_time):
            await job.result(5)
            assert await emails.job(job.id) is None

        all_on_time([SECOND * factor for factor in (1, 2, 4, 8)], runs.pauses)
        assert await tally(emails) == {}

    async def test_on_final_failure_it_stays_with_the_stack_of_every_try(
        self, app: Toril, emails: Queue
    ) -> None:
        async def failing(job: Job[Any]) -> None:
            raise ConnectionError(f"down, try {job.attempt}")

        job = await emails.add(*("resilient", {}), attempts=5, backoff="5ms", keep_completed=False)

        await app.worker(EMAILS, failing).run_until_idle(delayed=True)

        await job.refresh()
        assert await tally(emails) == {"F": 1}
        assert [stack.splitlines()[-1] for stack in job.stack] == [
            f"ConnectionError: down, try {number}" for number in (1, 2, 3, 4, 5)
        ]


# S003-07  Priority job with timeout.


class TestTimeout:
    @pytest.mark.serial
    async def test_each_try_fails_at_its_timeout_the_slot_is_free_and_the_code_has_stopped(
        self, app: Toril, emails: Queue
    ) -> None:
        runs, marks = Journal(), []

        @emails.handler("slow")
        async def slow(job: Job[Any]) -> None:
            with runs.run():
                await asyncio.sleep(10 * SECOND)
                marks.append(job.attempt)

        @emails.handler("next")
        async def following(job: Job[Any]) -> float:
            return time.monotonic()

        job = await emails.add("slow", {}, timeout=5 * SECOND, attempts=3, priority=1)
        following_job = await emails.add("next", {}, priority=2)

        async with app.worker(concurrency=1):
            freed = await following_job.result(5)
            await ended(job)
            await asyncio.sleep(10 * SECOND)  # when the last try would have written its mark

        assert marks == []
        all_on_time([5 * SECOND] * 3, list(map(_minus, runs.ends, runs.starts)))
        on_time(0, freed - runs.ends[0])
        assert [each.end for each in job.attempts] == ["timeout"] * 3
        assert "timeout of 500 ms" in (job.error or "")

    async def test_a_thread_goes_on_and_a_warning_says_so(
        self, app: Toril, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        marks: list[str] = []

        @emails.handler("slow")
        def slow(job: Job[Any]) -> None:
            job.cancelled.wait(5)
            time.sleep(0.05)
            marks.append("went on")

        job = await emails.add("slow", {}, timeout=SECOND, attempts=1)

        async with app.worker():
            await ended(job)
            await until(lambda: marks, ["went on"])

        assert job.attempts[0].end == "timeout"
        (line,) = [r.getMessage() for r in caplog.records if "job.unstoppable" in r.getMessage()]
        assert "its time was over, and Python cannot stop the thread it runs in" in line


def _minus(one: float, other: float) -> float:
    return one - other


# S003-08  Dead letter.


class TestDeadLetter:
    @pytest.fixture
    def emails(self, app: Toril) -> Queue:
        return app.queue(EMAILS, attempts=2, dead_letter=LETTERS)

    @pytest.fixture
    def letters(self, app: Toril) -> Queue:
        return app.queue(LETTERS)

    async def test_on_the_last_failure_exactly_one_letter_and_none_before(
        self, app: Toril, emails: Queue, letters: Queue
    ) -> None:
        valve = Valve()

        async def failing(job: Job[Any]) -> None:
            await valve.wait()
            raise ConnectionError("the provider is down")

        job = await emails.add("welcome-email", WELCOME)

        async with app.worker(EMAILS, failing):
            valve.let(1)
            await until(lambda: run_of(emails, job.id), 2)
            assert await tally(letters) == {}
            valve.let(1)
            await ended(job)

        assert await tally(letters) == {"W": 1}

    async def test_the_letter_holds_the_original_the_error_and_when_it_failed(
        self, app: Toril, emails: Queue, letters: Queue
    ) -> None:
        job = await emails.add("welcome-email", WELCOME)
        await app.worker(EMAILS, refuse).run_until_idle()

        (letter,) = [letter async for letter in letters.jobs()]

        assert (letter.name, set(letter.data)) == (
            "failed-job",
            {"originalJob", "error", "failedAt"},
        )
        original, error = letter.data["originalJob"], letter.data["error"]
        assert (original["id"], original["data"]) == (job.id, WELCOME)
        assert original["opts"]["attempts"] == 2
        assert error["message"] == "the provider is down"
        assert error["stack"].rstrip().endswith("ConnectionError: the provider is down")
        failed_at = datetime.fromisoformat(letter.data["failedAt"])
        assert failed_at == (await job.refresh()).finished_at

    async def test_the_letter_is_kept_after_its_completion(
        self, app: Toril, emails: Queue, letters: Queue
    ) -> None:
        await emails.add("welcome-email", WELCOME)
        await app.worker(EMAILS, refuse).run_until_idle()

        async def read(job: Job[Any]) -> None:
            pass

        app.queue(LETTERS, keep_completed=0)
        await app.worker(LETTERS, read).run_until_idle()

        assert await tally(letters) == {"C": 1}

    async def test_the_line_says_that_it_moved(
        self, app: Toril, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        await emails.add("welcome-email", WELCOME)

        await app.worker(EMAILS, refuse).run_until_idle()

        (line,) = [r for r in caplog.records if r.getMessage().startswith("job.dead_lettered")]
        assert line.levelno == logging.WARNING
        facts = vars(line)
        assert (facts["job_id"], facts["queue"], facts["letters"]) == ("1", EMAILS, LETTERS)

    async def test_it_works_when_another_process_than_the_one_that_configured_it_fails_the_job(
        self, emails: Queue, letters: Queue, url: str
    ) -> None:
        await emails.add("welcome-email", {"fail": "the provider is down"})

        async with program("worker", url=url, queue=EMAILS):
            await stands(emails, F=1)

        assert await tally(letters) == {"W": 1}

    async def test_it_is_there_when_the_worker_dies_straight_after_the_failure(
        self, emails: Queue, letters: Queue, url: str
    ) -> None:
        await emails.add("welcome-email", {"fail": "the provider is down"})

        async with program("worker", url=url, queue=EMAILS, die_on_failed=True) as worker:
            assert await worker.exited() == -signal.SIGKILL

        assert await tally(emails) == {"F": 1}
        assert await tally(letters) == {"W": 1}


async def run_of(queue: Queue, job_id: str) -> int:
    job = await queue.job(job_id)
    return job.run if job is not None else 0


# S003-09  Welcome e-mail.


class Provider:
    """What sends mails; it is down so many times first."""

    def __init__(self, down: int = 0) -> None:
        self.down = down
        self.sent: list[dict[str, Any]] = []

    async def send(self, mail: dict[str, Any]) -> None:
        if self.down:
            self.down -= 1
            raise ConnectionError("the provider is down")
        self.sent.append(mail)


async def send_welcome_email(emails: Queue, user: dict[str, str]) -> Job[Any]:
    data = {"name": user["name"], "verificationLink": f"https://example.com/verify/{user['token']}"}
    return await emails.add(
        "welcome-email",
        {"type": "welcome", "to": user["email"], "data": data},
        priority=1,
        attempts=5,
        backoff=Exponential(SECOND),
        keep_completed=False,
        keep_failed="all",
    )


ADA = {"name": "Ada", "email": "a@b.c", "token": "t0k3n"}


class TestWelcomeEmail:
    def deliver(self, emails: Queue, provider: Provider) -> None:
        @emails.handler("welcome-email")
        async def deliver(job: Job[Any]) -> None:
            mail = {"to": job.data["to"], "template": "welcome", "data": job.data["data"]}
            try:
                await provider.send(mail)
            except ConnectionError as error:
                log.error("Failed to send welcome email: %s", error)
                raise
            await job.progress(100)
            log.info("Welcome email sent to %s", job.data["to"])

    async def test_the_job_has_its_data_and_options(self, emails: Queue) -> None:
        job = await (await send_welcome_email(emails, ADA)).refresh()

        options = job.record.options
        assert (job.name, job.data) == ("welcome-email", WELCOME)
        assert (options.priority, options.attempts) == (1, 5)
        assert options.backoff == Exponential(SECOND)

    async def test_the_provider_is_called_progress_is_100_and_it_is_logged_and_removed(
        self, app: Toril, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "emails")
        provider, progress = Provider(), []
        self.deliver(emails, provider)
        await send_welcome_email(emails, ADA)
        worker = app.worker()
        worker.on("progress")(lambda job, value: progress.append(value))

        await worker.run_until_idle()

        assert provider.sent == [{"to": "a@b.c", "template": "welcome", "data": WELCOME["data"]}]
        assert progress == [100]
        assert "Welcome email sent to a@b.c" in caplog.messages
        assert await tally(emails) == {}

    async def test_a_providers_error_is_logged_and_raised_again_so_that_it_is_retried(
        self, app: Toril, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider = Provider(down=1)
        self.deliver(emails, provider)
        job = await send_welcome_email(emails, ADA)

        async with app.worker():
            await job.result(5)

        assert caplog.messages.count("Failed to send welcome email: the provider is down") == 1
        assert len(provider.sent) == 1

    async def test_it_is_kept_on_failure(self, app: Toril, emails: Queue) -> None:
        self.deliver(emails, Provider(down=9))
        await emails.limit(concurrency=1)
        job = await emails.add("welcome-email", WELCOME, attempts=1, keep_completed=False)

        await app.worker().run_until_idle()

        assert await tally(emails) == {"F": 1}
        assert (await job.refresh()).error == "the provider is down"

    async def test_per_job_options_win_over_the_queues_defaults(self, emails: Queue) -> None:
        mine = await (await send_welcome_email(emails, ADA)).refresh()

        assert mine.record.options.attempts == 5

    async def test_a_job_that_gives_none_gets_the_defaults(self, emails: Queue) -> None:
        plain = await (await emails.add("newsletter", {})).refresh()

        options = plain.record.options
        assert (options.attempts, options.backoff) == (3, Exponential(SECOND))


# S003-10  Bulk.


BULK = [("bulk-email", {"number": n}, {"priority": 2, "attempts": 3}) for n in range(200)]


class TestBulk:
    async def test_it_returns_n_jobs_in_input_order(self, emails: Queue) -> None:
        jobs = await emails.add_many(BULK)

        assert [job.data["number"] for job in jobs] == list(range(200))
        assert [job.id for job in jobs] == [str(n) for n in range(1, 201)]
        assert {(await job.refresh()).record.options.attempts for job in jobs} == {3}

    async def test_it_takes_one_round_trip(self, app: Toril, emails: Queue) -> None:
        await emails.settings()
        spy = spied(app)

        await emails.add_many(BULK)

        assert spy.calls == ["add"]

    async def test_all_welcome_mails_that_wait_start_first(self, app: Toril, emails: Queue) -> None:
        order: list[str] = []

        async def note(job: Job[Any]) -> None:
            order.append(job.name)

        await emails.add_many(BULK[:20])
        for _ in range(5):
            await send_welcome_email(emails, ADA)
        await emails.add_many(BULK[:20])

        await app.worker(EMAILS, note).run_until_idle()

        assert order == ["welcome-email"] * 5 + ["bulk-email"] * 40


# S003-11  Status.


class NotFound(Exception):
    """What the web layer answers with 404."""


async def get_job_status(emails: Queue, job_id: str) -> dict[str, Any]:
    job = await emails.job(job_id)
    if job is None:
        raise NotFound(f"Job {job_id} not found")
    return {
        "id": job.id,
        "state": str(job.record.state),
        "progress": job.last_progress,
        "data": job.data,
        "attempts": job.attempts_made,
        "failedReason": job.error,
        "timestamp": job.record.created_ms,
    }


class TestStatus:
    @pytest.mark.parametrize(
        ("state", "options"),
        [
            ("waiting", {}),
            ("prioritized", {"priority": 1}),
            ("delayed", {"delay": "1h"}),
            ("active", {}),
            ("waiting-children", {}),
            ("completed", {}),
            ("failed", {"attempts": 1}),
        ],
    )
    async def test_status_of_a_job_that_is(
        self, app: Toril, emails: Queue, state: str, options: dict[str, Any]
    ) -> None:
        began = time.time() * 1000
        valve = Valve()

        async def run(job: Job[Any]) -> None:
            await job.progress(50)
            if state == "active":
                await valve.wait()
            if state == "failed":
                raise ConnectionError("the provider is down")

        if state == "waiting-children":
            job = (await app.flow(EMAILS, "mail", WELCOME, children=[("kids", "child")]).add()).job
        else:
            job = await emails.add("mail", WELCOME, **options)
        if state in ("active", "completed", "failed"):
            async with app.worker(EMAILS, run):
                await until(lambda: progress_of(emails, job.id), (50, state))
                status = await get_job_status(emails, job.id)
                valve.let(1)
        else:
            status = await get_job_status(emails, job.id)

        ran = state in ("active", "completed", "failed")
        assert began - 1 <= status.pop("timestamp") <= time.time() * 1000
        assert status == {
            "id": job.id,
            "state": state,
            "progress": 50 if ran else None,
            "data": WELCOME,
            "attempts": 1 if state in ("completed", "failed") else 0,
            "failedReason": "the provider is down" if state == "failed" else None,
        }

    async def test_an_unknown_id_is_not_found(self, emails: Queue) -> None:
        with pytest.raises(NotFound, match=r"^Job 99 not found$"):
            await get_job_status(emails, "99")

    async def test_a_finished_job_that_was_removed_by_policy_is_not_found(
        self, app: Toril, emails: Queue
    ) -> None:
        job = await emails.add("mail", WELCOME, keep=False)

        await app.worker(EMAILS, nothing).run_until_idle()

        with pytest.raises(NotFound, match=r"^Job 1 not found$"):
            await get_job_status(emails, job.id)
        with pytest.raises(TorilError, match="it was removed, or it finished and is not kept"):
            await job.refresh()


async def nothing(job: Job[Any]) -> None:
    pass


def known_dead(url: str, pid: int) -> set[int]:
    return set() if url.startswith("sqlite") else {pid}


async def progress_of(queue: Queue, job_id: str) -> tuple[Any, str]:
    job = await queue.job(job_id)
    assert job is not None
    return job.last_progress, str(job.record.state)


# S003-12  Monitor.


async def test_a_process_without_a_worker_sees_jobs_complete_fail_and_stall(
    app: Toril, emails: Queue, url: str, tmp_path: Path
) -> None:
    async with program("listener", url=url, queue=EMAILS) as monitor:
        async with program("worker", url=url, queue=EMAILS, **soon(url)) as worker:
            good = await emails.add("mail", {"result": "sent"})
            bad = await emails.add("mail", {"fail": "the provider is down"}, attempts=1)
            stuck = await emails.add("mail", {"gate": str(tmp_path / "gate")})
            await stands(emails, C=1, F=1, A=1)
            await worker.killed()
        (tmp_path / "gate").touch()
        async with app.worker(EMAILS, nothing, stalled_interval="50ms"):
            await stuck.result(5)
        await monitor.says(f"Job {stuck.id} completed successfully")

        told = [line for line in monitor.lines if line.startswith("Job ") and "!" not in line]
        assert told == [
            f"Job {good.id} completed successfully",
            f"Job {bad.id} failed: the provider is down",
            f"Job {stuck.id} is stalled",
            f"Job {stuck.id} completed successfully",
        ]
        # A file knows who is dead; a server only that nobody has heard of him for a while.
        assert {each.pid for each in await emails.workers()} <= known_dead(url, worker.pid)
