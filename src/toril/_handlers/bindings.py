"""A worker's own view of an app: its handlers, with instances of processors that are its own.

Never here: running anything.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from toril._jobs.limits import Limits
from toril._jobs.listeners import Listener
from toril._jobs.session import Session
from toril._store.protocol import Store

from .app_hooks import AppHooks
from .declared import Declared
from .dependencies import Container, Source
from .handlers import Handler, Registry
from .isolation_options import check_target
from .processors import Processor, unregistered
from .scopes import Needs, WorkerScope

log = logging.getLogger("toril.app")


class BoundApp(Protocol):
    """What a shift needs of an app."""

    context: Session
    container: Container
    declared: Declared
    hooks: AppHooks
    processors: list[Processor]

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, and store what was declared for these queues."""
        ...


class WorkerBindings:
    """What one worker works with, from its start to its stop."""

    def __init__(self, app: BoundApp, handlers: Registry) -> None:
        self._app = app
        self._listed = handlers
        self._own: Registry | None = None
        self._scope: WorkerScope | None = None
        # Those of processors, from `prepare` to `release`: event, method, and queue.
        self.listeners: list[tuple[str, Listener, str | None]] = []

    @property
    def registry(self) -> Registry:
        """The handlers; those of processors can run from `prepare` on."""
        return self._own or self._listed

    @property
    def store(self) -> Store:
        """The store, open or not."""
        return self._app.context.store

    @property
    def declared(self) -> Declared:
        """What the app declares."""
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
        """Return the handlers with what they depend on, and the processors' on their instances."""
        container = self._app.container
        instances = [container.instance(each.kind) for each in processors]
        lifespans = [container.lifespan(each.function) for each in self._app.hooks.lifespans]
        needs = {
            (handler.queue, handler.name): found
            for handler in self._listed.handlers()
            if handler.queue in queues and handler.isolation is None
            if (found := self._needs(handler))
        }
        scope = self._scope = WorkerScope()
        sources: list[Source] = [source for found in needs.values() for source in found.sources]
        await scope.start([*lifespans, *instances, *sources])
        made: dict[tuple[str, str | None], Handler] = {}
        for processor, instance in zip(processors, instances, strict=True):
            self.listeners += processor.listeners(scope.made(instance))
            for handler in processor.handlers(scope.made(instance)):
                made[handler.queue, handler.name] = handler

        def own(listed: Handler) -> Handler:
            mine = made.get((listed.queue, listed.name), listed)
            # A function that a worker was given alone stands where the app may have another.
            handler = mine if mine.title == listed.title else listed
            if handler.isolation is not None:
                return self._surrounded(handler)
            found = needs.get((listed.queue, listed.name))
            return handler if found is None else scope.bind(handler, found)

        return self._listed.copy(own)

    def _needs(self, handler: Handler) -> Needs:
        container = self._app.container
        around = [container.middleware(each) for each in self._app.hooks.around(handler.queue)]
        parameters = container.of(handler.function, is_task=handler.fill is not None)
        return Needs(tuple(around), parameters)

    def _surrounded(self, handler: Handler) -> Handler:
        """Return a handler whose child processes have the middleware and lifespans of the app."""
        around, lifespans = self._app.hooks.targets(handler.queue)
        if handler.isolation is None or not (around or lifespans):
            return handler
        isolation = replace(handler.isolation, around=around, lifespans=lifespans)
        return replace(handler, isolation=isolation)

    async def release(self) -> None:
        """End what the handlers depended on; called when none of them runs any more."""
        scope, self._scope = self._scope, None
        self.listeners = []
        if scope is not None:
            await scope.close()
