"""Selections of jobs, worked off in calls that stay bounded; `lua/lib/choice.lua` is the other end.

Never here: what is done to the jobs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from toril._model.bounds import JOBS_A_CALL
from toril._model.report import Selected, Selection
from toril._model.states import State
from toril._model.times import Millis

from .server import Server, places

ROLES: dict[State, tuple[str, ...]] = {
    # BullMQ 5 put the jobs of a paused queue into a list of their own.
    State.WAITING: ("wait", "paused"),
    State.PRIORITIZED: ("prioritized",),
    State.DELAYED: ("delayed",),
    State.WAITING_CHILDREN: ("waiting_children",),
    State.COMPLETED: ("completed",),
    State.FAILED: ("failed",),
}


class RefusedJobs(NamedTuple):
    """Why a job was refused: a word, and the base and id of the job that is to blame."""

    id: str
    word: str
    base: str
    who: str


class Choice(NamedTuple):
    """A script that acts on chosen jobs, and how its refusals are told."""

    script: str
    args: dict[str, Any]
    refusal: Callable[[RefusedJobs], Exception]


async def act(
    server: Server,
    selection: Selection,
    states: Sequence[State],
    choice: Choice,
    now: Millis | None,
) -> Selected:
    """Let a script act on the chosen jobs: those of its ids, or those in these states."""
    if selection.ids:
        return await _by_ids(server, selection, choice, now)
    done: list[str] = []
    before = selection.before_ms
    for role in (role for state in states for role in ROLES[state]):
        passed, ended = 0, False
        while not ended and len(done) < selection.limit:
            limit = min(selection.limit - len(done), JOBS_A_CALL)
            look: dict[str, Any] = {
                "role": role,
                "before": before,
                "limit": limit,
                "passed": passed,
            }
            ids, _, passed, ended = await server.run(
                choice.script, [selection.queue], {"job": ()}, now=now, **look, **choice.args
            )
            done += ids
    return Selected(ids=tuple(done), more=len(done) >= selection.limit)


async def _by_ids(
    server: Server, selection: Selection, choice: Choice, now: Millis | None
) -> Selected:
    ids = list(dict.fromkeys(selection.ids[: selection.limit]))
    done: list[str] = []
    refused: dict[str, Exception] = {}
    at = 0
    while at < len(ids):
        rows = [(id,) for id in ids[at : at + JOBS_A_CALL]]
        given: dict[str, Any] = {"role": None, "before": None, "limit": len(rows), "passed": 0}
        some, refusals, dealt, _ = await server.run(
            choice.script, [selection.queue], {"job": rows}, now=now, **given, **choice.args
        )
        done += some
        for refusal in refusals:
            refused[refusal[0]] = choice.refusal(RefusedJobs(*refusal))
        at += dealt
    more = len(selection.ids) > selection.limit
    return Selected(ids=tuple(done), refused=refused, more=more)


class SelectionCall(NamedTuple):
    """A part of a batch that one call can carry: its queues as rows name them, and which items."""

    places: dict[str, int]
    numbers: list[int]


def calls(server: Server, queues: Sequence[str]) -> Iterator[SelectionCall]:
    """Deal the items of a batch, known by their queues, out to calls; each reaches one node."""
    slots: dict[str, list[int]] = {}
    of = {queue: server.link.group(server.base(queue)) for queue in dict.fromkeys(queues)}
    for number, queue in enumerate(queues):
        slots.setdefault(of[queue], []).append(number)
    for numbers in slots.values():
        for start in range(0, len(numbers), JOBS_A_CALL):
            some = numbers[start : start + JOBS_A_CALL]
            yield SelectionCall(places([queues[number] for number in some]), some)
