"""Queues: adding, asking, settings, and acting on many jobs."""

import asyncio

import pytest

from toril import ConfigError, Dedup, Job, JobLocked, JobNotFound, PartlyAdded, Queue, State, Toril
from toril._store.values import AddAnswer
from toril.errors import DurabilityNotConfirmed, StoreFull


@pytest.fixture
def emails(app: Toril) -> Queue:
    return app.queue("emails")


async def ids(queue: Queue, state: str | None = None) -> list[str]:
    return [job.id async for job in queue.jobs(state)]


async def test_a_job_is_added_with_the_first_id_and_waits(emails: Queue) -> None:
    job = await emails.add("welcome", {"to": "a@b.c"})

    assert (job.id, job.name, job.data, job.created) == ("1", "welcome", {"to": "a@b.c"}, True)
    assert await job.state() is State.WAITING
    assert (await emails.counts()).waiting == 1


async def test_a_handle_says_what_the_store_says(emails: Queue) -> None:
    job = await emails.add("welcome", {"a": 1}, attempts=3, priority=2, keep_logs=5)
    fresh = await emails.job(job.id)

    assert fresh is not None
    assert fresh.record.opts == job.record.opts
    assert fresh.record.state is job.record.state
    assert abs(fresh.record.created_ms - job.record.created_ms) < 1_000


async def test_data_left_out_is_an_empty_object_and_none_is_none(emails: Queue) -> None:
    assert (await emails.add("a")).data == {}
    assert (await emails.add("a", None)).data is None


async def test_an_unnamed_job_is_called_default(emails: Queue) -> None:
    job = await emails.add({"to": "a@b.c"})

    assert (job.name, job.data) == ("default", {"to": "a@b.c"})


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("no 'priorty'; did you mean 'priority'", {"priorty": 1}),
        ("priority=-1 must be a whole number between 0 and 2097151", {"priority": -1}),
        ("priority=2097152", {"priority": 2**21}),
        (r"priority=1\.5", {"priority": 1.5}),
        ("delay='abc'", {"delay": "abc"}),
        ("delay=nan", {"delay": float("nan")}),
        ("attempts and retries", {"attempts": 2, "retries": 1}),
        ("durable='replicas' is not a policy .* did you mean 'replica'", {"durable": "replicas"}),
        ("job id '7' ", {"id": "7"}),
        ("job id 'a:b' must not contain", {"id": "a:b"}),
    ],
)
async def test_a_bad_option_is_refused_before_anything_is_stored(
    emails: Queue, message: str, options: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=message):
        await emails.add("welcome", {}, **options)  # type: ignore[arg-type]

    assert (await emails.counts()).total == 0


async def test_equal_looking_options_are_told_apart(emails: Queue) -> None:
    everything = await emails.add("a", {}, keep=True)
    one = await emails.add("a", {}, keep=1)

    assert everything.record.options.keep_completed != one.record.options.keep_completed


async def test_concurrent_adds_share_trips(app: Toril, emails: Queue) -> None:
    await emails.add("first")
    trips: list[int] = []
    store_add = app.context.store.add

    async def counted(groups, **how):  # type: ignore[no-untyped-def]
        trips.append(len(groups))
        return await store_add(groups, **how)

    app.context.store.add = counted  # type: ignore[method-assign]
    await asyncio.gather(*(emails.add("a", {"i": i}) for i in range(50)))

    assert trips == [50]


async def test_many_jobs_keep_their_order(emails: Queue) -> None:
    jobs = await emails.add_many([("bulk", {"i": i}) for i in range(600)])

    assert [job.data["i"] for job in jobs] == list(range(600))
    assert [job.id for job in jobs] == [str(i) for i in range(1, 601)]
    assert await ids(emails, "waiting") == [job.id for job in jobs]


async def test_each_of_many_jobs_may_have_options(emails: Queue) -> None:
    plain, late = await emails.add_many([("a", {}), ("b", {}, {"delay": "1h", "id": "late"})])

    assert (plain.record.state, late.record.state) == (State.WAITING, State.DELAYED)
    assert late.id == "late"


async def test_something_that_is_no_job_among_many_is_refused(emails: Queue) -> None:
    with pytest.raises(ConfigError, match="neither"):
        await emails.add_many([("a", {}), "b"])  # type: ignore[list-item]


