"""What the rest of an application calls: it adds jobs, and asks about them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jobs import SECOND, jobs, log

from toril import Exponential, Job, JobNotFound

emails = jobs.queue("emails")
letters = jobs.queue("dead-letter")


async def send_welcome_email(user: dict[str, str]) -> Job[Any]:
    """Welcome a new user: before all bulk mail, five attempts, forgotten when sent."""
    link = f"https://example.com/verify/{user['token']}"
    data = {
        "type": "welcome",
        "to": user["email"],
        "data": {"name": user["name"], "verificationLink": link},
    }
    return await emails.add(
        "welcome-email",
        data,
        priority=1,
        attempts=5,
        backoff=Exponential(SECOND),
        keep_completed=False,
    )


async def send_bulk_email(recipients: Sequence[str], template: str) -> list[Job[Any]]:
    """Mail many; the jobs are stored in one call, and returned in order."""
    return await emails.add_many(
        [("bulk-email", {"to": to, "template": template}, {"priority": 2}) for to in recipients]
    )


async def schedule_email(to: str, delay: str) -> Job[Any]:
    """Mail later."""
    job = await emails.add({"to": to}, delay=delay)
    log.info("Scheduled email job: %s", job.id)
    return job


async def job_status(job_id: str) -> dict[str, Any]:
    """Return what a client may know of a job.

    Raises:
        JobNotFound: There is none, or it was removed when it had completed.
    """
    job = await emails.job(job_id)
    if job is None:
        raise JobNotFound(f"Job {job_id} not found")
    return {
        "id": job.id,
        "state": await job.state(),
        "progress": job.last_progress,
        "data": job.data,
        "attempts": job.attempts_made,
        "failedReason": job.error,
        "timestamp": round(job.created_at.timestamp() * 1000),
    }


async def metrics() -> dict[str, Any]:
    """Return how many jobs there are; one question to the store."""
    counts = await emails.counts()
    return {
        "waiting": counts.ready,
        "active": counts.active,
        "completed": counts.completed,
        "failed": counts.failed,
        "timestamp": datetime.now(UTC).isoformat(),
    }


async def replay() -> list[Job[Any]]:
    """Send again what is in the dead letters; the limits of the queue hold."""
    return await letters.replay()
