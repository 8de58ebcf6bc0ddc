"""A page that starts downloads and shows them live.

RUN_WORKER=1 uvicorn web:web     # the jobs run in the web process
uvicorn web:web                  # or beside it: toril worker jobs.py
"""

import json
import os
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from jobs import download, jobs

from toril import JobNotFound, Queue
from toril.events import Active, Completed, Failed, Progress
from toril.integrations.fastapi import add_error_handlers, lifespan, queue

PAGE = Path(__file__).with_name("page.html").read_text("utf-8")

web = FastAPI(lifespan=lifespan(jobs, worker=os.environ.get("RUN_WORKER") == "1", grace="5s"))
add_error_handlers(web)
Downloads = Annotated[Queue, Depends(queue("downloads"))]


@web.get("/", response_class=HTMLResponse)
async def page(downloads: Downloads) -> str:
    active = [job.id async for job in downloads.jobs("active")]
    lines = "".join(f'<li id="active-{escape(each)}">{escape(each)}</li>' for each in active)
    return PAGE.replace("<!-- active -->", lines)


@web.post("/downloads", status_code=202)
async def start(url: str) -> dict[str, str]:
    return {"id": (await download.enqueue(url)).id}


@web.post("/downloads/{job_id}/restart", status_code=202)
async def restart(job_id: str, downloads: Downloads) -> dict[str, str]:
    job = await downloads.job(job_id)
    if job is None:
        raise JobNotFound(f"download {job_id} not found")
    await job.retry(reset_attempts=True)
    return {"id": job.id}


@web.get("/events")
async def events(downloads: Downloads) -> StreamingResponse:
    """Send what happens to any download to every browser; the worker may be another process."""

    async def messages() -> AsyncIterator[str]:
        async with downloads.events() as stream:
            yield ": connected\n\n"
            async for event in stream:
                match event:
                    case Active(job_id=job_id):
                        yield _message(job_id, state="Running", percent=0)
                    case Progress(job_id=job_id, data=percent):
                        yield _message(job_id, state="Running", percent=percent)
                    case Completed(job_id=job_id, result=name):
                        yield _message(job_id, state="Completed", percent=100, name=name)
                    case Failed(job_id=job_id, reason=reason):
                        yield _message(job_id, state="Failed", reason=reason)
                    case _:
                        pass

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)


def _message(job_id: str, **what: Any) -> str:
    return f"data: {json.dumps({'id': job_id, **what})}\n\n"
