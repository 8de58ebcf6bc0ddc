"""Rates of workers that stand against each other, or against the queue's own limit."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from toril._jobs.listeners import Listeners
from toril._model.report import SettingsPatch, WorkerInfo
from toril._store.sqlite.store import SQLiteStore
from toril._worker.hooks import Happening, RatesDiffer
from toril._worker.maintenance import RATES_S, UNANNOUNCED_S, Rates
from toril._worker.reporting import Reporter


class Noted:
    """A hook that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Happening] = []

    def __call__(self, what: Happening) -> None:
        self.all.append(what)


class Bench:
    """Workers that are announced by hand, and what each says of its rate."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store

    async def announce(self, id: str, rate: str | None, *queues: str, started: int = 1) -> None:
        info = WorkerInfo(
            id=id, name=id, host="here", pid=1, queues=queues or ("q",), concurrency=1,
            started_ms=started, seen_ms=1, rate=rate,
        )  # fmt: skip
        await asyncio.to_thread(self.store.renewer().renew, [], 30_000, info)

    def rates(self, id: str, noted: Noted) -> Rates:
        listeners = Listeners()
        listeners.on(Happening)(noted)
        return Rates(self.store, ("q",), id, Reporter(listeners))

    async def says(self, id: str) -> list[tuple[str, str, str]]:
        noted = Noted()
        await self.rates(id, noted).compare()
        found = [each for each in noted.all if isinstance(each, RatesDiffer)]
        return [(each.rate, each.other, each.of) for each in found]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    store = SQLiteStore(":memory:")
    await store.open()
    yield Bench(store)
    await store.close()


async def test_of_two_workers_whose_rates_differ_the_later_one_says_so(bench: Bench) -> None:
    await bench.announce("first", "3/1s", started=1)
    await bench.announce("second", "5/1s", started=2)

    assert await bench.says("second") == [("5/1s", "3/1s", "first")]
    assert await bench.says("first") == []


async def test_each_other_worker_is_named(bench: Bench) -> None:
    for number, rate in enumerate(["3/1s", "4/1s", "5/1s"]):
        await bench.announce(f"w{number}", rate, started=number)

    assert await bench.says("w2") == [("5/1s", "3/1s", "w0"), ("5/1s", "4/1s", "w1")]


async def test_it_is_said_once_however_often_it_is_looked_at(bench: Bench) -> None:
    await bench.announce("first", "3/1s", started=1)
    await bench.announce("second", "5/1s", started=2)
    noted = Noted()
    rates = bench.rates("second", noted)

    assert [await rates.compare(), await rates.compare()] == [RATES_S, RATES_S]
    assert len(noted.all) == 1


@pytest.mark.parametrize(
    ("rate", "queue"), [("5/1s", "q"), (None, "q"), ("3/1s", "elsewhere")], ids=str
)
async def test_nothing_differs_from_the_same_rate_from_none_or_in_another_queue(
    bench: Bench, rate: str | None, queue: str
) -> None:
    await bench.announce("first", rate, queue, started=1)
    await bench.announce("second", "5/1s", started=2)

    assert await bench.says("second") == []


async def test_a_queues_own_limit_that_differs_is_named(bench: Bench) -> None:
    await bench.store.configure("q", SettingsPatch(rate=(10, 60_000)))
    await bench.announce("only", "5/1s")

    assert await bench.says("only") == [("5/1s", "10/1m", "the queue")]


async def test_the_same_limit_of_the_queue_is_no_difference(bench: Bench) -> None:
    await bench.store.configure("q", SettingsPatch(rate=(5, 1_000)))
    await bench.announce("only", "5/1s")

    assert await bench.says("only") == []


async def test_where_the_queue_has_a_limit_the_other_workers_do_not_matter(bench: Bench) -> None:
    await bench.store.configure("q", SettingsPatch(rate=(5, 1_000)))
    await bench.announce("first", "3/1s", started=1)
    await bench.announce("second", "5/1s", started=2)

    assert await bench.says("second") == []


async def test_a_worker_that_is_not_announced_yet_looks_again_soon(bench: Bench) -> None:
    await bench.announce("first", "3/1s", started=1)
    noted = Noted()

    assert await bench.rates("second", noted).compare() == UNANNOUNCED_S
    assert noted.all == []
