"""One interface over both languages, so that a scenario is written once and held against each.

The words are BullMQ's: options, states, events and results come in and go out as Node has them.
What a job does is written in its data: {"do": [[word, ...arguments], ...]}, see `steps`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.interop.node import NodeError, Peer

PATIENCE_MS = 6000
Data = Any
Opts = Mapping[str, Any]


def does(*steps: Sequence[Any], **more: Any) -> dict[str, Any]:
    """Write down what a job does: `does(["log", "a"], ["return", 7])`."""
    return {"do": [list(step) for step in steps], **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job as a side reads it.

    Shape    progress None: none was reported. parent: "queue:id".
    Units    delay in ms, timestamp and the like in ms since the epoch.
    """

    id: str
    name: str
    data: Any
    state: str
    result: Any = None
    reason: str | None = None
    stack: tuple[str, ...] = ()
    progress: Any = None
    attempts_made: int = 0
    starts: int = 0
    stalls: int = 0
    delay: int = 0
    priority: int = 0
    timestamp: int = 0
    started: int | None = None
    finished: int | None = None
    worker: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a flow, in its shape."""

    id: str
    queue: str
    children: tuple["Ids", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One start of a job on a side: when it began and ended, in ms since the epoch."""

    queue: str
    id: str
    name: str
    worker: str
    began: float
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """A job scheduler as a side reads it."""

    id: str
    next: int | None
    pattern: str | None = None
    every: int | None = None
    tz: str | None = None
    count: int = 0


def tree(queue: str, name: str, *children: Any, data: Data = None, **opts: Any) -> dict[str, Any]:
    """Describe a node of a flow, as Node's FlowProducer takes it."""
    made = {"queueName": queue, "name": name, "data": {} if data is None else data, "opts": opts}
    return made | ({"children": list(children)} if children else {})


async def until(look: Callable[[], Awaitable[Any]], expected: Any, *, within: float = 6.0) -> None:
    """Look until there is what is expected; else say what there was last."""
    deadline = time.monotonic() + within
    while (seen := await look()) != expected:
        assert time.monotonic() < deadline, f"waited for {expected!r}, seen last: {seen!r}"
        await asyncio.sleep(0.01)


class Side(Protocol):
    """A producer, worker and reader in one language, on one prefix."""

    name: str
    prefix: str

    # Produce.
    async def add(self, queue: str, name: str = "job", data: Data = None, **opts: Any) -> str: ...
    async def add_bulk(self, queue: str, jobs: Sequence[tuple[str, Data, Opts]]) -> list[str]: ...
    async def add_flow(self, root: Mapping[str, Any]) -> Ids: ...
    async def upsert(
        self, queue: str, scheduler: str, repeat: Opts, name: str = "tick", data: Data = None
    ) -> None: ...
    async def unschedule(self, queue: str, scheduler: str) -> bool: ...
    async def schedulers(self, queue: str) -> list[Scheduler]: ...

    # Work.
    async def work(self, queue: str, key: str = "w", **options: Any) -> None: ...
    async def rest(self, key: str = "w") -> None: ...
    async def go(self, gate: str, count: int = 1) -> None: ...
    async def reached(self, gate: str, count: int = 1) -> None: ...
    async def runs(self) -> list[Run]: ...

    # Read.
    async def look(self, queue: str, job: str) -> Seen | None: ...
    async def result(self, queue: str, job: str, ttl: int = PATIENCE_MS) -> Any: ...
    async def counts(self, queue: str) -> dict[str, int]: ...
    async def ids(self, queue: str, state: str) -> list[str]: ...
    async def logs(self, queue: str, job: str) -> list[str]: ...
    async def values(self, queue: str, job: str) -> dict[str, Any]: ...
    async def standing(self, queue: str, job: str) -> dict[str, int]: ...
    async def metrics(self, queue: str, kind: str) -> int: ...
    async def workers(self, queue: str) -> list[str]: ...
    async def is_paused(self, queue: str) -> bool: ...
    async def listen(self, queue: str) -> None: ...
    async def heard(self, queue: str) -> list[tuple[str, dict[str, Any]]]: ...

    # Steer.
    async def pause(self, queue: str) -> None: ...
    async def resume(self, queue: str) -> None: ...
    async def drain(self, queue: str, delayed: bool = False) -> None: ...
    async def clean(self, queue: str, state: str, limit: int = 0) -> list[str]: ...
    async def obliterate(self, queue: str, force: bool = False) -> None: ...
    async def retry_all(self, queue: str) -> None: ...
    async def promote_all(self, queue: str) -> None: ...
    async def limit(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: tuple[int, int] | None = None,
    ) -> None: ...
    async def rate_limit(self, queue: str, ms: int) -> None: ...
    async def retry(self, queue: str, job: str) -> None: ...
    async def promote(self, queue: str, job: str) -> None: ...
    async def change_delay(self, queue: str, job: str, ms: int) -> None: ...
    async def change_priority(
        self, queue: str, job: str, priority: int, lifo: bool = False
    ) -> None: ...
    async def remove(self, queue: str, job: str, children: bool = True) -> None: ...
    async def update(self, queue: str, job: str, data: Data) -> None: ...
    async def detach(self, queue: str, job: str) -> None: ...

    async def close(self) -> None: ...


