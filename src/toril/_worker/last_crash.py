"""What is known of a job's last crash. Never here: what follows from it."""

from toril._model.crashes import CHILD_DIED
from toril._model.record import Ref
from toril._store.protocol import Store


async def last_crash(store: Store, job: Ref) -> str | None:
    """Read how the last process died that ran a job; None: nobody knows."""
    (found,) = await store.get([job])
    tries = () if found is None else found.tries
    return next((each.reason for each in reversed(tries) if each.end == "stalled"), None)


def is_of_child(how: str | None) -> bool:
    """Whether only a child process died: nobody but the job that ran there was harmed."""
    return how is not None and how.startswith(CHILD_DIED)
