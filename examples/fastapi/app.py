"""A FastAPI app whose reports are made by background jobs, with live progress.

pip install toril fastapi uvicorn
RUN_WORKER=1 uvicorn app:web          # the jobs run in the web process
uvicorn app:web                       # or beside it, in any number of processes:
toril worker app.py

curl -X POST "localhost:8000/reports?pages=3"
curl -N localhost:8000/reports/1/events
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse

from toril import Job, Queue, Toril
from toril.integrations.fastapi import add_error_handlers, lifespan, queue, stream_job

jobs = Toril()  # the store is $TORIL_URL, or toril.db


class Session:
    """A database session, say."""

    async def save(self, text: str) -> str:
        return f"saved {text}"


async def get_session() -> AsyncIterator[Session]:
    yield Session()  # one for each request, and one for each attempt of a job


@jobs.task(queue="reports", attempts=3)
async def make_report(
    job: Job, pages: int, session: Annotated[Session, Depends(get_session)]
) -> str:
    for page in range(1, pages + 1):
        await job.progress({"page": page, "of": pages})
    return await session.save(f"{pages} pages")


web = FastAPI(lifespan=lifespan(jobs, worker=os.environ.get("RUN_WORKER") == "1", grace="5s"))
add_error_handlers(web)
Reports = Annotated[Queue, Depends(queue("reports"))]


@web.post("/reports", status_code=202)
async def start(pages: int) -> dict[str, str]:
    return {"id": (await make_report.enqueue(pages)).id}


@web.get("/reports/{job_id}")
async def show(job_id: str, reports: Reports) -> dict[str, Any]:
    job = await reports.job(job_id)
    return {"state": await job.state()} if job else {"state": "unknown"}


@web.get("/reports/{job_id}/events")
async def follow(job_id: str, reports: Reports) -> StreamingResponse:
    return stream_job(await reports.job(job_id))
