"""`toril dashboard`: the dashboard on an address of its own.

Never here: what was typed (toril.cli.dashboard).
"""

import asyncio
import importlib
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from toril import ConfigError, Toril

from .access import LOCAL, Access, Auth, basic_auth, bearer_token, header_user
from .server import Dashboard, DashboardOptions

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KINDS = (
    '"local" (this machine may do everything), "USER:PASSWORD", "token:TOKEN", "header:NAME" '
    'behind a proxy, or "import:module:function"'
)
# Streams do not end by themselves.
LAST_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a dashboard listens, and who may use it.

    Attributes:
        auth: Who may, as it is typed after --auth.
    """

    host: str = "127.0.0.1"
    port: int = 7419
    auth: str = field(default="", repr=False)
    base_path: str = ""
    title: str = "toril"
    environment: str = ""


def serve(app: Toril, where: Listening, say: Callable[[str], object]) -> None:
    """Serve the dashboard until a signal comes.

    Raises   ConfigError: the port is taken, nobody would have to sign in from other machines, or
             `auth` cannot be read.
    """
    auth = read_auth(where.auth)
    open_to_all = where.auth in ("", "local")
    if open_to_all and not is_loopback(where.host):
        raise ConfigError(
            f"host={where.host!r} can be reached from other machines, and nobody would have to "
            "sign in",
            field="auth",
            value=where.auth,
            hint="add --auth USER:PASSWORD, or leave --host out",
        )
    options = DashboardOptions(
        auth=auth, base_path=where.base_path, title=where.title, environment=where.environment
    )
    if open_to_all:
        # Otherwise a page could let its own name lead here.
        options["hosts"] = _LOOPBACK
    dashboard = Dashboard(app, **options)
    listener = listen(where.host, where.port)
    address = f"http://{_written(where.host)}:{listener.getsockname()[1]}{where.base_path}/"
    say(f"dashboard: {address}  ({app.store_url})")
    if auth is None:
        say("It is read-only and hides secrets. To act on jobs from this machine: --auth local")
    asyncio.run(_serve(app, dashboard, listener))


async def _serve(app: Toril, dashboard: Dashboard, listener: socket.socket) -> None:
    config = uvicorn.Config(
        dashboard,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=LAST_S,
        server_header=False,
    )
    async with app:
        try:
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            await dashboard.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises   ConfigError: the port is taken, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}",
            field="port",
            value=port,
            hint="choose another: --port 0 takes any that is free",
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host in _LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_auth(text: str) -> Auth | None:
    """Return the `auth` that was typed.

    Raises   ConfigError: it cannot be read.
    """
    kind, _, rest = text.partition(":")
    if not text:
        return None
    if text == "local":
        return _anybody
    if kind == "token" and rest:
        return bearer_token(rest)
    if kind == "header" and rest:
        return header_user(rest)
    if kind == "import" and rest:
        return _imported(rest)
    name, mark, password = (rest if kind == "basic" else text).partition(":")
    if name and mark and password:
        return basic_auth({name: password})
    raise ConfigError("auth cannot be read", field="auth", hint=f"use {_KINDS}")


def _anybody(_: object) -> Access:
    return LOCAL


def _imported(path: str) -> Auth:
    module, _, name = path.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"auth: {path!r} cannot be imported: {error}", field="auth") from error
    if not callable(found):
        raise ConfigError(f"auth: {path!r} is not a function", field="auth")
    return found  # type: ignore[no-any-return]


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
