"""Each key that a script touches holds the wrong kind of value, one at a time: no other job is lost.

A sample of them holds odd values of the right kind as well (more of them with TORIL_ROUNDS).

The calls are the cases of `tests/robustness/faults/verbs`, the keys are those that the server names while they
run. A script that changes something and that no case runs fails a test here.
"""

import asyncio
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.robustness.faults.verbs import CASES, Act, Case
from tests.support.kit import HOUR, MINUTE, QUEUE, Kit, complete, fail, new
from tests.support.servers import RedisServer, shared_server
from tests.support.shipping import let_move
from tests.support.stores import kit_for, opened
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._store.protocol import Store
from toril._store.redis.core import scripts
from toril.errors import TorilError

KIND = "redis-server"
LISTS = ("wait", "active", "paused")
SETS = ("prioritized", "delayed", "waiting-children", "completed", "failed")
OF_A_KIND = 4
ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
A_ROUND = 4
INF = float("inf")
ODD_VALUES = ("evil", "nan", "1e400", "-1", "", "1e300", "[]", "{}", "0x10", "a:b", "\x00", "meta")
ODD_FIELDS = (
    "atm", "ats", "stc", "priority", "delay", "timestamp", "processedOn", "finishedOn", "opts", "pb",
    "parent", "parentKey", "deid", "rjk", "defa", "stacktrace", "toril:at", "toril:kids",
    "toril:letter", "toril:alone", "toril:cancel", "concurrency", "max", "duration",
    "opts.maxLenEvents", "keep_completed", "keep_failed", "dead_letter", "max_waiting",
)  # fmt: skip
# What no verb of tests/robustness/faults/verbs does in one call.
MORE: dict[str, Case] = {}


def more(make: Case) -> Case:
    MORE[make.__name__] = make
    return make


@more
async def expire(kit: Kit) -> Act:
    refs = [await kit.add(deadline_ms=MINUTE), await kit.add(deadline_ms=MINUTE, delay_ms=HOUR)]
    assert len(refs) == 2
    kit.tick(2 * MINUTE)
    return lambda: kit.store.recover([QUEUE], now=kit.now)


@more
async def depart(kit: Kit) -> Act:
    refs = [await kit.add(dedup=Dedup("key")), await kit.add(delay_ms=HOUR)]
    return lambda: let_move(kit, *refs)


class Stored(NamedTuple):
    """A key as it was: its value as the server dumps it, and its time to live."""

    value: bytes
    ttl_ms: int


