"""A parent's view of its children: their results, their failures, how many are where.

Never here: changing a child.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from toril._model.record import Ref
from toril._model.report import Child, Children
from toril._store.protocol import Store

from .paging import walk
from .payload import decode

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """How many children of a job are still pending, and how the others ended."""

    pending: int = 0
    completed: int = 0
    failed: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """The children of one job, in the order in which they were added."""

    items: tuple[Child, ...]
    counts: Dependencies

    @property
    def values(self) -> dict[str, Any]:
        """The results of the children that completed, by "queue:id"."""
        return {f"{child.queue}:{child.id}": _value(child) for child in self._completed()}

    @property
    def failures(self) -> dict[str, str]:
        """The reasons of the children that failed, ignored ones included, by "queue:id"."""
        return {
            f"{child.queue}:{child.id}": child.value or ""
            for child in self.items
            if child.outcome in ("failed", "ignored")
        }

    @property
    def blocked_by(self) -> dict[str, str]:
        """The reasons of the children that failed and keep the parent waiting, by "queue:id".

        They count as pending: each holds the parent back until it is retried with success,
        removed or detached (`parent_on_fail="wait"`).
        """
        return {
            f"{child.queue}:{child.id}": child.value
            for child in self.items
            if child.outcome == "pending" and child.value is not None
        }

    def by_queue(self, queue: str) -> list[Any]:
        """Return the results of the children of one queue that completed."""
        return [_value(child) for child in self._completed() if child.queue == queue]

    def __getitem__(self, name: str) -> Any:
        """Return the result of the first child of this name that completed.

        Note:
            - Raises: KeyError: there is none; it says which names there are and how they stand.
        """
        for child in self._completed():
            if child.name == name:
                return _value(child)
        stand = ", ".join(f"{child.name} ({child.outcome})" for child in self.items) or "none"
        raise KeyError(f"no child named {name!r} has completed; children: {stand}")

    def __iter__(self) -> Iterator[Child]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def _completed(self) -> Iterator[Child]:
        return (child for child in self.items if child.outcome == "completed")


async def read_children(store: Store, parent: Ref) -> ChildrenView:
    """Read all children of a job, page by page."""
    items: dict[Ref, Child] = {}
    page = Children()

    async def read(offset: int, size: int) -> list[Ref]:
        nonlocal page
        page = await store.children(parent, offset=offset, limit=size)
        items.update({Ref(child.queue, child.id): child for child in page.items})
        return [Ref(child.queue, child.id) for child in page.items]

    async for _ in walk(read, PAGE):
        pass
    counts = Dependencies(
        pending=page.pending, completed=page.completed, failed=page.failed, ignored=page.ignored
    )
    return ChildrenView(tuple(items.values()), counts)


def _value(child: Child) -> Any:
    return (
        None if child.value is None else decode(child.value, "result", Ref(child.queue, child.id))
    )
