"""Every way to lose a child × every way to become its parent × every policy.

Whatever becomes of a child, its parent never waits for a job that is gone, or that has ended for
good: it runs, it fails, or (policy wait) it is blocked by a failed child that can still be retried.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.kit import (
    HOUR,
    SECOND,
    Kit,
    again,
    await_children,
    complete,
    fail,
    new,
    ref_of,
    snooze,
)
from tests.support.stores import SERVERS, kit_for, opened
from toril._model.decide import End
from toril._model.options import Dedup, Keep
from toril._model.record import Ref
from toril._model.report import Query
from toril._model.states import FINISHED, State

POLICIES = ("fail", "continue", "ignore", "remove", "wait")


@pytest.fixture(params=("memory", *SERVERS))
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    # The file store is the memory store on a disk; this table is about what is stored.
    store = opened(request.param, tmp_path)
    await store.open()
    yield kit_for(store)
    await store.close()


@dataclass
class Family:
    """The queues of one case, which has a store's queues to itself."""

    kit: Kit
    name: str
    policy: str
    options: dict[str, Any]
    child: Ref = field(default=Ref("", ""))

    @property
    def tops(self) -> str:
        return f"{self.name}-tops"

    @property
    def middles(self) -> str:
        return f"{self.name}-middles"

    @property
    def kids(self) -> str:
        return f"{self.name}-kids"

    def kid(self, **given: Any) -> Any:
        made = {"queue": self.kids, "parent_on_fail": self.policy} | self.options | given
        return new("kid", **made)


# How a child ends, or goes.

Fate = Callable[[Family], Awaitable[None]]
FATES: dict[str, tuple[Fate, str, dict[str, Any]]] = {}


def fate(leaves: str, **options: Any) -> Callable[[Fate], Fate]:
    """Note a fate, and what it leaves: completed, failed, failed-for-a-while or gone."""

    def note(function: Fate) -> Fate:
        FATES[function.__name__.replace("_", "-")] = (function, leaves, options)
        return function

    return note


@fate("completed")
async def completes(it: Family) -> None:
    await it.kit.run(it.kids)


@fate("completed", keep_completed=Keep(count=0))
async def completes_and_is_not_kept(it: Family) -> None:
    await it.kit.run(it.kids)


@fate("failed")
async def fails(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)


@fate("failed", attempts=2)
async def fails_at_its_last_attempt(it: Family) -> None:
    await it.kit.settle(again(await it.kit.claim(it.kids)))
    await it.kit.run_to_failure(it.kids)


@fate("failed")
async def is_cancelled_while_it_waits(it: Family) -> None:
    await it.kit.update(it.child, cancel="not needed")


@fate("failed", delay_ms=HOUR)
async def is_cancelled_while_it_is_delayed(it: Family) -> None:
    await it.kit.update(it.child, cancel="not needed")


@fate("failed")
async def is_cancelled_while_it_runs(it: Family) -> None:
    claim = await it.kit.claim(it.kids)
    await it.kit.update(it.child, cancel="not needed")
    await it.kit.settle(snooze(claim))


@fate("failed")
async def expires(it: Family) -> None:
    await it.kit.settle(fail(await it.kit.claim(it.kids), end=End.EXPIRED, exhausted=False))


@fate("failed")
async def passes_its_deadline(it: Family) -> None:
    await it.kit.settle(fail(await it.kit.claim(it.kids), end=End.DEADLINE, exhausted=False))


@fate("failed")
async def crashes_too_often(it: Family) -> None:
    await it.kit.crash(it.kids, max_stalls=0)
    claim = await it.kit.claim(it.kids)
    assert claim.record.deferred is not None
    await it.kit.settle(fail(claim, claim.record.deferred))


@fate("failed")
async def leaves_a_dead_letter(it: Family) -> None:
    await it.kit.configure(queue=it.kids, dead_letter=f"{it.name}-letters")
    await it.kit.run_to_failure(it.kids)


@fate("failed-for-a-while", keep_failed=Keep(count=0))
async def fails_and_is_not_kept(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)


@fate("failed-for-a-while")
async def fails_and_is_pushed_out_by_a_newer_one(it: Family) -> None:
    await it.kit.configure(queue=it.kids, keep_failed=Keep(count=1))
    await it.kit.run_to_failure(it.kids)
    it.kit.tick(1)
    await it.kit.add(queue=it.kids)
    await it.kit.run_to_failure(it.kids)


