"""All queues at a glance: what is in them, what holds for them, and who works on them.

Never here: judging that (diagnostics).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from toril._model.report import Counts, QueueSettings, WorkerInfo
from toril._store.protocol import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as it stands: its jobs, its settings, and its workers that live."""

    name: str
    counts: Counts
    settings: QueueSettings
    workers: tuple[WorkerInfo, ...] = ()


def known_queues(stored: Sequence[str], workers: Sequence[WorkerInfo]) -> list[str]:
    """Return the names of the queues that are stored, and those that nobody added to yet but workers serve."""
    served = {queue for each in workers if each.alive for queue in each.queues}
    return sorted({*stored, *served})


async def view_queues(store: Store, names: Sequence[str] = ()) -> list[QueueView]:
    """Look at these queues, or at all that are stored or served; nothing is changed."""
    workers = [each for each in await store.workers() if each.alive]
    queues = list(dict.fromkeys(names)) or known_queues(await store.queues(), workers)
    if not queues:
        return []
    counts = await store.counts(queues)
    settings = await store.settings(queues)
    return [
        QueueView(
            name=queue,
            counts=count,
            settings=setting,
            workers=tuple(each for each in workers if queue in each.queues),
        )
        for queue, count, setting in zip(queues, counts, settings, strict=True)
    ]
