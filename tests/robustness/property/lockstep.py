"""Two stores that take the same steps: each verb goes to both, and they must answer the same."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from msgspec import Struct, structs

from tests.robustness.property.model import READY
from tests.support.redis_kit import RedisKit
from toril._model.decide import Decision
from toril._model.report import Query
from toril._store.protocol import Store
from toril._store.values import Claimed
from toril.events import Event

# What each store has its own way of, or reads from its own clock.
OWN = {"handle", "limited_until", "next_ms", "now_ms"}
# By the real clock no time-out of the server ends while an example runs: only the kit ends them.
SLACK_MS = 60_000


def told(answer: Any) -> Any:
    """Return what an answer says, in a form in which those of two stores are equal."""
    if isinstance(answer, Exception):
        return type(answer).__name__
    if isinstance(answer, Struct | Event) or is_dataclass(answer):
        names = (
            [field.name for field in structs.fields(answer)]
            if isinstance(answer, Struct)
            else [field.name for field in fields(answer)]
        )
        return {name: _said(name, getattr(answer, name)) for name in names if name not in OWN}
    if isinstance(answer, list | tuple):
        return [told(each) for each in answer]
    if isinstance(answer, dict):
        return {str(key): told(each) for key, each in answer.items()}
    return answer


def _said(name: str, value: Any) -> Any:
    # As in BullMQ, the options that are stored on Redis name the id and the parent as well.
    return json.loads(value) | {"jobId": 0, "parent": 0} if name == "opts" else told(value)


def _ordered(said: Any, args: Sequence[Any]) -> Any:
    """Order by ids what has no order of its own; a listing of jobs that could be claimed has."""
    if isinstance(said, dict) and "refused" in said:  # what remove() and the like answer
        said["ids"].sort()
    if args and isinstance(args[0], Query) and args[0].states != READY:
        said["jobs"].sort(key=lambda job: job["id"])
    if isinstance(said, list) and said and isinstance(said[0], dict) and "stalls" in said[0]:
        said.sort(key=lambda job: (job["queue"], job["id"]))  # what recover() answers
    return said


def _by_job(events: Sequence[Event]) -> list[tuple[str, Any]]:
    """Return what events say, job by job: which of several relatives goes first is not promised."""
    said = [(type(each).__name__, told(each) | {"id": ""}) for each in events]
    return sorted(said, key=lambda each: each[1].get("job_id", ""))


class Lockstep:
    """A store to its user, and two stores behind it; the first answers."""

    def __init__(self, first: Store, second: Store, kit: RedisKit) -> None:
        self._first, self._second = first, second
        self._kit = kit
        self._heard: dict[str, str | None] = {}
        # By store and job: what the store wants to have back when the job ends.
        self._handles: dict[tuple[int, str, str, str], Any] = {}

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def both(*args: Any, **named: Any) -> Any:
            answer, other = [
                await getattr(store, verb)(*self._with_handles(number, args), **named)
                for number, store in enumerate((self._first, self._second))
            ]
            for number, claims in enumerate((answer, other)):
                if verb == "claim":
                    self._keep_handles(number, claims)
            assert _ordered(told(other), args) == _ordered(told(answer), args), verb
            return answer

        return both

    def _keep_handles(self, number: int, answers: Sequence[Claimed]) -> None:
        for answer in answers:
            for claim in answer.jobs:
                job = (claim.record.queue, claim.record.id, claim.token)
                self._handles[number, *job] = claim.handle

    def _with_handles(self, number: int, args: Sequence[Any]) -> Sequence[Any]:
        """Return the arguments of a verb; each decision with the handle of that store."""
        if not (
            args and isinstance(args[0], list) and args[0] and isinstance(args[0][0], Decision)
        ):
            return args
        given = [
            structs.replace(
                each, handle=self._handles.get((number, each.queue, each.id, each.token))
            )
            for each in args[0]
        ]
        return (given, *args[1:])

    async def events(self, queue: str, after: str | None, **named: Any) -> list[Event]:
        """Read what is new; each store numbers its events itself."""
        answer = await self._first.events(queue, after, **named)
        other = await self._second.events(queue, self._heard.get(queue), **named)
        if other:
            self._heard[queue] = other[-1].id
        assert _by_job(other) == _by_job(answer)
        return answer

    def wait(self, ms: int) -> None:
        """Let time pass for what the server ends by its own clock."""
        self._kit.tick(ms)
