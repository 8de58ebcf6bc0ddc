"""What was acknowledged survives a power cut, at whatever moment it comes.

The store runs once, on a disk that records; then the power is cut at a hundred points of that
record. SQLite cannot share memory through a VFS written in Python, so the store uses the one
connection that it has in memory: the same transactions, the same syncs.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.chaos.powercut import Disk, recorded
from tests.support.kit import complete
from toril._model.record import NewJob, Ref
from toril._store.sqlite import engine
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import AddAnswer, ClaimRequest

pytestmark = pytest.mark.chaos

QUEUE = "power"
CUTS = int(os.environ.get("TORIL_CUTS", "100"))
# After so few pages of the log they go to the file: cuts come in the midst of that, too.
CHECKPOINT = 60
STEPS = 60


class Promise:
    """What a caller was told: from this point of the record on it must hold."""

    def __init__(self, at: int, ids: list[str], state: str | None = None) -> None:
        self.at = at
        self.ids = ids
        self.state = state


class Run:
    """A store at work on a recording disk, and what it promised to whom."""

    def __init__(self, path: Path, disk: Disk, vfs: str) -> None:
        self.path = path
        self.disk = disk
        self.promises: list[Promise] = []
        self.flows: list[list[str]] = []
        self._vfs = vfs

    def connect(self, path: str, *, synchronous: str) -> Any:
        db = apsw.Connection(str(self.path), vfs=self._vfs, statementcachesize=200)
        for name, value in {
            "locking_mode": "exclusive",
            "journal_mode": "wal",
            "synchronous": synchronous,
            "foreign_keys": True,
            "wal_autocheckpoint": CHECKPOINT,
        }.items():
            db.pragma(name, value)
        return db

    async def work(self, store: SQLiteStore, rng: random.Random) -> None:
        for step in range(STEPS):
            await asyncio.gather(*[self._add(store, rng.choice((1, 1, 5))) for _ in range(4)])
            if step % 3 == 0:
                await self._add_flow(store, f"flow-{step}")
            await self._finish(store, rng.randrange(6))

    async def _add(self, store: SQLiteStore, size: int) -> None:
        data = '{"text":"' + "x" * 100 + '"}'
        answers = await store.add([[NewJob(queue=QUEUE, name="n", data=data)]] * size)
        self._promise([added.id for answer in answers for added in _sound(answer)])

    async def _add_flow(self, store: SQLiteStore, name: str) -> None:
        parent = NewJob(queue=QUEUE, name="parent", id=name, expects_children=True)
        above = Ref(QUEUE, name)
        children = [
            NewJob(queue=QUEUE, name="child", id=f"{name}-{n}", parent=above) for n in range(3)
        ]
        ids = [name, *(child.id or "" for child in children)]
        self.flows.append(ids)
        await store.add([[parent, *children]])
        self._promise(ids)

    async def _finish(self, store: SQLiteStore, count: int) -> None:
        token = f"token-{len(self.promises)}"
        (claimed,) = await store.claim([ClaimRequest(queue=QUEUE, limit=count, token=token)])
        finished = await store.finish([complete(claim) for claim in claimed.jobs])
        assert set(finished.words) <= {"completed"}
        self._promise([claim.record.id for claim in claimed.jobs], "completed")

    def _promise(self, ids: list[str], state: str | None = None) -> None:
        self.promises.append(Promise(len(self.disk.ops), ids, state))

    def broken(self, cut: int, folder: Path) -> list[str]:
        """Give what is not as it must be after a cut."""
        db = apsw.Connection(str(folder / self.path.name))
        try:
            damage = [str(row) for row in db.execute("PRAGMA integrity_check") if row != ("ok",)]
            states: dict[str, str] = dict(db.execute("SELECT id, state FROM jobs"))
        finally:
            db.close()
        lost = [
            f"{id} is {states.get(id)}, was acknowledged as {promise.state or 'added'}"
            for promise in self.promises
            if promise.at <= cut
            for id in promise.ids
            if id not in states or (promise.state and states[id] != promise.state)
        ]
        halves = [flow for flow in self.flows if 0 < sum(id in states for id in flow) < len(flow)]
        return damage + lost + [f"only a part is there of {flow}" for flow in halves]


def _sound(answer: object) -> tuple[AddAnswer, ...]:
    assert isinstance(answer, tuple)
    return answer


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    disk = Disk()
    with recorded(disk) as vfs:
        yield Run(tmp_path / "jobs.db", disk, vfs)


async def work(run: Run, monkeypatch: pytest.MonkeyPatch, *, synchronous: str) -> None:
    """Let a store work on the recording disk."""
    monkeypatch.setattr(engine, "connect", run.connect)
    store = SQLiteStore(":memory:", synchronous=synchronous)
    await store.open()
    run.disk.begin(run.path, run.path.with_name(run.path.name + "-wal"))
    await run.work(store, random.Random(11))
    await store.close()


def cut_often(run: Run, folder: Path, rng: random.Random) -> list[str]:
    """Cut the power at random points, and give what was broken by it."""
    found: list[str] = []
    for number in range(CUTS):
        at = rng.randrange(len(run.disk.ops) + 1)
        place = folder / f"cut-{number}"
        place.mkdir()
        run.disk.cut(at, rng, place)
        found += [f"cut {number} at {at}: {what}" for what in run.broken(at, place)]
    return found


@pytest.mark.timeout(60 + CUTS // 4)
async def test_a_power_cut_takes_nothing_that_was_acknowledged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("TORIL_SEED", random.SystemRandom().randrange(10**6)))
    await work(run, monkeypatch, synchronous="full")

    broken = cut_often(run, tmp_path, random.Random(seed))

    assert broken == [], f"seed {seed}"


@pytest.mark.timeout(60 + CUTS // 4)
async def test_without_a_sync_a_power_cut_takes_the_newest_jobs_and_damages_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the cuts bite is seen where the user gave up on them: ?synchronous=normal."""
    await work(run, monkeypatch, synchronous="normal")

    broken = cut_often(run, tmp_path, random.Random(3))

    assert [what for what in broken if "was acknowledged" not in what] == []
    assert broken != []
