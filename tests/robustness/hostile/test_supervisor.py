"""What code in a worker process writes to the line of its supervisor.

Each odd line is reported and passed over: the supervisor hears what follows, replaces a process
that dies, and ends at a SIGTERM. Never here: processes that die (`tests/cli/test_fleet*.py`).
"""

import json
import os
import random
import signal
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crew import Crew, crew, die, wait_for
from tests.support.desk import Desk
from toril import Toril
from toril._serve.process import MOST_ODD

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no supervisor on Windows")

APP = """
import base64, os, socket, sys
from toril import Toril

app = Toril("sqlite:///jobs.db", warn_unserved=False)

def line():
    return socket.socket(fileno=os.dup(int(sys.argv[1])))

@app.queue("mail").handler("tell")
def tell(job) -> str:
    with line() as found:
        found.sendall(base64.b64decode(job.data))
    return "told"

@app.queue("mail").handler("hang up")
def hang_up(job) -> str:
    with line() as found:
        found.shutdown(socket.SHUT_RDWR)
    return "told"
"""

ODD = {
    "a list": b"[1]",
    "null": b"null",
    "a number": b"1e999",
    "not a number": b"NaN",
    "a text": b'"up"',
    "no JSON": b"{",
    "not UTF-8": b'{"say":"\xff"}',
    "nothing": b"",
    "blanks": b"   ",
    "a NUL": b"\0",
    "an escape": b'{"say":"\x1b]52;c;x\x07"}',
    "an empty object": b"{}",
    "no such word": b'{"say":"noise"}',
    "a word of its own": b'{"say":"ended"}',
    "a word that is a list": b'{"say":["up"]}',
    "a word that is null": b'{"say":null}',
    "up, and nothing else": b'{"say":"up"}',
    "up as a number": b'{"say":"up","worker":5,"queues":[],"lines":["x"]}',
    "up without lines": b'{"say":"up","worker":"w","queues":[],"lines":[]}',
    "up once more": b'{"say":"up","worker":"w","queues":["q"],"lines":["x"]}',
    "queues that are a text": b'{"say":"up","worker":"w","queues":"q","lines":["x"]}',
    "buried as a number": b'{"say":"buried","workers":5}',
    "buried as lists": b'{"say":"buried","workers":[[1]]}',
    "files as a text": b'{"say":"files","files":"a.py"}',
    "files as numbers": b'{"say":"files","files":[1]}',
    "a beat of texts": b'{"say":"beat","live":"no","ready":1,"running":"many"}',
    "a beat below zero": b'{"say":"beat","live":true,"ready":true,"running":-1}',
    "a beat of 5,000 digits": b'{"say":"beat","running":' + b"9" * 5_000 + b"}",
    "nested deep": b'{"say":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "long": b'{"say":"beat","reason":"' + b"x" * 5_000_000 + b'"}',
}


def fuzz(count: int) -> list[bytes]:
    """Return lines that are nearly right: sound messages with some bytes changed."""
    rng = random.Random(15)
    sound = [
        b'{"say":"beat","live":true,"ready":true,"reason":null,"running":0}',
        b'{"say":"buried","workers":["host-1-abc"]}',
        b'{"say":"files","files":["a.py"]}',
    ]
    lines: list[bytes] = []
    while len(lines) < count:
        line = bytearray(rng.choice(sound))
        for _ in range(rng.randrange(1, 6)):
            line[rng.randrange(len(line))] = rng.randrange(256)
        if b"\n" not in line and not _is_a_bad_beat(bytes(line)):
            lines.append(bytes(line))
    return lines


def _is_a_bad_beat(line: bytes) -> bool:
    """Whether it says in good order that the worker is not well, which counts."""
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("say") == "beat" and "x" not in line.decode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("app.py", APP)
    return desk


@pytest.fixture
def fleet(desk: Desk) -> Iterator[Crew]:
    with crew(desk, "worker", "app.py", "--processes", "1", "--health", "127.0.0.1:0") as found:
        found.up(1)
        yield found


async def order(desk: Desk, name: str, data: str | None = None) -> None:
    """Let a job in the worker process do this."""
    async with Toril(f"sqlite:///{desk.folder}/jobs.db", warn_unserved=False) as app:
        job = await app.queue("mail").add(name, data)
        assert await job.result(timeout=10) == "told"


async def tell(desk: Desk, *lines: bytes) -> None:
    text = b"".join(line + b"\n" for line in lines)
    for at in range(0, len(text), 400_000):
        await order(desk, "tell", b64encode(text[at : at + 400_000]).decode())


def ready(fleet: Crew) -> bool:
    return fleet.ask("/ready")[0] == 200


def ends_in_order(fleet: Crew) -> None:
    fleet.signal(signal.SIGTERM)
    assert fleet.end(10) == 0, fleet.lines


async def test_odd_lines_are_reported_and_passed_over(desk: Desk, fleet: Crew) -> None:
    for line in ODD.values():
        await tell(desk, line)

    fleet.until("fleet.odd_line", times=MOST_ODD)
    assert len(fleet.said("fleet.odd_line")) == MOST_ODD
    assert all(line.isprintable() for line in fleet.said("fleet.odd_line"))
    # It hears what the process says after them, and sees its end.
    wait_for(lambda: ready(fleet), "a sound word after the odd ones")
    die(fleet.pids[0])
    fleet.until("fleet.process_died")
    fleet.up(2)
    wait_for(lambda: ready(fleet), "the next process")
    ends_in_order(fleet)


async def test_lines_that_are_nearly_right_do_no_harm(desk: Desk, fleet: Crew) -> None:
    await tell(desk, *fuzz(2_000 * int(os.environ.get("TORIL_ROUNDS", "1"))))

    wait_for(lambda: ready(fleet), "a sound word after the odd ones")
    ends_in_order(fleet)


@pytest.mark.parametrize("last", ["[1]", '{"say":"buried","workers":5}'])
async def test_a_signal_ends_the_supervisor_at_once_after_an_odd_line(
    desk: Desk, fleet: Crew, last: str
) -> None:
    await tell(desk, last.encode())
    fleet.until("fleet.odd_line")
    ends_in_order(fleet)


async def test_a_process_whose_line_was_cut_is_replaced(desk: Desk, fleet: Crew) -> None:
    await order(desk, "hang up")

    fleet.until("fleet.process_died")
    fleet.up(2)
    wait_for(lambda: ready(fleet), "the next process")
    ends_in_order(fleet)


async def test_files_that_cannot_be_are_no_harm_to_reloading(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--reload") as fleet:
        fleet.up(1)
        names = ["a\0b", "x" * 5_000, "/", "", "\ud800", "nobody/there.py"]
        await tell(desk, json.dumps({"say": "files", "files": names}).encode())
        (desk.folder / "app.py").write_text(APP + "\n# changed\n")
        fleet.until("changed: app.py")
        fleet.up(2)
        ends_in_order(fleet)