class Bench:
    """The keys under one prefix: set up once, damaged, used and set up again."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.prefix = prefix
        self.text = server.client()
        self.raw = server.client(decode_responses=False)
        self.stored: dict[str, Stored] = {}
        self.kinds: dict[str, str] = {}

    def keys(self) -> list[str]:
        found: list[str] = list(self.text.scan_iter(match=f"{self.prefix}:*", count=1000))
        return [key for key in found if ":toril:call:" not in key]

    def save(self) -> None:
        for key in self.keys():
            value: Any = self.raw.dump(key)
            ttl: Any = self.raw.pttl(key)
            self.stored[key] = Stored(value, max(ttl, 0))
            self.kinds[key] = self.text.type(key)

    def wipe(self) -> None:
        keys = list(self.text.scan_iter(match=f"{self.prefix}:*", count=1000))
        if keys:
            self.text.delete(*keys)

    def reset(self) -> None:
        self.wipe()
        with self.raw.pipeline(transaction=False) as pipe:
            for key, stored in self.stored.items():
                pipe.restore(key, stored.ttl_ms, stored.value)
            pipe.execute()

    def damage(self, key: str) -> None:
        """Let a key hold another kind of value than it does, or than it should."""
        self.text.delete(key)
        if self.kinds.get(key) == "string":
            self.text.rpush(key, "?")
        else:
            self.text.set(key, "?")

    def spoil(self, key: str, odd: str) -> None:
        """Let a key hold odd values of its kind."""
        match self.kinds.get(key):
            case "hash":
                fields = {*self.text.hkeys(key), *ODD_FIELDS} - {"name", "data", "paused"}
                self.text.hset(key, mapping=dict.fromkeys(fields, odd))
            case "string":
                self.text.set(key, odd)
            case "zset":
                self.text.zadd(key, {odd: 0} | dict.fromkeys(self.text.zrange(key, 0, -1), INF))
            case "list":
                self.text.rpush(key, odd)
            case "set":
                self.text.sadd(key, odd)
            case _:
                pass

    def places(self) -> dict[str, list[str]]:
        """Name every job by its key, and the keys that hold its id."""
        keys = self.keys()
        with self.text.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.type(key)
            kinds = dict(zip(keys, pipe.execute(), strict=True))
            for key in keys:
                _look(pipe, key, kinds[key])
            looked = dict(zip(keys, pipe.execute(), strict=True))
        found: dict[str, list[str]] = {key: [] for key in keys if looked[key] is True}
        for key, ids in looked.items():
            base = key.rpartition(":")[0]
            for each in ids if isinstance(ids, list) else ():
                found.get(f"{base}:{each}", []).append(key)
        return found


def _look(pipe: Any, key: str, kind: str) -> None:
    """Ask for the ids in a place, or whether a key is a job."""
    word = key.rpartition(":")[2]
    if word in LISTS and kind == "list":
        pipe.lrange(key, 0, -1)
    elif word in SETS and kind == "zset":
        pipe.zrange(key, 0, -1)
    elif kind == "hash":
        pipe.hexists(key, "timestamp")
    else:
        pipe.exists(key)


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    fresh = opened(KIND, tmp_path)
    await fresh.open()
    yield fresh
    await fresh.close()


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    bench = Bench(shared_server(KIND), store.prefix)
    yield bench
    bench.text.close()
    bench.raw.close()


async def bystanders_before(kit: Kit) -> None:
    await kit.add()
    await kit.settle(complete(await kit.claim()))
    await kit.add()
    await kit.settle(fail(await kit.claim()))
    await kit.add()
    await kit.claim()


async def bystanders_after(kit: Kit) -> None:
    await kit.store.add([[new(data=f"{n}")] for n in range(3)], now=kit.now)
    await kit.add(priority=100)
    await kit.add(delay_ms=5 * HOUR)
    root = new("root", id="standing", queue="standing", expects_children=True)
    await kit.add_group(root, new("kid", parent=Ref("standing", "standing")))


async def run(act: Act) -> None:
    try:
        async with asyncio.timeout(5):
            await act()
    except TorilError:
        pass  # to refuse is right; to lose a job is not


async def heard(bench: Bench, act: Act) -> list[dict[str, Any]]:
    """Run a call, and return the commands that the server carried out meanwhile."""
    commands: list[dict[str, Any]] = []
    with bench.text.monitor() as monitor:
        await run(act)
        bench.text.echo("over")
        while (command := monitor.next_command())["command"] != "ECHO over":
            commands.append(command)
    return commands


async def touched(bench: Bench, act: Act) -> list[str]:
    """Run a call, and name the keys that scripts touched meanwhile."""
    found: set[str] = set()
    for each in await heard(bench, act):
        if each["client_type"] == "lua":
            words = each["command"].split()[1:]
            found |= {word for word in words if word.startswith(f"{bench.prefix}:")}
    return few_of_a_kind(sorted(key for key in found if ":toril:call:" not in key))


def few_of_a_kind(keys: list[str]) -> list[str]:
    """Leave out keys of numbered jobs beyond the first of each shape."""
    shapes: dict[str, list[str]] = {}
    for key in keys:
        shapes.setdefault(re.sub(r"\d+", "N", key), []).append(key)
    return [key for group in shapes.values() for key in group[:OF_A_KIND]]


def lost(before: dict[str, list[str]], after: dict[str, list[str]], key: str) -> list[str]:
    """Name the jobs that stood somewhere else than in this key, and stand nowhere now."""
    return [
        job
        for job, places in before.items()
        if places and places != [key] and job != key and job in after and not after[job]
    ]


@pytest.mark.parametrize("name", [*CASES, *MORE])
async def test_a_key_of_the_wrong_kind_loses_no_other_job(
    store: Store, bench: Bench, name: str
) -> None:
    kit = kit_for(store)
    await bystanders_before(kit)
    act = await (CASES | MORE)[name](kit)
    await bystanders_after(kit)
    bench.save()
    before = bench.places()
    assert len(before) > 7
    keys = await touched(bench, act)
    kept = bench.places().keys()
    assert keys

    found: list[str] = []
    for key in keys:
        bench.reset()
        bench.damage(key)
        await run(act)
        after = bench.places()
        found += [f"{key}: {job}" for job in lost(before, after, key)]
        found += [f"{key}: {job} is gone" for job in before.keys() & kept - after.keys() - {key}]
    rng = random.Random(name)
    for _ in range(A_ROUND * ROUNDS):
        key, odd = rng.choice(keys), rng.choice(ODD_VALUES)
        bench.reset()
        bench.spoil(key, odd)
        spoiled = bench.places()
        await run(act)
        found += [f"{key} {odd!r}: {job}" for job in lost(spoiled, bench.places(), "")]
    assert not found, "\n".join(found)


async def test_every_script_that_changes_something_is_tried(store: Store, bench: Bench) -> None:
    changing = {scripts.load(name).sha: name for name in scripts.names() if scripts.load(name).once}
    seen: set[str] = set()
    for make in (CASES | MORE).values():
        bench.wipe()
        for each in await heard(bench, await make(kit_for(store))):
            seen.update(name for sha, name in changing.items() if sha in each["command"])

    assert set(changing.values()) - seen == set()
