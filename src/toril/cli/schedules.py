"""`toril schedules`: the stored schedules; `pause`, `resume`, `run` and `drop` change one."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from toril._app.app import Toril
from toril._model.printable import LINE, safe
from toril._model.report import ScheduleInfo
from toril._model.suggest import did_you_mean
from toril._model.times import describe
from toril.errors import ConfigError

from .commands import Commands, command, group
from .inspect import TableOptions, describe_pause
from .render import ago, ask, iso, read_json, show_json, show_table
from .target import StoreOptions, find_queue, opened, run

cli = typer.Typer(cls=Commands)


@dataclass(frozen=True, kw_only=True)
class OneScheduleOptions(StoreOptions):
    """The arguments and options of a command about one schedule."""

    schedule: Annotated[str, typer.Argument(metavar="ID", help="Id of the schedule.")]
    queue: Annotated[
        str, typer.Option(help="Its queue, if several have a schedule with this id.")
    ] = ""


@dataclass(frozen=True, kw_only=True)
class PauseScheduleOptions(OneScheduleOptions):
    """The arguments and options of `toril schedules pause`."""

    reason: Annotated[str, typer.Option(help="Why it is paused.")] = ""
    by: Annotated[str, typer.Option(help="Who pauses it. Default: $USER.")] = ""


@dataclass(frozen=True, kw_only=True)
class DropScheduleOptions(OneScheduleOptions):
    """The arguments and options of `toril schedules drop`."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False


def list_schedules(words: TableOptions) -> None:
    """List the stored schedules, next to run first."""

    async def work() -> list[ScheduleInfo]:
        async with opened(words) as app:
            queue = (await find_queue(app, words.queue)).name if words.queue else None
            return [*await app.schedules.list(queue)]

    found = run(work())
    if words.as_json:
        show_json([_schedule_json(each) for each in found])
        return
    rows = [
        [
            each.id,
            each.queue,
            each.name,
            _rule(each),
            describe_pause(each.pause) if each.pause else ago(each.next_ms) or "never",
            f"{each.count:,}",
        ]
        for each in found
    ]
    heads = ["schedule", "queue", "name", "rule", "next", "runs"]
    show_table(heads, rows, what="schedules", numbers=["runs"])


def _rule(schedule: ScheduleInfo) -> str:
    rule = schedule.rule
    if schedule.fault is not None:
        return f"cannot be followed: {schedule.fault}"
    if rule.every_ms is not None:
        return f"every {describe(rule.every_ms)}"
    return f"{rule.cron} ({rule.tz})"


def _schedule_json(schedule: ScheduleInfo) -> dict[str, Any]:
    told = asdict(schedule)
    told["data"], told["opts"] = read_json(schedule.data), read_json(schedule.opts)
    told["next_at"] = iso(told.pop("next_ms"))
    if schedule.fault is not None:
        return {**told, "rule": None}
    told["rule"]["start_at"] = iso(told["rule"].pop("start_ms"))
    told["rule"]["end_at"] = iso(told["rule"].pop("end_ms"))
    return told


def pause_schedule(words: PauseScheduleOptions) -> None:
    """Pause a schedule: it adds no jobs until it is resumed."""
    by = words.by or os.environ.get("USER", "")

    async def pause(app: Toril, found: ScheduleInfo) -> ScheduleInfo:
        return await app.schedules.pause(found.queue, found.id, reason=words.reason, by=by)

    _steer(words, pause, "paused")


def resume_schedule(words: OneScheduleOptions) -> None:
    """Resume a paused schedule."""

    async def resume(app: Toril, found: ScheduleInfo) -> ScheduleInfo:
        return await app.schedules.resume(found.queue, found.id)

    _steer(words, resume, "resumed")


def drop_schedule(words: DropScheduleOptions) -> None:
    """Remove a schedule and its next run; one that the code declares returns with the next worker."""

    async def drop(app: Toril, found: ScheduleInfo) -> ScheduleInfo:
        ask(f"remove schedule {safe(found.id)} of {safe(found.queue)}", yes=words.yes)
        await app.schedules.drop(found.queue, found.id)
        return found

    _steer(words, drop, "removed")


def run_schedule(words: OneScheduleOptions) -> None:
    """Add the job of a schedule now, beside its own runs."""

    async def work() -> tuple[str, str]:
        async with opened(words) as app:
            found = await _find(app, words)
            job = await app.schedules.run_now(found.queue, found.id)
            return job.queue, job.id

    queue, job_id = run(work())
    if words.as_json:
        show_json({"queue": queue, "schedule": words.schedule, "id": job_id})
    else:
        typer.echo(f"added job {safe(f'{queue}:{job_id}', LINE)}")


def _steer(
    words: OneScheduleOptions,
    change: Callable[[Toril, ScheduleInfo], Awaitable[ScheduleInfo]],
    done: str,
) -> None:
    async def work() -> ScheduleInfo:
        async with opened(words) as app:
            return await change(app, await _find(app, words))

    info = run(work())
    if words.as_json:
        show_json(_schedule_json(info))
    else:
        typer.echo(f"{done} {safe(info.id)} of {safe(info.queue)}")


async def _find(app: Toril, words: OneScheduleOptions) -> ScheduleInfo:
    """Find the schedule that was named.

    Raises   ConfigError: there is none, or it is in several queues.
    """
    there = await app.schedules.list(words.queue or None)
    found = [each for each in there if each.id == words.schedule]
    if len(found) == 1:
        return found[0]
    where = "several queues have" if found else "no queue has"
    near = did_you_mean(words.schedule, [each.id for each in there])
    raise ConfigError(
        f"{where} a schedule {words.schedule!r}",
        field="schedule",
        hint="add --queue" if found else near or "see toril schedules",
    )


group(cli, TableOptions)(list_schedules)
command(cli, PauseScheduleOptions, name="pause")(pause_schedule)
command(cli, OneScheduleOptions, name="resume")(resume_schedule)
command(cli, OneScheduleOptions, name="run")(run_schedule)
command(cli, DropScheduleOptions, name="drop")(drop_schedule)
