"""A case for everything that a verb can write: a queue in some state, and one call.

A case prepares and gives the call; what it gives back must be the same whenever it is repeated
on a fresh prefix.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.kit import (
    HOUR,
    LOCK,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    await_children,
    chosen,
    complete,
    fail,
    new,
    ref_of,
    release,
    snooze,
)
from tests.support.shipping import ORIGIN, parcel
from toril._model.options import Dedup, Keep
from toril._model.record import NewJob, Ref
from toril._model.report import JobPatch, Selection, SettingsPatch
from toril._model.schedule import Rule
from toril._model.states import EVERY, State
from toril._model.transfer import Shipment
from toril._store.values import LogLine, ScheduleDraft

Act = Callable[[], Awaitable[object]]
Case = Callable[[Kit], Awaitable[Act]]

CASES: dict[str, Case] = {}
# Reading changes nothing, and renewing has a client of its own.
READS = frozenset(
    [
        "children",
        "counts",
        "errors",
        "events",
        "find",
        "get",
        "last_event",
        "logs",
        "metrics",
        "notes",
        "pack",
        "queues",
        "schedules",
        "series",
        "settings",
        "wait",
        "workers",
    ]
)
OTHERS = frozenset(("await_word", "backup", "close", "examine", "open", "renewer"))
HOURLY = Rule(cron="0 * * * *")
FIRST = T0 + HOUR


def case(make: Case) -> Case:
    CASES[make.__name__] = make
    return make


def verb_of(name: str) -> str:
    """Name the verb of a case: what its own name begins with."""
    return next(verb for verb in VERBS if name == verb or name.startswith(f"{verb}_"))


VERBS = (
    "add", "claim", "finish", "recover", "trim", "update", "log", "retry", "promote", "remove",
    "configure", "put_schedule", "advance", "drop_schedule", "restore", "note",
)  # fmt: skip


def adding(kit: Kit, *groups: NewJob | list[NewJob]) -> Act:
    whole = [group if isinstance(group, list) else [group] for group in groups]
    return lambda: kit.store.add(whole, now=kit.now)


@case
async def add(kit: Kit) -> Act:
    return adding(kit, new(data='{"a": 1}'), new(priority=3), new(delay_ms=MINUTE))


@case
async def add_many(kit: Kit) -> Act:
    return adding(kit, [new(data=f"{n}") for n in range(100)])


@case
async def add_a_flow(kit: Kit) -> Act:
    root = new("root", id="root", queue="roots", expects_children=True)
    above = Ref("roots", "root")
    return adding(kit, [root, *(new("kid", parent=above) for _ in range(5))])


@case
async def add_an_id_that_is_taken(kit: Kit) -> Act:
    await kit.add(id="mine")
    return adding(kit, new(id="mine"), new(id="other"))


@case
async def add_a_key_that_is_held(kit: Kit) -> Act:
    await kit.add(dedup=Dedup("key"))
    return adding(kit, new(dedup=Dedup("key")), new(dedup=Dedup("free")))


@case
async def add_a_key_that_replaces(kit: Kit) -> Act:
    await kit.add(dedup=Dedup("key", replace=True), delay_ms=HOUR)
    return adding(kit, new(data="2", dedup=Dedup("key", replace=True), delay_ms=HOUR))


@case
async def add_a_key_that_is_kept_for_later(kit: Kit) -> Act:
    await kit.add(dedup=Dedup("key", keep_last=True))
    await kit.claim()
    return adding(kit, new(data="2", dedup=Dedup("key", keep_last=True)))


@case
async def claim(kit: Kit) -> Act:
    await kit.add_many(3)
    await kit.add(delay_ms=SECOND)
    await kit.add(priority=2)
    kit.tick(SECOND)
    request = kit.wanted(10)
    return lambda: kit.store.claim([request], now=kit.now)


@case
async def claim_within_limits(kit: Kit) -> Act:
    await kit.configure(rate=(2, MINUTE), concurrency=2)
    await kit.add_many(5)
    request = kit.wanted(5)
    return lambda: kit.store.claim([request], now=kit.now)


def finishing(kit: Kit, *decisions: object, more: int = 0) -> Act:
    requests = [kit.wanted(more)] if more else []
    return lambda: kit.store.finish(decisions, requests, now=kit.now)  # type: ignore[arg-type]


@case
async def finish_many_ways(kit: Kit) -> Act:
    await kit.add_many(6, attempts=3)
    ends = [complete, fail, again, snooze, release, lambda each: again(each, SECOND)]
    return finishing(kit, *[end(await kit.claim()) for end in ends], more=2)


@case
async def finish_and_claim(kit: Kit) -> Act:
    await kit.add_many(10)
    return finishing(kit, complete(await kit.claim(), '{"a":1}'), more=5)


@case
async def finish_the_last_child(kit: Kit) -> Act:
    await kit.add_flow(new("root", queue="roots"), new("kid"))
    return finishing(kit, complete(await kit.claim()))


@case
async def finish_a_child_that_fails(kit: Kit) -> Act:
    await kit.add_flow(new("root", queue="roots"), new("kid", parent_on_fail="fail"), new("kid"))
    return finishing(kit, fail(await kit.claim()))


@case
async def finish_awaiting_children(kit: Kit) -> Act:
    await kit.add("root")
    claimed = await kit.claim()
    await kit.add("kid", queue="kids", parent=ref_of(claimed))
    return finishing(kit, await_children(claimed))


@case
async def finish_with_a_letter(kit: Kit) -> Act:
    await kit.configure(dead_letter="dead")
    await kit.add()
    return finishing(kit, fail(await kit.claim()))


@case
async def finish_for_a_kept_duplicate(kit: Kit) -> Act:
    await kit.add(dedup=Dedup("key", keep_last=True))
    claimed = await kit.claim()
    await kit.add(data="2", dedup=Dedup("key", keep_last=True))
    return finishing(kit, complete(claimed))


@case
async def finish_and_forget(kit: Kit) -> Act:
    await kit.add_many(3, keep_completed=Keep(count=0))
    return finishing(kit, *[complete(await kit.claim()) for _ in range(3)])


@case
async def recover(kit: Kit) -> Act:
    await kit.add_many(3)
    for _ in range(3):
        await kit.claim(lock_ms=1)
    kit.tick(LOCK)
    # The server's own clock ends these locks.
    await asyncio.sleep(0.02)
    return lambda: kit.store.recover([QUEUE], now=kit.now)


@case
async def trim(kit: Kit) -> Act:
    await kit.configure(keep_completed=Keep(count=100))
    await kit.add_many(5)
    for _ in range(5):
        await kit.run()
    await kit.configure(keep_completed=Keep(count=2))
    return lambda: kit.store.trim([QUEUE], now=kit.now)


@case
async def update(kit: Kit) -> Act:
    waiting = await kit.add()
    delayed = await kit.add(delay_ms=HOUR)
    changes = [
        JobPatch(queue=QUEUE, id=waiting.id, data='{"b":2}', progress="50"),
        JobPatch(queue=QUEUE, id=waiting.id, priority=7),
        JobPatch(queue=QUEUE, id=delayed.id, delay_ms=MINUTE),
    ]
    return lambda: kit.store.update(changes, now=kit.now)


@case
async def update_a_child_that_leaves(kit: Kit) -> Act:
    _, child = await kit.add_flow(new("root", queue="roots"), new("kid"))
    changes = [JobPatch(queue=child.queue, id=child.id, parent=None)]
    return lambda: kit.store.update(changes, now=kit.now)


@case
async def update_that_cancels(kit: Kit) -> Act:
    _, child = await kit.add_flow(
        new("root", queue="roots"), new("kid", parent_on_fail="fail", dedup=Dedup("key"))
    )
    active = await kit.make(State.ACTIVE, queue="busy")
    changes = [JobPatch(queue=ref.queue, id=ref.id, cancel="why") for ref in (child, active)]
    return lambda: kit.store.update(changes, now=kit.now)


@case
async def finish_one_that_is_to_end(kit: Kit) -> Act:
    ref = await kit.make(State.ACTIVE)
    await kit.update(ref, cancel="why")
    return lambda: kit.finish(again(kit.held[ref], HOUR))


@case
async def log(kit: Kit) -> Act:
    job = await kit.add()
    lines = [LogLine(queue=QUEUE, id=job.id, text=f"line {n}", keep=3) for n in range(5)]
    return lambda: kit.store.log(lines, now=kit.now)


@case
async def retry(kit: Kit) -> Act:
    failed = [await kit.make(State.FAILED) for _ in range(3)]
    return lambda: kit.store.retry(chosen(*failed), now=kit.now)


@case
async def promote(kit: Kit) -> Act:
    delayed = [await kit.add(delay_ms=HOUR) for _ in range(3)]
    return lambda: kit.store.promote(chosen(*delayed), now=kit.now)


@case
async def remove(kit: Kit) -> Act:
    # One child: of several, the first to go is any of them.
    jobs = await kit.add_flow(new("root", queue="roots"), new("kid"))
    return lambda: kit.store.remove(chosen(jobs[0]), now=kit.now)


@case
async def remove_all_that_wait(kit: Kit) -> Act:
    await kit.add_many(5)
    selection = Selection(queue=QUEUE, states=(State.WAITING,), mode="drain")
    return lambda: kit.store.remove(selection, now=kit.now)


@case
async def remove_what_is_old(kit: Kit) -> Act:
    for _ in range(3):
        await kit.make(State.COMPLETED)
    selection = Selection(queue=QUEUE, states=(State.COMPLETED,), mode="clean", before_ms=kit.now)
    return lambda: kit.store.remove(selection, now=kit.now)


@case
async def remove_everything(kit: Kit) -> Act:
    await kit.add_many(3)
    await kit.pause()
    selection = Selection(queue=QUEUE, states=EVERY, mode="obliterate")
    return lambda: kit.store.remove(selection, now=kit.now)


@case
async def configure(kit: Kit) -> Act:
    await kit.add()
    patch = SettingsPatch(paused=True, concurrency=3, rate=(5, MINUTE), keep_failed=Keep(count=7))
    return lambda: kit.store.configure(QUEUE, patch, now=kit.now)


def draft(next_ms: int) -> ScheduleDraft:
    return ScheduleDraft(queue=QUEUE, id="hourly", name="report", rule=HOURLY, next_ms=next_ms)


@case
async def put_schedule(kit: Kit) -> Act:
    return lambda: kit.store.put_schedule(draft(FIRST), now=kit.now)


@case
async def put_schedule_anew(kit: Kit) -> Act:
    await kit.store.put_schedule(draft(FIRST), now=kit.now)
    changed = ScheduleDraft(
        queue=QUEUE, id="hourly", name="other", rule=Rule(every_ms=MINUTE), next_ms=T0 + MINUTE
    )
    return lambda: kit.store.put_schedule(changed, now=kit.now)


@case
async def advance(kit: Kit) -> Act:
    await kit.store.put_schedule(draft(FIRST), now=kit.now)
    kit.now = FIRST
    run = ref_of(await kit.claim())
    return lambda: kit.store.advance(run, "hourly", FIRST + HOUR, now=kit.now)


@case
async def drop_schedule(kit: Kit) -> Act:
    await kit.store.put_schedule(draft(FIRST), now=kit.now)
    return lambda: kit.store.drop_schedule(QUEUE, "hourly", now=kit.now)


@case
async def restore(kit: Kit) -> Act:
    await kit.add()
    states = (State.WAITING, State.PRIORITIZED, State.DELAYED, State.COMPLETED, State.FAILED)
    jobs = tuple(parcel(state, id=f"moved-{state}") for state in states)
    sent = Shipment(queue=QUEUE, origin=ORIGIN, number=1, jobs=jobs, last_id=70)
    return lambda: kit.store.restore(sent, now=kit.now)


@case
async def note(kit: Kit) -> Act:
    return lambda: kit.store.note("audit", '{"action":"retry"}', now=kit.now)


@case
async def note_under_an_id(kit: Kit) -> Act:
    await kit.store.note("operations", '{"done":1}', id="nightly", now=kit.now)
    return lambda: kit.store.note("operations", '{"done":2}', id="nightly", now=kit.now)


@case
async def note_instead_of_another(kit: Kit) -> Act:
    await kit.store.note("alerts", '{"n":1}', id="a", now=kit.now)
    return lambda: kit.store.note("alerts", '{"n":2}', id="a", instead_of='{"n":1}', now=kit.now)
