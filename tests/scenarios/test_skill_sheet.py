"""Queue skill sheet: a producer's defaults, a worker with a limit, retries up to a dead letter.

Each test is one line of what is to be observed; a second of the sheet is 100 ms here, where
nothing else is said.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenarios.helpers import (
    Journal,
    all_of,
    all_on_time,
    ended,
    on_time,
    stands,
    story,
    tally,
)
from toril import Exponential, Fail, Job, Queue, Toril
from toril._worker import maintenance
from toril.events import Active

EMAIL = "email"
DATA = {"userId": 7, "email": "a@b.c", "template": "welcome"}
SECOND = 0.1
FAILURES = "email-failures"


@pytest.fixture
def emails(app: Toril) -> Queue:
    """Declare the producer's defaults, as the sheet has them."""
    return app.queue(
        EMAIL,
        attempts=3,
        backoff=Exponential(2 * SECOND),
        keep_completed=100,
        keep_failed=500,
    )


async def refuse(job: Job[Any]) -> None:
    raise ConnectionError(f"no route to {job.data['email']}")


# S001-01  Producer defaults.


def apart(app: Toril) -> tuple[float, int]:
    """Give the seconds of a job, and how many at once, with which it is known which ended first.

    A server orders ends by the millisecond.
    """
    return (0.0, 20) if app.url.startswith("sqlite") else (0.002, 1)


