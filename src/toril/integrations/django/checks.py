"""System checks: what is wrong with the settings, before anything runs."""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from toril.errors import ConfigError

from .jobs import make_toril, read_settings

MEMORY = ":memory:"


def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Check `settings.TORIL`."""
    try:
        given = read_settings()
        app = make_toril(given)
    except (ConfigError, TypeError) as error:
        hint = getattr(error, "hint", None)
        return [Error(f"settings.TORIL: {error}", hint=hint, id="toril.E001")]
    if app.url == MEMORY:
        return [
            Warning(
                "settings.TORIL: jobs in :memory: are lost when the process ends, and no worker of "
                "another process sees them",
                hint='TORIL = {"URL": "sqlite:///jobs.db"} or a server, such as redis://localhost',
                id="toril.W001",
            )
        ]
    return []
