"""A worker's own view of an app: its handlers, with instances of processors that are its own.

Never here: running anything.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Protocol

from toril._store.protocol import Store

from .context import Context
from .declared import Declared
from .dependencies import Container, Source
from .handlers import Handler, Registry
from .isolation import check_target
from .limits import Limits
from .processors import Processor, unregistered
from .scopes import WorkerScope

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
        self._scope: WorkerScope | None = None

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
        """Open the store, store what was declared, and make what the handlers depend on.

        Raises   ConfigError: nothing provides a parameter of a handler or processor, or a child
                 process could not find a handler. TaskError: a dependency failed.
        """
        await self._app.prepare(queues)
        for handler in self._listed.handlers():
            if handler.isolation is not None:
                check_target(handler.isolation.target)
        processors = [
            each for each in self._app.processors if each.queue in queues and not each.isolated
        ]
        self._own = await self._bound(processors, queues)
        for orphan in unregistered():
            log.warning(
                "processor.unregistered processor=%r: it has methods marked with @handles, "
                "and no @app.processor(queue) registers it",
                orphan,
                extra={"processor": orphan},
            )

    async def _bound(self, processors: Sequence[Processor], queues: Collection[str]) -> Registry:
        """Give the handlers with what they depend on, and the processors' on their instances."""
        container = self._app.container
        instances = [container.instance(each.kind) for each in processors]
        needs = {
            (handler.queue, handler.name): parameters
            for handler in self._listed.handlers()
            if handler.queue in queues and handler.isolation is None
            if (parameters := container.of(handler.function, is_task=handler.fill is not None))
        }
        scope = self._scope = WorkerScope()
        sources: list[Source] = [
            each.source for parameters in needs.values() for each in parameters
        ]
        await scope.start([*instances, *sources])
        made: dict[tuple[str, str | None], Handler] = {}
        for processor, instance in zip(processors, instances, strict=True):
            for handler in processor.handlers(scope.made(instance)):
                made[handler.queue, handler.name] = handler

        def own(listed: Handler) -> Handler:
            mine = made.get((listed.queue, listed.name), listed)
            # A function that a worker was given alone stands where the app may have another.
            handler = mine if mine.title == listed.title else listed
            parameters = needs.get((listed.queue, listed.name))
            return handler if parameters is None else scope.bind(handler, parameters)

        return self._listed.copy(own)

    async def release(self) -> None:
        """End what the handlers depended on; called when none of them runs any more."""
        scope, self._scope = self._scope, None
        if scope is not None:
            await scope.close()
