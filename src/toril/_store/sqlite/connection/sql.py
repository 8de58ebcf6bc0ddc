"""The part of a SQLite connection that the store uses, with types that hold.

The driver's own types are unknown in places on older Pythons; here they are said once.
Never here: behaviour.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gives back."""

    @property
    def get(self) -> Any:
        """The only row: its value, or a tuple of several values; None without a row."""
        ...

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows."""
        ...


class SQLiteConnection(Protocol):
    """A connection to a SQLite database."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    @property
    def system_errno(self) -> int:
        """The system's number of the last fault of input or output; 0 without one."""
        ...

    def __enter__(self) -> object:
        """Begin a transaction: what is read in it is of one moment."""
        ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        """Commit it, or roll it back after an error."""
        ...

    def execute(self, statements: str, bindings: tuple[Any, ...] | None = None) -> Rows:
        """Run statements; all of them, or up to the first row."""
        ...

    def pragma(self, name: str, value: Any = None) -> Any:
        """Read or set a pragma."""
        ...

    def total_changes(self) -> int:
        """Count the rows that were changed since the connection was opened."""
        ...

    def create_scalar_function(
        self, name: str, function: Any, numargs: int, *, deterministic: bool
    ) -> None:
        """Let statements of this connection call a function."""
        ...

    def changes(self) -> int:
        """Count the rows that the last statement changed."""
        ...

    def last_insert_rowid(self) -> int:
        """Return the key of the row inserted last."""
        ...

    def data_version(self) -> int:
        """Return a number that changes with each commit: an own one, or another that a begin saw."""
        ...

    def set_busy_handler(self, callable: Callable[[int], bool] | None) -> None:
        """Set what to do while another connection holds the lock."""
        ...

    def backup(self, databasename: str, source: Any, sourcename: str) -> Any:
        """Begin to copy another database into this one."""
        ...

    def wal_checkpoint(self, dbname: str | None = None, mode: int = 0) -> tuple[int, int]:
        """Copy the log into the file."""
        ...

    def limit(self, id: int) -> int:
        """Return a limit of SQLite, such as the longest value in bytes."""
        ...

    def close(self) -> None:
        """Close it."""
        ...
