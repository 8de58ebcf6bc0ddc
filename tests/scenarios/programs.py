"""The programs that scenarios run in processes of their own: `python programs.py NAME OPTIONS`.

OPTIONS are a JSON object. What a program has to say it prints, a line each.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from toril import Event, Job, Toril
from toril.events import Active, Completed, Failed, Stalled


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # whoever started the program reads it


class Log(logging.Handler):
    """Print what is logged, the level first."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname} {record.getMessage()}")


async def work(options: dict[str, Any]) -> None:
    """Be a worker whose jobs say what they want: {ms, spin, gate, fail, result}."""
    queue = options.pop("queue")
    log = Path(options.pop("log")) if "log" in options else None
    listen = options.pop("listen", False)
    die_on_failed = options.pop("die_on_failed", False)
    settings = options.pop("settings", None)
    async with Toril(options.pop("url")) as app:
        if settings is not None:
            app.queue(queue, **settings)

        async def handle(job: Job[Any]) -> Any:
            note(job, log)
            return await run(job)

        worker = app.worker(queue, handle, **options)

        @worker.on("failed")
        def die(job: Job[Any], error: BaseException) -> None:
            if die_on_failed:
                os.kill(os.getpid(), signal.SIGKILL)

        worker.on("lock_lost")(lambda job: say(f"lock lost: {job.id}"))
        worker.on("stalled")(lambda job_id: say(f"taken back: {job_id}"))
        worker.on("ready")(lambda: None if listen else say("ready"))
        worker.on("closing")(lambda: say("closing"))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: keep(loop.create_task(worker.stop())))
        listening = asyncio.create_task(hear(app, queue)) if listen else None
        await worker.run()
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


_kept: set[asyncio.Task[Any]] = set()


def keep(task: asyncio.Task[Any]) -> None:
    _kept.add(task)


async def run(job: Job[Any]) -> Any:
    data = job.data
    time.sleep(data.get("spin", 0) / 1000)  # noqa: ASYNC251  # to block the loop is the point
    await asyncio.sleep(data.get("ms", 0) / 1000)
    while "gate" in data and not Path(data["gate"]).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)
    if "fail" in data:
        raise RuntimeError(data["fail"])
    return data.get("result")


def note(job: Job[Any], log: Path | None) -> None:
    """Write one line a run, in one step, so that lines of several processes never mix."""
    if log is not None:
        with log.open("a") as file:
            file.write(f"{job.id} {os.getpid()}\n")


async def listen(options: dict[str, Any]) -> None:
    """Be a process without a worker that hears what happens in a queue."""
    async with Toril(options["url"]) as app:
        await hear(app, options["queue"])


async def hear(app: Toril, queue: str) -> None:
    async with app.queue(queue).events() as events:
        say("ready")
        async for event in events:
            for line in lines_of(event):
                say(line)


def lines_of(event: Event) -> list[str]:
    match event:
        case Active():
            payload = {"job_id": event.job_id, "prev": event.prev}
            return ["Job has been started!", json.dumps(payload)]
        case Completed():
            payload = {"job_id": event.job_id, "result": event.result}
            done = f"Job {event.job_id} completed successfully"
            return ["Job has been completed!!", json.dumps(payload), done]
        case Failed():
            return [f"Job {event.job_id} failed: {event.reason}"]
        case Stalled():
            return [f"Job {event.job_id} is stalled"]
        case _:
            return []


async def add_flows(options: dict[str, Any]) -> None:
    """Add flow after flow until killed."""
    async with Toril(options["url"]) as app:
        say("ready")
        for number in range(1_000_000):
            await app.flow(
                "image:upload",
                "uploading-image",
                {"id": number},
                children=[
                    ("image:optimize", "optimize-size", {"id": number}, {"delay": "1s"}),
                    ("image:check-valid", "check-term", {"id": number}),
                    ("image:check-valid", "check-policy", {"id": number}),
                ],
            ).add()


async def add(options: dict[str, Any]) -> None:
    """Add jobs, and end."""
    async with Toril(options["url"]) as app:
        for name, data in options["jobs"]:
            await app.queue(options["queue"]).add(name, data)


PROGRAMS = {"worker": work, "listener": listen, "flows": add_flows, "add": add}

if __name__ == "__main__":
    logging.getLogger("toril.worker").addHandler(Log(logging.WARNING))
    asyncio.run(PROGRAMS[sys.argv[1]](json.loads(sys.argv[2])))
