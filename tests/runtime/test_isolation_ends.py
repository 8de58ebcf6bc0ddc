"""How jobs in child processes end: by themselves, by time limits, and with their process."""

import asyncio
import gc
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import lives
from tests.support.workers import Heard, until
from toril import Job, JobFailed, Toril
from toril._isolation import memory as sizes
from toril._worker import running

PATH = "tests.runtime.isolated"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc")
on_linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


async def _pid(path: Path) -> int:
    """Wait until a handler has written a process id, and give it."""

    async def look() -> int:
        return _number_in(path)

    return await until(look)


def _number_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


async def _gone(pid: int) -> None:
    """Wait until a process has ended."""

    async def look() -> bool:
        return not lives(pid)

    assert await until(look)


async def _logged(job: Job[Any], line: str) -> None:
    async def look() -> bool:
        return line in (await job.logs()).lines

    await until(look)


# Its process dies.


CRASHES = {
    "kill": r"the process that ran it was killed by SIGKILL \(RSS \d+ MB\)",
    "segv": r"the process that ran it was killed by SIGSEGV \(RSS \d+ MB\)",
    "exit": r"the process that ran it exited with code 3 \(RSS \d+ MB\)",
}


@pytest.mark.parametrize("how", CRASHES)
async def test_a_child_that_dies_is_a_crash_and_is_replaced(anywhere: Toril, how: str) -> None:
    anywhere.processor("q", f"{PATH}:die")
    dead, alive = await anywhere.queue("q").add_many([("x", how), ("x", "not at all")])
    async with anywhere.worker("q", max_stalls=1):
        with pytest.raises(JobFailed) as caught:
            await dead.result(timeout=10)
        assert await alive.result(timeout=10) == "lives"

    assert re.fullmatch(f"job stalled more than allowable limit: {CRASHES[how]}", str(caught.value))
    assert caught.value.end == "stalled"
    record = (await dead.refresh()).record
    assert (record.attempts_made, record.stalls, record.runs) == (0, 2, 2)
    assert all(re.fullmatch(CRASHES[how], each.reason or "") for each in record.tries[:1])
    assert (await alive.refresh()).record.stalls == 0


async def test_what_the_handler_raises_in_a_child_is_an_attempt(anywhere: Toril) -> None:
    anywhere.processor("q", f"{PATH}:die")
    job = await anywhere.queue("q").add("x", "sys.exit")
    async with anywhere.worker("q"):
        with pytest.raises(JobFailed, match="the handler raised SystemExit: 4"):
            await job.result(timeout=10)
    await job.refresh()
    assert (job.attempts_made, job.record.stalls) == (1, 0)


async def test_a_job_whose_child_is_killed_runs_again_without_an_attempt(
    anywhere: Toril, tmp_path: Path
) -> None:
    anywhere.processor("q", f"{PATH}:die_at_first", concurrency=2)
    worker = anywhere.worker("q", concurrency=2)
    heard = Heard(worker, "attempt_failed", "failed", "stalled")
    job = await anywhere.queue("q").add("x", {"count": str(tmp_path / "count"), "times": 3})
    async with worker:
        assert await job.result(timeout=20) == 4

    await job.refresh()
    assert (job.attempts_made, job.record.stalls, job.run) == (1, 3, 4)
    assert heard.all == [("stalled", job.id)] * 3


@pytest.mark.parametrize("said_by", ["handler", "job"])
async def test_a_job_that_must_not_run_twice_fails_when_its_child_dies(
    anywhere: Toril, said_by: str
) -> None:
    if said_by == "handler":
        anywhere.processor("q", f"{PATH}:die", on_crash="fail")
        job = await anywhere.queue("q").add("x", "kill", attempts=3)
    else:
        anywhere.processor("q", f"{PATH}:die")
        job = await anywhere.queue("q").add("x", "kill", attempts=3, on_crash="fail")
    async with anywhere.worker("q"):
        with pytest.raises(JobFailed, match="was killed by SIGKILL") as caught:
            await job.result(timeout=10)

    assert (caught.value.end, (await job.refresh()).run) == ("stalled", 1)


