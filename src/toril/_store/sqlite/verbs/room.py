"""Room for new jobs in queues that have `max_waiting`: who is counted, and who is refused.

Only adds of callers come through here. A retry, the next run of a schedule, a dead letter, a job
that is taken back or that has become due is accepted already, and always finds its place.
"""

from collections.abc import Mapping

from toril._store.sqlite.connection.transaction import Unit
from toril.errors import QueueFull


def refuse_full(unit: Unit, new: Mapping[str, int]) -> QueueFull | None:
    """See whether there is room for the new jobs of one group, or return why it is refused.

    Shape    new: by queue, how many of the new jobs wait to run at once. A queue that is named
             with 0 gets jobs that start later: they need room as well, and take none.
    """
    bounded = [
        (queue, most, count)
        for queue, count in ((unit.queue(name), count) for name, count in new.items())
        if (most := queue.max_waiting) is not None
    ]
    for queue, most, count in bounded:
        if queue.ready + max(count, 1) > most:
            waiting = min(queue.ready, most)
            return QueueFull(queue=queue.name, limit=most, count=waiting, jobs=max(count, 1))
    return None
