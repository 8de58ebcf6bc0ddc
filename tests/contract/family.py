"""What the tests of flows share: children, and how a parent sees them."""

from typing import Any

from tests.support.kit import KIDS, Kit, new
from toril._model.record import NewJob, Ref


async def values(kit: Kit, parent: Ref) -> list[tuple[str, str, str | None]]:
    children = await kit.store.children(parent)
    return [(child.name, child.outcome, child.value) for child in children.items]


async def tally(kit: Kit, parent: Ref) -> dict[str, int]:
    """How many children of each outcome, leaving out the outcomes that none has."""
    children = await kit.store.children(parent)
    found = {
        outcome: getattr(children, outcome)
        for outcome in ("pending", "completed", "failed", "ignored")
    }
    return {outcome: count for outcome, count in found.items() if count}


def kid(name: str = "child", **options: Any) -> NewJob:
    return new(name, queue=KIDS, **options)
