"""The tasks of the tests."""

from typing import Any

import django
from django.contrib.auth.models import User
from django.db import connection

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

ran: list[str] = []


@task
def add(one: int, other: int) -> int:
    return one + other


@task(queue_name="mails", priority=50)
def note(text: str) -> None:
    ran.append(text)


@task
async def count_users() -> int:
    return await User.objects.acount()


@task(takes_context=True)
def attempt(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id]


@task
def fail() -> None:
    raise ValueError("no such order")


@task
def give_what_json_has_not() -> object:
    ran.append("gave")
    return object()


@task
def connection_number() -> int:
    connection.ensure_connection()
    return id(connection.connection)


@task
def lose_connection() -> None:
    """Leave a connection that is broken, as a restart of the database does."""
    connection.ensure_connection()
    connection.connection.close()
    connection.errors_occurred = True


def no_task() -> None:
    ran.append("no task")
