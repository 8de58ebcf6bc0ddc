"""The law, held against a store: every verb on a job in every state.

The cases are made from `states.TABLE` and `states.REFUSED`; what stands here is only how to bring
a job into a state (`SETTINGS`) and how to apply each verb (`ACTS`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

from tests.support.kit import (
    HOUR,
    KIDS,
    LOCK,
    SECOND,
    Kit,
    again,
    await_children,
    complete,
    crash,
    fail,
    is_about,
    new,
    ref_of,
    release,
    snooze,
)
from tests.support.shipping import let_move, parcel, ship
from toril._model.decide import Decision, End
from toril._model.options import Dedup, Keep
from toril._model.record import Claim, Ref
from toril._model.report import Selected
from toril._model.states import EVERY, REFUSED, TABLE, Row, State
from toril._store.values import LogLine
from toril.errors import TorilError
from toril.events import Cleaned, Event


@dataclass
class Scene:
    """One job in a state, and what is to become of it."""

    kit: Kit
    row: Row
    before: State | None
    ref: Ref
    after: State | None = None

    @property
    def options(self) -> dict[str, Any]:
        return SETTINGS.get(named(self.row), {})

    @property
    def states(self) -> tuple[State, ...]:
        """The states that a sweep looks at: its own, and the job's where no row speaks of it."""
        spoken = {state for row in TABLE if row.verb == self.row.verb for state in row.source}
        extra = () if self.before is None or self.before in spoken else (self.before,)
        return self.row.source + extra


Act = Callable[[Scene], Awaitable[TorilError | None]]


def named(row: Row) -> str:
    return f"{row.verb} {row.case}".strip()


def legal() -> list[Any]:
    """Every row, from each of its states, into each state that it can reach."""
    return [
        pytest.param(row, before, after, id=f"{named(row)}: {before or 'new'} → {after or 'gone'}")
        for row in TABLE
        for before in row.source or (None,)
        for after in row.reaches(before) or (None,)
    ]


def refused() -> list[Any]:
    """Every row from each state that has no row, with the answer that the law gives."""
    return [
        pytest.param(row, before, answer, id=f"{named(row)}: {before} is refused, {answer}")
        for row in TABLE
        for before in EVERY
        if row.source and before not in row.source and not spoken_of(row, before)
        for answer in [REFUSED.get(named(row), REFUSED.get(row.verb))]
        if answer is not None
    ]


def spoken_of(row: Row, before: State) -> bool:
    """Say whether another row tells what the same act does to a job in this state."""
    return any(
        before in other.source
        for other in TABLE
        if other.verb == row.verb and other.case.partition("-")[0] == row.case.partition("-")[0]
    )


def untouched() -> list[Any]:
    """What a child's end says to a parent that does not wait for it."""
    return [
        pytest.param(row, before, id=f"{named(row)}: {before} stays")
        for row in TABLE
        if row.verb == "child"
        for before in EVERY
        if before not in row.source
    ]


@pytest.mark.parametrize(("row", "before", "after"), legal())
async def test_the_table_holds(
    kit: Kit, row: Row, before: State | None, after: State | None
) -> None:
    scene = Scene(kit, row, before, await arranged(kit, row, before, after), after)
    await kit.hush()

    assert await ACTS[named(row)](scene) is None

    assert await kit.state(scene.ref) == after
    assert said(await kit.hear(), scene.ref) == list(row.events)
    expected = {} if after is None else {str(after): 1}
    if named(row) == "add replace":
        expected = {"delayed": 1}  # the job that took its place
    assert await kit.counts() == expected


@pytest.mark.parametrize(("row", "before", "answer"), refused())
async def test_what_the_table_does_not_list_is_refused_and_changes_nothing(
    kit: Kit, row: Row, before: State, answer: str
) -> None:
    scene = Scene(kit, row, before, await arranged(kit, row, before, None))
    record = await kit.record(scene.ref)
    counts = await kit.counts()
    await kit.hush()

    error = await ACTS[named(row)](scene)

    assert (type(error).__name__ if error else "kept") == answer
    assert await kit.record(scene.ref) == record
    assert await kit.counts() == counts
    assert said(await kit.hear(), scene.ref) == []


