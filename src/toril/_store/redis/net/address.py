"""From a URL to where a Redis or Valkey server is, and how to reach it.

Never here: reaching it.
"""

import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from toril._model.stored import whole
from toril._model.suggest import nearest
from toril._model.urls import scheme_of
from toril.errors import ConfigError

PORT = 6379
SENTINEL_PORT = 26379
SOCKET_TIMEOUT_S = 5.0

_SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_KNOWN = (
    *_SCHEMES,
    "unix",
    *(f"{each}+{kind}" for each in _SCHEMES for kind in ("sentinel", "cluster")),
)
_TLS_SETTINGS = (
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
)  # fmt: skip
_SENTINEL_SETTINGS = ("sentinel_username", "sentinel_password")
_FORMS = (
    "redis://user:password@host:6379/0, rediss://… with TLS, unix:///run/redis.sock?db=0, "
    "redis+sentinel://host:26379,host2:26379/service/0, redis+cluster://host:6379,host2:6379"
)
_ENCODE = "in a user name or password write @ : / ? # and % as %40 %3A %2F %3F %23 and %25"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:\s\"'`<>\\\\]*)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a TLS connection is checked; the files are paths of PEM files."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Make what the ssl module needs.

        Raises   ConfigError: a file cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_certs)
            if self.certfile is not None:
                context.load_cert_chain(self.certfile, self.keyfile)
        except OSError as error:
            files = ", ".join(each for each in (self.ca_certs, self.certfile, self.keyfile) if each)
            raise ConfigError(
                f"a TLS file cannot be used: {error.strerror or error}",
                field="url",
                value=files,
                hint="ssl_ca_certs, ssl_certfile and ssl_keyfile are paths of PEM files",
            ) from error
        context.check_hostname = self.check_hostname and self.verify
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and who we are to it.

    Shape    exactly one of: path (a unix socket); service (a name that the Sentinels at `hosts`
             know); cluster (hosts are some of its nodes); none of them (hosts is one server).
    Units    socket_timeout in seconds: how long one call may take.
    """

    scheme: str = "redis"
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    cluster: bool = False
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    socket_timeout: float = SOCKET_TIMEOUT_S

    @staticmethod
    def of(url: str) -> "Address":
        """Read a URL.

        Shape    redis:// rediss:// valkey:// valkeys:// unix:// and, of the first four, the forms
                 +sentinel and +cluster.
        Raises   ConfigError: no server can be where it says; it names nothing secret.
        """
        return _Parts(url).address()

    @property
    def user(self) -> str:
        """Say who we are to the server."""
        return self.username or "default"

    def scrub(self, text: str) -> str:
        """Return a text without the passwords: a server may repeat a command it does not know."""
        for secret in (self.password, self.sentinel_password):
            if secret:
                # It cuts what it repeats, and changes line ends.
                text = text.partition(", with args beginning with")[0].replace(secret, "***")
        return text

    @property
    def shown(self) -> str:
        """The URL without secrets, for people to read."""
        who = "***@" if self.password is not None or self.username is not None else ""
        if self.path is not None:
            return f"unix://{who}{self.path}" + (f"?db={self.db}" if self.db else "")
        place = ",".join(shown_host(host, port) for host, port in self.hosts)
        tail = "" if self.cluster else f"/{self.db}"
        service = "" if self.service is None else f"/{self.service}"
        return f"{self.scheme}://{who}{place}{service}{tail}"


def shown_host(host: str, port: int) -> str:
    """Write a host and port as they are in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Parts:
    """The pieces of one URL, each checked as it is read."""

    def __init__(self, url: str) -> None:
        self._scheme, _, rest = url.partition("://")
        self._scheme = self._scheme.lower()
        if self._scheme not in _KNOWN:
            if scheme_of(url) is None:
                self._scheme = "…"
            guess = nearest(self._scheme, _KNOWN)
            raise self._refused(f"no server is named by {self._scheme!r}", guess)
        self._colour, _, self._kind = self._scheme.partition("+")
        rest, _, query = rest.partition("?")
        self._users, _, rest = rest.rpartition("@")
        self._place, _, self._path = rest.partition("/")
        # A password that was not encoded may have been torn at its question mark.
        self._torn = "@" in query
        if (self._torn and not self._users) or any(each in self._users for each in "/#"):
            raise self._unreadable_user()
        self._settings = self._read_settings(query)

    def address(self) -> Address:
        service, db = self._service_and_db()
        username, password = self._credentials()
        return Address(
            scheme=self._scheme,
            hosts=() if self._scheme == "unix" else self._hosts(),
            path=self._socket() if self._scheme == "unix" else None,
            service=service,
            cluster=self._kind == "cluster",
            db=db,
            username=username,
            password=password,
            sentinel_username=self._settings.get("sentinel_username"),
            sentinel_password=self._settings.get("sentinel_password"),
            tls=self._tls() if _SCHEMES.get(self._colour) else None,
            socket_timeout=self._timeout(),
        )

    def _allowed(self) -> list[str]:
        names = ["db", "socket_timeout"]
        if _SCHEMES.get(self._colour):
            names += _TLS_SETTINGS
        if self._kind == "sentinel":
            names += _SENTINEL_SETTINGS
        return names

    def _read_settings(self, query: str) -> dict[str, str]:
        settings = dict(parse_qsl(query, keep_blank_values=True))
        allowed = self._allowed()
        for name in settings:
            if name in allowed:
                continue
            if self._torn:
                raise self._unreadable_user()
            if name in _TLS_SETTINGS:
                raise self._refused(f"{name} needs TLS", hint="write rediss:// or valkeys://")
            guess = nearest(name, allowed)
            raise self._refused(
                f"there is no setting {name!r}", guess, hint=f"there are {', '.join(allowed)}"
            )
        return settings

    def _credentials(self) -> tuple[str | None, str | None]:
        if not self._users:
            return None, None
        name, colon, password = self._users.partition(":")
        # A user without a password is one that needs none; AUTH wants something all the same.
        return unquote(name) or None, unquote(password) if colon or name else None

    def _hosts(self) -> tuple[tuple[str, int], ...]:
        places = self._place.split(",")
        if len(places) > 1 and not self._kind:
            raise self._refused(
                "one server has one host", hint="write redis+cluster:// or redis+sentinel://"
            )
        return tuple(self._host(each) for each in places)

    def _host(self, place: str) -> tuple[str, int]:
        found = _HOST.fullmatch(place)
        if found is None:
            raise self._refused("a host cannot be read", hint="IPv6 stands in [ ]")
        host, port = found.group(1).strip("[]"), found.group(2)
        usual = SENTINEL_PORT if self._kind == "sentinel" else PORT
        if not port:
            return host or "localhost", usual
        # Not told: where a password was not written as it should be, this is a piece of it.
        if not port.isascii() or not port.isdigit() or not 0 < whole(port) < 65536:
            raise self._refused("the port is not a number from 1 to 65535", hint=_ENCODE)
        return host or "localhost", whole(port)

    def _socket(self) -> str:
        path = unquote(f"{self._place}/{self._path}")
        if not path.startswith("/") or path == "/":
            raise self._refused(
                "a socket's path is absolute", hint="such as unix:///run/redis/redis.sock"
            )
        return path

    def _service_and_db(self) -> tuple[str | None, int]:
        if self._scheme == "unix":
            return None, self._db("")
        path = self._path.rstrip("/")
        if self._kind == "sentinel":
            service, _, number = path.partition("/")
            if not service:
                raise self._refused(
                    "it names no service", hint="such as redis+sentinel://host:26379/mymaster"
                )
            return unquote(service), self._db(number)
        db = self._db(path)
        if self._kind == "cluster" and db:
            raise self._refused("a cluster has no database but 0")
        return None, db

    def _db(self, path: str) -> int:
        if path and "db" in self._settings:
            raise self._refused("the database is named twice", hint="in the path or as ?db=")
        text = path or self._settings.get("db", "0")
        if not text.isascii() or not text.isdigit():
            raise self._refused("the database is not a number", hint=_ENCODE)
        return whole(text)

    def _timeout(self) -> float:
        text = self._settings.get("socket_timeout", str(SOCKET_TIMEOUT_S))
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise self._refused(
                f"socket_timeout={self._value(text)} is not a number of seconds above 0"
            )
        return seconds

    def _tls(self) -> Tls:
        needs = self._settings.get("ssl_cert_reqs", "required")
        if needs not in ("required", "none"):
            raise self._refused(f"ssl_cert_reqs={self._value(needs)} is not one of required, none")
        if "ssl_keyfile" in self._settings and "ssl_certfile" not in self._settings:
            raise self._refused("ssl_keyfile needs ssl_certfile beside it")
        return Tls(
            ca_certs=self._settings.get("ssl_ca_certs"),
            certfile=self._settings.get("ssl_certfile"),
            keyfile=self._settings.get("ssl_keyfile"),
            check_hostname=self._yes("ssl_check_hostname"),
            verify=needs == "required",
        )

    def _yes(self, name: str) -> bool:
        text = self._settings.get(name, "true").lower()
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise self._refused(f"{name}={self._value(text)} is not true or false")
        return text in ("true", "1", "yes")

    def _unreadable_user(self) -> ConfigError:
        return self._refused("the user name or password cannot be read", hint=_ENCODE)

    def _value(self, text: str) -> str:
        """Return the value of a setting as errors show it: not where it may be of a password."""
        return "…" if self._torn else repr(text)

    def _refused(
        self, reason: str, guess: str | None = None, hint: str | None = None
    ) -> ConfigError:
        meant = f"did you mean {guess!r}? " if guess else ""
        return ConfigError(
            f"url={self._scheme}://…: {reason}",
            field="url",
            value=f"{self._scheme}://…",
            hint=f"{meant}{hint or f'accepted: {_FORMS}'}",
        )
