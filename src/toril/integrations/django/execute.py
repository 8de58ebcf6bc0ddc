"""Runs a job that is one of Django's tasks, and tells Django's signals.

Never here: which queues are served.
"""

import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from toril._jobs.background_loop import run
from toril._jobs.job import Job
from toril.errors import Fail, JobError, Signal, Snooze

from .compat import normalize, tasks
from .results import NotATask, changed, result_of

# A task that this code does not have may come with the next deployment.
_LATER = "30s"
_DAY_S = 86_400
_MOST_ERRORS = 10
_LONGEST = 20_000


def execute(job: Job[Any]) -> Any:
    """Run the task of a job, in the thread of its handler."""
    if job.run > 1:
        # Who ran it before is not part of what a worker claims.
        run(job.refresh())
    try:
        result = result_of(job)
    except NotATask as error:
        if (datetime.now(UTC) - job.created_at).total_seconds() > _DAY_S:
            raise Fail(error) from error
        raise Snooze(_LATER, str(error)) from error
    backend: Any = result.task.get_backend()
    sender: Any = backend.__class__
    signals = tasks("signals")
    signals.task_started.send(sender=sender, task_result=result)
    try:
        value = _call(result)
    except Signal as signal:
        if isinstance(signal, Fail):
            _failed(job, result, signal, sender)
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        _note(job, result, error)
        if job.attempts_left == 0 or isinstance(error, _Unstorable):
            _failed(job, result, error, sender)
        if isinstance(error, _Unstorable):
            # Its work is done: another attempt would do it again.
            raise Fail(error) from error
        raise
    status = tasks("base").TaskResultStatus.SUCCESSFUL
    changed(result, status=status, finished_at=timezone.now(), _return_value=value)
    signals.task_finished.send(sender=sender, task_result=result)
    return value


class _Unstorable(TypeError):
    """JSON has no such value."""


def _call(result: Any) -> Any:
    task = result.task
    given = [tasks("base").TaskContext(task_result=result)] if task.takes_context else []
    value = task.call(*given, *result.args, **result.kwargs)
    try:
        return normalize(value)
    except (TypeError, ValueError) as error:
        raise _Unstorable(str(error)) from error


def _note(job: Job[Any], result: Any, error: BaseException) -> None:
    """Keep the error with the job, for `result.errors`."""
    cause = error.__cause__ if isinstance(error, _Unstorable) and error.__cause__ else error
    kind = type(cause)
    text = "".join(traceback.format_exception(cause))[-_LONGEST:]
    path = f"{kind.__module__}.{kind.__qualname__}"
    result.errors.append(tasks("base").TaskError(exception_class_path=path, traceback=text))
    kept = [[each.exception_class_path, each.traceback] for each in result.errors[-_MOST_ERRORS:]]
    # Another worker may have the job by now.
    with suppress(JobError):
        run(job.update({**job.data, "errors": kept}))


def _failed(job: Job[Any], result: Any, error: BaseException, sender: type) -> None:
    status = tasks("base").TaskResultStatus.FAILED
    changed(result, status=status, finished_at=timezone.now())
    tasks("signals").task_finished.send(sender=sender, task_result=result)
