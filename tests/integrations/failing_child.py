"""A handler that fails in a child process."""


def fail() -> None:
    """Raise an error."""
    raise RuntimeError("in a child")