async def test_a_child_that_crashes_does_not_hold_up_others(
    anywhere: Toril, tmp_path: Path
) -> None:
    anywhere.processor("q", f"{PATH}:die_at_first")
    release = asyncio.Event()

    async def other(job: Job[Any]) -> str:
        await release.wait()
        return "other"

    anywhere.queue("others").handler()(other)
    long = await anywhere.queue("others").add("long")
    data = {"count": str(tmp_path / "count"), "times": 3}
    async with anywhere.worker():
        crashes = await anywhere.queue("q").add("x", data)
        # With a long job beside it: it need not run by itself.
        assert await crashes.result(timeout=20) == 4
        release.set()
        assert await long.result(timeout=10) == "other"
    assert (await long.refresh()).record.stalls == 0


async def test_an_error_output_that_raises_does_not_hold_up_a_child(
    memory: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def write(self, _: str) -> None:
            raise RuntimeError("this error output is broken")

        flush = write

    memory.processor("q", f"{PATH}:print_much")
    job = await memory.queue("q").add("x", 3000)
    monkeypatch.setattr(sys, "stderr", Broken())
    async with memory.worker("q"):
        assert await job.result(timeout=20) == 3000


async def test_an_idle_child_that_died_costs_no_try(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:where")
    async with memory.worker("q"):
        pid = await (await memory.queue("q").add("x")).result(timeout=10)
        os.kill(pid, signal.SIGKILL)
        job = await memory.queue("q").add("x", attempts=1)
        other = await job.result(timeout=10)

    assert other != pid
    assert (await job.refresh()).attempts_made == 1


async def test_what_a_handler_started_ends_with_its_process(memory: Toril, tmp_path: Path) -> None:
    memory.processor("q", f"{PATH}:start_another", timeout="500ms")
    job = await memory.queue("q").add("x", {"pid": str(tmp_path / "pid")})
    async with memory.worker("q"):
        grandchild = await _pid(tmp_path / "pid")
        with pytest.raises(JobFailed, match="timeout of 500 ms"):
            await job.result(timeout=10)
        await _gone(grandchild)


@pytest.mark.chaos
@pytest.mark.timeout(120)
@on_linux
async def test_a_hundred_kills_leave_nothing_behind(memory: Toril, tmp_path: Path) -> None:
    memory.processor("q", f"{PATH}:sleep")
    queue = memory.queue("q")
    worker = memory.worker("q", concurrency=2, max_stalls=0)
    pids: set[int] = set()

    async def kill(number: int) -> None:
        path = tmp_path / f"pid-{number}"
        job = await queue.add("x", {"pid": str(path)})
        pid = await _pid(path)
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JobFailed, match="was killed by SIGKILL"):
            await job.result(timeout=10)

    others = _held()[2]
    await worker.start()
    await kill(0)
    gc.collect()
    before = _held()
    for number in range(1, 101, 2):
        await asyncio.gather(kill(number), kill(number + 1))

    async def settled() -> bool:
        gc.collect()
        return all(now <= then for now, then in zip(_held(), before, strict=True))

    assert await until(settled)
    assert len(pids) == 101
    await worker.stop()
    assert _held()[2] == others


def _held() -> tuple[int, int, int]:
    """Count this process's open files, threads, and children, dead ones included."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for task in Path("/proc/self/task").iterdir():
        if task.name != str(os.getpid()):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ends meanwhile
                children += (task / "children").read_text().split()
    names = [thread.name for thread in threading.enumerate() if "child" in thread.name]
    return len(os.listdir("/proc/self/fd")), len(names), len(children)


# Its time is over.


async def test_a_child_that_overruns_its_time_is_killed_and_replaced(
    anywhere: Toril, tmp_path: Path
) -> None:
    anywhere.processor("q", f"{PATH}:sleep", name="slow", timeout="200ms")
    anywhere.processor("q", f"{PATH}:where", name="fast")
    queue = anywhere.queue("q")
    slow = await queue.add("slow", {"pid": str(tmp_path / "pid")})
    async with anywhere.worker("q"):
        with pytest.raises(JobFailed, match="it did not end within its timeout of 200 ms"):
            await slow.result(timeout=10)
        await _gone(await _pid(tmp_path / "pid"))
        assert await (await queue.add("fast")).result(timeout=10) != os.getpid()

    (stack,) = (await slow.refresh()).stack
    assert "time.sleep(1)" in stack


async def test_a_child_that_overruns_its_deadline_is_killed_as_soon_as_past_a_timeout(
    memory: Toril, tmp_path: Path
) -> None:
    memory.processor("q", f"{PATH}:sleep")
    job = await memory.queue("q").add("x", {"pid": str(tmp_path / "pid")}, deadline="4s")
    async with memory.worker("q"):
        await _pid(tmp_path / "pid")
        began = time.monotonic()
        with pytest.raises(JobFailed, match="deadline of 4 s passed"):
            await job.result(timeout=10)

    assert time.monotonic() - began < 4 + running.INSIST_S + 1


async def test_time_does_not_run_while_a_process_starts(
    memory: Toril, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import time\ntime.sleep(0.5)\ndef run(job):\n    return 'in time'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    memory.processor("q", "slow_module:run", timeout="300ms")
    job = await memory.queue("q").add("x")
    async with memory.worker("q"):
        assert await job.result(timeout=10) == "in time"


async def test_a_coroutine_is_cancelled_and_may_clean_up(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:sleep_on_a_loop", timeout="200ms")
    job = await memory.queue("q").add("x")
    async with memory.worker("q"):
        with pytest.raises(JobFailed, match="timeout of 200 ms"):
            await job.result(timeout=10)

    assert (await job.logs()).lines == ("sleeping", "cleaned up")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("sleep_on_a_loop", "it did not end within its soft timeout of 200 ms"), ("listen", None)],
)
async def test_a_soft_time_limit_is_told_in_the_child(
    memory: Toril, path: str, reason: str | None
) -> None:
    memory.processor("q", f"{PATH}:{path}", soft_timeout="200ms")
    job = await memory.queue("q").add("x")
    await memory.worker("q").run_until_idle()

    assert (await job.refresh()).error == reason
    assert (await job.logs()).lines[-1] == ("told" if reason is None else "cleaned up")


@pytest.mark.parametrize(
    ("path", "last"), [("sleep_until_told", "told"), ("sleep_on_a_loop", "cleaned up")]
)
async def test_a_job_that_is_cancelled_hears_of_it_in_its_child(
    anywhere: Toril, path: str, last: str
) -> None:
    anywhere.processor("q", f"{PATH}:{path}")
    job = await anywhere.queue("q").add("x")
    async with anywhere.worker("q"):
        await _logged(job, "sleeping")
        await job.cancel("not wanted")
        with pytest.raises(JobFailed, match="cancelled: not wanted"):
            await job.result(timeout=10)

    assert (await job.logs()).lines[-1] == last


# Its memory.


@on_linux
async def test_a_job_that_takes_too_much_memory_is_killed(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:grow", max_rss="150MB")
    job = await memory.queue("q").add("x", {"bytes": 200_000_000, "seconds": 60})
    after = await memory.queue("q").add("x", {"bytes": 1})
    async with memory.worker("q"):
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=10)
        assert await after.result(timeout=10)

    assert re.fullmatch(
        r"the process that ran it was killed: RSS 2\d\d MB is above max_rss=150 MB",
        str(caught.value),
    )


@on_linux
async def test_where_a_parent_cannot_see_a_childs_memory_the_child_tells(
    memory: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "resident", lambda pid: None)
    memory.processor("q", f"{PATH}:grow", max_rss="150MB")
    job = await memory.queue("q").add("x", {"bytes": 200_000_000, "seconds": 60})
    async with memory.worker("q"):
        with pytest.raises(JobFailed, match=r"is above max_rss=150 MB"):
            await job.result(timeout=10)


@on_linux
async def test_a_child_that_has_grown_is_replaced_after_its_job(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:keep", max_rss="150MB")
    jobs = await memory.queue("q").add_many(
        [("x", {"bytes": 1}), ("x", {"bytes": 150_000_000}), ("x", {"bytes": 1})]
    )
    async with memory.worker("q", concurrency=1):
        pids = [await job.result(timeout=10) for job in jobs]

    assert pids[0] == pids[1] != pids[2]


# The worker stops.


async def test_what_outlasts_the_grace_is_killed_and_put_back_uncounted(
    anywhere: Toril, tmp_path: Path
) -> None:
    anywhere.processor("q", f"{PATH}:sleep")
    job = await anywhere.queue("q").add("x", {"pid": str(tmp_path / "pid")})
    worker = anywhere.worker("q")
    await worker.start()
    pid = await _pid(tmp_path / "pid")

    assert not await worker.stop(grace="50ms")

    record = (await job.refresh()).record
    assert (record.state, record.attempts_made, record.stalls) == ("waiting", 0, 0)
    await _gone(pid)


async def test_what_ends_within_the_grace_counts(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:grow")
    job = await memory.queue("q").add("x", {"bytes": 1, "seconds": 0.5})
    worker = memory.worker("q")
    heard = Heard(worker, "active")
    await worker.start()
    await heard.until("active")

    assert await worker.stop(grace="10s")
    assert await job.state() == "completed"


@on_linux
async def test_a_stopped_worker_has_no_children(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:where")
    jobs = await memory.queue("q").add_many([("x", None)] * 4)
    worker = memory.worker("q", concurrency=4)
    await worker.start()
    pids = {await job.result(timeout=10) for job in jobs}
    await worker.stop()

    assert not any(map(lives, pids))


# A child or its worker is in trouble.


async def test_code_that_holds_the_interpreter_loses_no_lock(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:hold_the_interpreter")
    job = await memory.queue("q").add("x", {"seconds": 2})
    worker = memory.worker("q", lock="600ms", block_warning="100ms", stalled_interval="200ms")
    heard = Heard(worker, "stalled", "lock_lost")
    async with worker:
        assert await job.result(timeout=10) == "done"

    assert heard.all == []
    assert (await job.refresh()).record.runs == 1


async def test_a_child_that_reads_nothing_does_not_hold_up_the_worker(
    memory: Toril, tmp_path: Path
) -> None:
    memory.processor("q", f"{PATH}:take", name="large")

    @memory.queue("q").handler("other")
    async def other(job: Job[Any]) -> str:
        return "done"

    queue = memory.queue("q")
    async with memory.worker("q", concurrency=2) as worker:
        pid = await (await queue.add("large", {"text": ""})).result(timeout=10)
        os.kill(pid, signal.SIGSTOP)
        stuck = await queue.add("large", {"text": "x" * 900_000}, timeout="1s")
        assert await (await queue.add("other")).result(timeout=10) == "done"
        with pytest.raises(JobFailed, match="timeout of 1 s"):
            await stuck.result(timeout=10)
        assert await (await queue.add("large", {"text": ""})).result(timeout=10) != pid
        assert worker.running == 0


WORKER = """
import asyncio, os, sys, time
from toril import Toril
from toril._serve.shutdown import serve

app = Toril("sqlite:///{folder}/jobs.db")

@app.task(isolation="process")
def nap(seconds: float) -> None:
    open("{folder}/pid", "w").write(str(os.getpid()))
    time.sleep(seconds)

async def main() -> int:
    async with app:
        return await serve([app.worker(grace="10s")])

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
"""


@on_linux
async def test_children_die_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    async with _other_process(tmp_path, seconds=60) as (process, _):
        child = await _pid(tmp_path / "pid")
        process.kill()
        await process.wait()
        await _gone(child)


async def test_a_terminals_signal_reaches_only_the_worker(tmp_path: Path) -> None:
    async with _other_process(tmp_path, seconds=1) as (process, job):
        await _pid(tmp_path / "pid")
        os.killpg(process.pid, signal.SIGINT)

        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await job.state() == "completed"


class _other_process:
    """A worker in a session of its own, with one job that sleeps."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._app = Toril(f"sqlite:///{folder}/jobs.db")

    async def __aenter__(self) -> tuple[asyncio.subprocess.Process, Job[Any]]:
        script = self._folder / "worker.py"
        script.write_text(WORKER.format(folder=self._folder))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), start_new_session=True
        )
        job = await self._app.queue("default").add("nap", {"seconds": self._seconds})
        return self._process, job

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._app.close()