@fate("failed-for-a-while")
async def fails_and_is_trimmed(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)
    await it.kit.configure(queue=it.kids, keep_failed=Keep(age_ms=SECOND))
    it.kit.tick(2 * SECOND)
    await it.kit.store.trim([it.kids], now=it.kit.now)


@fate("failed-for-a-while", keep_failed=Keep(age_ms=SECOND))
async def fails_and_outlives_its_own_age(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)
    it.kit.tick(2 * SECOND)
    await it.kit.store.trim([it.kids], now=it.kit.now)


@fate("failed-for-a-while")
async def fails_and_is_removed(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)
    await it.kit.remove(it.child)


@fate("failed-for-a-while")
async def fails_and_is_cleaned(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)
    await it.kit.sweep("clean", State.FAILED, queue=it.kids)


@fate("failed-for-a-while")
async def completes_after_it_was_retried(it: Family) -> None:
    await it.kit.run_to_failure(it.kids)
    await it.kit.retry(it.child)
    await it.kit.run(it.kids)


@fate("gone")
async def is_removed(it: Family) -> None:
    await it.kit.remove(it.child)


@fate("gone")
async def is_cleaned(it: Family) -> None:
    await it.kit.sweep("clean", State.WAITING, queue=it.kids)


@fate("gone")
async def is_drained(it: Family) -> None:
    await it.kit.sweep("drain", State.WAITING, queue=it.kids)


@fate("gone")
async def goes_with_its_queue(it: Family) -> None:
    await it.kit.pause(it.kids)
    await it.kit.sweep("obliterate", queue=it.kids)


@fate("gone")
async def goes_with_its_queue_while_it_runs(it: Family) -> None:
    await it.kit.claim(it.kids)
    await it.kit.pause(it.kids)
    await it.kit.sweep("obliterate", queue=it.kids, force=True)


@fate("gone", delay_ms=HOUR, dedup=Dedup("key", replace=True))
async def is_replaced(it: Family) -> None:
    await it.kit.add(queue=it.kids, delay_ms=HOUR, dedup=Dedup("key", replace=True))


@fate("gone", delay_ms=HOUR, dedup=Dedup("key", ttl="2h", replace=True, extend=True))
async def is_replaced_and_its_time_begins_again(it: Family) -> None:
    dedup = Dedup("key", ttl="2h", replace=True, extend=True)
    jobs = [new(queue=it.kids, delay_ms=HOUR, dedup=dedup) for _ in range(3)]
    await it.kit.add_group(*jobs)


@fate("gone", delay_ms=HOUR, dedup=Dedup("key", replace=True))
async def is_replaced_by_the_child_of_another_flow(it: Family) -> None:
    dedup = Dedup("key", replace=True)
    other = new(id="other", queue=f"{it.name}-others")
    await it.kit.add_flow(other, it.kid(delay_ms=HOUR, dedup=dedup))


@fate("gone")
async def is_detached(it: Family) -> None:
    await it.kit.update(it.child, parent=None)


# How a job becomes the parent of another one.

Way = Callable[[Family], Awaitable[Ref]]


async def by_flow(it: Family) -> Ref:
    root, it.child = await it.kit.add_flow(new(queue=it.tops), it.kid())
    return root


async def from_the_running_parent(it: Family) -> Ref:
    root = await it.kit.make(State.ACTIVE, queue=it.tops)
    (added,) = await it.kit.add_group(it.kid(parent=root))
    it.child = Ref(it.kids, added.id)
    await it.kit.settle(await_children(it.kit.held[root]))
    return root


async def beside_others(it: Family) -> Ref:
    root = await it.kit.make(State.ACTIVE, queue=it.tops)
    other = new(queue=it.middles, parent=root)
    added, *_ = await it.kit.add_group(it.kid(parent=root), other, other)
    it.child = Ref(it.kids, added.id)
    await it.kit.settle(await_children(it.kit.held[root]))
    await it.kit.run(it.middles)
    await it.kit.run(it.middles)
    return root


async def by_the_id_of_a_job(it: Family) -> Ref:
    await it.kit.add_group(it.kid(id="known"))
    root, it.child = await it.kit.add_flow(new(queue=it.tops), it.kid(id="known"))
    return root


