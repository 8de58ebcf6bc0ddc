"""Django's tasks: those of Django 6, or of the package `django-tasks` for Django 5.2."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import django

from toril.errors import ConfigError

_IN_DJANGO = django.VERSION >= (6, 0)
PACKAGE = "django.tasks" if _IN_DJANGO else "django_tasks"


def is_there() -> bool:
    """Return whether this project can have Django's tasks."""
    return _IN_DJANGO or find_spec(PACKAGE) is not None


def tasks(module: str = "") -> Any:
    """Import a module of Django's tasks.

    Raises   ConfigError: the package for Django 5.2 is not installed.
    """
    if not is_there():
        raise ConfigError(
            "Django 5.2 has no tasks of its own",
            field="TASKS",
            hint="pip install django-tasks, or use Django 6",
        )
    return import_module(f"{PACKAGE}.{module}" if module else PACKAGE)


def normalize(value: object) -> Any:
    """Return a value as JSON has it.

    Raises   TypeError or ValueError: JSON has no such value.
    """
    module = "django.utils.json" if _IN_DJANGO else f"{PACKAGE}.utils"
    return import_module(module).normalize_json(value)
