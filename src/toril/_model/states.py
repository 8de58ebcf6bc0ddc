"""The law: which verb moves a job from which state to which, and what it announces.

The contract tests of every store, the model of the state machine test and `docs/states.md`
are made from this table. Never here: how a store does it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job is. Paused is a property of a queue, never of a job."""

    WAITING = "waiting"
    PRIORITIZED = "prioritized"
    DELAYED = "delayed"
    ACTIVE = "active"
    WAITING_CHILDREN = "waiting-children"
    COMPLETED = "completed"
    FAILED = "failed"


W, P, D, A, C, F = (
    State.WAITING,
    State.PRIORITIZED,
    State.DELAYED,
    State.ACTIVE,
    State.COMPLETED,
    State.FAILED,
)
WC = State.WAITING_CHILDREN

READY = (W, P)
FINISHED = (C, F)
EVERY = tuple(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way from state to state.

    Shape    source None: the job did not exist; target empty: the job is gone afterwards.
             More than one target: priority and delay of the job decide.
             guards are what must hold, in words; a guard that fails refuses with `refused`.
    """

    verb: str
    case: str
    source: tuple[State, ...]
    target: tuple[State, ...]
    events: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    same: bool = False

    def reaches(self, before: State | None) -> tuple[State, ...]:
        """Return the states in which a job may be afterwards."""
        return (before,) if self.same and before is not None else self.target


def _row(verb: str, source: tuple[State, ...], target: tuple[State, ...], says: str = "") -> Row:
    name, _, case = verb.partition(" ")
    words, _, guards = says.partition("|")
    return Row(
        verb=name,
        case=case,
        source=source,
        target=target,
        events=tuple(words.split()),
        guards=tuple(guard.strip() for guard in guards.split(",") if guard.strip()),
        same=source == target and len(source) > 1,
    )


TABLE: tuple[Row, ...] = (
    _row("add plain", (), (W,), "added waiting | parent exists"),
    _row("add priority", (), (P,), "added waiting | parent exists"),
    _row("add delay", (), (D,), "added delayed | parent exists"),
    _row("add parent", (), (WC,), "added waiting-children | parent exists"),
    _row("add duplicate", EVERY, EVERY, "duplicated"),
    _row("add deduplicated", EVERY, EVERY, "deduplicated | key held"),
    _row("add replace", (D,), (), "removed deduplicated | key held"),
    _row("add reschedule", (D,), (D,), "deduplicated delayed | key held"),
    _row("claim take", READY, (A,), "active | not paused, below the limits"),
    _row("claim due", (D,), READY, "waiting | due"),
    _row("finish complete", (A,), (C,), "completed | lock, no child pending, no child failed"),
    _row("finish complete-forget", (A,), (), "completed | lock, no child pending, no child failed"),
    _row("finish fail", (A,), (F,), "failed retries-exhausted | lock"),
    _row("finish fail-early", (A,), (F,), "failed | lock, attempts left"),
    _row("finish fail-forget", (A,), (), "failed retries-exhausted | lock"),
    _row("finish retry-now", (A,), READY, "waiting | lock"),
    _row("finish retry-later", (A,), (D,), "delayed | lock"),
    _row("finish snooze", (A,), (D,), "delayed | lock"),
    _row("finish unknown-name", (A,), (D,), "delayed | lock"),
    _row("finish release", (A,), READY, "waiting | lock"),
    _row("finish crashed", (A,), READY, "waiting stalled | lock"),
    _row("finish await-children", (A,), (WC,), "waiting-children | lock, child pending"),
    _row("finish await-nothing", (A,), (A,), "| lock, no child pending"),
    _row("child last-settled", (WC,), READY, "waiting | no child pending"),
    _row("child last-settled-delay", (WC,), (D,), "delayed | no child pending"),
    _row("child failed", (WC, D), READY, "waiting | child failed for good, policy fail"),
    _row("child continued", (WC,), READY, "waiting | child failed for good, policy continue"),
    _row("child continued-delay", (WC,), (D,), "delayed | child failed, policy continue"),
    _row("recover take-back", (A,), (W,), "waiting stalled | lock gone or owner dead"),
    _row("recover overdue", (W, P, D, WC), (F,), "failed | its deadline or time to start passed"),
    _row("recover overdue-forget", (W, P, D, WC), (), "failed | its deadline or time passed"),
    _row("retry", FINISHED, READY, "waiting"),
    _row("promote", (D,), READY, "waiting"),
    _row("update data", EVERY, EVERY),
    _row("update progress", EVERY, EVERY, "progress"),
    _row("update delay", (D,), (D,), "delayed"),
    _row("update priority", READY, (P, W)),
    _row("update priority-later", (D, A, WC, C, F), (D, A, WC, C, F)),
    _row("update cancel", (W, P, D, WC), (F,), "failed | not a schedule's next run"),
    _row("update cancel-asked", (A,), (A,)),
    _row("update cancel-forget", (W, P, D, WC), (), "failed | not a schedule's next run"),
    _row("update overdue", (W, P, D, WC), (F,), "failed | its deadline or time to start passed"),
    _row("finish cancelled", (A,), (F,), "failed | lock, its cancellation was asked for"),
    _row("finish cancelled-forget", (A,), (), "failed | lock, its cancellation was asked for"),
    _row("log", EVERY, EVERY),
    _row("remove", (W, P, D, WC, C, F), (), "removed | not locked, no child locked, no schedule's"),
    _row("drain", (W, P), (), "| no schedule's"),
    _row("drain delayed", (W, P, D), (), "| no schedule's"),
    _row("clean", (W, P, D, WC, C, F), (), "cleaned | old enough, not locked, no schedule's"),
    _row("obliterate", (W, P, D, WC, C, F), (), "| paused, none active"),
    _row("obliterate forced", EVERY, (), "| paused"),
    _row("restore plain", (), (W,), "added waiting | no other job has its id"),
    _row("restore priority", (), (P,), "added waiting | no other job has its id"),
    _row("restore delay", (), (D,), "added delayed | no other job has its id"),
    _row("restore parent", (), (WC,), "added waiting-children | no other job has its id"),
    _row("restore finished", (), (C, F), "| no other job has its id"),
    _row("restore again", EVERY, EVERY, "| came from there before"),
    _row("move", (W, P, D, WC, C, F), (), "| not active"),
)

# What a verb says about a job in a state that has no row. "kept" verbs pass such jobs over.
REFUSED: dict[str, str] = {
    "finish": "LockLost",
    "retry": "WrongState",
    "promote": "WrongState",
    "update delay": "WrongState",
    "update cancel": "WrongState",
    "remove": "JobLocked",
    "claim": "kept",
    "recover": "kept",
    "drain": "kept",
    "clean": "kept",
    "obliterate": "JobLocked",
    "move": "JobLocked",
}


def rows(verb: str) -> Iterator[Row]:
    """Return the rows of one verb, in the table's order."""
    return (row for row in TABLE if row.verb == verb)


def check(verb: str, case: str, before: State) -> Row | None:
    """Find the row that lets `verb case` act on a job in state `before`, if there is one."""
    for row in rows(verb):
        if row.case == case and before in row.source:
            return row
    return None


def _cell(states: tuple[State, ...], none: str) -> str:
    if states == EVERY:
        return "any"
    return " · ".join(states) or none


def document() -> str:
    """Print the table as the text of `docs/states.md`."""
    lines = [
        "# States and verbs",
        "",
        "Printed from `toril/_model/states.py` (`make docs`); the contract tests of every store",
        "are generated from the same table. A queue can be paused, a job cannot.",
        "",
        "| verb | from | to | events, in order | guards |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        name = f"{row.verb}: {row.case}" if row.case else row.verb
        target = "the same" if row.same else _cell(row.target, "gone")
        events = ", ".join(row.events) or "none"
        cells = (name, _cell(row.source, "–"), target, events, ", ".join(row.guards))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "A job in a state that has no row:", "", "| verb | answer |", "|---|---|"]
    lines += [f"| {verb} | {answer} |" for verb, answer in REFUSED.items()]
    return "\n".join(lines) + "\n"
