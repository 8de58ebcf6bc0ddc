"""What keeps other pages and other people out: headers of answers, checks of requests.

Never here: who may do what (access).
"""

import gzip
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from .access import token_of
from .problems import RefusedError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "font-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
FRESH = "no-store"
FOREVER = "public, max-age=31536000, immutable"
MOST_BODY = 4_000_000
LEAST_COMPRESSED = 1_000


def check_host(request: Request, hosts: Collection[str] | None) -> None:
    """Refuse a request for another name than ours: a page could have let it lead here.

    Raises   RefusedError.
    """
    if hosts is None:
        return
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if name not in hosts:
        raise RefusedError(403, "host", f"this dashboard is not served as {name!r}")


def check_origin(request: Request) -> None:
    """Refuse a change that a page of another site may have sent.

    A browser sends `X-Toril` across sites only after a preflight, which is never granted, and says
    where a request comes from. A program proves by its token that it is none.
    Raises   RefusedError.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "csrf", "the body must be sent as application/json")
    if token_of(request) is not None:
        return
    if "x-toril" not in request.headers:
        raise RefusedError(403, "csrf", "the header X-Toril is missing", hint="send X-Toril: 1")
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise RefusedError(403, "csrf", f"the request came from another site ({site[:20]})")
        return
    origin = urlsplit(request.headers.get("origin", ""))
    if not origin.netloc or origin.netloc != request.headers.get("host", ""):
        raise RefusedError(
            403, "csrf", "the request does not say that it comes from this site",
            hint="send Origin, or a bearer token",
        )  # fmt: skip


def compress(request: Request, response: Response) -> None:
    """Compress an answer for a client that can read it; streams and fonts are left as they are."""
    body = getattr(response, "body", b"")
    kind = response.headers.get("content-type", "")
    if len(body) < LEAST_COMPRESSED or kind.startswith("font/"):
        return
    response.headers["Vary"] = "Accept-Encoding"
    if "gzip" in request.headers.get("accept-encoding", ""):
        forever = response.headers.get("cache-control") == FOREVER
        response.body = _best(body) if forever else gzip.compress(body, 5, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))


@lru_cache(maxsize=64)
def _best(body: bytes) -> bytes:
    """Compress a file that is asked for again and again."""
    return gzip.compress(body, 9, mtime=0)


async def read_body(request: Request) -> bytes:
    """Return the body of a request.

    Raises   RefusedError: it is too large.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY:
            raise RefusedError(413, "too_large", f"the body is over {MOST_BODY:,} bytes")
        parts.append(part)
    return b"".join(parts)
