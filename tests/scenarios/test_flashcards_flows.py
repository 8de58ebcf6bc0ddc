"""Flash cards: an upload waits for its children, and theirs.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import functools
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.cards import CARD, CHECKS, IMAGES, UPLOADS, Cards, echo
from tests.scenarios.helpers import (
    Journal,
    Valve,
    all_on_time,
    ended,
    on_time,
    program,
    standing,
    stands,
    tally,
    until,
)
from toril import Job, State, Toril

# S000-14  Flow: upload waits for optimise and two checks.


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
        assert (await parent.children()).blocked_by == {f"{CHECKS}:{child.id}": "rude words"}
        assert await standing(parent) == (1, 1, 0)

    async def test_wait_goes_on_when_the_failed_child_is_retried_with_success(
        self, app: Toril
    ) -> None:
        ran = Journal()
        jobs = await self.post(app, ran, parent_on_fail="wait")
        await app.worker().run_until_idle()

        parent = jobs["uploading-image"]
        await jobs["check-term"].retry()
        assert (await parent.children()).blocked_by == {}
        await app.worker(CHECKS, echo).run_until_idle()

        assert await parent.state() == State.WAITING

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
