"""Logging: the job that a line belongs to, for `logging` and for structlog.

    handler.addFilter(JobFilter())
    logging.getLogger("shop").addHandler(JobLogHandler())
    structlog.configure(processors=[add_job, ...])

Never here: what toril itself logs.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

from toril._jobs.job import CURRENT

__all__ = ["JobFilter", "JobLogHandler", "add_job"]

NAMES = ("job_id", "queue", "job_name", "attempt")


def _fields() -> dict[str, Any]:
    """Return the fields of the job that runs here; none if no job does."""
    job = CURRENT.get()
    if job is None:
        return {}
    values = (job.id, job.queue, job.name, job.attempt)
    return dict(zip(NAMES, values, strict=True))


class JobFilter(logging.Filter):
    """A filter that lets every line pass, and gives it the fields of the job that wrote it.

    The fields are `job_id`, `queue`, `job_name` and `attempt`. A line that no job wrote has
    `missing` in them, unless it has the field already, as those of toril's own loggers do.

    Args:
        missing: The value of the fields where no job runs.

    Example:
        ```python
        handler = logging.StreamHandler()
        handler.addFilter(JobFilter())
        handler.setFormatter(logging.Formatter("%(levelname)s %(queue)s/%(job_id)s %(message)s"))
        ```
    """

    def __init__(self, missing: Any = "-") -> None:
        super().__init__()
        self.missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the fields of a line."""
        fields = _fields()
        for name in NAMES:
            if name not in record.__dict__:
                setattr(record, name, fields.get(name, self.missing))
        return True


class JobLogHandler(logging.Handler):
    """A handler that appends the lines of running jobs to their own logs, as `job.log` does.

    Lines that no job wrote, and those of toril's own loggers, are passed over. The log of a job keeps
    its newest `keep_logs` lines.

    Example:
        ```python
        logging.getLogger("shop").addHandler(JobLogHandler())
        ```
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line to the log of the job that wrote it."""
        job = CURRENT.get()
        if job is None or record.name.partition(".")[0] == "toril":
            return
        try:
            job.log(self.format(record))
        except Exception:
            self.handleError(record)


def add_job(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the fields of the running job to an event: a processor for structlog.

    Example:
        ```python
        structlog.configure(processors=[add_job, structlog.processors.JSONRenderer()])
        ```
    """
    for name, value in _fields().items():
        event.setdefault(name, value)
    return event
