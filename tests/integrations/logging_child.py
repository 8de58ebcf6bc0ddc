"""A handler that logs in a child process."""

import logging
from io import StringIO

from toril.integrations.logs import JobFilter, JobLogHandler


def write() -> str:
    """Log a line, and return it."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(JobFilter())
    handler.setFormatter(
        logging.Formatter("%(message)s %(job_id)s %(queue)s %(job_name)s %(attempt)s")
    )
    log = logging.getLogger("child")
    log.addHandler(handler)
    log.warning("hello")
    return stream.getvalue().strip()


def write_to_its_log() -> None:
    """Log lines that go to the log of the job."""
    log = logging.getLogger("child")
    log.addHandler(JobLogHandler())
    log.warning("line %d", 1)
    log.warning("line %d", 2)
