"""The line between a supervisor and one of its processes: messages as lines of JSON, both ways.

Never here: what a message means.
"""

import json
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

Message = dict[str, Any]
# What may wait to be sent to somebody who does not read; more is left out.
BACKLOG = 1 << 20
LONGEST_LINE = 1 << 22

log = logging.getLogger("toril.fleet")


def encode(message: Message) -> bytes:
    """Write a message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read a message that was sent.

    Raises   ValueError: it is none.
    """
    message: object = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("it is not an object")  # noqa: TRY004  # of what was read, not of an argument
    return cast("Message", message)


class Channel:
    """A process's end of the line; the supervisor holds the other one.

    Sending never blocks. Reading is done by a thread, so that a loop that stands still does not
    keep its process from hearing that it shall end.
    """

    def __init__(self, line: socket.socket) -> None:
        self._socket = line
        self._input = line.makefile("rb")
        self._backlog = bytearray()

    def read(self) -> Message | None:
        """Wait for the next message; None when the supervisor is gone."""
        with suppress(OSError):
            while line := self._input.readline(LONGEST_LINE):
                try:
                    return decode(line)
                except (ValueError, RecursionError):
                    log.warning("worker.odd_line: a line of the supervisor was passed over")
        return None

    def listen(self, hear: Callable[[Message], None], lost: Callable[[], None]) -> None:
        """Hand over every message from now on, in a thread, until the supervisor is gone."""

        def main() -> None:
            try:
                while (message := self.read()) is not None:
                    hear(message)
            finally:
                # Also by a mistake: a process that does not hear its supervisor must end.
                lost()

        threading.Thread(target=main, name="toril-supervisor", daemon=True).start()

    def tell(self, message: Message) -> None:
        """Send a message, or keep it until there is room; from one thread only."""
        if len(self._backlog) < BACKLOG:
            self._backlog += encode(message)
        # The thread that reads notices when the other end is gone.
        with suppress(OSError):
            while self._backlog:
                sent = self._socket.send(self._backlog, socket.MSG_DONTWAIT)
                del self._backlog[:sent]
