"""Three endpoints that add jobs, and the dashboard beside them.

RUN_WORKER=1 uvicorn web:web     # the jobs run in the web process
uvicorn web:web                  # or beside it: toril worker jobs.py

curl "localhost:8000/demo/echo?msg=hi"
curl "localhost:8000/demo/delay?msg=wait&ms=3000"
curl "localhost:8000/demo/retry?msg=resilient&fail=2"
open http://localhost:8000/jobs/
"""

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from jobs import jobs
from starlette.requests import Request

from toril import Exponential, JobNotFound
from toril import Queue as Jobs
from toril.dashboard import Access, Dashboard
from toril.integrations.fastapi import add_error_handlers, lifespan, queue

web = FastAPI(lifespan=lifespan(jobs, worker=os.environ.get("RUN_WORKER") == "1", grace="5s"))
add_error_handlers(web)
DemoQueue = Annotated[Jobs, Depends(queue("demo"))]
Whole = Annotated[str, Query(pattern=r"^\d+$")]


@web.get("/demo/echo")
async def echo(demo: DemoQueue, msg: str = "hello") -> dict[str, Any]:
    job = await demo.add("echo", {"msg": msg})
    return {"queued": True, "jobId": job.id, "type": "echo", "msg": msg}


@web.get("/demo/delay")
async def delay(demo: DemoQueue, msg: str = "delayed hello", ms: Whole = "5000") -> dict[str, Any]:
    job = await demo.add("echo", {"msg": msg}, delay=f"{ms}ms")
    return {"queued": True, "jobId": job.id, "type": "echo", "delayMs": ms}


@web.get("/demo/retry")
async def retry(demo: DemoQueue, msg: str = "retry me", fail: Whole = "1") -> dict[str, Any]:
    data = {"msg": msg, "failTimes": int(fail)}
    job = await demo.add("maybe-fail", data, attempts=3, backoff=Exponential("1s"))
    return {"queued": True, "jobId": job.id, "type": "maybe-fail", "failTimes": fail}


@web.post("/demo/{job_id}/retry")
async def run_again(demo: DemoQueue, job_id: str) -> dict[str, Any]:
    job = await demo.job(job_id)
    if job is None:
        raise JobNotFound(f"job {job_id} not found")
    await job.retry()
    return {"queued": True, "jobId": job.id}


def only_here(request: Request) -> Access | None:
    """Let people on this machine in; use the session of your users instead."""
    here = request.client is not None and request.client.host in ("127.0.0.1", "::1")
    return Access(user="you", permissions="operator") if here else None


web.mount("/jobs", Dashboard(jobs, auth=only_here))
