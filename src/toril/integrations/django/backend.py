"""The backend of Django's tasks: `TASKS = {"default": {"BACKEND": "…backend.TorilBackend"}}`."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

from toril._app.app import Toril
from toril._app.queue import AddOptions
from toril._jobs.background_loop import run
from toril._model.options import JobOptions, Options, merge
from toril._model.suggest import did_you_mean
from toril.errors import ConfigError

from .compat import tasks
from .execute import execute
from .jobs import get_toril
from .results import NotATask, changed, data_of, local, new_result, result_of, split_result_id

ON_COMMIT = "ENQUEUE_ON_COMMIT"
DATABASE = "DATABASE"
JOBS = "JOBS"
OPTIONS = (ON_COMMIT, DATABASE, JOBS)
# 1 is the most urgent of toril's priorities, and 100 of Django's.
MOST_URGENT = 101
_APP = "toril.integrations.django"

_base: Any = tasks("backends.base").BaseTaskBackend
_seen: set[str] = set()
_served: "WeakKeyDictionary[Toril, set[str]]" = WeakKeyDictionary()


class TorilBackend(_base):  # type: ignore[misc]
    """Stores Django's tasks as jobs, which `manage.py toril worker` runs.

    Its `OPTIONS`:

    - `ENQUEUE_ON_COMMIT` (False): enqueue when the transaction of the caller commits, and not at all if it
      is rolled back.
    - `DATABASE` ("default"): the database whose transaction that is.
    - `JOBS` ({}): options of the jobs, such as `{"attempts": 3, "backoff": "10s"}`.

    Example:
        ```python
        TASKS = {
            "default": {
                "BACKEND": "toril.integrations.django.backend.TorilBackend",
                "OPTIONS": {"ENQUEUE_ON_COMMIT": True, "JOBS": {"attempts": 3}},
            }
        }
        ```
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: Any) -> None:
        """Check a task, and remember its queue for workers."""
        _base.validate_task(self, task)
        _seen.add(task.queue_name)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Add the job of a task, or when the transaction commits."""
        self.validate_task(task)
        result = new_result(task, args, kwargs, self.alias, get_random_string(32))
        if self.options.get(ON_COMMIT, False):
            using = self.options.get(DATABASE, "default")
            transaction.on_commit(partial(self._store, result), using=using)
        else:
            self._store(result)
        return result

    def _store(self, result: Any) -> None:
        task = result.task
        queue, job_id = split_result_id(result.id)
        options = cast("AddOptions", dict(self.options.get(JOBS, {})))
        options["id"] = job_id
        options["priority"] = MOST_URGENT - int(task.priority)
        if task.run_after is not None:
            options["delay"] = _until(task.run_after)
        add = get_toril().queue(queue).add(task.module_path, data_of(result), **options)
        changed(result, enqueued_at=local(run(add).created_at))
        tasks("signals").task_enqueued.send(type(self), task_result=result)

    def get_result(self, result_id: str) -> Any:
        """Read the result of a task; it exists as long as its job is kept."""
        missing: type[Exception] = tasks("exceptions").TaskResultDoesNotExist
        queue, job_id = split_result_id(result_id)
        if not queue:
            raise missing(result_id)
        job = run(get_toril().queue(queue).job(job_id))
        if job is None:
            raise missing(result_id)
        try:
            return result_of(job)
        except NotATask as error:
            raise missing(result_id) from error

    def check(self, **_: Any) -> Iterable[CheckMessage]:
        """Check the options of this backend."""
        where = f"TASKS[{self.alias!r}]"
        if not apps.is_installed(_APP):
            yield Error(
                f"{where} uses toril, and {_APP!r} is not in INSTALLED_APPS",
                hint=f"add {_APP!r} to INSTALLED_APPS",
                id="toril.E002",
            )
        for name in self.options:
            if name not in OPTIONS:
                yield Error(
                    f"{where}: OPTIONS has no {name!r}",
                    hint=did_you_mean(str(name).upper(), OPTIONS)
                    or f"options: {', '.join(OPTIONS)}",
                    id="toril.E003",
                )
        database = self.options.get(DATABASE, "default")
        if database not in settings.DATABASES:
            yield Error(
                f"{where}: there is no database {database!r}",
                hint=f"databases: {', '.join(settings.DATABASES)}",
                id="toril.E004",
            )
        yield from self._check_jobs(where)

    def _check_jobs(self, where: str) -> Iterable[CheckMessage]:
        given = self.options.get(JOBS, {})
        if not isinstance(given, Mapping):
            yield Error(f"{where}: JOBS={given!r} is not a dictionary", id="toril.E005")
            return
        for name in ("id", "priority", "delay"):
            if name in given:
                yield Error(
                    f"{where}: {name!r} cannot be set for all jobs",
                    hint=f"leave it out: each task has its own {name}",
                    id="toril.E005",
                )
                return
        try:
            merge(JobOptions(), cast("Options", given))
        except (ConfigError, TypeError) as error:
            hint = getattr(error, "hint", None)
            yield Error(f"{where}: JOBS: {error}", hint=hint, id="toril.E005")


def serve_tasks() -> None:
    """Let the workers of this process run Django's tasks: of the queues that are named or used."""
    backends = tasks().task_backends
    mine = [each for each in backends.all() if isinstance(each, TorilBackend)]
    names = {name for backend in mine for name in backend.queues}
    if mine:
        names |= _seen
    app = get_toril()
    served = _served.setdefault(app, set())
    for name in sorted(names - served):
        app.queue(name).handler()(execute)
        served.add(name)


def _until(moment: Any) -> Any:
    """Return how long it is until a moment; one that has passed is now."""
    wait = moment - timezone.now()
    return max(wait, type(wait)())
