"""`toril queues | jobs | job | workers | schedules | events`: looking, without changing anything.

Never here: how a thing is written (show, jobview).
"""

import asyncio
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, cast

import typer

from toril._app.app import Toril
from toril._app.overview import QueueView
from toril._app.queue import Queue
from toril._jobs.chunks import StateName
from toril._model.notes import Pause
from toril._model.printable import LINE, safe
from toril._model.record import Record
from toril._model.report import Logs, WorkerInfo
from toril._model.times import describe
from toril.errors import ConfigError, JobNotFound
from toril.events import Event

from . import render_job
from .render import ago, iso, show_facts, show_json, show_table, write_json
from .target import QUEUE, StoreOptions, find_place, find_queue, opened, run

STATE = typer.Option(
    help="Only jobs in these states, such as failed,delayed. ready: waiting and prioritized."
)
WHERE = typer.Option(
    help="Only jobs with this value in a declared field, such as user_id=481; tag=NAME for a tag."
)
_COUNTS = ("waiting", "prioritized", "delayed", "active", "waiting_children", "completed", "failed")


@dataclass(frozen=True, kw_only=True)
class JobsOptions(StoreOptions):
    """The arguments and options of `toril jobs`."""

    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")] = ""
    where: Annotated[list[str], WHERE] = field(default_factory=list[str])
    state: Annotated[str, STATE] = ""
    name: Annotated[str, typer.Option(help="Only jobs with this name.")] = ""
    limit: Annotated[int, typer.Option(min=1, help="At most this many jobs.")] = 50
    newest: Annotated[bool, typer.Option("--newest", help="Newest first.")] = False


@dataclass(frozen=True, kw_only=True)
class JobCommandOptions(StoreOptions):
    """The arguments and options of `toril job`."""

    queue: QUEUE
    id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)] = ""
    log_lines: Annotated[
        int, typer.Option(min=0, help="How many of the last log lines to show.")
    ] = 20


@dataclass(frozen=True, kw_only=True)
class TableOptions(StoreOptions):
    """The arguments and options of `toril workers` and `toril schedules`."""

    queue: Annotated[str, typer.Option(help="Only this queue.")] = ""


@dataclass(frozen=True, kw_only=True)
class EventsOptions(StoreOptions):
    """The arguments and options of `toril events`."""

    queue: QUEUE
    after: Annotated[
        str, typer.Option(help="Start after the event with this id. 0: the oldest that is kept.")
    ] = ""
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many events.")] = None


# Queues.


def queues(words: StoreOptions) -> None:
    """List the queues: jobs by state, live workers, limits."""

    async def work() -> list[QueueView]:
        async with opened(words) as app:
            return await app.overview()

    views = run(work())
    if words.as_json:
        show_json([_queue_json(view) for view in views])
        return
    held = [name for name in _COUNTS if any(getattr(view.counts, name) for view in views)]
    names = [name.replace("_", "-") for name in held]
    rows = [
        [
            view.name,
            *(f"{getattr(view.counts, name):,}" for name in held),
            f"{len(view.workers):,}",
            _settings(view),
        ]
        for view in views
    ]
    show_table(["queue", *names, "workers", ""], rows, what="queues", numbers=[*names, "workers"])


def _queue_json(view: QueueView) -> dict[str, Any]:
    counts = {**asdict(view.counts), "ready": view.counts.ready, "total": view.counts.total}
    settings = asdict(view.settings)
    del settings["last_id"], settings["queue"]
    limited = settings.pop("limited_until")
    if (note := settings["pause"]) is not None:
        settings["pause"] = {
            "by": note["by"],
            "reason": note["reason"],
            "since": iso(note["since_ms"]),
            "until": iso(note["until_ms"]),
        }
    return {
        "queue": view.name,
        "counts": counts,
        "workers": len(view.workers),
        **settings,
        "limited_until": iso(limited),
    }


def describe_pause(note: Pause | None) -> str:
    """Return that a queue is paused: by whom, until when, and why."""
    if note is None:
        return "paused"
    by = f" by {safe(note.by)}" if note.by else ""
    until = "" if note.until_ms is None else f" until {iso(note.until_ms)}"
    return f"paused{by}{until}" + (f": {safe(note.reason)}" if note.reason else "")


def _settings(view: QueueView) -> str:
    settings = view.settings
    words = [describe_pause(settings.pause)] if settings.paused else []
    if settings.concurrency is not None:
        words.append(f"at most {settings.concurrency} at once")
    if settings.rate_max is not None and settings.rate_ms is not None:
        words.append(f"at most {settings.rate_max} in {describe(settings.rate_ms)}")
    if settings.max_waiting is not None:
        words.append(f"at most {settings.max_waiting:,} wait")
    if settings.dead_letter is not None:
        words.append(f"dead letters in {settings.dead_letter}")
    return ", ".join(words)


# Jobs.


def jobs(words: JobsOptions) -> None:
    """List the jobs of a queue, next to run first; with --where those with a field, newest first."""

    async def work() -> list[Any]:
        async with opened(words) as app:
            if words.where:
                return await _found(app, words)
            if not words.queue:
                raise ConfigError("which queue?", hint="write toril jobs QUEUE, or add --where")
            queue = await find_queue(app, words.queue)
            found = queue.jobs(
                # What was typed: `jobs` says which states there are.
                cast("list[StateName]", split(words.state)) or None,
                name=words.name or None,
                limit=words.limit,
                newest_first=words.newest,
            )
            return [job.record async for job in found]

    records = run(work())
    if words.as_json:
        show_json([render_job.as_json(record) for record in records])
    else:
        show_table(render_job.HEADS, [render_job.as_row(each) for each in records], what="jobs")


