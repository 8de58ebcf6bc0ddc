"""Who may see and do what: `Access`, and ready functions that tell it from a request.

Never here: which request needs what (routes).
"""

import base64
import hmac
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from toril import ConfigError

PERMISSIONS = (
    "view", "retry", "cancel", "delete", "edit", "enqueue", "pause", "limits", "schedules",
    "workers", "reveal", "audit",
)  # fmt: skip
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": frozenset(["view"]),
    "operator": frozenset(PERMISSIONS) - {"reveal", "limits"},
    "admin": frozenset(PERMISSIONS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one user of the dashboard may see and do.

    Args:
        user: The name for the audit log.
        permissions: Names of permissions, or a role: "viewer", "operator" or "admin".
        queues: The only queues that the user may see and change; None: all.

    Raises:
        ConfigError: There is no such permission or role.

    Example:
        ```python
        Access(user="ann", permissions="operator", queues=["emails"])
        ```
    """

    user: str
    permissions: str | Collection[str] = "viewer"
    queues: Collection[str] | None = None

    def __post_init__(self) -> None:
        given = self.permissions
        if isinstance(given, str):
            if given not in ROLES:
                raise ConfigError(
                    f"permissions={given!r} is not a role",
                    field="permissions",
                    value=given,
                    hint=f"roles: {', '.join(ROLES)}; or pass a list of permissions",
                )
            found = ROLES[given]
        else:
            found = frozenset(given)
        for name in found:
            if name not in PERMISSIONS:
                raise ConfigError(
                    f"there is no permission {name!r}",
                    field="permissions",
                    value=name,
                    hint=f"permissions: {', '.join(PERMISSIONS)}",
                )
        object.__setattr__(self, "permissions", found)
        if isinstance(self.queues, str):
            raise ConfigError(
                f"queues={self.queues!r} must be a list of names",
                field="queues",
                value=self.queues,
                hint=f"write queues=[{self.queues!r}]",
            )
        if self.queues is not None:
            object.__setattr__(self, "queues", frozenset(self.queues))

    def may(self, permission: str) -> bool:
        """Return whether the user has this permission."""
        return permission in self.permissions

    def sees(self, queue: str) -> bool:
        """Return whether the user may see this queue."""
        return self.queues is None or queue in self.queues

    @property
    def read_only(self) -> bool:
        """Whether the user may change nothing."""
        return not set(self.permissions) - {"view", "reveal", "audit"}


Auth = Callable[[Request], "Access | Awaitable[Access | None] | None"]

READ_ONLY = Access(user="anonymous")
LOCAL = Access(user="local", permissions="admin")


async def ask(auth: Auth | None, request: Request) -> Access | None:
    """Return the access of a request; without `auth` everybody may look, and nothing else."""
    if auth is None:
        return READ_ONLY
    found: Any = auth(request)
    if inspect.isawaitable(found):
        found = await found
    if found is not None and not isinstance(found, Access):
        raise ConfigError(
            f"auth returned {type(found).__name__}, not Access or None",
            field="auth",
            value=type(found).__name__,
            hint='return toril.dashboard.Access(user="ann", permissions="operator")',
        )
    return found


def basic_auth(users: Mapping[str, str], access: Access | None = None) -> Auth:
    """Return an `auth` that asks for a name and a password.

    Args:
        users: Passwords by user name.
        access: What these users may do; None: everything, under their own names.
    """
    _check_secrets(users.values())

    def check(request: Request) -> Access | None:
        kind, _, code = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(code, validate=True).decode().partition(":")
        except ValueError:
            return None
        # Compared for unknown names too, so that the time tells nobody which names exist.
        expected = users.get(name, "")
        same = hmac.compare_digest(expected.encode(), password.encode())
        if not (same and name in users):
            return None
        return _named(name, access)

    check.challenge = 'Basic realm="toril", charset="UTF-8"'  # type: ignore[attr-defined]
    return check


def bearer_token(tokens: Mapping[str, Access] | str) -> Auth:
    """Return an `auth` for programs that send `Authorization: Bearer <token>`.

    Args:
        tokens: What each token may do; or one token that may do everything.
    """
    known = {tokens: LOCAL} if isinstance(tokens, str) else dict(tokens)
    _check_secrets(known)

    def check(request: Request) -> Access | None:
        given = token_of(request)
        if given is None:
            return None
        found: Access | None = None
        for token, access in known.items():
            if hmac.compare_digest(token.encode(), given.encode()):
                found = access
        return found

    check.challenge = "Bearer"  # type: ignore[attr-defined]
    return check


def header_user(header: str = "X-Forwarded-User", access: Access | None = None) -> Auth:
    """Return an `auth` for a server behind a proxy that signs users in and names them in a header.

    The proxy must remove this header from what clients send.
    """

    def check(request: Request) -> Access | None:
        name = request.headers.get(header, "").strip()
        return _named(name, access) if name else None

    return check


def any_of(*checks: Auth) -> Auth:
    """Return an `auth` that takes the first of these that knows the request."""

    async def check(request: Request) -> Access | None:
        for each in checks:
            found = await ask(each, request)
            if found is not None:
                return found
        return None

    challenges = [getattr(each, "challenge", None) for each in checks]
    check.challenge = next((text for text in challenges if text), None)  # type: ignore[attr-defined]
    return check


def token_of(request: Request) -> str | None:
    """Return the bearer token that a request carries."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def _named(name: str, access: Access | None) -> Access:
    if access is None:
        return Access(user=name, permissions="admin")
    return Access(user=name, permissions=access.permissions, queues=access.queues)


def _check_secrets(secrets: Collection[str]) -> None:
    for secret in secrets:
        if not secret:
            raise ConfigError(
                "a password or token is empty", field="auth", hint="choose one of 12 characters"
            )
