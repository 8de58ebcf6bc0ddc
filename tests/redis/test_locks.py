"""Locks and the set of BullMQ's stall check: whoever is through with a job leaves neither behind."""

from collections.abc import Callable

import pytest

from tests.redis.conftest import Wire
from tests.support.kit import LOCK, QUEUE, Kit, again, complete, fail, ref_of, release, snooze
from toril._model.decide import Decision
from toril._model.record import Claim
from toril._store.protocol import Renewer

Decide = Callable[[Claim], Decision]


def left(wire: Wire) -> set[str]:
    """Give the locks that stand, and the stall check's set where it has anybody."""
    return {name for name in wire.names() if name.endswith(":lock") or name == "stalled"}


async def suspected(kit: Kit, wire: Wire) -> Claim:
    """Claim a job that BullMQ's stall check has looked at while it ran."""
    await kit.add()
    claim = await kit.claim(worker="w-1")
    wire.client.sadd(wire.key("stalled"), claim.record.id)
    assert left(wire) == {f"{claim.record.id}:lock", "stalled"}
    return claim


@pytest.mark.parametrize("decide", [complete, fail, again, snooze, release])
async def test_a_decision_takes_the_lock_and_the_suspicion_away(
    kit: Kit, wire: Wire, decide: Decide
) -> None:
    claim = await suspected(kit, wire)

    await kit.settle(decide(claim))

    assert left(wire) == set()


async def test_a_renewal_takes_the_suspicion_away(kit: Kit, wire: Wire) -> None:
    claim = await suspected(kit, wire)
    renewer: Renewer = kit.store.renewer()
    assert renewer.renew([(ref_of(claim), claim.token)], LOCK) == []
    renewer.close()

    assert left(wire) == {f"{claim.record.id}:lock"}


async def test_a_job_of_a_dead_worker_keeps_neither(kit: Kit, wire: Wire) -> None:
    await suspected(kit, wire)

    await kit.store.recover([QUEUE], dead={"w-1": "killed by signal 9"}, now=kit.now)

    assert left(wire) == set()
