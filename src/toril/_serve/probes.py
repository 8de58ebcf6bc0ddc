"""`--health`: whether work is being done, for probes: GET /live and GET /ready, as JSON.

200 says yes, 503 no and why. Never here: finding out.
"""

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from toril.errors import ConfigError

from .http import HttpAnswer, serve_http

PATHS = ("/live", "/ready")

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

    async def answer(path: str) -> HttpAnswer:
        try:
            verdict = look(path)
            return _as_json(200 if verdict.well else 503, verdict.facts)
        except Exception as error:
            log.exception("health.failed path=%s", path)
            reason = f"finding out failed: {type(error).__name__}"
            return _as_json(500, {"ok": False, "reason": reason})

    async with serve_http(address, PATHS, answer, told, field="health"):
        yield


def _as_json(status: int, facts: dict[str, object]) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(facts) + "\n", "application/json")
