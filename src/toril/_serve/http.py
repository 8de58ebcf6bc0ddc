"""A small HTTP server for probes and metrics: one GET a connection.

Never here: what is answered.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from toril.errors import ConfigError

# So many connections may be open whose request has not come yet, in all and of one address: for
# one more the oldest of them is hung up on, so that a probe never waits behind idle ones.
MOST_SILENT = 64
MOST_OF_ONE = 16
# So many may wait to be accepted, while the loop does something else.
BACKLOG = 512
LONGEST_HEAD = 8_192
# How long a request may take to come, and its answer to leave.
HEAD_S = 1.0
ANSWER_S = 1.0
_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class HttpAnswer(NamedTuple):
    """What is answered."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


Answer = Callable[[str], Awaitable[HttpAnswer]]


@asynccontextmanager
async def serve_http(
    address: tuple[str | None, int],
    paths: Sequence[str],
    answer: Answer,
    told: Callable[[str], None],
    *,
    field: str,
) -> AsyncGenerator[None]:
    """Answer requests meanwhile; `answer` gets one of these paths, `told` where they are answered.

    Shape    address: host, None for every interface, and port.

    Raises   ConfigError: somebody listens there already, or nobody may.
    """
    answering = _Answering(paths, answer)
    host, port = address
    try:
        server = await asyncio.start_server(
            answering.meet, host, port, limit=LONGEST_HEAD, backlog=BACKLOG
        )
    except OSError as error:
        # What asyncio says of it names the address once more.
        known = error.errno if (error.errno or 0) > 0 else None
        why = str(error) if known is None else os.strerror(known)
        raise ConfigError(
            f"{field}={host or ''}:{port} cannot be used: {why}",
            field=field,
            value=port,
            hint="give another port",
        ) from error
    host, port = server.sockets[0].getsockname()[:2]
    told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        yield
    finally:
        server.close()


class _Answering:
    """Answer one request a connection; hang up on whoever is slow, long or the oldest of too many.

    `_silent` has the connections whose request has not come yet, the oldest first.
    """

    def __init__(self, paths: Sequence[str], answer: Answer) -> None:
        self._paths = paths
        self._answer = answer
        self._silent: dict[asyncio.StreamWriter, str] = {}

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        self._make_room(address)
        self._silent[writer] = address
        # A caller that hangs up, or says nothing, is nobody's trouble.
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(HEAD_S):
                    head = await _read_head(reader)
                del self._silent[writer]
                writer.write(await self._respond(head))
                async with asyncio.timeout(ANSWER_S):
                    await writer.drain()
        finally:
            if self._silent.pop(writer, None) is None:
                writer.close()
            else:
                writer.transport.abort()

    def _make_room(self, address: str) -> None:
        silent = self._silent
        mine = [writer for writer, other in silent.items() if other == address]
        if len(mine) >= MOST_OF_ONE:
            self._hang_up(mine[0])
        elif len(silent) >= MOST_SILENT:
            self._hang_up(next(iter(silent)))

    def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        del self._silent[writer]
        writer.transport.abort()

    async def _respond(self, head: bytes | None) -> bytes:
        if head is None:
            return _written(refusal(400, f"a request has at most {LONGEST_HEAD} bytes"))
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in self._paths:
            there = " and ".join(self._paths)
            return _written(refusal(404, f"there {'are' if ' and ' in there else 'is'} {there}"))
        if method not in ("GET", "HEAD"):
            return _written(refusal(405, "only GET and HEAD are answered"))
        response = _written(await self._answer(path))
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else response


def refusal(status: int, reason: str) -> HttpAnswer:
    """Return an answer that says why there is no other."""
    return HttpAnswer(status, json.dumps({"reason": reason}) + "\n", "application/json")


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Read a request up to its empty line; None: it is too long."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _written(answer: HttpAnswer) -> bytes:
    body = answer.body.encode()
    lines = [
        f"HTTP/1.1 {answer.status} {_WORDS[answer.status]}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if answer.status == 405:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
