"""`--health`: whether work is being done, for probes: GET /live and GET /ready, as JSON.

200 says yes, 503 no and why. Never here: finding out.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, Callable
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
PATHS = ("/live", "/ready")
_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

log = logging.getLogger("toril.health")


class ProbeAnswer(NamedTuple):
    """What is answered: whether all is well, and what there is to know."""

    well: bool
    facts: dict[str, object]


class ProbeAddress(NamedTuple):
    """Where to listen; host None: on every interface."""

    host: str | None
    port: int

    @classmethod
    def of(cls, text: str) -> "ProbeAddress":
        """Read `127.0.0.1:8080`, `[::1]:8080`, or `:8080`.

        Raises   ConfigError: it is none of these.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535:
            raise ConfigError(
                f"health={text!r} is no address",
                field="health",
                value=text,
                hint="give one such as 127.0.0.1:8080, or :8080 for every interface",
            )
        return cls(host.strip("[]") or None, int(port))


@asynccontextmanager
async def probes(
    address: ProbeAddress, look: Callable[[str], ProbeAnswer], told: Callable[[str], None]
) -> AsyncGenerator[None]:
    """Answer probes meanwhile; `look` gets a path of PATHS, `told` where they are answered.

    Raises   ConfigError: somebody listens there already, or nobody may.
    """
    answering = _Answering(look)
    try:
        server = await asyncio.start_server(
            answering.meet, address.host, address.port, limit=LONGEST_HEAD, backlog=BACKLOG
        )
    except OSError as error:
        # What asyncio says of it names the address once more.
        known = error.errno if (error.errno or 0) > 0 else None
        why = str(error) if known is None else os.strerror(known)
        raise ConfigError(
            f"health={address.host or ''}:{address.port} cannot be used: {why}",
            field="health",
            value=address.port,
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

    def __init__(self, look: Callable[[str], ProbeAnswer]) -> None:
        self._look = look
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
                writer.write(self._answer(head))
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

    def _answer(self, head: bytes | None) -> bytes:
        if head is None:
            return _response(400, {"reason": f"a request has at most {LONGEST_HEAD} bytes"})
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in PATHS:
            return _response(404, {"reason": f"there are {' and '.join(PATHS)}"})
        if method not in ("GET", "HEAD"):
            return _response(405, {"reason": "only GET and HEAD are answered"})
        response = self._examined(path)
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else response

    def _examined(self, path: str) -> bytes:
        try:
            verdict = self._look(path)
            return _response(200 if verdict.well else 503, verdict.facts)
        except Exception as error:
            log.exception("health.failed path=%s", path)
            reason = f"finding out failed: {type(error).__name__}"
            return _response(500, {"ok": False, "reason": reason})


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Read a request up to its empty line; None: it is too long."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _response(status: int, facts: dict[str, object]) -> bytes:
    body = json.dumps(facts).encode() + b"\n"
    lines = [
        f"HTTP/1.1 {status} {_WORDS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status == 405:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