class TestProducerDefaults:
    @pytest.mark.serial
    async def test_an_always_failing_handler_starts_at_0_then_2_then_4_after_the_previous_end(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = Journal()

        async def failing(job: Job[Any]) -> None:
            with runs.run():
                raise ConnectionError("no route")

        job = await emails.add("welcome-email", DATA)

        async with app.worker(EMAIL, failing):
            await ended(job)

        all_on_time([2 * SECOND, 4 * SECOND], runs.pauses)
        assert await tally(emails) == {"F": 1}
        assert job.attempts_made == 3

    async def test_of_150_successes_exactly_the_newest_100_are_kept(
        self, app: Toril, emails: Queue
    ) -> None:
        done: list[str] = []
        seconds, at_once = apart(app)

        async def send(job: Job[Any]) -> None:
            await asyncio.sleep(seconds)
            done.append(job.id)

        await emails.add_many([("welcome-email", DATA)] * 150)

        await app.worker(EMAIL, send, concurrency=at_once).run_until_idle()

        kept = [job.id async for job in emails.jobs("completed")]
        assert len(done) == 150
        assert kept == done[50:]
        assert await tally(emails) == {"C": 100}

    async def test_of_600_failures_exactly_500_are_kept(self, app: Toril, emails: Queue) -> None:
        seconds, at_once = apart(app)

        async def give_up(job: Job[Any]) -> None:
            await asyncio.sleep(seconds)
            raise Fail("no such user")

        logging.getLogger("toril.worker").setLevel(logging.CRITICAL)
        await emails.add_many([("welcome-email", DATA)] * 600)

        await app.worker(EMAIL, give_up, concurrency=at_once).run_until_idle()

        kept = [int(job.id) async for job in emails.jobs("failed")]
        assert sorted(kept) == list(range(101, 601))
        assert await tally(emails) == {"F": 500}

    async def test_an_idle_queue_also_honours_an_age_limit(
        self, app: Toril, emails: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No job finishes after this one: what cleans is the worker's own round, here a quick one."""
        monkeypatch.setattr(maintenance, "TRIM_S", 0.05)

        async def send(job: Job[Any]) -> None:
            pass

        async with app.worker(EMAIL, send):
            job = await emails.add("welcome-email", DATA, keep_completed="500ms")
            await job.result(5)
            assert await tally(emails) == {"C": 1}
            await stands(emails)


@pytest.fixture(autouse=True)
def _usual_log_level() -> Iterator[None]:
    yield
    logging.getLogger("toril.worker").setLevel(logging.NOTSET)


# S001-02  Worker.


class TestWorker:
    @pytest.mark.serial
    async def test_25_jobs_of_0_s_start_10_10_5_per_window(self, app: Toril, emails: Queue) -> None:
        """The limiter is 10 per second; the second is 500 ms here."""
        window = 500

        async def send(job: Job[Any]) -> None:
            pass

        async with app.worker(EMAIL, send, concurrency=5, rate=f"10/{window}ms"):
            await all_of(await emails.add_many([("welcome-email", DATA)] * 25))

        starts = [e.at_ms for e in await story(app, emails) if isinstance(e, Active)]
        firsts = [starts[0], starts[10], starts[20]]
        assert starts[9] - firsts[0] < window
        assert starts[19] - firsts[1] < window
        on_time(window / 1000, (firsts[1] - firsts[0]) / 1000)
        on_time(window / 1000, (firsts[2] - firsts[1]) / 1000)

    async def test_jobs_of_1_s_never_run_more_than_5_at_once(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = Journal()

        async def send(job: Job[Any]) -> None:
            with runs.run():
                await asyncio.sleep(SECOND)

        await emails.add_many([("welcome-email", DATA)] * 12)

        await app.worker(EMAIL, send, concurrency=5).run_until_idle()

        assert (runs.most, len(runs.ends)) == (5, 12)

    async def test_one_handler_switches_on_the_name_and_what_happens_is_logged(
        self, app: Toril, emails: Queue
    ) -> None:
        lines: list[str] = []

        async def send(job: Job[Any]) -> str:
            lines.append(f"Processing job {job.id}: {job.name}")
            match job.name:
                case "welcome-email":
                    return "welcome"
                case "password-reset":
                    return "reset"
                case _:
                    raise Fail(f"Unknown job: {job.name}")

        worker = app.worker(EMAIL, send)
        worker.on("completed")(lambda job, result: lines.append(f"✅ Job {job.id} completed"))
        worker.on("failed")(lambda job, error: lines.append(f"❌ Job {job.id} failed: {error}"))
        for name in ("welcome-email", "password-reset", "newsletter"):
            await emails.add(name, DATA)

        await worker.run_until_idle()

        assert lines == [
            "Processing job 1: welcome-email",
            "✅ Job 1 completed",
            "Processing job 2: password-reset",
            "✅ Job 2 completed",
            "Processing job 3: newsletter",
            "❌ Job 3 failed: Unknown job: newsletter",
        ]

    async def test_the_failed_listener_tolerates_a_job_that_was_removed_meanwhile(
        self, app: Toril, emails: Queue
    ) -> None:
        lines: list[str] = []
        worker = app.worker(EMAIL, refuse)
        worker.on("failed")(lambda job, error: lines.append(f"❌ Job {job.id} failed: {error}"))
        await emails.add("welcome-email", DATA, attempts=1, keep=False)

        await worker.run_until_idle()

        assert await emails.job("1") is None
        assert lines == ["❌ Job 1 failed: no route to a@b.c"]


# S001-03  Retry table to dead letter queue.


class TestRetriesToDeadLetter:
    @pytest.fixture
    def emails(self, app: Toril) -> Queue:
        return app.queue(
            EMAIL, attempts=4, backoff=Exponential(2 * SECOND), dead_letter=FAILURES, keep="all"
        )

    @pytest.mark.serial
    async def test_waits_2_4_8_and_four_attempts_are_recorded_with_their_errors_and_times(
        self, app: Toril, emails: Queue
    ) -> None:
        runs = Journal()

        async def failing(job: Job[Any]) -> None:
            with runs.run():
                raise ConnectionError(f"no route, try {job.attempt}")

        job = await emails.add("welcome-email", DATA)

        async with app.worker(EMAIL, failing):
            await ended(job)

        all_on_time([2 * SECOND, 4 * SECOND, 8 * SECOND], runs.pauses)
        assert [each.reason for each in job.attempts] == [
            f"no route, try {number}" for number in (1, 2, 3, 4)
        ]
        times = [(each.started_ms or 0, each.ended_ms) for each in job.attempts]
        assert [started <= stopped for started, stopped in times] == [True] * 4
        gaps = [later[0] - earlier[1] for earlier, later in itertools.pairwise(times)]
        all_on_time([2 * SECOND, 4 * SECOND, 8 * SECOND], [gap / 1000 for gap in gaps])

    async def test_one_dead_letter_and_one_alert_after_the_fourth_none_before(
        self, app: Toril, emails: Queue
    ) -> None:
        alerts: list[str] = []
        letters: list[int] = []
        failures = app.queue(FAILURES)
        worker = app.worker(EMAIL, refuse)

        @worker.on("attempt_failed")
        async def look(job: Job[Any], error: BaseException) -> None:
            letters.append((await failures.counts()).total)

        worker.on("failed")(lambda job, error: alerts.append(f"{job.id}: {error}"))
        job = await emails.add("welcome-email", DATA, backoff="20ms")

        async with worker:
            await ended(job)

        assert letters == [0, 0, 0, 1]
        assert alerts == ["1: no route to a@b.c"]
        assert await tally(failures) == {"W": 1}

    async def test_the_log_has_one_error_line_for_the_final_failure(
        self, app: Toril, emails: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = await emails.add("welcome-email", DATA, backoff="10ms")

        async with app.worker(EMAIL, refuse):
            await ended(job)

        (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        assert line.startswith("job.failed")
        assert "no route to a@b.c" in line

    async def test_job_and_letter_are_linked_both_ways(self, app: Toril, emails: Queue) -> None:
        job = await emails.add("welcome-email", DATA, backoff=None)
        await app.worker(EMAIL, refuse).run_until_idle()

        (letter,) = [letter async for letter in app.queue(FAILURES).jobs()]

        assert (await job.refresh()).record.letter == f"{FAILURES}:{letter.id}"
        original = letter.data["originalJob"]
        assert (original["queue"], original["id"]) == (job.queue, job.id)

    async def test_a_replay_is_a_new_run_with_attempts_reset_and_success_empties_the_entry(
        self, app: Toril, emails: Queue
    ) -> None:
        job = await emails.add("welcome-email", DATA, backoff=None)
        await app.worker(EMAIL, refuse).run_until_idle()
        attempts: list[int] = []

        async def send(job: Job[Any]) -> None:
            attempts.append(job.attempts_made)

        (again,) = await app.queue(FAILURES).replay()
        await app.worker(EMAIL, send).run_until_idle()

        assert (again.id, attempts) == (job.id, [0])
        assert await tally(emails) == {"C": 1}
        assert await tally(app.queue(FAILURES)) == {}

    @pytest.mark.serial
    async def test_replay_of_many_respects_the_rate_limit(self, app: Toril, emails: Queue) -> None:
        jobs = await emails.add_many([("welcome-email", DATA, {"attempts": 1})] * 6)
        await app.worker(EMAIL, refuse, concurrency=6).run_until_idle()
        await emails.limit(rate="3/500ms")
        last = await app.context.store.last_event(EMAIL)

        async def send(job: Job[Any]) -> None:
            pass

        async with app.worker(EMAIL, send, concurrency=6):
            replayed = await app.queue(FAILURES).replay()
            await all_of(replayed)

        assert [job.id for job in replayed] == [job.id for job in jobs]
        starts = [e.at_ms for e in await story(app, emails, last) if isinstance(e, Active)]
        assert len(starts) == 6
        on_time(0.5, (starts[3] - starts[0]) / 1000)
