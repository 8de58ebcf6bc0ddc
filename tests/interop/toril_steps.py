"""What a job does, word by word, when toril runs it; `STEPS` in peer.mjs is Node's.

A step that ends the job gives its value in a tuple.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.interop.sides import Opts
from tests.interop.toril_options import options
from toril import AwaitChildren, Fail, Job, Queue, RateLimited, Release, Snooze


@dataclass(slots=True)
class Gate:
    """Where handlers wait until they are let on."""

    reached: int = 0
    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def pass_(self) -> None:
        async with self.moved:
            self.reached += 1
            self.moved.notify_all()
        await self.permits.acquire()

    def let(self, count: int) -> None:
        for _ in range(count):
            self.permits.release()

    async def until(self, count: int) -> None:
        async with self.moved:
            await self.moved.wait_for(lambda: self.reached >= count)


class Here(Protocol):
    """What a step needs of the side that runs it."""

    prefix: str

    def queue(self, name: str) -> Queue:
        """Give a queue."""
        ...

    def gate(self, name: str) -> Gate:
        """Give the gate of this name."""
        ...


Step = Callable[..., Awaitable[tuple[Any] | None]]


async def _return(side: Here, job: Job[Any], value: Any) -> tuple[Any]:
    return (value,)


async def _undefined(side: Here, job: Job[Any]) -> tuple[Any]:
    return (None,)


async def _children(side: Here, job: Job[Any]) -> tuple[Any]:
    values = await job.children_values()
    return ({f"{side.prefix}:{key}": value for key, value in values.items()},)


async def _ignored(side: Here, job: Job[Any]) -> tuple[Any]:
    failures = (await job.children()).failures
    return ({f"{side.prefix}:{key}": value for key, value in failures.items()},)


async def _seen(side: Here, job: Job[Any]) -> tuple[Any]:
    parent = job.record.parent
    return (
        {
            "name": job.name,
            "data": job.data,
            "attemptsMade": job.attempts_made,
            "attemptsStarted": job.run,
            "priority": job.record.priority,
            **({"parentKey": f"{side.prefix}:{parent.queue}:{parent.id}"} if parent else {}),
        },
    )


async def _throw(side: Here, job: Job[Any], message: str, times: float = 1e9) -> None:
    if job.attempts_made < times:
        raise ValueError(message)


async def _fatal(side: Here, job: Job[Any], message: str) -> None:
    raise Fail(message)


async def _progress(side: Here, job: Job[Any], value: Any) -> None:
    await job.progress(value)


async def _log(side: Here, job: Job[Any], row: str) -> None:
    await job.log(row)


async def _data(side: Here, job: Job[Any], data: Any) -> None:
    await job.update(data)


async def _gate(side: Here, job: Job[Any], name: str) -> None:
    await side.gate(name).pass_()


async def _sleep(side: Here, job: Job[Any], ms: int) -> None:
    await asyncio.sleep(ms / 1000)


async def _later(side: Here, job: Job[Any], ms: int) -> None:
    if job.run == 1:
        raise Snooze(f"{ms}ms")


async def _back(side: Here, job: Job[Any]) -> None:
    if job.run == 1:
        raise Release


async def _child(
    side: Here, job: Job[Any], queue: str, name: str, data: Any, opts: Opts | None = None
) -> None:
    # Not by the number of the run: one that need not wait is continued under the same number.
    if not len(await job.children()):
        given = options(opts or {}, child=True)
        await side.queue(queue).add(name, data, parent=job.ref, **given)


async def _await(side: Here, job: Job[Any]) -> None:
    if (await job.dependencies()).pending:
        raise AwaitChildren


async def _limit(side: Here, job: Job[Any], ms: int) -> None:
    if job.run == 1:
        raise RateLimited(f"{ms}ms")


STEPS: dict[str, Step] = {
    "return": _return,
    "undefined": _undefined,
    "children": _children,
    "ignored": _ignored,
    "seen": _seen,
    "throw": _throw,
    "fatal": _fatal,
    "progress": _progress,
    "log": _log,
    "data": _data,
    "gate": _gate,
    "sleep": _sleep,
    "later": _later,
    "back": _back,
    "child": _child,
    "await": _await,
    "limit": _limit,
}
