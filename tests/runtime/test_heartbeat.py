"""The thread that keeps locks: one beat, what it reports, and what it sees of the loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from tests.support.workers import line_at, until
from toril._model.record import Claim, NewJob
from toril._model.report import JobPatch, WorkerInfo
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import ClaimRequest
from toril._worker import heartbeat
from toril._worker.heartbeat import Heartbeat, Held, Reports, lease_clock
from toril._worker.hooks import LoopBlocked
from toril._worker.loop_lag import LoopWatch
from toril.errors import TorilError

LOCK_MS = 30_000


@dataclass
class InHand:
    claim: Claim
    lease_until: float = 0.0
    busy_slot: int | None = None


@dataclass
class Bench:
    """A heartbeat that a test beats itself, and what it reported."""

    store: SQLiteStore
    lost: list[Held] = field(default_factory=list[Held])
    asked: list[tuple[Held, str]] = field(default_factory=list[tuple[Held, str]])
    troubles: list[TorilError] = field(default_factory=list[TorilError])
    blocked: list[LoopBlocked] = field(default_factory=list[LoopBlocked])

    def __post_init__(self) -> None:
        self.watch = LoopWatch(self.blocked.append, lambda _: "q:1 (x)", limit=0.05, max_block=0.2)
        reports = Reports(
            held=list,
            lost=self.lost.extend,
            asked=self.asked.extend,
            trouble=self.troubles.append,
            hung=lambda: None,
        )
        info = WorkerInfo(
            id="w-1", name="w", host="here", pid=1, queues=("q",), concurrency=3,
            started_ms=1, seen_ms=1,
        )  # fmt: skip
        self.heartbeat = Heartbeat(self.store.renewer, info, LOCK_MS, reports, self.watch)

    async def claim(self, lock_ms: int = LOCK_MS) -> InHand:
        await self.store.add([[NewJob(queue="q", name="x")]])
        request = ClaimRequest(queue="q", limit=1, token="t", worker="w-1", lock_ms=lock_ms)
        (claimed,) = await self.store.claim([request])
        return InHand(claimed.jobs[0])

    async def beat(self, held: Sequence[InHand]) -> None:
        await asyncio.to_thread(self.heartbeat.beat, held)
        await asyncio.sleep(0)  # what the thread reports comes with the loop's next turn

    async def ask(self, held: Sequence[InHand]) -> None:
        await asyncio.to_thread(self.heartbeat.ask, held)
        await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open()
    yield Bench(store)
    await store.close()


def in_ms(ms: int) -> int:
    return int(time.time() * 1000) + ms


async def test_a_beat_extends_lock_and_lease(bench: Bench) -> None:
    job = await bench.claim(lock_ms=1_000)

    await bench.beat([job])

    assert await bench.store.recover(["q"], now=in_ms(LOCK_MS - 5_000)) == []
    assert 25 < job.lease_until - lease_clock() <= 30
    assert bench.lost == []


async def test_a_lease_counts_from_before_the_answer(bench: Bench) -> None:
    """The lock does: how long the store took to say so is not added."""
    job = await bench.claim()
    stranger = apsw.Connection(bench.store.path)
    stranger.execute("BEGIN IMMEDIATE")
    began = lease_clock()
    beating = asyncio.create_task(bench.beat([job]))
    await asyncio.sleep(0.3)
    stranger.execute("ROLLBACK")
    stranger.close()
    await beating

    assert lease_clock() - began > 0.3
    assert job.lease_until - began <= LOCK_MS / 1000 + 0.1


async def test_a_beat_reports_a_lock_that_is_gone_and_keeps_the_others(bench: Bench) -> None:
    stolen = await bench.claim(lock_ms=1_000)
    kept = await bench.claim(lock_ms=1_000_000)
    assert len(await bench.store.recover(["q"], now=in_ms(2_000))) == 1

    await bench.beat([stolen, kept])

    assert bench.lost == [stolen]
    assert (stolen.lease_until, kept.lease_until > 0) == (0.0, True)


async def test_an_idle_beat_announces_the_worker(bench: Bench) -> None:
    await bench.beat([])

    (info,) = await bench.store.workers()
    assert (info.id, info.name, info.concurrency, info.active) == ("w-1", "w", 3, 0)


async def test_a_change_of_what_is_in_hand_is_told_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "FRESH_S", 0.0)
    held: list[Held] = []
    watch = LoopWatch(bench.blocked.append, lambda _: "", limit=0.05, max_block=60)
    reports = Reports(
        held=lambda: held, lost=bench.lost.extend, asked=bench.asked.extend,
        trouble=bench.troubles.append, hung=lambda: None,
    )  # fmt: skip
    info = WorkerInfo(
        id="w-3", name="w", host="here", pid=1, queues=("q",), concurrency=1, started_ms=1,
        seen_ms=1,
    )  # fmt: skip
    beating = Heartbeat(bench.store.renewer, info, LOCK_MS, reports, watch)
    beating.start()

    async def told() -> list[int]:
        return [each.active for each in await bench.store.workers()]

    async with asyncio.timeout(5):
        while await told() != [0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        held.append(await bench.claim())
        while await told() != [1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await beating.stop()


async def test_a_store_out_of_reach_is_reported_once_and_lapsed_leases_are_lost(
    bench: Bench,
) -> None:
    lapsed, sound = await bench.claim(), await bench.claim()
    sound.lease_until = lease_clock() + 10
    await bench.store.close()

    await bench.beat([lapsed, sound])
    await bench.beat([sound])

    assert len(bench.troubles) == 1
    assert bench.lost == [lapsed]


async def test_a_store_that_is_back_is_reached_again(bench: Bench) -> None:
    job = await bench.claim()
    await bench.beat([job])
    await bench.store.close()
    await bench.beat([job])
    await bench.store.open()
    job.lease_until = 0.0
    await bench.beat([job])

    assert job.lease_until > lease_clock()


async def test_locks_are_kept_while_the_loop_stands_still(bench: Bench) -> None:
    job = await bench.claim(lock_ms=300)
    reports = Reports(
        held=lambda: [job],
        lost=bench.lost.extend,
        asked=bench.asked.extend,
        trouble=bench.troubles.append,
        hung=lambda: None,
    )
    info = WorkerInfo(
        id="w-2", name="w", host="here", pid=1, queues=("q",), concurrency=1,
        started_ms=1, seen_ms=1,
    )  # fmt: skip
    watch = LoopWatch(bench.blocked.append, lambda _: "", limit=5, max_block=60)
    beating = Heartbeat(bench.store.renewer, info, 300, reports, watch)
    beating.start()
    time.sleep(0.9)  # noqa: ASYNC251  # that is the point

    taken_back = await bench.store.recover(["q"])
    await beating.stop()

    assert (taken_back, bench.lost, beating.alive) == ([], [], False)


async def test_the_watch_names_the_line_that_blocks(bench: Bench) -> None:
    bench.watch.tick(True)
    looking = asyncio.get_running_loop().run_in_executor(None, look_after, 0.06, bench.watch)
    time.sleep(0.4)  # noqa: ASYNC251  # the culprit
    await looking
    await asyncio.sleep(0)

    (found,) = bench.blocked
    assert line_at(found.where) == (__file__, found.source)
    assert found.source.endswith("# the culprit")
    assert found.job == "q:1 (x)"
    assert 0.3 < found.seconds < 2


def look_after(seconds: float, watch: LoopWatch) -> bool:
    time.sleep(seconds)
    return watch.tick(True)


async def test_the_watch_is_silent_while_the_loop_turns(bench: Bench) -> None:
    for _ in range(5):
        assert bench.watch.tick(True)
        await asyncio.sleep(0)

    assert bench.blocked == []


async def test_the_watch_leaves_an_idle_worker_alone(bench: Bench) -> None:
    assert bench.watch.tick(False)
    assert await asyncio.to_thread(look_after, 0.0, bench.watch)

    assert bench.blocked == []


async def test_a_loop_that_stands_still_for_too_long_is_given_up(bench: Bench) -> None:
    bench.watch.tick(True)
    looking = asyncio.get_running_loop().run_in_executor(None, look_after, 0.25, bench.watch)
    time.sleep(0.3)  # noqa: ASYNC251

    assert not await looking


async def test_an_error_of_the_store_at_the_end_does_not_kill_the_thread_loudly(
    bench: Bench,
) -> None:
    bench.heartbeat.start()
    await until(bench.store.workers)
    await bench.store.close()

    await bench.heartbeat.stop()

    assert not bench.heartbeat.alive


# Jobs that somebody wants to end.


async def test_who_is_to_end_is_reported_with_the_reason(bench: Bench) -> None:
    other, job = await bench.claim(), await bench.claim()
    await bench.store.update([JobPatch(queue="q", id="2", cancel="not needed")])
    await bench.beat([other, job])

    await bench.ask([other, job])

    assert bench.asked == [(job, "not needed")]


async def test_nothing_is_asked_before_the_first_beat(bench: Bench) -> None:
    job = await bench.claim()
    await bench.store.update([JobPatch(queue="q", id="1", cancel="")])

    await bench.ask([job])

    assert bench.asked == []


async def test_a_store_that_does_not_answer_is_asked_again(bench: Bench) -> None:
    job = await bench.claim()
    await bench.beat([job])
    await bench.store.close()

    await bench.ask([job])

    assert len(bench.troubles) == 1
