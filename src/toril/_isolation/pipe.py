"""A child's end of the pipe, and the store that its job talks to: its parent, over the pipe.

Never here: running a handler.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import fields
from itertools import count
from typing import Any, BinaryIO, NoReturn, TypeVar

import msgspec

from toril._model.record import Record, Ref
from toril._model.report import Children, JobPatch, Logs, Selected, Selection, Unset
from toril._store.values import LogLine
from toril.errors import TaskError, TorilError

from .protocol import Ask, ChildFault, Reply, ToChild, ToParent, error_of, line, raw, read_order

T = TypeVar("T")


class ParentPipe:
    """Send frames to the parent from any thread, and hand its own to whom they concern."""

    def __init__(self, read: BinaryIO, write: int) -> None:
        self._read = read
        self._write = write
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._open: dict[int, Future[msgspec.Raw]] = {}
        if hasattr(os, "register_at_fork"):
            # A process that the handler forks must not seem to be this one, nor outlive it here.
            os.register_at_fork(after_in_child=self._close)

    def send(self, frame: ToParent) -> None:
        """Send a frame; a parent that is gone is noticed where its frames are read."""
        left = memoryview(line(frame))
        with self._lock, suppress(OSError):
            while left:
                left = left[os.write(self._write, left) :]

    def ask(self, verb: str, value: object) -> "Future[msgspec.Raw]":
        """Ask the parent for something; the answer comes into the future."""
        number = next(self._numbers)
        future = self._open[number] = Future[msgspec.Raw]()
        self.send(Ask(number=number, verb=verb, value=raw(value)))
        return future

    def read(self) -> ToChild | None:
        """Wait for the next frame that is no answer; None: the parent is gone, or wants the end."""
        for text in iter(self._read.readline, b""):
            frame: ToChild = read_order(text)
            if not isinstance(frame, Reply):
                return frame
            self._answered(frame)
        return None

    def _answered(self, reply: Reply) -> None:
        future = self._open.pop(reply.number, None)
        # Nobody waits for the answer to a question that the handler wrote into the pipe itself.
        if future is None or not future.set_running_or_notify_cancel():
            return
        if reply.fault is None:
            future.set_result(reply.value)
        else:
            future.set_exception(error_of(reply.fault))

    def _close(self) -> None:
        self._lock = threading.Lock()
        with suppress(OSError):
            os.close(self._write)
        with suppress(OSError):
            os.close(self._read.fileno())


class PipeStore:
    """Those verbs of a store that a running job needs, carried out by the parent."""

    def __init__(self, link: ParentPipe) -> None:
        self._link = link
        self.on_notice: set[Callable[[str, str], None]] = set()
        self.url = "the worker"

    def __getattr__(self, name: str) -> NoReturn:
        raise TaskError(
            f"a job in a child process has no {name!r} of its own: "
            "ask app.queue(...).job(id) for a handle that has"
        )

    async def open(self) -> None:
        """Do nothing: the worker has opened its store."""

    async def get(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Read jobs."""
        return await self._ask("get", list(refs), list[Record | None])

    async def update(self, patches: Sequence[JobPatch]) -> Sequence[TorilError | None]:
        """Change jobs."""
        given = [_set_fields(patch) for patch in patches]
        faults = await self._ask("update", given, list[ChildFault | None])
        return [None if fault is None else error_of(fault) for fault in faults]

    async def log(self, lines: Sequence[LogLine]) -> Sequence[int | TorilError]:
        """Append to logs."""
        answers = await self._ask("log", list(lines), list[int | ChildFault])
        return [error_of(each) if isinstance(each, ChildFault) else each for each in answers]

    async def logs(self, ref: Ref, **page: Any) -> Logs:
        """Read a page of a log."""
        return await self._ask("logs", {"ref": ref, "page": page}, Logs)

    async def children(self, ref: Ref, **page: Any) -> Children:
        """Read a page of a job's children."""
        return await self._ask("children", {"ref": ref, "page": page}, Children)

    async def retry(self, selection: Selection) -> Selected:
        """Put finished jobs back."""
        return await self._select("retry", selection)

    async def promote(self, selection: Selection) -> Selected:
        """Let delayed jobs start now."""
        return await self._select("promote", selection)

    async def remove(self, selection: Selection) -> Selected:
        """Take jobs away."""
        return await self._select("remove", selection)

    async def _select(self, verb: str, selection: Selection) -> Selected:
        found = await self._ask(verb, selection, Picked)
        refused: dict[str, Exception] = {
            job_id: error_of(fault) for job_id, fault in found.refused.items()
        }
        return Selected(ids=found.ids, refused=refused, more=found.more)

    async def _ask(self, verb: str, value: object, kind: type[T]) -> T:
        answer = await asyncio.wrap_future(self._link.ask(verb, value))
        return msgspec.json.decode(answer, type=kind)


class Picked(msgspec.Struct, frozen=True):
    """A `Selected` on the pipe."""

    ids: tuple[str, ...]
    refused: dict[str, ChildFault]
    more: bool


def _set_fields(patch: JobPatch) -> dict[str, object]:
    """Return what a patch changes; None clears, so what is left alone must be omitted."""
    given = {each.name: getattr(patch, each.name) for each in fields(patch)}
    return {name: value for name, value in given.items() if not isinstance(value, Unset)}
