"""Names of keys: where a queue and a job are under the prefix.

A queue `image:optimize` under the prefix `bull` is BullMQ's queue `optimize` under `bull:image`,
key for key. Never here: what a key holds.
"""

from base64 import b64encode

from toril._model.record import Ref

# The set of the names of queues, under the prefix alone.
REGISTRY = "toril:queues"


def base(prefix: str, queue: str) -> str:
    """Return what the keys of a queue begin with."""
    return f"{prefix}:{queue}:"


def job_key(prefix: str, job: Ref) -> str:
    """Return the key of a job's hash."""
    return f"{prefix}:{job.queue}:{job.id}"


def split_job(prefix: str, key: str) -> Ref:
    """Read the key of a job; one under another prefix keeps it in the name of its queue."""
    rest = key.removeprefix(f"{prefix}:")
    # The ids of a schedule's runs have colons of their own.
    queue, mark, run = rest.partition(":repeat:")
    if mark:
        return Ref(queue, f"repeat:{run}")
    queue, _, id = rest.rpartition(":")
    return Ref(queue, id)


def client_name(prefix: str, queue: str) -> str:
    """Return the names of the connection of a queue's worker, so that BullMQ finds it."""
    above, _, last = f"{prefix}:{queue}".rpartition(":")
    return f"{above}:{b64encode(last.encode()).decode()}"


def own(prefix: str, word: str) -> str:
    """Return a key of toril's own that belongs to no queue."""
    return f"{prefix}::{word}"
