"""What went wrong, and what is to be done about it: one table, from the first word of an error.

Never here: doing it.
"""

import re
import ssl
from dataclasses import dataclass, replace
from enum import Enum

import hiredis
import redis.exceptions as driver

from toril.errors import (
    ConfigError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

from .address import Address
from .resp import ConnectionLost, Oversized, Unsendable


class Kind(Enum):
    """What is to be done about a fault."""

    PASSING = "send again"
    RECONNECT = "find the server again, and send again"
    MOVED = "send to another node, now and from now on"
    ASK = "send to another node, once"
    NO_SCRIPT = "send the text of the script"
    FULL = "make room"
    CONFIG = "change a setting"
    DAMAGE = "repair the data"
    VALUE = "change what is sent"
    SCRIPT = "fix the script"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: what to do, what was said, and what that means to a person.

    Shape    maybe_done: what was asked may have been carried out all the same.
    """

    kind: Kind
    text: str
    meaning: str = ""
    maybe_done: bool = False

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed before long."""
        return self.kind in (Kind.PASSING, Kind.RECONNECT)

    @property
    def told(self) -> str:
        """What happened, for people to read."""
        return f"{self.meaning} ({self.text})" if self.meaning else self.text


TOO_LONG = "a value is larger than the server takes (its proto-max-bulk-len)"

# The first word of an error reply.
WORDS: dict[str, tuple[Kind, str]] = {
    "BUSY": (Kind.PASSING, "a script keeps the server busy"),
    "LOADING": (Kind.PASSING, "the server is still loading its data"),
    "TRYAGAIN": (Kind.PASSING, "the cluster is moving these keys"),
    "CLUSTERDOWN": (Kind.PASSING, "a part of the cluster is down"),
    "NOREPLICAS": (Kind.PASSING, "too few replicas are connected"),
    "UNBLOCKED": (Kind.PASSING, "the server ended the wait"),
    "MISCONF": (Kind.PASSING, "the server cannot write to its disk and refuses changes"),
    "MASTERDOWN": (Kind.RECONNECT, "this is a replica that has lost its primary"),
    "READONLY": (Kind.RECONNECT, "this is a replica, which takes no changes"),
    "MOVED": (Kind.MOVED, "the server is a node of a cluster: write redis+cluster:// in the URL"),
    "ASK": (Kind.ASK, "the server is a node of a cluster: write redis+cluster:// in the URL"),
    "NOSCRIPT": (Kind.NO_SCRIPT, "the server forgot the script"),
    "OOM": (Kind.FULL, "the server has reached its maxmemory: raise it, or remove finished jobs"),
    "NOAUTH": (Kind.CONFIG, "the server wants a password: redis://user:password@host"),
    "WRONGPASS": (Kind.CONFIG, "the user name or password is wrong, or the user is disabled"),
    "NOPERM": (Kind.CONFIG, "a right is missing"),
    "DENIED": (Kind.CONFIG, "protected mode lets nobody in from outside: set a password there"),
    "CROSSSLOT": (Kind.CONFIG, "these keys are on different nodes: put a hash tag in the prefix"),
    "WRONGTYPE": (Kind.DAMAGE, "a key of the queue holds another kind of value"),
}

# Errors without a word of their own, by what is in their text.
PHRASES: tuple[tuple[str, Kind, str], ...] = (
    ("max number of clients reached", Kind.PASSING, "the server has all the clients it allows"),
    ("Script killed by user", Kind.PASSING, "somebody ended the script with SCRIPT KILL"),
    ("Client sent AUTH, but no password", Kind.CONFIG, "the server has no password, the URL does"),
    ("without any password configured", Kind.CONFIG, "the server has no password, the URL does"),
    ("invalid password", Kind.CONFIG, "the password is wrong"),
    ("DB index is out of range", Kind.CONFIG, "there is no database of this number"),
    ("SELECT is not allowed", Kind.CONFIG, "a cluster has no database but 0"),
    ("executing the script can't", Kind.CONFIG, "a right is missing"),
    ("ACL failure in script", Kind.CONFIG, "a right is missing"),
    (
        "cluster support disabled",
        Kind.CONFIG,
        "the server is no cluster: write redis:// in the URL",
    ),
    ("map to the same key slot", Kind.CONFIG, "these keys are on different nodes: use a hash tag"),
    # The keys that a call names are in one slot: others of it are missing while the slot moves.
    ("non local key", Kind.PASSING, "the cluster is moving these keys"),
    ("invalid bulk length", Kind.VALUE, TOO_LONG),
    ("unknown command", Kind.CONFIG, "the server does not offer this command"),
)

# What redis-py raises: it takes the first word of these off.
CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (driver.BusyLoadingError, "LOADING"),
    (driver.ReadOnlyError, "READONLY"),
    (driver.OutOfMemoryError, "OOM"),
    (driver.NoPermissionError, "NOPERM"),
    (driver.AuthenticationError, "WRONGPASS"),
    (driver.NoScriptError, "NOSCRIPT"),
    (driver.MasterDownError, "MASTERDOWN"),  # before the class that it is one of
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.ClusterCrossSlotError, "CROSSSLOT"),
)

