"""The whole demo, on three photographs."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.servers import RedisServer
from toril import Fixed
from toril.demo import flashcards
from toril.demo.run import run

from .photographs import encoded, picture, somewhere

CLOSING = r"demo: (\d+) cards, (\d+) jobs completed, (\d+) failed, \d+\.\d s"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"photo_{number}.jpg").write_bytes(encoded(picture(200 + number, 150)))
    return folder


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flashcards, "BACKOFF", Fixed("20ms"))


def play(
    images: Path, *, terminal: bool = False, deadline_s: float = 15, url: str | None = None
) -> tuple[int, list[str]]:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=150, height=50)
    code = run(images, url=url, console=console, deadline_s=deadline_s)
    return code, shown.getvalue().splitlines()


def test_exactly_the_two_that_must_fail_do(images: Path) -> None:
    code, lines = play(images)

    assert code == 0, lines
    closing = re.fullmatch(CLOSING, lines[-1])
    assert closing is not None, lines
    assert closing.groups() == ("5", "16", "4")


def test_on_a_server_it_is_the_same_and_leaves_nothing_behind(
    images: Path, redis_server: RedisServer
) -> None:
    code, lines = play(images, url=redis_server.url)

    assert code == 0, lines
    closing = re.fullmatch(CLOSING, lines[-1])
    assert closing is not None, lines
    assert closing.groups() == ("5", "16", "4")
    left = list(redis_server.client().scan_iter(match="toril-demo-*"))
    assert [key for key in left if ":toril:" not in key] == []


@pytest.mark.timeout(90)
def test_it_works_on_the_photographs_that_a_package_brings() -> None:
    shown = io.StringIO()

    code = run(None, console=Console(file=shown, width=150, height=50))

    assert code == 0, shown.getvalue()
    closing = re.fullmatch(CLOSING, shown.getvalue().splitlines()[-1])
    assert closing is not None
    assert closing.group(3) == "4"


def test_off_a_terminal_it_is_plain_lines(images: Path) -> None:
    _, lines = play(images)

    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_on_a_terminal_it_draws_every_queue(images: Path) -> None:
    code, lines = play(images, terminal=True)
    drawn = "\n".join(lines)

    assert code == 0
    for queue in ("image:optimize", "image:check-valid", "image:upload"):
        assert queue in drawn


def test_the_retries_of_the_broken_one_are_told(images: Path) -> None:
    _, lines = play(images)

    told = [
        re.sub(r" \(.*\)", "", line) for line in lines if line.startswith("broken.jpg  optimize")
    ]
    again = "failed, to be tried again: image file is truncated"
    assert told == [
        f"broken.jpg  optimize-size  attempt 1 of 4 {again}",
        f"broken.jpg  optimize-size  attempt 2 of 4 {again}",
        f"broken.jpg  optimize-size  attempt 3 of 4 {again}",
        "broken.jpg  optimize-size  attempt 4 of 4 failed, the last one: image file is truncated",
    ]


def test_the_table_says_what_became_of_each_picture(images: Path) -> None:
    _, lines = play(images)

    states = {line.split()[0]: line.rstrip() for line in lines if re.search(r"\d s  ", line)}
    assert re.search(r"\d+%  +\d+\.\d\d s  +uploaded$", states["photo_1.jpg"])
    assert states["broken.jpg"].endswith(" failed")
    assert states["holiday.jpg"].endswith(" refused")


def test_below_the_table_it_says_why_two_failed(images: Path) -> None:
    _, lines = play(images)

    reasons = [line.rstrip() for line in lines if re.match(r"\w+\.jpg: ", line)]
    assert reasons[0].startswith("broken.jpg: failed, after 4 attempts: image file is truncated")
    assert reasons[1:] == [
        "holiday.jpg: refused, its EXIF data tells where it was taken (48.8584, 2.2945)"
    ]


def test_a_photograph_of_the_users_that_tells_a_place_is_refused_as_it_must_be(
    images: Path,
) -> None:
    (images / "home.jpg").write_bytes(encoded(picture(), exif=somewhere()))

    code, lines = play(images)

    assert code == 0, lines
    assert lines[-1].startswith("demo: 6 cards, 18 jobs completed, 6 failed, ")


def test_a_picture_that_should_have_come_through_makes_it_1(images: Path) -> None:
    (images / "torn.jpg").write_bytes(encoded(picture())[:2000])

    code, lines = play(images)

    assert code == 1
    (unexpected,) = (line for line in lines if line.startswith("unexpected:"))
    assert unexpected.startswith("unexpected: torn.jpg is failed (after 4 attempts: ")


def test_it_never_hangs(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flashcards, "BACKOFF", Fixed("1h"))

    code, lines = play(images, deadline_s=1)

    assert code == 1
    assert "unexpected: it was not done within 1 s" in lines


def test_the_command_runs_it_and_leaves_nothing_behind(images: Path, tmp_path: Path) -> None:
    left = tmp_path / "tmp"
    left.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "toril", "demo", "--images", str(images)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(left), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=18,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(CLOSING, ended.stdout.splitlines()[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "tmp"]
    assert list(left.iterdir()) == []
