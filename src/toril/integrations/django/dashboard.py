"""The dashboard as a view: with the session and the permissions of Django's admin.

It is answered on the background loop, so it works under WSGI and ASGI.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from functools import cache
from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from starlette.requests import Request

from toril._app.app import Toril
from toril._jobs.background_loop import iterate, run
from toril.dashboard import Access, Dashboard

from .jobs import get_toril, import_tasks

ROLES = (
    ("toril.administer_jobs", "admin"),
    ("toril.operate_jobs", "operator"),
    ("toril.view_jobs", "viewer"),
)
"""The permissions of Django, and what they mean in the dashboard; the first one counts."""

_ACCESS = "toril.access"
_OWN_LENGTH = {"content-length", "transfer-encoding", "connection"}

Message = MutableMapping[str, Any]


@csrf_exempt  # the dashboard checks the origin of each change itself
def dashboard(request: HttpRequest, path: str = "") -> HttpResponseBase:
    """Answer with a page, a value or the events of the dashboard."""
    if not admin.site.has_permission(request):
        if "text/html" in request.headers.get("Accept", ""):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        return HttpResponse("sign in first", status=401, content_type="text/plain")
    access = access_of(request)
    if access is None:
        return HttpResponse("you may not see the jobs", status=403, content_type="text/plain")
    answer = _Exchange(_dashboard_of(get_toril()), _scope(request, path, access), request.body)
    begin = run(answer.begin())
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in begin["headers"]}
    kind = headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        response: HttpResponseBase = HttpResponse(run(answer.body()), status=begin["status"])
    elif isinstance(request, ASGIRequest):
        response = StreamingHttpResponse(answer.elsewhere(), status=begin["status"])
    else:
        response = StreamingHttpResponse(_chunks(answer), status=begin["status"])
    for name, value in headers.items():
        if name not in _OWN_LENGTH:
            response[name] = value
    return response


def access_of(request: HttpRequest) -> Access | None:
    """Return what the user of a request may do; None: nothing."""
    user: Any = request.user
    for permission, role in ROLES:
        if user.has_perm(permission):
            return Access(user=str(user), permissions=role)
    return None


@cache
def _dashboard_of(app: Toril) -> Dashboard:
    import_tasks()
    return Dashboard(app, auth=_granted)


def _granted(request: Request) -> Access | None:
    found = request.scope[_ACCESS]
    return found if isinstance(found, Access) else None


def _scope(request: HttpRequest, path: str, access: Access) -> Message:
    """Return the request as ASGI has it."""
    host = request.META.get("REMOTE_ADDR") or ""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "root_path": request.path.removesuffix(path).rstrip("/"),
        "query_string": request.META.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers.items()
        ],
        "client": (host, 0) if host else None,
        _ACCESS: access,
    }


class _Exchange:
    """One request to an ASGI application, on the background loop."""

    def __init__(self, application: Dashboard, scope: Message, body: bytes) -> None:
        self._application, self._scope, self._body = application, scope, body
        self._sent: asyncio.Queue[Message] = asyncio.Queue(8)
        self._asked = False

    async def begin(self) -> Message:
        """Send the request, and return the message with status and headers."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._answer())
        first = asyncio.ensure_future(self._sent.get())
        await asyncio.wait({first, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            # It ended without an answer; what it raised is for Django.
            first.cancel()
            await self._task
        return await first

    async def _answer(self) -> None:
        await self._application(self._scope, self._receive, self._sent.put)

    async def _receive(self) -> Message:
        if self._asked:
            # A browser that goes away cancels the task.
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def body(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body on the background loop."""
        try:
            more = True
            while more:
                message = await self._sent.get()
                more = message.get("more_body", False)
                yield message.get("body", b"")
        finally:
            self._task.cancel()

    async def elsewhere(self) -> AsyncIterator[bytes]:
        """Yield the body on another loop, that of a server."""
        try:
            more = True
            while more:
                asked = asyncio.run_coroutine_threadsafe(self._sent.get(), self._loop)
                message = await asyncio.wrap_future(asked)
                more = message.get("more_body", False)
                yield message.get("body", b"")
        finally:
            self._loop.call_soon_threadsafe(self._task.cancel)


def _chunks(answer: _Exchange) -> Iterator[bytes]:
    yield from iterate(answer.chunks())