async def as_a_grandparent(it: Family) -> Ref:
    middle = new(queue=it.middles, id="mid", parent_on_fail=it.policy, expects_children=True)
    kid = it.kid(parent=Ref(it.middles, "mid"))
    top = new(queue=it.tops, id="root", expects_children=True)
    group = (top, _under(middle, Ref(it.tops, "root")), kid)
    added = await it.kit.add_group(*group)
    it.child = Ref(it.kids, added[2].id)
    return Ref(it.tops, "root")


def _under(job: Any, parent: Ref) -> Any:
    return type(job)(**{n: getattr(job, n) for n in job.__struct_fields__} | {"parent": parent})


WAYS: dict[str, Way] = {
    way.__name__.replace("_", "-"): way
    for way in (
        by_flow,
        from_the_running_parent,
        beside_others,
        by_the_id_of_a_job,
        as_a_grandparent,
    )
}


def expected(leaves: str, policy: str) -> str:
    """What becomes of the parent: it runs, it fails, or it is blocked by a child that failed."""
    failing = {"fail": "fails", "wait": "blocked" if leaves == "failed" else "runs"}
    return failing.get(policy, "runs") if leaves.startswith("failed") else "runs"


async def outcome(kit: Kit, queue: str, root: Ref) -> str:
    """Claim a parent if it may be claimed, end it, and say what became of it."""
    state = await kit.state(root)
    if state is State.WAITING_CHILDREN:
        return "blocked"
    assert state is State.WAITING, state
    claim = await kit.claim(queue)
    assert ref_of(claim) == root
    if claim.record.deferred is not None:
        await kit.settle(fail(claim, claim.record.deferred))
        return "fails"
    await kit.settle(complete(claim))
    return "runs"


async def nobody_waits_in_vain(kit: Kit) -> None:
    """Each parent that waits has a pending child, which lives or blocks it for a known reason."""
    for queue in await kit.store.queues():
        page = await kit.store.find(Query(queue=queue, states=(State.WAITING_CHILDREN,)))
        for parent in page.jobs:
            children = await kit.store.children(Ref(queue, parent.id))
            pending = [child for child in children.items if child.outcome == "pending"]
            assert pending, f"{queue}:{parent.id} waits for nothing"
            for child in pending:
                record = await kit.find(Ref(child.queue, child.id))
                assert record is not None, f"{queue}:{parent.id} waits for a job that is gone"
                if record.state in FINISHED:
                    assert record.options.parent_on_fail in ("wait", None), child
                    assert child.value == record.reason, child


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("way", WAYS)
async def test_no_parent_waits_in_vain(kit: Kit, way: str, policy: str) -> None:
    for number, (name, (happens, leaves, options)) in enumerate(FATES.items()):
        it = Family(kit, f"case{number}", policy, options)
        root = await WAYS[way](it)
        await happens(it)
        if way == "as-a-grandparent":
            middle = Ref(it.middles, "mid")
            assert await outcome(kit, it.middles, middle) == expected(leaves, policy), name
            if expected(leaves, policy) == "runs":
                leaves = "completed"
        assert await outcome(kit, it.tops, root) == expected(leaves, policy), name
    await nobody_waits_in_vain(kit)


# A child whose fate was sealed before it became one.

ENDED = [name for name, (_, leaves, _) in FATES.items() if leaves in ("completed", "failed")]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_job_that_has_ended_counts_as_if_it_ended_now(kit: Kit, policy: str) -> None:
    for number, name in enumerate(ENDED):
        happens, leaves, options = FATES[name]
        if "keep_completed" in options:
            continue
        it = Family(kit, f"case{number}", policy, options)
        await kit.add_group(it.kid(id="known"))
        it.child = Ref(it.kids, "known")
        await happens(it)

        flow, _ = await kit.add_flow(new(queue=it.tops), it.kid(id="known"))
        assert await outcome(kit, it.tops, flow) == expected(leaves, policy), name
        await kit.update(it.child, parent=None)

        adding = await kit.make(State.ACTIVE, queue=f"{it.name}-adders")
        await kit.add_group(it.kid(id="known", parent=adding))
        # Nothing is pending, unless it is blocked: the parent goes on, and is claimed no more.
        word = await kit.store.finish([await_children(kit.held[adding])], now=kit.now)
        answer = str(word.words[0])
        want = {"runs": "active", "blocked": "waiting-children"}.get(expected(leaves, policy))
        assert want is None or answer == want, (name, answer)
    await nobody_waits_in_vain(kit)
