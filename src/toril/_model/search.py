"""Fields by which jobs are found: which values of a job's data, and which tags.

Never here: reading data as JSON text, or where the fields are stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from toril.errors import ConfigError

from .checks import check_text, shown

TAG = "tag"
"""The field under which tags are found."""
MOST_FIELDS = 32
"""How many fields with values a job may be found by, tags included."""
LONGEST = 200
LOOKED_AT = 2_000
"""How many entries of an index one call looks at."""

Fields = tuple[tuple[str, str], ...]


def check_names(names: object, option: str) -> tuple[str, ...]:
    """Return the names that `index` or `tags` has, each once.

    Raises   ConfigError: they are no list of texts.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(
            f"{option}={shown(names)} must be a list of texts",
            field=option,
            value=names,
            hint=f'write {option}=["user_id"]' if option == "index" else 'write tags=["beta"]',
        )
    checked = [check_text(name, option) for name in cast("Sequence[object]", names)]
    for name in checked:
        if not name or len(name) > LONGEST:
            raise ConfigError(
                f"{option}: {shown(name)} must have 1 to {LONGEST} characters",
                field=option,
                value=name,
            )
    return tuple(dict.fromkeys(checked))


def fixed(value: object) -> object:
    """Return a list as a tuple, so that equal options are found to be equal; others as they are."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def text_of(value: object) -> str | None:
    """Return a value as it is found by; None: it is not a single value."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = value
        case int() | float():
            text = str(value)
        case _:
            return None
    return text.replace("\x00", "")[:LONGEST]


def fields_of(data: object, index: Sequence[str], tags: Sequence[str]) -> Fields:
    """Return the fields that a job with this data is found by.

    A name may be a path, such as "user.id". Of a list each value counts.
    """
    found: dict[tuple[str, str], None] = {}
    for name in index:
        for value in _values(data, name):
            text = text_of(value)
            if text is not None:
                found[name.replace("\x00", ""), text] = None
    for tag in tags:
        found[TAG, tag.replace("\x00", "")[:LONGEST]] = None
    return tuple(found)[:MOST_FIELDS]


def _values(data: object, path: str) -> Iterator[object]:
    at: object = data
    if path in _object(data):
        at = _object(data)[path]
    else:
        for part in path.split("."):
            at = _object(at).get(part)
    yield from cast("list[object]", at)[:MOST_FIELDS] if isinstance(at, list) else (at,)


def _object(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def where_of(where: object) -> Fields:
    """Return what to search for, given as {field: value}.

    Raises   ConfigError: it is not a mapping with at least one field, or a value is not single.
    """
    given = _object(where)
    if not given:
        raise ConfigError(
            f"where={shown(where)} must name at least one field",
            field="where",
            value=where,
            hint='write {"user_id": 481}',
        )
    made: list[tuple[str, str]] = []
    for name, value in given.items():
        text = text_of(value)
        if text is None:
            raise ConfigError(
                f"where: {name}={shown(value)} is not a text, number or truth value",
                field="where",
                value=value,
            )
        made.append((check_text(name, "where"), text))
    return tuple(made)