# How a script answers for one group that failed while the others went on (`lib/alone.lua`).
GROUP_FAULT = "fault "

# Redis 6 puts an error inside a script behind words of its own.
_INSIDE = re.compile(r"Error running script.*?: -?([A-Z]{3,}) ")
_RIGHT = re.compile(r"to run the '([^']+)'")
_LOST = (ConnectionLost, OSError, driver.ConnectionError, driver.TimeoutError, TimeoutError)


def judge(error: BaseException) -> Fault:
    """Return what an error reply or an exception of the network means.

    Raises   the error itself: it is not one that a server or the network makes.
    """
    text = str(error) or repr(error)
    if isinstance(error, hiredis.ReplyError):
        return _replied(text)
    if isinstance(error, Oversized):
        return Fault(Kind.VALUE, text, TOO_LONG)
    if isinstance(error, Unsendable):
        return Fault(Kind.VALUE, text, "a value is not text that can be encoded as UTF-8")
    for kind, word in CLASSES:
        if isinstance(error, kind):
            return _replied(text if text.startswith(word) else f"{word} {text}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(Kind.CONFIG, text, "the server's certificate is not trusted: ssl_ca_certs")
    if isinstance(error, ssl.SSLError):
        return Fault(Kind.RECONNECT, text, "no TLS with this server", maybe_done=True)
    if isinstance(error, driver.RedisClusterException):
        # Its one class for everything: no node that it knows could be reached, or the keys.
        fault = _replied(text)
        return fault if fault.kind is Kind.CONFIG else Fault(Kind.RECONNECT, text, maybe_done=True)
    if isinstance(error, _LOST):
        sent = error.sent if isinstance(error, ConnectionLost) else True
        return Fault(Kind.RECONNECT, text, maybe_done=sent)
    if isinstance(error, driver.RedisError):
        return _replied(text)
    raise error


def _replied(text: str) -> Fault:
    inside = _INSIDE.search(text)
    # A script that raises an error again has the server put ERR in front of it.
    word = inside[1] if inside else text.lstrip("-").removeprefix("ERR ").partition(" ")[0]
    if word in WORDS:
        kind, meaning = WORDS[word]
        return Fault(kind, text, meaning)
    for phrase, kind, meaning in PHRASES:
        if phrase in text:
            return Fault(kind, text, meaning)
    return Fault(Kind.SCRIPT, text)


def as_error(fault: Fault, address: Address, what: str, keys: str = "") -> StoreError | ConfigError:
    """Make what is raised about a fault that does not pass, or passed too late.

    Shape    what: the verb or command; keys: those that it was given, where that helps.
    """
    where = address.shown
    fault = replace(fault, text=address.scrub(fault.text))
    if fault.kind is Kind.FULL:
        return StoreFull(f"{where}: {what}: {fault.told}")
    if fault.kind is Kind.DAMAGE:
        among = f"; it is one of those of {keys}" if keys else ""
        return StoreCorrupt(f"{where}: {what}: {fault.told}{among}")
    if fault.kind in (Kind.CONFIG, Kind.MOVED, Kind.ASK):
        return _config(fault, address, what)
    if fault.kind is Kind.VALUE:
        return StoreRefused(f"{where}: {what}: {fault.told}: nothing was stored")
    if fault.passes:
        return StoreUnavailable(f"{where}: {what}: {fault.told}")
    return StoreError(f"{where}: {what}: {fault.told}")


def answered(text: str) -> Fault | None:
    """Return what an error means that a script gave as the answer of one group; None: no error."""
    return _replied(text.removeprefix(GROUP_FAULT)) if text.startswith(GROUP_FAULT) else None


def _config(fault: Fault, address: Address, what: str) -> ConfigError:
    hint = None
    if fault.meaning == WORDS["NOPERM"][1]:
        hint = _missing(fault.text, address.user)
    elif fault.meaning == WORDS["WRONGPASS"][1]:
        hint = f"it was tried as user {address.user!r}"
    return ConfigError(
        f"{address.shown}: {what}: {fault.told}", field="url", value=address.shown, hint=hint
    )


def _missing(text: str, user: str) -> str:
    """Return how to give a user the right that an error found missing."""
    command = _RIGHT.search(text)
    if command is not None:
        return f"give it with: ACL SETUSER {user} +{command[1]}"
    if "key" in text:
        return f"user {user!r} may not use these keys; give them with: ACL SETUSER {user} ~bull:*"
    return f"user {user!r} may not run a command of the script; see ACL LOG on the server"
