"""Whether this process is a worker's child or imports an app, and what it must not do then.

Never here: what a child does.
"""

from collections.abc import Callable

from toril.errors import ConfigError


def nothing(_: str) -> None:
    """Do nothing: what code does with jobs is its own business."""


class Inside:
    """What is known of this process; a child says so before it imports anything."""

    __slots__ = ("child", "importing", "script", "side_effect")

    def __init__(self) -> None:
        self.child = False
        self.importing = False
        self.script = False
        # While the command line imports an app: whom to tell what that does besides.
        self.side_effect: Callable[[str], None] = nothing

    def refuse_to_work(self) -> None:
        """Refuse to start a worker while a child imports the code of its handler.

        Raises   ConfigError: it would start children of its own, without end.
        """
        if self.importing:
            raise ConfigError(
                "a child process imported a script that starts a worker",
                field="isolation",
                hint='put what the script does under: if __name__ == "__main__":',
            )

    def refuse_store(self, url: str) -> None:
        """Refuse a store to a script that a child runs once more only to find a handler in it,
        and one in memory to a child: it would not be the one that the worker has.

        Raises   ConfigError: either.
        """
        if self.script:
            raise ConfigError(
                "a child process runs a script once more to find its handler, and must not "
                "repeat what the script does with jobs",
                field="isolation",
                hint='put what the script does under: if __name__ == "__main__":',
            )
        if self.child and url.endswith(":memory:"):
            raise ConfigError(
                "a child process cannot reach a store in the memory of its worker",
                field="url",
                value=url,
                hint="use a file or a server; what the handler's own job offers works",
            )


HERE = Inside()
