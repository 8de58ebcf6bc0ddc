"""What a child prints, passed on line by line with the job it was printed for; bounded.

Never here: the pipe that jobs travel in.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from .frames import MARK

MAX_LINE = 4_096
# So many lines of one job are passed on; one that prints without end must not fill a disk.
MAX_LINES = 1_000
# A little that came is followed by a pause, in which more gathers: a child at work writes a mark
# for each job, and its worker need not wake for each.
PAUSE_S = 0.05
LITTLE = 4_096

Say = Callable[[str], None]


def say(text: str) -> None:
    """Write a line to this process's error output, which may be closed, or the user's own."""
    # A reader that ends here would leave its child with a full pipe.
    with suppress(Exception):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class Output:
    """Read the output of one child to its end, in a thread.

    `began` is the number of the last job that the child began; `hurry` ends the pauses.
    """

    __slots__ = ("_count", "_label", "_say", "began", "hurry")

    def __init__(self, label: str, say: Say) -> None:
        self.began = 0
        self.hurry = threading.Event()
        self._label = label
        self._count = 0
        self._say = say

    def follow(self, descriptor: int) -> None:
        """Pass everything on until the last process that could write has ended."""
        for text in _lines(descriptor, self.hurry):
            before, _, after = text.rpartition(MARK)
            number, _, label = after.decode(errors="replace").partition(" ")
            if MARK not in text or not number.isdigit():
                self._pass_on(text)
                continue
            if before:
                self._pass_on(before)
            self.began = int(number)
            self._label, self._count = label, 0

    def _pass_on(self, text: bytes) -> None:
        self._count += 1
        if self._count <= MAX_LINES:
            self._say(f"[{self._label}] {_cut(text)}")
        elif self._count == MAX_LINES + 1:
            self._say(f"[{self._label}] … what it prints from here on is left out")


def _cut(text: bytes) -> str:
    shown = text[:MAX_LINE].decode(errors="replace").rstrip("\r")
    return f"{shown}…" if len(text) > MAX_LINE else shown


def _lines(descriptor: int, hurry: threading.Event) -> Iterator[bytes]:
    """Give lines; of one without end only as much as is ever shown is kept."""
    kept = b""
    while True:
        with suppress(OSError):
            chunk = os.read(descriptor, 65_536)
            if chunk:
                *whole, kept = (kept + chunk).split(b"\n")
                yield from whole
                kept = _bounded(kept)
                if len(chunk) < LITTLE:
                    hurry.wait(PAUSE_S)
                continue
        break
    if kept:
        yield kept


def _bounded(kept: bytes) -> bytes:
    if len(kept) <= 2 * MAX_LINE:
        return kept
    # A mark may stand behind what was printed without an end of line.
    return kept[-MAX_LINE:] if MARK in kept[-MAX_LINE:] else kept[: MAX_LINE + 1]
