"""A job as it is told: as JSON, as the row of a table, and at length.

Never here: reading it from the store.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from toril._jobs.children import ChildrenView
from toril._jobs.job import Job
from toril._model.options import JobOptions
from toril._model.printable import LINE, safe, safe_lines
from toril._model.record import Record, Try
from toril._model.report import Logs
from toril._model.states import State
from toril._model.stored_options import fault_of
from toril._model.times import describe

from .render import ago, iso, read_json, stamp

TEXT = 2_000
STACK_LINES = 40
CHILDREN = 20
HEADS = ("id", "name", "state", "added", "tries", "what")


def as_json(record: Record) -> dict[str, Any]:
    """Report a job to a script."""
    told: dict[str, Any] = {
        "queue": record.queue,
        "id": record.id,
        "name": record.name,
        "state": record.state.value,
        "ending": ending(record),
        "data": read_json(record.data),
        "options": read_json(record.opts),
        "progress": read_json(record.progress),
        "result": read_json(record.result),
        "reason": record.reason,
        "cancelled": record.cancelled,
        "parent": None if record.parent is None else asdict(record.parent),
        "created_at": iso(record.created_ms),
        "due_at": iso(record.due_ms),
        "started_at": iso(record.started_ms),
        "finished_at": iso(record.finished_ms),
    }
    plain = (
        "priority", "delay_ms", "attempts_made", "runs", "stalls", "unknown", "worker",
        "schedule", "dedup", "letter",
    )  # fmt: skip
    return {**told, **{name: getattr(record, name) for name in plain}}


def ending(record: Record) -> str | None:
    """Return how a job failed where that was not by its own error: cancelled, expired, timeout …"""
    return None if record.end == "failed" else record.end


def as_row(record: Record) -> list[str]:
    """Report a job in a line of a table."""
    tries = f"{record.attempts_made}/{_allowed(record)}"
    added = ago(record.created_ms)
    return [record.id, record.name, record.state.value, added, tries, _gist(record)]


def _allowed(record: Record) -> str:
    """Return how many attempts a job has; its options may be no longer readable."""
    return str(record.options.attempts) if fault_of(record.opts) is None else "?"


def _gist(record: Record) -> str:
    match record.state:
        case State.FAILED:
            return record.reason or ""
        case State.COMPLETED:
            return "" if record.result in (None, "null") else f"→ {record.result}"
        case State.DELAYED:
            tried = f"  after: {record.reason}" if record.reason else ""
            return f"due {ago(record.due_ms)}{tried}"
        case State.ACTIVE:
            progress = f"  {record.progress}" if record.progress else ""
            return f"since {ago(record.started_ms)} on {record.worker or '?'}{progress}"
        case State.PRIORITIZED:
            return f"priority {record.priority}"
        case _:
            return record.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All that is kept of a job."""

    job: Job[Any]
    logs: Logs
    children: ChildrenView

    def as_json(self) -> dict[str, Any]:
        """Report it to a script."""
        record = self.job.record
        return {
            **as_json(record),
            "stack": list(record.stack),
            "tries": [_try_json(each) for each in record.tries],
            "logs": {"total": self.logs.total, "lines": list(self.logs.lines)},
            "children": {
                **asdict(self.children.counts),
                "items": [
                    {
                        "queue": each.queue,
                        "id": each.id,
                        "name": each.name,
                        "outcome": each.outcome,
                        "value": _child_value(each.outcome, each.value),
                    }
                    for each in self.children
                ],
            },
        }

    def as_facts(self) -> list[tuple[str, Sequence[str]]]:
        """Report it to a person: names, and their lines."""
        record = self.job.record
        how = ending(record)
        state = record.state.value + (f" ({how})" if how else "")
        return [
            ("job", [safe(f"{record.queue}:{record.id}", LINE)]),
            ("name", [safe(record.name, LINE)]),
            ("state", [state]),
            *_times(record),
            ("data", [_long(record.data)]),
            ("options", _options(record)),
            (
                "parent",
                _one(f"{record.parent.queue}:{record.parent.id}" if record.parent else None),
            ),
            ("schedule", _one(record.schedule)),
            ("dedup", _one(record.dedup)),
            ("worker", _one(record.worker)),
            ("attempts", [_attempts(record)]),
            ("progress", _one(record.progress)),
            ("result", [] if record.result is None else [_long(record.result)]),
            ("reason", [] if record.reason is None else safe_lines(record.reason)[:STACK_LINES]),
            ("cancelled", _cancelled(record)),
            ("letter", _one(record.letter)),
            ("tries", [_try_line(each) for each in record.tries]),
            ("stack", _stack(record.stack)),
            ("children", self._children()),
            ("logs", self._log_lines()),
        ]

    def _children(self) -> list[str]:
        if not len(self.children):
            return []
        counts = asdict(self.children.counts)
        lines = [", ".join(f"{count:,} {name}" for name, count in counts.items() if count)]
        for each in self.children.items[:CHILDREN]:
            value = f"  {safe(each.value)}" if each.value else ""
            lines.append(
                f"{safe(f'{each.queue}:{each.id}')}  {safe(each.name)}  {each.outcome}{value}"
            )
        return lines + _and_more(len(self.children) - CHILDREN)

    def _log_lines(self) -> list[str]:
        shown = [safe(line, LINE) for line in self.logs.lines]
        left = self.logs.total - len(shown)
        return ([f"({left:,} earlier lines)"] if left > 0 else []) + shown


