"""Redis servers for the tests: real ones, on loopback, of this test run and ended with it.

A server is ended by the id that was started here, also when the test run is killed. Where there
is no redis-server, tests that need one are skipped at home and fail where `CI` is set.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest
import redis
import trustme

HOST = "127.0.0.1"
READY_S = 15.0
# Below the range that clients are given (32768 and up): neither takes a client the port of a
# server that is down for a while, nor can a client meet itself on a port where nobody listens.
PORTS = range(20_000, 32_000)
_GUARD = 'read -r _ || { kill -9 "$1"; rm -rf "$2"; }'
_ENDED = (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)


def missing(what: str) -> None:
    """Skip the test at home, fail it where everything has to be there."""
    text = f"{what} is not installed. On Debian and Ubuntu: apt install redis-server"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def servers_here() -> list[str]:
    """Name the programs that the tests can be run against; valkey only where it is installed."""
    return ["redis-server"] + [name for name in ("valkey-server",) if shutil.which(name)]


def fresh_prefix(*, tag: bool = False) -> str:
    """Give a prefix that nobody else uses; with a hash tag all of its keys are in one slot."""
    name = f"t{uuid.uuid4().hex[:12]}"
    return f"{{{name}}}" if tag else name


def free_port() -> int:
    """Give a port that nobody listens on at the moment."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as trial:
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return port


def until(look: Callable[[], object], *, within: float = READY_S, what: str = "it") -> None:
    """Look again and again until there is something."""
    deadline = time.monotonic() + within
    while not look():
        assert time.monotonic() < deadline, f"waited {within:g} s for {what} in vain"
        time.sleep(0.01)


class Child:
    """A process that ends with the test run, however that ends.

    Next to it waits a shell that reads from us: an end of file without a word means that we are
    gone, and it ends the process and removes the folder of its output. (PR_SET_PDEATHSIG would
    do so when a mere thread ends.)
    """

    def __init__(self, command: Sequence[str], output: Path) -> None:
        with output.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.process.pid), str(output.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, *, at_once: bool = False) -> int:
        """End it by SIGTERM, or by SIGKILL at once; wait until it is gone."""
        self._guard.communicate(b"over\n")  # first: its id may be somebody else's afterwards
        self.signal(signal.SIGCONT)
        for number, patience in _ENDED[1:] if at_once else _ENDED:
            self.signal(number)
            try:
                return self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"process {self.pid} did not end by SIGKILL")


