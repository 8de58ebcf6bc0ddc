"""No thread or loop ends silently: it goes on, or what depends on it fails visibly and at once.

Never here: the supervisor (`test_supervisor.py`) and the reader of output (`test_child_output.py`).
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import SOON
from toril import Job, Toril, sync
from toril._store.sqlite.renewer import SQLiteRenewer
from toril._worker import maintenance, watchdog
from toril._worker.worker import Worker
from toril.errors import StoreUnavailable

QUEUE = "q"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db"


async def seen(look: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not look():  # noqa: ASYNC110  # no event of ours would tell
            await asyncio.sleep(0.01)


async def work(job: Job[Any]) -> str:
    await asyncio.sleep(float(job.data or 0))
    return "done"


def a_worker(app: Toril, **options: Any) -> Worker:
    return app.worker(QUEUE, work, **options)


# The background loop of blocking code.


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_task_that_exits_does_not_end_the_loop_that_all_calls_share(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    results: list[str] = []

    async def wait() -> str:
        await asyncio.to_thread(released.wait)
        return "waited"

    async def leave() -> None:
        raise error

    async def start() -> str:
        started.append(asyncio.create_task(leave()))
        await asyncio.sleep(0.05)
        return "started"

    started: list[asyncio.Task[None]] = []
    waiting = threading.Thread(target=lambda: results.append(sync.run(wait())))
    waiting.start()
    assert sync.run(start(), timeout=5) == "started"
    assert "sync.task_failed" in caplog.text
    assert isinstance(started[0].exception(), type(error))
    released.set()
    waiting.join(5)

    assert results == ["waited"]


# The thread that renews locks.


async def test_locks_are_renewed_after_an_answer_that_nobody_can_read(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renew, left = SQLiteRenewer.renew, [3]

    def odd(self: SQLiteRenewer, *args: Any) -> Any:
        if args[0] and left[0]:
            left[0] -= 1
            raise RecursionError
        return renew(self, *args)

    monkeypatch.setattr(SQLiteRenewer, "renew", odd)
    async with Toril(url, warn_unserved=False) as app:
        async with a_worker(app, lock="1s"):
            job = await app.queue(QUEUE).add("x", 2)
            assert await job.result(timeout=10) == "done"
        assert (await job.refresh()).record.stalls == 0

    assert left == [0]
    assert "renewing locks failed: RecursionError" in caplog.text


# The threads of a file.


@pytest.mark.skipif(sys.platform == "win32", reason="doorbells are Unix sockets")
async def test_a_file_is_watched_though_its_doorbell_was_closed(url: str) -> None:
    async with Toril(url, warn_unserved=False) as app:
        store: Any = app.context.store
        async with a_worker(app) as worker:
            await (await app.queue(QUEUE).add("x")).result(timeout=SOON)
            # As a program does that closes every descriptor it does not know.
            store._engine._watch._presence.bell_socket.close()
            code = (
                "import asyncio, sys\nfrom toril import Toril\n"
                "async def main():\n"
                "    async with Toril(sys.argv[1], warn_unserved=False) as app:\n"
                f"        await app.queue({QUEUE!r}).add('x', None, id='elsewhere')\n"
                "asyncio.run(main())"
            )
            other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, url)
            assert await other.wait() == 0
            job = await app.queue(QUEUE).job("elsewhere")
            assert await job.result(timeout=SOON) == "done"
            assert store.broken is None
            assert worker.health().live


def end_writer(engine: Any) -> Any:
    return engine._work, "committed"


def end_reader(engine: Any) -> Any:
    return engine._reader._work, "committed"


def end_watch(engine: Any) -> Any:
    return engine._watch, "_look"


async def use_for_long(app: Toril) -> None:
    async with asyncio.timeout(SOON):
        while True:
            await app.queue(QUEUE).add("x")
            await app.queue(QUEUE).counts()


@pytest.mark.parametrize(
    ("part", "does"), [(end_writer, "writes"), (end_reader, "reads"), (end_watch, "watches")]
)
async def test_a_thread_of_a_file_that_ended_is_seen_at_once(
    url: str, part: Callable[[Any], Any], does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.2)
    given_up: list[str] = []
    app = Toril(url, warn_unserved=False)
    worker = a_worker(app)
    worker.given_up = given_up.append
    await worker.start()
    await (await app.queue(QUEUE).add("x")).result(timeout=SOON)
    store: Any = app.context.store

    def leave(*_: object, **__: object) -> None:
        raise SystemExit

    target, name = part(store._engine)
    monkeypatch.setattr(target, name, leave)
    if does != "watches":
        with pytest.raises(StoreUnavailable, match="ended by an error"):
            await use_for_long(app)
    await seen(lambda: not worker.health().live)
    assert worker.health().reason == f"{store.path}: the thread that {does} ended by an error"
    await seen(lambda: bool(given_up))

    async with asyncio.timeout(20):
        await worker.stop(grace=0)
        await app.close()


# The tasks of a worker.


async def test_a_round_that_fails_by_mistake_is_reported_and_seen_by_probes(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    what, done, right = "removing old jobs", [2], maintenance.trim

    async def fail(*args: Any) -> Any:
        done[0] -= 1
        if done[0] >= 0:
            raise ValueError("told to fail")
        return await right(*args)

    monkeypatch.setattr(maintenance, "trim", fail)
    async with Toril(url, warn_unserved=False) as app, a_worker(app) as worker:
        await seen(lambda: worker.health().reason == f"{what} ended with ValueError")
        assert not worker.health().ready
        await seen(lambda: worker.health().ready)
    assert what in caplog.text
