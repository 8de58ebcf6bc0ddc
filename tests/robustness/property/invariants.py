"""What must hold in every store after every step, whatever the model says."""

from collections import Counter
from collections.abc import Iterable, Sequence

from toril._model.record import Record, Ref
from toril._model.report import Counts
from toril._model.states import State
from toril.events import (
    Active,
    Completed,
    Delayed,
    Event,
    Failed,
    Removed,
    Waiting,
    WaitingChildren,
)

_LEADS_TO: dict[type[Event], str] = {
    Waiting: "ready",
    Delayed: "delayed",
    Active: "active",
    WaitingChildren: "waiting-children",
    Completed: "completed",
    Failed: "failed",
    Removed: "gone",
}


def each_job_is_in_one_state(listed: Sequence[Record]) -> None:
    """`listed` is what a listing of every state gives."""
    twice = [id for id, times in Counter(record.id for record in listed).items() if times > 1]
    assert not twice, f"listed in more than one state: {twice}"


def counts_equal_the_listing(counts: Counts, listed: Sequence[Record]) -> None:
    found = Counter(record.state for record in listed)
    for state in State:
        counted = getattr(counts, state.replace("-", "_"))
        assert counted == found[state], f"{counted} counted, {found[state]} listed as {state}"


def fields_fit_the_state(record: Record) -> None:
    delayed = record.due_ms is not None
    assert delayed == (record.state is State.DELAYED), f"due {record.due_ms}: {record}"
    finished = record.finished_ms is not None
    assert finished == (record.state in (State.COMPLETED, State.FAILED)), f"finished: {record}"
    if record.state is State.PRIORITIZED:
        assert record.priority > 0
    assert record.attempts_made + record.stalls <= record.runs, f"counters: {record}"


class Replay:
    """Follows the events, and knows from them alone where every job is."""

    def __init__(self) -> None:
        self.states: dict[Ref, str] = {}

    def follow(self, events: Iterable[Event]) -> None:
        for event in events:
            leads_to = _LEADS_TO.get(type(event))
            if leads_to is not None:
                self.states[Ref(event.queue, getattr(event, "job_id", ""))] = leads_to

    def agrees_with(self, listed: Iterable[Record]) -> None:
        """Drains and retention are silent: only jobs that are there can be compared."""
        for record in listed:
            ready = record.state in (State.WAITING, State.PRIORITIZED)
            told = self.states.get(Ref(record.queue, record.id))
            assert told == ("ready" if ready else str(record.state)), f"told to be {told}: {record}"
