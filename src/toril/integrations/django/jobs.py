"""The jobs of a Django project: the app that `settings.TORIL` describes, and a worker for it."""

import asyncio
import atexit
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from threading import Lock
from typing import Any, Unpack, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.utils.module_loading import autodiscover_modules

from toril._app.app import Toril
from toril._jobs.background_loop import run
from toril._jobs.job import Job
from toril._model.options import Options
from toril._model.suggest import did_you_mean
from toril._worker.options import WorkerOptions
from toril._worker.worker import Worker
from toril.errors import ConfigError

MODULES = ("tasks", "jobs")
"""The modules of each installed app that a worker imports."""
KEYS = ("URL", "PREFIX", "DEFAULTS", "MODULES")

_found: list[Toril] = []
_making = Lock()


def get_toril() -> Toril:
    """Return the jobs of this project, as `settings.TORIL` describes them; always the same app.

    Raises:
        ConfigError: The setting is not valid.

    Example:
        ```python
        # shop/tasks.py
        jobs = get_toril()


        @jobs.task(queue="mails")
        def send_mail(order: int) -> None: ...
        ```
    """
    with _making:
        if not _found:
            _found.append(make_toril(read_settings()))
        return _found[0]


def start_worker(**options: Unpack[WorkerOptions]) -> Worker:
    """Start a worker in this process, such as a web process; it stops when the process ends.

    Call it where each process of the server comes by after it was forked, such as in `wsgi.py` without
    `--preload`.

    Args:
        **options: Options of the worker, such as `concurrency=4`.

    Raises:
        ConfigError: A bad option, or no task was found.
    """
    import_tasks()

    async def start() -> Worker:
        worker = get_toril().worker(**options)
        await worker.start()
        return worker

    worker = run(start())
    atexit.register(lambda: run(worker.stop()))
    return worker


def import_tasks() -> None:
    """Import the modules with tasks of each installed app, and serve Django's tasks."""
    autodiscover_modules(*read_settings().get("MODULES", MODULES))
    if any("BACKEND" in each for each in getattr(settings, "TASKS", {}).values()):
        # Only then: Django 5.2 has no tasks of its own.
        import_module(f"{__package__}.backend").serve_tasks()


def read_settings() -> Mapping[str, Any]:
    """Return `settings.TORIL`.

    Raises   ConfigError: it is no dictionary, or has an unknown key.
    """
    given: object = getattr(settings, "TORIL", {})
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"TORIL is a {type(given).__name__}, not a dictionary",
            field="TORIL",
            hint='TORIL = {"URL": "redis://localhost:6379/0"}',
        )
    found = cast("Mapping[str, Any]", given)
    for key in found:
        if key not in KEYS:
            raise ConfigError(
                f"TORIL has no key {key!r}",
                field="TORIL",
                hint=did_you_mean(str(key).upper(), KEYS) or f"keys: {', '.join(KEYS)}",
            )
    return found


def make_toril(given: Mapping[str, Any]) -> Toril:
    """Make an app whose jobs have database connections that work.

    Raises   ConfigError: a value of the settings is not valid.
    """
    defaults = cast("Options", given.get("DEFAULTS", {}))
    app = Toril(given.get("URL"), prefix=given.get("PREFIX"), **defaults)
    app.middleware(fresh_connections)
    app.middleware(fresh_async_connections)
    return app


def fresh_connections(job: Job[Any]) -> Iterator[None]:
    """Close connections of the database that are too old or broken, before and after a job.

    They are those of the thread that the job runs in.
    """
    if _on_a_loop():
        yield
        return
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


async def fresh_async_connections(job: Job[Any]) -> AsyncIterator[None]:
    """Do the same in the thread that Django gives to the database calls of coroutines."""
    close = sync_to_async(close_old_connections)
    await close()
    try:
        yield
    finally:
        await close()


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def forget(*, setting: str, **_: object) -> None:
    """Make the app again when the setting has changed, as in tests."""
    if setting == "TORIL":
        with _making:
            _found.clear()