@pytest.mark.parametrize(("row", "before"), untouched())
async def test_a_parent_that_does_not_wait_stays_where_it_is(
    kit: Kit, row: Row, before: State
) -> None:
    scene = Scene(kit, row, before, await with_open_child(kit, before, None, policy(row)))
    await kit.hush()

    assert await ACTS[named(row)](scene) is None

    assert await kit.state(scene.ref) == before
    assert said(await kit.hear(), scene.ref) == []


def test_every_verb_has_a_say_about_every_state() -> None:
    spoken = {(row.verb, state) for row in TABLE for state in row.source}
    silent = {
        (row.verb, str(state))
        for row in TABLE
        for state in EVERY
        if (row.verb, state) not in spoken
        and row.verb not in {"add", "child"}
        and REFUSED.get(named(row), REFUSED.get(row.verb)) is None
    }

    assert silent == set()


def test_every_row_is_tested() -> None:
    assert {named(row) for row in TABLE} == set(ACTS)


def said(events: list[Event], ref: Ref) -> list[str]:
    """The kinds of what was said about the job; a cleaning is told of the queue."""
    cleaned = [event.kind for event in events if isinstance(event, Cleaned) and event.count]
    return [event.kind for event in events if is_about(event, ref)] + cleaned


# How a job is brought into its state.

SETTINGS: dict[str, dict[str, Any]] = {
    "add duplicate": {"id": "mine"},
    "add deduplicated": {"dedup": Dedup("key", ttl="1h")},
    "add replace": {"dedup": Dedup("key", replace=True)},
    "add reschedule": {"dedup": Dedup("key", reschedule=True)},
    "finish complete-forget": {"keep_completed": Keep(count=0)},
    "finish fail-forget": {"keep_failed": Keep(count=0)},
    "finish fail-early": {"attempts": 5},
    "finish cancelled-forget": {"keep_failed": Keep(count=0)},
    "recover overdue": {"deadline_ms": 5 * SECOND},
    "recover overdue-forget": {"deadline_ms": 5 * SECOND, "keep_failed": Keep(count=0)},
    "update overdue": {"deadline_ms": 5 * SECOND},
    "update cancel-forget": {"keep_failed": Keep(count=0)},
}


async def arranged(kit: Kit, row: Row, before: State | None, after: State | None) -> Ref:
    """Bring a job into the state `before`, such that the verb may lead to `after`."""
    if before is None:
        return Ref("mail", "none yet")
    if row.verb == "child":
        return await with_open_child(kit, before, after, policy(row))
    if named(row) == "restore again":
        return await arrived(kit, before)
    options = dict(SETTINGS.get(named(row), {}))
    if before in (State.COMPLETED, State.FAILED) and named(row).endswith("-forget"):
        options = {}  # a job that is not kept cannot be in these states
    if State.PRIORITIZED in (before, after) and before is not State.WAITING:
        options["priority"] = 5
    ref = await kit.make(before, **options)
    if named(row) == "finish await-children" and before is State.ACTIVE:
        kit.child[ref] = await kit.add("child", queue=KIDS, parent=ref)
    if row.verb == "obliterate" or named(row) == "claim due":
        await kit.pause()  # so that what is due is not taken as well
    return ref


async def arrived(kit: Kit, before: State) -> Ref:
    """Let a job come from another store, in this state or on to it."""
    active = before is State.ACTIVE
    sent = parcel(State.WAITING if active else before)
    await ship(kit, sent)
    if active:
        await kit.claim()
    return sent.ref


def policy(row: Row) -> str:
    return {"failed": "fail", "continued": "continue"}.get(row.case.removesuffix("-delay"), "wait")


