"""Demo endpoints: what each returns, and what its job does; settings are those of the demo.

Each test is one line of what is to be observed; timings are the demo's ÷ 5.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.helpers import (
    Journal,
    Valve,
    all_of,
    all_on_time,
    ended,
    on_time,
    program,
    soon,
    stands,
    tally,
    until,
)
from toril import ConfigError, Exponential, Job, State, Toril, Worker

DEMO = "demo"
STEP = 0.040
BACKOFF = 0.2


class Demo:
    """The application: its endpoints, its handlers, and the lines that its worker logs."""

    def __init__(self, app: Toril) -> None:
        self.app = app
        self.queue = app.queue(DEMO)
        self.lines: list[str] = []
        self.runs = Journal()
        self.attempts_made: list[int] = []
        self.queue.handler("echo")(self.run_echo)
        self.queue.handler("maybe-fail")(self.run_maybe_fail)
        self.queue.handler()(self.run_other)

    # GET /demo/…

    async def echo(self, msg: str = "hello") -> dict[str, Any]:
        job = await self.queue.add("echo", {"msg": msg})
        return {"queued": True, "jobId": job.id, "type": "echo", "msg": msg}

    async def delay(self, msg: str = "delayed hello", ms: str = "5000") -> dict[str, Any]:
        job = await self.queue.add("echo", {"msg": msg}, delay=f"{ms}ms")
        return {"queued": True, "jobId": job.id, "type": "echo", "delayMs": ms}

    async def retry(self, msg: str = "retry me", fail: str = "1") -> dict[str, Any]:
        job = await self.queue.add(
            "maybe-fail",
            {"msg": msg, "failTimes": int(fail)},
            attempts=3,
            backoff=Exponential(f"{BACKOFF}s"),
        )
        return {"queued": True, "jobId": job.id, "type": "maybe-fail", "failTimes": fail}

    async def job(self, answer: dict[str, Any]) -> Job[Any]:
        job = await self.queue.job(answer["jobId"])
        assert job is not None
        return job

    # The worker.

    async def run_echo(self, job: Job[Any]) -> dict[str, Any]:
        with self.runs.run(job.id):
            for percent in (0, 25, 50, 75, 100):
                await asyncio.sleep(STEP)
                await job.progress(percent)
        return {"echoed": job.data["msg"]}

    async def run_maybe_fail(self, job: Job[Any]) -> dict[str, Any]:
        self.attempts_made.append(job.attempts_made)
        with self.runs.run(job.id):
            wanted = job.data["failTimes"]
            if job.attempts_made < wanted:
                raise RuntimeError(f"Failing on purpose (attempt {job.attempt}/{wanted})")
        return {"okAfterRetries": job.data["msg"]}

    async def run_other(self, job: Job[Any]) -> None:
        return None

    def worker(self) -> Worker:
        worker = self.app.worker(DEMO, concurrency=5)

        def say(symbol: str, what: str, job: Job[Any], rest: str) -> None:
            self.lines.append(f'[worker] {symbol} {what} "{job.name}" id={job.id} {rest}')

        worker.on("progress")(lambda job, value: say("⏳", "progress", job, f"= {value}%"))
        worker.on("completed")(lambda job, result: say("✅", "completed", job, f"result= {result}"))
        worker.on("attempt_failed")(
            lambda job, error: say("❌", "failed", job, f"attempt={job.attempt} error={error}")
        )
        return worker


@pytest.fixture
def demo(app: Toril) -> Demo:
    return Demo(app)


# S004-01  GET /demo/echo?msg=hi


class TestEcho:
    async def test_it_answers_at_once(self, demo: Demo) -> None:
        assert await demo.echo("hi") == {
            "queued": True,
            "jobId": "1",
            "type": "echo",
            "msg": "hi",
        }
        assert await tally(demo.queue) == {"W": 1}

    async def test_no_msg_says_hello(self, demo: Demo) -> None:
        answer = await demo.echo()

        assert answer["msg"] == "hello"
        assert (await demo.job(answer)).data == {"msg": "hello"}

    @pytest.mark.serial
    async def test_progress_0_25_50_75_100_in_that_order_a_step_before_each(
        self, demo: Demo
    ) -> None:
        answer = await demo.echo("hi")

        async with demo.worker():
            result = await (await demo.job(answer)).result(5)

        assert result == {"echoed": "hi"}
        on_time(5 * STEP, demo.runs.ends[0] - demo.runs.starts[0])
        assert (await demo.job(answer)).attempts_made == 1
        assert demo.lines == [
            *[f'[worker] ⏳ progress "echo" id=1 = {p}%' for p in (0, 25, 50, 75, 100)],
            "[worker] ✅ completed \"echo\" id=1 result= {'echoed': 'hi'}",
        ]


# S004-02  GET /demo/delay?msg=wait&ms=3000


class TestDelay:
    async def test_it_answers_the_delay_as_the_string_given_and_no_msg(self, demo: Demo) -> None:
        assert await demo.delay("wait", "3000") == {
            "queued": True,
            "jobId": "1",
            "type": "echo",
            "delayMs": "3000",
        }

    async def test_defaults(self, demo: Demo) -> None:
        answer = await demo.delay()

        job = await demo.job(answer)
        assert (answer["delayMs"], job.data) == ("5000", {"msg": "delayed hello"})
        assert job.record.delay_ms == 5_000

    @pytest.mark.serial
    async def test_delayed_until_its_time_then_as_echo(self, demo: Demo) -> None:
        async with demo.worker():
            began = time.monotonic()
            answer = await demo.delay("wait", "600")
            assert await tally(demo.queue) == {"D": 1}
            result = await (await demo.job(answer)).result(5)

        on_time(0.600, demo.runs.starts[0] - began)
        assert result == {"echoed": "wait"}
        assert len(demo.lines) == 6


# S004-03  GET /demo/retry?msg=resilient&fail=2


class TestRetry:
    async def test_it_answers_the_fail_times_as_the_string_given(self, demo: Demo) -> None:
        assert await demo.retry("resilient", "2") == {
            "queued": True,
            "jobId": "1",
            "type": "maybe-fail",
            "failTimes": "2",
        }

    async def test_defaults(self, demo: Demo) -> None:
        answer = await demo.retry()

        assert answer["failTimes"] == "1"
        assert (await demo.job(answer)).data == {"msg": "retry me", "failTimes": 1}

    @pytest.mark.serial
    async def test_two_tries_fail_waits_double_and_the_third_returns(self, demo: Demo) -> None:
        answer = await demo.retry("resilient", "2")

        async with demo.worker():
            result = await (await demo.job(answer)).result(5)

        assert result == {"okAfterRetries": "resilient"}
        all_on_time([BACKOFF, 2 * BACKOFF], demo.runs.pauses)
        assert demo.attempts_made == [0, 1, 2]
        job = await demo.job(answer)
        assert await job.state() == State.COMPLETED
        first = "Failing on purpose (attempt 1/2)"
        second = "Failing on purpose (attempt 2/2)"
        assert [each.reason for each in job.attempts] == [first, second]
        assert demo.lines == [
            f'[worker] ❌ failed "maybe-fail" id=1 attempt=1 error={first}',
            f'[worker] ❌ failed "maybe-fail" id=1 attempt=2 error={second}',
            "[worker] ✅ completed \"maybe-fail\" id=1 result= {'okAfterRetries': 'resilient'}",
        ]

    async def test_fail_0_succeeds_on_try_1_with_attempts_1(self, demo: Demo) -> None:
        answer = await demo.retry("lucky", "0")

        async with demo.worker():
            await (await demo.job(answer)).result(5)

        job = await demo.job(answer)
        assert (job.attempts_made, job.attempts, job.run) == (1, (), 1)


# S004-04


async def test_an_unknown_name_is_completed_with_null_which_is_a_result(demo: Demo) -> None:
    job = await demo.queue.add("no-such-job", {"msg": "hi"})

    async with demo.worker():
        assert await job.result(5) is None

    await job.refresh()
    assert (await job.state(), job.record.result) == (State.COMPLETED, "null")
    assert demo.lines == ['[worker] ✅ completed "no-such-job" id=1 result= None']


# S004-05


async def test_six_echo_at_once_make_5_active_and_1_waiting(app: Toril) -> None:
    queue, valve = app.queue(DEMO), Valve()

    @queue.handler("echo")
    async def echo(job: Job[Any]) -> None:
        await valve.wait()

    async with app.worker(DEMO, concurrency=5):
        jobs = await asyncio.gather(*(queue.add("echo", {"msg": "hi"}) for _ in range(6)))
        await stands(queue, A=5, W=1)
        valve.let(6)
        await all_of(jobs)


# S004-06


class TestDurability:
    async def test_three_jobs_run_after_everything_was_stopped(self, url: str) -> None:
        """Nothing keeps the store open between the two programs: that is its restart."""
        jobs = [("echo", {"result": number}) for number in range(3)]
        async with program("add", ready=False, url=url, queue=DEMO, jobs=jobs) as adder:
            assert await adder.exited() == 0

        async with program("worker", url=url, queue=DEMO), Toril(url) as app:
            await stands(app.queue(DEMO), C=3)
            done = [job async for job in app.queue(DEMO).jobs(State.COMPLETED)]
            assert sorted([await job.result(5) for job in done]) == [0, 1, 2]

    async def test_three_jobs_run_after_everything_was_killed(
        self, url: str, tmp_path: Path
    ) -> None:
        log = tmp_path / "runs"
        jobs = [("echo", {"gate": str(tmp_path / "gate")})] * 3
        given = {"url": url, "queue": DEMO} | soon(url)
        async with program("worker", concurrency=2, log=log, **given) as worker:
            async with program("add", ready=False, url=url, queue=DEMO, jobs=jobs) as adder:
                assert await adder.exited() == 0
            await until(lambda: log.exists() and len(log.read_text().splitlines()), 2)
            await worker.killed()

        (tmp_path / "gate").touch()
        async with program("worker", **given), Toril(url) as app:
            await stands(app.queue(DEMO), C=3)


# S004-07


class TestExhausted:
    async def exhausted(self, demo: Demo) -> Job[Any]:
        job = await demo.queue.add("maybe-fail", {"msg": "never", "failTimes": 2}, attempts=2)
        await demo.worker().run_until_idle()
        return await ended(job)

    async def test_an_exhausted_job_stays_failed(self, demo: Demo) -> None:
        job = await self.exhausted(demo)

        await demo.worker().run_until_idle()

        assert await job.state() == State.FAILED
        assert await tally(demo.queue) == {"F": 1}
        assert (job.attempts_made, job.error) == (2, "Failing on purpose (attempt 2/2)")

    async def test_retry_by_api_runs_it_again_and_attempts_made_goes_on(self, demo: Demo) -> None:
        job = await self.exhausted(demo)

        await job.retry()
        await demo.worker().run_until_idle()

        assert await job.state() == State.COMPLETED
        assert demo.attempts_made == [0, 1, 2]

    async def test_retry_with_reset_attempts_begins_again(self, demo: Demo) -> None:
        job = await self.exhausted(demo)

        await job.retry(reset_attempts=True)
        await demo.worker().run_until_idle()

        assert await job.state() == State.FAILED
        assert demo.attempts_made == [0, 1, 0, 1]

    async def test_re_adding_creates_a_new_id(self, demo: Demo) -> None:
        job = await self.exhausted(demo)

        again = await demo.queue.add(job.name, job.data)

        assert (job.id, again.id, again.created) == ("1", "2", True)


# S004-08


@pytest.mark.parametrize("ms", ["abc", "NaN", "", "-1", "1e3"])
async def test_bad_ms_is_a_clear_error_in_the_producer(demo: Demo, ms: str) -> None:
    with pytest.raises(ConfigError, match=r"delay=.*(not a duration|not negative)") as raised:
        await demo.delay("wait", ms)

    assert (raised.value.field, raised.value.value) == ("delay", f"{ms}ms")
    assert await tally(demo.queue) == {}
