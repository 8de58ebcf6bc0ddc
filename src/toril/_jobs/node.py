"""A job that is about to be added: what tasks, queues, flows and schedules hand to one another.

Never here: the options that hold in the end; the queue lays its own and the app's below these.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

import msgspec

from toril._model.backoff import Backoff
from toril._model.options import Options
from toril._model.record import Ref, check_job_id

from .job import Job
from .payload import encode

NO_DATA: Mapping[str, object] = MappingProxyType({})
"""Stands where no data was given: the job has an empty object, as BullMQ's has."""


def write_data(name: str, data: object) -> str:
    """Return a job's data as JSON text.

    Raises:
        ConfigError: It cannot be stored.
    """
    return "{}" if data is NO_DATA else encode(data, where=f"data of {name!r}")


class EnqueueOptions(Options, total=False):
    """The options of one call: those of a job, and its id."""

    id: str
    """The id of the job; a job with this id is added only once. Needs a letter, and no ":"."""


def split_id(given: EnqueueOptions) -> tuple[str | None, Options]:
    """Part a job's id from the options that it shares with others.

    Raises:
        ConfigError: It cannot be an id.
    """
    if "id" not in given:
        return None, given
    rest = {name: value for name, value in given.items() if name != "id"}
    return check_job_id(given["id"]), cast("Options", rest)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be added, and the children that it waits for; made by `task.node(...)`.

    A struct, because each of many jobs is one on its way to the store.

    Note:
        - Shape: data is JSON text. options are what was asked for, as it was written.
          task_backoff holds where more than one attempt and no backoff was asked for. decode
          reads the result.
    """

    queue: str
    name: str
    data: str = "{}"
    options: Options = msgspec.field(default_factory=Options)
    id: str | None = None
    parent: Ref | None = None
    children: tuple["Node", ...] = ()
    task_backoff: Backoff | None = None
    decode: Callable[[str], Any] | None = None

    def after(self, *children: "Node") -> "Node":
        """Return this node with these children: it runs when they have completed."""
        return msgspec.structs.replace(self, children=(*self.children, *children))


class Add(Protocol):
    """Add jobs; what a task is handed, so that it need not know queues."""

    def __call__(self, nodes: Sequence[Node]) -> Awaitable[list[Job[Any]]]:
        """Add these jobs and give their handles, in the same order."""
        ...
