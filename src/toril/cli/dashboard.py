"""`toril dashboard`: look at jobs, and act on them, in a browser.

Never here: the dashboard.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from toril._app.app import Toril
from toril._serve.load import load_app
from toril.errors import ConfigError

from .target import StoreOptions, find_app

PORT = 7419
_AUTH = (
    "Who may use it: local, USER:PASSWORD, token:TOKEN, header:NAME or import:module:function. "
    "Default: $TORIL_DASHBOARD_AUTH, else everybody on this machine may look."
)


@dataclass(frozen=True, kw_only=True)
class DashboardCommandOptions:
    """The arguments and options of `toril dashboard`."""

    store: Annotated[
        str, typer.Argument(metavar="[URL]", help="URL of the store.", show_default=False)
    ] = field(default="", repr=False)
    url: Annotated[
        str, typer.Option(help="URL of the store. Default: $TORIL_URL, else ./toril.db.")
    ] = field(default="", repr=False)
    prefix: Annotated[
        str, typer.Option(help="Prefix of the queues. Default: $TORIL_PREFIX, else bull.")
    ] = ""
    app: Annotated[
        str,
        typer.Option(help="Use this app, its store and tasks: app.py, app.py:app or module:app."),
    ] = ""
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on. 0: any that is free.")
    ] = PORT
    auth: Annotated[str, typer.Option(help=_AUTH)] = field(default="", repr=False)
    base_path: Annotated[
        str, typer.Option(help="Path under which a proxy shows it, such as /admin/jobs.")
    ] = ""
    environment: Annotated[str, typer.Option(help="Shown in a badge, such as production.")] = ""


def dashboard(words: DashboardCommandOptions) -> None:
    """Serve the dashboard of a store until Ctrl-C."""
    if words.store and words.url:
        raise ConfigError("the URL was given twice: leave --url out", field="url")
    words = replace(words, url=words.url or words.store)
    serve_module = import_dashboard()
    app = _app_of(words)
    if not app.is_there():
        raise ConfigError(
            f"there is nothing at {app.store_url}",
            hint="say where the jobs are: a URL, TORIL_URL or --app",
        )
    auth = words.auth or os.environ.get("TORIL_DASHBOARD_AUTH", "")
    where = serve_module.Listening(
        host=words.host,
        port=words.port,
        auth=auth,
        base_path=words.base_path,
        environment=words.environment,
    )
    serve_module.serve(app, where, typer.echo)


def _app_of(words: DashboardCommandOptions) -> Toril:
    if not words.app:
        return find_app(StoreOptions(url=words.url, prefix=words.prefix))
    app = load_app(words.app)
    if words.url or words.prefix:
        app.move_to(words.url or None, words.prefix or None)
    return app


def import_dashboard() -> Any:
    """Import what serves the dashboard, which is an extra.

    Raises   ConfigError: it is not installed.
    """
    if not is_installed():
        raise ConfigError(
            "the dashboard needs starlette and uvicorn", hint='pip install "toril[dashboard]"'
        )
    return importlib.import_module("toril.dashboard.serve")


def is_installed() -> bool:
    """Return whether the packages of the extra are there."""
    return all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn"))
