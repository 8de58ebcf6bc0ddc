"""What redis-py is reported an address.

redis-py serves the heartbeat, which has a thread of its own. Its own tries are switched off: it
would send a change again that was carried out. Never here: judging its errors.
"""

from typing import Any
from weakref import WeakSet

from redis.backoff import NoBackoff
from redis.client import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from toril._store.forks import Forkable, follow_forks

from .address import Address

SENTINEL_S = 1.0
BLOCKING_S = 5.0

# What a call raises: the second is none of the first.
ERRORS = (RedisError, RedisClusterException, OSError)


def blocking_client(address: Address, timeout_s: float = BLOCKING_S) -> "Redis | RedisCluster":
    """Make a client whose calls block the thread this long; it connects at its first call."""
    settings: dict[str, Any] = _to_server(
        address, min(timeout_s, BLOCKING_S, address.socket_timeout)
    ) | {"retry": Retry(NoBackoff(), 0)}
    if address.cluster:
        # The client of a cluster greets the nodes itself, and calls this then.
        settings["redis_connect_func"] = _CONNECTIONS.all.add
        nodes = [ClusterNode(*each) for each in address.hosts]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **settings)
    settings["db"] = address.db
    if address.path is not None:
        return Redis(unix_socket_path=address.path, **settings)
    if address.service is not None:
        asked: dict[str, Any] = _to_sentinels(address) | {"retry": Retry(NoBackoff(), 0)}
        sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts), sentinel_kwargs=asked, **settings
        )
        primary: Redis = sentinels.master_for(address.service)
        return primary
    host, port = address.hosts[0]
    return Redis(host=host, port=port, **settings)


class _Connections(Forkable):
    """The connections of all clients, which a forked child leaves to its parent."""

    def __init__(self) -> None:
        self.all = WeakSet[Any]()
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Let go of the parent's sockets; in a child redis-py does that without a word."""
        for connection in list(self.all):
            connection.disconnect()
        self.all.clear()


_CONNECTIONS = _Connections()


def _greet(connection: Any) -> None:
    _CONNECTIONS.all.add(connection)
    connection.on_connect()


def _to_server(address: Address, timeout_s: float) -> dict[str, Any]:
    return _common(address) | {
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
    }


def _to_sentinels(address: Address) -> dict[str, Any]:
    return _common(address) | {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": SENTINEL_S,
        "socket_connect_timeout": SENTINEL_S,
    }


def _common(address: Address) -> dict[str, Any]:
    # RESP 2 does without HELLO, which old servers and narrow rights refuse.
    settings: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,
        "redis_connect_func": _greet,
    }
    if address.tls is not None:
        settings |= {
            "ssl": True,
            "ssl_ca_certs": address.tls.ca_certs,
            "ssl_certfile": address.tls.certfile,
            "ssl_keyfile": address.tls.keyfile,
            "ssl_check_hostname": address.tls.check_hostname and address.tls.verify,
            "ssl_cert_reqs": "required" if address.tls.verify else "none",
        }
    return settings
