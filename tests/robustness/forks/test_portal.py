"""`sync.run` from threads that come, go, give up and are interrupted."""

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable

import pytest

from tests.robustness.forks.conftest import Place
from toril import ConfigError, Toril, sync

SOON = 5.0


class Endless:
    """A coroutine that ends only when it is cancelled, and tells."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.cancelled = threading.Event()

    async def run(self) -> None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


def test_what_takes_longer_than_its_timeout_is_cancelled() -> None:
    endless = Endless()

    with pytest.raises(TimeoutError):
        sync.run(endless.run(), timeout=0.05)

    assert endless.cancelled.wait(SOON)


def test_what_has_no_time_at_all_leaves_nothing_behind(recwarn: pytest.WarningsRecorder) -> None:
    for _ in range(20):
        with pytest.raises(TimeoutError):
            sync.run(asyncio.sleep(60), timeout=0)
    gc.collect()

    assert not list(recwarn)


def test_waiting_for_results_in_vain_leaves_no_tasks(place: Place) -> None:
    app = Toril(place.url, prefix=place.prefix, warn_unserved=False)
    job = app.queue("q").add_sync("nobody serves this")
    for _ in range(20):
        with pytest.raises(TimeoutError):
            sync.run(job.result(), timeout=0.001)

    async def left() -> int:
        until = time.monotonic() + SOON
        while (count := len(asyncio.all_tasks())) > 10 and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return count

    assert sync.run(left()) <= 10
    sync.run(app.close())


def test_ctrl_c_cancels_what_the_main_thread_waits_for(file_place: Place) -> None:
    told = file_place.run("""
cancelled = threading.Event()

async def endless():
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()

try:
    sync.run(endless())
except KeyboardInterrupt:
    tell([cancelled.wait(5), q.add_sync("after").name])
""")

    assert told == [True, "after"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_error_ends_the_background_loop(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        sync.run(fail())

    assert sync.run(asyncio.sleep(0, "on")) == "on"


async def test_what_an_abandoned_handler_waits_for_is_cancelled(place: Place) -> None:
    endless = Endless()
    raised: list[BaseException] = []
    done = threading.Event()

    async with Toril(place.url, prefix=place.prefix, warn_unserved=False) as app:

        @app.task(queue="q", timeout="200ms")
        def waits() -> None:
            try:
                sync.run(endless.run())
            except BaseException as error:
                raised.append(error)
                done.set()
                raise

        async with app.worker("q"):
            job = await waits.enqueue()
            await asyncio.to_thread(endless.running.wait, SOON)
            assert await asyncio.to_thread(endless.cancelled.wait, SOON)
            assert await asyncio.to_thread(done.wait, SOON)
        assert await job.state() == "failed"
    assert isinstance(raised[0], concurrent.futures.CancelledError)


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_thread_goes_on_when_the_main_thread_has_ended(place: Place, used: bool) -> None:
    # By its name, which has to be looked up.
    place.url = place.url.replace("127.0.0.1", "localhost")
    before = 'q.add_sync("before")\n' if used else ""
    told = place.run(
        before
        + """
def late():
    threading.main_thread().join()
    told = [q.add_sync("late").name, asyncio.run(q.add("own loop")).name]
    sync.run(app.close())
    told.append(double.enqueue_sync(1).name)
    asyncio.run(app.worker("tasks").run_until_idle())
    told.append(sync.run(app.queue("tasks").counts()).completed)
    sync.run(app.close(), timeout=5)
    tell(told)

threading.Thread(target=late).start()
"""
    )

    assert told == ["late", "own loop", "double", 1]


def test_an_app_may_be_used_while_the_interpreter_exits(place: Place) -> None:
    told = place.run("""
import atexit

def at_exit():
    told = [q.add_sync("late").name]
    sync.run(app.close(), timeout=5)
    tell(told)

atexit.register(at_exit)
""")

    assert told == ["late"]


def test_a_call_from_a_loop_is_refused(file_place: Place) -> None:
    async def main(call: Callable[[], object]) -> None:
        with pytest.raises(Exception, match="this thread runs an event loop"):
            call()

    app = Toril(file_place.url, warn_unserved=False)
    asyncio.run(main(lambda: app.queue("q").add_sync("a")))


def test_a_blocking_call_checks_what_it_is_given() -> None:
    async def answer(value: int) -> int:
        await asyncio.sleep(0)
        return value

    assert sync.run(answer(5), timeout="2s") == 5
    for timeout in ("soon", -1, float("nan"), True):
        with pytest.raises(ConfigError, match="timeout"):
            sync.run(answer(5), timeout=timeout)
    with pytest.raises(ConfigError, match=r"needs a coroutine .*with the call"):
        sync.run(answer)  # type: ignore[arg-type]
