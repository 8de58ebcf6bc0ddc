"""`toril metrics`: serve the state of a store to Prometheus.

Never here: the text (app.monitor.prometheus).
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from toril._app.app import Toril
from toril._serve.http import HttpAnswer, refusal, serve_http
from toril.errors import TorilError

from .target import ServedStoreOptions, run, served_app

PORT = 7420
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S = 1.0


@dataclass(frozen=True, kw_only=True)
class MetricsOptions(ServedStoreOptions):
    """The arguments and options of `toril metrics`."""

    app: Annotated[
        str,
        typer.Option(
            help="Use the store of this app, and watch its alerts: app.py, app.py:app or module:app."
        ),
    ] = ""
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on. 0: any that is free.")
    ] = PORT
    once: Annotated[bool, typer.Option("--once", help="Print the metrics, and end.")] = False


def metrics(words: MetricsOptions) -> None:
    """Serve the metrics of a store to Prometheus until Ctrl-C."""
    app = served_app(words)
    run(_print(app) if words.once else _serve(app, words.host, words.port))


async def _print(app: Toril) -> None:
    async with app:
        typer.echo(await app.monitor.prometheus(), nl=False)


async def _serve(app: Toril, host: str, port: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, ended.set)
    exporter = Exporter(app)
    async with (
        app,
        app.watch_alerts(),
        serve_http((host, port), ("/metrics",), exporter.answer, _say, field="port"),
    ):
        await ended.wait()


def _say(where: str) -> None:
    typer.echo(f"metrics at {where}/metrics")


class Exporter:
    """Answers `GET /metrics`; whoever asks within a second gets the same text."""

    def __init__(self, app: Toril) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._text, self._until = "", 0.0

    async def answer(self, _: str) -> HttpAnswer:
        """Return the metrics, or why there are none."""
        try:
            return HttpAnswer(200, await self._fresh(), CONTENT_TYPE)
        except TorilError as error:
            return refusal(503, str(error))

    async def _fresh(self) -> str:
        clock: Callable[[], float] = asyncio.get_running_loop().time
        async with self._lock:
            if clock() >= self._until:
                self._text = await self._app.monitor.prometheus()
                self._until = clock() + FRESH_S
            return self._text