async def test_an_error_after_some_chunks_carries_the_ids_stored(app: Toril, emails: Queue) -> None:
    await app.open()
    answers = [tuple(AddAnswer(str(i)) for i in range(250)), StoreFull("the disk is full")]

    async def half(groups, **how):  # type: ignore[no-untyped-def]
        return answers

    app.context.store.add = half  # type: ignore[method-assign]
    with pytest.raises(PartlyAdded, match="250 jobs were stored, then: the disk is full") as caught:
        await emails.add_many([("a", {})] * 500)

    assert caught.value.ids == tuple(str(i) for i in range(250))


async def test_chunks_that_nobody_confirmed_carry_all_ids_stored(app: Toril) -> None:
    await app.open()
    chunks = [[str(n) for n in range(at, at + 250)] for at in range(0, 500, 250)]
    doubt = DurabilityNotConfirmed("no replica has it", ids=tuple(chunks[1]), replicas=0)

    async def half(groups, **how):  # type: ignore[no-untyped-def]
        return [tuple(map(AddAnswer, chunks[0])), doubt]

    app.context.store.add = half  # type: ignore[method-assign]
    with pytest.raises(DurabilityNotConfirmed, match="500 jobs from '0' on") as caught:
        await app.queue("emails", durable="replica").add_many([("a", {})] * 500)

    assert caught.value.ids == tuple(chunks[0] + chunks[1])


async def test_a_chunk_that_was_refused_is_told_before_one_that_nobody_confirmed(
    app: Toril,
) -> None:
    await app.open()
    doubt = DurabilityNotConfirmed("no replica has it", ids=("1", "2"))

    async def neither(groups, **how):  # type: ignore[no-untyped-def]
        return [doubt, StoreFull("the disk is full")]

    app.context.store.add = neither  # type: ignore[method-assign]
    with pytest.raises(PartlyAdded, match="the disk is full") as caught:
        await app.queue("emails", durable="replica").add_many([("a", {})] * 500)

    assert caught.value.ids == ("1", "2")


async def test_a_custom_id_that_exists_adds_nothing_and_says_so(emails: Queue) -> None:
    first = await emails.add("a", {}, id="user-42")
    second = await emails.add("a", {}, id="user-42")

    assert (first.created, second.created) == (True, False)
    assert (await emails.counts()).waiting == 1


async def test_a_held_dedup_key_gives_the_job_that_holds_it(emails: Queue) -> None:
    first = await emails.add("a", {}, dedup="import:42")
    second = await emails.add("a", {}, dedup=Dedup("import:42"))
    holder = await emails.dedup_job("import:42")

    assert (second.id, second.created) == (first.id, False)
    assert holder is not None
    assert holder.id == first.id


async def test_a_released_dedup_key_is_free(emails: Queue) -> None:
    first = await emails.add("a", {}, dedup="k")

    assert await emails.release_dedup("k") is True
    assert await emails.release_dedup("k") is False
    assert (await emails.add("a", {}, dedup="k")).id != first.id


async def test_data_over_its_limit_is_refused(emails: Queue) -> None:
    with pytest.raises(ConfigError, match="max_size=10"):
        await emails.add("a", {"x": "y" * 100}, max_size=10)


async def test_defaults_of_app_queue_and_job_are_laid_over_each_other() -> None:
    async with Toril(":memory:", attempts=2, priority=7) as app:
        emails = app.queue("emails", attempts=3)
        plain, own = await emails.add("a"), await emails.add("a", {}, attempts=5)

        assert (plain.record.options.attempts, plain.record.options.priority) == (3, 7)
        assert own.record.options.attempts == 5
        assert own.record.options.backoff is None


async def test_settings_declared_in_code_are_stored_at_first_use(app: Toril) -> None:
    queue = app.queue("sms", rate="10/2s", concurrency=4, dead_letter="dead", keep=100)
    settings = await queue.settings()

    assert (settings.rate_max, settings.rate_ms) == (10, 2_000)
    assert (settings.concurrency, settings.dead_letter) == (4, "dead")
    assert settings.keep_completed is not None
    assert settings.keep_completed.count == 100
    assert (await queue.add("a")).record.options.keep_completed is None


async def test_a_queue_whose_name_begins_another_is_refused(app: Toril) -> None:
    app.queue("image:optimize")

    with pytest.raises(ConfigError, match="cannot both exist"):
        app.queue("image")


async def test_pause_and_resume_hold_for_everybody(app: Toril, emails: Queue) -> None:
    await emails.pause()
    assert await app.queue("emails").is_paused()

    await emails.resume()
    assert not await emails.is_paused()


