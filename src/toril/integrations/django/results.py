"""From a job to what Django calls a task's result, and back.

Never here: reading and storing jobs.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from toril._jobs.job import Job
from toril._model.states import State

from .compat import tasks

_STATUS = {State.COMPLETED: "SUCCESSFUL", State.FAILED: "FAILED", State.ACTIVE: "RUNNING"}
_STOPPED = "toril.errors.JobFailed"


class NotATask(LookupError):  # it is no error of the caller
    """The job is not one of Django's tasks, or this code does not have the task."""


def result_id(queue: str, job_id: str) -> str:
    """Return the id of a result; `manage.py toril job` takes it, too."""
    return f"{queue}:{job_id}"


def split_result_id(text: str) -> tuple[str, str]:
    """Return queue and id of the job; both empty: it is the id of no result."""
    queue, _, job_id = str(text).rpartition(":")
    return (queue, job_id) if queue and job_id else ("", "")


def data_of(result: Any) -> dict[str, Any]:
    """Return the data of the job of a task that is enqueued."""
    task = result.task
    return {
        "args": result.args,
        "kwargs": result.kwargs,
        "backend": result.backend,
        "priority": task.priority,
        "run_after": None if task.run_after is None else task.run_after.isoformat(),
    }


def new_result(task: Any, args: Any, kwargs: Any, backend: str, job_id: str) -> Any:
    """Return the result of a task that is about to be enqueued."""
    base = tasks("base")
    return base.TaskResult(
        task=task,
        id=result_id(task.queue_name, job_id),
        status=base.TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=backend,
        errors=[],
        worker_ids=[],
    )


def result_of(job: Job[Any]) -> Any:
    """Return the result as the job is now.

    Raises   NotATask.
    """
    data = _data_of_job(job)
    task = _find_task(job, data)
    result = new_result(task, data["args"], data["kwargs"], data["backend"], job.id)
    record, state = job.record, job.record.state
    status = tasks("base").TaskResultStatus(_STATUS.get(state, "READY"))
    starts = [each.started_ms for each in record.tries if each.started_ms is not None]
    started = starts[0] if starts else record.started_ms
    ended = state in (State.COMPLETED, State.FAILED)
    changes: dict[str, Any] = {
        "status": status,
        "enqueued_at": local(job.created_at),
        "started_at": None if started is None else _moment(started),
        "last_attempted_at": None if job.started_at is None else local(job.started_at),
        "finished_at": local(job.finished_at) if ended and job.finished_at else None,
        "errors": _errors(job, data),
        "worker_ids": _workers(job),
    }
    if state is State.COMPLETED and record.result is not None:
        changes["_return_value"] = json.loads(record.result)
    return changed(result, **changes)


def changed(result: Any, **changes: Any) -> Any:
    """Change a result, which Django freezes, and return it."""
    for name, value in changes.items():
        object.__setattr__(result, name, value)
    return result


def local(moment: datetime) -> datetime:
    """Return a time as this project has it: aware, or naive where USE_TZ is False."""
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def _moment(milliseconds: int) -> datetime:
    seconds = datetime.fromtimestamp(milliseconds / 1000, tz=_UTC)
    return local(seconds)


_UTC = timezone.get_fixed_timezone(0)


def _data_of_job(job: Job[Any]) -> Mapping[str, Any]:
    data: object = job.data
    if isinstance(data, Mapping):
        found = cast("Mapping[str, Any]", data)
        if isinstance(found.get("args"), list) and isinstance(found.get("kwargs"), Mapping):
            return {"backend": "default", "priority": 0, "run_after": None, **found}
    raise NotATask(f"job {job.queue}:{job.id} is not one of Django's tasks")


def _find_task(job: Job[Any], data: Mapping[str, Any]) -> Any:
    """Return the task that a job names: never another function, whoever stored the job."""
    try:
        found: Any = import_string(job.name)
    except ImportError as error:
        raise NotATask(f"this code has no task {job.name!r}: {error}") from error
    if not isinstance(found, tasks("base").Task):
        raise NotATask(f"{job.name!r} is not a task of Django")
    moment = data["run_after"]
    return found.using(
        priority=data["priority"],
        queue_name=job.queue,
        run_after=None if moment is None else datetime.fromisoformat(moment),
        backend=data["backend"],
    )


def _errors(job: Job[Any], data: Mapping[str, Any]) -> list[Any]:
    """Return what the attempts raised, and what ended the job otherwise, such as a time limit."""
    kind = tasks("base").TaskError
    found = [
        kind(exception_class_path=each[0], traceback=each[1]) for each in data.get("errors", ())
    ]
    if job.record.state is State.FAILED and len(found) < len([*job.record.tries]):
        found.append(kind(exception_class_path=_STOPPED, traceback=job.error or ""))
    return found


def _workers(job: Job[Any]) -> list[str]:
    """Return the workers of the attempts, oldest first."""
    names = [each.worker or "" for each in job.record.tries]
    # An attempt that did not complete the job is among them only after its end.
    if job.record.state in (State.ACTIVE, State.COMPLETED):
        names.append(job.worker or "")
    return names
