"""The stream of events of one viewer. Never here: what is in them (hub)."""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import unquote

from toril import StoreError

from .board import PageCall
from .hub import MOST_TOPICS, MOST_VIEWERS, Frame, Hub, Viewer, encode
from .problems import RefusedError, bad_request

# Proxies close a connection on which nothing is sent.
SILENCE_S = 15.0
PLAIN = ("overview", "workers", "operations")


def read_topics(call: PageCall, text: str) -> list[str]:
    """Return the topics that a viewer asked for.

    Raises   RefusedError: one is none, there are too many, or the user may not see its queue.
    """
    words = [word for word in text.split(",") if word]
    if not 0 < len(words) <= MOST_TOPICS:
        raise bad_request(f"topics: from 1 to {MOST_TOPICS}, separated by commas", "topics")
    if call.board.hub.viewers >= MOST_VIEWERS:
        raise RefusedError(503, "too_many", f"{MOST_VIEWERS} streams are open already")
    return [_read_topic(call, word) for word in words]


def _read_topic(call: PageCall, word: str) -> str:
    kind, _, rest = word.partition(":")
    if word in PLAIN:
        return word
    if kind == "queue" and rest:
        call.queue(unquote(rest))
        return f"queue:{unquote(rest)}"
    queue, mark, job_id = rest.partition("|")
    if kind == "job" and mark and job_id:
        call.queue(unquote(queue))
        return f"job:{queue}|{job_id}"
    hint = f"{', '.join(PLAIN)}, queue:NAME, job:QUEUE|ID"
    raise bad_request(f"topics: {word[:100]!r} is not a topic", "topics", hint)


async def events(hub: Hub, viewer: Viewer) -> AsyncGenerator[bytes]:
    """Yield what a viewer is told, until it goes."""
    try:
        yield b"retry: 2000\n\n"
        while True:
            if viewer.overrun:
                async for text in _whole(hub, viewer):
                    yield text
            while viewer.unread:
                yield written(hub, viewer.unread.popleft())
            viewer.ready.clear()
            if viewer.overrun or viewer.unread:
                continue
            try:
                async with asyncio.timeout(SILENCE_S):
                    await viewer.ready.wait()
            except TimeoutError:
                yield b": still here\n\n"
    finally:
        hub.close(viewer)


async def _whole(hub: Hub, viewer: Viewer) -> AsyncGenerator[bytes]:
    try:
        frames = await hub.whole(viewer)
    except StoreError as error:
        body = encode({"error": "store", "message": str(error)})
        yield b"event: trouble\ndata: " + body + b"\n\n"
        await asyncio.sleep(hub.interval_s)
        return
    for frame in frames:
        yield written(hub, frame)


def written(hub: Hub, frame: Frame) -> bytes:
    """Return a frame as it is sent."""
    head = f"id: {hub.boot}-{frame.id}\nevent: {frame.event}\ndata: "
    return head.encode() + frame.data + b"\n\n"
