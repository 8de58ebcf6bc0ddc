"""A fleet of `toril worker --processes`, started, signalled and listened to as its user would."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.support.processes import lives

from .desk import Desk

UP = re.compile(rf"worker\.ready worker='{re.escape(socket.gethostname())}-(\d+)-\w+'")


def wait_for(look: Callable[[], object], what: str, within: float = 10.0) -> None:
    """Look again and again until there is something."""
    deadline = time.monotonic() + within
    while not look():
        assert time.monotonic() < deadline, f"waited {within:g} s in vain for {what}"
        time.sleep(0.01)


class Crew:
    """A supervisor and its processes, and what they said, in their order."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip())
                self._more.notify_all()

    def said(self, text: str) -> list[str]:
        """Give the lines with this text."""
        with self._more:
            return [line for line in self.lines if text in line]

    def until(self, text: str, *, times: int = 1, within: float = 15.0) -> str:
        """Wait until a text was said so often, and give the last line with it."""
        with self._more:
            found = self._more.wait_for(
                lambda: sum(text in line for line in self.lines) >= times, within
            )
        told = "\n".join(self.lines)
        assert found, f"{text!r} was not said {times} times in {within:g} s, but:\n{told}"
        return self.said(text)[times - 1]

    @property
    def pids(self) -> list[int]:
        """Give the process of every worker that came up, in that order."""
        with self._more:
            return [int(match[1]) for line in self.lines if (match := UP.search(line))]

    def up(self, count: int) -> list[int]:
        """Wait until so many workers have come up since the beginning; give their processes."""
        self.until("worker.ready", times=count)
        return self.pids

    def ask(self, path: str) -> tuple[int, dict[str, object]]:
        """Ask the probe."""
        base = self.until("health: ").split()[1].removesuffix("/live")
        try:
            with urlopen(f"{base}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, within: float = 15.0) -> int:
        """Wait for its end, and give its exit code."""
        code = self.process.wait(timeout=within)
        self._reader.join(5)
        return code


@contextmanager
def crew(desk: Desk, *words: str) -> Iterator[Crew]:
    """Have a fleet; nothing of it is left afterwards."""
    process = desk.start(*words, stderr=subprocess.STDOUT)
    found = Crew(process)
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        for pid in found.pids:
            wait_for(lambda pid=pid: not lives(pid), f"the end of {pid}", 20)  # type: ignore[misc]
        found._reader.join(5)
        assert process.stdout is not None
        process.stdout.close()


def die(pid: int) -> None:
    """Kill a process as nothing can resist."""
    os.kill(pid, signal.SIGKILL)
