"""Room for new jobs in queues that have `max_waiting`: who is counted, and who is refused.

Only adds of callers come through here. A retry, the next run of a schedule, a dead letter, a job
that is taken back or that has become due is accepted already, and always finds its place.
"""

from collections.abc import Mapping

from toril.errors import QueueFull

from .unit import QueueRow, Unit


def take_room(unit: Unit, new: Mapping[str, int]) -> QueueFull | None:
    """Reserve room for the new jobs of one group, or return why it is refused.

    Shape    new: by queue, how many of the new jobs wait to run at once. A queue that is named
             with 0 gets jobs that start later: they need room as well, and take none.
    """
    bounded = [
        (queue, most, count)
        for queue, count in ((unit.queue(name), count) for name, count in new.items())
        if (most := queue.max_waiting) is not None
    ]
    for queue, most, count in bounded:
        waiting = _waiting(unit, queue, most)
        if waiting + max(count, 1) > most:
            return QueueFull(queue=queue.name, limit=most, count=waiting, jobs=max(count, 1))
    for queue, most, count in bounded:
        queue.waiting = _waiting(unit, queue, most) + count
    return None


def _waiting(unit: Unit, queue: QueueRow, most: int) -> int:
    """Count once a transaction; jobs that a claim of the same transaction takes still count."""
    if queue.waiting is None:
        found: int = unit.value("queue.waiting", (queue.key, most))
        queue.waiting = found
    return queue.waiting
