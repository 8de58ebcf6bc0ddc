"""What a request is refused with, as every client gets it; and the errors of toril as such.

Never here: sending it.
"""

from dataclasses import dataclass

import msgspec

from toril import (
    ConfigError,
    JobError,
    JobNotFound,
    StoreError,
    TorilError,
)

from .values import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request was refused.

    Attributes:
        error: A constant word: access, permission, csrf, bad_request, not_found, method, conflict,
            too_large, store.
        message: What is wrong, for people.
        hint: What to do about it.
        field: The field of the request that is wrong.
    """

    error: str
    message: str
    hint: str | None = None
    field: str | None = None


class RefusedError(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, error: str, message: str, **more: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(error=error, message=message, **more)


def not_found(message: str) -> RefusedError:
    """Return the refusal of what is not there, or may not be seen."""
    return RefusedError(404, "not_found", message)


def bad_request(message: str, field: str | None = None, hint: str | None = None) -> RefusedError:
    """Return the refusal of a request that is wrong."""
    return RefusedError(400, "bad_request", message, field=field, hint=hint)


def refusal_of(error: TorilError | msgspec.ValidationError) -> RefusedError:
    """Return what an error means for a client."""
    message = clean(str(error))
    if isinstance(error, msgspec.ValidationError):
        return bad_request(message)
    if isinstance(error, JobNotFound):
        return not_found(message)
    if isinstance(error, StoreError):
        return RefusedError(503, "store", message)
    if isinstance(error, JobError):
        return RefusedError(409, "conflict", message)
    if isinstance(error, ConfigError):
        field = None if error.field is None else str(error.field)
        return bad_request(message, field=field)
    return bad_request(message)
