"""What the benchmarks on Redis share: a server of their own, the peers, and their processes."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Protocol

from common import HERE, KEEP, Result, processor, say, table

from toril import Toril
from toril.errors import ConfigError

PEERS = HERE / "peers"
VENVS = HERE.parent / ".venv" / "peers"
BULLMQ = "BullMQ, Node"
LIMIT_S = 60.0  # six times what any part should take
TALK_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program in peers/, and the concurrency and number of jobs that suit it."""

    name: str
    program: str
    concurrency: int
    jobs: int  # about ten seconds of work, at most 50,000
    can: frozenset[str] = frozenset()
    note: str = ""

    @property
    def key(self) -> str:
        """Give the word that picks it on the command line."""
        return self.program.removeprefix("use_").removesuffix(".py")

    def command(self, url: str, mode: str, *args: object) -> list[str]:
        file = str(PEERS / self.program)
        return [self._interpreter(), file, url, mode, *map(str, args)]

    def missing(self) -> str | None:
        """Say what is missing to run it, if anything."""
        if self.key == "toril":
            return _refusal()
        if self.program.endswith(".mjs"):
            if shutil.which("node") is None:
                return "node is not here"
            installed = PEERS / "node_modules" / "bullmq"
        else:
            installed = VENVS / self.key / ".installed"
        return None if installed.exists() else "`make peers` did not install it"

    def _interpreter(self) -> str:
        if self.program.endswith(".mjs"):
            return "node"
        if self.key == "toril":
            return sys.executable
        return str(VENVS / self.key / "bin" / "python")


def _refusal() -> str | None:
    try:
        Toril("redis://127.0.0.1")
    except ConfigError as error:
        return str(error)
    return None


ALL = frozenset({"at_once", "many", "later", "queues"})
TORIL = Peer(name="toril", program="use_toril.py", concurrency=100, jobs=50_000, can=ALL)
NODE = Peer(name=BULLMQ, program="use_bullmq.mjs", concurrency=100, jobs=50_000, can=ALL)
ROSTER = (
    TORIL,
    NODE,
    Peer(name="BullMQ, Python", program="use_bullmq.py", concurrency=10, jobs=20_000, can=ALL),
    Peer(
        name="Huey", program="use_huey.py", concurrency=50, jobs=40_000, can=frozenset({"later"}),
        note="takes a job out before it runs",
    ),
    Peer(
        name="Dramatiq", program="use_dramatiq.py", concurrency=50, jobs=40_000,
        can=frozenset({"later"}),
    ),
    Peer(
        name="taskiq", program="use_taskiq.py", concurrency=10, jobs=30_000,
        can=frozenset({"at_once"}), note="stream",
    ),
    Peer(
        name="arq", program="use_arq.py", concurrency=100, jobs=20_000,
        can=frozenset({"at_once", "later"}), note="polls every 5 ms",
    ),
    Peer(
        name="SAQ", program="use_saq.py", concurrency=100, jobs=15_000,
        can=frozenset({"at_once", "later"}),
    ),
    Peer(
        name="Celery", program="use_celery.py", concurrency=1, jobs=10_000,
        can=frozenset({"later"}), note="solo pool, no results, acknowledges before running",
    ),
    Peer(
        name="RQ", program="use_rq.py", concurrency=1, jobs=3_000,
        can=frozenset({"many", "later"}), note="SimpleWorker",
    ),
)  # fmt: skip


class Located(Protocol):
    """Where jobs are: a server, or a file."""

    url: str


class Failed(Exception):
    """A peer's program did not do what it was asked."""


# The command line, and what it picks.


def options(purpose: str, *, rounds: int = 5, folder: bool = False) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each, in turn")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    keys = list(dict.fromkeys(peer.key for peer in ROSTER))
    parser.add_argument("--peers", nargs="*", choices=keys, default=keys, help="only these")
    if folder:
        parser.add_argument("--folder", type=Path, help="where files are made (on a real disk)")
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    given.less = 10 if given.quick else 1
    # Whoever ends this ends the server and the peers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    return given


def present(given: argparse.Namespace, *, among: Sequence[Peer] = ROSTER) -> list[Peer]:
    """Give the peers that were asked for and are installed; say which are not."""
    found = []
    for peer in among:
        if peer.key not in given.peers:
            continue
        why = peer.missing()
        if why:
            print(f"without   {peer.name}: {why}")
        else:
            found.append(peer)
    return found


# The server.


