"""Flash cards: limiting the rate, removing, pausing and resuming.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.cards import CARD, CHECKS, IMAGES, UPLOADS, Cards, echo
from tests.scenarios.helpers import (
    Valve,
    all_of,
    on_time,
    program,
    standing,
    stands,
    story,
    tally,
    until,
)
from toril import Job, JobFailed, JobLocked, Queue, State, Toril
from toril.events import Active

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

    async def test_conflicting_settings_of_workers_make_one_warning_that_names_both(
        self, app: Toril, other_app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def announced() -> int:
            return len(await app.workers())

        async with app.worker(IMAGES, echo, rate="3/1s"):
            await until(announced, 1)
            async with other_app.worker(IMAGES, echo, rate="5/1s"):
                await until(lambda: "worker.rates_differ" in caplog.text, True)
                await asyncio.sleep(0.5)  # the other one has looked, too

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

    async def test_rate_limit_ttl_is_above_0_while_a_workers_own_limit_holds(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        async with app.worker(IMAGES, echo, concurrency=5, rate=f"2/{WINDOW}s"):
            await queue.add_many([("optimize-size", CARD)] * 3)
            await stands(queue, C=2, W=1)

            assert 0 < await queue.rate_limit_ttl() <= WINDOW


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
        async with app.worker(CHECKS, concurrency=1):
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

    async def test_cancel_is_there_for_an_active_job(self, app: Toril, other_app: Toril) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        job = await queue.add("optimize-size", CARD, attempts=3)
        async with app.worker(IMAGES, gated):
            await stands(queue, A=1)
            same = await other_app.queue(IMAGES).job(job.id)
            assert same is not None
            await same.cancel("the card was withdrawn")
            with pytest.raises(JobFailed, match="cancelled: the card was withdrawn"):
                await job.result(5)

        assert await tally(queue) == {"F": 1}

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
