"""More tasks."""

from toril import Blueprint

inner = Blueprint("inner")


@inner.task
def double(number: int) -> int:
    return 2 * number
