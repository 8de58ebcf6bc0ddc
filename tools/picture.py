"""Draw the picture of the README: a real run of toril in a terminal, as docs/assets/terminal.svg.

    .venv/bin/python -m tools.picture

Commands run in a pseudo-terminal, so that they print as for a person, in colour.
"""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs" / "assets" / "terminal.svg"
COLUMNS, LINES = 96, 60
APP = """\
from toril import Fail, Toril

app = Toril("sqlite:///shop.db", warn_unserved=False)


@app.task(queue="mail", attempts=3, backoff="100ms")
async def send_receipt(order: int, to: str) -> str:
    if "@" not in to:
        raise Fail(f"{to!r} is not an address")
    return f"receipt {order} sent to {to}"


@app.task(queue="reports", cron="0 6 * * 1-5", tz="Europe/Berlin")
async def report() -> None: ...
"""
ADD = """\
from shop import send_receipt

for order, to in enumerate(["ada@example.com", "grace@example.com", "nobody"], 17):
    send_receipt.enqueue_sync(order, to)
send_receipt.using(delay="1h").enqueue_sync(20, "alan@example.com")
"""
# What is shown of the worker's log: what it serves, and the beginning of each line on a job.
WORTH = re.compile(
    r"^(?:toril |store:|queue:|schedule:|  \w+  →|.*\d\d,\d{3} [A-Z]+).*", re.MULTILINE
)
# Rich's own frame loads a font from a server; a picture in a README must not.
FRAME = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Terminal:
    """A pseudo-terminal in a folder, and what was shown in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = Text()

    def start(self, command: str, *, shown: bool = True) -> tuple[subprocess.Popen[bytes], int]:
        """Start a command; return the process and the terminal's end to read from."""
        if shown:
            self.shown.append("$ ", "bold green").append(f"{command}\n", "bold")
        ours, theirs = pty.openpty()
        paths = (str(Path(sys.executable).parent), os.environ["PATH"])
        given = {**os.environ, "PATH": os.pathsep.join(paths), "TERM": "xterm-256color"}
        given |= {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "COLORTERM": "truecolor"}
        given.pop("NO_COLOR", None)
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder, env=given, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        return process, ours

    def run(self, command: str, *, shown: bool = True) -> None:
        """Run a command to its end."""
        process, ours = self.start(command, shown=shown)
        text = read_all(ours)
        if process.wait() and shown:
            raise SystemExit(f"$ {command} ended with {process.returncode}:\n{text}")
        if shown:
            self.show(text)

    def show(self, text: str) -> None:
        """Append what a command printed, as it is on a server."""
        text = text.replace("\r\n", "\n").replace(str(self.folder), "/srv/shop")
        lines = [line.rstrip() for line in text.strip("\n").split("\n")]
        self.shown.append_text(Text.from_ansi("\n".join(lines))).append("\n\n")


def read_all(terminal: int) -> str:
    """Read from a terminal until the other end is closed."""
    found = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux tells the end so
            break
        if not part:
            break
        found += part
    os.close(terminal)
    return found.decode()


def record(folder: Path) -> Text:
    """Run what the picture shows."""
    (folder / "shop.py").write_text(APP)
    (folder / "add.py").write_text(ADD)
    terminal = Terminal(folder)
    terminal.run("python add.py", shown=False)
    worker, output = terminal.start("toril worker shop.py --concurrency 10")
    time.sleep(5)
    worker.send_signal(signal.SIGSTOP)  # it is there, and shows nothing more
    worker_log = os.read(output, 65_536).decode()
    lines = WORTH.findall(worker_log.replace("\r\n", "\n"))
    terminal.show("\n".join(f"{line[:90]}…" if len(line) > 91 else line for line in lines))
    terminal.run("toril queues --app shop.py")
    terminal.run("toril jobs mail --app shop.py")
    terminal.run("toril schedules --app shop.py")
    worker.send_signal(signal.SIGCONT)
    worker.send_signal(signal.SIGTERM)
    read_all(output)
    worker.wait()
    return terminal.shown


def main() -> None:
    """Draw the picture."""
    with tempfile.TemporaryDirectory() as folder:
        shown = record(Path(folder))
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(shown, soft_wrap=True)
    PICTURE.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="toril", unique_id="toril")
    PICTURE.write_text(FRAME.sub("", svg), "utf-8")


if __name__ == "__main__":
    main()
