"""`--health`: what a probe is told, and what it may not do."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from tests.support.crew import Crew, crew, wait_for
from tests.support.desk import Desk
from toril import ConfigError
from toril._serve.http import LONGEST_HEAD
from toril._serve.probes import ProbeAddress, ProbeAnswer, probes

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", (None, 8080)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str | None, int]) -> None:
    assert ProbeAddress.of(text) == address


@pytest.mark.parametrize("text", ["8080", "localhost", "a:b", ":99999", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        ProbeAddress.of(text)


class Asking:
    """Somebody who asks the probe byte by byte."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def send(self, request: bytes) -> tuple[str, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.decode().partition("\r\n")[0], body


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    told: list[str] = []

    def look(path: str) -> ProbeAnswer:
        return ProbeAnswer(path == "/live", {"path": path})

    async with probes(ProbeAddress("127.0.0.1", 0), look, told.append):
        yield Asking(int(told[0].rpartition(":")[2]))


async def test_yes_is_200_and_no_is_503(asking: Asking) -> None:
    assert await asking.send(b"GET /live HTTP/1.1\r\n\r\n") == (
        "HTTP/1.1 200 OK",
        b'{"path": "/live"}\n',
    )
    status, body = await asking.send(b"GET /ready?verbose HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, json.loads(body)) == ("HTTP/1.1 503 Service Unavailable", {"path": "/ready"})


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", "404 Not Found"),
        (b"GET /live/../ready HTTP/1.1", "404 Not Found"),
        (b"POST /live HTTP/1.1", "405 Method Not Allowed"),
        (b"\xff\xfe\x00", "404 Not Found"),
    ],
)
async def test_nothing_else_is_answered(asking: Asking, request_line: bytes, status: str) -> None:
    assert (await asking.send(request_line + b"\r\n\r\n"))[0] == f"HTTP/1.1 {status}"


async def test_a_head_is_answered_without_a_body(asking: Asking) -> None:
    assert await asking.send(b"HEAD /live HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", b"")


async def test_a_request_without_end_is_cut_off(asking: Asking) -> None:
    request = b"GET /live HTTP/1.1\r\nX: " + b"x" * (LONGEST_HEAD * 2) + b"\r\n\r\n"

    assert (await asking.send(request))[0] == "HTTP/1.1 400 Bad Request"


async def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"health=127.0.0.1:{port} cannot be used: Address"):
            async with probes(
                ProbeAddress("127.0.0.1", port), lambda _: ProbeAnswer(True, {}), print
            ):
                pass


def settled(fleet: Crew) -> tuple[int, dict[str, object]]:
    """Ask until every process has claimed for the first time."""
    wait_for(lambda: fleet.ask("/ready")[0] == 200, "everybody to be ready")
    return fleet.ask("/ready")


@posix
def test_a_worker_that_works_is_live_and_ready(desk: Desk, app: object) -> None:
    with crew(desk, "worker", "app.py", "--health", "127.0.0.1:0") as one:
        one.up(1)
        ready = settled(one)
        live = one.ask("/live")

    assert (live[0], ready[0]) == (200, 200)
    assert ready[1]["queues"] == ["default", "mail"]
    assert ready[1]["ok"] is True


@posix
def test_a_fleet_answers_for_all_of_its_processes(desk: Desk, app: object) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2", "--health", "127.0.0.1:0") as fleet:
        pids = fleet.up(2)
        status, told = settled(fleet)

    assert status == 200
    processes = told["processes"]
    assert isinstance(processes, list)
    assert sorted(each["pid"] for each in processes) == sorted(pids)


@posix
def test_a_fleet_that_stops_is_live_and_not_ready(desk: Desk) -> None:
    desk.write("app.py", SLOW)
    with crew(desk, "worker", "app.py", "--processes", "1", "--health", "127.0.0.1:0") as fleet:
        fleet.up(1)
        fleet.until("started")
        fleet.signal(signal.SIGTERM)
        fleet.until("worker.closing")
        live, ready = fleet.ask("/live"), fleet.ask("/ready")

    assert live[0] == 200
    assert (ready[0], ready[1]["reason"]) == (503, "it is stopping")


SLOW = """
import asyncio
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task
async def slow() -> None:
    print("started", flush=True)
    await asyncio.sleep(60)

slow.enqueue_sync()
"""
