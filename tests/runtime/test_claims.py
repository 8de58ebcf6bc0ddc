"""Who may claim how much: places dealt in turn, caps of names, and rests that grow."""

import pytest

from toril._model.bounds import JOBS_A_CALL
from toril._model.record import Claim, Record
from toril._model.states import State
from toril._store.values import Claimed, ClaimRequest
from toril._worker.claims import LONGEST_REST_S, ClaimSource, ClaimSources, Mood, Terms

TERMS = Terms(lock_ms=30_000, worker="w")


def sources(*queues: ClaimSource, total: int | None = None) -> ClaimSources:
    return ClaimSources(queues, TERMS, total=total)


def source(queue: str = "q", concurrency: int = 10, **caps: int) -> ClaimSource:
    return ClaimSource(queue, concurrency, dict(caps))


def limits(requests: list[ClaimRequest]) -> dict[str, int]:
    return {request.queue: request.limit for request in requests}


def claims(count: int) -> tuple[Claim, ...]:
    record = Record(
        queue="q", id="1", name="x", data="{}", opts="{}", state=State.ACTIVE, created_ms=0
    )
    return (Claim(record, "t", 0),) * count


def empty(blocked: str = "", next_ms: int | None = None) -> Claimed:
    return Claimed(queue="q", blocked=blocked, next_ms=next_ms, now_ms=1_000)


def test_each_queue_asks_for_the_places_it_has() -> None:
    assert limits(sources(source("a", 3), source("b", 5)).deal("t")) == {"a": 3, "b": 5}


def test_one_call_is_bounded() -> None:
    assert limits(sources(source("a", 1_000)).deal("t")) == {"a": JOBS_A_CALL}


def test_a_shared_limit_is_dealt_evenly() -> None:
    assert limits(sources(source("a"), source("b"), total=5).deal("t")) in (
        {"a": 3, "b": 2},
        {"a": 2, "b": 3},
    )


def test_the_only_place_goes_to_each_queue_in_turn() -> None:
    worker = sources(source("a"), source("b"), source("c"), total=1)

    assert {next(iter(limits(worker.deal("t")))) for _ in range(3)} == {"a", "b", "c"}


def test_a_full_queue_asks_for_nothing() -> None:
    full = source(concurrency=2)
    full.enter("x")
    full.enter("x")

    assert sources(full).deal("t") == []

    full.leave("x")
    assert limits(sources(full).deal("t")) == {"q": 1}


def test_so_few_are_asked_for_that_no_name_gets_over_its_cap() -> None:
    capped = source(high=3, normal=1)
    (first,) = sources(capped).deal("t")
    capped.enter("normal")
    (second,) = sources(capped).deal("t")

    assert (first.limit, first.skip) == (1, frozenset())
    assert (second.limit, second.skip) == (3, {"normal"})


def test_a_name_that_gets_a_place_again_is_asked_for_at_once() -> None:
    capped = source(normal=1)
    worker = sources(capped)
    capped.enter("normal")
    (request,) = worker.deal("t")
    worker.note(request, empty())
    assert worker.deal("t") == []

    capped.leave("normal")

    assert limits(worker.deal("t")) == {"q": 1}


def test_a_full_answer_is_followed_by_another_look() -> None:
    worker = sources(source(concurrency=2))
    (request,) = worker.deal("t")

    assert worker.note(request, Claimed(queue="q", jobs=claims(2))) is None
    assert worker["q"].mood is Mood.READY


def test_an_empty_answer_is_followed_by_listening() -> None:
    worker = sources(source())
    (request,) = worker.deal("t")

    assert worker.note(request, empty()) is None
    assert worker.listening() == {"q"}


def test_hints_that_lead_to_nothing_are_followed_by_ever_longer_rests() -> None:
    worker = sources(source())
    rests: list[float | None] = []
    for _ in range(12):
        worker.wake(["q"], waited=0.0)
        (request,) = worker.deal("t")
        rests.append(worker.note(request, empty()))

    assert rests[:4] == [None, 0.005, 0.01, 0.02]
    assert rests[-1] == LONGEST_REST_S


def test_a_hint_that_took_a_while_ends_the_series() -> None:
    worker = sources(source())
    for waited in (0.0, 0.0, 0.0, 1.0):
        worker.wake(["q"], waited=waited)
        (request,) = worker.deal("t")
        rest = worker.note(request, empty())

    assert rest is None


def test_a_rate_limit_is_sat_out_to_its_end() -> None:
    worker = sources(source())
    (request,) = worker.deal("t")

    assert worker.note(request, empty("rate", next_ms=1_250)) == pytest.approx(0.25)
    assert worker.listening() == frozenset()


def test_a_place_that_the_queue_lacked_is_tried_when_a_job_ends_here() -> None:
    worker = sources(source())
    worker["q"].enter("x")
    (request,) = worker.deal("t")
    worker.note(request, empty("concurrency"))
    worker["q"].leave("x")

    assert worker["q"].mood is Mood.READY
