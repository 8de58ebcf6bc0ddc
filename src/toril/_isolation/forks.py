"""Processes that a handler forks and that come out of it: they must not go on as their parent.

Never here: forking.
"""

import os
import sys
import traceback
from contextlib import suppress


def leave_fork(pid: int, error: BaseException | None) -> None:
    """End this process as a script would that ended so, unless it is the one of this id."""
    if os.getpid() == pid:
        return
    code = error.code if isinstance(error, SystemExit) else None
    if error is not None and not isinstance(error, SystemExit):
        code = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(code, str):
        os.write(2, f"{code}\n".encode(errors="replace"))
    flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def flush() -> None:
    """Write out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        # A handler may have put anything in their place.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
