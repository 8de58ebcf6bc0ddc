"""No password of a URL is shown, however the URL is misspelt and wherever it is given.

Whatever is said of it is searched: errors with their causes, log lines, output, `repr`.
"""

import asyncio
import logging
import os
import random
import re
import secrets
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.faults.resp import Frames, words_of
from toril import Toril
from toril._jobs import environment
from toril.cli import main
from toril.errors import ConfigError, TorilError

PASSWORD = "hunter2hush"

# With W for the password. Each is misspelt, or right; nobody listens at port 1.
SHAPES = """
redis://u:W@127.0.0.1:1/0           redis://:W@127.0.0.1:1           redis://W@127.0.0.1:1
rediss://u:W@127.0.0.1:1            valkey://u:W@127.0.0.1:1         valkeys://u:W@127.0.0.1:1
redis:/u:W@h                        redis:u:W@h                      redis//u:W@h
"redis://u:W@h"                     'redis://u:W@h'                  u:W@h
redis:///u:W@h                      redis:://u:W@h                   redis:\\\\u:W@h
://u:W@h                            //u:W@h                          :u:W@h
redis;//u:W@h                       redis.//u:W@h                    redis/u:W@h
redis=redis://u:W@h                 TORIL_URL=redis://u:W@h          url:redis://u:W@h
<redis://u:W@h>                     (redis://u:W@h)                  `redis://u:W@h`
$redis://u:W@h                      redis+tls://u:W@h                redis+u:W@h
reddis://u:W@h                      Redis:/u:W@h                     REDIS:u:W@h/0
postgres://u:W@h/db                 postgres:u:W@h                   https://u:W@h
postgres://u:p/W@h/0                postgres://u:p?W@h               mysql://u:p#W@h
redis://u:p/W@h                     redis://u:p?W@h                  redis://u:p#W@h
redis://u:W/p@h                     redis://u:W?p@h                  redis://u:W#p@h
redis://u@x:p?W@h                   redis://u@x:W?p=1@h              redis://u:p?socket_timeout=W@h
redis://u:p?ssl_cert_reqs=W@h       redis://u:p&W=1@h                redis://h?x=u:W@h
redis://u:W@h:port                  redis://u:W@h:6379:1             redis://u:W@[::1
redis://u:W@h/db                    redis://u:W@h/0/1                redis://u:W@h?wrong=1
redis://u:W@h?db=x                  redis://u:W@h/1?db=2             redis://u:W@a,b
redis://u:p@W@h/x                   redis://u:W@@h/x                 redis://u:W@h@i/x
redis://u:W                         redis://u:W/0                    redis://h/W
redis://h?password=W                redis://h?auth=u:W@x             unix:///run/x?password=W
unix:/u:W@/run/x                    unix://u:W/run/x                 unix://u:W@run/x
redis+sentinel://u:W@h              redis+sentinel://u:W@h:x/s       redis+sentinel://h/s?sentinel_pasword=W
redis+sentinel://u:W@127.0.0.1:1/s  redis+cluster://u:W@127.0.0.1:1  redis+cluster://u:W@h/1
sqlite://u:W@h/jobs.db              sqlite:///redis://u:W@h          sqlite:///u:W@h/jobs.db
sqlite:/u:W@h                       redis:/u:W@h/x.db                u:W@h.db
sqlite:///x.db?synchronous=u:W@h    sqlite:///x.db?key=W             redis:/u:p/W@h.db
p://W@h                             a:b://u:W@h                      u:://W@h
redis://u:W%@h/x                    redis://u:%zzW@h/x               redis://ü:W@h/x
""".split()  # noqa: SIM905  # three in a line
BLANKS = [" redis://u:W@h", "redis://u:W@h\n", "redis:// u:W@h", "redis://u: W@h/x", "\tu:W@h"]
ALL = [each.replace("W", PASSWORD) for each in (*SHAPES, *BLANKS)]


