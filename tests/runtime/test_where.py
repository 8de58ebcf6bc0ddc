"""Where an app keeps its jobs: settings, the environment, a function, a client."""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio
from pydantic import SecretStr

from toril import ConfigError, StoreError, Toril


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORIL_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"REDIS_HOST": "db"}, "redis://db:6379/0"),
        ({"REDIS_HOST": "db", "REDIS_PORT": "7000", "REDIS_DB": "2"}, "redis://db:7000/2"),
        ({"REDIS_HOST": "db", "REDIS_PASSWORD": "p@ss/w"}, "redis://:p%40ss%2Fw@db:6379/0"),
        ({"REDIS_HOST": "::1", "REDIS_PORT": "tcp://10.0.0.1:6380"}, "redis://[::1]:6380/0"),
        ({"REDIS_HOST": "db", "TORIL_URL": ":memory:"}, ":memory:"),
        ({"REDIS_PORT": "tcp://10.0.0.1:6380"}, "sqlite:///toril.db"),
    ],
)
def test_the_environment_names_the_parts_of_a_server(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], url: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert Toril().url == url


def test_a_port_that_is_none_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "db")
    monkeypatch.setenv("REDIS_PORT", "six")
    with pytest.raises(ConfigError, match="set REDIS_PORT to a number"):
        Toril()


@dataclass
class Parts:
    REDIS_HOST: str = "db"
    REDIS_PORT: int = 7000


@pytest.mark.parametrize(
    ("settings", "url", "prefix"),
    [
        (Parts(), "redis://db:7000/0", "bull"),
        ({"redis_host": "db", "toril_prefix": "shop"}, "redis://db:6379/0", "shop"),
        (SimpleNamespace(toril_url="sqlite:///x.db"), "sqlite:///x.db", "bull"),
        (
            SimpleNamespace(redis_host="db", redis_password=SecretStr("word")),
            "redis://:word@db:6379/0",
            "bull",
        ),
    ],
)
def test_an_app_is_made_from_a_settings_object(settings: Any, url: str, prefix: str) -> None:
    app = Toril.from_settings(settings, attempts=3)

    assert (app.url, app.prefix) == (url, prefix)
    assert "word" not in repr(app)


def test_settings_that_name_no_store_are_refused() -> None:
    with pytest.raises(ConfigError, match="SimpleNamespace says nothing of a store"):
        Toril.from_settings(SimpleNamespace(debug=True))


@pytest.mark.parametrize("kind", ["memory", "redis"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_url_may_be_fetched_first(
    request: pytest.FixtureRequest, kind: str, is_async: bool
) -> None:
    url = ":memory:" if kind == "memory" else request.getfixturevalue("redis_url")
    prefix = None if kind == "memory" else request.getfixturevalue("redis_prefix")
    asked: list[str] = []

    def fetch() -> str:
        asked.append("plain")
        return str(url)

    async def fetch_later() -> str:
        await asyncio.sleep(0)
        return fetch()

    app = Toril(fetch_later if is_async else fetch, prefix=prefix)

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    assert asked == []
    assert "fetched at the first use" in repr(app)
    async with app, app.worker():
        job = await double.enqueue(21)
        assert await job.result(timeout=5) == 42
    assert asked == ["plain"]


async def test_what_fetching_the_url_raises_goes_to_who_uses_the_app() -> None:
    async def fetch() -> str:
        raise PermissionError("no secret for you")

    app = Toril(fetch)
    with pytest.raises(StoreError, match="is not known yet"):
        app.context.store.trim  # noqa: B018
    with pytest.raises(PermissionError, match="no secret for you"):
        await app.queue("q").add("x")
    await app.close()


async def test_a_client_of_redis_py_says_where_the_server_is(
    redis_url: str, redis_prefix: str
) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    async with Toril(client, prefix=redis_prefix) as app:
        job = await app.queue("q").add("x")
        assert await client.exists(f"{redis_prefix}:q:{job.id}")
    await client.aclose()


@pytest.mark.parametrize(
    ("client", "url"),
    [
        (redis.asyncio.Redis(host="db", port=7000, db=3, password="p w"), "redis://:p%20w@db:7000/3"),
        (redis.asyncio.Redis(unix_socket_path="/run/redis.sock"), "unix:///run/redis.sock?db=0"),
        (redis.Redis(host="db", ssl=True, ssl_ca_certs="/ca.pem"),
         "rediss://db:6379/0?ssl_ca_certs=%2Fca.pem"),
    ],
)  # fmt: skip
def test_the_address_of_a_client_is_read(client: Any, url: str) -> None:
    assert Toril(client).url == url


def test_anything_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="url must be text, not int"):
        Toril(42)
