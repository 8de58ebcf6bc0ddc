"""What runs in children of the workers of `tests.robustness.faults.program`: some kill their worker."""

import os
import signal
import time
from typing import Any

from toril import Job


def parricide(job: Job[Any]) -> None:
    """Take the worker down that this child runs a job for, and with it what else it runs."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def bystander(job: Job[Any]) -> int:
    """Be in a child of a worker that may die."""
    time.sleep(job.data["ms"] / 1000)
    return job.run
