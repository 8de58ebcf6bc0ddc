"""The way to a cluster: one line to each node that is needed, each call to the node of its keys.

Never here: waiting faults out (`Link` does).
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Sequence

from toril._model.stored import whole
from toril.errors import ConfigError

from .address import Address
from .client import READ_PATIENCE_S, RedisClient, SentScript, Trip
from .connection import OnState, SharedConnection, silent
from .dial import CONNECT_S, dial
from .faults import Fault, Kind, as_error, judge
from .resp import Connection, ConnectionLost, ErrorReply, Reply, Word

SLOTS = 16384
_MAP_AGAIN_S = 0.5

Node = tuple[str, int]

# Where the key of a command stands, if it is not its first argument; 0: it has none.
_NO_KEY = dict.fromkeys(
    ("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "ECHO", "INFO", "PING", "ROLE", "SCAN",
     "SCRIPT", "TIME", "WAIT", "WAITAOF"), 0,
)  # fmt: skip
_KEY_AT = {**_NO_KEY, "EVAL": 3, "EVALSHA": 3, "EVAL_RO": 3, "EVALSHA_RO": 3, "OBJECT": 2}


def hash_tag(key: str) -> str:
    """Return the part of a key that says where it is: what is in its first { }, or all of it."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    return key[start + 1 : end] if end > start + 1 else key


def slot_of(key: str) -> int:
    """Return the slot of a key."""
    return crc_hqx(hash_tag(key).encode(), 0) % SLOTS


def link_to(
    address: Address, *, on_state: OnState = silent, patience: float = READ_PATIENCE_S
) -> RedisClient:
    """Make the link that fits an address, without opening it; needs a running loop."""
    kind = ClusterClient if address.cluster else RedisClient
    return kind(address, on_state=on_state, patience=patience)


class ClusterClient(RedisClient):
    """Calls the nodes of a cluster from one event loop; the keys of a call share a slot."""

    def __init__(
        self, address: Address, *, on_state: OnState = silent, patience: float = READ_PATIENCE_S
    ) -> None:
        super().__init__(address, on_state=on_state, patience=patience)
        self._lines: dict[Node, SharedConnection] = {}
        self._owner: dict[int, Node] = {}
        self._mapping: asyncio.Task[None] | None = None
        self._mapped = 0.0
        self._stale = False

    async def open(self) -> None:
        """Connect, and learn which node has which slots; see `RedisClient`."""
        try:
            await self._map()
        except (ConnectionLost, ErrorReply, TimeoutError) as error:
            raise as_error(judge(error), self.address, "connecting") from error

    async def close(self) -> None:
        """Let the connections go; see `RedisClient`."""
        self._closed = True
        if self._mapping is not None:
            self._mapping.cancel()
            await asyncio.wait({self._mapping})
        for line in [self._line, *self._lines.values()]:
            await line.close()

    async def dial(self, key: str | None = None, *, deadline: float | None = None) -> Connection:
        """Make a connection of the caller's own to the node that has a key; see `RedisClient`."""
        if key is not None:
            return await dial(self.address, node=self._node_of(slot_of(key)), deadline=deadline)
        lost = ConnectionLost("no node of the cluster is known")
        for node in dict.fromkeys((*self.address.hosts, *self._owner.values())):
            try:
                return await dial(self.address, node=node, deadline=deadline)
            except ConnectionLost as error:
                lost = error
        raise lost

    def group(self, key: str) -> str:
        """Return the keys of one slot: only these can be blocked on together."""
        return hash_tag(key)

    async def _redirected(self, trip: Trip, fault: Fault) -> Reply:
        if self._loop.time() >= trip.until:
            raise self._error(trip, fault)
        if fault.kind is Kind.MOVED:
            self.lost_sight(fault)
            return await self._send(trip)
        _, node = _read_redirect(fault.text, self.address)
        try:
            connection = await self._line_to(node).ready(trip.until)
        except ConnectionLost as error:
            return error
        trip.connection = connection
        connection.call("ASKING")
        return await self._answer(trip, connection.call(*trip.command))

    # Where it goes.

    def _route(self, key: str | None) -> SharedConnection:
        return self._line if key is None else self._line_to(self._node_of(slot_of(key)))

    def _node_of(self, slot: int) -> Node | None:
        return self._owner.get(slot)

    def _line_to(self, node: Node | None) -> SharedConnection:
        if node is None:
            return self._line
        line = self._lines.get(node)
        if line is None:

            def to_node() -> "asyncio.Future[Connection]":
                return asyncio.ensure_future(dial(self.address, node=node))

            line = self._lines[node] = SharedConnection(to_node, self._on_state)
        return line

    def _key_of(self, command: Sequence[Word]) -> str | None:
        name = str(command[0]).upper()
        if name in ("XREAD", "XREADGROUP"):
            at = [str(word).upper() for word in command].index("STREAMS") + 1
        else:
            at = _KEY_AT.get(name, 1)
        if at == 0 or at >= len(command) or (at == 3 and whole(str(command[2])) == 0):
            return None
        return str(command[at])

    def _one_place(self, script: SentScript, keys: Sequence[str]) -> str | None:
        if not keys:
            return None
        # A queue's base stands for all its keys: without a tag they are everywhere.
        scattered = any(key.endswith(":") and hash_tag(key) == key for key in keys)
        if scattered or len({slot_of(key) for key in keys}) > 1:
            raise ConfigError(
                f"{self.address.shown}: {script.name}: the keys {', '.join(keys)} are on "
                "different nodes of the cluster",
                field="prefix",
                value=keys[0],
                hint='put a hash tag in the prefix, such as prefix="{bull}"',
            )
        return keys[0]

    def _lines_up(self) -> list[SharedConnection]:
        return [self._line, *self._lines.values()]

    # Which node has which slots.

    def lost_sight(self, fault: Fault) -> None:
        """Learn the slots again, but not too often; those who call go on meanwhile."""
        if fault.kind is Kind.MOVED:
            slot, node = _read_redirect(fault.text, self.address)
            self._owner[slot] = node
        if self._mapping is None and self._loop.time() - self._mapped >= _MAP_AGAIN_S:
            self._mapped = self._loop.time()
            self._mapping = self._loop.create_task(self._map_again())

    async def _map_again(self) -> None:
        try:
            await self._map()
        except (ConnectionLost, ErrorReply, TimeoutError, ConfigError):
            return  # whoever calls finds out, and it is tried again
        finally:
            self._mapping = None

    async def _map(self) -> None:
        async with asyncio.timeout(CONNECT_S):
            connection = await self._line.ready(self._loop.time() + CONNECT_S)
            ranges = await connection.ask("CLUSTER", "SLOTS")
        home = self.address.hosts[0][0]
        owner: dict[int, Node] = {}
        for first, last, primary, *_ in ranges:
            node = (str(primary[0] or home), whole(primary[1]))
            owner.update(dict.fromkeys(range(first, last + 1), node))
        self._owner = owner
        for node in self._lines.keys() - set(owner.values()):
            await self._lines.pop(node).close()


def _read_redirect(text: str, address: Address) -> tuple[int, Node]:
    """Read `MOVED 3999 host:port`; a host omitted is the one that said so."""
    _, slot, place = text.split()[:3]
    host, _, port = place.rpartition(":")
    return whole(slot), (host.strip("[]") or address.hosts[0][0], whole(port))
