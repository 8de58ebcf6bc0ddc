"""Flash cards: what a card application shows of queues, workers, flows and pausing.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import asyncio
import functools
import logging
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.helpers import (
    LATE,
    Journal,
    Valve,
    all_of,
    all_on_time,
    ended,
    kinds,
    kinds_of,
    on_time,
    program,
    stands,
    story,
    tally,
    until,
)
from toril import ConfigError, Job, JobLocked, LockLost, Queue, State, Toril, handles
from toril._model.decide import Action, Decision, End
from toril._model.record import Claim
from toril._model.report import JobPatch
from toril._store.protocol import ClaimRequest, LogLine
from toril.events import Active, Completed, JobEvent

IMAGES = "image:optimize"
CHECKS = "image:check-valid"
UPLOADS = "image:upload"
CARD = {"file": "cat.jpg", "id": 7}


async def echo(job: Job[Any]) -> Any:
    return job.data


async def refuse(job: Job[Any]) -> None:
    raise ValueError("no")


# S000-02  Add returns at once, job waits.


class TestAddReturnsAtOnce:
    async def post(self, app: Toril) -> dict[str, Any]:
        """Do what POST /flash-cards does once the card is stored."""
        await app.queue(IMAGES).add("optimize-size", CARD)
        return CARD

    @pytest.mark.serial
    async def test_the_answer_is_the_stored_card_and_does_not_wait_for_the_job(
        self, app: Toril
    ) -> None:
        began = time.monotonic()

        answer = await self.post(app)

        assert answer == CARD
        assert time.monotonic() - began <= 0.050

    async def test_one_job_waits_and_nothing_else(self, app: Toril) -> None:
        await self.post(app)

        assert await tally(app.queue(IMAGES)) == {"W": 1}

    async def test_the_job_has_id_1_its_name_and_exactly_its_data(self, app: Toril) -> None:
        await self.post(app)

        job = await app.queue(IMAGES).job("1")

        assert job is not None
        assert (job.id, job.name, job.data, job.attempts_made) == ("1", "optimize-size", CARD, 0)

    async def test_the_event_stream_holds_added_then_waiting_for_job_1(self, app: Toril) -> None:
        await self.post(app)

        events = await story(app, app.queue(IMAGES))

        assert [(e.kind, e.job_id) for e in events if isinstance(e, JobEvent)] == [
            ("added", "1"),
            ("waiting", "1"),
        ]

    async def test_no_worker_is_listening_on_this_queue(self, app: Toril) -> None:
        await self.post(app)

        assert await app.queue(IMAGES).workers() == []


# S000-03  Worker processes.


class TestWorkerProcesses:
    @pytest.mark.serial
    async def test_it_is_active_within_100_ms_and_completed_after_the_handler(
        self, app: Toril
    ) -> None:
        @app.processor(IMAGES)
        class Images:
            async def process(self, job: Job[Any]) -> Any:
                match job.name:
                    case "optimize-size":
                        await asyncio.sleep(0.3)
                        return job.data
                    case _:
                        raise ValueError("No job name match")

        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)

        async with app.worker():
            await stands(queue, A=1, within=0.1)
            assert await job.result(5) == CARD

        assert await tally(queue) == {"C": 1}
        await job.refresh()
        assert job.started_at is not None
        assert job.finished_at is not None
        on_time(0.3, (job.finished_at - job.started_at).total_seconds())

    async def test_a_name_that_the_handler_does_not_know_fails_with_its_own_error(
        self, app: Toril
    ) -> None:
        async def switch(job: Job[Any]) -> Any:
            if job.name != "optimize-size":
                raise ValueError("No job name match")

        queue = app.queue(IMAGES)
        job = await queue.add("resize", CARD)

        await app.worker(IMAGES, switch).run_until_idle()

        assert await tally(queue) == {"F": 1}
        assert (await job.refresh()).error == "No job name match"

    async def test_a_name_without_a_handler_fails_with_torils_own_reason(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        queue.handler("optimize-size")(echo)
        job = await queue.add("resize", CARD)

        await app.worker(unknown_limit=0).run_until_idle()

        assert await tally(queue) == {"F": 1}
        assert (await job.refresh()).error == f'No handler for job "resize" in queue "{IMAGES}"'

    async def test_a_processor_that_is_not_registered_processes_nothing_and_is_warned_of(
        self, app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Forgotten:
            @handles("optimize-size")
            async def optimize(self, job: Job[Any]) -> Any:
                raise AssertionError("it is not registered")

        app.queue(CHECKS).handler("check-term")(echo)
        job = await app.queue(IMAGES).add("optimize-size", CARD)
        check = await app.queue(CHECKS).add("check-term", CARD)

        async with app.worker():
            await check.result(5)

        assert await job.state() == State.WAITING
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert any(Forgotten.__qualname__ in warning for warning in warnings), warnings


# S000-04  Lifecycle order.


class TestLifecycleOrder:
    PLAIN = ("added", "waiting", "active", "completed", "drained")
    DELAYED = ("added", "delayed", "waiting", "active", "completed", "drained")
    BACKOFF = (
        *("added", "waiting", "active", "delayed", "waiting", "active"),
        *("failed", "retries-exhausted", "drained"),
    )
    NO_BACKOFF = (
        *("added", "waiting", "active", "waiting", "active"),
        *("failed", "retries-exhausted", "drained"),
    )

    @pytest.mark.parametrize(
        ("options", "fails", "expected"),
        [
            pytest.param({}, False, PLAIN, id="plain"),
            pytest.param({"priority": 3}, False, PLAIN, id="with priority"),
            pytest.param({"delay": "50ms"}, False, DELAYED, id="with delay"),
            pytest.param(
                {"attempts": 2, "backoff": "50ms"}, True, BACKOFF, id="fails twice, with backoff"
            ),
            pytest.param({"attempts": 2}, True, NO_BACKOFF, id="fails twice, without backoff"),
        ],
    )
    async def test_the_events_come_in_exactly_this_order(
        self, app: Toril, options: dict[str, Any], fails: bool, expected: tuple[str, ...]
    ) -> None:
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD, **options)

        await app.worker(IMAGES, refuse if fails else echo).run_until_idle(delayed=True)

        assert tuple(await kinds(app, queue)) == expected

    async def test_failed_appears_once_and_every_try_as_attempt_failed_and_in_the_list(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD, attempts=2)
        worker = app.worker(IMAGES, refuse)
        tries: list[str] = []
        worker.on("attempt_failed")(lambda job, error: tries.append(f"{job.id}: {error}"))

        await worker.run_until_idle()

        assert (await kinds(app, queue)).count("failed") == 1
        assert tries == ["1: no", "1: no"]
        await job.refresh()
        assert [(t.run, t.end, t.reason) for t in job.attempts] == [
            (1, "failed", "no"),
            (2, "failed", "no"),
        ]

    async def test_drained_needs_waiting_prioritized_and_active_all_empty(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        valve = Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        waiting = await queue.add("optimize-size", CARD)
        prioritized = await queue.add("optimize-size", CARD, priority=1)

        async with app.worker(IMAGES, gated, concurrency=2):
            await stands(queue, A=2)
            valve.let(1)
            await stands(queue, A=1, C=1)
            assert "drained" not in await kinds(app, queue)
            late = await queue.add("optimize-size", CARD, priority=2)
            valve.let(2)
            await all_of([waiting, prioritized, late])

        told = await kinds(app, queue)
        assert (told.count("drained"), told[-1]) == (1, "drained")

    async def test_no_drained_when_the_claim_after_a_finish_found_a_delayed_job(
        self, app: Toril
    ) -> None:
        """R20: as BullMQ, which looks for the next job first, and is silent if it is a later one."""
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD)
        await queue.add("optimize-size", CARD, delay="1h")

        await app.worker(IMAGES, echo).run_until_idle()

        assert await tally(queue) == {"C": 1, "D": 1}
        assert "drained" not in await kinds(app, queue)

    async def test_ready_counts_and_lists_the_prioritized_with_the_waiting(
        self, app: Toril
    ) -> None:
        """R20: BullMQ's seven numbers, and `ready` for what the cards call `wait`."""
        queue = app.queue(IMAGES)
        plain = await queue.add("optimize-size", CARD)
        urgent = await queue.add("optimize-size", CARD, priority=1)

        counts = await queue.counts()

        assert (counts.waiting, counts.prioritized, counts.ready) == (1, 1, 2)
        assert [job.id async for job in queue.jobs("ready")] == [plain.id, urgent.id]
        assert await urgent.state() == State.PRIORITIZED


