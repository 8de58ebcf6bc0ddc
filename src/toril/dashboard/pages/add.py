"""Adding a job, editing one and running it again, and showing what is hidden.

Never here: actions on stored jobs (act).
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from toril import Job
from toril.dashboard.board import PageCall
from toril.dashboard.problems import bad_request
from toril.dashboard.redact import Redactor, fields_of, items_of
from toril.dashboard.values import parse
from toril.types import Record

from .act import ActAnswer, ActBody
from .job import JobDetail, JobPlace, JobQuery, find, job

OPTIONS = {
    "attempts", "backoff", "delay", "priority", "lifo", "timeout", "deadline", "expires", "id",
    "dedup", "tags",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AddBody:
    """A job to be added.

    Attributes:
        name: The name of the job, which may be that of a task.
        args_json: Its data as JSON text; of a task an object of arguments by name.
    """

    queue: str
    name: str
    args_json: str = "{}"
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedAnswer:
    """The job that was added; `duplicate`: one with this id or dedup key existed."""

    queue: str
    id: str
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealBody:
    """Whose hidden values to show, and why."""

    queue: str
    id: str
    reason: str


async def add(call: PageCall, body: AddBody) -> AddedAnswer:
    """Add a job."""
    call.need("enqueue", body.queue)
    added = await _put(call, (body.queue, body.name), body.args_json, body.options)
    await call.audit("add", f"{added.queue}:{added.id}", count=1, reason=body.reason)
    return AddedAnswer(queue=added.queue, id=added.id, duplicate=not added.created)


async def _put(
    call: PageCall, place: tuple[str, str], text: str, options: dict[str, Any]
) -> Job[Any]:
    for name in options:
        if name not in OPTIONS:
            raise bad_request(
                f"options: {name[:50]!r} is not an option here", f"options.{name[:50]}",
                ", ".join(sorted(OPTIONS)),
            )  # fmt: skip
    queue, name = place
    task = call.board.task(queue, name)
    if task is not None:
        return await task.using(**options).enqueue_json(text)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"args_json is not JSON: {error}", "args_json") from None
    return await call.queue(queue).add(name, data, **options)


async def edit_and_run(call: PageCall, body: ActBody) -> ActAnswer:
    """Add a job like an existing one with other data; the existing one stays."""
    places = body.target.jobs or []
    if len(places) != 1:
        raise bad_request("edit is for one job", "target.jobs")
    (place,) = places
    call.need("edit", place.queue)
    call.need("enqueue", place.queue)
    record = (await find(call, place.queue, place.id)).record
    if body.dry_run:
        return ActAnswer(count=1, sample=[call.board.row(record)])
    text = body.params.get("data_json", record.data)
    options = fields_of(body.params.get("options", {}))
    if not isinstance(text, str) or options is None:
        raise bad_request("params: data_json is text, options is an object", "params")
    whole = restore(text, record, call.board.redactor)
    added = await _put(call, (record.queue, record.name), whole, options)
    selector = f"{place.queue}:{place.id} as {added.id}"
    await call.audit("edit and run again", selector, count=1, reason=body.reason)
    new = JobPlace(queue=added.queue, id=added.id)
    return ActAnswer(done=1, added=new, duplicate=not added.created)


def restore(text: str, record: Record, redactor: Redactor) -> str:
    """Return edited data with the hidden values of the job where they were left untouched.

    Raises   RefusedError: a hidden value was moved, or a part is missing that was cut.
    """
    try:
        edited, stored = parse(text), parse(record.data)
    except ValueError as error:
        raise bad_request(f"data_json is not JSON: {error}", "params.data_json") from None
    return _write(_merged(edited, stored, (redactor, record.name, ())))


def _merged(edited: Any, stored: Any, where: tuple[Redactor, str, tuple[str, ...]]) -> Any:
    redactor, name, path = where
    fields, items = fields_of(edited), items_of(edited)
    if fields is not None and "$cut" in fields:
        raise bad_request("a part is missing: load the whole value first", "params.data_json")
    if fields is not None and "$hidden" in fields:
        if stored is None or not redactor.hides(name, path, stored):
            at = ".".join(path) or "the value"
            raise bad_request(f"{at}: there is no hidden value here", "params.data_json")
        return stored
    if fields is not None:
        inner = fields_of(stored) or {}
        return {
            key: _merged(each, inner.get(key), (redactor, name, (*path, key)))
            for key, each in fields.items()
        }
    if items is not None:
        there = dict(enumerate(items_of(stored) or []))
        return [
            _merged(each, there.get(at), (redactor, name, (*path, str(at))))
            for at, each in enumerate(items)
        ]
    return edited


def _write(value: Any) -> str:
    """Write JSON with the digits that its numbers had."""
    fields, items = fields_of(value), items_of(value)
    if fields is not None:
        pairs = (f"{json.dumps(key)}: {_write(each)}" for key, each in fields.items())
        return "{" + ", ".join(pairs) + "}"
    if items is not None:
        return "[" + ", ".join(map(_write, items)) + "]"
    return getattr(value, "text", None) or json.dumps(value)


async def reveal(call: PageCall, body: RevealBody) -> JobDetail:
    """Return a job with its hidden values; it is noted in the audit log who asked, and why."""
    call.need("reveal", body.queue)
    if not body.reason.strip():
        raise bad_request("say why: the audit log keeps it", "reason")
    await find(call, body.queue, body.id)
    await call.audit("reveal", f"{body.queue}:{body.id}", count=1, reason=body.reason)
    board = replace(call.board, redactor=Redactor(open=True))
    return await job(replace(call, board=board), JobQuery(queue=body.queue, id=body.id))
