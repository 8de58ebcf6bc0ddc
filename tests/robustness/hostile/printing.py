"""Handlers that are isolated, and print what should not be printed."""

import os
from base64 import b64decode
from contextlib import suppress
from typing import Any

import msgspec

from toril import Job


def say(job: Job[Any]) -> str:
    data = b64decode(job.data)
    while data:
        data = data[os.write(2, data) :]
    return "printed"


def mistreat(job: Job[Any]) -> list[Any]:
    """Close, replace or fill the error output, or answer questions that nobody asked."""
    match job.data:
        case "close":
            os.closerange(1, 3)
        case "replace":
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
        case "full":
            os.set_blocking(2, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(2, b"z" * 65_536)
        case _:
            for descriptor in range(3, 12):
                with suppress(OSError):
                    os.write(descriptor, ask())
    return [os.getpid(), str(job.data)]


def ask() -> bytes:
    """Return a question with a number that this child's link does not know."""
    question = {"type": "ask", "number": 999_999, "verb": "no such verb", "value": None}
    return msgspec.json.encode(question) + b"\n"