async def with_open_child(kit: Kit, before: State, after: State | None, word: str) -> Ref:
    """Make a parent in this state with one open child, the failure of which has this policy."""
    child = new("child", queue=KIDS, parent_on_fail=word)
    if before is State.WAITING_CHILDREN:
        options: dict[State | None, dict[str, Any]] = {
            State.PRIORITIZED: {"priority": 5},
            State.DELAYED: {"delay_ms": SECOND},
        }
        root, _ = await kit.add_flow(new("parent", **options.get(after, {})), child)
        return root
    priority = 5 if State.PRIORITIZED in (before, after) else 0
    ref = await kit.make(State.ACTIVE, priority=priority)
    await kit.add_group(structs.replace(child, parent=ref))
    await leave(kit, kit.held[ref], before)
    return ref


async def leave(kit: Kit, parent: Claim, state: State) -> None:
    """Take an active parent of one open child on to this state."""
    match state:
        case State.WAITING | State.PRIORITIZED:
            await kit.settle(release(parent))
        case State.DELAYED:
            await kit.settle(snooze(parent))
        case State.FAILED:
            await kit.settle(fail(parent))
        case State.COMPLETED:
            child = await kit.run(KIDS)
            await kit.settle(complete(parent))
            await kit.retry(child)  # and so it is open again
        case _:
            pass


# How each verb is applied. Each act gives the error that refused it, or None.


def add(**given: Any) -> Act:
    async def act(scene: Scene) -> TorilError | None:
        kit = scene.kit
        added = await kit.add(**given | scene.options)
        if scene.before is None:
            scene.ref = added
        return None

    return act


async def add_parent(scene: Scene) -> TorilError | None:
    root, _ = await scene.kit.add_flow(new("parent"), new("child", queue=KIDS))
    scene.ref = root
    return None


async def claim(scene: Scene) -> TorilError | None:
    answer = await scene.kit.ask()
    taken = [ref_of(one) for one in answer.jobs]
    assert taken == ([scene.ref] if scene.before in scene.row.source else [])
    return None


async def claim_due(scene: Scene) -> TorilError | None:
    if scene.before is State.DELAYED:
        scene.kit.tick(SECOND)
    answer = await scene.kit.ask()
    assert answer.jobs == ()
    return None


def finish(decide: Callable[..., Decision], *args: Any, **more: Any) -> Act:
    async def act(scene: Scene) -> TorilError | None:
        if scene.before is State.ACTIVE:
            decision = decide(scene.kit.held[scene.ref], *args, **more)
        else:
            record = await scene.kit.record(scene.ref)
            decision = decide(Claim(record, "nobody's", 0), *args, **more)
        [word] = (await scene.kit.finish(decision)).words
        return word if isinstance(word, TorilError) else None

    return act


async def child_completes(scene: Scene) -> TorilError | None:
    await scene.kit.run(KIDS)
    return None


async def child_fails(scene: Scene) -> TorilError | None:
    await scene.kit.run_to_failure(KIDS)
    return None


async def recover(scene: Scene) -> TorilError | None:
    scene.kit.tick(LOCK + 1)
    taken = await scene.kit.recover("mail")
    assert taken == ([scene.ref.id] if scene.before is State.ACTIVE else [])
    return None


async def retry(scene: Scene) -> TorilError | None:
    return only(await scene.kit.retry(scene.ref), scene.ref)


async def promote(scene: Scene) -> TorilError | None:
    return only(await scene.kit.promote(scene.ref), scene.ref)


def update(**patch: Any) -> Act:
    async def act(scene: Scene) -> TorilError | None:
        try:
            await scene.kit.update(scene.ref, **patch)
        except TorilError as error:
            return error
        return None

    return act


async def update_priority(scene: Scene) -> TorilError | None:
    await scene.kit.update(scene.ref, priority=0 if scene.after is State.WAITING else 7)
    return None


async def finish_cancelled(scene: Scene) -> TorilError | None:
    if scene.before is State.ACTIVE:
        await scene.kit.update(scene.ref, cancel="")
    return await finish(again, SECOND)(scene)


