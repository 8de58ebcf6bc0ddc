"""Commands that start at once: each runs in a fork of a process that has imported toril.

`python -m toril` spends most of a short command on imports. Here the command line's entry gets its
arguments, environment, folder and streams in a process of its own, as at a shell. What only a
real start can show is in `tests/cli/test_main.py`.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 15.0


class Commands:
    """A process from which commands are forked, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "PYTHONUTF8": "1"},
                pass_fds=[theirs.fileno()],
            )

    def run(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[int],
    ) -> int:
        """Run a command with these three streams, and return its exit code as Popen has it."""
        asked = json.dumps([list(words), str(folder), dict(environment)]).encode()
        with self._lock:
            socket.send_fds(self._line, [asked], list(streams))
            pid = int(self._line.recv(64))
            self._line.settimeout(PATIENCE_S)
            try:
                return int(self._line.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._line.settimeout(None)
                self._line.recv(64)
                raise AssertionError(f"toril {' '.join(words)} did not end") from None
            finally:
                self._line.settimeout(None)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


@cache
def commands() -> Commands:
    """Return the one of this process."""
    found = Commands()
    atexit.register(found.close)
    return found


def _serve(line: socket.socket) -> None:
    """Fork a process for each command; return in that process, ready to run it."""
    while True:
        asked, streams, *_ = socket.recv_fds(line, 1 << 20, 3)
        if not asked:
            sys.exit()
        pid = os.fork()
        if not pid:
            line.close()
            _become(streams, *json.loads(asked))
            return
        for stream in streams:
            os.close(stream)
        line.send(str(pid).encode())
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(
    streams: Sequence[int], words: Sequence[str], folder: str, environment: Mapping[str, str]
) -> None:
    """Be the process that a shell would have started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        if stream > 2:
            os.close(stream)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    for name, number, errors in (
        ("stdout", 1, "surrogateescape"),
        ("stderr", 2, "backslashreplace"),
    ):
        lines = 1 if number == 2 or os.isatty(number) else -1
        stream = open(number, "w", lines, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.argv = ["toril", *words]
    sys.path[0] = folder


def _ended(run: Callable[[], None]) -> int:
    """Run a command, and return its exit code."""
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    from toril.cli.main import run

    # What commands import when they need it: toril for a server, and typer to read options.
    for module in (
        "toril.cli.root",
        "toril._store.redis.store",
        "typer._adapters",
        "pydantic.type_adapter",
    ):
        importlib.import_module(module)
    # Memory that nobody writes to is not copied in a fork; so ends no fork in good order, either.
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(_ended(run))
