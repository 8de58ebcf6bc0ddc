"""`--health`: whether work is being done, for probes: GET /live and GET /ready, as JSON.

200 says yes, 503 no and why. Never here: finding out.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from toril.errors import ConfigError

MOST_AT_ONCE = 32
LONGEST_HEAD = 8_192
PATIENCE_S = 5.0
PATHS = ("/live", "/ready")
_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_WORDS[503] = "Service Unavailable"


class Verdict(NamedTuple):
    """What is answered: whether all is well, and what there is to know."""

    well: bool
    facts: dict[str, object]


class Address(NamedTuple):
    """Where to listen; host None: on every interface."""

    host: str | None
    port: int

    @classmethod
    def of(cls, text: str) -> "Address":
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
    address: Address, look: Callable[[str], Verdict], told: Callable[[str], None]
) -> AsyncGenerator[None]:
    """Answer probes meanwhile; `look` gets a path of PATHS, `told` where they are answered.

    Raises   ConfigError: somebody listens there already, or nobody may.
    """
    answering = _Answering(look)
    try:
        server = await asyncio.start_server(
            answering.meet, address.host, address.port, limit=LONGEST_HEAD
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
    """Answers one request a connection; whoever is slow, long or one too many is hung up on."""

    def __init__(self, look: Callable[[str], Verdict]) -> None:
        self._look = look
        self._open = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        # A caller that hangs up, or says nothing, is nobody's trouble.
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE_S):
                    if self._open <= MOST_AT_ONCE:
                        writer.write(await self._answer(reader))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(400, {"reason": f"a request has at most {LONGEST_HEAD} bytes"})
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in PATHS:
            return _response(404, {"reason": f"there are {' and '.join(PATHS)}"})
        if method not in ("GET", "HEAD"):
            return _response(405, {"reason": "only GET and HEAD are answered"})
        verdict = self._look(path)
        response = _response(200 if verdict.well else 503, verdict.facts)
        return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else response


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
