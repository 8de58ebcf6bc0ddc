"""What is handed to the machine: jobs of every kind, mostly ready, sometimes delayed."""

from typing import TypeVar

from hypothesis import strategies as st

from toril._model.decide import Action
from toril._model.options import Dedup, JobOptions, Keep
from toril._model.record import NewJob

T = TypeVar("T")
MAIN, KIDS = "main", "kids"
LOCK = 30_000
WINDOW = 2_000


def mostly(usual: T, *others: T) -> st.SearchStrategy[T]:
    """Give the usual value more often than all others together."""
    return st.sampled_from([usual] * (2 * len(others)) + list(others))


queues = mostly(MAIN, KIDS)
delays = mostly(0, 500, 1_000, 40_000)
waits = mostly(0, 1, 500, 1_000, WINDOW, LOCK + 1)
priorities = st.sampled_from([0, 0, 0, 1, 2, 2_097_151])
keeps = mostly(None, Keep(count=0))
actions = st.sampled_from(list(Action))
dedups = st.sampled_from(
    [
        Dedup("simple"),
        Dedup("throttle", ttl="1s"),
        Dedup("debounce", ttl="1s", extend=True, replace=True),
        Dedup("replace", replace=True),
        Dedup("reschedule", reschedule=True),
        Dedup("last", keep_last=True),
    ]
)
policies = st.sampled_from(["fail", "continue", "ignore", "remove", "wait", None])

options = st.builds(
    JobOptions,
    priority=priorities,
    delay_ms=delays,
    lifo=st.booleans(),
    keep_completed=keeps,
    keep_failed=keeps,
)
only_once = st.builds(JobOptions, dedup=dedups, delay_ms=st.sampled_from([0, 500, 1_000]))
of_a_child = st.builds(
    JobOptions, priority=priorities, delay_ms=delays, keep_failed=keeps, parent_on_fail=policies
)

plain = st.builds(NewJob, queue=queues, name=st.just("plain"), options=options)
named = st.builds(
    NewJob,
    queue=st.just(MAIN),
    name=st.just("own id"),
    id=st.sampled_from(["a", "b"]),
    options=options,
)
once = st.builds(NewJob, queue=st.just(MAIN), name=st.just("once"), options=only_once)
jobs = st.one_of(plain, plain, once, named)
