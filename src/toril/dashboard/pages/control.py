"""Actions on queues and schedules, and the list of operations.

Never here: actions on jobs (act).
"""

from dataclasses import dataclass, replace
from typing import Any

from toril import Queue
from toril.dashboard.board import PageCall
from toril.dashboard.operations import OperationRow
from toril.dashboard.problems import bad_request, not_found
from toril.dashboard.redact import hide_in
from toril.dashboard.rows import RowPage, now_ms
from toril.types import Operation, Ref, ScheduleInfo

from .act import ActAnswer, ActBody, ActTarget, UndoRow, act_on_jobs, act_on_query, flag
from .add import edit_and_run
from .job import JobPlace
from .overview import Nothing
from .schedules import find_schedule

GONE_MS = 60_000
_ON_QUEUES = {
    "pause": "pause", "resume": "pause", "limits": "limits", "empty": "delete", "delete": "delete",
}  # fmt: skip
_ON_SCHEDULES = ("run_now", "pause", "resume", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBody:
    """Which operation."""

    id: str


async def act(call: PageCall, body: ActBody) -> ActAnswer:
    """Do something, or say what it would do.

    Raises   RefusedError: no such action, not exactly one target, or the user may not.
    """
    given = [name for name in ActTarget.__slots__ if getattr(body.target, name) is not None]
    if len(given) != 1:
        names = ", ".join(ActTarget.__slots__)
        raise bad_request(f"target: {len(given)} were given, not one of {names}", "target")
    match given[0]:
        case "jobs":
            answer = await _on_jobs(call, body)
        case "query":
            answer = await act_on_query(call, body)
        case "fingerprint":
            answer = await act_on_query(call, _of_group(body))
        case "queue":
            answer = await _on_queue(call, body)
        case "schedule":
            answer = await _on_schedule(call, body)
        case _:
            raise bad_request("workers cannot be steered from here", "target.worker")
    if not body.dry_run:
        call.board.sampler.forget()
    return answer


def _of_group(body: ActBody) -> ActBody:
    """Return the action on all failed jobs of an error group."""
    query = f"state:failed error:{body.target.fingerprint}"
    return replace(body, target=ActTarget(query=query))


async def _on_jobs(call: PageCall, body: ActBody) -> ActAnswer:
    match body.action:
        case "edit":
            return await edit_and_run(call, body)
        case "priority" | "reschedule":
            return await _change_job(call, body)
        case _:
            return await act_on_jobs(call, body)


async def _change_job(call: PageCall, body: ActBody) -> ActAnswer:
    """Change the priority or the time of one job."""
    places = body.target.jobs or []
    if len(places) != 1:
        raise bad_request(f"{body.action} is for one job", "target.jobs")
    (place,) = places
    call.need("edit", place.queue)
    job = await call.queue(place.queue).job(place.id)
    if job is None:
        raise not_found(f"there is no job {place.id!r} in queue {place.queue!r}")
    if body.dry_run:
        return ActAnswer(count=1, sample=[call.board.row(job.record)])
    undo = None
    if body.action == "priority":
        before = job.record.priority
        await job.set_priority(body.params.get("priority"))  # type: ignore[arg-type]
        undo = UndoRow(action="priority", target=body.target, params={"priority": before})
    else:
        await job.reschedule(body.params.get("delay"))  # type: ignore[arg-type]
    await call.audit(body.action, f"{place.queue}:{place.id}", count=1, reason=body.reason)
    return ActAnswer(done=1, undo=undo)


# Queues.


async def _on_queue(call: PageCall, body: ActBody) -> ActAnswer:
    name = body.target.queue or ""
    if body.action not in _ON_QUEUES:
        raise bad_request(
            f"action={body.action[:50]!r} is not an action on a queue", "action",
            ", ".join(_ON_QUEUES),
        )  # fmt: skip
    call.need(_ON_QUEUES[body.action], name)
    queue = call.queue(name)
    if body.dry_run:
        return await _queue_preview(queue, body)
    match body.action:
        case "pause":
            return await _pause(call, queue, body)
        case "resume":
            await queue.resume()
            await call.audit("resume", name, reason=body.reason)
            return ActAnswer(done=1, undo=UndoRow(action="pause", target=ActTarget(queue=name)))
        case "limits":
            return await _limits(call, queue, body)
        case "empty":
            count = await queue.drain(delayed=flag(body.params, "delayed", default=False))
            await call.audit("empty", name, count=count, reason=body.reason)
            return ActAnswer(done=count)
        case _:
            if body.params.get("confirm") != name:
                message = "deleting a queue deletes every job in it: confirm with its name"
                raise bad_request(message, "params.confirm", name)
            await queue.obliterate(force=flag(body.params, "force", default=False))
            await call.audit("delete", name, reason=body.reason)
            return ActAnswer(done=1)


async def _queue_preview(queue: Queue, body: ActBody) -> ActAnswer:
    counts = await queue.counts()
    count = {"empty": counts.ready, "delete": counts.total}.get(body.action, 1)
    if body.action == "empty" and flag(body.params, "delayed", default=False):
        count += counts.delayed
    confirm = queue.name if body.action == "delete" else None
    return ActAnswer(count=count, by_queue={queue.name: count}, confirm=confirm)


async def _pause(call: PageCall, queue: Queue, body: ActBody) -> ActAnswer:
    until = body.params.get("until")
    if not isinstance(until, str | int | float | None) or isinstance(until, bool):
        raise bad_request("until: give a duration, such as 30m", "params.until")
    await queue.pause(reason=hide_in(body.reason[:500]), until=until or None, by=call.access.user)
    await call.audit("pause", queue.name, reason=body.reason)
    undo = UndoRow(action="resume", target=ActTarget(queue=queue.name))
    return ActAnswer(done=1, undo=undo)


async def _limits(call: PageCall, queue: Queue, body: ActBody) -> ActAnswer:
    allowed = {"concurrency", "rate", "max_waiting"}
    given = {name: each for name, each in body.params.items() if name in allowed}
    if not given or len(given) < len(body.params):
        raise bad_request(
            "limits: give concurrency, rate or max_waiting; null removes one", "params"
        )
    before = limits_of(await queue.settings())
    now = limits_of(await queue.limit(**given))
    await call.audit("limits", queue.name, reason=body.reason, before=before, after=now)
    undo = UndoRow(
        action="limits", target=body.target, params={name: before[name] for name in given}
    )
    return ActAnswer(done=1, undo=undo)


def limits_of(settings: Any) -> dict[str, Any]:
    """Return the limits of a queue, as `limits` takes them."""
    rate = None
    if settings.rate_max is not None and settings.rate_ms is not None:
        rate = f"{settings.rate_max}/{settings.rate_ms}ms"
    return {
        "concurrency": settings.concurrency,
        "rate": rate,
        "max_waiting": settings.max_waiting,
    }


# Schedules.


async def _on_schedule(call: PageCall, body: ActBody) -> ActAnswer:
    place = body.target.schedule
    assert place is not None
    if body.action not in _ON_SCHEDULES:
        raise bad_request(
            f"action={body.action[:50]!r} is not an action on a schedule", "action",
            ", ".join(_ON_SCHEDULES),
        )  # fmt: skip
    call.need("schedules", place.queue)
    schedule = await find_schedule(call, place.queue, place.id)
    if body.dry_run:
        return ActAnswer(count=1)
    added = None
    match body.action:
        case "run_now":
            added = await _run_schedule(call, schedule)
        case "delete":
            await call.app.schedules.drop(place.queue, place.id)
        case "pause":
            reason = hide_in(body.reason[:500])
            await call.app.schedules.pause(
                place.queue, place.id, reason=reason, by=call.access.user
            )
        case _:
            await call.app.schedules.resume(place.queue, place.id)
    selector = f"{place.queue}:{place.id}"
    await call.audit(f"schedule {body.action}", selector, count=1, reason=body.reason)
    return ActAnswer(done=1, added=added)


async def _run_schedule(call: PageCall, schedule: ScheduleInfo) -> JobPlace:
    """Add the job of a schedule now; its own runs stay as they are."""
    ref: Ref = (await call.app.schedules.run_now(schedule.queue, schedule.id)).ref
    return JobPlace(queue=ref.queue, id=ref.id)


# Operations.


async def operations(call: PageCall, _: Nothing) -> RowPage[OperationRow]:
    """Return the operations that the user may see, newest first."""
    here = {row.id: row for row in call.board.operations.rows()}
    stored = {each.id: stored_row(each) for each in await call.app.monitor.operations()}
    rows = sorted({**stored, **here}.values(), key=lambda row: -row.started_ms)
    seen = [row for row in rows if call.access.queues is None or row.by == call.access.user]
    return RowPage(items=seen, total=len(seen))


def stored_row(each: Operation) -> OperationRow:
    """Return an operation of another process, or of one that has ended, as a row."""
    state = each.state
    if state == "running" and now_ms() - each.changed_ms > GONE_MS:
        # The process that worked on it has ended.
        state = "failed"
    return OperationRow(
        id=each.id,
        action=each.action,
        selector=each.selector,
        by=each.by,
        started_ms=each.started_ms,
        finished_ms=each.finished_ms,
        total=each.total,
        done=each.done,
        skipped=each.skipped,
        failed=each.failed,
        state=state,
        rate=each.rate,
    )


async def cancel_operation(call: PageCall, body: OperationBody) -> OperationRow:
    """Stop an operation after its current step.

    Raises   RefusedError: there is none, or the user may not.
    """
    rows = (await operations(call, Nothing())).items
    row = next((row for row in rows if row.id == body.id), None)
    if row is None:
        raise not_found(f"there is no operation {body.id!r}")
    call.need("cancel" if row.action == "cancel" else "retry")
    stopped = call.board.operations.cancel(body.id) or row
    await call.audit("stop operation", body.id)
    return stopped
