"""The HTTP API of the cards.

RUN_WORKER=1 uvicorn web:web     # the jobs run in the web process
uvicorn web:web                  # or beside it: toril worker jobs.py

curl --data-binary @cat.jpg "localhost:8000/flash-cards?front=cat&name=cat.jpg"
curl localhost:8000/flash-cards/1
curl -X PATCH "localhost:8000/flash-cards/queue/state?state=PAUSE"
"""

import asyncio
import os
from io import BytesIO
from pathlib import PurePath
from typing import Annotated, Any

from cards import FlashCardsService
from fastapi import Depends, FastAPI, HTTPException, Request
from jobs import OPTIMIZE, UPLOAD, card_flow, jobs
from PIL import Image, UnidentifiedImageError

from toril import JobNotFound, Queue
from toril.dashboard import Access, Dashboard
from toril.integrations.fastapi import add_error_handlers, lifespan, queue

web = FastAPI(lifespan=lifespan(jobs, worker=os.environ.get("RUN_WORKER") == "1", grace="5s"))
add_error_handlers(web)
Cards = Annotated[FlashCardsService, Depends(FlashCardsService)]
Optimize = Annotated[Queue, Depends(queue(OPTIMIZE))]
Uploads = Annotated[Queue, Depends(queue(UPLOAD))]


def check(picture: bytes) -> None:
    try:
        Image.open(BytesIO(picture)).verify()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise HTTPException(422, "this is not a picture") from error


@web.post("/flash-cards", status_code=201)
async def post(request: Request, cards: Cards, front: str, name: str) -> dict[str, Any]:
    picture = await request.body()
    check(picture)
    card = await asyncio.to_thread(cards.add, front, PurePath(name).name, picture)
    tree = await card_flow(card["id"], card["file"]).add()
    return {**card, "job": tree.job.id}


@web.get("/flash-cards/{card_id}")
async def show(card_id: int, cards: Cards) -> dict[str, Any]:
    card = await asyncio.to_thread(cards.get, card_id)
    if card is None:
        raise HTTPException(404, f"card {card_id} not found")
    return card


@web.patch("/flash-cards/queue/state")
async def set_state(state: str, optimize: Optimize) -> dict[str, Any]:
    """Resume with RESUME; any other value pauses."""
    await (optimize.resume() if state == "RESUME" else optimize.pause())
    return {"queue": optimize.name, "paused": await optimize.is_paused()}


@web.get("/flash-cards/jobs/{job_id}")
async def show_job(job_id: str, uploads: Uploads) -> dict[str, Any]:
    job = await uploads.job(job_id)
    if job is None:
        raise JobNotFound(f"job {job_id} not found")
    counts = await job.dependencies()
    return {
        "state": await job.state(),
        "children": {"pending": counts.pending, "completed": counts.completed},
    }


@web.delete("/flash-cards/jobs/{job_id}")
async def remove(job_id: str, uploads: Uploads) -> dict[str, Any]:
    """Remove the job of a card, and its children."""
    await uploads.remove(job_id)
    return {"removed": job_id}


def only_here(request: Request) -> Access | None:
    """Let people on this machine in; use the session of your users instead."""
    here = request.client is not None and request.client.host in ("127.0.0.1", "::1")
    return Access(user="you", permissions="operator") if here else None


web.mount("/jobs", Dashboard(jobs, auth=only_here))
