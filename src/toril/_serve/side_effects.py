"""What importing an app does besides defining it: every process of a worker would do it again.

Never here: importing it.
"""

import asyncio
import linecache
import logging
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from toril._handlers.user_code import is_own
from toril._jobs.process_role import HERE, nothing
from toril._model.urls import hide_line

log = logging.getLogger("toril.app")


@contextmanager
def side_effects_told(target: str) -> Generator[None, None, None]:
    """Log a warning, with the line, when this code adds jobs, runs an event loop or a worker."""
    importing, told = threading.get_ident(), set[tuple[str, str]]()

    def tell(what: str) -> None:
        place, source = _line_of(importing)
        if (what, place) not in told:
            told.add((what, place))
            log.warning(
                "app.side_effect importing %s %s at %s: %s  (each worker process does it again; put "
                'it under: if __name__ == "__main__":)',
                target,
                what,
                place,
                source,
                extra={"target": target, "what": what, "place": place},
            )

    def run_forever(loop: Any) -> None:
        if threading.get_ident() == importing:
            tell("runs an event loop")
        original(loop)

    loops: Any = asyncio.BaseEventLoop
    original = loops.run_forever
    HERE.side_effect, loops.run_forever = tell, run_forever
    try:
        yield
    finally:
        HERE.side_effect, loops.run_forever = nothing, original


def _line_of(thread: int) -> tuple[str, str]:
    """Return the line of the user's own module that is being run in this thread, and its text."""
    top = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    frames = [frame for frame, _ in traceback.walk_stack(top)]
    own = [frame for frame in frames if is_own(frame.f_code.co_filename)]
    bodies = [frame for frame in own if frame.f_code.co_name == "<module>"]
    for frame in (*bodies, *own):
        file, line = frame.f_code.co_filename, frame.f_lineno
        return f"{file}:{line}", hide_line(linecache.getline(file, line).strip())
    return "an unknown line", ""
