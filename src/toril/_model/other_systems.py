"""The words of other job systems, and what they are called here: for the hints of errors.

Never here: which options exist.
"""

from collections.abc import Iterable

from toril.errors import ConfigError

from .checks import shown
from .suggest import did_you_mean

# What options of other systems (Celery, dramatiq, RQ, arq, BullMQ and others) are called here.
ELSEWHERE: dict[str, str] = {
    "countdown": 'use delay="10s"',
    "eta": "use at=, an aware datetime",
    "enqueue_at": "use at=, an aware datetime",
    "defer_until": "use at=, an aware datetime",
    "_defer_until": "use at=, an aware datetime",
    "_defer_by": "use delay=",
    "defer_by": "use delay=",
    "enqueue_in": "use delay=",
    "autoretry_for": "use attempts=: every exception but Fail is retried",
    "retry_for": "use attempts=: every exception but Fail is retried",
    "retry_when": "use attempts=, and raise Fail where no further attempt shall follow",
    "throws": "raise Fail where no further attempt shall follow",
    "max_retries": "use retries=, or attempts=, which counts the first try too",
    "max_tries": "use attempts=",
    "retry": "use retries=",
    "default_retry_delay": 'use backoff="10s"',
    "retry_delay": 'use backoff="10s"',
    "min_backoff": 'use backoff=Exponential("1s", maximum="10m")',
    "max_backoff": 'use backoff=Exponential("1s", maximum="10m")',
    "retry_backoff": 'use backoff=Exponential("1s")',
    "retry_backoff_max": 'use backoff=Exponential("1s", maximum="10m")',
    "retry_jitter": 'use backoff=Exponential("1s", jitter=0.5)',
    "retry_kwargs": "use attempts= and backoff=",
    "bind": "leave it out: a parameter annotated Job gets the job",
    "ctx": "leave it out: a parameter annotated Job gets the job",
    "pass_context": "leave it out: a parameter annotated Job gets the job",
    "acks_late": "leave it out: a job is always acknowledged after it has run",
    "task_acks_late": "leave it out: a job is always acknowledged after it has run",
    "reject_on_worker_lost": 'use on_crash="retry" or "fail"',
    "ignore_result": "use keep_completed=",
    "result_ttl": 'use keep_completed="1h"',
    "result_expires": 'use keep_completed="1h"',
    "keep_result": 'use keep_completed="1h"',
    "store_results": "leave it out: results are stored",
    "failure_ttl": 'use keep_failed="1h"',
    "ttl": "use expires=",
    "max_age": "use expires=",
    "time_limit": "use timeout=",
    "job_timeout": "use timeout=",
    "soft_time_limit": "use soft_timeout=",
    "rate_limit": 'use app.queue(name, rate="10/1s"), or concurrency= on a task',
    "limiter": 'use app.queue(name, rate="10/1s")',
    "queue_name": "use queue=",
    "_queue_name": "use queue=",
    "routing_key": "use queue=",
    "task_name": "use name=",
    "actor_name": "use name=",
    "labels": "put them into the data",
    "headers": "put them into the data",
    "job_id": "use id=",
    "_job_id": "use id=",
    "task_id": "use id=",
    "message_id": "use id=",
    "jobId": "use id=",
    "unique": "use dedup=",
    "deduplication": "use dedup=",
    "debounce": "use dedup=Dedup(key, ttl=..., extend=True, replace=True)",
    "removeOnComplete": "use keep_completed=",
    "removeOnFail": "use keep_failed=",
    "stackTraceLimit": "use keep_stack=",
    "keepLogs": "use keep_logs=",
    "sizeLimit": "use max_size=",
    "timestamp": "use created_at=",
    "failParentOnFailure": 'use parent_on_fail="fail"',
    "continueParentOnFailure": 'use parent_on_fail="continue"',
    "ignoreDependencyOnFailure": 'use parent_on_fail="ignore"',
    "removeDependencyOnFailure": 'use parent_on_fail="remove"',
    "repeat": 'use app.schedule(id, cron="...") or every=',
    "pattern": 'use cron="..."',
    "crontab": 'use cron="..."',
    "periodic": 'use cron="..." or every=',
    "lockDuration": "use lock=",
    "stalledInterval": "use stalled_interval=",
    "maxStalledCount": "use max_stalls=",
    "connection": "use Toril(url)",
    "broker": "use Toril(url)",
    "broker_url": "use Toril(url)",
    "backend": "leave it out: results are stored with the jobs",
    "result_backend": "leave it out: results are stored with the jobs",
    "redis_settings": "use Toril(url)",
    "worker_concurrency": "use concurrency=",
    "max_jobs": "use concurrency=",
    "threads": "use concurrency=",
    "prefetch_multiplier": "leave it out: a worker claims what it can run at once",
    "shutdown_timeout": "use grace=",
    "job_completion_wait": "use grace=",
    "rate": 'a rate belongs to a queue: app.queue(name, rate="10/1s"); a task has concurrency=',
}

# What the calls of other systems are named here.
CALLS_ELSEWHERE: dict[str, str] = {
    "delay": "await task.enqueue(...), or task.enqueue_sync(...) in blocking code",
    "apply_async": 'await task.using(delay="10s").enqueue(...)',
    "apply": "await task(...), which runs it here and now",
    "send": "await task.enqueue(...), or task.enqueue_sync(...) in blocking code",
    "send_with_options": 'await task.using(delay="10s").enqueue(...)',
    "kiq": "await task.enqueue(...)",
    "kicker": "task.using(...)",
    "defer": "task.enqueue_sync(...), or await task.enqueue(...)",
    "defer_async": "await task.enqueue(...)",
    "configure": "task.using(...)",
    "schedule": 'task.using(delay="10s").enqueue(...), or app.schedule(id, task=task, every="5m")',
    "perform_async": "await task.enqueue(...)",
    "s": "task.node(...), which describes a job of a flow",
    "si": "task.node(...), which describes a job of a flow",
    "subtask": "task.node(...), which describes a job of a flow",
    "map": "await task.enqueue_many([...])",
    "starmap": "await task.enqueue_many([...])",
    "chunks": "await task.enqueue_many([...])",
    "retry": "raise with an error to be tried again, or with Snooze to be run later",
    "request": "a parameter annotated Job, or current_job()",
}


def unknown_option(
    name: object, known: Iterable[str], *, where: str = "options", field: str | None = None
) -> ConfigError:
    """Make the error for an option that does not exist, with the one that was meant.

    `field` names the argument that has the unknown word as its value.
    """
    names = sorted(known)
    meant = ELSEWHERE.get(name) if isinstance(name, str) and field is None else None
    guess = (
        f"; {meant}"
        if meant
        else did_you_mean(name, names, before="; ")
        if isinstance(name, str)
        else ""
    )
    told = f"{field}={shown(name)}: " if field else ""
    return ConfigError(
        f"{told}{where} has no {shown(name)}{guess}",
        field=field or str(name),
        value=name,
        hint=f"known: {', '.join(names)}",
    )
