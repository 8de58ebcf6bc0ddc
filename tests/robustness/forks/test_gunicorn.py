"""Real gunicorn servers whose requests enqueue: forked from a used app, and with gevent's threads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.robustness.forks.conftest import Place
from tests.support.servers import HOST, Child, free_port, until
from toril import Toril, sync

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn")
pytest.importorskip("gunicorn")
pytest.importorskip("gevent")

SHOP = """
import os
from toril import Toril, sync

app = Toril(os.environ["SHOP_URL"], prefix=os.environ["SHOP_PREFIX"], warn_unserved=False)

@app.task(queue="mail")
def send(n: int) -> int:
    return n

# Once in each process that imports this: with --preload in the one that forks the others.
send.enqueue_sync(0)

def web(environ, start_response):
    job = send.enqueue_sync(1)
    if environ["PATH_INFO"] == "/wait":
        try:
            sync.run(job.result(timeout=0.5))
        except TimeoutError:
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def served(place: Place, folder: Path, *options: str) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Run gunicorn, and end it; it has to end by itself when it is told to."""
    (folder / "shop.py").write_text(SHOP)
    port = free_port()
    os.environ |= {"SHOP_URL": place.url, "SHOP_PREFIX": place.prefix}
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(folder), "--bind", f"{HOST}:{port}"]
    server = Child([*command, *options, "shop:web"], folder / "output")

    def answers() -> bool:
        try:
            return get(port, "/")[0] == 200
        except OSError:
            return False

    try:
        until(answers, what="gunicorn")
        yield lambda path: get(port, path)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        until(lambda: not server.runs, what="the end of gunicorn")
        assert time.monotonic() - began < 5
    except BaseException:
        sys.stderr.write((folder / "output").read_text())
        raise
    finally:
        server.end(at_once=True)


def enqueued(place: Place) -> int:
    async def count() -> int:
        async with Toril(place.url, prefix=place.prefix, warn_unserved=False) as app:
            return (await app.queue("mail").counts()).waiting

    return sync.run(count())


@pytest.mark.parametrize("options", [(), ("-k", "gevent")], ids=["sync", "gevent"])
def test_processes_that_are_forked_after_an_import_that_enqueues(
    place: Place, tmp_path: Path, options: tuple[str, ...]
) -> None:
    served_by = served(place, tmp_path, "--preload", "-w", "2", *options)
    with served_by as ask, ThreadPoolExecutor(16) as clients:
        before = enqueued(place)
        answers = list(clients.map(ask, ["/"] * 100))
        # Which process takes a connection is the kernel's choice, and one may start later.
        until = time.monotonic() + 10
        while len({process for _, process in answers}) < 2 and time.monotonic() < until:
            answers += clients.map(ask, ["/"] * 20)

        assert {status for status, _ in answers} == {200}
        assert len({process for _, process in answers}) == 2
        assert enqueued(place) == before + len(answers)


def test_a_greenlet_that_waits_lets_others_run(place: Place, tmp_path: Path) -> None:
    with served(place, tmp_path, "-k", "gevent") as ask, ThreadPoolExecutor(16) as clients:
        before = enqueued(place)
        began = time.monotonic()
        answers = list(clients.map(ask, ["/wait"] * 16))

        assert {status for status, _ in answers} == {200}
        # One after the other they would take 8 s.
        assert time.monotonic() - began < 4
        assert enqueued(place) == before + 16


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent

def all_of(*calls):
    made = [gevent.spawn(call) for call in calls]
    gevent.joinall(made, timeout=8)
    assert all(each.dead for each in made), "greenlets hang"
    return [repr(each.exception) if each.exception else each.value for each in made]
"""


def test_sync_run_in_greenlets(place: Place) -> None:
    told = place.run(
        GREENLETS
        + """
async def fail():
    raise LookupError("no")

job = q.add_sync("nobody runs this")
def late():
    try:
        sync.run(job.result(), timeout=0.1)
    except TimeoutError:
        return "late"

def killed():
    with gevent.Timeout(0.1, False):
        sync.run(job.result())
    return "killed"

def own_loop():
    async def main():
        for _ in range(5):
            await q.add("own loop")
            await asyncio.sleep(0.01)
        return "own loop"
    return asyncio.run(main())

add = lambda: q.add_sync("a").name
told = all_of(late, killed, own_loop, add, lambda: sync.run(fail()), *[add] * 16)
told.append(sync.run(q.counts()).waiting)
sync.run(app.close(), timeout=5)
tell([*told[:5], set(told[5:-1]) == {"a"}, told[-1], q.add_sync("again").name])
"""
    )

    assert told == ["late", "killed", "own loop", "a", "LookupError('no')", True, 23, "again"]


def test_a_worker_in_a_greenlet(place: Place) -> None:
    told = place.run(
        GREENLETS
        + """
@app.task(queue="tasks")
async def triple(n: int) -> int:
    await asyncio.sleep(0.01)
    return 3 * n

async def work():
    async with app.worker("tasks", concurrency=4):
        jobs = [await task.enqueue(n) for n in range(5) for task in (double, triple)]
        return [await job.result(timeout=5) for job in jobs]

def in_background():
    sync.run(app.worker("tasks").run())

tell(all_of(lambda: asyncio.run(work()), in_background))
"""
    )

    assert told[0] == [0, 0, 2, 3, 4, 6, 6, 9, 8, 12]
    assert "ConfigError" in told[1]
    assert "gevent has replaced the threads of this process" in told[1]


def test_eventlet_is_refused_at_once(place: Place) -> None:
    """Its threads cannot be used; a stand-in tells that they are there."""
    told = place.run("""
import types, warnings
warnings.simplefilter("error")
sys.modules["eventlet.patcher"] = types.SimpleNamespace(is_monkey_patched=lambda name: True)

def refused(call):
    began = time.monotonic()
    try:
        call()
    except Exception as error:
        return [type(error).__name__, "eventlet has replaced" in str(error), time.monotonic() - began < 1]

tell([
    refused(lambda: q.add_sync("a")),
    refused(lambda: double.enqueue_sync(1)),
    refused(lambda: sync.run(q.counts())),
    refused(lambda: asyncio.run(q.add("a"))),
    refused(lambda: asyncio.run(app.open())),
    refused(lambda: asyncio.run(app.worker("tasks").run())),
])
""")

    assert told == [["ConfigError", True, True]] * 6


def test_a_worker_on_a_loop_that_stops_greenlets_is_refused(tmp_path: Path) -> None:
    """As of the command line, which is on its loop when it imports what calls patch_all()."""
    (tmp_path / "shop.py").write_text(
        "from gevent import monkey; monkey.patch_all()\n"
        "from toril import Toril\n"
        "app = Toril(':memory:')\n"
        "@app.task\n"
        "def send(n: int) -> int: return n\n"
    )

    told = subprocess.run(
        [sys.executable, "-m", "toril", "worker", "shop:app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert told.returncode != 0
    assert "gevent has replaced the threads of this process" in told.stdout + told.stderr
