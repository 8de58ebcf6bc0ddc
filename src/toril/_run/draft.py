"""A job that is about to be added: what tasks, queues, flows and schedules hand to one another.

Never here: the options that hold in the end; the queue lays its own and the app's below these.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from toril._model.backoff import Backoff
from toril._model.options import Options
from toril._model.record import Ref

from .job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A job to be added, and the children that it waits for; made by `task.node(...)`.

    Shape    data is JSON text. options are what was asked for, as it was written.
             task_backoff holds where more than one attempt and no backoff was asked for.
             decode reads the result.
    """

    queue: str
    name: str
    data: str = "{}"
    options: Options = field(default_factory=Options)
    id: str | None = None
    parent: Ref | None = None
    children: tuple["Node", ...] = ()
    task_backoff: Backoff | None = None
    decode: Callable[[str], Any] | None = None

    def after(self, *children: "Node") -> "Node":
        """Give this node with these children: it runs when they have completed."""
        return replace(self, children=(*self.children, *children))


class Add(Protocol):
    """Add jobs; what a task is handed, so that it need not know queues."""

    def __call__(self, nodes: Sequence[Node]) -> Awaitable[list[Job[Any]]]:
        """Add these jobs and give their handles, in the same order."""
        ...