class Server:
    """A Redis server without persistence, on a port and a core of its own."""

    def __init__(self) -> None:
        name = os.environ.get("BENCH_SERVER") or "redis-server"
        program = shutil.which(name)
        if program is None:
            sys.exit(f"{name} is not here: install Redis or Valkey, or name one in BENCH_SERVER")
        self._folder = tempfile.mkdtemp(prefix="toril-bench-")
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = subprocess.Popen(
            [
                program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", self._folder, "--loglevel", "warning",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.pid = self._process.pid
        from redis import Redis

        self.client = Redis(port=self.port)
        self._await()

    def _await(self) -> None:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise Failed("the server did not start")

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info("all")
        return found

    def cpu_s(self) -> float:
        """Give the seconds of CPU that the thread which runs commands has used."""
        info = self.info()
        return sum(
            float(info.get(f"used_cpu_{kind}_main_thread", info[f"used_cpu_{kind}"]))
            for kind in ("user", "sys")
        )

    def memory(self) -> int:
        return int(self.info()["used_memory"])

    def empty(self) -> None:
        self.client.flushall()
        self.client.config_resetstat()

    def commands(self, seconds: float) -> int:
        """Count the commands that clients send meanwhile, not those that scripts call."""
        with socket.create_connection(("127.0.0.1", self.port)) as watch:
            watch.sendall(b"MONITOR\r\n")
            deadline, seen = time.monotonic() + seconds, b""
            while (left := deadline - time.monotonic()) > 0:
                watch.settimeout(left)
                try:
                    seen += watch.recv(1 << 16)
                except TimeoutError:
                    break
        lines = [line for line in seen.split(b"\r\n") if b"] " in line]
        return sum(b" lua]" not in line[: line.index(b"] ") + 1] for line in lines)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cores() -> list[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return list(range(os.cpu_count() or 1))


def pin(pid: int, where: Sequence[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, where)


def start_server(*, pinned: bool = True) -> Server:
    """Start the server on one core; the processes that follow have one other, if `pinned`."""
    all_cores = cores()
    server = Server()
    if len(all_cores) > 1:
        pin(server.pid, all_cores[:1])
        if pinned:
            pin(0, all_cores[1:2])
    return server


# The processes of peers.


def answer(
    server: Located,
    peer: Peer,
    mode: str,
    *args: object,
    keep: str = str(KEEP),
    limit_s: float = LIMIT_S,
) -> dict[str, Any]:
    """Run a mode of a peer's program to its end, and give what it answers."""
    with started(peer.command(server.url, mode, *args), keep) as process:
        try:
            out, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{peer.name}: {mode} did not end within {limit_s:.0f} s") from None
    if process.returncode != 0:
        raise Failed(f"{peer.name}: {mode} ended with {process.returncode}")
    # Celery greets first.
    found: dict[str, Any] = json.loads(out.strip().rpartition("\n")[2] or "{}")
    return found


@contextmanager
def started(command: Sequence[str], keep: str = str(KEEP)) -> Iterator["subprocess.Popen[str]"]:
    """Start a process with a group of its own, and leave nothing of it behind."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "BENCH_KEEP": keep},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Talk:
    """A program that runs until it is left, and is talked with in lines."""

    def __init__(self, server: Server, peer: Peer, mode: str, *args: object) -> None:
        self._context = started(peer.command(server.url, mode, *args), str(KEEP))
        self._what = f"{peer.name}: {mode}"

    def __enter__(self) -> "Talk":
        self._process = self._context.__enter__()
        self._limit = threading.Timer(TALK_S, self._process.kill)
        self._limit.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._limit.cancel()
        self._context.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self, kind: str) -> str:
        """Give what follows the word `kind` on the next line that begins with it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == kind:
                return rest
        raise Failed(f"{self._what} ended early")

    def cpu(self) -> float:
        self.say("cpu")
        return float(self.hear("cpu"))


# Rounds, and what is printed.


def in_turn(
    contestants: Mapping[str, Callable[[], Result]], rounds: int
) -> dict[str, Result | None]:
    """Let everyone run once a round, in turn (A B A B), and give the medians, None of a failure."""
    seen: dict[str, list[Result]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contest in contestants.items():
            try:
                seen[name].append(contest())
                say(".")
            except Failed as error:
                say(f"\n{error}\n")
    say("\n")
    return {
        name: {field: median(result[field] for result in results) for field in results[0]}
        if len(results) == rounds
        else None
        for name, results in seen.items()
    }


def describe(server: Server, peers: Sequence[Peer]) -> None:
    """Print what the figures depend on, and how each peer is run."""
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    info = server.info()
    print(f"machine   {processor()}, {os.cpu_count()} cores, load {load}")
    name = "Valkey" if "valkey_version" in info else "Redis"
    number = info.get("valkey_version", info["redis_version"])
    print(f"server    {name} {number}, {info['mem_allocator']}, no persistence, hz {info['hz']},")
    print(f"          on core {cores_of(server)}; all else on core {', '.join(map(str, cores()))}")
    if os.getloadavg()[0] > (os.cpu_count() or 1) * 0.6:
        print("          the machine is busy with other things: all figures are worse for it")
    rows = []
    for peer in peers:
        versions = answer(server, peer, "about")["versions"]
        how = f"peers/{peer.program} URL work {peer.jobs} {peer.concurrency}"
        rows.append([peer.name, versions, how, peer.note])
    table(["", "versions", "command", ""], rows)


def cores_of(server: Server) -> str:
    if not hasattr(os, "sched_getaffinity"):
        return "any"
    return ", ".join(map(str, sorted(os.sched_getaffinity(server.pid))))
