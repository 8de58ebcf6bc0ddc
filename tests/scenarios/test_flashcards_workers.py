"""Flash cards: how many jobs run at once, and what becomes of workers that block or die.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.cards import CARD, CHECKS, IMAGES, echo
from tests.scenarios.helpers import (
    LATE,
    Journal,
    Valve,
    kinds,
    kinds_of,
    program,
    soon,
    stands,
    until,
)
from toril import Job, LockLost, State, Toril
from toril._model.decide import Action, Decision, End
from toril._model.record import Claim
from toril._model.report import JobPatch
from toril._store.values import ClaimRequest, LogLine

# S000-06, 07, 08  Concurrency.


class TestConcurrency:
    async def test_default_concurrency_is_1_and_the_second_starts_without_a_new_add(
        self, app: Toril
    ) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        await queue.add_many([("optimize-size", CARD)] * 2)

        async with app.worker(IMAGES, gated):
            await stands(queue, A=1, W=1)
            valve.let(1)
            await stands(queue, A=1, C=1)
            valve.let(1)
            await stands(queue, C=2)

    async def test_concurrency_2(self, app: Toril) -> None:
        queue, valve = app.queue(IMAGES), Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        await queue.add_many([("optimize-size", CARD)] * 3)

        async with app.worker(IMAGES, gated, concurrency=2):
            await stands(queue, A=2, W=1)
            valve.let(3)
            await stands(queue, C=3)


def begun(log: Path) -> set[int]:
    """Return the processes that have begun a job."""
    return (
        {int(line.split()[1]) for line in log.read_text().splitlines()} if log.exists() else set()
    )


class TestTwoWorkerProcesses:
    async def test_concurrency_2_each_makes_4_active_and_1_waiting_then_5_completed(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """Each job runs exactly once, and both processes stand in the run log."""
        queue, gate, log = app.queue(IMAGES), tmp_path / "gate", tmp_path / "runs"
        given = {"url": url, "queue": IMAGES, "concurrency": 2, "log": log}
        async with program("worker", **given) as one, program("worker", **given) as two:
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=4, W=1)
            gate.touch()
            await stands(queue, C=5)

            runs = [line.split() for line in log.read_text().splitlines()]
            assert Counter(job_id for job_id, _ in runs) == dict.fromkeys("12345", 1)
            assert {int(pid) for _, pid in runs} == {one.pid, two.pid}

    async def test_the_fifth_starts_when_any_slot_frees(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue = app.queue(IMAGES)
        gates = [tmp_path / f"gate-{number}" for number in range(5)]
        given = {"url": url, "queue": IMAGES, "concurrency": 2}
        async with program("worker", **given), program("worker", **given):
            jobs = await queue.add_many([("optimize-size", {"gate": str(g)}) for g in gates])
            await stands(queue, A=4, W=1)

            for number in (3, 0):  # on whichever worker these are
                gates[number].touch()
                await jobs[number].result(5)
                await stands(queue, A=4 if number == 3 else 3, C=1 if number == 3 else 2)

            assert await jobs[4].state() == State.ACTIVE

    async def test_concurrency_2_and_1_makes_3_active_and_2_waiting(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        given = {"url": url, "queue": IMAGES}
        async with (
            program("worker", concurrency=2, **given),
            program("worker", concurrency=1, **given),
        ):
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=3, W=2)
            gate.touch()
            await stands(queue, C=5)

    async def test_both_workers_are_listed_with_host_pid_concurrency_and_the_jobs_in_hand(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        given = {"url": url, "queue": IMAGES, "lock": "1s"}
        async with (
            program("worker", concurrency=2, **given) as one,
            program("worker", concurrency=1, **given) as two,
        ):
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            await stands(queue, A=3, W=2)

            async def listed() -> set[tuple[str, int, int, int]]:
                workers = await queue.workers()
                return {(w.host, w.pid, w.concurrency, w.active) for w in workers}

            host = socket.gethostname()
            await until(listed, {(host, one.pid, 2, 2), (host, two.pid, 1, 1)})
            gate.touch()

    async def test_when_one_is_ended_politely_the_other_takes_over_what_waits(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue, gate, log = app.queue(IMAGES), tmp_path / "gate", tmp_path / "runs"
        given = {"url": url, "queue": IMAGES, "concurrency": 1, "log": log}
        async with program("worker", **given) as one, program("worker", **given) as two:
            await queue.add_many([("optimize-size", {"gate": str(gate)})] * 5)
            # A job that is claimed and has not begun is given back by a worker that stops.
            await until(lambda: begun(log), {one.pid, two.pid})
            one.send(signal.SIGTERM)
            await one.says("closing")
            gate.touch()

            assert await one.exited() == 0
            await stands(queue, C=5)

            runs = [line.split() for line in log.read_text().splitlines()]
            assert Counter(job_id for job_id, _ in runs) == dict.fromkeys("12345", 1)
            assert [int(pid) for _, pid in runs].count(two.pid) == 4


# S000-12  Handler blocks the event loop; lock lost.


class TestHandlerBlocks:
    async def test_a_loop_blocked_for_three_lock_times_completes_once_and_the_line_is_named(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """The lock is renewed from a thread, while a second worker looks for stalled jobs."""
        queue, log, thief = app.queue(IMAGES), tmp_path / "runs", Journal()

        async def steal(job: Job[Any]) -> None:
            with thief.run():
                pass

        given = {"lock": "500ms", "block_warning": "200ms", "log": log}
        async with program("worker", url=url, queue=IMAGES, **given) as worker:
            job = await queue.add("optimize-size", {"spin": 1500, "ms": 50})
            await stands(queue, A=1)
            async with app.worker(IMAGES, steal, stalled_interval="50ms"):
                await job.result(5)

            await stands(queue, C=1)
            assert thief.order == []
            assert len(log.read_text().splitlines()) == 1
            assert "stalled" not in await kinds(app, queue)
            (warning,) = [line for line in worker.lines if line.startswith("WARNING")]
            assert "loop.blocked seconds=1.5" in warning
            assert f"{IMAGES}:{job.id}" in warning
            assert "programs.py:" in warning
            assert "time.sleep(" in warning

    async def test_a_job_of_a_killed_worker_is_recovered_within_lock_and_stalled_interval(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        queue = app.queue(IMAGES)
        given = {"lock": "1s", "stalled_interval": "1s"}
        async with program("worker", url=url, queue=IMAGES, **given) as victim:
            data = {"gate": str(tmp_path / "never")}
            job = await queue.add("optimize-size", data, priority=5)
            await stands(queue, A=1)
            async with app.worker(IMAGES, echo, **given):
                await victim.killed()
                died = time.monotonic()
                await job.result(5)

        assert time.monotonic() - died <= 2 + LATE
        assert (await kinds_of(app, job)).count("stalled") == 1
        await job.refresh()
        assert (job.record.stalls, job.attempts_made) == (1, 1)
        assert job.record.priority == 5
        assert [(t.run, t.end) for t in job.attempts] == [(1, "stalled")]

    async def test_that_a_job_was_taken_back_from_a_dead_process_is_said_at_once(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """And by the worker of its queue, whichever one of this process looks first."""
        queue, told = app.queue(IMAGES), list[str]()
        async with program("worker", url=url, queue=IMAGES, **soon(url)) as victim:
            job = await queue.add("optimize-size", {"gate": str(tmp_path / "never")})
            await stands(queue, A=1)
            other = app.worker(CHECKS, echo, stalled_interval="20ms")
            # A file tells by itself that a process is dead; a server has to be asked.
            mine = app.worker(
                IMAGES, echo, stalled_interval=soon(url).get("stalled_interval", "1h")
            )
            other.on("stalled")(lambda job_id: told.append(f"other: {job_id}"))
            mine.on("stalled")(told.append)
            async with other, mine:
                await victim.killed()
                await job.result(5)
                await until(lambda: told, [job.id])

    @pytest.mark.parametrize(("max_stalls", "crashes"), [(3, 4), (1, 2)])
    async def test_a_job_lost_too_often_fails_saying_so(
        self, app: Toril, url: str, tmp_path: Path, max_stalls: int, crashes: int
    ) -> None:
        """The crash that fails it is the first over the limit that it had by itself.

        The second crash may be a neighbour's doing; from then on the job runs alone.
        """
        queue, log = app.queue(IMAGES), tmp_path / "runs"
        job = await queue.add("optimize-size", {"gate": str(tmp_path / "never")})
        given = {"url": url, "queue": IMAGES, "max_stalls": max_stalls, "log": log} | soon(url)
        for crash in range(crashes):
            async with program("worker", **given) as victim:
                await until(lambda: len(lines_of(log)), crash + 1, why="runs")
                assert (await job.refresh()).record.stalls == crash
                await victim.killed()

        async with program("worker", **given):
            await stands(queue, F=1, within=3)

        await job.refresh()
        assert "stalled more than allowable limit" in (job.error or "")
        assert (job.record.stalls, len(lines_of(log))) == (crashes, crashes)
        assert (await kinds_of(app, job)).count("stalled") == crashes

    async def test_a_worker_that_slept_through_its_lock_cannot_end_the_job(
        self, app: Toril, url: str, tmp_path: Path
    ) -> None:
        """The rightful owner's result stands."""
        queue, gate, log = app.queue(IMAGES), tmp_path / "gate", tmp_path / "runs"

        async def rescue(job: Job[Any]) -> str:
            return "rescued"

        async with program("worker", url=url, queue=IMAGES, lock="500ms", log=log) as zombie:
            job = await queue.add("optimize-size", {"gate": str(gate), "result": "late"})
            await until(lambda: len(lines_of(log)), 1, why="runs")
            zombie.send(signal.SIGSTOP)
            async with app.worker(IMAGES, rescue, stalled_interval="100ms"):
                assert await job.result(5) == "rescued"
            gate.touch()
            zombie.send(signal.SIGCONT)
            await zombie.says(f"lock lost: {job.id}")
            zombie.send(signal.SIGTERM)
            assert await zombie.exited() == 0

        assert await job.result(5) == "rescued"
        assert (await kinds_of(app, job)).count("completed") == 1

    @pytest.mark.parametrize(
        "late", ["complete", "fail", "retry", "progress", "log"], ids=lambda late: f"cannot {late}"
    )
    async def test_a_worker_that_lost_its_lock(
        self, app: Toril, other_app: Toril, late: str
    ) -> None:
        """The store refuses by token, and the rightful owner's result stands."""
        job = await app.queue(IMAGES).add("optimize-size", CARD, attempts=3)
        await other_app.open()
        zombie, owner = app.context.store, other_app.context.store
        old = await self.claim(zombie, "old", lock_ms=1)
        await until(lambda: self.recovered(owner), [job.id])
        new = await self.claim(owner, "new", lock_ms=60_000)

        assert type(await self.write(zombie, old, late)) is LockLost

        done = await self.write(owner, new, "complete")
        assert done == "completed"
        assert await job.result(5) == "new"
        assert (await job.refresh()).last_progress is None

    async def claim(self, store: Any, token: str, *, lock_ms: int) -> Claim:
        (claimed,) = await store.claim(
            [ClaimRequest(queue=IMAGES, limit=1, token=token, lock_ms=lock_ms)]
        )
        (claim,) = claimed.jobs
        return claim

    async def recovered(self, store: Any) -> list[str]:
        return [each.id for each in await store.recover([IMAGES])]

    async def write(self, store: Any, claim: Claim, what: str) -> object:
        job = {"queue": IMAGES, "id": claim.record.id, "token": claim.token}
        if what == "progress":
            (answer,) = await store.update([JobPatch(**job, progress="50")])
        elif what == "log":
            (answer,) = await store.log([LogLine(**job, text="still here")])
        else:
            end = End.RETURNED if what == "complete" else End.RAISED
            made = {"result": f'"{claim.token}"'} if what == "complete" else {"reason": "late"}
            finished = await store.finish([Decision(**job, action=Action(what), end=end, **made)])
            (answer,) = finished.words
        return answer

    def test_lock_stalled_interval_and_max_stalls_are_settable_per_worker(self, app: Toril) -> None:
        settings = app.worker(IMAGES, echo, lock="3s", stalled_interval="1s", max_stalls=1).settings

        assert (settings.lock_ms, settings.stalled_s, settings.max_stalls) == (3_000, 1.0, 1)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
