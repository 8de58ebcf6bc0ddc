"""JSON values of jobs as text for a browser: exact, without secrets, and bounded.

Numbers are written digit by digit as they were stored, so that none is rounded. Never here: what
is secret (`redact`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .redact import Redactor, fields_of, hide_in, items_of

SHOWN = 16_384
"""How many characters of one value are sent with its job."""
WHOLE = 8_000_000
DEEPEST = 64
# Text is looked at a little further than it is shown: a secret must not be cut in two.
_BEYOND = 4_096

_LENGTHS = ((0, "0"), (4, "1-4"), (11, "5-11"), (20, "12-20"), (40, "21-40"), (100, "41-100"))


class Digits(int):
    """A whole number with the digits it was written with."""

    text: str

    def __new__(cls, text: str) -> "Digits":
        """Read a number."""
        # Longer ones Python refuses to convert; only their text counts then.
        made = super().__new__(cls, int(text) if len(text) < 4_000 else 0)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


class Decimals(float):
    """A number with a fraction or an exponent, with the digits it was written with."""

    text: str

    def __new__(cls, text: str) -> "Decimals":
        """Read a number."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as it is sent: JSON text, how many characters all of it has, whether it was cut."""

    text: str
    size: int
    cut: bool = False
    hidden: int = 0


class TooDeepError(ValueError):
    """The value is nested deeper than can be read."""


def parse(text: str) -> Any:
    """Read JSON, keeping the digits of its numbers.

    Raises   ValueError: it is no JSON. TooDeepError: it is nested too deep.
    """
    try:
        return json.loads(text, parse_int=Digits, parse_float=Decimals)
    except RecursionError:
        raise TooDeepError("this value is nested too deep to be read") from None


def show(text: str | None, redactor: Redactor, name: str, *, most: int = SHOWN) -> Shown | None:
    """Return JSON text as it may be sent: indented, cut after `most` characters, without secrets."""
    if text is None:
        return None
    try:
        value = parse(text)
    except TooDeepError:
        return Shown(_mark("$cut", "nested too deep to be shown", size=len(text)), len(text), True)
    except ValueError:
        shown = show_text(text, None if redactor.open else (), most=most)
        return Shown(json.dumps(shown.text), len(text), shown.cut)
    writer = _Writer(redactor, name, most)
    writer.write(value, (), 0)
    return Shown("".join(writer.parts), len(text), writer.cut, writer.hidden)


def show_text(text: str, secrets: Sequence[str] | None = (), *, most: int = SHOWN) -> Shown:
    """Return a text as it may be sent: cut after `most` characters, without secrets.

    Shape    secrets: what must not be in it, beside what looks like a secret; None: show all.
    """
    shown = text[: most + _BEYOND]
    if secrets is not None:
        shown = hide_in(shown, secrets)
    return Shown(clean(shown[:most]), len(text), len(shown) > most or len(text) > most + _BEYOND)


def clean(text: str) -> str:
    """Return a text that can be encoded: halves of surrogate pairs are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def hidden_mark(value: object) -> str:
    """Return what is written instead of a secret: its type and about how long it is."""
    kind = _kind(value)
    inner = fields_of(value) or items_of(value)
    size = len(str(value)) if inner is None else len(inner)
    return _mark("$hidden", kind, length=length_class(size))


def length_class(size: int) -> str:
    """Return about how long something is."""
    return next((name for most, name in _LENGTHS if size <= most), "over 100")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "object"


def _mark(key: str, what: str, **facts: object) -> str:
    return json.dumps({key: what, **facts})


Pairs = list[tuple[str, Any]] | list[tuple[int, Any]]


class _Writer:
    """Writes one value; stops adding when it has written enough."""

    def __init__(self, redactor: Redactor, name: str, most: int) -> None:
        self.parts: list[str] = []
        self.cut = False
        self.hidden = 0
        self._redactor = redactor
        self._name = name
        self._left = most
        self._secrets = None if redactor.open else ()

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self._left -= len(text)

    def write(self, value: Any, path: tuple[str, ...], depth: int) -> None:
        fields, items = fields_of(value), items_of(value)
        if value is not None and self._redactor.hides(self._name, path, value):
            self.hidden += 1
            self._put(hidden_mark(value))
        elif fields is not None:
            self._many("{}", [*fields.items()], path, depth)
        elif items is not None:
            self._many("[]", [*enumerate(items)], path, depth)
        elif isinstance(value, str):
            self._text(value)
        else:
            self._put(str(value) if isinstance(value, Digits | Decimals) else json.dumps(value))

    def _text(self, value: str) -> None:
        shown = show_text(value, self._secrets, most=max(self._left, 80))
        if shown.cut:
            self.cut = True
            self._put(_mark("$cut", "text", size=len(value), head=shown.text))
        else:
            self._put(json.dumps(shown.text, ensure_ascii=False))

    def _many(self, ends: str, pairs: Pairs, path: tuple[str, ...], depth: int) -> None:
        if not pairs:
            self._put(ends)
            return
        if depth >= DEEPEST:
            self.cut = True
            self._put(_mark("$cut", "nested too deep to be shown", size=len(pairs)))
            return
        self._put(ends[0])
        margin = "\n" + "  " * (depth + 1)
        for at, (key, each) in enumerate(pairs):
            comma = "," if at else ""
            keyed = isinstance(key, str)
            if self._left <= 0:
                self.cut = True
                self._put(f"{comma}{margin}{self._rest(len(pairs) - at, keyed=keyed)}")
                break
            label = f"{self._key(key)}: " if isinstance(key, str) else ""
            self._put(f"{comma}{margin}{label}")
            self.write(each, (*path, str(key)), depth + 1)
        self._put("\n" + "  " * depth + ends[1])

    def _key(self, key: str) -> str:
        shown = show_text(key, self._secrets, most=200)
        return json.dumps(shown.text + ("…" if shown.cut else ""), ensure_ascii=False)

    def _rest(self, count: int, *, keyed: bool) -> str:
        mark = _mark("$cut", "more", size=count)
        return f'"$cut": {mark}' if keyed else mark
