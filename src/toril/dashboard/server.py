"""`Dashboard`, the ASGI application: from a request to an answer.

It needs no lifespan and no middleware, so that any ASGI framework can mount it. Never here: what
can be asked (routes), and who may (access).
"""

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypedDict, Unpack

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from toril import ConfigError, Toril, TorilError

from . import stream
from .access import Access, Auth, ask
from .board import Board, JobLink, OnAction, PageCall
from .files import asset, page
from .guard import FRESH, HEADERS, check_host, check_origin, compress, read_body
from .hub import Hub
from .openapi import document
from .operations import Operations
from .problems import RefusedError, not_found, refusal_of
from .redact import Redactor, Rule
from .routes import BY_PLACE, HEALTH, PATHS, Route
from .sampler import Sampler

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = "application/json"
_STREAM, _OPENAPI = "api/v1/stream", "api/v1/openapi.json"


class DashboardOptions(TypedDict, total=False):
    """The options of a dashboard."""

    auth: Auth | None
    """Called with each request (a Starlette `Request`); returns `Access`, or None to refuse."""
    base_path: str
    """Where the dashboard is mounted, such as "/admin/jobs", if the framework does not say so."""
    redact: Collection[str]
    """More names of keys whose values are hidden."""
    redact_if: Rule
    """Called with a job's name, the path of a value and the value; returns True to hide it."""
    title: str
    """The name in its pages. Default: "toril"."""
    environment: str
    """Such as "production", shown in a badge."""
    job_link: JobLink
    """Returns the address and the label of a page about a job, or None."""
    on_action: OnAction
    """Called with every entry of the audit log."""
    hosts: Collection[str]
    """The only host names that it answers to. Default: any."""


_OPTIONS = frozenset(DashboardOptions.__annotations__)


class Dashboard:
    """The dashboard of an app, as an ASGI application.

    Without `auth` everybody who reaches it may look, secrets are hidden, and nothing can be
    changed.

    Args:
        app: The app whose store is shown; `Toril(url)` is enough.
        **options: See `DashboardOptions`.

    Raises:
        ConfigError: An option is not valid.

    Example:
        ```python
        site.mount("/jobs", Dashboard(app, auth=basic_auth({"ann": password})))
        ```
    """

    def __init__(self, app: Toril, **options: Unpack[DashboardOptions]) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise ConfigError(
                    f"{name!r} is not an option of Dashboard",
                    field=name,
                    hint=f"options: {', '.join(sorted(_OPTIONS))}",
                )
        self._auth = options.get("auth")
        self._base = _base_path(options.get("base_path", ""))
        self._hosts = options.get("hosts")
        sampler = Sampler(app)
        self.board = Board(
            app=app,
            sampler=sampler,
            hub=Hub(app, sampler),
            operations=Operations(app),
            redactor=Redactor(
                keys=options.get("redact", ()),
                rule=options.get("redact_if"),
                paths=_paths_of(app),
            ),
            secured=self._auth is not None,
            title=options.get("title", "toril"),
            environment=options.get("environment", ""),
            job_link=options.get("job_link"),
            on_action=options.get("on_action"),
        )
        self.board.operations.changed = self.board.hub.tell_operation

    async def close(self) -> None:
        """End streams and operations; the app stays open."""
        await self.board.operations.close()
        await self.board.hub.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI asks."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            await self.close()
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            request = Request(scope, receive)
            response = await self._respond(request)
            for name, value in HEADERS.items():
                response.headers[name] = value
            response.headers.setdefault("Cache-Control", FRESH)
            compress(request, response)
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except RefusedError as refused:
            return self._refuse(refused)
        except (TorilError, msgspec.ValidationError) as error:
            return self._refuse(refusal_of(error))

    def _refuse(self, refused: RefusedError) -> Response:
        response = _json(refused.problem, refused.status)
        challenge = getattr(self._auth, "challenge", None)
        if refused.status == 401 and challenge is not None:
            response.headers["WWW-Authenticate"] = challenge
        return response

    async def _answer(self, request: Request) -> Response:
        check_host(request, self._hosts)
        base, path = self._place(request)
        if path.startswith("assets/"):
            return asset(request, path.removeprefix("assets/"))
        method = "GET" if request.method == "HEAD" else request.method
        if path == HEALTH.path and method == "GET":
            # It says nothing about jobs, and whoever checks it has no password.
            return _json(await HEALTH.run(PageCall(board=self.board, access=NOBODY), HEALTH.asks()))
        access = await ask(self._auth, request)
        if access is None:
            raise RefusedError(401, "access", "sign in first")
        call = PageCall(board=self.board, access=access, address=_address(request))
        if path in (_STREAM, _OPENAPI) and method == "GET":
            call.need("view")
            return self._stream(call, request) if path == _STREAM else _json(document())
        if path in PATHS:
            return await self._ask(call, request, BY_PLACE.get((method, path)))
        if path.startswith("api/"):
            raise not_found(f"there is no {path[:100]!r} here; see api/v1/openapi.json")
        if method != "GET":
            raise RefusedError(405, "method", f"{request.method} changes nothing here")
        return page(base)

    async def _ask(self, call: PageCall, request: Request, route: Route | None) -> Response:
        if route is None:
            raise RefusedError(405, "method", f"{request.method} is not how this is asked")
        call.need(route.permission)
        if route.method == "POST":
            check_origin(request)
            asked = msgspec.json.decode(await read_body(request), type=route.asks)
        else:
            asked = msgspec.convert(dict(request.query_params), route.asks, strict=False)
        answer = await route.run(call, asked)
        if isinstance(answer, str):
            return Response(answer.encode(errors="replace"), media_type="text/plain; charset=utf-8")
        return _json(answer)

    def _stream(self, call: PageCall, request: Request) -> Response:
        query = request.query_params
        topics = stream.read_topics(call, query.get("topics", ""))
        last = request.headers.get("last-event-id", query.get("last_event_id", ""))
        viewer = self.board.hub.open(topics, call.queues, last)
        return StreamingResponse(
            stream.events(self.board.hub, viewer),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no", "Cache-Control": FRESH},
        )

    def _place(self, request: Request) -> tuple[str, str]:
        """Return where the dashboard is mounted, and the path below that."""
        root: str = request.scope.get("root_path", "").rstrip("/")
        path: str = request.scope["path"]
        for above in (root, self._base):
            if above and (path == above or path.startswith(f"{above}/")):
                path = path[len(above) :]
                break
        return self._base or root, path.strip("/")


NOBODY = Access(user="", permissions=())


def _base_path(given: str) -> str:
    path = given.rstrip("/")
    if path and not path.startswith("/"):
        raise ConfigError(f"base_path={given!r} must begin with /", field="base_path", value=given)
    return path


def _paths_of(app: Toril) -> Callable[[str], Collection[str]]:
    """Return what looks up the secret paths of a task; tasks may be defined later."""
    known: dict[str, tuple[str, ...]] = {}
    counted = -1

    def paths(name: str) -> Collection[str]:
        nonlocal counted
        tasks = app.tasks()
        if len(tasks) != counted:
            counted = len(tasks)
            for task in tasks:
                known[task.name] = (*known.get(task.name, ()), *task.redact)
        return known.get(name, ())

    return paths


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _json(value: object, status: int = 200) -> Response:
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half of a surrogate pair, from a store that somebody else writes to.
        body = json.dumps(msgspec.to_builtins(value)).encode()
    return Response(body, status, media_type=_JSON)


async def _live(receive: Receive, send: Send) -> None:
    """Say that there is nothing to prepare, and nothing to end but what close() ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