async def _found(app: Toril, words: JobsOptions) -> list[Any]:
    """Return the jobs with these fields, of the queue or of all queues, the newest first."""
    where = dict(map(_pair, words.where))
    queues = [await find_queue(app, words.queue)] if words.queue else []
    queues = queues or [app.queue(name) for name in await app.queues()]
    found: list[Record] = []
    states = cast("list[StateName]", split(words.state)) or None
    for queue in queues:
        mine, before = 0, None
        while mine < words.limit:
            page = await queue.find(where, state=states, before=before, limit=words.limit)
            jobs = [each for each in page.jobs if words.name in ("", each.name)]
            found += [each.record for each in jobs]
            mine, before = mine + len(jobs), page.next
            if before is None:
                break
    return sorted(found, key=lambda each: each.created_ms, reverse=True)[: words.limit]


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ConfigError(f"--where {text} is not a field and its value", hint="write user_id=481")
    return name, value


def split(text: str) -> list[str]:
    """Read words that stand between commas."""
    return [word for each in text.split(",") if (word := each.strip())]


def job(words: JobCommandOptions) -> None:
    """Show everything about a job."""

    async def work() -> render_job.Details:
        async with opened(words) as app:
            return await _details(*await find_job(app, words.queue, words.id), words.log_lines)

    details = run(work())
    if words.as_json:
        show_json(details.as_json())
    else:
        show_facts(details.as_facts())


async def find_job(app: Toril, word: str, job_id: str) -> tuple[Queue, str]:
    """Read QUEUE ID, or QUEUE:ID.

    Raises   ConfigError: no such queue, or no id.
    """
    if job_id:
        return await find_queue(app, word), job_id
    queue, found = await find_place(app, word)
    if found is None:
        raise ConfigError("which job?", hint=f"write {word} ID, or {word}:ID")
    return queue, found


async def _details(queue: Queue, job_id: str, log_lines: int) -> render_job.Details:
    found = await queue.job(job_id)
    if found is None:
        raise JobNotFound(
            f"there is no job {job_id!r} in queue {queue.name!r}: it was removed, or it finished "
            "and is not kept"
        )
    logs = await found.logs(limit=log_lines, newest_first=True)
    ordered = Logs(lines=logs.lines[::-1], total=logs.total)
    return render_job.Details(job=found, logs=ordered, children=await found.children())


# Workers and schedules.


def workers(words: TableOptions) -> None:
    """List the workers of all processes and machines."""

    async def work() -> list[WorkerInfo]:
        async with opened(words) as app:
            queue = (await find_queue(app, words.queue)).name if words.queue else None
            return await app.workers(queue)

    found = run(work())
    if words.as_json:
        show_json([_worker_json(each) for each in found])
        return
    rows = [
        [
            each.name,
            each.host,
            str(each.pid),
            ", ".join(each.queues),
            f"{each.active}/{each.concurrency}",
            ago(each.started_ms),
            "alive" if each.alive else "gone",
            ago(each.seen_ms),
        ]
        for each in found
    ]
    heads = ["worker", "host", "pid", "queues", "busy", "started", "state", "seen"]
    show_table(heads, rows, what="workers", numbers=["pid", "busy"])


def _worker_json(worker: WorkerInfo) -> dict[str, Any]:
    told = asdict(worker)
    for name in ("started", "seen"):
        told[f"{name}_at"] = iso(told.pop(f"{name}_ms"))
    return told


# Events.


def events(words: EventsOptions) -> None:
    """Follow the events of a queue until Ctrl-C; with --json one line of JSON each."""
    run(_follow(words))


async def _follow(words: EventsOptions) -> None:
    show = _event_json if words.as_json else _event_line
    left = words.count
    async with opened(words) as app:
        queue = await find_queue(app, words.queue)
        async with queue.events(words.after or None) as found:
            async for event in found:
                # A full pipe must not hold up the loop that keeps the connection.
                await asyncio.to_thread(typer.echo, show(event))
                left = None if left is None else left - 1
                if left == 0:
                    return


def _facts(event: Event) -> dict[str, Any]:
    hidden = {"id", "queue", "at_ms", "job_id", "_find"}
    return {
        each.name: getattr(event, each.name) for each in fields(event) if each.name not in hidden
    }


def _event_json(event: Event) -> str:
    told: dict[str, Any] = {"id": event.id, "queue": event.queue, "kind": event.kind}
    told["at"] = iso(event.at_ms)
    job_id = getattr(event, "job_id", None)
    if job_id is not None:
        told["job_id"] = job_id
    return write_json({**told, **_facts(event)})


def _event_line(event: Event) -> str:
    facts = " ".join(
        f"{name}={value if isinstance(value, str) else write_json(value)}"
        for name, value in _facts(event).items()
        if value not in ("", None)
    )
    at = (iso(event.at_ms) or "").partition("T")[2].rstrip("Z")
    job_id = safe(getattr(event, "job_id", ""))
    return f"{event.id}  {at}  {event.kind:<17} {job_id:<6} {safe(facts, LINE)}".rstrip()
