"""The test kit: the real engine in memory, with a clock that stands still."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.testing import shop
from toril import ConfigError, JobFailed, State, Toril, events, sync
from toril.testing import Harness

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def jobs() -> Iterator[Harness]:
    shop.sent.clear()
    shop.reports.clear()
    with Harness(shop.app, now=START) as jobs:
        yield jobs


@pytest.fixture
def inline() -> Iterator[Harness]:
    shop.sent.clear()
    with Harness(shop.app, mode="inline", now=START) as jobs:
        yield jobs


# What was added.


async def test_what_was_added_can_be_asserted_and_nothing_ran(jobs: Harness) -> None:
    await shop.sign_up("ada@example.com")

    job = jobs.assert_enqueued(
        shop.welcome, data={"to": "ada@example.com"}, priority=2, delay="10m", attempts=3
    )
    jobs.assert_enqueued("welcome", queue="mail", includes={"to": "ada@example.com"}, count=1)
    jobs.assert_not_enqueued("welcome", queue="other")
    jobs.assert_not_enqueued(shop.welcome, data={"to": "bob"})
    jobs.assert_not_enqueued(shop.welcome, priority=3)
    assert await job.state() is State.DELAYED
    assert shop.sent == []


async def test_an_assertion_shows_what_was_added(jobs: Harness) -> None:
    with pytest.raises(AssertionError, match="added: nothing"):
        jobs.assert_enqueued(shop.welcome)
    await shop.sign_up("ada")
    with pytest.raises(
        AssertionError, match=r'0 jobs were added with .*\n  mail:welcome \{"to":"ada"\}'
    ):
        jobs.assert_enqueued(shop.welcome, data={"to": "bob"})
    with pytest.raises(AssertionError, match="1 job was added, not 2, with"):
        jobs.assert_enqueued(shop.welcome, count=2)
    with pytest.raises(AssertionError, match="such jobs were added"):
        jobs.assert_not_enqueued(shop.welcome)


def test_a_blocking_test_does_the_same(jobs: Harness) -> None:
    shop.sign_up_sync("ada")
    job = jobs.assert_enqueued(shop.welcome, data={"to": "ada"})
    jobs.drain_sync()

    assert shop.sent == ["ada"]
    assert sync.run(job.result()) == "sent to ada"


# Running.


async def test_drain_runs_what_is_due_and_what_that_adds(jobs: Harness) -> None:
    await shop.both.enqueue("ada")
    await jobs.drain()
    assert shop.sent == ["ada"]
    assert jobs.now == START

    await jobs.drain(delayed=True)
    assert shop.sent == ["ada", "later ada"]
    assert jobs.now == START.replace(hour=1)


async def test_retries_run_at_their_times(jobs: Harness) -> None:
    job = await shop.flaky.enqueue(2)
    await jobs.drain()
    assert await job.state() is State.DELAYED
    await jobs.advance("59m")
    assert (await job.refresh()).attempts_made == 1
    await jobs.advance("1m")
    assert (await job.refresh()).attempts_made == 2
    await jobs.advance("2h")
    assert await job.result() == 3
    assert jobs.now == START.replace(hour=3)


async def test_a_snoozed_job_and_a_passed_deadline_go_by_the_clock(jobs: Harness) -> None:
    snoozed = await shop.later.enqueue()
    late = await jobs.app.queue("unserved").add("x", expires="1h")
    await jobs.advance("23h")
    assert await snoozed.state() is State.DELAYED
    with pytest.raises(JobFailed, match="expired"):
        await late.result(timeout=1)
    await jobs.advance("1h")
    assert await snoozed.result() == "done"


@pytest.mark.timeout(60)  # long where something else keeps the machine busy
async def test_a_year_of_cron_takes_moments(jobs: Harness) -> None:
    began = time.process_time()
    await jobs.advance("365d")

    assert len(shop.reports) == 365
    assert jobs.now == datetime(2027, 1, 1, tzinfo=UTC)
    assert time.process_time() - began < 10


async def test_a_paused_queue_and_a_rate_hold_jobs_back(jobs: Harness) -> None:
    queue = jobs.app.queue("mail")
    await queue.limit(rate="1/1h")
    for name in ("a", "b"):
        await shop.welcome.enqueue(name)
    await jobs.drain()
    assert shop.sent == ["a"]
    await jobs.advance("1h")
    assert shop.sent == ["a", "b"]
    await queue.pause()
    await shop.welcome.enqueue("c")
    await jobs.advance("1d")
    assert shop.sent == ["a", "b"]


# Inline.


async def test_inline_an_add_returns_when_the_job_has_run(inline: Harness) -> None:
    job = await shop.welcome.enqueue("ada")

    assert shop.sent == ["ada"]
    assert await job.state() is State.COMPLETED
    kinds = [each.kind async for each in _past(inline.app)]
    assert kinds == ["added", "waiting", "active", "completed"]


async def _past(app: Toril) -> Any:
    async for event in app.queue("mail").events(after="0"):
        yield event
        if isinstance(event, events.Completed | events.Failed):
            return


async def test_inline_a_job_is_retried_and_its_own_jobs_run(inline: Harness) -> None:
    job = await shop.flaky.enqueue(2)
    failed = await shop.flaky.enqueue(3)
    await shop.both.enqueue("ada")

    assert await job.result() == 3
    with pytest.raises(JobFailed, match="attempt 3"):
        await failed.result()
    assert shop.sent == ["ada"]  # a delayed job waits for the clock
    await inline.advance("1h")
    assert shop.sent == ["ada", "later ada"]


def test_inline_works_for_blocking_code(inline: Harness) -> None:
    shop.sign_up_sync("ada")

    assert shop.sent == ["ada"]


async def test_inline_many_jobs_and_flows_run(inline: Harness) -> None:
    await shop.welcome.enqueue_many([("a",), ("b",)])
    tree = await inline.app.flow(
        shop.welcome.node("parent"), children=[shop.welcome.node("c")]
    ).add()

    assert shop.sent == ["a", "b", "c", "parent"]
    assert await tree.job.state() is State.COMPLETED


# Jobs made by hand.


async def test_a_handler_is_called_with_a_job_made_by_hand(jobs: Harness) -> None:
    job = await jobs.make_job(shop.later, attempt=2, headers={"tenant": "acme"})

    assert (job.attempt, job.name, job.queue, job.headers) == (
        2, "later", "mail", {"tenant": "acme"},
    )  # fmt: skip
    assert shop.later.function(job) == "done"
    await job.written()
    await job.refresh()
    assert job.last_progress == 50
    assert (await job.logs()).lines == ("half",)
    assert jobs.enqueued == []


def test_a_job_made_in_blocking_code_works_too(jobs: Harness) -> None:
    job = jobs.make_job_sync("resize", {"path": "cat.jpg"}, queue="images")

    assert (job.data, job.queue, job.attempt) == ({"path": "cat.jpg"}, "images", 1)


async def test_a_stored_job_is_in_the_state_that_the_test_needs(jobs: Harness) -> None:
    await jobs.store_job(
        "welcome-email", {"to": "ada"}, id="123", queue="emails",
        state="completed", progress=100, attempts_made=1, result={"sent": True},
    )  # fmt: skip
    failed = await jobs.store_job("x", id="f", queue="emails", state="failed", reason="no disk")
    job = await jobs.app.queue("emails").job("123")

    assert job is not None
    assert (await job.state(), job.last_progress, job.attempts_made) == ("completed", 100, 1)
    assert await job.result() == {"sent": True}
    assert (await jobs.app.queue("emails").counts()).failed == 1
    assert failed.error == "no disk"


# Isolation.


async def test_dependencies_are_overridden_for_one_test(jobs: Harness) -> None:
    mine: list[str] = []
    jobs.override(shop.mailer, lambda: mine)
    await shop.welcome.enqueue("ada")
    await jobs.drain()

    assert (mine, shop.sent) == (["ada"], [])


async def test_nothing_is_left_for_the_next_test(jobs: Harness) -> None:
    assert jobs.enqueued == []
    assert await jobs.app.queues() == []
    await shop.welcome.enqueue("ada")
    await jobs.drain()
    assert shop.sent == ["ada"]


async def test_afterwards_the_app_has_its_own_store_and_settings() -> None:
    app = Toril(":memory:")
    app.queue("mail", concurrency=2)
    before = await app.queue("mail").add("x")
    with Harness(app) as jobs:
        assert await app.queue("mail").job(before.id) is None
        assert (await app.queue("mail").settings()).concurrency == 2
        await app.queue("mail").add("y")
        assert len(jobs.enqueued) == 1
    await app.queue("mail").add("z")

    assert [job.name async for job in app.queue("mail").jobs()] == ["x", "z"]
    assert (await app.queue("mail").settings()).concurrency == 2
    await app.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [({"mode": "eager"}, "mode='eager'"), ({"now": datetime(2026, 1, 1)}, "time zone")],
)
def test_a_bad_harness_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Harness(shop.app, **given)
