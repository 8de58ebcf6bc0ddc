"""A worker's own view of an app: its handlers, with instances of processors that are its own.

Never here: running anything.
"""

import logging
from collections.abc import Collection
from typing import Protocol

from toril._store.protocol import Store

from .container import Container
from .context import Context
from .declared import Declared
from .handlers import Handler, Registry
from .isolation import check_target
from .limits import Limits
from .processors import Processor, unregistered

log = logging.getLogger("toril.app")


class App(Protocol):
    """What a shift needs of an app."""

    context: Context
    container: Container
    declared: Declared
    processors: list[Processor]

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, and store what was declared for these queues."""
        ...


class Shift:
    """What one worker works with, from its start to its stop."""

    def __init__(self, app: App, handlers: Registry) -> None:
        self._app = app
        self._listed = handlers
        self._own: Registry | None = None

    @property
    def registry(self) -> Registry:
        """Give the handlers; those of processors can run from `prepare` on."""
        return self._own or self._listed

    @property
    def store(self) -> Store:
        """Give the store, open or not."""
        return self._app.context.store

    @property
    def declared(self) -> Declared:
        """Give what the app declares."""
        return self._app.declared

    @property
    def limits(self) -> Limits:
        """How large the payloads of the app's jobs may be."""
        return self._app.context.limits

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, store what was declared, and make the processors of these queues.

        Raises   ConfigError: nothing provides a parameter of a processor, or a child process
                 could not find a handler.
        """
        await self._app.prepare(queues)
        scope = self._app.container.scope()
        made: dict[tuple[str, str | None], Handler] = {}
        for handler in self._listed.handlers():
            if handler.isolation is not None:
                check_target(handler.isolation.target)
        for processor in self._app.processors:
            if processor.queue in queues and not processor.isolated:
                for handler in processor.handlers(await scope.make(processor.kind)):
                    made[handler.queue, handler.name] = handler

        def own(listed: Handler) -> Handler:
            mine = made.get((listed.queue, listed.name), listed)
            # A function that a worker was given alone stands where the app may have another.
            return mine if mine.title == listed.title else listed

        self._own = self._listed.copy(own)
        for orphan in unregistered():
            log.warning(
                "processor.unregistered processor=%r: it has methods marked with @handles, "
                "and no @app.processor(queue) registers it",
                orphan,
                extra={"processor": orphan},
            )