def generated(count: int) -> list[str]:
    """Return URLs in which letters outside the password were dropped, doubled, swapped or added."""
    rng = random.Random(14)
    sound = ["redis://u:W@h:6379/0", "rediss://:W@h/1?db=2", "redis+sentinel://u:W@a,b/svc/0",
             "unix://u:W@/run/r.sock", "sqlite:///jobs.db?key=u:W@h", "postgresql://u:W@h/db"]  # fmt: skip
    found: list[str] = []
    while len(found) < count:
        letters = list(rng.choice(sound))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(letters))
            if letters[at] == "W":
                continue
            new = rng.choice(":/@?#&=%,.[]\\'\" \t+x0ü")
            change = rng.randrange(4)
            letters[at : at + 1] = [[], [letters[at]] * 2, [new], [letters[at], new]][change]
        url = "".join(letters)
        # Without its sign a password is a host, a path or a word like any other.
        if re.search(r":W.*@", url):
            found.append(url.replace("W", PASSWORD))
    return found


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_said", set[str]())
    monkeypatch.chdir(tmp_path)


def told(error: BaseException) -> str:
    """Return all that an error shows: its text, that of its causes, its fields."""
    fields = (getattr(error, name, "") for name in ("field", "value", "hint"))
    lines = "".join(traceback.format_exception(error)[-1:])
    causes = [each for each in (error.__cause__, error.__context__) if each is not None]
    return "\n".join((lines, repr(error), *map(repr, fields), *map(told, causes)))


def secret_in(text: str) -> bool:
    # Also a half of it: what is shortened shows the beginning.
    return PASSWORD[:6] in text or PASSWORD[-6:] in text


def check(say: Callable[[], object], url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    try:
        shown = repr(say())
    except ConfigError as error:
        shown = told(error)
    assert not secret_in(shown), (url, shown)
    assert not secret_in(caplog.text), (url, caplog.text)


@pytest.mark.parametrize("url", ALL)
def test_an_app_shows_no_password(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(lambda: Toril(url), url, caplog)
    check(lambda: Toril(prefix=url) if "://" in url or "@" in url else None, url, caplog)
    monkeypatch.setenv("TORIL_URL", url.replace("\0", ""))
    check(lambda: Toril(), url, caplog)
    # It is overruled, and that is logged.
    check(lambda: Toril(":memory:"), url, caplog)


def test_generated_misspellings_show_no_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in generated(1_000 * int(os.environ.get("TORIL_ROUNDS", "1"))):
        check(lambda url=url: Toril(url), url, caplog)  # type: ignore[misc]
        monkeypatch.setenv("TORIL_URL", url)
        check(lambda: Toril(":memory:"), url, caplog)


class Masked:
    """What other libraries make of a URL."""

    def __repr__(self) -> str:
        return f"RedisDsn('redis://u:{PASSWORD}@h')"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{PASSWORD}@h".encode(),
        [f"redis://u:{PASSWORD}@h"],
        {"url": f"redis://u:{PASSWORD}@h"},
        Masked(),
        f"redis://u:{PASSWORD}@h\ud800",
        f"redis://u:{PASSWORD}@h" + "x" * 5_000,
        f"redis://u:{PASSWORD}@{'x' * 100}",
    ],
    ids=["bytes", "list", "dict", "object", "surrogate", "long", "long host"],
)
def test_what_is_no_text_is_not_shown(url: Any, caplog: pytest.LogCaptureFixture) -> None:
    check(lambda: Toril(url), str(type(url)), caplog)


# The command line.


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    root = logging.root.handlers[:], logging.root.level

    def ran(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["toril", *words])
        with suppress(SystemExit):
            main.run()
        captured = capfd.readouterr()
        return captured.out + captured.err

    yield ran
    logging.root.handlers[:], logging.root.level = root
    logging.getLogger("toril.store").filters.clear()


