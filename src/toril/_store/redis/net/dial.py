"""Connecting: by TCP, TLS or a unix socket, through Sentinels if need be, and introducing oneself.

Never here: keeping a connection, or what is called on it.
"""

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version

from toril._model.stored import whole
from toril._store.threads import in_thread, original
from toril.errors import ConfigError

from .address import Address, Tls, shown_host
from .faults import Fault, Kind, as_error, judge
from .resp import Connection, ConnectionLost, ErrorReply, Reply, Word

# A server that does not answer by then is not there.
CONNECT_S = 5.0
_SENTINEL_S = 1.0

Place = str | tuple[str, int]


async def dial(
    address: Address, *, node: tuple[str, int] | None = None, deadline: float | None = None
) -> Connection:
    """Connect and introduce oneself; `node` is the one meant in a cluster.

    Units    deadline in seconds: of each call, the address's own unless given.
    Raises   ConnectionLost: trying again may help. ConfigError: it will not.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            place = await _find(address, node)
            connection = await _open(address, place, deadline or address.socket_timeout)
            return await _greeted(connection, address)
    except TimeoutError:
        raise ConnectionLost(f"no answer in {CONNECT_S:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise as_error(judge(error), address, "connecting") from error
    except OSError as error:
        raise ConnectionLost(_reason(error)) from error


async def _find(address: Address, node: tuple[str, int] | None) -> Place:
    if address.path is not None:
        return address.path
    if address.service is None:
        return node or address.hosts[0]
    why = ConnectionLost("there are no Sentinels")
    for sentinel in address.hosts:
        try:
            async with asyncio.timeout(_SENTINEL_S):
                return await _ask_sentinel(address, sentinel)
        except TimeoutError:
            why = ConnectionLost(f"the Sentinel {shown_host(*sentinel)} does not answer")
        except ConnectionLost as error:
            why = error
    raise ConnectionLost(f"the Sentinels name no primary: {why}")


async def _ask_sentinel(address: Address, sentinel: tuple[str, int]) -> Place:
    """Ask a Sentinel which server is the primary now."""
    connection = await _open(address, sentinel, _SENTINEL_S)
    fault: Fault | None = None
    try:
        if address.sentinel_password is not None:
            name = () if address.sentinel_username is None else (address.sentinel_username,)
            await connection.ask("AUTH", *name, address.sentinel_password)
        found = await connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service or "")
    except ErrorReply as error:
        fault, found = judge(error), None
    finally:
        await connection.closed()
    if fault is not None:
        # Not as the cause: a server may repeat the password in it.
        if fault.kind is Kind.CONFIG:
            raise as_error(fault, address, "asking the Sentinels")
        raise ConnectionLost(address.scrub(fault.told))
    if found is None:
        raise ConnectionLost(f"{shown_host(*sentinel)} knows no service {address.service!r}")
    return str(found[0]), whole(found[1])


async def _open(address: Address, place: Place, deadline: float) -> Connection:
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(loop, deadline)

    if isinstance(place, str):
        _, made = await loop.create_unix_connection(connection, place)
        return made
    tls = None if address.tls is None else _context(address.tls)

    async def connect(host: str) -> Connection:
        name = place[0] if tls else None
        _, made = await loop.create_connection(
            connection, host, whole(place[1]), ssl=tls, server_hostname=name
        )
        return made

    try:
        *hosts, last = await _numbers(*place)
        for host in hosts:
            # A host may answer at only one of its addresses.
            with suppress(OSError):
                return await connect(host)
        return await connect(last)
    except UnicodeError:
        raise ConfigError(
            f"{address.shown}: this cannot be the name of a host",
            field="url",
            value=address.shown,
        ) from None
    except OSError as error:
        await asyncio.sleep(0)  # in which the transport of a failed handshake ends
        if isinstance(error, ssl.SSLCertVerificationError):
            raise
        raise ConnectionLost(f"{shown_host(*place)}: {_reason(error)}") from error


async def _numbers(host: str, port: int) -> list[str]:
    """Look up the addresses of a host, in a thread of its own.

    The loop's own threads refuse to work once the main thread has ended.
    """
    kind = socket.SOCK_STREAM
    look_up = original("socket", "getaddrinfo")
    try:
        found = look_up(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await in_thread(partial(look_up, host, port, type=kind))
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _reason(error: OSError) -> str:
    # asyncio's own text is "Connect call failed", whatever the reason was.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


@lru_cache(maxsize=16)
def _context(tls: Tls) -> ssl.SSLContext:
    return tls.context()


async def _greeted(connection: Connection, address: Address) -> Connection:
    """Say who we are, in one round trip, and see that it is the server that was meant."""
    known = False
    try:
        calls = _greeting(address)
        replies = [connection.call(*each) for each in calls]
        for call, coming in zip(calls, replies, strict=True):
            _accept(str(call[0]), await coming, address)
        if connection.lost is not None:
            raise ConnectionLost(connection.lost)
        known = True
        return connection
    finally:
        if not known:
            connection.abort("the handshake failed")


def _greeting(address: Address) -> list[tuple[Word, ...]]:
    calls: list[tuple[Word, ...]] = []
    if address.password is not None:
        name = () if address.username is None else (address.username,)
        calls.append(("AUTH", *name, address.password))
    if address.db:
        calls.append(("SELECT", address.db))
    if address.service is not None:
        calls.append(("ROLE",))
    # Servers before 7.2 do not know these, and a user may lack the right: they only help people.
    return [
        *calls,
        ("CLIENT", "SETINFO", "LIB-NAME", "toril"),
        ("CLIENT", "SETINFO", "LIB-VER", _version()),
    ]


def _accept(command: str, reply: Reply, address: Address) -> None:
    if isinstance(reply, ConnectionLost):
        raise reply
    if isinstance(reply, Exception):
        fault = judge(reply)
        if fault.passes:
            raise ConnectionLost(address.scrub(fault.told))
        if command != "CLIENT" or fault.text.startswith(("NOAUTH", "DENIED")):
            raise as_error(fault, address, "connecting")
    elif command == "ROLE" and reply[0] != "master":
        raise ConnectionLost("the Sentinels still name a server that is no primary any more")


@lru_cache(maxsize=1)
def _version() -> str:
    try:
        return version("toril")
    except PackageNotFoundError:
        return "0"
