"""The examples of frameworks, served by real servers, with real HTTP."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.support.servers import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def running(folder: Path, url: str, prefix: str, *words: str, **more: str) -> Iterator[Any]:
    """Run a command in the folder of an example."""
    kept = {name: value for name, value in os.environ.items() if "TORIL" not in name}
    environment = {
        **kept, "TORIL_URL": url, "TORIL_PREFIX": prefix, "PYTHONUNBUFFERED": "1", **more,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Site:
    """A web server on loopback."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def until_up(self, path: str) -> None:
        deadline = time.monotonic() + 15
        while True:
            try:
                self.get(path)
            except (URLError, ConnectionError):
                assert time.monotonic() < deadline, "the server did not come up"
                time.sleep(0.05)
            else:
                return

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask(Request(self.base + path))

    def post(self, path: str, body: bytes = b"") -> tuple[int, Any]:
        return self._ask(Request(self.base + path, data=body, method="POST"))

    def _ask(self, request: Request) -> tuple[int, Any]:
        try:
            with urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def events(self, path: str) -> list[tuple[str, Any]]:
        """Read server-sent events until the server ends them."""
        with urlopen(self.base + path, timeout=15) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = answer.read().decode()
        found: list[tuple[str, Any]] = []
        for part in text.split("\n\n"):
            if part.startswith("event: "):
                kind, data = part.split("\n", 1)
                found.append((kind.removeprefix("event: "), json.loads(data[len("data: ") :])))
        return found


@contextmanager
def site(folder: Path, url: str, prefix: str, *words: str, **more: str) -> Iterator[Site]:
    """Serve an example; `{port}` in the words is its port."""
    port = free_port()
    command = [word.format(port=port) for word in words]
    with running(folder, url, prefix, *command, **more):
        yield Site(port)
