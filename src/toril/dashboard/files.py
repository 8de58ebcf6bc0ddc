"""The built front end: its page and its assets; and what is shown where it was not built.

Never here: building it (hatch_build.py).
"""

import html
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from .guard import FOREVER
from .problems import not_found

STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}
_UNBUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>toril</title><base href="__BASE__"></head>
<body>
<h1>The pages of the dashboard were not built</h1>
<p>This is a checkout, or a package that was built with TORIL_SKIP_FRONTEND=1. Build them with:</p>
<pre>cd frontend &amp;&amp; npm ci &amp;&amp; node build.mjs</pre>
<p>or install a wheel: <code>pip install "toril[dashboard]"</code>.</p>
<p>The HTTP API works: <a href="api/v1/openapi.json">api/v1/openapi.json</a></p>
</body>
</html>
"""


def page(base: str, folder: Path = STATIC) -> Response:
    """Return the page, whose links are relative to where the dashboard is mounted."""
    file = folder / "index.html"
    text = file.read_text("utf-8") if file.is_file() else _UNBUILT
    return Response(
        text.replace("__BASE__", html.escape(f"{base}/", quote=True)),
        media_type="text/html; charset=utf-8",
    )


def asset(request: Request, name: str, folder: Path = STATIC) -> Response:
    """Return a file of the front end; its name has the hash of its content.

    Raises   RefusedError: there is none.
    """
    file = folder / "assets" / name
    inside = "/" not in name and "\\" not in name and name not in ("", ".", "..")
    if not inside or request.method not in ("GET", "HEAD") or not file.is_file():
        raise not_found(f"there is no asset {name[:100]!r}")
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": FOREVER})
