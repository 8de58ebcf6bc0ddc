"""The health endpoint of a real worker among connections that mean harm.

Never here: what a probe is told (`tests/cli/test_health.py`).
"""

import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.support.crew import crew, wait_for
from tests.support.desk import Desk
from toril._serve.http import HEAD_S, LONGEST_HEAD, MOST_OF_ONE, MOST_SILENT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

LIVE = b"GET /live HTTP/1.1\r\n\r\n"
# A probe among idle connections is answered within this on a busy machine, too (it takes some ms).
SOON_S = 2.0

REQUESTS = {
    "live": (LIVE, "200 OK"),
    "a host that is not ours": (b"GET /live?x=1 HTTP/1.1\r\nHost: evil\r\n\r\n", "200 OK"),
    "post": (b"POST /live HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
    "head": (b"HEAD /live HTTP/1.0\r\n\r\n", "200 OK"),
    "trace": (b"TRACE /live HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
    "traversal": (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
    "absolute": (b"GET http://evil/live HTTP/1.1\r\n\r\n", "404 Not Found"),
    "NUL": (b"GET /live\0 HTTP/1.1\r\n\r\n", "404 Not Found"),
    "no HTTP": (b"\r\n\r\n", "404 Not Found"),
    "bytes": (b"\xff\xfe\x00" * 100 + b"\r\n\r\n", "404 Not Found"),
    "just short enough": (LIVE[:-2] + b"X: " + b"a" * (LONGEST_HEAD - 40) + b"\r\n\r\n", "200 OK"),
    "a long head": (LIVE[:-2] + b"X: " + b"a" * 10_000 + b"\r\n\r\n", "400 Bad Request"),
    "two requests": (LIVE + b"GET /x HTTP/1.1\r\n\r\n", "200 OK"),
    "header injection": (b"GET /live%0d%0aSet-Cookie:x HTTP/1.1\r\n\r\n", "404 Not Found"),
    "lines without CR": (b"GET /live HTTP/1.1\n\n", ""),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"z" * 300, ""),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    desk = Desk(tmp_path_factory.mktemp("health"))
    desk.write(
        "app.py", "from toril import Toril\napp = Toril()\n@app.task\ndef f() -> None: ...\n"
    )
    with crew(desk, "worker", "app.py", "--health", "127.0.0.1:0") as worker:
        worker.up(1)
        wait_for(lambda: worker.ask("/ready")[0] == 200, "the worker to be ready")
        yield int(worker.said("health: ")[0].split("/live")[0].rpartition(":")[2])


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(address, 0))


def answer(port: int, request: bytes) -> str:
    """Send a request, and return what follows the version in the first line of the answer."""
    with connected(port) as asking, suppress(ConnectionError):
        asking.sendall(request)
        said = b""
        while part := asking.recv(65_536):
            said += part
        return said.partition(b"\r\n")[0].decode().partition(" ")[2]
    return ""


def probe(port: int) -> float:
    """Ask as a probe does; return how long the answer took."""
    began = time.monotonic()
    assert answer(port, LIVE) == "200 OK"
    return time.monotonic() - began


@contextmanager
def held(
    port: int, count: int, begin: bytes = b"", addresses: int = 1
) -> Iterator[list[socket.socket]]:
    """Hold connections open that have sent at most the beginning of a request."""
    with ExitStack() as stack:
        found: list[socket.socket] = []
        for number in range(count):
            address = f"127.0.0.{number % addresses + 1}"
            found.append(stack.enter_context(connected(port, address)))
            with suppress(ConnectionError):
                found[-1].sendall(begin)
        yield found


@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS)
def test_each_request_is_answered_or_hung_up_on(port: int, request_: bytes, status: str) -> None:
    began = time.monotonic()
    assert answer(port, request_) == status
    assert time.monotonic() - began < (HEAD_S + SOON_S if not status else SOON_S)
    assert probe(port) < SOON_S


@pytest.mark.parametrize("addresses", [1, 40])
@pytest.mark.parametrize("begin", [b"", b"G", b"GET /live HTTP/1.1\r\nX: "], ids=["idle", "1", "n"])
def test_idle_connections_do_not_delay_a_probe(port: int, begin: bytes, addresses: int) -> None:
    if sys.platform == "darwin" and addresses > 1:
        pytest.skip("macOS has one address on the loopback interface")
    with held(port, 240, begin, addresses):
        assert max(probe(port) for _ in range(10)) < SOON_S


def test_idle_connections_that_are_renewed_do_not_delay_a_probe(port: int) -> None:
    over = threading.Event()

    def renew() -> None:
        while not over.is_set():
            with held(port, 40, b"G"):
                over.wait(0.2)

    renewing = [threading.Thread(target=renew) for _ in range(3)]
    for thread in renewing:
        thread.start()
    try:
        waits = []
        for _ in range(20):
            waits.append(probe(port))
            time.sleep(0.1)
    finally:
        over.set()
        for thread in renewing:
            thread.join()
    assert max(waits) < SOON_S


def open_among(connections: list[socket.socket]) -> int:
    """Count the connections that the server has not closed."""
    count = 0
    for each in connections:
        each.setblocking(False)
        try:
            count += each.recv(1) != b""
        except BlockingIOError:
            count += 1
        except ConnectionError:
            pass
    return count


def test_of_many_idle_connections_the_oldest_are_hung_up_on(port: int) -> None:
    with held(port, 100) as connections:
        probe(port)
        assert 0 < open_among(connections[-MOST_OF_ONE:]) <= MOST_OF_ONE <= MOST_SILENT
        assert open_among(connections[:-MOST_OF_ONE]) == 0
        wait_for(lambda: open_among(connections) == 0, "the others", HEAD_S + 1)


def trickle(port: int) -> None:
    with connected(port) as slow:
        for _ in range(100):
            slow.sendall(b"x")
            time.sleep(0.05)


def test_a_request_that_trickles_is_cut_off(port: int) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        trickle(port)
    assert HEAD_S / 2 < time.monotonic() - began < HEAD_S + 1


def test_random_requests_end_soon(port: int) -> None:
    rng = random.Random(19)
    words = [b"GET", b" ", b"/live", b"/", b"\r\n", b"\r\n\r\n", b"\0", b"\xff", b"HTTP/1.1", b":"]
    for _ in range(100 * int(os.environ.get("TORIL_ROUNDS", "1"))):
        text = b"".join(rng.choices(words, k=rng.randrange(1, 40))) + b"\r\n\r\n"
        assert answer(port, text).partition(" ")[0] in ("200", "404", "405")
    assert probe(port) < SOON_S
