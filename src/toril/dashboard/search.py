"""The language of the search box: `state:failed task:send_* run:>30s user_id:481 text`.

Never here: reading jobs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from toril.types import Record

from .redact import Redactor, fields_of, items_of
from .rows import run_ms, wait_ms
from .values import parse, show

STATES = {
    "waiting": ("waiting",),
    "prioritized": ("prioritized",),
    "delayed": ("delayed",),
    "active": ("active",),
    "waiting-children": ("waiting-children",),
    "completed": ("completed",),
    "failed": ("failed",),
    "ready": ("waiting", "prioritized"),
    "scheduled": ("delayed",),
    "finished": ("completed", "failed"),
}
EVERY = ("active", "waiting", "prioritized", "delayed", "waiting-children", "failed", "completed")
LONGEST = 4_096

_TOKEN = re.compile(r'(?:(?P<key>[^\s:"]+):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>\S+))')
_TIME = re.compile(r"(?P<sign>[<>]?)(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d|w)")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_OWN = {"state", "queue", "task", "name", "worker", "error", "since", "run", "wait", "text", "id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """A part of a search that cannot be understood, and where it begins."""

    at: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was asked for, part by part; what is empty does not matter.

    Attributes:
        run_over_ms: The last attempt took longer than this.
        words: Words without a key: an id, or text that is looked for.
        fields: Values of declared search fields, or of paths in the data ("args.user.plan").
    """

    states: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    since_ms: int | None = None
    run_over_ms: int | None = None
    run_under_ms: int | None = None
    wait_over_ms: int | None = None
    wait_under_ms: int | None = None
    fields: tuple[tuple[str, str], ...] = ()
    problems: tuple[SearchProblem, ...] = field(default=())

    @property
    def is_by_field(self) -> bool:
        """Whether nothing but search fields, states and queues was asked for."""
        others = (self.tasks, self.workers, self.errors, self.texts, self.words, self.ids)
        times = (self.since_ms, self.run_over_ms, self.run_under_ms)
        waits = (self.wait_over_ms, self.wait_under_ms)
        timed = any(each is not None for each in (*times, *waits))
        return bool(self.fields) and not any(others) and not timed

    @property
    def looks(self) -> bool:
        """Whether jobs have to be looked at one by one."""
        times = (self.since_ms, self.run_over_ms, self.run_under_ms)
        waits = (self.wait_over_ms, self.wait_under_ms)
        many = (self.tasks, self.workers, self.errors, self.texts, self.words, self.fields)
        return any(many) or any(each is not None for each in (*times, *waits))


def read_search(text: str, now: int) -> Search:
    """Read what was typed; what cannot be understood is reported, and the rest holds."""
    found: dict[str, list[str]] = {}
    fields: list[tuple[str, str]] = []
    times: dict[str, int] = {}
    problems: list[SearchProblem] = []
    if len(text) > LONGEST:
        problems.append(
            SearchProblem(at=LONGEST, message=f"a search has at most {LONGEST} characters")
        )
        text = text[:LONGEST]
    for token in _TOKEN.finditer(text):
        key, value = token["key"], token["quoted"]
        value = token["plain"] if value is None else re.sub(r"\\(.)", r"\1", value)
        if key in ("since", "run", "wait"):
            problem = _read_time(key, value, now, times)
            if problem:
                problems.append(SearchProblem(at=token.start(), message=problem))
        elif key == "state" and value not in STATES:
            message = f"there is no state {value!r}; states: {', '.join(STATES)}"
            problems.append(SearchProblem(at=token.start(), message=message))
        elif key is None or key in _OWN:
            found.setdefault(key or "words", []).append(value)
        else:
            fields.append((key, value))
    states = [state for name in found.get("state", ()) for state in STATES[name]]
    return Search(
        states=tuple(dict.fromkeys(states)),
        queues=tuple(found.get("queue", ())),
        tasks=(*found.get("task", ()), *found.get("name", ())),
        workers=tuple(found.get("worker", ())),
        errors=tuple(found.get("error", ())),
        ids=tuple(found.get("id", ())),
        texts=tuple(found.get("text", ())),
        words=tuple(found.get("words", ())),
        fields=tuple(fields),
        problems=tuple(problems),
        **times,
    )


def _read_time(key: str, value: str, now: int, times: dict[str, int]) -> str | None:
    found = _TIME.fullmatch(value)
    if found is None:
        return f"{key}:{value} is not a duration; write {key}:{'2h' if key == 'since' else '>30s'}"
    ms = round(float(found["number"]) * _UNITS[found["unit"]])
    if key == "since":
        times["since_ms"] = now - ms
    else:
        times[f"{key}_{'under' if found['sign'] == '<' else 'over'}_ms"] = ms
    return None


def matcher(search: Search, redactor: Redactor, now: int) -> Callable[[Record], bool]:
    """Return what tells whether a job is one of those that were asked for."""
    texts = (*search.texts, *search.words)

    def matches(record: Record) -> bool:
        return (
            _is_named(search, record)
            and _is_timed(search, record, now)
            and all(_has_field(record, redactor, *each) for each in search.fields)
            and all(_has_text(record, redactor, each) for each in texts)
        )

    return matches


def _is_named(search: Search, record: Record) -> bool:
    if search.tasks and not any(fnmatchcase(record.name, each) for each in search.tasks):
        return False
    if search.workers and not any(fnmatchcase(record.worker or "", w) for w in search.workers):
        return False
    return not search.errors or any(
        each == record.fingerprint or each.lower() in (record.reason or "").lower()
        for each in search.errors
    )


def _is_timed(search: Search, record: Record, now: int) -> bool:
    at = moment_of(record)
    if search.since_ms is not None and at < search.since_ms:
        return False
    run, wait = run_ms(record, now), wait_ms(record)
    bounds = (
        (search.run_over_ms, search.run_under_ms, run),
        (search.wait_over_ms, search.wait_under_ms, wait),
    )
    for over, under, found in bounds:
        if (over is None and under is None) or (found is not None and _within(found, over, under)):
            continue
        return False
    return True


def _within(found: int, over: int | None, under: int | None) -> bool:
    return (over is None or found > over) and (under is None or found < under)


def moment_of(record: Record) -> int:
    """Return when something last happened to a job, which orders it among others."""
    return record.finished_ms or record.started_ms or record.created_ms


def _has_text(record: Record, redactor: Redactor, text: str) -> bool:
    """Look for a text in what may be shown; what is hidden cannot be found by its parts."""
    if text == record.id or text.lower() in record.name.lower():
        return True
    for each in (record.data, record.reason, record.result):
        if each and text.lower() in each.lower():
            shown = show(each, redactor, record.name, most=len(each) + 1)
            if shown is not None and text.lower() in shown.text.lower():
                return True
    return False


def _has_field(record: Record, redactor: Redactor, path: str, wanted: str) -> bool:
    """Compare a value in the data, or one of the job's declared fields, with what was typed."""
    if (path, wanted) in record.fields:
        return True
    try:
        value: object = parse(record.data)
    except ValueError:
        return False
    for step in path.removeprefix("args.").split("."):
        fields, items = fields_of(value), items_of(value)
        if fields is not None and step in fields:
            value = fields[step]
        elif items is not None and step.isdigit() and int(step) < len(items):
            value = items[int(step)]
        else:
            return False
    if isinstance(value, bool) or value is None:
        return wanted == {True: "true", False: "false", None: "null"}[value]
    return isinstance(value, str | int | float) and str(value) == wanted
