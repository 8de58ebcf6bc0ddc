"""Jobs that are about to be added, as the functions of `app.before_enqueue` see and change them.

Never here: adding them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from toril._model.headers import read_headers
from toril._model.options import JobOptions, Options
from toril._model.record import Ref
from toril.errors import TorilError

from . import guard
from .listeners import name_of
from .node import Node
from .payload import decode, encode

log = logging.getLogger("toril.app")


class JobDraft:
    """A job that is about to be added; `app.before_enqueue` functions may change it.

    Attributes:
        headers: The headers, to be changed in place.
        options: The options of this call, to be changed in place; those of queue and app are not
            among them.
        omit_context: Whether the job wants no trace in its headers.
    """

    __slots__ = ("_before", "_data", "_node", "headers", "omit_context", "options")

    def __init__(self, node: Node, headers: dict[str, str], *, omit_context: bool = False) -> None:
        self._node = node
        self._data: object = _UNREAD
        self._before = dict(headers)
        self.headers = headers
        self.omit_context = omit_context
        self.options: Options = node.options.copy()

    def __repr__(self) -> str:
        return f"<JobDraft {self.queue}:{self.name!r}>"

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self._node.queue

    @property
    def name(self) -> str:
        """The job's name."""
        return self._node.name

    @property
    def data(self) -> Any:
        """The data, decoded from JSON; assign to it to replace it."""
        if self._data is _UNREAD:
            self._data = decode(self._node.data, "data", Ref(self.queue, ""))
        return self._data

    @data.setter
    def data(self, value: object) -> None:
        self._data = value

    def node(self) -> Node:
        """Return the job as it was changed."""
        changed = {"headers": self.headers} if self.headers != self._before else {}
        data = self._node.data
        if self._data is not _UNREAD:
            data = encode(self._data, where=f"data of {self.name!r}")
        return msgspec.structs.replace(
            self._node, data=data, options=cast("Options", {**self.options, **changed})
        )


_UNREAD = object()

BeforeEnqueue = Callable[[JobDraft], object]


def prepared(
    node: Node, functions: Sequence[BeforeEnqueue], read: Callable[[Node], JobOptions]
) -> Node:
    """Return a job as the functions of the app change it.

    An error of toril's refuses the job. Any other is a mistake of the function, which is logged; the
    job is then added as it was before.
    """
    for function in functions:
        options = read(node)
        headers = read_headers(options.metadata)
        draft = JobDraft(node, headers, omit_context=options.omit_context)
        try:
            function(draft)
            node = draft.node()
        except TorilError:
            raise
        except BaseException as error:
            guard.let_signals_pass(error)
            name = name_of(function)
            facts = {"hook": name, "queue": node.queue, "job_name": node.name}
            text = "hook.failed hook=%r queue=%r: the job is added without it"
            guard.write_log(log, logging.ERROR, text, name, node.queue, extra=facts, exc_info=error)
    return node