async def test_limits_are_set_and_lifted_one_by_one(emails: Queue) -> None:
    await emails.limit(concurrency=2, rate="5/1s")
    settings = await emails.limit(rate=None)

    assert (settings.concurrency, settings.rate_max) == (2, None)


async def test_a_manual_limit_has_a_time_left(emails: Queue) -> None:
    assert await emails.rate_limit_ttl() == 0

    await emails.rate_limit("1m")
    assert 0 < await emails.rate_limit_ttl() <= 60

    await emails.rate_limit(0)
    assert await emails.rate_limit_ttl() == 0


async def test_jobs_are_found_by_state_name_and_number(emails: Queue) -> None:
    await emails.add_many([("a" if i % 2 else "b", {"i": i}) for i in range(250)])
    await emails.add("late", {}, delay="1h")
    named = [job.data["i"] async for job in emails.jobs("ready", name="a", limit=3)]

    assert named == [1, 3, 5]
    assert len([job async for job in emails.jobs()]) == 251
    assert [job.name async for job in emails.jobs(["delayed", State.FAILED])] == ["late"]
    assert await ids(emails, "completed") == []


async def test_an_unknown_state_is_refused_with_the_nearest(emails: Queue) -> None:
    with pytest.raises(ConfigError, match="did you mean 'completed'"):
        await ids(emails, "complete")


async def test_an_unknown_id_is_none(emails: Queue) -> None:
    assert await emails.job("404") is None


async def test_drain_takes_what_waits(emails: Queue) -> None:
    await emails.add_many([("a", {})] * 300)
    late = await emails.add("late", {}, delay="1h")

    assert await emails.drain() == 300
    assert await ids(emails) == [late.id]
    assert await emails.drain(delayed=True) == 1


async def test_clean_takes_what_is_old_enough_up_to_a_limit(emails: Queue) -> None:
    await emails.add_many([("a", {})] * 5)

    assert await emails.clean("waiting", older_than="1h") == []
    assert await emails.clean("waiting", limit=2) == ["1", "2"]
    assert len(await emails.clean("waiting")) == 3


async def test_obliterate_takes_everything(app: Toril, emails: Queue) -> None:
    await emails.add_many([("a", {})] * 600)
    await emails.obliterate()

    assert (await emails.counts()).total == 0
    assert "emails" not in await app.queues()


async def test_obliterate_is_refused_while_a_job_runs(app: Toril, emails: Queue) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @emails.handler()
    async def wait(job: Job[object]) -> None:
        started.set()
        await go.wait()

    async with app.worker("emails"):
        await emails.add("a")
        await started.wait()
        with pytest.raises(JobLocked):
            await emails.obliterate()
        go.set()


async def test_delayed_jobs_can_all_be_promoted(emails: Queue) -> None:
    await emails.add_many([("a", {}, {"delay": "1h"})] * 3)

    assert await emails.promote_all() == 3
    assert (await emails.counts()).waiting == 3


async def test_failed_jobs_can_all_be_retried(app: Toril, emails: Queue) -> None:
    broken = True

    @emails.handler("a")
    async def fragile(job: Job[object]) -> str:
        if broken:
            raise ValueError("broken")
        return "ok"

    jobs = await emails.add_many([("a", {})] * 3)
    await app.worker("emails").run_until_idle()
    assert (await emails.counts()).failed == 3

    broken = False
    assert await emails.retry_all() == 3
    await app.worker("emails").run_until_idle()
    assert [await job.result() for job in jobs] == ["ok"] * 3
    assert (await emails.metrics("completed")).total == 3


async def test_removing_by_id_and_a_job_that_is_not_there(emails: Queue) -> None:
    job = await emails.add("a")
    await emails.remove(job.id)

    with pytest.raises(JobNotFound):
        await emails.remove(job.id)


async def test_metrics_of_another_kind_are_refused(emails: Queue) -> None:
    with pytest.raises(ConfigError, match="did you mean 'completed'"):
        await emails.metrics("complete")


async def test_two_handlers_of_one_name_are_refused_naming_both(emails: Queue) -> None:
    @emails.handler("a")
    async def one(job: Job[object]) -> None: ...

    with pytest.raises(ConfigError, match=r"one and .*two"):

        @emails.handler("a")
        async def two(job: Job[object]) -> None: ...


def test_a_queue_declared_in_two_ways_is_refused() -> None:
    app = Toril(":memory:")
    app.queue("emails", attempts=3)
    app.queue("emails")
    app.queue("emails", attempts=3)

    with pytest.raises(ConfigError, match="was declared before"):
        app.queue("emails", attempts=5)