class Refused(Exception):
    """A side refused what it was asked, in its own words."""


class NodeSide:
    """BullMQ, in a process of its own."""

    def __init__(self, peer: Peer, prefix: str) -> None:
        self.peer = peer
        self.prefix = prefix
        self.name = f"node{peer.version}"

    def __repr__(self) -> str:
        return self.name

    async def ask(self, op: str, **request: Any) -> Any:
        """Ask the process for something within this side's prefix."""
        return await self.peer.ask(op, prefix=self.prefix, **request)

    async def queue(self, queue: str, method: str, *args: Any) -> Any:
        """Call a method of a Queue."""
        return await self.ask("queue", queue=queue, method=method, args=args)

    async def job(self, queue: str, job: str, method: str, *args: Any) -> Any:
        """Call a method of a Job.

        Raises   Refused: BullMQ threw.
        """
        try:
            return await self.ask("job", queue=queue, job=job, method=method, args=args)
        except NodeError as error:
            raise Refused(error.message) from error

    async def add(self, queue: str, name: str = "job", data: Data = None, **opts: Any) -> str:
        given = {} if data is None else data
        made = await self.queue(queue, "add", name, given, opts)
        return str(made["id"])

    async def add_bulk(self, queue: str, jobs: Sequence[tuple[str, Data, Opts]]) -> list[str]:
        given = [{"name": name, "data": data, "opts": dict(opts)} for name, data, opts in jobs]
        return [str(made["id"]) for made in await self.queue(queue, "addBulk", given)]

    async def add_flow(self, root: Mapping[str, Any]) -> Ids:
        return _ids(await self.ask("flow", method="add", args=[root]))

    async def upsert(
        self, queue: str, scheduler: str, repeat: Opts, name: str = "tick", data: Data = None
    ) -> None:
        template = {"name": name, "data": {} if data is None else data}
        await self.queue(queue, "upsertJobScheduler", scheduler, dict(repeat), template)

    async def unschedule(self, queue: str, scheduler: str) -> bool:
        return bool(await self.queue(queue, "removeJobScheduler", scheduler))

    async def schedulers(self, queue: str) -> list[Scheduler]:
        found = await self.queue(queue, "getJobSchedulers", 0, -1, True)
        return [
            Scheduler(
                id=one["key"],
                next=one.get("next"),
                pattern=one.get("pattern"),
                every=None if one.get("every") is None else int(one["every"]),
                tz=one.get("tz"),
                count=int(one.get("iterationCount") or 0),
            )
            for one in found
        ]

    async def work(self, queue: str, key: str = "w", **options: Any) -> None:
        await self.ask("worker", queue=queue, key=key, options=options)

    async def rest(self, key: str = "w") -> None:
        await self.ask("workerCall", key=key, method="close")

    async def go(self, gate: str, count: int = 1) -> None:
        await self.ask("go", gate=gate, count=count)

    async def reached(self, gate: str, count: int = 1) -> None:
        await self.ask("reached", gate=gate, count=count)

    async def runs(self) -> list[Run]:
        return [Run(**one) for one in await self.ask("runs")]

    async def look(self, queue: str, job: str) -> Seen | None:
        # The state first: what is read after it is at least as new.
        state = await self.queue(queue, "getJobState", job)
        found = await self.queue(queue, "getJob", job)
        if found is None:
            return None
        return Seen(
            id=found["id"],
            name=found["name"],
            data=found["data"],
            state=state,
            result=found["returnvalue"],
            reason=found["failedReason"],
            stack=tuple(found["stacktrace"] or ()),
            progress=found["progress"] or None,
            attempts_made=found["attemptsMade"] or 0,
            starts=found["attemptsStarted"] or 0,
            stalls=found["stalledCounter"] or 0,
            delay=int(found["delay"] or 0),
            priority=found["priority"] or 0,
            timestamp=found["timestamp"],
            started=found["processedOn"],
            finished=found["finishedOn"],
            worker=found["processedBy"],
            parent=_parent(found["parentKey"], self.prefix),
        )

    async def result(self, queue: str, job: str, ttl: int = PATIENCE_MS) -> Any:
        try:
            return await self.ask("result", queue=queue, job=job, ttl=ttl)
        except NodeError as error:
            raise Refused(error.message) from error

    async def counts(self, queue: str) -> dict[str, int]:
        counts = await self.queue(queue, "getJobCounts")
        return {state: count for state, count in counts.items() if count}

    async def ids(self, queue: str, state: str) -> list[str]:
        newest_first = state in ("completed", "failed")
        jobs = await self.queue(queue, "getJobs", [state], 0, -1, not newest_first)
        return [str(job["id"]) for job in jobs]

    async def logs(self, queue: str, job: str) -> list[str]:
        return list((await self.queue(queue, "getJobLogs", job))["logs"])

    async def values(self, queue: str, job: str) -> dict[str, Any]:
        return dict(await self.job(queue, job, "getChildrenValues"))

    async def standing(self, queue: str, job: str) -> dict[str, int]:
        counts = await self.job(queue, job, "getDependenciesCount")
        return {kind: count for kind, count in counts.items() if count}

    async def metrics(self, queue: str, kind: str) -> int:
        return int((await self.queue(queue, "getMetrics", kind))["meta"]["count"])

    async def workers(self, queue: str) -> list[str]:
        return [one["rawname"] for one in await self.queue(queue, "getWorkers")]

    async def is_paused(self, queue: str) -> bool:
        return bool(await self.queue(queue, "isPaused"))

    async def listen(self, queue: str) -> None:
        await self.ask("listen", queue=queue)

    async def heard(self, queue: str) -> list[tuple[str, dict[str, Any]]]:
        return [(name, told) for name, told in await self.ask("heard", queue=queue)]

    async def pause(self, queue: str) -> None:
        await self.queue(queue, "pause")

    async def resume(self, queue: str) -> None:
        await self.queue(queue, "resume")

    async def drain(self, queue: str, delayed: bool = False) -> None:
        await self.queue(queue, "drain", delayed)

    async def clean(self, queue: str, state: str, limit: int = 0) -> list[str]:
        return list(await self.queue(queue, "clean", 0, limit, state))

    async def obliterate(self, queue: str, force: bool = False) -> None:
        try:
            await self.queue(queue, "obliterate", {"force": force})
        except NodeError as error:
            raise Refused(error.message) from error

    async def retry_all(self, queue: str) -> None:
        await self.queue(queue, "retryJobs")

    async def promote_all(self, queue: str) -> None:
        await self.queue(queue, "promoteJobs")

    async def limit(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: tuple[int, int] | None = None,
    ) -> None:
        if concurrency is not None:
            await self.queue(queue, "setGlobalConcurrency", concurrency)
        if rate is not None:
            await self.queue(queue, "setGlobalRateLimit", *rate)

    async def rate_limit(self, queue: str, ms: int) -> None:
        await self.queue(queue, "rateLimit", ms)

    async def retry(self, queue: str, job: str) -> None:
        state = await self.queue(queue, "getJobState", job)
        await self.job(queue, job, "retry", state if state == "completed" else "failed")

    async def promote(self, queue: str, job: str) -> None:
        await self.job(queue, job, "promote")

    async def change_delay(self, queue: str, job: str, ms: int) -> None:
        await self.job(queue, job, "changeDelay", ms)

    async def change_priority(
        self, queue: str, job: str, priority: int, lifo: bool = False
    ) -> None:
        await self.job(queue, job, "changePriority", {"priority": priority, "lifo": lifo})

    async def remove(self, queue: str, job: str, children: bool = True) -> None:
        await self.job(queue, job, "remove", {"removeChildren": children})

    async def update(self, queue: str, job: str, data: Data) -> None:
        await self.job(queue, job, "updateData", data)

    async def detach(self, queue: str, job: str) -> None:
        await self.job(queue, job, "removeChildDependency")

    async def close(self) -> None:
        await self.ask("close")


def _ids(made: Mapping[str, Any]) -> Ids:
    children = tuple(_ids(child) for child in made.get("children") or ())
    return Ids(str(made["job"]["id"]), made["job"]["queueName"], children)


def _parent(key: str | None, prefix: str) -> str | None:
    return None if key is None else key.removeprefix(f"{prefix}:")
