"""What the benchmarks share: the machine, rounds in turn, processes, and tables."""

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import apsw

T = TypeVar("T")
Result = dict[str, float]

HERE = Path(__file__).parent
PAYLOAD = {"text": "x" * 89}  # 100 bytes of JSON
QUEUE = "bench"
KEEP = 1_000


def options(purpose: str, *, rounds: int = 5) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made (on a real disk)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    return given


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop if it is there, as `toril worker` does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


# Processes.


def child(mode: str, *args: object) -> Any:
    """Run a mode of children.py in a process of its own, and give what it prints."""
    done = subprocess.run(command(mode, *args), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout or "null")


def command(mode: str, *args: object) -> list[str]:
    return [sys.executable, str(HERE / "children.py"), mode, *map(str, args)]


@contextmanager
def folder(given: argparse.Namespace) -> Iterator[Path]:
    """Make a folder on a disk where syncing means something."""
    parent = given.folder or Path(tempfile.gettempdir())
    kind = file_system(parent)
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{parent} is on {kind}, where nothing is ever synced: give --folder")
    made = Path(tempfile.mkdtemp(prefix="toril-bench-", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made)


# Rounds.


def in_turn(
    contestants: Mapping[str, Callable[[Path], Result]], where: Path, rounds: int
) -> dict[str, Result]:
    """Let everyone run once a round, in turn (A B A B), and give the medians."""
    seen: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, contest in contestants.items():
            spot = where / f"{name.replace(' ', '-').replace(',', '')}-{number}"
            spot.mkdir()
            seen[name].append(contest(spot))
            shutil.rmtree(spot)
            say(".")
    say("\n")
    return {
        name: {field: median(result[field] for result in results) for field in results[0]}
        for name, results in seen.items()
    }


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Sequence[float]) -> Result:
    return {f"p{percent}": percentile(values, percent) for percent in (50, 95, 99)}


# What is printed.


def say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a small table in Markdown."""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print()
    for number, row in enumerate(cells):
        line = [row[0].ljust(widths[0])]
        line += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        print(f"| {' | '.join(line)} |")
        if number == 0:
            print(f"| {' | '.join('-' * width for width in widths)} |")
    print()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def ratio(mine: float, theirs: float) -> str:
    return f"{mine / theirs:.1f} ×"


def describe(where: Path) -> None:
    """Print what the figures depend on."""
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    print(f"machine   {processor()}, {os.cpu_count()} cores, load {load}")
    try:
        loop = f"uvloop {version('uvloop')}"
    except ImportError:
        loop = "asyncio"
    print(
        f"software  Python {platform.python_version()} ({loop}), SQLite "
        f"{apsw.sqlite_lib_version()}, toril {version('toril')}, huey {version('huey')}"
    )
    print(
        f"disk      {file_system(where)} at {where}, one fsync {fsync_ms(where):.2f} ms, "
        f"{fsync_ms(where, pause=0.02):.2f} ms after 20 ms of silence"
    )
    if os.getloadavg()[0] > (os.cpu_count() or 1) * 0.6:
        print("          the machine is busy with other things: all figures are worse for it")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def file_system(where: Path) -> str:
    """Name the file system that holds `where`."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    except OSError:
        return "unknown file system"
    best, kind = "", "unknown file system"
    target = str(where.resolve())
    for line in mounts:
        _, point, name, *_ = line.split(" ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def fsync_ms(where: Path, *, pause: float = 0) -> float:
    """Measure a write of 4 KiB and its fsync (median), each after a pause."""
    path = where / "fsync"
    took: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            time.sleep(pause)
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return median(took)
