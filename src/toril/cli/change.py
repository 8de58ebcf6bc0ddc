"""`toril pause | resume | limit | replay | retry | promote | remove | cancel | clean | drain | obliterate`.

What destroys shows what it is about to do, and asks. Never here: what a verb does.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Annotated, Any

import typer

from toril._app.app import Toril
from toril._app.queue import Queue
from toril._jobs.bulk import How, Steered, Wanted
from toril._jobs.chunks import read_states
from toril._jobs.clock import now_ms
from toril._model.printable import LINE, safe
from toril._model.report import UNSET, QueueSettings
from toril._model.states import State
from toril._model.times import rate_text, to_ms
from toril.errors import ConfigError

from .inspect import STATE, split
from .render import ask, show_json
from .target import FAILED, QUEUE, StoreOptions, find_place, find_queue, opened, run

# How many jobs a preview counts, names, and says were refused.
COUNTED, NAMED, TOLD = 10_000, 5, 20
# What removes a limit.
NONE = "none"
_DONE = {"retry": "retried", "promote": "promoted", "remove": "removed", "cancel": "cancelled"}
_OLDER = typer.Option(
    help="Only jobs that finished (or were added) at least this long ago, such as 90m or 7d."
)
_YES = typer.Option("--yes", "-y", help="Do not ask for confirmation.")


@dataclass(frozen=True, kw_only=True)
class QueueCommandOptions(StoreOptions):
    """The arguments and options of `toril pause` and `toril resume`."""

    queue: QUEUE


@dataclass(frozen=True, kw_only=True)
class PauseOptions(QueueCommandOptions):
    """The arguments and options of `toril pause`."""

    reason: Annotated[str, typer.Option(help="Reason, shown with the queue.")] = ""
    until: Annotated[
        str,
        typer.Option(
            help="Resume then: after a time such as 30m, at 14:30, or at 2026-12-24T14:30."
        ),
    ] = ""
    by: Annotated[str, typer.Option(help="Who pauses it. Default: $USER.")] = ""


@dataclass(frozen=True, kw_only=True)
class JobsToEdit(StoreOptions):
    """Which jobs a command changes: ids, or a selection with --all."""

    queue: QUEUE
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of jobs.", show_default=False)
    ] = None
    state: Annotated[str, STATE] = ""
    name: Annotated[str, typer.Option(help="Only jobs with this name.")] = ""
    older: Annotated[str, _OLDER] = ""
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many jobs.")] = None
    every: Annotated[bool, typer.Option("--all", help="Every matching job, instead of ids.")] = (
        False
    )
    yes: Annotated[bool, _YES] = False


@dataclass(frozen=True, kw_only=True)
class RetryOptions(JobsToEdit):
    """The arguments and options of `toril retry`."""

    reset_attempts: Annotated[
        bool, typer.Option("--reset-attempts", help="Start again with all attempts.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class RemoveOptions(JobsToEdit):
    """The arguments and options of `toril remove`."""

    keep_children: Annotated[
        bool, typer.Option("--keep-children", help="Do not change their children.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class CancelOptions(RemoveOptions):
    """The arguments and options of `toril cancel`."""

    reason: Annotated[str, typer.Option(help="Reason, stored with the jobs.")] = ""


@dataclass(frozen=True, kw_only=True)
class CleanOptions(StoreOptions):
    """The arguments and options of `toril clean`."""

    queue: QUEUE
    state: Annotated[str, STATE] = "completed"
    older: Annotated[str, _OLDER] = "0s"
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many jobs.")] = None
    yes: Annotated[bool, _YES] = False


@dataclass(frozen=True, kw_only=True)
class DrainOptions(StoreOptions):
    """The arguments and options of `toril drain`."""

    queue: QUEUE
    delayed: Annotated[bool, typer.Option("--delayed", help="Remove delayed jobs too.")] = False
    yes: Annotated[bool, _YES] = False


@dataclass(frozen=True, kw_only=True)
class ObliterateOptions(StoreOptions):
    """The arguments and options of `toril obliterate`."""

    queue: QUEUE
    force: Annotated[bool, typer.Option("--force", help="Even while jobs are running.")] = False
    yes: Annotated[bool, _YES] = False


@dataclass(frozen=True, kw_only=True)
class LimitOptions(StoreOptions):
    """The arguments and options of `toril limit`."""

    queue: QUEUE
    concurrency: Annotated[
        str, typer.Option(metavar="N", help="Jobs that run at once, in all workers; or none.")
    ] = ""
    rate: Annotated[
        str, typer.Option(metavar="N/TIME", help="Starts per window, such as 200/60s; or none.")
    ] = ""
    max_waiting: Annotated[str, typer.Option(metavar="N", help="Jobs that may wait; or none.")] = ""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(StoreOptions):
    """The arguments and options of `toril replay`."""

    queue: QUEUE
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids of dead letters.", show_default=False),
    ] = None
    every: Annotated[bool, typer.Option("--all", help="Every dead letter, oldest first.")] = False
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None


# A queue.


def pause(words: PauseOptions) -> None:
    """Pause a queue: nothing new starts, running jobs continue."""
    until = read_until(words.until, datetime.now().astimezone())
    by = words.by or os.environ.get("USER", "")
    _edit_queue(words, lambda queue: queue.pause(reason=words.reason, until=until, by=by), "paused")


def read_until(text: str, now: datetime) -> datetime | str | None:
    """Read when a pause ends: a duration, a time of the day or a moment, in local time.

    Raises   ConfigError: it is none of these.
    """
    if ":" not in text and "-" not in text:
        return text or None
    try:
        if "-" in text:
            return datetime.fromisoformat(text).astimezone()
        at = datetime.combine(now, time.fromisoformat(text), now.tzinfo)
    except ValueError as error:
        raise ConfigError(
            f"until={text!r} is not a time", field="until", value=text,
            hint="write 30m, 14:30 or 2026-12-24T14:30",
        ) from error  # fmt: skip
    return at if at > now else at + timedelta(days=1)


def resume(words: QueueCommandOptions) -> None:
    """Resume a paused queue."""
    _edit_queue(words, lambda queue: queue.resume(), "resumed")


def _edit_queue(
    words: QueueCommandOptions, edit: Callable[[Queue], Awaitable[None]], done: str
) -> None:
    async def work() -> str:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            await edit(queue)
            return queue.name

    name = run(work())
    _tell(words, f"{done} {safe(name)}", {"queue": name, "done": done})


def limit(words: LimitOptions) -> None:
    """Change the limits of a queue for all workers, or show them if none is given."""
    given: dict[str, Any] = {
        "concurrency": _whole(words.concurrency, "concurrency"),
        "rate": None if words.rate == NONE else words.rate or UNSET,
        "max_waiting": _whole(words.max_waiting, "max_waiting"),
    }

    async def work() -> tuple[str, QueueSettings]:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            if all(value is UNSET for value in given.values()):
                return queue.name, await queue.settings()
            return queue.name, await queue.limit(**given)

    name, settings = run(work())
    most, window = settings.rate_max, settings.rate_ms
    rate = None if most is None or window is None else rate_text(most, window)
    told = {
        "concurrency": settings.concurrency,
        "rate": rate,
        "max_waiting": settings.max_waiting,
    }
    line = ", ".join(f"{key} {NONE if value is None else value}" for key, value in told.items())
    _tell(words, f"{safe(name)}: {line}", {"queue": name, **told})


def _whole(text: str, field: str) -> Any:
    """Read a number of an option, or that there is to be none."""
    if text in ("", NONE):
        return None if text else UNSET
    if not text.isdecimal():
        raise ConfigError(
            f"{field}={text!r} is not a whole number", field=field, value=text, hint="or none"
        )
    return int(text)


# Jobs.


def replay(words: ReplayOptions) -> None:
    """Run the jobs of dead letters again: these letters, or with --all every one of the queue."""
    if bool(words.ids) == words.every:
        raise ConfigError("which dead letters to replay?", hint="give their ids, or --all")

    async def work() -> tuple[str, list[str]]:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            jobs = await queue.replay(*words.ids or (), limit=words.limit)
            return queue.name, [f"{job.queue}:{job.id}" for job in jobs]

    name, jobs = run(work())
    named = f": {', '.join(safe(each, 40) for each in jobs[:NAMED])}" if jobs else ""
    rest = ", …" if len(jobs) > NAMED else ""
    told = {"queue": name, "verb": "replay", "done": len(jobs), "jobs": jobs}
    _tell(words, f"replayed {_count(len(jobs))} of {safe(name)}{named}{rest}", told)


def retry(words: RetryOptions) -> None:
    """Run finished jobs again: these ids, or with --all the failed ones."""
    how = How(reset_attempts=words.reset_attempts)
    _steer("retry", words, how, default=(State.FAILED,))


def promote(words: JobsToEdit) -> None:
    """Start delayed jobs now: these ids, or all of them with --all."""
    _steer("promote", words, How(), default=(State.DELAYED,))


def remove(words: RemoveOptions) -> None:
    """Remove jobs and their children: these ids, or those in --state with --all."""
    _steer("remove", words, How(children=not words.keep_children))


def cancel(words: CancelOptions) -> None:
    """Cancel jobs and their children: these ids, or those in --state with --all."""
    _steer("cancel", words, How(children=not words.keep_children, reason=words.reason))


def _steer(verb: str, words: JobsToEdit, how: How, default: tuple[State, ...] = ()) -> None:
    wanted = _wanted(words, default)

    async def work() -> tuple[str, Steered]:
        async with opened(words) as app:
            queue, ids = await _ids(app, words)
            if ids and wanted is not None:
                raise ConfigError("ids exclude --all and what goes with it")
            if not ids:
                return queue.name, await _sweep(verb, words, queue, _required(wanted, verb), how)
            if verb == "remove":
                ask(f"remove {_some(len(ids), ids)} of {safe(queue.name)}", yes=words.yes)
            return queue.name, await queue.steer(verb, *ids, how=how)

    name, steered = run(work())
    _report(words, verb, name, steered)


async def _sweep(verb: str, words: JobsToEdit, queue: Queue, wanted: Wanted, how: How) -> Steered:
    if verb in ("remove", "cancel") and not words.yes:
        await _ask_about(verb, queue, wanted)
    return await queue.sweep(verb, wanted, how)


async def _ids(app: Toril, words: JobsToEdit) -> tuple[Queue, list[str]]:
    if words.ids:
        return await find_queue(app, words.queue), words.ids
    queue, job_id = await find_place(app, words.queue)
    return queue, [] if job_id is None else [job_id]


def _wanted(words: JobsToEdit, default: tuple[State, ...]) -> Wanted | None:
    """Read what jobs are meant where no ids are given; None: nothing was said of that."""
    if not (words.every or words.state or words.name or words.older or words.limit):
        return None
    if not words.every:
        raise ConfigError("to act on more than the given ids, say so", hint="add --all")
    before = now_ms() - to_ms(words.older, field="older") if words.older else None
    return Wanted(
        states=read_states(split(words.state)) or default,
        name=words.name or None,
        before_ms=before,
        limit=words.limit,
    )


def _required(wanted: Wanted | None, verb: str) -> Wanted:
    if wanted is None:
        raise ConfigError(
            f"which jobs to {verb}?", hint="give their ids, or --all and what they are (--state)"
        )
    if not wanted.states:
        raise ConfigError(f"--all: in which state? {verb} needs it", hint="such as --state failed")
    return wanted


def _report(words: StoreOptions, verb: str, queue: str, steered: Steered) -> None:
    refused = {job_id: " ".join(str(why).split()) for job_id, why in steered.refused.items()}
    for job_id, why in [*refused.items()][:TOLD] if not words.as_json else ():
        typer.echo(f"refused {safe(f'{queue}:{job_id}')}: {safe(why, LINE)}", err=True)
    if len(refused) > TOLD and not words.as_json:
        typer.echo(f"refused {len(refused) - TOLD:,} more; all of them with --json", err=True)
    told = {"queue": queue, "verb": verb, "done": len(steered.done), "ids": steered.done}
    done = f"{_DONE[verb]} {_count(len(steered.done))} of {safe(queue)}"
    _tell(words, done, {**told, "refused": refused})
    if refused:
        raise typer.Exit(FAILED)


# Many jobs at once.


def clean(words: CleanOptions) -> None:
    """Remove old jobs of one state; running jobs stay."""
    before = now_ms() - to_ms(words.older, field="older")
    states = read_states(split(words.state))
    wanted = Wanted(states=states, before_ms=before, limit=words.limit)

    async def work() -> tuple[str, int]:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            if not words.yes:
                await _ask_about("remove", queue, wanted)
            done = await queue.clean(states, older_than=words.older, limit=words.limit)
            return queue.name, len(done)

    _tell_removed(words, *run(work()))


def drain(words: DrainOptions) -> None:
    """Remove all waiting jobs; running jobs continue."""
    states = read_states(["ready", "delayed"] if words.delayed else "ready")

    async def work() -> tuple[str, int]:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            if not words.yes:
                await _ask_about("remove", queue, Wanted(states=states))
            return queue.name, await queue.drain(delayed=words.delayed)

    _tell_removed(words, *run(work()))


def obliterate(words: ObliterateOptions) -> None:
    """Delete a queue and every job in it."""

    async def work() -> tuple[str, int]:
        async with opened(words) as app:
            queue = await find_queue(app, words.queue)
            counts = await queue.counts()
            if counts.active and not words.force:
                # Before anything: the store would refuse it when the queue is paused already.
                raise ConfigError(
                    f"{_count(counts.active)} of queue {queue.name!r} run",
                    hint="wait for them, cancel them, or add --force",
                )
            name = safe(queue.name)
            ask(f"remove queue {name} with {_count(counts.total)}", yes=words.yes)
            await queue.obliterate(force=words.force)
            return queue.name, counts.total

    _tell_removed(words, *run(work()))


def _tell_removed(words: StoreOptions, queue: str, count: int) -> None:
    told = {"queue": queue, "verb": "remove", "done": count}
    _tell(words, f"removed {_count(count)} of {safe(queue)}", told)


# Telling and asking.


async def _ask_about(verb: str, queue: Queue, wanted: Wanted) -> None:
    """Print how many jobs will change and the first of them, and ask, if there are any."""
    most = COUNTED if wanted.limit is None else min(COUNTED, wanted.limit)
    first: list[str] = []
    count = 0
    async for job in queue.jobs(wanted.states, name=wanted.name):
        if not wanted.has(job.record):
            continue
        if count < NAMED:
            first.append(f"{job.id} {job.name}")
        count += 1
        if count >= most:
            break
    if count:
        more = count == COUNTED and wanted.limit != COUNTED
        what = _some(count, first, or_more=more)
        ask(f"{verb} {what} of {safe(queue.name)}", yes=False)


def _some(count: int, first: list[str], *, or_more: bool = False) -> str:
    named = ", ".join(safe(each, 40) for each in first[:NAMED])
    rest = ", …" if count > NAMED else ""
    return f"{_count(count)}{' or more' if or_more else ''} ({named}{rest})"


def _count(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def _tell(words: StoreOptions, line: str, told: dict[str, Any]) -> None:
    if words.as_json:
        show_json(told)
    else:
        typer.echo(line)
