"""Schedules: declared in code, stored by id, and listed."""

from datetime import UTC, datetime, timedelta

import pytest

from toril import ConfigError, State, Toril

STORES = ("memory", "redis")


def declare_report(app: Toril) -> None:
    @app.task(queue="reports")
    async def report(region: str = "all") -> str:
        return region

    app.schedule("nightly", cron="0 2 * * *", tz="Asia/Ho_Chi_Minh", task=report, args=("asia",))


async def test_a_declared_schedule_is_stored_when_a_worker_starts(app: Toril) -> None:
    declare_report(app)

    assert await app.schedules.list() == []
    async with app.worker():
        (stored,) = await app.schedules.list()

    assert (stored.id, stored.queue, stored.name) == ("nightly", "reports", "report")
    assert (stored.rule.cron, stored.rule.tz, stored.data) == (
        "0 2 * * *",
        "Asia/Ho_Chi_Minh",
        '{"region":"asia"}',
    )


async def test_only_the_queues_of_a_worker_get_their_schedules(app: Toril) -> None:
    declare_report(app)
    async with app.worker("other", lambda job: None):
        assert await app.schedules.list() == []


async def test_storing_it_again_changes_nothing(app: Toril) -> None:
    declare_report(app)
    (first,) = await app.schedules.put_declared()
    (second,) = await app.schedules.put_declared()

    assert first == second
    assert (await app.queue("reports").counts()).delayed == 1


async def test_a_stored_schedule_is_changed_by_its_id_and_dropped(app: Toril) -> None:
    await app.schedules.put("tick", every="1h", queue="clock", name="tick", data={"a": 1})
    await app.schedules.put("tick", every="2h", queue="clock", name="tock")
    stored = await app.schedules.get("clock", "tick")

    assert stored is not None
    assert (stored.name, stored.rule.every_ms, stored.data) == ("tock", 7_200_000, "{}")
    assert await app.schedules.drop("clock", "tick") is True
    assert await app.schedules.drop("clock", "tick") is False
    assert await app.schedules.get("clock", "tick") is None


async def test_its_jobs_have_the_options_of_schedule_and_queue(app: Toril) -> None:
    app.queue("clock", attempts=4)
    await app.schedules.put("tick", every="1h", queue="clock", name="tick", priority=2)
    (job,) = [job async for job in app.queue("clock").jobs()]

    assert (job.record.options.attempts, job.record.options.priority) == (4, 2)
    assert job.record.schedule == "tick"


async def test_a_task_may_run_by_itself(app: Toril) -> None:
    @app.task(queue="clock", every="1h", priority=2)
    async def tick() -> str:
        return "tock"

    async with app.worker() as worker:
        await worker.drained()
        jobs = [job async for job in app.queue("clock").jobs("completed")]
        delayed = [job async for job in app.queue("clock").jobs("delayed")]

    assert [await job.result() for job in jobs] == ["tock"]
    assert [job.record.state for job in delayed] == [State.DELAYED]


async def test_a_queue_declares_schedules_of_its_own(app: Toril) -> None:
    app.queue("clock").schedule("tick", every="1h", name="tick")
    (stored,) = await app.schedules.put_declared(["clock"])

    assert (stored.queue, stored.name) == ("clock", "tick")


def test_the_next_runs_can_be_looked_at() -> None:
    app = Toril(":memory:")
    schedule = app.schedule("daily", cron="0 0 * * *", queue="a", name="b")
    runs = schedule.preview(3)

    assert [run.hour for run in runs] == [0, 0, 0]
    assert runs[1] - runs[0] == timedelta(days=1)


async def test_a_limit_counts_the_runs_made_before(app: Toril) -> None:
    options = {"every": "1h", "queue": "clock", "name": "tick", "limit": 1}
    first = await app.schedules.put("tick", **options)  # type: ignore[arg-type]
    await app.queue("clock").promote_all()
    again = await app.schedules.put("tick", **options)  # type: ignore[arg-type]

    assert (first.count, again.count) == (1, 1)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("exactly one of cron and every", {"queue": "a", "name": "b"}),
        ("exactly one of cron and every", {"cron": "* * * * *", "every": 5}),
        ("did you mean 'cron'", {"crno": "* * * * *"}),
        ("says no job to make", {"every": 5, "queue": "a"}),
        (
            "args and a queue and a name exclude",
            {"every": 5, "queue": "a", "name": "b", "args": ()},
        ),
        ("cron='61 \\* \\* \\* \\*'", {"cron": "61 * * * *", "queue": "a", "name": "b"}),
        ("start=.* has no time zone", {"every": 5, "start": datetime(2026, 1, 1)}),
        (
            "end=.* lies before start",
            {
                "every": 5,
                "queue": "a",
                "name": "b",
                "start": datetime(2026, 1, 2, tzinfo=UTC),
                "end": datetime(2026, 1, 1, tzinfo=UTC),
            },
        ),
        ("priority=-1", {"every": 5, "queue": "a", "name": "b", "priority": -1}),
        (
            "durable='aof' is about an add",
            {"every": 5, "queue": "a", "name": "b", "durable": "aof"},
        ),
    ],
)
def test_a_schedule_that_cannot_hold_is_refused_when_declared(
    message: str, options: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=message):
        Toril(":memory:").schedule("it", **options)  # type: ignore[arg-type]


def test_an_id_declared_twice_is_refused() -> None:
    app = Toril(":memory:")
    app.schedule("it", every=5, queue="a", name="b")

    with pytest.raises(ConfigError, match="declared twice"):
        app.schedule("it", every=5, queue="a", name="c")
