"""The jobs of the mailer: named processors, their retries, dead letters, a report at midnight.

    toril worker jobs.py

Settings: TORIL_URL, or REDIS_HOST and REDIS_PORT; SMTP_HOST and SMTP_PORT; ALERT_URL gets one POST
for each incident; MAILER_SECOND shortens the waits between attempts; MAILER_RATE limits the queue.
"""

import logging
import os
from collections.abc import Iterator
from typing import Any

from provider import Provider

from toril import Exponential, Job, Toril, handles, listens

SECOND = float(os.environ.get("MAILER_SECOND", "1"))
log = logging.getLogger("toril.mailer")  # `toril worker` shows what is logged below "toril"

jobs = Toril()
jobs.provide(Provider, Provider())
jobs.queue(
    "emails",
    attempts=3,
    backoff=Exponential(SECOND),
    keep_completed=100,
    keep_failed=500,
    dead_letter="dead-letter",
    rate=os.environ.get("MAILER_RATE"),
)
jobs.alert(
    os.environ.get("ALERT_URL", "log"),
    dead_letters=1,
    queues=["emails", "dead-letter"],
    every=SECOND,
)


@jobs.middleware
def hooks(job: Job[Any]) -> Iterator[None]:
    log.info("Processing job %s of type %s", job.id, job.name)
    try:
        yield
    except Exception as error:
        log.exception("Failed job %s of type %s: %s", job.id, job.name, error)  # noqa: TRY401
        raise
    log.info("Completed job %s of type %s", job.id, job.name)


# At once in one worker: 4 mails, at most 3 of high priority and 1 normal one.
@jobs.processor("emails", concurrency=4)
class Emails:
    """One method for each kind of mail."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @handles()
    def other(self, job: Job[Any]) -> None:
        log.info("Processing email job: %s", job.id)
        self.provider.send(job.data["to"], job.data.get("type", "message"))
        log.info("Email job completed: %s", job.id)

    @handles("welcome-email")
    def welcome(self, job: Job[Any]) -> None:
        self.provider.send(job.data["to"], "welcome", job.data["data"])
        job.progress(100)
        log.info("sent welcome to %s", job.data["to"])

    @handles("bulk-email")
    def bulk(self, job: Job[Any]) -> None:
        self.provider.send(job.data["to"], job.data["template"])

    @handles("daily-report")
    def report(self, job: Job[Any]) -> None:
        for to in job.data["recipients"]:
            self.provider.send(to, "daily-report")

    @handles("high-priority", concurrency=3)
    def high(self, job: Job[Any]) -> None:
        self.provider.send(job.data["to"], "message")

    @handles("normal", concurrency=1)
    def normal(self, job: Job[Any]) -> None:
        self.provider.send(job.data["to"], "message")

    @listens("completed")
    def on_completed(self, job: Job[Any], result: Any) -> None:
        log.info("✅ Job %s completed", job.id)

    @listens("failed")
    def on_failed(self, job: Job[Any], error: Exception) -> None:
        log.error("❌ Job %s failed: %s", job.id, error)
        log.warning("Job %s moved to dead letter queue", job.id)


# However many processes declare it: one report each midnight.
jobs.schedule(
    "midnight",
    queue="emails",
    name="daily-report",
    data={"type": "daily-report", "recipients": ["admin@example.com"]},
    cron="0 0 * * *",
    priority=1,
    attempts=5,
)
