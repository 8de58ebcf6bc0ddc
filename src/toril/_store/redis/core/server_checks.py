"""What a server is, and what about it endangers jobs: looked at once, after connecting.

Never here: telling it (whoever opened the link does).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from toril._store.redis.net.address import Address
from toril._store.redis.net.client import RedisClient
from toril.errors import ConfigError, StoreError

Version = tuple[int, int, int]

OLDEST: Version = (6, 2, 0)
OLDEST_SYNCING: Version = (7, 2, 0)

# Per series the first release that has the fixes of CVE-2024-46981 and CVE-2025-49844: whoever
# may run a script can run code on the server. A series that is not here and is older than the
# newest one gets no more fixes.
SAFE_REDIS: dict[tuple[int, int], int] = {
    (6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2,
}  # fmt: skip
SAFE_VALKEY: dict[tuple[int, int], int] = {(7, 2): 11, (8, 0): 6, (8, 1): 4}
HOLES = "CVE-2024-46981 and CVE-2025-49844"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that works, and may cost jobs one day; `message` says what to do."""

    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What answers: its kind (redis, valkey, dragonfly) and version, None where it is not told."""

    kind: str
    version: Version | None
    notices: tuple[Notice, ...] = ()

    @property
    def shown(self) -> str:
        """Name it, for people to read."""
        name = self.kind.capitalize()
        return name if self.version is None else f"{name} {_dotted(self.version)}"


async def inspect(link: RedisClient) -> ServerInfo:
    """Look at the server behind a link.

    Raises   ConfigError: it is too old, or a cluster or Sentinel that the URL does not name so.
             StoreUnavailable.
    """
    try:
        info = read_info(str(await link.read("INFO")))
    except ConfigError:
        unseen = Notice(
            name="store.unchecked",
            message=f"{link.address.shown}: user {link.address.user!r} may not run INFO, so the "
            "server's version and settings were not checked: allow it with "
            f"ACL SETUSER {link.address.user} +info",
        )
        return ServerInfo(kind="redis", version=None, notices=(unseen,))
    return judge_server(link.address, info, await _saves(link))


async def check_syncing(link: RedisClient) -> None:
    """Check that a server can say when its append-only file is synced.

    Raises   ConfigError: it cannot. StoreUnavailable.
    """
    try:
        info = read_info(str(await link.read("INFO")))
    except ConfigError:
        return  # WAITAOF itself will say so
    judge_syncing(link.address, info)


def judge_syncing(address: Address, info: Mapping[str, str]) -> None:
    """Check the same by what a server tells of itself.

    Raises   ConfigError.
    """
    kind, version = _kind_and_version(info)
    if kind == "redis" and version is not None and version < OLDEST_SYNCING:
        problem = f"is {ServerInfo(kind=kind, version=version).shown}, which has no WAITAOF"
        hint = f'upgrade it to Redis {_dotted(OLDEST_SYNCING)} or Valkey, or ask for "replica"'
    elif info.get("aof_enabled") == "0":
        problem, hint = "writes no append-only file", "set appendonly yes on it"
    else:
        return
    raise ConfigError(
        f'durable="aof" cannot be confirmed: {address.shown} {problem}',
        field="durable",
        value="aof",
        hint=hint,
    )


def read_info(text: str) -> dict[str, str]:
    """Read what INFO says."""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip() for name, colon, value in pairs if colon}


def judge_server(address: Address, info: Mapping[str, str], saves: bool | None) -> ServerInfo:
    """Return what a server is, and what to beware of.

    Shape    saves: whether it writes snapshots; None if that is not known.
    Raises   ConfigError: it cannot be used.
    """
    kind, version = _kind_and_version(info)
    # Valkey calls it by another name.
    _refuse_wrong_mode(address, info.get("redis_mode", info.get("server_mode", "standalone")))
    known = ServerInfo(kind=kind, version=version)
    if version is not None and kind == "redis" and version < OLDEST:
        raise ConfigError(
            f"{address.shown} is {known.shown}, and {_dotted(OLDEST)} is the oldest supported version",
            field="url",
            value=address.shown,
            hint="upgrade the server to a release of today: Redis 7.2 or later, or Valkey",
        )
    found = (
        _vulnerable(address, known),
        _evicting(address, info),
        _forgetting(address, info, saves),
    )
    notices = tuple(notice for notice in found if notice is not None)
    return ServerInfo(kind=kind, version=version, notices=notices)


def _kind_and_version(info: Mapping[str, str]) -> tuple[str, Version | None]:
    for kind in ("valkey", "dragonfly", "redis"):
        # Valkey and Dragonfly tell the version of the Redis that they are like as well.
        numbers = re.match(r"\D*(\d+)\.(\d+)(?:\.(\d+))?", info.get(f"{kind}_version", ""))
        if numbers:
            major, minor, patch = numbers.groups(default="0")
            return kind, (int(major), int(minor), int(patch))
    return "redis", None


def _refuse_wrong_mode(address: Address, mode: str) -> None:
    if mode == "sentinel":
        wrong, form = "a Sentinel", "redis+sentinel://host:26379/service"
    elif mode == "cluster" and not address.cluster:
        wrong, form = "a node of a cluster", "redis+cluster://host:6379"
    else:
        return
    raise ConfigError(
        f"{address.shown} is {wrong}", field="url", value=address.shown, hint=f"write {form}"
    )


def _vulnerable(address: Address, server: ServerInfo) -> Notice | None:
    safe = {"redis": SAFE_REDIS, "valkey": SAFE_VALKEY}.get(server.kind)
    if safe is None or server.version is None:
        return None
    series, patch = server.version[:2], server.version[2]
    if series > max(safe) or patch >= safe.get(series, 1 << 31):
        return None
    # Its own series, or the next one if that gets no more fixes.
    fixed = min(each for each in safe if each >= series)
    return Notice(
        name="store.vulnerable",
        message=f"{address.shown} is {server.shown}: whoever may run a script can take it over "
        f"({HOLES}); upgrade to {_dotted((*fixed, safe[fixed]))} or later, unless your distribution has "
        "put the fixes into its own package",
    )


def _evicting(address: Address, info: Mapping[str, str]) -> Notice | None:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return Notice(
        name="store.evicts",
        message=f"{address.shown} has maxmemory-policy {policy}: it throws jobs away when its "
        "memory is full; set it to noeviction",
    )


def _forgetting(address: Address, info: Mapping[str, str], saves: bool | None) -> Notice | None:
    if info.get("aof_enabled", "1") != "0" or saves is not False:
        return None
    return Notice(
        name="store.forgets",
        message=f"{address.shown} writes nothing to disk: a restart loses every job; set "
        "appendonly yes (and appendfsync everysec, or always)",
    )


async def _saves(link: RedisClient) -> bool | None:
    """Return whether snapshots are written; hosted servers and narrow rights may not tell."""
    try:
        reply = await link.read("CONFIG", "GET", "save")
    except (ConfigError, StoreError):
        return None
    return bool(reply[1]) if len(reply) == 2 else None


def _dotted(version: Version) -> str:
    return ".".join(str(number) for number in version)
