"""toril's side of the interface: BullMQ's words in, BullMQ's words out."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.interop.sides import PATIENCE_MS, Data, Ids, Opts, Refused, Run, Scheduler, Seen
from tests.interop.toril_options import options
from tests.interop.toril_steps import STEPS, Gate
from toril import Event, Job, JobFailed, Queue, Toril, TorilError, Worker
from toril._jobs.events import Events
from toril.errors import ResultTimeout


def _waits(waits: Sequence[int]) -> Any:
    def wait(attempt: int, error: BaseException, job: Any) -> str | None:
        return None if waits[attempt - 1] < 0 else f"{waits[attempt - 1]}ms"

    return wait


class TorilSide:
    """toril, in the process of the tests."""

    name = "toril"

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        self.app = Toril(url, prefix=prefix)
        self._workers: dict[str, Worker] = {}
        self._gates: dict[str, Gate] = defaultdict(Gate)
        self._runs: list[dict[str, Any]] = []
        self._listening: dict[str, tuple[Events, asyncio.Task[None]]] = {}
        self._heard: dict[str, list[Event]] = defaultdict(list)

    def __repr__(self) -> str:
        return self.name

    def queue(self, name: str) -> Queue:
        """Give a queue that keeps what Node's would keep."""
        return self.app.queue(name, keep="all")

    async def _job(self, queue: str, job: str) -> Job[Any]:
        found = await self.queue(queue).job(job)
        if found is None:
            raise Refused(f"no job {job} in queue {queue}")
        return found

    async def _steer(self, asked: Awaitable[Any]) -> Any:
        try:
            return await asked
        except TorilError as error:
            raise Refused(str(error)) from error

    # Produce.

    async def add(self, queue: str, name: str = "job", data: Data = None, **opts: Any) -> str:
        given = {} if data is None else data
        return (await self.queue(queue).add(name, given, **options(opts))).id

    async def add_bulk(self, queue: str, jobs: Sequence[tuple[str, Data, Opts]]) -> list[str]:
        given: Any = [(name, data, options(opts)) for name, data, opts in jobs]
        return [job.id for job in await self.queue(queue).add_many(given)]

    async def add_flow(self, root: Mapping[str, Any]) -> Ids:
        tree = await self._flow(root, child=False).add()
        return _ids(tree)

    def _flow(self, node: Mapping[str, Any], *, child: bool) -> Any:
        children = [self._flow(each, child=True) for each in node.get("children", ())]
        given = options(node.get("opts", {}), child=child)
        self.queue(node["queueName"])
        return self.app.flow(
            node["queueName"], node["name"], node["data"], children=children, **given
        )

    async def upsert(
        self, queue: str, scheduler: str, repeat: Opts, name: str = "tick", data: Data = None
    ) -> None:
        rule: dict[str, Any] = {}
        for word, value in repeat.items():
            match word:
                case "pattern":
                    rule["cron"] = value
                case "every" | "offset":
                    rule[word] = f"{value}ms"
                case "startDate" | "endDate":
                    rule[word.removesuffix("Date")] = datetime.fromtimestamp(value / 1000, UTC)
                case _:
                    rule[word] = value
        self.queue(queue)
        given = {} if data is None else data
        await self.app.schedules.put(scheduler, queue=queue, name=name, data=given, **rule)

    async def unschedule(self, queue: str, scheduler: str) -> bool:
        return await self.app.schedules.drop(queue, scheduler)

    async def schedulers(self, queue: str) -> list[Scheduler]:
        return [
            Scheduler(
                id=one.id,
                next=one.next_ms,
                pattern=one.rule.cron,
                every=one.rule.every_ms,
                tz=one.rule.tz if one.rule.cron else None,
                count=one.count,
            )
            for one in await self.app.schedules.list(queue)
        ]

    # Work.

    async def work(self, queue: str, key: str = "w", **given: Any) -> None:
        made: dict[str, Any] = {"name": key, "concurrency": given.pop("concurrency", 1)}
        for name, value in given.items():
            match name:
                case "limiter":
                    made["rate"] = f"{value['max']}/{value['duration']}ms"
                case "lockDuration":
                    made["lock"] = f"{value}ms"
                case "stalledInterval":
                    made["stalled_interval"] = f"{value}ms"
                case "maxStalledCount":
                    made["max_stalls"] = value
                case "waits":
                    made["backoff"] = _waits(value)
                case "metrics" | "drainDelay":
                    pass  # always counted; never waited for
                case _:
                    raise KeyError(name)
        self.queue(queue)
        worker = self.app.worker([queue], self.handler(key), **made)
        self._workers[key] = worker
        await worker.start()

    async def rest(self, key: str = "w") -> None:
        await self._workers.pop(key).stop()

    async def go(self, gate: str, count: int = 1) -> None:
        self._gates[gate].let(count)

    async def reached(self, gate: str, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await self._gates[gate].until(count)

    async def runs(self) -> list[Run]:
        return [Run(**one) for one in self._runs]

    def handler(self, key: str) -> Callable[[Job[Any]], Awaitable[Any]]:
        async def run(job: Job[Any]) -> Any:
            entry = {"queue": job.queue, "id": job.id, "name": job.name, "worker": key}
            self._runs.append(entry | {"began": time.time() * 1000, "ended": None})
            mine = self._runs[-1]
            try:
                steps = job.data.get("do", ()) if isinstance(job.data, dict) else ()
                for word, *args in steps:
                    done = await STEPS[word](self, job, *args)
                    if done:
                        return done[0]
                return None
            finally:
                mine["ended"] = time.time() * 1000

        return run

    def gate(self, name: str) -> Gate:
        """Give the gate of this name."""
        return self._gates[name]

    # Read.

    async def look(self, queue: str, job: str) -> Seen | None:
        found = await self.queue(queue).job(job)
        if found is None:
            return None
        record = found.record
        return Seen(
            id=found.id,
            name=found.name,
            data=found.data,
            state=str(record.state),
            result=None if record.result is None else await found.result(1),
            reason=record.reason,
            stack=record.stack,
            progress=found.last_progress,
            attempts_made=record.attempts_made,
            starts=record.runs,
            stalls=record.stalls,
            delay=record.delay_ms,
            priority=record.priority,
            timestamp=record.created_ms,
            started=record.started_ms,
            finished=record.finished_ms,
            worker=record.worker,
            parent=None if record.parent is None else f"{record.parent.queue}:{record.parent.id}",
        )

    async def result(self, queue: str, job: str, ttl: int = PATIENCE_MS) -> Any:
        try:
            return await (await self._job(queue, job)).result(f"{ttl}ms")
        except JobFailed as error:
            raise Refused(error.reason) from error
        except ResultTimeout as error:
            raise Refused(str(error)) from error

    async def counts(self, queue: str) -> dict[str, int]:
        counts = await self.queue(queue).counts()
        each = {
            "waiting": counts.waiting,
            "prioritized": counts.prioritized,
            "delayed": counts.delayed,
            "active": counts.active,
            "waiting-children": counts.waiting_children,
            "completed": counts.completed,
            "failed": counts.failed,
        }
        return {state: count for state, count in each.items() if count}

    async def ids(self, queue: str, state: str) -> list[str]:
        newest_first = state in ("completed", "failed")
        jobs = self.queue(queue).jobs(state, newest_first=newest_first)
        return [job.id async for job in jobs]

    async def logs(self, queue: str, job: str) -> list[str]:
        return list((await (await self._job(queue, job)).logs()).lines)

    async def values(self, queue: str, job: str) -> dict[str, Any]:
        values = await (await self._job(queue, job)).children_values()
        return {f"{self.prefix}:{key}": value for key, value in values.items()}

    async def standing(self, queue: str, job: str) -> dict[str, int]:
        counts = await (await self._job(queue, job)).dependencies()
        each = {
            "processed": counts.completed,
            "unprocessed": counts.pending,
            "ignored": counts.ignored,
            "failed": counts.failed,
        }
        return {kind: count for kind, count in each.items() if count}

    async def metrics(self, queue: str, kind: str) -> int:
        return (await self.queue(queue).metrics(kind)).total

    async def workers(self, queue: str) -> list[str]:
        return [one.name for one in await self.queue(queue).workers()]

    async def is_paused(self, queue: str) -> bool:
        return await self.queue(queue).is_paused()

    async def listen(self, queue: str) -> None:
        events = await self.queue(queue).events().__aenter__()

        async def read() -> None:
            async for event in events:
                self._heard[queue].append(event)

        self._listening[queue] = events, asyncio.create_task(read())

    async def heard(self, queue: str) -> list[tuple[str, dict[str, Any]]]:
        return [_told(event) for event in self._heard[queue]]

    # Steer.

    async def pause(self, queue: str) -> None:
        await self.queue(queue).pause()

    async def resume(self, queue: str) -> None:
        await self.queue(queue).resume()

    async def drain(self, queue: str, delayed: bool = False) -> None:
        await self.queue(queue).drain(delayed=delayed)

    async def clean(self, queue: str, state: str, limit: int = 0) -> list[str]:
        word = "waiting" if state == "wait" else state
        return await self.queue(queue).clean(word, limit=limit or None)

    async def obliterate(self, queue: str, force: bool = False) -> None:
        await self._steer(self.queue(queue).obliterate(force=force))

    async def retry_all(self, queue: str) -> None:
        await self.queue(queue).retry_all()

    async def promote_all(self, queue: str) -> None:
        await self.queue(queue).promote_all()

    async def limit(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: tuple[int, int] | None = None,
    ) -> None:
        if concurrency is not None:
            await self.queue(queue).limit(concurrency=concurrency)
        if rate is not None:
            await self.queue(queue).limit(rate=f"{rate[0]}/{rate[1]}ms")

    async def rate_limit(self, queue: str, ms: int) -> None:
        await self.queue(queue).rate_limit(f"{ms}ms")

    async def retry(self, queue: str, job: str) -> None:
        await self._steer((await self._job(queue, job)).retry())

    async def promote(self, queue: str, job: str) -> None:
        await self._steer((await self._job(queue, job)).promote())

    async def change_delay(self, queue: str, job: str, ms: int) -> None:
        await self._steer((await self._job(queue, job)).reschedule(f"{ms}ms"))

    async def change_priority(
        self, queue: str, job: str, priority: int, lifo: bool = False
    ) -> None:
        await self._steer((await self._job(queue, job)).set_priority(priority, lifo=lifo))

    async def remove(self, queue: str, job: str, children: bool = True) -> None:
        await self._steer((await self._job(queue, job)).remove(children=children))

    async def update(self, queue: str, job: str, data: Data) -> None:
        await (await self._job(queue, job)).update(data)

    async def detach(self, queue: str, job: str) -> None:
        await (await self._job(queue, job)).detach()

    async def close(self) -> None:
        for gate in self._gates.values():
            gate.let(1000)
        for worker in self._workers.values():
            await worker.stop(grace="1s")
        for events, reading in self._listening.values():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await events.close()
        await self.app.close()


def _ids(made: Any) -> Ids:
    return Ids(made.job.id, made.job.queue, tuple(map(_ids, made.children)))


_FIELDS = {
    "job_id": "jobId",
    "name": "name",
    "prev": "prev",
    "due_ms": "delay",
    "data": "data",
    "result": "returnvalue",
    "reason": "failedReason",
    "attempts_made": "attemptsMade",
    "dedup_key": "deduplicationId",
    "dropped_id": "deduplicatedJobId",
    "count": "count",
}


def _told(event: Event) -> tuple[str, dict[str, Any]]:
    fields = {ours: getattr(event, ours) for ours in _FIELDS if hasattr(event, ours)}
    told = {_FIELDS[ours]: value for ours, value in fields.items() if value != ""}
    if event.kind == "removed" and told["prev"] == "waiting":
        told["prev"] = "wait"  # Node names the list
    for name in ("attemptsMade", "count"):
        if name in told:
            told[name] = str(told[name])
    return event.kind, told
