"""The dashboard within other frameworks, under a path of theirs."""

from collections.abc import AsyncIterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from fastapi import FastAPI
from litestar import Litestar, asgi
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.dashboard.conftest import made_on
from tests.dashboard.desk import Client, served, stream
from toril import Toril
from toril.dashboard import Access, Dashboard

ADMIN = Access(user="ann", permissions="admin")


@pytest.fixture
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    async with made_on(request) as made:
        await made.queue("email").add("n", {"n": 1})
        yield made


def in_starlette(board: Dashboard) -> Any:
    return Starlette(routes=[Mount("/admin/jobs", board)])


def in_fastapi(board: Dashboard) -> Any:
    site = FastAPI()
    site.mount("/admin/jobs", board)
    return site


def in_litestar(board: Dashboard) -> Any:
    # Litestar removes the prefix and does not say so: base_path does.
    mounted = asgi("/admin/jobs", is_mount=True, copy_scope=True)(_of_litestar(board))
    return Litestar([mounted])


def _of_litestar(board: Dashboard) -> Any:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await board(scope, receive, send)

    handler.__annotations__ = {
        "scope": "Scope",
        "receive": "Receive",
        "send": "Send",
        "return": None,
    }
    from litestar.types import Receive, Scope, Send

    handler.__annotations__ = {"scope": Scope, "receive": Receive, "send": Send, "return": None}
    return handler


def in_django(board: Dashboard) -> Any:
    if not settings.configured:
        settings.configure(SECRET_KEY="tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
        django.setup()
    site = get_asgi_application()

    async def switch(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path == "/admin/jobs" or path.startswith("/admin/jobs/"):
            await board({**scope, "root_path": "/admin/jobs"}, receive, send)
        else:
            await site(scope, receive, send)

    return switch


urlpatterns: list[Any] = []


@pytest.mark.parametrize(
    ("mount", "app"),
    [
        (in_starlette, "memory"),
        (in_fastapi, "memory"),
        (in_fastapi, "redis"),
        (in_litestar, "memory"),
        (in_django, "redis"),
    ],
    indirect=["app"],
)
async def test_it_works_under_a_path(app: Toril, mount: Any) -> None:
    options: dict[str, Any] = {"base_path": "/admin/jobs"} if mount is in_litestar else {}
    board = Dashboard(app, auth=lambda request: ADMIN, **options)
    async with served(mount(board)) as client:
        client = Client(client.port, base="/admin/jobs")
        assert '<base href="/admin/jobs/">' in (await client.raw("GET", "")).text
        assert '<base href="/admin/jobs/">' in (await client.raw("GET", "job?queue=a&id=b")).text
        assert (await client.get("overview"))["counts"]["waiting"] == 1
        assert (await client.act("pause", {"queue": "email"}))["done"] == 1
        refused = await client.raw(
            "POST", "api/v1/act", b"{}", {"Content-Type": "application/json"}
        )
        assert refused.json["error"] == "csrf"
        events = await stream(client, "overview")
        assert (await events.until("overview"))["queues"][0]["name"] == "email"
        events.close()
        outside = await Client(client.port).raw("GET", "somewhere/else")
        assert outside.status == 404
    await board.close()


async def test_the_session_of_the_host_says_who_it_is(app: Toril) -> None:
    async def auth(request: Any) -> Access | None:
        return ADMIN if request.headers.get("x-session") == "ann" else None

    async with served(in_fastapi(Dashboard(app, auth=auth))) as client:
        client = Client(client.port, base="/admin/jobs")
        assert (await client.ask("me")).status == 401
        client.headers["X-Session"] = "ann"
        assert (await client.get("me"))["user"] == "ann"
