"""`toril dashboard`: look at jobs, and act on them, in a browser.

Never here: the dashboard.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from toril.errors import ConfigError

from .target import ServedStoreOptions, served_app

PORT = 7419
_AUTH = (
    "Who may use it: local, USER:PASSWORD, token:TOKEN, header:NAME or import:module:function. "
    "Default: $TORIL_DASHBOARD_AUTH, else everybody on this machine may look."
)


@dataclass(frozen=True, kw_only=True)
class DashboardCommandOptions(ServedStoreOptions):
    """The arguments and options of `toril dashboard`."""

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
    serve_module = import_dashboard()
    app = served_app(words)
    auth = words.auth or os.environ.get("TORIL_DASHBOARD_AUTH", "")
    where = serve_module.Listening(
        host=words.host,
        port=words.port,
        auth=auth,
        base_path=words.base_path,
        environment=words.environment,
    )
    serve_module.serve(app, where, typer.echo)


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
