"""The simulator finds bugs: each of these is put in, and found before the seeds of a run end."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.robustness.simulator.conftest import SEEDS
from tests.robustness.simulator.plan import make_plan
from tests.robustness.simulator.world import simulate
from toril._store.sqlite.verbs import finish, schedule
from toril._worker import heartbeat
from toril._worker.claims import ClaimSource
from toril._worker.exchange import Exchange
from toril._worker.phase import Phase
from toril._worker.running import RunningJobs
from toril._worker.running_job import RunningJob

Break = Callable[[pytest.MonkeyPatch], None]


def forgets_to_settle(patch: pytest.MonkeyPatch) -> None:
    """Now and then a job keeps its decision to itself."""
    real, count = RunningJobs._settle, itertools.count(1)

    def settle(self: RunningJobs, running: RunningJob, ended: Any) -> None:
        if next(count) % 25:
            real(self, running, ended)

    patch.setattr(RunningJobs, "_settle", settle)


def loses_a_place(patch: pytest.MonkeyPatch) -> None:
    """A decision that did not arrive takes its place back, and had not given it up."""

    def unsend(self: RunningJobs, batch: Any) -> None:
        for running, _ in batch:
            running.phase = Phase.DECIDED
            running.placed = True
            running.source.enter(running.claim.record.name)
            running.source.enter(running.claim.record.name)
        self.outbox[:0] = batch
        self._host.wake()

    patch.setattr(RunningJobs, "unsend", unsend)


def gains_a_place(patch: pytest.MonkeyPatch) -> None:
    """A source asks for one job more than it has room for."""
    real = ClaimSource.request

    def request(self: ClaimSource, most: int, token: str, terms: Any) -> Any:
        self.concurrency += 1
        try:
            return real(self, most, token, terms)
        finally:
            self.concurrency -= 1

    patch.setattr(ClaimSource, "request", request)


def drops_its_batch(patch: pytest.MonkeyPatch) -> None:
    """What a failed trip carried is forgotten."""
    patch.setattr(RunningJobs, "unsend", lambda self, batch: None)


def never_checks_its_lease(patch: pytest.MonkeyPatch) -> None:
    """Decisions go out whether their lock holds or not."""
    real = RunningJobs.send

    def send(self: RunningJobs, most: int) -> Any:
        for running, _ in self.outbox:
            running.lease_until = float("inf")
        return real(self, most)

    patch.setattr(RunningJobs, "send", send)


def counts_a_lock_from_its_answer(patch: pytest.MonkeyPatch) -> None:
    """The lock of a claim is counted from when its answer came, however late that was."""
    real = Exchange._unpack

    def unpack(self: Exchange, request: Any, claimed: Any, began: float) -> None:
        real(self, request, claimed, heartbeat.lease_clock())

    patch.setattr(Exchange, "_unpack", unpack)


def arms_a_run_too_many(patch: pytest.MonkeyPatch) -> None:
    """A schedule that is stored again while its run goes on begins anew."""
    real = schedule._change

    def change(unit: Any, queue: Any, old: Any, new: Any, now: int) -> Any:
        if schedule._armed(unit, queue, old) is None:
            return schedule._arm(unit, queue, new, now)
        return real(unit, queue, old, new, now)

    patch.setattr(schedule, "_change", change)


def ignores_the_fence(patch: pytest.MonkeyPatch) -> None:
    """The store takes a decision from whoever brings it while the job is active."""
    real = finish._refuse

    def refuse(unit: Any, decision: Any, job: Any) -> Any:
        job.token = decision.token
        return real(unit, decision, job)

    patch.setattr(finish, "_refuse", refuse)


def keeps_the_key(patch: pytest.MonkeyPatch) -> None:
    """A job that has ended goes on holding its dedup key."""
    patch.setattr(finish, "free_dedup", lambda *_: None)


def frees_parents_early(patch: pytest.MonkeyPatch) -> None:
    """A parent is released by the first of its children."""
    real = finish.family.complete_children

    def complete(unit: Any, rows: Any, now: int) -> None:
        real(unit, rows, now)
        for row in rows:
            finish.family._release_now(unit, row[0], now)

    patch.setattr(finish.family, "complete_children", complete)


@pytest.mark.timeout(90)  # it searches world after world, and then shrinks what it found
@pytest.mark.parametrize(
    ("put_in", "first"),
    [
        # The second is where to begin: shortly before a seed that is known to find it.
        (forgets_to_settle, 0),
        (loses_a_place, 0),
        (gains_a_place, 0),
        (drops_its_batch, 0),
        (never_checks_its_lease, 10),
        (counts_a_lock_from_its_answer, 0),
        (frees_parents_early, 0),
        (arms_a_run_too_many, 0),
        (keeps_the_key, 0),
        # Only a decision that is under way when its lock goes meets the fence.
        (ignores_the_fence, 85),
    ],
)
def test_a_bug_is_found(put_in: Break, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch)

    assert _finds([*range(first, SEEDS), *range(first)])


def _finds(seeds: Sequence[int]) -> bool:
    return any(simulate(make_plan(seed)).fault is not None for seed in seeds)
