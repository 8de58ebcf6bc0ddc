"""All queues at a glance: what is in them, what holds for them, and who works on them.

Never here: judging that (examine).
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


async def view_queues(store: Store, names: Sequence[str] = ()) -> list[QueueView]:
    """Look at these queues, or at all that are stored; nothing is changed."""
    queues = list(dict.fromkeys(names)) or await store.queues()
    if not queues:
        return []
    counts = await store.counts(queues)
    settings = await store.settings(queues)
    workers = [each for each in await store.workers() if each.alive]
    return [
        QueueView(
            name=queue,
            counts=count,
            settings=setting,
            workers=tuple(each for each in workers if queue in each.queues),
        )
        for queue, count, setting in zip(queues, counts, settings, strict=True)
    ]