async def recover_overdue(scene: Scene) -> TorilError | None:
    scene.kit.tick(5 * SECOND)
    assert await scene.kit.recover("mail") == []
    return None


async def update_overdue(scene: Scene) -> TorilError | None:
    scene.kit.tick(5 * SECOND)
    await scene.kit.update(scene.ref, overdue=True)
    return None


async def log(scene: Scene) -> TorilError | None:
    [answer] = await scene.kit.store.log([LogLine(queue="mail", id=scene.ref.id, text="hello")])
    return answer if isinstance(answer, TorilError) else None


async def remove(scene: Scene) -> TorilError | None:
    return only(await scene.kit.remove(scene.ref), scene.ref)


def sweep(mode: str, **more: Any) -> Act:
    async def act(scene: Scene) -> TorilError | None:
        before_ms = scene.kit.now if mode == "clean" else None
        try:
            found = await scene.kit.sweep(mode, *scene.states, before_ms=before_ms, **more)
        except TorilError as error:
            return error
        return only(found, scene.ref)

    return act


async def restore(scene: Scene) -> TorilError | None:
    state = scene.after or State.WAITING
    sent = parcel(State.WAITING if state is State.ACTIVE else state)
    await ship(scene.kit, sent)
    scene.ref = sent.ref
    return None


async def move(scene: Scene) -> TorilError | None:
    return only(await let_move(scene.kit, scene.ref), scene.ref)


def only(selected: Selected, ref: Ref) -> TorilError | None:
    """The error of a selection that could only touch this one job."""
    assert not selected.more
    assert set(selected.refused) | set(selected.ids) <= {ref.id}
    error = selected.refused.get(ref.id)
    assert error is None or isinstance(error, TorilError)
    return error


ACTS: dict[str, Act] = {
    "add plain": add(),
    "add priority": add(priority=5),
    "add delay": add(delay_ms=SECOND),
    "add parent": add_parent,
    "add duplicate": add(),
    "add deduplicated": add(),
    "add replace": add(delay_ms=SECOND),
    "add reschedule": add(delay_ms=HOUR),
    "claim take": claim,
    "claim due": claim_due,
    "finish complete": finish(complete),
    "finish complete-forget": finish(complete),
    "finish fail": finish(fail),
    "finish fail-early": finish(fail, exhausted=False, end=End.FAILED),
    "finish fail-forget": finish(fail),
    "finish retry-now": finish(again),
    "finish retry-later": finish(again, SECOND),
    "finish snooze": finish(snooze),
    "finish unknown-name": finish(snooze, end=End.UNKNOWN, unknown=True),
    "finish release": finish(release),
    "finish crashed": finish(crash),
    "finish await-children": finish(await_children),
    "finish await-nothing": finish(await_children),
    "child last-settled": child_completes,
    "child last-settled-delay": child_completes,
    "child failed": child_fails,
    "child continued": child_fails,
    "child continued-delay": child_fails,
    "recover take-back": recover,
    "recover overdue": recover_overdue,
    "recover overdue-forget": recover_overdue,
    "retry": retry,
    "promote": promote,
    "update data": update(data='{"changed":true}'),
    "update progress": update(progress="50"),
    "update delay": update(delay_ms=HOUR),
    "update priority": update_priority,
    "update priority-later": update_priority,
    "update cancel": update(cancel="not needed any more"),
    "update cancel-asked": update(cancel="not needed any more"),
    "update cancel-forget": update(cancel="not needed any more"),
    "update overdue": update_overdue,
    "finish cancelled": finish_cancelled,
    "finish cancelled-forget": finish_cancelled,
    "log": log,
    "remove": remove,
    "drain": sweep("drain"),
    "drain delayed": sweep("drain"),
    "clean": sweep("clean"),
    "obliterate": sweep("obliterate"),
    "obliterate forced": sweep("obliterate", force=True),
    "restore plain": restore,
    "restore priority": restore,
    "restore delay": restore,
    "restore parent": restore,
    "restore finished": restore,
    "restore again": restore,
    "move": move,
}
