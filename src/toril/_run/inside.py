"""Whether this process is a worker's child, and what it must not do then.

Never here: what a child does.
"""

from toril.errors import ConfigError


class Inside:
    """What is known of this process; a child says so before it imports anything."""

    __slots__ = ("child", "importing")

    def __init__(self) -> None:
        self.child = False
        self.importing = False

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

    def refuse_memory(self, url: str) -> None:
        """Refuse a store in memory: it would not be the one that the worker has.

        Raises   ConfigError: it is one, and this is a child.
        """
        if self.child and url.endswith(":memory:"):
            raise ConfigError(
                "a child process cannot reach a store in the memory of its worker",
                field="url",
                value=url,
                hint="use a file or a server; what the handler's own job offers works",
            )


HERE = Inside()
