"""The standard streams of a process that was started without some of them."""

import os
import sys


def open_standard_streams() -> None:
    """Open the null device for each standard stream that was closed (`toril jobs >&-`).

    Its descriptor would otherwise become that of the next file or socket that is opened, and
    whatever is printed would be written there: into the database file, in the worst case.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor is this one: those below it are open by now.
            os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