COMMANDS = {
    "queues": ["queues", "--url=W"],
    "doctor": ["doctor", "--url", "W"],
    "jobs": ["jobs", "q", "--url", "W"],
    "backup": ["backup", "copy.db", "--url", "W"],
    "pause": ["pause", "q", "--url", "W"],
    "move from": ["move", "W", "x.db", "--yes"],
    "move to": ["move", "x.db", "W", "--yes"],
    "worker": ["worker", "app.py", "--url", "W"],
    "torture": ["torture", "--url", "W", "--kills=1"],
    "demo": ["demo", "--url", "W"],
    "a queue": ["jobs", "W", "--url=:memory:"],
    "an app": ["queues", "--app", "W"],
    "a target": ["worker", "W"],
    "an address": ["worker", "app.py", "--health", "W"],
    "a prefix": ["queues", "--prefix", "W"],
    "a number": ["worker", "app.py", "--concurrency", "W"],
    "one too many": ["queues", "W"],
    "an option": ["queues", "--W"],
    "no command": ["W"],
    "a level": ["worker", "app.py", "--log-level", "W"],
}
TYPED = [f"redis:/u:{PASSWORD}@h", f"'redis://u:{PASSWORD}@h'", f"redis://u:p/{PASSWORD}@h/0"]
AS_URL = [*TYPED, f"u:{PASSWORD}@h", f"postgres://u:p?{PASSWORD}@h"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_shows_a_password(
    command: list[str], run: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    Path("app.py").write_text("from toril import Toril\napp = Toril('sqlite:///a.db')\n")
    takes_url = any(word.endswith("url=W") for word in command) or "--url" in command
    for url in AS_URL if takes_url or command[0] == "move" else TYPED:
        shown = run(*(word.replace("W", url) for word in command))
        assert shown, "nothing was said"
        assert not secret_in(shown), shown
        assert not secret_in(caplog.text), caplog.text


@pytest.mark.parametrize("url", TYPED)
def test_no_password_is_shown_of_an_app_that_cannot_be_loaded(
    url: str, run: Callable[..., str]
) -> None:
    name = f"app_{secrets.token_hex(4)}.py"
    Path(name).write_text(f'from toril import Toril\napp = Toril("{url}")\n')
    shown = run("worker", name)

    assert f"{name}:2" in shown
    assert not secret_in(shown), shown


@pytest.mark.parametrize("command", ["queues", "doctor", "backup"])
def test_no_command_shows_the_password_of_the_environment(
    command: str, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [command, "copy.db"] if command == "backup" else [command]
    for url in AS_URL:
        monkeypatch.setenv("TORIL_URL", url)
        shown = run(*words)
        assert shown, "nothing was said"
        assert not secret_in(shown), shown


# Servers that cannot be used.

PLACES = ("redis", "rediss", "redis+sentinel", "redis+cluster")


@pytest.mark.parametrize("scheme", PLACES)
async def test_a_server_out_of_reach_is_named_without_a_password(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    tail = "/svc" if scheme.endswith("sentinel") else ""
    app = Toril(f"{scheme}://u:{PASSWORD}@127.0.0.1:1{tail}?socket_timeout=0.3")
    with pytest.raises(TorilError) as caught:
        async with asyncio.timeout(15):
            await app.queue("q").add("x")
    await app.close()

    assert not secret_in(told(caught.value) + repr(app) + caplog.text)


@asynccontextmanager
async def parrot() -> AsyncIterator[int]:
    """Be a server that knows no command, and repeats what it was sent, as Redis does."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(65_536):
            for frame in frames.feed(data):
                name, *rest = words_of(frame)
                args = " ".join(f"'{word}'" for word in rest)
                text = f"-ERR unknown command '{name}', with args beginning with: {args} \r\n"
                writer.write(text.encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
async def test_a_server_that_repeats_the_password_is_not_quoted(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with parrot() as port:
        tail = "/svc?sentinel_password=" + PASSWORD if scheme.endswith("sentinel") else "?"
        app = Toril(f"{scheme}://u:{PASSWORD}@127.0.0.1:{port}{tail}&socket_timeout=0.3")
        with pytest.raises(TorilError) as caught:
            async with asyncio.timeout(15):
                await app.queue("q").add("x")
        await app.close()
        await asyncio.sleep(0)

    shown = told(caught.value) + caplog.text
    assert not secret_in(shown), shown
