"""What an isolated handler prints is text, whatever it is: it moves no mark and stops no reader.

Never here: what a child prints in good faith (`tests/runtime/test_isolation.py`).
"""

import os
import random
import string
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable

import pytest

from toril import Toril
from toril._isolation import output
from toril._isolation.protocol import mark
from toril._worker import loops
from toril.errors import JobFailed

PATH = "tests.robustness.hostile.printing"
# More than a pipe holds: a child that nobody reads stands still in it.
FILL = 100_000
DIGITS = ("²", "9" * 5_000, "٣", "-1", "1_0", " 1", "1 ", "0x1", "1.0", "")


def marks() -> dict[str, str]:
    """What looks like a mark, or nearly, and is none: the secret is not known to who prints."""
    secret = "0" * 32
    texts = {f"number {text!r:.20}": f"\x1e{text} x" for text in (*DIGITS, "1", "2", "999")}
    texts |= {f"with a secret, {text!r:.20}": f"\x1e{secret} {text}" for text in DIGITS}
    return texts | {
        "nothing else": "\x1e",
        "several": "\x1e1 a\x1e2 b\x1e3 c",
        "no end of line": "\x1e" + "z" * 20_000,
        "many separators": "\x1e" * 20_000,
        "not UTF-8": "\x1e\udcff\udcfe 1",
    }


@pytest.fixture
def memory() -> Toril:
    return Toril(":memory:")


@pytest.fixture
def errors(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capfd.readouterr().err.splitlines()


async def printed(memory: Toril, *texts: str) -> list[str]:
    """Print each text in a job of its own, in one child; return the ids of the jobs."""
    memory.processor("q", f"{PATH}:say", concurrency=1)
    coded = [b64encode(text.encode(errors="surrogateescape")).decode() for text in texts]
    jobs = await memory.queue("q").add_many([("x", each, {"attempts": 1}) for each in coded])
    async with memory.worker("q", concurrency=1, processes=1):
        for job in jobs:
            assert await job.result(timeout=15) == "printed"
    return [job.id for job in jobs]


async def test_nothing_that_is_printed_stops_the_reader(memory: Toril) -> None:
    await printed(memory, *(text + "\n" + "z" * FILL for text in marks().values()))


async def test_no_line_appears_under_the_name_of_another_job(
    memory: Toril, errors: Callable[[], list[str]]
) -> None:
    texts = [f"{text}\nbelow {number}\n" for number, text in enumerate(marks().values())]
    ids = await printed(memory, *texts)

    lines = errors()
    for number, job_id in enumerate(ids):
        below = [line for line in lines if line.endswith(f"below {number}")]
        assert below == [f"[q:{job_id}] below {number}"]
    assert all(line.startswith("[q:") for line in lines if "]" in line), lines


async def test_a_forged_mark_does_not_reset_the_count_of_lines(
    memory: Toril, errors: Callable[[], list[str]]
) -> None:
    most = output.MAX_LINES
    await printed(memory, "\n".join(["\x1e1 l", *["spam"] * (most - 1)] * 5), "after")

    lines = errors()
    assert sum(line.startswith("[q:1]") for line in lines) == most + 1
    assert "[q:2] after" in lines


async def test_what_is_printed_at_random_stays_within_its_job(
    memory: Toril, errors: Callable[[], list[str]]
) -> None:
    rng = random.Random(10)
    alphabet = "\x1e\x1e\x1b\r\t\0\x07\x9b\u202e²9 1x:\udc80" + string.hexdigits
    rounds = 40 * int(os.environ.get("TORIL_ROUNDS", "1"))
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(1, 3_000))) for _ in range(rounds)]
    ids = await printed(memory, *(f"{text}\nend of {n}\n" for n, text in enumerate(texts)))

    lines = errors()
    for number, job_id in enumerate(ids):
        assert f"[q:{job_id}] end of {number}" in lines
    assert all(line.isprintable() for line in lines)


HARMFUL = {
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "title": "\x1b]0;title\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred",
    "one-byte CSI": "\x9b31m",
    "bell": "\a",
    "backspace": "good\b\b\b\bevil",
    "carriage return": "evil\rgood",
    "vertical": "a\vb\fc",
    "NUL": "a\0b",
    "direction": "\u202eevil\u202c\u2066",
    "line separator": "a\u2028b\u2029c\x85d",
    "zero width": "a\u200bb\ufeff",
    "not UTF-8": "\udcff\udc9b",
    "delete": "a\x7fb",
}


@pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL)
def test_what_is_printed_is_made_safe(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    lines = shown(text.encode(errors="surrogateescape") + b"\nnext\n", label=f"q:{text}")

    assert len(lines) == 2
    assert all(line.isprintable() for line in lines), lines


def test_a_tab_is_shown_as_blanks() -> None:
    assert shown(b"a\tb\n") == ["[q:1] a       b"]


def shown(data: bytes, *, label: str = "q:1") -> list[str]:
    lines: list[str] = []
    follow(data, lines.append, label=label)
    return lines


def follow(data: bytes, say: Callable[[str], None], *, label: str = "q:1") -> output.Output:
    """Let a child's output be read that begins a job and prints this."""
    read, write = os.pipe()
    reader = output.Output("child", say)
    reader.expect(1, label)
    reader.hurry.set()
    os.write(write, mark(reader.secret) + b"1\n" + data)
    os.close(write)
    reader.follow(read)
    os.close(read)
    return reader


def test_a_mark_counts_once_and_only_for_a_job_that_was_sent() -> None:
    lines: list[str] = []
    read, write = os.pipe()
    reader = output.Output("child", lines.append)
    reader.expect(1, "q:a")
    reader.expect(2, "q:b")
    again = mark(reader.secret) + b"1\n"
    never = mark(reader.secret) + b"3\n"
    second = b"no end of line" + mark(reader.secret) + b"2\n"
    os.write(write, again + again + never + b"mine\n" + second + again + b"b's\n")
    os.close(write)
    reader.hurry.set()
    reader.follow(read)
    os.close(read)

    assert reader.began == 2
    assert [line.partition("]")[0] for line in lines] == ["[q:a"] * 4 + ["[q:b"] * 2


@pytest.mark.parametrize("size", [5_000, 16_000, 40_000, 70_000, 200_000])
def test_a_mark_is_found_behind_a_line_without_end(size: int) -> None:
    lines: list[str] = []
    read, write = os.pipe()
    reader = output.Output("child", lines.append)
    reader.expect(1, "q:1")
    reader.hurry.set()
    whole = b"z" * size + mark(reader.secret) + b"1\nafter\n"

    def feed() -> None:
        # In odd pieces, so that the mark is torn somewhere.
        for at in range(0, len(whole), 4_099):
            os.write(write, whole[at : at + 4_099])
        os.close(write)

    feeding = threading.Thread(target=feed)
    feeding.start()
    reader.follow(read)
    feeding.join()
    os.close(read)

    assert [line.partition("]")[0] for line in lines] == ["[child", "[q:1"]
    assert len(lines[0]) <= output.MAX_LINE + 20


# When it cannot be read.


async def test_a_child_whose_output_cannot_be_passed_on_is_ended_at_once(
    memory: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("no way out")

    monkeypatch.setattr(loops, "say", fail)
    memory.processor("q", f"{PATH}:say", concurrency=1)
    # The first line fails while the child still has more to say than a pipe holds, and a read takes.
    text = b64encode(b"z\n" + b"z" * FILL * 4 + b"\n").decode()
    job = await memory.queue("q").add("x", text, attempts=1)
    began = time.monotonic()
    async with memory.worker("q"):
        with pytest.raises(JobFailed, match="what it prints cannot be passed on: RuntimeError"):
            await job.result(timeout=10)
    assert time.monotonic() - began < 8


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are POSIX")
@pytest.mark.parametrize("how", ["close", "replace", "full", "forge"])
async def test_a_handler_may_do_as_it_likes_with_its_descriptors(memory: Toril, how: str) -> None:
    memory.processor("q", f"{PATH}:mistreat", concurrency=1)
    jobs = await memory.queue("q").add_many([("x", how, {"attempts": 1}) for _ in range(3)])
    async with memory.worker("q", concurrency=1, processes=1):
        results = [await job.result(timeout=15) for job in jobs]

    pids = {pid for pid, _ in results}
    assert len(pids) == 1, "the child was replaced"
