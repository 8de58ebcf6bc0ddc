"""Headers of a job: text by name, stored as BullMQ's telemetry metadata (`opts.tm`).

BullMQ stores a carrier of propagation there, written as a JSON object of text. What is anything
else is kept as it is and has no headers.
"""

from collections.abc import Mapping
from typing import cast

import msgspec

from toril.errors import ConfigError

from .checks import check_text, shown
from .stored import or_else, reader

MAX_HEADERS = 16_384

_read = reader(dict[str, str])


def write_headers(value: object) -> str | None:
    """Return headers as they are stored; None for no headers.

    Raises   ConfigError: they are not text by name, or too long.
    """
    if value is None or value == {}:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"headers={shown(value)} must be text by name",
            field="headers",
            value=value,
            hint='use headers={"tenant": "acme"}',
        )
    given = cast("Mapping[object, object]", value)
    made = {check_text(name, "headers"): _text(name, each) for name, each in given.items()}
    text = msgspec.json.encode(made).decode()
    if len(text) > MAX_HEADERS:
        raise ConfigError(
            f"headers have {len(text):,} characters, more than {MAX_HEADERS:,}",
            field="headers",
            value=sorted(made),
            hint="headers are for short text; put the rest into the data",
        )
    return text


def _text(name: object, value: object) -> str:
    return check_text(value, f"headers[{name!r}]", hint="headers are text: use str(value)")


def read_headers(text: str | None) -> dict[str, str]:
    """Return stored headers; what another system stored in another form has none."""
    none: dict[str, str] = {}
    return or_else(_read, text, none)
