"""From a URL to the store that it names.

The only module that names the stores. Never here: opening one.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl

from toril._model.checks import MAX_TEXT
from toril._model.suggest import nearest
from toril._model.urls import hide, is_like_server, scheme_of
from toril._store.sqlite.store import SQLiteStore
from toril.errors import ConfigError

from .clock import Clock
from .protocol import Store

MEMORY = ":memory:"
DEFAULT_PREFIX = "bull"
_PREFIX = re.compile(r"[A-Za-z0-9._{}-]{1,64}")
_FORMS = (
    '"sqlite:///jobs.db", "sqlite:////var/lib/app/jobs.db" (absolute), "sqlite://:memory:" or '
    '"redis://localhost:6379/0"'
)
_SERVERS = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+sentinel", "redis+cluster")
_KNOWN = ("sqlite", *_SERVERS)


def connect(url: str, prefix: str = DEFAULT_PREFIX) -> Store:
    """Make the store that a URL names, without opening it.

    Queues of one name under two prefixes are two queues. In the embedded store each prefix but
    the default one has a file of its own: jobs.db and, for the prefix `shop`, jobs-shop.db.

    Shape    sqlite:///relative.db · sqlite:////absolute.db · sqlite://:memory: · :memory: · a
             path that ends in .db; ?synchronous=normal trades the last moments before a power
             cut for speed.
    Raises   ConfigError: no store can be what the URL or the prefix says.
    """
    check_prefix(prefix)
    if url == MEMORY:
        return SQLiteStore(MEMORY)
    scheme = scheme_of(url)
    if scheme is None:
        if url.endswith((".db", ".sqlite", ".sqlite3")) and not is_like_server(url):
            return SQLiteStore(_own_file(url, prefix))
        raise _refused(url, _why_unreadable(url))
    if scheme == "sqlite":
        return _sqlite(url, prefix)
    if scheme.partition("+")[0] in _SERVERS:
        return _redis(url, prefix)
    raise _refused(url, f"no store is called {scheme!r}", nearest(scheme, _KNOWN))


def in_memory(clock: Clock) -> SQLiteStore:
    """Make a store in memory that goes by this clock, for tests."""
    return SQLiteStore(MEMORY, clock=clock)


def _why_unreadable(url: str) -> str:
    if url[:1] in ("'", '"') or url[-1:] in ("'", '"'):
        return "there are quotes around it"
    if url != url.strip():
        return "there are blanks around it"
    if is_like_server(url):
        return "it does not begin with a scheme and ://, as in redis://"
    return "it names no store"


def show_url(url: str) -> str:
    """Return a URL as it may be shown, whether it names a store or not: without its password."""
    if url == MEMORY:
        return url
    try:
        # What a store shows of itself holds no secret. Making one touches nothing.
        return connect(url).url
    except ConfigError:
        return hide(url)


def is_kept(store: Store) -> bool:
    """Return whether the store has a place of its own already, or will have one: not in memory."""
    return not isinstance(store, SQLiteStore) or store.path != MEMORY


def is_there(store: Store) -> bool:
    """Return whether opening the store would find something; only a server can tell when asked."""
    return not isinstance(store, SQLiteStore) or Path(store.path).is_file()


def _redis(url: str, prefix: str) -> Store:
    # Not at the top: who uses the embedded store only need not have the driver installed.
    try:
        from toril._store.redis.net.address import Address
        from toril._store.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if error.name not in ("redis", "hiredis"):
            raise
        raise ConfigError(
            f"url={hide(url)!r} needs a driver that is not installed",
            field="url",
            value=hide(url),
            hint="pip install 'toril[redis]'",
        ) from error
    return RedisStore(Address.of(url), prefix)


def _sqlite(url: str, prefix: str) -> Store:
    rest, _, query = url.partition("://")[2].partition("?")
    if is_like_server(rest.lstrip("/")) or "@" in query:
        raise _refused(url, "it looks like the URL of a server")
    if rest in (MEMORY, f"/{MEMORY}", ""):
        if not rest:
            raise _refused(url, "it names no file")
        return SQLiteStore(MEMORY, synchronous=_synchronous(url, query))
    if not rest.startswith("/"):
        raise _refused(url, "a path follows three slashes, or four if it is absolute")
    path = rest[1:]
    if not path:
        raise _refused(url, "it names no file")
    return SQLiteStore(_own_file(path, prefix), synchronous=_synchronous(url, query))


def _own_file(path: str, prefix: str) -> str:
    if prefix == DEFAULT_PREFIX:
        return path
    file = Path(path)
    return str(file.with_name(f"{file.stem}-{prefix}{file.suffix}"))


def check_url(url: object) -> str:
    """Return a URL that is text.

    Raises   ConfigError: it is not, which names its type alone, for it may hold a password.
    """
    if not isinstance(url, str):
        raise ConfigError(
            f"url must be text, not {type(url).__name__}",
            field="url",
            value=type(url).__name__,
            hint="pass a URL or a path as text: str(path)",
        )
    text = str.__str__(url)
    if len(text) > MAX_TEXT:
        raise _refused(text, f"it has more than {MAX_TEXT:,} characters")
    if text.encode(errors="replace").decode() != text:
        raise _refused(text, "it is not valid Unicode text")
    return text


def check_prefix(prefix: str) -> None:
    """Check that a prefix can stand before the names of queues.

    Raises   ConfigError: it is empty, or has a character other than letters, digits, . _ - { }.
    """
    if not _PREFIX.fullmatch(prefix):
        shown = hide(prefix)
        raise ConfigError(
            f"prefix={shown!r} cannot stand before the names of queues",
            field="prefix",
            value=shown,
            hint='use letters, digits, ".", "_" and "-", such as "flash-cards"',
        )


def _synchronous(url: str, query: str) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name != "synchronous":
            guess = nearest(name, ["synchronous"])
            raise _refused(url, f"there is no setting {name!r}", guess)
    return options.get("synchronous", "full")


def _refused(url: str, reason: str, nearest: str | None = None) -> ConfigError:
    meant = f"did you mean {nearest!r}? " if nearest else ""
    return ConfigError(
        f"url={hide(url)!r}: {reason}",
        field="url",
        value=hide(url),
        hint=f"{meant}accepted: {_FORMS}",
    )
