"""finish: the order of what it announces, and when a queue has run dry."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kit import SECOND, Kit, again, complete, fail, new, release, snooze
from toril._model.decide import Decision
from toril._model.states import State

Decide = Callable[..., Decision]

# The order of what is announced.


async def test_completions_come_before_the_next_starts(kit: Kit) -> None:
    one, two = await kit.add_many(2)
    claim = await kit.claim()
    await kit.hush()

    await kit.finish(complete(claim), then=[kit.wanted()])

    told = [(event.kind, getattr(event, "job_id", "")) for event in await kit.hear()]
    assert told == [("completed", one.id), ("active", two.id)]


async def test_what_is_due_is_announced_between_completion_and_start(kit: Kit) -> None:
    await kit.add(delay_ms=SECOND)
    await kit.add()
    claim = await kit.claim()
    await kit.hush()
    kit.tick(SECOND)

    await kit.finish(fail(claim), then=[kit.wanted()])

    assert await kit.kinds() == ["failed", "retries-exhausted", "waiting", "active"]


async def test_a_parent_is_released_before_its_child_is_announced(kit: Kit) -> None:
    await kit.add_flow(new("parent", id="p"), new("child"))
    claim = await kit.claim()
    await kit.hush()

    await kit.settle(complete(claim))

    told = [(event.kind, getattr(event, "job_id", "")) for event in await kit.hear()]
    assert told == [("waiting", "p"), ("completed", claim.record.id)]


# Drained.


async def test_a_queue_is_drained_when_its_last_job_is_done(kit: Kit) -> None:
    await kit.make(State.COMPLETED)

    assert await kit.kinds() == ["added", "waiting", "active", "completed", "drained"]


async def test_a_queue_is_drained_once_a_call(kit: Kit) -> None:
    await kit.add_many(3)
    claims = (await kit.ask(3)).jobs
    await kit.hush()

    await kit.finish(*[complete(claim) for claim in claims])

    assert await kit.kinds() == ["completed", "completed", "completed", "drained"]


async def test_a_delayed_job_does_not_hold_it_back(kit: Kit) -> None:
    await kit.add(delay_ms=SECOND)
    await kit.add()
    await kit.run()

    assert (await kit.kinds())[-1] == "drained"


@pytest.mark.parametrize("options", [{}, {"priority": 5}])
async def test_a_queue_with_jobs_that_could_run_is_not_drained(
    kit: Kit, options: dict[str, Any]
) -> None:
    await kit.add()
    await kit.add(**options)
    await kit.run()

    assert "drained" not in await kit.kinds()


async def test_a_queue_with_an_active_job_is_not_drained(kit: Kit) -> None:
    await kit.add_many(2)
    one, _ = (await kit.ask(2)).jobs
    await kit.settle(complete(one))

    assert "drained" not in await kit.kinds()


async def test_a_claim_that_finds_nothing_does_not_hold_it_back(kit: Kit) -> None:
    await kit.add()
    await kit.finish(complete(await kit.claim()), then=[kit.wanted()])

    assert (await kit.kinds())[-1] == "drained"


@pytest.mark.parametrize("decide", [again, snooze, release])
async def test_a_job_that_is_put_back_drains_nothing(kit: Kit, decide: Decide) -> None:
    ref = await kit.make(State.ACTIVE, attempts=2)

    await kit.settle(decide(kit.held[ref]))

    assert "drained" not in await kit.kinds()


async def test_a_parent_that_becomes_ready_holds_it_back(kit: Kit) -> None:
    await kit.add_flow(new("parent"), new("child"))
    await kit.run()

    assert "drained" not in await kit.kinds()
