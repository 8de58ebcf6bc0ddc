"""One child process as the system has it: started, written to, killed, and buried.

Everything here may be called from any thread. Never here: jobs.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from toril.errors import ConfigError

from . import memory
from .protocol import ToChild, ToParent, line, read_report

# Not by `-m`, which puts the current folder first: a queue.py there would be taken for Python's.
PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop()); from toril._isolation.program import main; main()"
)
HOME = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 2))
# A process that closed its pipe has so long to end by itself.
EXIT_S = 1.0
_LOOK_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a process ended; code as `subprocess` has it: -n is signal n. None: nobody knows."""

    code: int | None
    rss: int | None = None

    def __str__(self) -> str:
        used = "" if self.rss is None else f" (RSS {memory.shown(self.rss)})"
        if self.code is None:
            return f"ended{used}"
        if self.code < 0:
            return f"was killed by {_signal(-self.code)}{used}"
        # Windows has its errors in the upper half.
        code = str(self.code) if self.code < 1 << 16 else f"{self.code:#x}"
        return f"exited with code {code}{used}"


class ChildProcess:
    """A child process with three pipes: frames to it, frames from it, and what it prints.

    Raises   OSError: it cannot be started.
    """

    def __init__(self, title: str) -> None:
        if not sys.executable:
            raise ConfigError(
                "there is no Python to start child processes with: sys.executable is empty",
                field="isolation",
            )
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._buried = False
        self._peak_before = memory.own_peak() or 0
        self._popen = subprocess.Popen(
            # With the options of this interpreter, such as -O or -X utf8.
            [sys.executable, *_interpreter_options(), "-P", "-c", PROGRAM, title, HOME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C is for the worker alone.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self.pid = self._popen.pid

    @property
    def output(self) -> int:
        """The descriptor from which what it prints is read."""
        return _pipe(self._popen.stderr).fileno()

    def write(self, frame: ToChild) -> None:
        """Write a frame, however long the process takes to read it; one that died reads nothing."""
        pipe = _pipe(self._popen.stdin)
        with self._writing, suppress(OSError, ValueError):
            pipe.write(line(frame))
            pipe.flush()

    def reports(self) -> Iterator[ToParent]:
        """Return its frames until its pipe closes."""
        with suppress(OSError, ValueError):
            for text in iter(_pipe(self._popen.stdout).readline, b""):
                yield read_report(text)

    def close(self) -> None:
        """Let it end: it hears nothing more."""
        with self._writing, suppress(OSError):
            _pipe(self._popen.stdin).close()

    def kill(self) -> None:
        """End it and what it started, now."""
        with self._lock:
            if self._buried:
                return
            if sys.platform == "win32":
                self._popen.kill()
            else:
                _kill_group(self.pid)

    def sweep(self) -> None:
        """End what it started once it has ended itself: its pipes would stay open with that."""
        if _has_exited(self.pid):
            self.kill()

    def bury(self) -> Death:
        """Wait until it has ended, end what it left behind, and say how it ended."""
        self.close()
        until = time.monotonic() + EXIT_S
        while not self._exited() and time.monotonic() < until:
            time.sleep(_LOOK_S)
        self.kill()
        with self._lock:
            death = self._reap()
            self._buried = True
        return death

    def release(self) -> None:
        """Close the pipes from it; whoever read them must have ended."""
        for pipe in (self._popen.stdout, self._popen.stderr):
            _pipe(pipe).close()

    def _exited(self) -> bool:
        if hasattr(os, "waitid"):
            return _has_exited(self.pid)
        return self._popen.poll() is not None

    def _reap(self) -> Death:
        if sys.platform == "win32" or self._popen.returncode is not None:
            return Death(code=self._popen.wait())
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            # Somebody in this process waits for every child there is.
            self._popen.returncode = 0
            return Death(code=None)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        peak = memory.peak_of(usage) or 0
        # A process inherits its parent's peak when it starts; only what is above is its own.
        return Death(code=self._popen.returncode, rss=peak if peak > self._peak_before else None)


def _interpreter_options() -> list[str]:
    # What multiprocessing uses, too.
    found: Callable[[], list[str]] = vars(subprocess)["_args_from_interpreter_flags"]
    return found()


def _kill_group(pid: int) -> None:
    # It may not yet be the leader of its own group.
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _has_exited(pid: int) -> bool:
    """Return whether a child has ended, and leave it to be reaped; False where nobody can say."""
    if not hasattr(os, "waitid"):
        return False
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return found is not None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:  # never: all three are asked for
        raise TypeError("the pipe is missing")
    return pipe
