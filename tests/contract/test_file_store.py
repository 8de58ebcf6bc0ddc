"""What only a store in a file can do: last, be shared between processes, and be private."""

import asyncio
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.support.kit import (
    KIDS,
    LOCK,
    QUEUE,
    Kit,
    blocked,
    complete,
    fail,
    granted,
    ids,
    new,
)
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._model.report import SettingsPatch
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import AddAnswer, LogLine, ScheduleDraft
from toril.errors import ConfigError, StoreRefused

LONG = 15_000

ADD_FROM_OUTSIDE = """
import asyncio, sys
from toril._model.record import NewJob
from toril._store.sqlite.store import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    await store.add([[NewJob(queue="mail", name="from outside")]])
    await store.close()

asyncio.run(main())
"""

CLAIM_AND_DIE = """
import asyncio, os, signal, sys
from toril._store.values import ClaimRequest
from toril._store.sqlite.store import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    [answer] = await store.claim([ClaimRequest(queue="mail", limit=1, token="theirs")])
    assert answer.jobs
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""

CLAIM_AND_STAY = """
import asyncio, sys
from toril._store.values import ClaimRequest
from toril._store.sqlite.store import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    await store.claim([ClaimRequest(queue="mail", limit=1, token="theirs", worker="w-1")])
    print("claimed", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def run_outside(program: str, path: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", program, str(path)], timeout=15, check=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(str(path))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(path: Path, store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    """A second store on the same file, as another process would have it."""
    other = SQLiteStore(str(path))
    await other.open()
    yield other
    await other.close()


@pytest.fixture
def kit(store: SQLiteStore) -> Kit:
    return Kit(store)


# Durable.


async def test_what_was_acknowledged_is_there_after_reopening(kit: Kit, path: Path) -> None:
    refs = await kit.add_many(3)
    await kit.store.close()

    store = SQLiteStore(str(path))
    await store.open()
    later = Kit(store)

    assert await later.claim_order() == ids(refs)
    assert [event.kind for event in await later.hear()][:2] == ["added", "waiting"]
    await store.close()


async def test_every_part_of_a_queue_lasts(kit: Kit, path: Path) -> None:
    failed = await kit.add(dedup=Dedup("gone"))
    await kit.settle(fail(await kit.claim(), "no route", stack="Traceback"))
    await kit.add(dedup=Dedup("held"), delay_ms=LOCK)
    root, _ = await kit.add_flow(new(), new(queue=KIDS))
    await kit.store.log([LogLine(queue=QUEUE, id=failed.id, text="hello")], now=kit.now)
    await kit.store.configure(QUEUE, SettingsPatch(paused=True, concurrency=3), now=kit.now)
    draft = ScheduleDraft(
        queue=QUEUE, id="s", name="s", rule=Rule(every_ms=1000), next_ms=kit.now + 1000
    )
    await kit.store.put_schedule(draft, now=kit.now)

    async def everything(store: SQLiteStore) -> list[object]:
        return [
            await store.get([failed, root]),
            await store.children(root),
            await store.logs(failed),
            await store.settings([QUEUE]),
            await store.schedules(),
            await store.counts([QUEUE, KIDS]),
            await store.events(QUEUE, None),
            await store.metrics(QUEUE, "failed"),
        ]

    assert isinstance(kit.store, SQLiteStore)
    before = await everything(kit.store)
    await kit.store.close()
    store = SQLiteStore(str(path))
    await store.open()

    assert await everything(store) == before
    await store.close()


async def test_opening_and_closing_twice_does_nothing(store: SQLiteStore) -> None:
    await store.open()
    await Kit(store).add()
    await store.close()
    await store.close()


async def test_a_claim_is_settled_by_who_opened_the_file_again(kit: Kit, path: Path) -> None:
    """The handle of a claim is the store's own; the token is what counts."""
    await kit.add()
    claim = await kit.claim()

    other = SQLiteStore(str(path))
    await other.open()
    word = await Kit(other).settle(complete(claim, handle=None))
    await other.close()

    assert word == "completed"


# Private.


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
async def test_its_files_are_for_their_owner_only(kit: Kit, path: Path) -> None:
    await kit.add()

    files = [file for file in path.parent.iterdir() if file.is_file()]

    assert path in files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


# Shared.


async def test_two_stores_on_a_file_see_the_same_jobs(kit: Kit, other: SQLiteStore) -> None:
    refs = await kit.add_many(4)
    theirs = Kit(other)

    mine, taken = await kit.ask(2), await theirs.ask(2)

    assert [claim.record.id for claim in (*mine.jobs, *taken.jobs)] == ids(refs)
    assert await theirs.counts() == {"active": 4}


async def test_a_job_is_claimed_by_one_of_them(kit: Kit, other: SQLiteStore) -> None:
    await kit.add_many(100)
    theirs = Kit(other)

    answers = await asyncio.gather(
        *[one.ask(5, token=f"{n}") for n in range(20) for one in (kit, theirs)]
    )

    claimed = [claim.record.id for answer in answers for claim in answer.jobs]
    assert len(claimed) == len(set(claimed)) == 100


async def test_a_pause_holds_for_all(kit: Kit, other: SQLiteStore) -> None:
    await kit.add()
    await Kit(other).pause()

    assert (await kit.ask()).blocked == "paused"


async def test_each_store_goes_on_from_what_the_other_wrote(kit: Kit, other: SQLiteStore) -> None:
    """A store knows its queues from one transaction to the next, unless somebody else wrote."""
    theirs = Kit(other)
    for number in range(1, 6):
        assert ids([await kit.add(), await theirs.add()]) == [str(2 * number - 1), str(2 * number)]
    await theirs.configure(concurrency=1)
    await kit.claim()
    assert (await kit.ask()).blocked == "concurrency"
    await theirs.configure(concurrency=None)
    await kit.claim()
    (counts,) = await other.counts([QUEUE])
    assert (counts.waiting, counts.active) == (8, 2)


async def test_an_add_reads_nothing_while_nobody_else_writes(
    kit: Kit, store: SQLiteStore, other: SQLiteStore
) -> None:
    await kit.add()
    ran: list[str] = []

    def note(_: object, sql: str, __: object) -> bool:
        ran.append(sql.split()[0].rstrip(";"))
        return True

    engine: Any = vars(store)["_engine"]
    engine._work.db.exec_trace = note
    await kit.add()
    assert ran == ["BEGIN", "INSERT", "INSERT", "UPDATE", "INSERT", "COMMIT"]
    await Kit(other).add()
    ran.clear()
    assert (await kit.add()).id == "4"
    assert "SELECT" in ran


async def test_a_call_that_fails_changes_nothing_that_is_known_of_its_queue(kit: Kit) -> None:
    await kit.add()
    with pytest.raises(StoreRefused):
        await kit.add(data='"\ud800"')
    assert (await kit.add()).id == "2"
    (counts,) = await kit.store.counts([QUEUE])
    assert counts.waiting == 2


async def test_no_time_is_named_for_a_delayed_job_that_is_gone(kit: Kit) -> None:
    later = await kit.add(delay_ms=LONG)
    assert (await kit.ask()).next_ms == kit.now + LONG
    await kit.remove(later)
    assert (await kit.ask()).next_ms is None
    later = await kit.add(delay_ms=LONG)
    await kit.update(later, delay_ms=2 * LONG)
    assert (await kit.ask()).next_ms == kit.now + 2 * LONG


async def test_an_add_wakes_who_waits_in_another_store(kit: Kit, other: SQLiteStore) -> None:
    waiting = asyncio.create_task(other.wait([QUEUE], timeout_ms=LONG))
    await blocked(waiting)

    await kit.add()

    async with asyncio.timeout(5):
        assert await waiting == {QUEUE}


async def test_an_event_wakes_who_reads_in_another_store(kit: Kit, other: SQLiteStore) -> None:
    last = await other.last_event(QUEUE)
    reading = asyncio.create_task(other.events(QUEUE, last, timeout_ms=LONG))
    await blocked(reading)

    await kit.add()

    async with asyncio.timeout(5):
        assert [event.kind for event in await reading] == ["added", "waiting"]


async def test_who_follows_a_queue_hears_it_begin_anew_when_the_clock_went_back(
    kit: Kit, path: Path
) -> None:
    await kit.add()
    db = apsw.Connection(str(path))
    # As it was when the host's clock was an hour ahead.
    db.execute("UPDATE queues SET events = events + 3600000000")
    db.close()
    await kit.pause()
    last = await kit.store.last_event(QUEUE)
    await kit.sweep("obliterate")

    await kit.add()

    told = [event.kind for event in await kit.store.events(QUEUE, last)]
    assert told == ["added", "waiting"]


async def test_an_add_in_another_process_wakes_who_waits(kit: Kit, path: Path) -> None:
    waiting = asyncio.create_task(kit.store.wait([QUEUE], timeout_ms=LONG))
    await blocked(waiting)

    adding = asyncio.create_task(asyncio.to_thread(run_outside, ADD_FROM_OUTSIDE, path))

    async with asyncio.timeout(15):
        assert await waiting == {QUEUE}
        assert (await adding).returncode == 0
    assert (await kit.claim()).record.name == "from outside"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
async def test_a_job_of_a_process_that_was_killed_is_taken_back_at_once(
    kit: Kit, path: Path
) -> None:
    """Its lock has most of its time left, but nobody is there to use it."""
    await kit.store.recover([QUEUE])  # as a worker does when it starts
    ref = await kit.add()
    died = await asyncio.to_thread(run_outside, CLAIM_AND_DIE, path)
    assert died.returncode == -9

    async with asyncio.timeout(5):
        while "stalled" not in await kit.kinds():
            await kit.store.events(QUEUE, await kit.store.last_event(QUEUE), timeout_ms=100)
        while not (taken := await kit.store.recover([QUEUE])):
            pass

    assert await kit.state(ref) == State.WAITING
    assert [(one.id, one.stalls) for one in taken] == [(ref.id, 1)]
    assert (await kit.record(ref)).tries[0].end == "stalled"


async def test_a_job_of_a_process_that_lives_is_left_alone(kit: Kit, other: SQLiteStore) -> None:
    await kit.add()
    await Kit(other).claim()

    assert await kit.store.recover([QUEUE], now=kit.now) == []


# A process of whose end somebody will tell.


async def die_awaited(kit: Kit, path: Path) -> tuple[Ref, int]:
    """Let a process claim a job, say that word of its end will come, and kill it."""
    await kit.store.recover([QUEUE])
    ref = await kit.add()
    program = (sys.executable, "-c", CLAIM_AND_STAY, str(path))
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"claimed\n"
    assert isinstance(kit.store, SQLiteStore)
    kit.store.await_word([process.pid])
    process.kill()
    await process.wait()
    return ref, process.pid


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
async def test_a_job_waits_a_moment_for_the_word_of_how_its_process_died(
    kit: Kit, path: Path
) -> None:
    ref, _ = await die_awaited(kit, path)
    await asyncio.sleep(0.25)  # the store has looked twice by then
    assert await kit.state(ref) == State.ACTIVE

    taken = await kit.store.recover([QUEUE], dead={"w-1": "it burst"})

    assert [one.id for one in taken] == [ref.id]
    assert (await kit.record(ref)).tries[0].reason == "it burst"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
async def test_a_job_of_which_no_word_comes_is_taken_back_without(kit: Kit, path: Path) -> None:
    ref, pid = await die_awaited(kit, path)

    async with asyncio.timeout(5):
        while await kit.state(ref) == State.ACTIVE:
            await kit.store.events(QUEUE, await kit.store.last_event(QUEUE), timeout_ms=100)
    (lost,) = (await kit.record(ref)).tries
    assert (lost.reason or "").startswith(f"worker w-1 died: its process {pid} on ")


# Adds that are to survive a power cut.


async def test_a_file_that_is_synced_takes_durable_jobs_as_any_other(kit: Kit) -> None:
    await kit.add("plain")
    for wish in ("replica", "aof"):
        await kit.add("durable", durable=wish)

    assert await kit.claim_order() == ["1", "2", "3"]
    assert "durable" not in (await kit.record(Ref(QUEUE, "2"))).opts


@pytest.mark.parametrize(("name", "level"), [("jobs.db", "normal"), (":memory:", "full")])
async def test_what_is_not_synced_refuses_durable_jobs_and_takes_their_neighbours(
    tmp_path: Path, name: str, level: str
) -> None:
    path = name if name == ":memory:" else tmp_path / name
    store = SQLiteStore(path, synchronous=level)
    await store.open()
    try:
        refused, stored = await store.add([[new("x", durable="aof")], [new("x")]])
        (counts,) = await store.counts([QUEUE])
    finally:
        await store.close()

    assert isinstance(refused, ConfigError)
    assert refused.field == "durable"
    assert granted(stored) == (AddAnswer("1"),)
    assert counts.waiting == 1