class _Started(ABC):
    """What runs inside of a with-statement, and leaves nothing behind where its start fails."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class RedisServer(_Started):
    """One server with a folder and a port of its own, which it keeps over restarts.

    Shape    appendonly: what was written survives a restart. password: of the default user.
             acl: lines of an ACL file ("user toril on >secret ~bull:* +@all"). tls: the port
             speaks TLS only, `authority` issued its certificate. unix: `socket` answers too.
             debug: DEBUG is allowed. options: more settings, "maxmemory-policy" or
             "maxmemory_policy". program: redis-server or valkey-server.
    """

    def __init__(
        self,
        *,
        program: str = "redis-server",
        appendonly: bool = False,
        password: str | None = None,
        acl: Sequence[str] = (),
        tls: bool = False,
        unix: bool = False,
        **options: object,
    ) -> None:
        if shutil.which(program) is None:
            missing(program)
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="toril-redis-"))
        self.port = free_port()
        self.password = password
        self.socket = self.folder / "redis.sock" if unix else None
        self.authority = trustme.CA() if tls else None
        self._settings: list[tuple[str, ...]] = [
            ("bind", HOST),
            ("dir", str(self.folder)),
            ("save", ""),
            ("appendonly", "yes" if appendonly else "no"),
            ("daemonize", "no"),
        ]
        self._settings += [(name.replace("_", "-"), str(value)) for name, value in options.items()]
        if acl:
            self._settings.append(("aclfile", str(self._acl_file(acl))))
        elif password is not None:
            self._settings.append(("requirepass", password))
        if self.socket:
            self._settings.append(("unixsocket", str(self.socket)))
        self._settings += self._listening()
        self._child: Child | None = None

    def __repr__(self) -> str:
        return f"<{self.program} on port {self.port} in {self.folder}>"

    def _acl_file(self, lines: Sequence[str]) -> Path:
        digest = sha256((self.password or "").encode()).hexdigest()
        default = f"#{digest}" if self.password is not None else "nopass"
        file = self.folder / "users.acl"
        own = [f"user default on {default} ~* &* +@all"]
        file.write_text("\n".join([*own, *lines]) + "\n")
        return file

    def _listening(self) -> list[tuple[str, ...]]:
        if self.authority is None:
            return [("port", str(self.port))]
        certificate, key = self.folder / "server.pem", self.folder / "server.key"
        issued = self.authority.issue_cert(HOST, "localhost")
        for link in issued.cert_chain_pems:
            link.write_to_path(certificate, append=True)
        issued.private_key_pem.write_to_path(key)
        self.authority.cert_pem.write_to_path(self.folder / "ca.pem")
        return [
            ("port", "0"),
            ("tls-port", str(self.port)),
            ("tls-cert-file", str(certificate)),
            ("tls-key-file", str(key)),
            ("tls-ca-cert-file", str(self.folder / "ca.pem")),
            ("tls-auth-clients", "no"),
        ]

    # Where it is.

    @property
    def url(self) -> str:
        """Name the server as the default user would."""
        return self.url_of(password=self.password)

    def url_of(self, user: str = "", password: str | None = None, *, port: int = 0) -> str:
        """Name the server as this user would; with a port, through a proxy that is there."""
        named = f"{quote(user, safe='')}:{quote(password or '', safe='')}@"
        who = named if password is not None else ""
        scheme = "rediss" if self.authority else "redis"
        return f"{scheme}://{who}{HOST}:{port or self.port}/0"

    @property
    def authority_file(self) -> Path:
        """Give the file with the certificate to trust."""
        return self.folder / "ca.pem"

    def client(self, **options: Any) -> "redis.Redis":
        """Make a blocking client of the default user, which tries everything once."""
        if self.authority:
            options |= {"ssl": True, "ssl_ca_certs": str(self.authority_file)}
        settings: dict[str, Any] = {
            "host": HOST,
            "port": self.port,
            "password": self.password,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "retry": None,
            "decode_responses": True,
        }
        return redis.Redis(**settings | options)

    def call(self, *command: Any, patience: float = 5) -> Any:
        """Send one command on a connection of its own; the answer is as RESP2 has it."""
        with self.client(socket_timeout=patience, protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    @property
    def log(self) -> str:
        """Give what the server said so far."""
        return (self.folder / "server.log").read_text("utf-8", "replace")

    # Its life.

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.runs

    @property
    def pid(self) -> int:
        assert self._child is not None, "it was not started"
        return self._child.pid

    def start(self, *, ready: bool = True) -> Self:
        """Start it on its port; with `ready`, wait until it answers and has loaded what it kept."""
        assert not self.runs, "it runs already"
        file = self.folder / "server.conf"
        file.write_text("".join(f"{name} {_quoted(values)}\n" for name, *values in self._settings))
        self._child = Child([self.program, str(file)], self.folder / "server.log")
        if ready:
            until(self._answers, what=f"an answer of {self!r}")
        return self

    def _answers(self) -> bool:
        assert self.runs, f"{self!r} ended as it started:\n{self.log[-2000:]}"
        try:
            return bool(self.call("PING", patience=1) == "PONG")
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def kill(self) -> None:
        """Kill -9 it: only what reached its append-only file survives."""
        self._end(at_once=True)

    def stop(self) -> None:
        """End it in good order; a server that is not running stays so."""
        self._end(at_once=False)

    def _end(self, *, at_once: bool) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(at_once=at_once)

    def restart(self, *, kill: bool = False) -> Self:
        """End it, in good order or not, and start it again on its port."""
        self._end(at_once=kill)
        return self.start()

    def pause(self) -> None:
        """Let it stand still (SIGSTOP): connections stay, nothing is answered."""
        assert self._child is not None, "it was not started"
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None, "it was not started"
        self._child.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove what it wrote."""
        self._end(at_once=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _quoted(values: Sequence[str]) -> str:
    """Write values as a configuration file has them: an empty one needs its quotes."""
    return " ".join(value if value and " " not in value else f'"{value}"' for value in values)


@cache
def shared_server(program: str = "redis-server") -> RedisServer:
    """Give this process its server for tests that only need a fresh prefix; it keeps nothing."""
    server = RedisServer(program=program)
    atexit.register(server.close)
    return server.__enter__()


class RedisCluster(_Started):
    """Three primaries that share the slots."""

    def __init__(self, *, program: str = "redis-server", size: int = 3) -> None:
        self._buses = [free_port() for _ in range(size)]
        self.nodes = [
            RedisServer(
                program=program,
                cluster_enabled="yes",
                cluster_port=bus,
                cluster_node_timeout=2000,
            )
            for bus in self._buses
        ]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    @property
    def slots(self) -> list[tuple[int, int]]:
        """Give the first and the last slot of each node."""
        bounds = [16384 * index // len(self.nodes) for index in range(len(self.nodes) + 1)]
        return [(first, after - 1) for first, after in pairwise(bounds)]

    def node_of(self, key: str) -> RedisServer:
        """Give the node that has this key."""
        slot = self.nodes[0].call("CLUSTER", "KEYSLOT", key)
        (index,) = [n for n, (first, last) in enumerate(self.slots) if first <= slot <= last]
        return self.nodes[index]

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        for node, (first, last) in zip(self.nodes, self.slots, strict=True):
            node.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node, bus in zip(self.nodes, self._buses, strict=True):
            self.nodes[0].call("CLUSTER", "MEET", HOST, node.port, bus)
        until(self._agrees, what="the cluster to agree")
        return self

    def _agrees(self) -> bool:
        wanted = ("cluster_state:ok", f"cluster_known_nodes:{len(self.nodes)}")
        told = [str(node.call("CLUSTER", "INFO")) for node in self.nodes]
        return all(word in text for text in told for word in wanted)

    def close(self) -> None:
        for node in self.nodes:
            node.close()


class SentinelSet(_Started):
    """A primary with a replica, and sentinels that watch over them."""

    NAME = "toril"

    def __init__(self, *, program: str = "redis-server", sentinels: int = 1) -> None:
        self.servers = [RedisServer(program=program, repl_diskless_sync_delay=0) for _ in range(2)]
        self._quorum = sentinels // 2 + 1
        self.sentinels = [_Sentinel(program=program) for _ in range(sentinels)]

    @property
    def ports(self) -> list[int]:
        """Give the ports of the sentinels."""
        return [sentinel.port for sentinel in self.sentinels]

    @property
    def primary(self) -> RedisServer:
        """Give the server that the sentinels name now."""
        _, port = self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> RedisServer:
        """Give the other one."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def start(self) -> Self:
        first, second = (server.start() for server in self.servers)
        second.call("REPLICAOF", HOST, first.port)
        until(lambda: _role(second) == "slave:connected", what="the replica")
        for sentinel in self.sentinels:
            sentinel.watch(self.NAME, first.port, self._quorum)
            sentinel.start()
        until(self._complete, what="the sentinels to know everybody")
        return self

    def _complete(self) -> bool:
        told = [sentinel.call("SENTINEL", "MASTER", self.NAME) for sentinel in self.sentinels]
        known = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in told]
        others = str(len(self.sentinels) - 1)
        return all(
            (facts["num-slaves"], facts["num-other-sentinels"]) == ("1", others) for facts in known
        )

    def failover(self, *, kill: bool = True) -> RedisServer:
        """Let the replica take over, since the primary died or on request; give the new primary."""
        old, new = self.primary, self.replica
        if kill:
            old.kill()
        else:
            self.sentinels[0].call("SENTINEL", "FAILOVER", self.NAME)
        until(
            lambda: self.primary is new and _role(new).startswith("master"),
            what="the replica to take over",
        )
        return new

    def close(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            server.close()


class _Sentinel(RedisServer):
    """A server that watches over others; it rewrites its own configuration."""

    def start(self, *, ready: bool = True) -> Self:
        self._child = Child(
            [self.program, str(self.folder / "sentinel.conf"), "--sentinel"],
            self.folder / "server.log",
        )
        if ready:
            until(self._answers, what=f"an answer of {self!r}")
        return self

    def watch(self, name: str, port: int, quorum: int) -> None:
        (self.folder / "sentinel.conf").write_text(
            f"bind {HOST}\nport {self.port}\ndir {self.folder}\n"
            f"sentinel monitor {name} {HOST} {port} {quorum}\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )


def _role(server: RedisServer) -> str:
    told = server.call("ROLE")
    return f"{told[0]}:{told[3]}" if told[0] == "slave" else str(told[0])
