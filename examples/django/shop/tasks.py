"""What runs in the background: one of Django's tasks, and one of toril's with progress."""

import django
from django.contrib.auth.models import User

from toril import Job
from toril.integrations.django import get_toril

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

jobs = get_toril()


@task(queue_name="mails")
def send_mail(name: str) -> str:
    user = User.objects.get(username=name)
    return f"sent to {user.email}"


@jobs.task(queue="reports")
def make_report(job: Job, pages: int) -> str:
    for page in range(1, pages + 1):
        job.progress(page * 100 // pages)
    return f"{pages} pages for {User.objects.count()} users"


@jobs.task(queue="reports", isolation="process", init="django:setup")
def count_alone() -> str:
    """Run in a child process, which sets Django up first."""
    return f"{User.objects.count()} users"
