"""A dashboard on a real server, and a client that asks it as a browser or a program would."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn

from toril import Toril
from toril.dashboard import Dashboard
from toril.dashboard.access import LOCAL
from toril.dashboard.serve import listen
from toril.dashboard.server import DashboardOptions

# What a page of the dashboard sends with a change.
PAGE = {"Content-Type": "application/json", "X-Toril": "1", "Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    """Sends requests to one address; each on a connection of its own."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    base: str = ""

    async def raw(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        given = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **self.headers}
        given |= {"Content-Length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"{method} {self.base}/{path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *rows = head.decode().split("\r\n")
        found = {row.partition(":")[0].lower(): row.partition(":")[2].strip() for row in rows}
        if found.get("transfer-encoding") == "chunked":
            rest = _joined(rest)
        if found.get("content-encoding") == "gzip":
            rest = gzip.decompress(rest)
        return Answer(int(status.split()[1]), found, rest.decode())

    async def get(self, path: str, **query: Any) -> Any:
        """Return what a GET of the API answers; anything but 200 fails."""
        answer = await self.ask(path, **query)
        assert answer.status == 200, answer
        return answer.json

    async def ask(self, path: str, **query: Any) -> Answer:
        words = f"?{urlencode(query)}" if query else ""
        return await self.raw("GET", f"api/v1/{path}{words}")

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        sent = PAGE | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.raw("POST", f"api/v1/{path}", json.dumps(body).encode(), sent)

    async def act(self, action: str, target: object, **more: Any) -> Any:
        """Do something, and return the answer; anything but 200 fails."""
        answer = await self.post("act", {"action": action, "target": target, **more})
        assert answer.status == 200, answer
        return answer.json


def _joined(rest: bytes) -> bytes:
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            break
        parts.append(rest[:count])
        rest = rest[count + 2 :]
    return b"".join(parts)


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[Client]:
    """Serve an ASGI application on a free port, in this event loop."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        application, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.005)
    try:
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def dashboard(app: Toril, **options: Any) -> AsyncIterator[Client]:
    """Serve the dashboard of an app; whoever reaches it may do everything, if nothing is said."""
    given = DashboardOptions(**{"auth": lambda _: LOCAL, **options})  # type: ignore[typeddict-item]
    made = Dashboard(app, **given)
    # Tests ask for what they have just changed.
    made.board.sampler.fresh_s = made.board.sampler.names_s = made.board.sampler.measured_s = 0.0
    made.board.kept.kept_s = 0.0
    async with served(made) as client:
        yield client
    await made.close()


@dataclass
class Stream:
    """An open stream of events."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self, within: float = 5.0) -> tuple[str, str, Any]:
        """Return the next event: its id, its name, its data."""
        async with asyncio.timeout(within):
            facts: dict[str, str] = {}
            while True:
                line = (await self.reader.readline()).decode().rstrip("\r\n")
                assert line or facts or not self.reader.at_eof(), "the stream has ended"
                name, mark, value = line.partition(": ")
                if mark and name in ("id", "event", "data"):
                    facts[name] = value
                elif not line and "event" in facts:
                    return facts.get("id", ""), facts["event"], json.loads(facts["data"])

    async def until(self, event: str, within: float = 5.0) -> Any:
        """Return the data of the next event of this name."""
        async with asyncio.timeout(within):
            while True:
                _, name, data = await self.next(within)
                if name == event:
                    return data

    def close(self) -> None:
        self.writer.close()


async def stream(client: Client, topics: str, last: str = "") -> Stream:
    """Open a stream of events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=2**24)
    query = urlencode({"topics": topics})
    given = {"Host": f"127.0.0.1:{client.port}", **client.headers}
    if last:
        given["Last-Event-ID"] = last
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    path = f"{client.base}/api/v1/stream?{query}"
    # Without chunks, so that lines are lines.
    writer.write(f"GET {path} HTTP/1.0\r\n{lines}\r\n".encode())
    await writer.drain()
    status = await reader.readline()
    assert b" 200 " in status, status + await reader.read(2_000)
    while (await reader.readline()).strip():
        pass
    return Stream(reader, writer)