# S000-05  Priority.


class TestPriority:
    async def run_order(self, app: Toril, queue: Queue) -> list[str]:
        order: list[str] = []

        async def note(job: Job[Any]) -> None:
            order.append(job.name)

        await queue.resume()
        await app.worker(queue.name, note, concurrency=1).run_until_idle()
        return order

    async def test_none_is_first_lower_runs_earlier_ties_first_in_first_out(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        await queue.pause()
        await queue.add("A", CARD, priority=5)
        await queue.add("B", CARD, priority=1)
        await queue.add("C", CARD)
        await queue.add("D", CARD, priority=3)
        await queue.add("E", CARD, priority=1)

        assert await self.run_order(app, queue) == ["C", "B", "E", "D", "A"]

    @pytest.mark.parametrize("priority", [0, 1, 2_097_151])
    async def test_accepted_range(self, app: Toril, priority: int) -> None:
        job = await app.queue(IMAGES).add("A", CARD, priority=priority)

        assert (await job.refresh()).record.priority == priority

    @pytest.mark.parametrize("priority", [-1, 2**21, 1.5])
    async def test_what_is_outside_raises_at_add_with_the_range_in_the_message(
        self, app: Toril, priority: Any
    ) -> None:
        queue = app.queue(IMAGES)

        with pytest.raises(ConfigError, match=r"between 0 and 2097151"):
            await queue.add("A", CARD, priority=priority)

        assert await tally(queue) == {}

    async def test_changing_a_waiting_jobs_priority_moves_it(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        await queue.pause()
        await queue.add("A", CARD, priority=2)
        late = await queue.add("B", CARD, priority=3)

        await late.set_priority(1)

        assert await self.run_order(app, queue) == ["B", "A"]

    async def test_a_retry_keeps_the_priority(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        failing = await queue.add("A", CARD, priority=5, attempts=2)
        await app.worker(IMAGES, refuse).run_until_idle()
        await queue.pause()
        await queue.add("B", CARD, priority=4)
        await queue.add("C", CARD, priority=6)

        await failing.retry()

        assert await failing.state() == State.PRIORITIZED
        assert failing.record.priority == 5
        assert await self.run_order(app, queue) == ["B", "A", "C"]

    async def test_an_automatic_retry_keeps_the_priority(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        order: list[str] = []

        async def once(job: Job[Any]) -> None:
            order.append(job.name)
            if job.name == "A" and job.attempt == 1:
                raise ValueError("no")

        await queue.add_many(
            [
                ("A", CARD, {"priority": 1, "attempts": 2}),
                ("B", CARD, {"priority": 1}),
                ("C", CARD, {"priority": 2}),
            ]
        )

        await app.worker(IMAGES, once).run_until_idle()

        assert order[0] == "A"
        assert order.index("A", 1) < order.index("C")


# S000-06, 07, 08  Concurrency.


class TestConcurrency:
    async def test_default_concurrency_is_1_and_the_second_starts_without_a_new_add(
        self, app: Toril
    ) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        await queue.add_many([("optimize-size", CARD)] * 2)

        async with app.worker(IMAGES, gated):
            await stands(queue, A=1, W=1)
            valve.let(1)
            await stands(queue, A=1, C=1)
            valve.let(1)
            await stands(queue, C=2)

    async def test_concurrency_2(self, app: Toril) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        await queue.add_many([("optimize-size", CARD)] * 3)

        async with app.worker(IMAGES, gated, concurrency=2):
            await stands(queue, A=2, W=1)
            valve.let(3)
            await stands(queue, C=3)


class TestTwoWorkerProcesses:
    async def test_concurrency_2_each_makes_4_active_and_1_waiting_then_5_completed(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """Each job runs exactly once, and both processes stand in the run log."""
        queue, gate, log = app.queue(IMAGES), tmp_path / "gate", tmp_path / "runs"
        given = {"url": url, "queue": IMAGES, "concurrency": 2, "log": log}
        async with program("worker", **given) as one, program("worker", **given) as two:
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=4, W=1)
            gate.touch()
            await stands(queue, C=5)

            runs = [line.split() for line in log.read_text().splitlines()]
            assert Counter(job_id for job_id, _ in runs) == dict.fromkeys("12345", 1)
            assert {int(pid) for _, pid in runs} == {one.pid, two.pid}

    async def test_the_fifth_starts_when_any_slot_frees(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue = app.queue(IMAGES)
        gates = [tmp_path / f"gate-{number}" for number in range(5)]
        given = {"url": url, "queue": IMAGES, "concurrency": 2}
        async with program("worker", **given), program("worker", **given):
            jobs = await queue.add_many([("optimize-size", {"gate": str(g)}) for g in gates])
            await stands(queue, A=4, W=1)

            for number in (3, 0):  # on whichever worker these are
                gates[number].touch()
                await jobs[number].result(5)
                await stands(queue, A=4 if number == 3 else 3, C=1 if number == 3 else 2)

            assert await jobs[4].state() == State.ACTIVE

    async def test_concurrency_2_and_1_makes_3_active_and_2_waiting(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        given = {"url": url, "queue": IMAGES}
        async with (
            program("worker", concurrency=2, **given),
            program("worker", concurrency=1, **given),
        ):
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=3, W=2)
            gate.touch()
            await stands(queue, C=5)

    async def test_both_workers_are_listed_with_host_pid_concurrency_and_the_jobs_in_hand(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        given = {"url": url, "queue": IMAGES, "lock": "1s"}
        async with (
            program("worker", concurrency=2, **given) as one,
            program("worker", concurrency=1, **given) as two,
        ):
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=3, W=2)

            async def listed() -> set[tuple[str, int, int, int]]:
                workers = await queue.workers()
                return {(w.host, w.pid, w.concurrency, w.active) for w in workers}

            host = socket.gethostname()
            await until(listed, {(host, one.pid, 2, 2), (host, two.pid, 1, 1)})
            gate.touch()

    async def test_when_one_is_ended_politely_the_other_takes_over_what_waits(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate, log = app.queue(IMAGES), tmp_path / "gate", tmp_path / "runs"
        given = {"url": url, "queue": IMAGES, "concurrency": 1, "log": log}
        async with program("worker", **given) as one, program("worker", **given) as two:
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=2, W=3)
            one.send(signal.SIGTERM)
            gate.touch()

            assert await one.exited() == 0
            await stands(queue, C=5)

            runs = [line.split() for line in log.read_text().splitlines()]
            assert Counter(job_id for job_id, _ in runs) == dict.fromkeys("12345", 1)
            assert [int(pid) for _, pid in runs].count(two.pid) == 4


# S000-09  Local listeners.


class TestLocalListeners:
    async def test_worker_1_tells_of_its_own_jobs_and_nothing_of_those_of_worker_2(
        self, app: Toril
    ) -> None:
        queue, valve = app.queue(IMAGES), Valve()
        lines: list[str] = []

        async def gated(job: Job[Any]) -> None:
            await valve.wait()
            if job.name == "bad":
                raise ValueError("broken")

        first, second = app.worker(IMAGES, gated), app.worker(IMAGES, gated)
        first.on("active")(lambda job: lines.append(f"Job has been started: {job.id}"))
        first.on("completed")(lambda job, _: lines.append(f"Job has been finished: {job.id}"))

        @first.on("failed")
        def failed(job: Job[Any], error: BaseException) -> None:
            lines.extend([f"Job has been failed: {job.id}", str(error)])

        async with first:
            mine = await queue.add("good", CARD)
            await stands(queue, A=1)
            async with second:
                theirs = await queue.add("good", CARD)
                await stands(queue, A=2)
                valve.let(2)
                await all_of([mine, theirs])
            bad = await queue.add("bad", CARD)
            valve.let(1)
            await ended(bad)

        assert (await mine.refresh()).worker != (await theirs.refresh()).worker
        assert lines == [
            f"Job has been started: {mine.id}",
            f"Job has been finished: {mine.id}",
            f"Job has been started: {bad.id}",
            f"Job has been failed: {bad.id}",
            "broken",
        ]

    async def test_signatures_are_job_then_result_or_error_and_error_alone(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        heard: list[tuple[str, tuple[Any, ...]]] = []

        @queue.handler("good")
        async def good(job: Job[Any]) -> int:
            return 42

        queue.handler("bad")(refuse)
        worker = app.worker(unknown_limit=0)
        for event in ("active", "completed", "failed", "error"):
            worker.on(event)(lambda *given, event=event: heard.append((event, given)))
        await queue.add("good", CARD)
        await queue.add("bad", CARD)
        await queue.add("unheard-of", CARD)

        await worker.run_until_idle()

        given = {event: args for event, args in heard if args[0] is None or event != "active"}
        active = next(args for event, args in heard if event == "active")
        failed = next(args for event, args in heard if event == "failed")
        assert [type(each) for each in active] == [Job]
        assert (given["completed"][0].name, given["completed"][1]) == ("good", 42)
        assert (failed[0].name, type(failed[1])) == ("bad", ValueError)
        assert [isinstance(each, Exception) for each in given["error"]] == [True]

    async def test_a_listener_that_raises_is_logged_and_harms_neither_job_nor_worker(
        self, app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = app.queue(IMAGES)
        worker = app.worker(IMAGES, echo)

        @worker.on("completed")
        def broken(job: Job[Any], result: Any) -> None:
            raise RuntimeError("this listener is broken")

        async with worker:
            for _ in range(2):
                assert await (await queue.add("optimize-size", CARD)).result(5) == CARD

        assert await tally(queue) == {"C": 2}
        said = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert [str(r.exc_info[1]) for r in said if r.exc_info] == ["this listener is broken"] * 2


# S000-10  Global listener.


class TestGlobalListener:
    @pytest.mark.parametrize("where", ["beside worker 2", "without a worker"])
    async def test_3_active_and_3_completed_whoever_ran_them_each_once_in_per_job_order(
        self, app: Toril, url: str, tmp_path: Path, where: str
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        beside = where == "beside worker 2"

        async def run(job: Job[Any]) -> Any:
            await until(gate.exists, True)
            return job.data["result"]

        async with (
            program("worker", url=url, queue=IMAGES, listen=beside) as worker,
            program("listener", url=url, queue=IMAGES) as alone,
            app.worker(IMAGES, run),
        ):
            jobs = [("optimize-size", {"gate": str(gate), "result": n}) for n in range(3)]
            await queue.add_many(jobs)
            await stands(queue, A=2, W=1)
            gate.touch()
            listener = worker if beside else alone
            for number in range(3):
                await listener.says(f"Job {number + 1} completed successfully")

            told = [line for line in listener.lines if line.startswith("{")]
            for number in range(3):
                active = f'{{"job_id": "{number + 1}", "prev": "waiting"}}'
                completed = f'{{"job_id": "{number + 1}", "result": {number}}}'
                assert (told.count(active), told.count(completed)) == (1, 1)
                assert told.index(active) < told.index(completed)
            heads = Counter(line for line in listener.lines if line.endswith("!"))
            assert heads == {"Job has been started!": 3, "Job has been completed!!": 3}
            assert listener.lines[1:3] == ["Job has been started!", told[0]]

    async def test_it_is_an_event_record_not_a_job(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)
        await app.worker(IMAGES, echo).run_until_idle()

        events = await story(app, queue)

        active = next(e for e in events if isinstance(e, Active))
        completed = next(e for e in events if isinstance(e, Completed))
        assert (active.job_id, active.prev) == (job.id, "waiting")
        assert (completed.job_id, completed.result) == (job.id, CARD)

    @pytest.mark.xfail(raises=AttributeError, reason="events cannot fetch their job yet")
    async def test_an_event_gives_its_job(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)

        (added, *_) = await story(app, queue)

        assert (await added.job()).id == job.id  # type: ignore[attr-defined]

    async def test_a_listener_that_was_down_gets_the_events_it_missed(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        async with queue.events() as events:
            await queue.add("optimize-size", CARD, id="first")
            async for event in events:
                if event.kind == "waiting":
                    break
        await queue.add("optimize-size", CARD, id="missed")

        caught_up = await story(app, queue, after=events.last[IMAGES])

        assert [(e.kind, e.job_id) for e in caught_up if isinstance(e, JobEvent)] == [
            ("added", "missed"),
            ("waiting", "missed"),
        ]

    async def test_one_that_starts_fresh_gets_only_new_ones_by_default(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD, id="old")

        async with queue.events() as events:
            await queue.add("optimize-size", CARD, id="new")
            async for event in events:
                assert isinstance(event, JobEvent)
                assert event.job_id == "new"
                break


# S000-11  Rate limit is global.

WINDOW = 0.5


def windows(starts_ms: list[int]) -> list[int]:
    """Count the starts in each window; a window begins with its first start."""
    counts: list[int] = []
    began = -float("inf")
    for start in starts_ms:
        if start - began >= WINDOW * 1000:
            began = start
            counts.append(0)
        counts[-1] += 1
    return counts


async def starts_of(app: Toril, queue: Queue) -> list[int]:
    """Give when jobs were started, by the store's clock."""
    return [event.at_ms for event in await story(app, queue) if isinstance(event, Active)]


@pytest.mark.serial
class TestRateLimit:
    @pytest.mark.parametrize("given_to", ["queue", "workers"])
    async def test_starts_per_window_are_10_10_5_summed_over_both_workers(
        self, app: Toril, other_app: Toril, given_to: str
    ) -> None:
        options: dict[str, Any] = {"concurrency": 50}
        if given_to == "queue":
            queue = app.queue(IMAGES, rate=f"10/{WINDOW}s")
        else:
            queue = app.queue(IMAGES)
            options["rate"] = f"10/{WINDOW}s"
        jobs = await queue.add_many([("optimize-size", CARD)] * 25)

        async with app.worker(IMAGES, echo, **options), other_app.worker(IMAGES, echo, **options):
            await stands(queue, C=10, W=15)
            waiting = [job async for job in queue.jobs(State.WAITING)]
            assert [job.attempts_made for job in waiting] == [0] * 15
            await all_of(jobs)

        starts = await starts_of(app, queue)
        assert windows(starts) == [10, 10, 5]
        on_time(2 * WINDOW, (starts[-1] - starts[0]) / 1000)

    @pytest.mark.parametrize("maxima", [(3, 5), (5, 3)])
    async def test_max_3_and_max_5_make_5_per_window_whatever_the_start_order(
        self, app: Toril, other_app: Toril, maxima: tuple[int, int]
    ) -> None:
        queue = app.queue(IMAGES)
        first, second = (f"{most}/{WINDOW}s" for most in maxima)

        async with (
            app.worker(IMAGES, echo, concurrency=50, rate=first),
            other_app.worker(IMAGES, echo, concurrency=50, rate=second),
        ):
            await all_of(await queue.add_many([("optimize-size", CARD)] * 12))

        assert windows(await starts_of(app, queue)) == [5, 5, 2]

    @pytest.mark.xfail(reason="workers do not know each other's limits yet")
    async def test_conflicting_settings_of_workers_make_one_warning_that_names_both(
        self, app: Toril, other_app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with (
            app.worker(IMAGES, echo, rate="3/1s"),
            other_app.worker(IMAGES, echo, rate="5/1s"),
        ):
            job = await app.queue(IMAGES).add("optimize-size", CARD)
            await job.result(5)

        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len([w for w in warnings if "3/1s" in w and "5/1s" in w]) == 1

    async def test_after_pause_and_resume_with_100_jobs_piled_up_the_limit_still_holds(
        self, app: Toril, other_app: Toril
    ) -> None:
        queue = app.queue(IMAGES, rate=f"40/{WINDOW}s")
        async with (
            app.worker(IMAGES, echo, concurrency=50),
            other_app.worker(IMAGES, echo, concurrency=50),
        ):
            await (await queue.add("optimize-size", CARD)).result(5)
            await queue.pause()
            jobs = await queue.add_many([("optimize-size", CARD)] * 100)
            await asyncio.sleep(WINDOW)  # the first window ends, so that three full ones follow
            await queue.resume()
            await all_of(jobs)

        assert windows((await starts_of(app, queue))[1:]) == [40, 40, 20]

    async def test_rate_limit_ttl_is_above_0_while_limited(self, app: Toril) -> None:
        queue = app.queue(IMAGES, rate=f"2/{WINDOW}s")
        async with app.worker(IMAGES, echo, concurrency=5):
            assert await queue.rate_limit_ttl() == 0
            await queue.add_many([("optimize-size", CARD)] * 3)
            await stands(queue, C=2, W=1)

            assert 0 < await queue.rate_limit_ttl() <= WINDOW

    @pytest.mark.xfail(raises=AssertionError, reason="the store forgets a worker's own limit")
    async def test_rate_limit_ttl_is_above_0_while_a_workers_own_limit_holds(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        async with app.worker(IMAGES, echo, concurrency=5, rate=f"2/{WINDOW}s"):
            await queue.add_many([("optimize-size", CARD)] * 3)
            await stands(queue, C=2, W=1)

            assert 0 < await queue.rate_limit_ttl() <= WINDOW


# S000-12  Handler blocks the event loop; lock lost.


class TestHandlerBlocks:
    async def test_a_loop_blocked_for_three_lock_times_completes_once_and_the_line_is_named(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """The lock is renewed from a thread, while a second worker looks for stalled jobs."""
        queue, log, thief = app.queue(IMAGES), tmp_path / "runs", Journal()

        async def steal(job: Job[Any]) -> None:
            with thief.run():
                pass

        given = {"lock": "500ms", "block_warning": "200ms", "log": log}
        async with program("worker", url=url, queue=IMAGES, **given) as worker:
            job = await queue.add("optimize-size", {"spin": 1500, "ms": 50})
            await stands(queue, A=1)
            async with app.worker(IMAGES, steal, stalled_interval="50ms"):
                await job.result(5)

            await stands(queue, C=1)
            assert thief.order == []
            assert len(log.read_text().splitlines()) == 1
            assert "stalled" not in await kinds(app, queue)
            (warning,) = [line for line in worker.lines if line.startswith("WARNING")]
            assert "loop.blocked seconds=1.5" in warning
            assert f"{IMAGES}:{job.id}" in warning
            assert "programs.py:" in warning
            assert "time.sleep(" in warning

    async def test_a_job_of_a_killed_worker_is_recovered_within_lock_and_stalled_interval(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue = app.queue(IMAGES)
        given = {"lock": "1s", "stalled_interval": "1s"}
        async with program("worker", url=url, queue=IMAGES, **given) as victim:
            data = {"gate": str(tmp_path / "never")}
            job = await queue.add("optimize-size", data, priority=5)
            await stands(queue, A=1)
            async with app.worker(IMAGES, echo, **given):
                await victim.killed()
                died = time.monotonic()
                await job.result(5)

        assert time.monotonic() - died <= 2 + LATE
        assert (await kinds_of(app, job)).count("stalled") == 1
        await job.refresh()
        assert (job.record.stalls, job.attempts_made) == (1, 1)
        assert job.record.priority == 5
        assert [(t.run, t.end) for t in job.attempts] == [(1, "stalled")]

    @pytest.mark.parametrize(("max_stalls", "crashes"), [(3, 4), (1, 2)])
    async def test_a_job_lost_too_often_fails_saying_so(
        self, app: Toril, url: str, tmp_path: Path, max_stalls: int, crashes: int
    ) -> None:
        """R14: the crash that fails it is the first over the limit that it had by itself.

        The second crash may be a neighbour's doing; from then on the job runs alone.
        """
        queue, log = app.queue(IMAGES), tmp_path / "runs"
        job = await queue.add("optimize-size", {"gate": str(tmp_path / "never")})
        given = {"url": url, "queue": IMAGES, "max_stalls": max_stalls, "log": log}
        for crash in range(crashes):
            async with program("worker", **given) as victim:
                await until(lambda: len(lines_of(log)), crash + 1, why="runs")
                assert (await job.refresh()).record.stalls == crash
                await victim.killed()

        async with program("worker", **given):
            await stands(queue, F=1, within=3)

        await job.refresh()
        assert "stalled more than allowable limit" in (job.error or "")
        assert (job.record.stalls, len(lines_of(log))) == (crashes, crashes)
        assert (await kinds_of(app, job)).count("stalled") == crashes

    async def test_a_worker_that_slept_through_its_lock_cannot_end_the_job(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """The rightful owner's result stands."""
        queue, gate = app.queue(IMAGES), tmp_path / "gate"

        async def rescue(job: Job[Any]) -> str:
            return "rescued"

        async with program("worker", url=url, queue=IMAGES, lock="500ms") as zombie:
            job = await queue.add("optimize-size", {"gate": str(gate), "result": "late"})
            await stands(queue, A=1)
            zombie.send(signal.SIGSTOP)
            async with app.worker(IMAGES, rescue, stalled_interval="100ms"):
                assert await job.result(5) == "rescued"
            gate.touch()
            zombie.send(signal.SIGCONT)
            await zombie.says(f"lock lost: {job.id}")
            zombie.send(signal.SIGTERM)
            assert await zombie.exited() == 0

        assert await job.result(5) == "rescued"
        assert (await kinds_of(app, job)).count("completed") == 1

    @pytest.mark.parametrize(
        "late", ["complete", "fail", "retry", "progress", "log"], ids=lambda late: f"cannot {late}"
    )
    async def test_a_worker_that_lost_its_lock(
        self, app: Toril, other_app: Toril, late: str
    ) -> None:
        """The store refuses by token, and the rightful owner's result stands."""
        job = await app.queue(IMAGES).add("optimize-size", CARD, attempts=3)
        await other_app.open()
        zombie, owner = app.context.store, other_app.context.store
        old = await self.claim(zombie, "old", lock_ms=1)
        await until(lambda: self.recovered(owner), [job.id])
        new = await self.claim(owner, "new", lock_ms=60_000)

        assert type(await self.write(zombie, old, late)) is LockLost

        done = await self.write(owner, new, "complete")
        assert done == "completed"
        assert await job.result(5) == "new"
        assert (await job.refresh()).last_progress is None

    async def claim(self, store: Any, token: str, *, lock_ms: int) -> Claim:
        (claimed,) = await store.claim(
            [ClaimRequest(queue=IMAGES, limit=1, token=token, lock_ms=lock_ms)]
        )
        (claim,) = claimed.jobs
        return claim

    async def recovered(self, store: Any) -> list[str]:
        return [each.id for each in await store.recover([IMAGES])]

    async def write(self, store: Any, claim: Claim, what: str) -> object:
        job = {"queue": IMAGES, "id": claim.record.id, "token": claim.token}
        if what == "progress":
            (answer,) = await store.update([JobPatch(**job, progress="50")])
        elif what == "log":
            (answer,) = await store.log([LogLine(**job, text="still here")])
        else:
            end = End.RETURNED if what == "complete" else End.RAISED
            made = {"result": f'"{claim.token}"'} if what == "complete" else {"reason": "late"}
            finished = await store.finish([Decision(**job, action=Action(what), end=end, **made)])
            (answer,) = finished.words
        return answer

    def test_lock_stalled_interval_and_max_stalls_are_settable_per_worker(self, app: Toril) -> None:
        settings = app.worker(IMAGES, echo, lock="3s", stalled_interval="1s", max_stalls=1).settings

        assert (settings.lock_ms, settings.stalled_s, settings.max_stalls) == (3_000, 1.0, 1)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# S000-14  Flow: upload waits for optimise and two checks.


class FlashCardsService:
    def __init__(self) -> None:
        self.images: dict[int, str] = {}

    def set_image(self, card: int, image: str) -> None:
        self.images[card] = image


class Cards:
    """The queues, handlers and flow of the card application; times are those of the cards ÷ 20."""

    def __init__(self, app: Toril) -> None:
        self.app = app
        self.images, self.checks, self.uploads = map(app.queue, (IMAGES, CHECKS, UPLOADS))
        self.checking, self.optimizing = Journal(), Journal()
        self.service = FlashCardsService()
        app.provide(FlashCardsService, self.service)

        @self.images.handler("optimize-size")
        async def optimize(job: Job[Any]) -> Any:
            with self.optimizing.run(job.name):
                await asyncio.sleep(0.5)
            return job.data["file"]

        @self.checks.handler()
        async def check(job: Job[Any]) -> Any:
            with self.checking.run(job.name):
                await asyncio.sleep(0.25 if job.name == "check-term" else 0.4)
            return True

        @app.processor(UPLOADS)
        class Uploads:
            def __init__(self, cards: FlashCardsService) -> None:
                self.cards = cards

            async def process(self, job: Job[Any]) -> None:
                await asyncio.sleep(0.25)
                values = await job.children_values()
                file = next(value for key, value in values.items() if IMAGES in key)
                self.cards.set_image(job.data["id"], f"image_url_from_s3_{file}")

    async def post(self, *, delay: str = "50ms", **optimize: Any) -> dict[str, Job[Any]]:
        tree = await self.app.flow(
            UPLOADS,
            "uploading-image",
            {"id": 7},
            children=[
                (IMAGES, "optimize-size", CARD, {"delay": delay, **optimize}),
                (CHECKS, "check-term", {"id": 7}),
                (CHECKS, "check-policy", {"id": 7}),
            ],
        ).add()
        return {job.name: job for job in tree.walk()}

    async def tallies(self) -> dict[str, dict[str, int]]:
        return {
            queue.name: await tally(queue) for queue in (self.images, self.checks, self.uploads)
        }


@pytest.fixture
def cards(app: Toril) -> Cards:
    return Cards(app)


async def standing(job: Job[Any]) -> tuple[int, int, int]:
    """Count a job's children: pending, completed, failed."""
    counts = await job.dependencies()
    return counts.pending, counts.completed, counts.failed


class TestFlow:
    async def test_no_workers_two_checks_wait_optimise_is_delayed_and_the_parent_waits_for_them(
        self, cards: Cards
    ) -> None:
        jobs = await cards.post(delay="1s")

        assert await cards.tallies() == {IMAGES: {"D": 1}, CHECKS: {"W": 2}, UPLOADS: {"WC": 1}}
        assert await standing(jobs["uploading-image"]) == (3, 0, 0)

    async def test_four_jobs_are_added_all_or_none(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        uploads = app.queue(UPLOADS)

        async def at_least(count: int) -> bool:
            return (await uploads.counts()).total >= count

        for kill in range(1, 4):
            async with program("flows", url=url) as adder:
                wanted = (await uploads.counts()).total + kill
                await until(functools.partial(at_least, wanted), True)
                await adder.killed()

        parents, images, checks = [
            (await app.queue(name).counts()).total for name in (UPLOADS, IMAGES, CHECKS)
        ]
        assert (images, checks) == (parents, 2 * parents)

    @pytest.mark.serial
    async def test_checks_run_one_after_the_other_while_optimise_runs_beside_them(
        self, cards: Cards
    ) -> None:
        """The parent waits until the last child ends, and is then waiting, not active."""
        async with cards.app.worker([IMAGES, CHECKS]):
            began = time.monotonic()
            jobs = await cards.post()
            await stands(cards.uploads, W=1)

        on_time(0.65, time.monotonic() - began)
        assert cards.checking.most == 1
        all_on_time(
            [0, 0.25, 0.65, 0.05, 0.55],
            [
                t - began
                for t in (*cards.checking.starts, cards.checking.ends[1], *optimizing(cards))
            ],
        )
        assert cards.optimizing.ends[0] < cards.checking.ends[1]
        assert await jobs["uploading-image"].state() == State.WAITING

    async def test_the_dependencies_are_counted_at_every_step(self, app: Toril) -> None:
        valve = Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        parent = (
            await app.flow(
                UPLOADS,
                "uploading-image",
                children=[(CHECKS, "check-term"), (CHECKS, "check-policy"), (CHECKS, "check-size")],
            ).add()
        ).job

        async with app.worker(CHECKS, gated):
            for settled in range(4):
                await until(lambda: standing(parent), (3 - settled, settled, 0))
                state = State.WAITING if settled == 3 else State.WAITING_CHILDREN
                assert await parent.state() == state
                valve.let(1)

    async def test_the_parent_finds_the_three_values_by_queue_and_by_name(
        self, cards: Cards
    ) -> None:
        jobs = await cards.post()
        parent = jobs["uploading-image"]
        await cards.app.worker([IMAGES, CHECKS]).run_until_idle(delayed=True)

        values = await parent.children_values()
        children = await parent.children()

        assert values == {
            f"{IMAGES}:{jobs['optimize-size'].id}": "cat.jpg",
            f"{CHECKS}:{jobs['check-term'].id}": True,
            f"{CHECKS}:{jobs['check-policy'].id}": True,
        }
        assert [value for key, value in values.items() if IMAGES in key] == ["cat.jpg"]
        assert children["optimize-size"] == "cat.jpg"

    @pytest.mark.serial
    async def test_with_an_upload_worker_the_parent_is_active_at_once_and_stores_the_image(
        self, cards: Cards
    ) -> None:
        """The processor has an injected FlashCardsService."""
        jobs = await cards.post()
        await cards.app.worker([IMAGES, CHECKS]).run_until_idle(delayed=True)
        await stands(cards.uploads, W=1)

        async with cards.app.worker(UPLOADS):
            await stands(cards.uploads, A=1, within=0.1)
            began = time.monotonic()
            await jobs["uploading-image"].result(5)
            on_time(0.25 - 0.1, time.monotonic() - began)

        assert await tally(cards.uploads) == {"C": 1}
        assert cards.service.images == {7: "image_url_from_s3_cat.jpg"}

    @pytest.mark.serial
    async def test_with_all_workers_on_from_the_start_the_longest_path_is_what_it_takes(
        self, cards: Cards
    ) -> None:
        async with cards.app.worker():
            began = time.monotonic()
            jobs = await cards.post()
            await jobs["uploading-image"].result(5)

        on_time(max(0.05 + 0.5, 0.25 + 0.4) + 0.25, time.monotonic() - began)


def optimizing(cards: Cards) -> tuple[float, float]:
    return cards.optimizing.starts[0], cards.optimizing.ends[0]


class TestFailedChild:
    """One child fails for good; the others complete."""

    async def post(self, app: Toril, ran: Journal, **child: Any) -> dict[str, Job[Any]]:
        async def check(job: Job[Any]) -> bool:
            if job.name == "check-term":
                raise ValueError("rude words")
            return True

        async def upload(job: Job[Any]) -> None:
            with ran.run(job.name):
                pass

        app.queue(CHECKS).handler()(check)
        app.queue(UPLOADS).handler()(upload)
        tree = await app.flow(
            UPLOADS,
            "uploading-image",
            children=[(CHECKS, "check-term", {}, child), (CHECKS, "check-policy")],
        ).add()
        return {job.name: job for job in tree.walk()}

    async def test_by_default_the_parent_fails_and_never_runs(self, app: Toril) -> None:
        ran = Journal()
        jobs = await self.post(app, ran)

        await app.worker().run_until_idle()

        parent, child = jobs["uploading-image"], jobs["check-term"]
        assert await parent.state() == State.FAILED
        assert ran.order == []
        assert f"{CHECKS}:{child.id}" in (parent.error or "")
        assert await standing(parent) == (0, 1, 1)

    async def test_wait_leaves_the_parent_waiting_blocked_by_its_failed_child(
        self, app: Toril
    ) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="wait")

        await app.worker().run_until_idle()

        parent, child = jobs["uploading-image"], jobs["check-term"]
        assert await parent.state() == State.WAITING_CHILDREN
        assert ran.order == []
        (blocking,) = [c for c in await parent.children() if c.outcome != "completed"]
        assert (blocking.queue, blocking.id, blocking.name) == (CHECKS, child.id, "check-term")
        assert (blocking.outcome, blocking.value) == ("pending", "rude words")

    async def test_wait_goes_on_when_the_failed_child_is_retried_with_success(
        self, app: Toril
    ) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="wait")
        await app.worker().run_until_idle()

        await jobs["check-term"].retry()
        await app.worker(CHECKS, echo).run_until_idle()

        assert await jobs["uploading-image"].state() == State.WAITING

    async def test_ignore_runs_the_parent_which_sees_the_failure(self, app: Toril) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="ignore")

        await app.worker().run_until_idle()

        children = await jobs["uploading-image"].children()
        assert ran.order == ["uploading-image"]
        assert children.failures == {f"{CHECKS}:{jobs['check-term'].id}": "rude words"}
        assert children.values == {f"{CHECKS}:{jobs['check-policy'].id}": True}

    async def test_continue_runs_the_parent_although_another_child_is_pending(
        self, app: Toril
    ) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="continue", lifo=True)
        await app.queue(CHECKS).limit(concurrency=1)

        async with app.worker(CHECKS) as checks:
            checks.on("failed")(lambda job, error: checks.pause())
            await ended(jobs["check-term"])

        parent = jobs["uploading-image"]
        assert await parent.state() == State.WAITING
        await app.worker(UPLOADS).run_until_idle()
        assert ran.order == ["uploading-image"]

    async def test_remove_runs_the_parent_without_that_child(self, app: Toril) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="remove")

        await app.worker().run_until_idle()

        parent = jobs["uploading-image"]
        assert ran.order == ["uploading-image"]
        assert [child.name for child in await parent.children()] == ["check-policy"]


# S000-15  Children inside children.


class TestChildrenInsideChildren:
    def flow(self, app: Toril) -> Any:
        return app.flow(
            UPLOADS,
            "uploading-image",
            {"id": 7},
            attempts=4,
            children=[
                app.flow(
                    IMAGES,
                    "optimize-size",
                    CARD,
                    attempts=3,
                    children=[
                        (IMAGES, "decode", CARD, {"priority": 2, "attempts": 2}),
                        (IMAGES, "resize", CARD, {"delay": "20ms"}),
                    ],
                ),
                (CHECKS, "check-term", CARD),
            ],
        )

    async def test_leaves_run_before_the_middle_and_the_middle_before_the_root(
        self, app: Toril
    ) -> None:
        ran = Journal()

        async def run(job: Job[Any]) -> str:
            with ran.run(job.name):
                return f"{job.name} done"

        await self.flow(app).add()
        await app.worker([IMAGES, CHECKS, UPLOADS], run).run_until_idle(delayed=True)

        order = {name: place for place, name in enumerate(ran.order)}
        assert len(ran.order) == 5
        assert max(order["decode"], order["resize"]) < order["optimize-size"]
        assert order["optimize-size"] < order["uploading-image"] == 4

    async def test_the_root_sees_only_its_direct_childrens_values(self, app: Toril) -> None:
        async def run(job: Job[Any]) -> str:
            return f"{job.name} done"

        tree = await self.flow(app).add()
        await app.worker([IMAGES, CHECKS, UPLOADS], run).run_until_idle(delayed=True)

        values = await tree.job.children_values()
        assert sorted(values.values()) == ["check-term done", "optimize-size done"]

    async def test_each_node_has_normal_job_options(self, app: Toril) -> None:
        tree = await self.flow(app).add()

        options = {job.name: (await job.refresh()).record.options for job in tree.walk()}

        assert {name: made.attempts for name, made in options.items()} == {
            "uploading-image": 4,
            "optimize-size": 3,
            "decode": 2,
            "resize": 1,
            "check-term": 1,
        }
        assert (options["decode"].priority, options["resize"].delay_ms) == (2, 20)
        assert await tally(app.queue(IMAGES)) == {"W": 1, "D": 1, "WC": 1}


# S000-16  Removing.


@pytest.mark.parametrize("form", ["job.remove()", "queue.remove(id)"])
class TestRemoving:
    async def remove(self, app: Toril, job: Job[Any], form: str) -> None:
        if form == "job.remove()":
            await job.remove()
        else:
            await app.queue(job.queue).remove(job.id)

    async def test_the_waiting_parent_and_all_children_are_gone_from_every_queue(
        self, app: Toril, cards: Cards, form: str
    ) -> None:
        before = await rows(app)
        jobs = await cards.post()

        await self.remove(app, jobs["uploading-image"], form)

        assert await cards.tallies() == {IMAGES: {}, CHECKS: {}, UPLOADS: {}}
        assert await rows(app) == before

    async def test_one_of_three_children_the_parent_waits_for_two_and_it_has_no_value(
        self, app: Toril, cards: Cards, form: str
    ) -> None:
        jobs = await cards.post()
        parent = jobs["uploading-image"]

        await self.remove(app, jobs["optimize-size"], form)

        assert await standing(parent) == (2, 0, 0)
        await app.worker([IMAGES, CHECKS]).run_until_idle(delayed=True)
        assert await parent.state() == State.WAITING
        assert set(await parent.children_values()) == {
            f"{CHECKS}:{jobs[name].id}" for name in ("check-term", "check-policy")
        }

    async def test_the_last_open_child_the_parent_moves_to_waiting(
        self, app: Toril, cards: Cards, form: str
    ) -> None:
        jobs = await cards.post(delay="1h")
        await app.worker(CHECKS).run_until_idle()
        assert await tally(cards.uploads) == {"WC": 1}

        await self.remove(app, jobs["optimize-size"], form)

        assert await tally(cards.uploads) == {"W": 1}

    @pytest.mark.parametrize("removed", ["uploading-image", "check-term"])
    async def test_while_a_job_of_the_tree_is_active_it_is_named_and_nothing_is_removed(
        self, app: Toril, cards: Cards, form: str, removed: str
    ) -> None:
        jobs = await cards.post(delay="1h")
        await cards.checks.pause()
        async with app.worker(CHECKS):
            await cards.checks.resume()
            await stands(cards.checks, A=1, W=1)
            before = await cards.tallies()

            with pytest.raises(JobLocked, match=jobs["check-term"].id):
                await self.remove(app, jobs[removed], form)

            assert await cards.tallies() == before


async def rows(app: Toril) -> int:
    """Count the jobs that are stored, in whatever state."""
    return sum([(await app.queue(name).counts()).total for name in await app.queues()])


# S000-17  Pause and resume by API.


async def set_state(app: Toril, state: str) -> None:
    """Do what PATCH /flash-cards/queue/state does: any value but RESUME pauses."""
    queue = app.queue(IMAGES)
    await (queue.resume() if state == "RESUME" else queue.pause())


class TestPauseAndResume:
    @pytest.mark.parametrize("state", ["PAUSE", "whatever"])
    async def test_only_the_paused_queue_stands_still_and_the_parent_waits_for_it(
        self, app: Toril, other_app: Toril, cards: Cards, state: str
    ) -> None:
        await set_state(app, state)
        async with app.worker():
            jobs = await cards.post(delay="0s")  # adding still works

            await stands(cards.checks, C=2)

            assert await tally(cards.images) == {"W": 1}
            assert await tally(cards.uploads) == {"WC": 1}
            assert await app.queue(IMAGES).is_paused()
            assert await other_app.queue(IMAGES).is_paused()
            assert await jobs["optimize-size"].state() == State.WAITING

    @pytest.mark.serial
    async def test_resume_makes_the_job_active_within_100_ms(
        self, app: Toril, other_app: Toril
    ) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        await set_state(app, "PAUSE")
        await queue.add("optimize-size", CARD)
        async with app.worker(IMAGES, gated):
            await until(lambda: listening(app), True)
            await set_state(other_app, "RESUME")
            await stands(queue, A=1, within=0.1)
            valve.let(1)

    async def test_pausing_does_not_touch_an_active_job(self, app: Toril) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> str:
            await valve.wait()
            return "done"

        job = await queue.add("optimize-size", CARD)
        async with app.worker(IMAGES, gated):
            await stands(queue, A=1)
            await set_state(app, "PAUSE")
            valve.let(1)
            assert await job.result(5) == "done"

        assert await tally(queue) == {"C": 1}

    async def test_remove_of_an_active_job_raises(self, app: Toril) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        job = await queue.add("optimize-size", CARD)
        async with app.worker(IMAGES, gated):
            await stands(queue, A=1)
            with pytest.raises(JobLocked):
                await job.remove()
            valve.let(1)

    @pytest.mark.xfail(raises=AttributeError, reason="a running job cannot be cancelled yet")
    async def test_cancel_ends_an_active_job(self, app: Toril) -> None:
        queue, stopped = app.queue(IMAGES), asyncio.Event()

        async def patient(job: Job[Any]) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                stopped.set()
                raise

        job = await queue.add("optimize-size", CARD)
        async with app.worker(IMAGES, patient, grace=0):
            await stands(queue, A=1)
            await job.cancel()  # type: ignore[attr-defined]
            await asyncio.wait_for(stopped.wait(), 5)

    async def test_pause_survives_the_restart_of_every_process(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        await set_state(app, "PAUSE")
        await app.close()

        gate = tmp_path / "gate"
        gate.touch()
        async with Toril(url) as reborn, program("worker", url=url, queue=IMAGES):
            queue = reborn.queue(IMAGES)
            job = await queue.add("optimize-size", {"gate": str(gate)})
            assert await queue.is_paused()
            assert await tally(queue) == {"W": 1}
            await set_state(reborn, "RESUME")
            await job.result(5)

    async def test_a_local_pause_of_one_worker_leaves_the_other_working(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        paused, other = app.worker(IMAGES, echo), app.worker(IMAGES, echo)
        async with paused, other:
            paused.pause()
            jobs = await queue.add_many([("optimize-size", CARD)] * 10)
            await all_of(jobs)

        assert {(await job.refresh()).worker for job in jobs} == {other.id}
        assert not await queue.is_paused()


async def listening(app: Toril) -> bool:
    """Say whether a worker waits for jobs."""
    return bool(await app.workers(IMAGES))
