"""What an examination of a store and its queues finds. Never here: examining."""

from dataclasses import dataclass

OK, WARN, ERROR = "ok", "warn", "error"
LEVELS = (OK, WARN, ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, and how it is.

    Shape    name: what was looked at, such as store.evicts. level: ok · warn · error. message:
             what it is and what it means; hint: what to do, empty when it is ok.
    """

    name: str
    level: str
    message: str
    hint: str = ""
    queue: str | None = None


def unlocked(queue: str, count: int, first: str) -> Finding:
    """Tell of active jobs that nobody holds."""
    jobs = "1 job is" if count == 1 else f"{count:,} jobs are"
    return Finding(
        name="job.unlocked",
        level=WARN,
        queue=queue,
        message=f"{jobs} active without a worker that lives (such as {first!r}): it died, or "
        "lost the store",
        hint="a worker of this queue takes them back within half a minute; start one if none runs",
    )
