"""Where a Redis server is, from settings that name its parts instead of a URL.

Never here: environment variables of toril's own (`environment`).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import quote

from toril.errors import ConfigError

PARTS = ("host", "port", "db", "username", "password")


def url_of_parts(get: Callable[[str], Any]) -> str | None:
    """Return the URL of the server whose parts `get` returns by name; None without a host.

    Raises   ConfigError: the port or the database is no number.
    """
    host = get("host")
    if not host:
        return None
    user, password = get("username") or "", get("password")
    word = "" if password in (None, "") else f":{quote(_plain(password), safe='')}"
    who = f"{quote(str(user), safe='')}{word}@" if user or word else ""
    place = f"[{host}]" if ":" in str(host) and not str(host).startswith("[") else host
    return f"redis://{who}{place}:{_number(get, 'port', 6379)}/{_number(get, 'db', 0)}"


def _plain(secret: Any) -> str:
    """Return a password, also one that pydantic hides."""
    reveal = getattr(secret, "get_secret_value", None)
    return str(secret if reveal is None else reveal())


def _number(get: Callable[[str], Any], name: str, default: int) -> int:
    given = get(name)
    if given in (None, ""):
        return default
    # Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379 for a service that is called redis.
    text = str(given).rpartition(":")[2] if str(given).startswith("tcp://") else str(given)
    if not text.isdecimal():
        raise ConfigError(
            f"redis {name}={given!r} is not a number",
            field=f"redis_{name}",
            value=given,
            hint=f"set REDIS_{name.upper()} to a number, or use a URL: TORIL_URL=redis://…",
        )
    return int(text)


def read_settings_object(settings: object) -> tuple[str | None, str | None]:
    """Return URL and prefix from an object or a mapping: `toril_url`, or `redis_host` and so on.

    Raises   ConfigError: it has neither.
    """
    found = _members(settings)
    parts = url_of_parts(lambda name: found.get(f"redis_{name}"))
    url = found.get("toril_url") or found.get("url") or found.get("redis_url") or parts
    if url is None:
        raise ConfigError(
            f"{type(settings).__name__} says nothing of a store",
            field="settings",
            value=type(settings).__name__,
            hint="give it toril_url, redis_url, or redis_host and redis_port",
        )
    prefix = found.get("toril_prefix") or found.get("prefix")
    return _plain(url), None if prefix is None else str(prefix)


def _members(settings: object) -> dict[str, Any]:
    if isinstance(settings, Mapping):
        given = cast("Mapping[str, Any]", settings)
        return {str(name).lower(): value for name, value in given.items()}
    names = [name for name in dir(settings) if not name.startswith("_")]
    wanted = {"url", "prefix", "toril_url", "toril_prefix", "redis_url"}
    wanted |= {f"redis_{name}" for name in PARTS}
    return {name.lower(): getattr(settings, name) for name in names if name.lower() in wanted}


def url_of_client(client: object) -> str | None:
    """Return the URL of the server that a client of redis-py is for; None: it is no client."""
    pool = getattr(client, "connection_pool", None)
    found = getattr(pool, "connection_kwargs", None)
    if not isinstance(found, dict):
        return None
    given = cast("dict[str, Any]", found)
    path = given.get("path")
    if path:
        return f"unix://{quote(str(path))}?db={given.get('db') or 0}"
    url = url_of_parts(lambda name: given.get(name) or ("localhost" if name == "host" else None))
    kind = getattr(getattr(pool, "connection_class", None), "__name__", "")
    if url is None or not kind.startswith("SSL"):
        return url
    files = {
        name: given[name]
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
        if given.get(name)
    }
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in files.items())
    return f"rediss{url.removeprefix('redis')}" + (f"?{query}" if query else "")