def _times(record: Record) -> list[tuple[str, Sequence[str]]]:
    times = {
        "added": record.created_ms,
        "due": record.due_ms,
        "started": record.started_ms,
        "finished": record.finished_ms,
    }
    return [(name, [stamp(at)] if at is not None else []) for name, at in times.items()]


def _options(record: Record) -> list[str]:
    fault = fault_of(record.opts)
    if fault is not None:
        return [safe(fault, TEXT)]
    options, usual = record.options, JobOptions()
    given = [
        f"{each.name}={getattr(options, each.name)!r}"
        for each in fields(options)
        if getattr(options, each.name) != getattr(usual, each.name)
    ]
    return [safe(", ".join(given), TEXT)] if given else []


def _attempts(record: Record) -> str:
    text = (
        f"{record.attempts_made} of {_allowed(record)} used, {_times_said('started', record.runs)}"
    )
    if record.stalls:
        text += f", {_times_said('taken back', record.stalls)}"
    if record.unknown:
        text += f", {_times_said('found without a handler', record.unknown)}"
    return text


def _times_said(what: str, count: int) -> str:
    return {0: f"never {what}", 1: f"{what} once"}.get(count, f"{what} {count} times")


def _cancelled(record: Record) -> list[str]:
    return [] if record.cancelled is None else [safe(record.cancelled or "(no reason)", LINE)]


def _try_line(each: Try) -> str:
    lasted = (
        "" if each.started_ms is None else f" after {describe(each.ended_ms - each.started_ms)}"
    )
    where = f" on {safe(each.worker)}" if each.worker else ""
    why = f": {safe(each.reason, LINE)}" if each.reason else ""
    return f"{each.run}. {each.end}{lasted}{where}{why}"


def _try_json(each: Try) -> dict[str, Any]:
    return {
        "run": each.run,
        "worker": each.worker,
        "started_at": iso(each.started_ms),
        "ended_at": iso(each.ended_ms),
        "end": each.end,
        "reason": each.reason,
    }


def _stack(stack: Sequence[str]) -> list[str]:
    """Show the newest stack, its end where it is long: there stands what went wrong."""
    lines = safe_lines(stack[-1].rstrip("\n")) if stack else []
    left = len(lines) - STACK_LINES
    return [f"… {left} lines", *lines[-STACK_LINES:]] if left > 0 else lines


def _child_value(outcome: str, value: str | None) -> Any:
    return read_json(value) if outcome == "completed" else value


def _long(text: str) -> str:
    left = len(text) - TEXT
    more = f" ({left:,} more characters; all of it with --json)" if left > 0 else ""
    return safe(text, TEXT) + more


def _one(text: str | None) -> list[str]:
    return [] if text is None else [safe(text, LINE)]


def _and_more(count: int) -> list[str]:
    return [f"… and {count:,} more"] if count > 0 else []
