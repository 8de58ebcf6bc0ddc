"""What a child prints, passed on line by line with the job it was printed for; bounded.

Never here: the pipe that jobs travel in.
"""

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from toril._model.printable import safe

from .protocol import mark

MAX_LINE = 4_096
# So many lines of one job are passed on; one that prints without end must not fill a disk.
MAX_LINES = 1_000
MAX_LABEL = 300
# The number of a job in a mark has at most so many digits.
MAX_DIGITS = 12
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

    `secret` is what its marks are known by. `began` is the number of the last job that the child
    began; `hurry` ends the pauses.
    """

    __slots__ = ("_count", "_expected", "_label", "_mark", "_say", "began", "hurry", "secret")

    def __init__(self, label: str, say: Say) -> None:
        self.began = 0
        self.hurry = threading.Event()
        self.secret = secrets.token_hex(16)
        self._mark = mark(self.secret)
        self._label = safe(label, MAX_LABEL)
        self._expected: dict[int, str] = {}
        self._count = 0
        self._say = say

    def expect(self, number: int, label: str) -> None:
        """Show this label before what is printed once the child has begun this job."""
        self._expected[number] = safe(label, MAX_LABEL)

    def follow(self, descriptor: int) -> None:
        """Pass everything on until the last process that could write has ended."""
        for text in _lines(descriptor, self.hurry, longest_mark=len(self._mark) + MAX_DIGITS):
            before, found, after = text.rpartition(self._mark)
            label = self._begun(after) if found else None
            if label is None:
                self._pass_on(text)
                continue
            if before:
                self._pass_on(before)
            self._label, self._count = label, 0

    def _begun(self, digits: bytes) -> str | None:
        """Note that a job has begun; return its label, or None if no such job was to begin."""
        if not digits.isdigit() or len(digits) > MAX_DIGITS:
            return None
        label = self._expected.pop(int(digits), None)
        if label is not None:
            self.began = int(digits)
        return label

    def _pass_on(self, text: bytes) -> None:
        self._count += 1
        if self._count <= MAX_LINES:
            self._say(f"[{self._label}] {_shown(text)}")
        elif self._count == MAX_LINES + 1:
            self._say(f"[{self._label}] … what it prints from here on is omitted")


def _shown(text: bytes) -> str:
    """Return a line as it may stand on a terminal: a handler may print the text of others."""
    return safe(text[: 4 * MAX_LINE].decode(errors="replace").rstrip("\r").expandtabs(), MAX_LINE)


def _lines(descriptor: int, hurry: threading.Event, *, longest_mark: int) -> Iterator[bytes]:
    """Yield lines; of one without end only what is shown, and what may be the head of a mark."""
    kept = b""
    while chunk := os.read(descriptor, 65_536):
        *whole, kept = (kept + chunk).split(b"\n")
        yield from whole
        if len(kept) > 8 * MAX_LINE:
            kept = kept[: 4 * MAX_LINE + 1] + kept[-longest_mark:]
        if len(chunk) < LITTLE:
            hurry.wait(PAUSE_S)
    if kept:
        yield kept
