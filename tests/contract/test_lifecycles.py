"""Whole lives of a job, as its queue's events tell them."""

from tests.support.kit import KIDS, QUEUE, SECOND, Kit, again, complete, fail, ids, new
from toril._model.states import State


async def test_a_plain_job(kit: Kit) -> None:
    await kit.add()
    await kit.run()

    assert await kit.kinds() == ["added", "waiting", "active", "completed", "drained"]


async def test_a_job_with_a_priority(kit: Kit) -> None:
    await kit.add(priority=5)
    await kit.run()

    assert await kit.kinds() == ["added", "waiting", "active", "completed", "drained"]


async def test_a_delayed_job(kit: Kit) -> None:
    await kit.add(delay_ms=SECOND)
    kit.tick(SECOND)
    await kit.run()

    assert await kit.kinds() == [
        "added",
        "delayed",
        "waiting",
        "active",
        "completed",
        "drained",
    ]


async def test_a_job_that_always_fails_with_a_backoff(kit: Kit) -> None:
    await kit.add(attempts=2)
    await kit.settle(again(await kit.claim(), SECOND))
    kit.tick(SECOND)
    await kit.run_to_failure()

    assert await kit.kinds() == [
        "added",
        "waiting",
        "active",
        "delayed",
        "waiting",
        "active",
        "failed",
        "retries-exhausted",
        "drained",
    ]


async def test_a_job_that_always_fails_without_a_backoff(kit: Kit) -> None:
    await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))
    await kit.run_to_failure()

    assert await kit.kinds() == [
        "added",
        "waiting",
        "active",
        "waiting",
        "active",
        "failed",
        "retries-exhausted",
        "drained",
    ]


async def test_the_lives_are_the_same_when_the_worker_claims_as_it_finishes(kit: Kit) -> None:
    await kit.add(attempts=2)
    done = await kit.finish(again(await kit.claim()), then=[kit.wanted()])
    (claim,) = done.claimed[0].jobs
    await kit.finish(fail(claim), then=[kit.wanted()])

    assert await kit.kinds() == [
        "added",
        "waiting",
        "active",
        "waiting",
        "active",
        "failed",
        "retries-exhausted",
        "drained",
    ]


async def test_a_job_that_stalled(kit: Kit) -> None:
    await kit.add()
    await kit.crash()
    await kit.run()

    assert await kit.kinds() == [
        "added",
        "waiting",
        "active",
        "waiting",
        "stalled",
        "active",
        "completed",
        "drained",
    ]


async def test_a_flow(kit: Kit) -> None:
    await kit.add_flow(new(), new(queue=KIDS), new(queue=KIDS))
    await kit.run(KIDS)
    await kit.run(KIDS)
    await kit.run()

    assert await kit.kinds() == [
        "added",
        "waiting-children",
        "waiting",
        "active",
        "completed",
        "drained",
    ]


async def test_a_flash_card_is_uploaded_when_its_image_is_ready(kit: Kit) -> None:
    root, optimize, term, policy = await kit.add_flow(
        new("uploading-image", queue="image:upload"),
        new("optimize-size", queue="image:optimize", delay_ms=SECOND),
        new("check-term", queue="image:check-valid"),
        new("check-policy", queue="image:check-valid"),
    )
    assert await kit.counts("image:check-valid") == {"waiting": 2}
    assert await kit.counts("image:optimize") == {"delayed": 1}
    assert await kit.counts("image:upload") == {"waiting-children": 1}

    assert [await kit.run("image:check-valid", result="true") for _ in range(2)] == [term, policy]
    kit.tick(SECOND)
    assert await kit.run("image:optimize", result='"small.jpg"') == optimize

    assert await kit.state(root) == State.WAITING
    claim = await kit.claim("image:upload")
    values = (await kit.store.children(root)).items
    assert {child.queue: child.value for child in values} == {
        "image:optimize": '"small.jpg"',
        "image:check-valid": "true",
    }
    assert len(values) == 3
    await kit.settle(complete(claim))
    assert await kit.counts("image:upload") == {"completed": 1}


async def test_two_workers_share_a_queue(kit: Kit) -> None:
    refs = await kit.add_many(5)
    one, two = await kit.ask(2, worker="one"), await kit.ask(2, worker="two")
    assert await kit.counts() == {"active": 4, "waiting": 1}

    done = await kit.finish(
        *[complete(claim) for claim in (*one.jobs, *two.jobs)], then=[kit.wanted(2)]
    )
    await kit.finish(*[complete(claim) for claim in done.claimed[0].jobs])

    assert await kit.counts() == {"completed": 5}
    told = [event for event in await kit.hear() if event.kind == "active"]
    assert [getattr(event, "job_id", "") for event in told] == ids(refs)
    assert QUEUE in await kit.store.queues()
