"""renewer and workers: locks are extended from a thread, which also announces the worker.

A renewer goes by the store's own clock, so these tests begin at the real time of day.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.kit import QUEUE, Kit, complete, ref_of
from tests.support.stores import kit_for
from toril._model.record import Claim, Ref
from toril._model.report import WorkerInfo
from toril._model.states import State
from toril._store.protocol import Renewer, Store

SHORT = 30_000
LONG = 600_000


@pytest.fixture
def kit(store: Store) -> Kit:
    kit = kit_for(store)
    kit.now = int(time.time() * 1000)
    return kit


@pytest.fixture
def renewer(store: Store) -> Iterator[Renewer]:
    renewer = store.renewer()
    yield renewer
    renewer.close()


async def renew(
    renewer: Renewer, *held: tuple[Ref, str], worker: WorkerInfo | None = None
) -> list[Ref]:
    return await asyncio.to_thread(renewer.renew, held, LONG, worker)


def lock_of(claim: Claim) -> tuple[Ref, str]:
    return ref_of(claim), claim.token


async def active(kit: Kit) -> Claim:
    await kit.add()
    return await kit.claim(lock_ms=SHORT)


async def test_a_renewed_lock_holds_longer(kit: Kit, renewer: Renewer) -> None:
    claim = await active(kit)

    assert await renew(renewer, lock_of(claim)) == []

    kit.tick(SHORT + 1)
    assert await kit.recover(QUEUE) == []
    kit.tick(LONG)
    assert await kit.recover(QUEUE) == [claim.record.id]


async def test_a_lock_under_another_token_is_lost(kit: Kit, renewer: Renewer) -> None:
    ref, _ = lock_of(await active(kit))

    assert await renew(renewer, (ref, "stale")) == [ref]


async def test_a_job_that_was_recovered_is_lost(kit: Kit, renewer: Renewer) -> None:
    claim = await active(kit)
    kit.tick(SHORT + 1)
    await kit.recover(QUEUE)

    assert await renew(renewer, lock_of(claim)) == [ref_of(claim)]


async def test_a_job_that_is_gone_is_lost(kit: Kit, renewer: Renewer) -> None:
    nowhere = Ref(QUEUE, "nowhere")

    assert await renew(renewer, (nowhere, "mine")) == [nowhere]


async def test_a_job_that_has_finished_is_lost(kit: Kit, renewer: Renewer) -> None:
    claim = await active(kit)
    await kit.settle(complete(claim))

    assert await renew(renewer, lock_of(claim)) == [ref_of(claim)]
    assert await kit.state(ref_of(claim)) == State.COMPLETED


async def test_one_lost_lock_does_not_refuse_the_others(kit: Kit, renewer: Renewer) -> None:
    kept = await active(kit)
    lost = await active(kit)

    answer = await renew(renewer, (ref_of(lost), "stale"), lock_of(kept))

    assert answer == [ref_of(lost)]
    kit.tick(SHORT + 1)
    assert await kit.recover(QUEUE) == [lost.record.id]


async def test_hundreds_of_locks_are_renewed_in_one_call(kit: Kit, renewer: Renewer) -> None:
    await kit.add_many(250)
    claims = (await kit.ask(250, lock_ms=SHORT)).jobs

    assert await renew(renewer, *map(lock_of, claims)) == []

    kit.tick(SHORT + 1)
    assert await kit.recover(QUEUE) == []


async def test_renewing_does_not_need_the_event_loop(kit: Kit, renewer: Renewer) -> None:
    claim = await active(kit)

    assert renewer.renew([lock_of(claim)], LONG) == []  # on the loop's own thread: it blocks it


async def test_renewing_says_nothing(kit: Kit, renewer: Renewer) -> None:
    claim = await active(kit)
    await kit.hush()

    await renew(renewer, lock_of(claim))

    assert await kit.hear() == []


# Workers.


def worker(kit: Kit, id: str = "w-1", *queues: str, active: int = 0) -> WorkerInfo:
    return WorkerInfo(
        id=id,
        name="mailer",
        host="box",
        pid=4711,
        queues=queues or (QUEUE,),
        concurrency=5,
        started_ms=kit.now,
        seen_ms=kit.now,
        active=active,
    )


async def test_a_store_knows_no_workers_at_first(kit: Kit) -> None:
    assert await kit.store.workers() == []


async def test_a_worker_announces_itself(kit: Kit, renewer: Renewer) -> None:
    await renew(renewer, worker=worker(kit))

    [seen] = await kit.store.workers()

    assert (seen.id, seen.name, seen.host, seen.pid) == ("w-1", "mailer", "box", 4711)
    assert (seen.queues, seen.concurrency, seen.active) == ((QUEUE,), 5, 0)
    assert seen.started_ms == kit.now
    assert seen.alive


async def test_a_worker_tells_what_it_has_in_hand(kit: Kit, renewer: Renewer) -> None:
    await renew(renewer, worker=worker(kit))
    await renew(renewer, worker=worker(kit, active=3))

    [seen] = await kit.store.workers()

    assert seen.active == 3


async def test_a_worker_tells_its_own_rate_if_it_has_one(kit: Kit, renewer: Renewer) -> None:
    await renew(renewer, worker=worker(kit, "w-1"))
    await renew(renewer, worker=replace(worker(kit, "w-2"), rate="3/1s"))

    seen = {each.id: each.rate for each in await kit.store.workers()}

    assert seen == {"w-1": None, "w-2": "3/1s"}


async def test_workers_are_listed_by_queue(kit: Kit, renewer: Renewer) -> None:
    await renew(renewer, worker=worker(kit, "w-1", "a", "b"))
    await renew(renewer, worker=worker(kit, "w-2", "b"))

    assert [seen.id for seen in await kit.store.workers("a")] == ["w-1"]
    assert sorted(seen.id for seen in await kit.store.workers("b")) == ["w-1", "w-2"]
    assert sorted(seen.id for seen in await kit.store.workers()) == ["w-1", "w-2"]
