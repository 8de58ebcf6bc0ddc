"""What a worker does for the jobs in its children: the verbs that their handles need.

Writes go through the same batchers as those of jobs on the loop, so children share trips. Never
here: pipes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from toril._jobs.job import Job
from toril._jobs.session import Session
from toril._model.record import Ref
from toril._model.report import JobPatch, Selected, Selection
from toril._store.values import LogLine
from toril.errors import TaskError

from .pipe import Picked
from .protocol import Ask, ChildFault, Reply, fault_of, raw

T = TypeVar("T")


class _Page(msgspec.Struct, frozen=True):
    ref: Ref
    page: dict[str, Any]


class Answers:
    """Carry out what children ask for."""

    def __init__(self, context: Session) -> None:
        self._context = context
        self._verbs: dict[str, Callable[[Job[Any], msgspec.Raw], Awaitable[object]]] = {
            "get": self._get,
            "update": self._update,
            "log": self._log,
            "logs": self._logs,
            "children": self._children,
            "retry": lambda _, given: self._select(context.store.retry, given),
            "promote": lambda _, given: self._select(context.store.promote, given),
            "remove": lambda _, given: self._select(context.store.remove, given),
        }

    async def reply(self, ask: Ask, job: Job[Any]) -> Reply:
        """Do what was asked for a job; whatever becomes of it, the child gets an answer."""
        try:
            verb = self._verbs.get(ask.verb)
            if verb is None:
                raise TaskError(f"the worker knows no {ask.verb!r}")
            return Reply(number=ask.number, value=raw(await verb(job, ask.value)))
        except (Exception, asyncio.CancelledError) as error:
            # A child that gets no answer waits for ever.
            return Reply(number=ask.number, fault=fault_of(error))

    async def _get(self, _: Job[Any], given: msgspec.Raw) -> object:
        return await self._context.store.get(_read(given, list[Ref]))

    async def _update(self, job: Job[Any], given: msgspec.Raw) -> list[ChildFault | None]:
        patches = [JobPatch(**each) for each in _read(given, list[dict[str, Any]])]
        done = await asyncio.gather(
            *(self._patch(job, patch) for patch in patches), return_exceptions=True
        )
        return [None if each is None else fault_of(each) for each in done]

    async def _patch(self, job: Job[Any], patch: JobPatch) -> None:
        if isinstance(patch.progress, str) and Ref(patch.queue, patch.id) == job.ref:
            # Through the job, whose progress the worker's listeners hear of.
            await job.progress(msgspec.json.decode(patch.progress))
            return
        if isinstance(patch.data, str):
            self._context.limits.check(patch.data, patch.queue, f"data of job {patch.id!r}")
        await self._context.patches.put(patch)
        if isinstance(patch.data, str) and Ref(patch.queue, patch.id) == job.ref:
            job.take(msgspec.structs.replace(job.record, data=patch.data))

    async def _log(self, _: Job[Any], given: msgspec.Raw) -> list[int | ChildFault]:
        lines = _read(given, list[LogLine])
        done = await asyncio.gather(
            *(self._context.lines.put(line) for line in lines), return_exceptions=True
        )
        return [fault_of(each) if isinstance(each, BaseException) else each for each in done]

    async def _logs(self, _: Job[Any], given: msgspec.Raw) -> object:
        asked = _read(given, _Page)
        return await self._context.store.logs(asked.ref, **asked.page)

    async def _children(self, _: Job[Any], given: msgspec.Raw) -> object:
        asked = _read(given, _Page)
        return await self._context.store.children(asked.ref, **asked.page)

    async def _select(
        self, verb: Callable[[Selection], Awaitable[Selected]], given: msgspec.Raw
    ) -> Picked:
        found = await verb(_read(given, Selection))
        refused = {job_id: fault_of(error) for job_id, error in found.refused.items()}
        return Picked(ids=found.ids, refused=refused, more=found.more)


def _read(given: msgspec.Raw, kind: type[T]) -> T:
    return msgspec.json.decode(given, type=kind)
