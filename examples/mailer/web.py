"""The HTTP API of the mailer.

RUN_WORKER=1 uvicorn web:web     # the jobs run in the web process
uvicorn web:web                  # or beside it: toril worker jobs.py
"""

import os
from typing import Any

import mailer
from fastapi import FastAPI
from jobs import jobs

from toril.integrations.fastapi import add_error_handlers, lifespan

web = FastAPI(lifespan=lifespan(jobs, worker=os.environ.get("RUN_WORKER") == "1", grace="5s"))
add_error_handlers(web)


@web.post("/emails/welcome", status_code=202)
async def welcome(user: dict[str, str]) -> dict[str, str]:
    return {"id": (await mailer.send_welcome_email(user)).id}


@web.post("/emails/bulk", status_code=202)
async def bulk(to: list[str], template: str) -> dict[str, list[str]]:
    return {"ids": [job.id for job in await mailer.send_bulk_email(to, template)]}


@web.post("/emails/scheduled", status_code=202)
async def scheduled(to: str, delay: str) -> dict[str, str]:
    return {"id": (await mailer.schedule_email(to, delay)).id}


@web.get("/emails/metrics")
async def metrics() -> dict[str, Any]:
    return await mailer.metrics()


@web.get("/emails/{job_id}")
async def status(job_id: str) -> dict[str, Any]:
    return await mailer.job_status(job_id)


@web.post("/dead-letters/replay", status_code=202)
async def replay() -> dict[str, list[str]]:
    return {"ids": [job.id for job in await mailer.replay()]}
