"""Hide secrets in job data, errors and logs, before anything is encoded for a browser.

A secret is known by the name of its key, by its shape, or because the application says so. Never
here: writing values as text (`values`).
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

HIDDEN_TEXT = "[hidden]"
"""What replaces a secret within a text."""

# In names of keys, wherever they are in the name, without case and punctuation.
PARTS = (
    "password", "passwd", "passphrase", "secret", "token", "authorization", "apikey", "cookie",
    "session", "credential", "privatekey", "cardnumber", "securitycode",
)  # fmt: skip
# As a word of a name: short words are parts of many others.
WORDS = frozenset(["auth", "card", "cvc", "cvv", "iban", "otp", "pin", "pwd", "ssn"])

Path = tuple[str, ...]
Rule = Callable[[str, Path, Any], bool]

_KEY = re.compile(r'"((?:[^"\\]|\\.){1,100})"\s{0,3}:')
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Each begins where few texts do, or is bounded: a text of any kind is read in linear time.
_NAMED = re.compile(
    r"(?i)(?P<key>(?:password|passwd|passphrase|secret|token|api[_-]?key|cookie|session)[\w-]{0,40}"
    r"[\"']?\s{0,3}[=:]\s{0,3}[\"']?)(?P<value>[^\s\"',;&)}\]]{1,8192})"
)
_SCHEME = re.compile(r"(?i)\b(?P<key>(?:bearer|basic)\s+)(?P<value>[\w.~+/=-]{8,})")
_USERINFO = re.compile(
    r"(?P<key>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:)(?P<value>[^\s/@]{1,200})(?=@)"
)
_SHAPES = re.compile(
    r"(?<![\w-])eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"
    r"|-----BEGIN [A-Z0-9 ]{0,40}-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[abprs]-[\w-]{10,}"
    r"|\b(?:sk|rk|pk)_(?:live|test)_\w{10,}",
    re.DOTALL,
)
_PATTERNS = (
    (("eyj", "-----begin ", "akia", "asia", "gh", "xox", "k_"), _SHAPES),
    (("://",), _USERINFO),
    (("bearer", "basic"), _SCHEME),
    (("pass", "secret", "token", "key", "cookie", "session"), _NAMED),
)
_DIGITS = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
# Times since 1970 in ms, µs and ns look like card numbers in one of ten cases.
_CLOCK_LENGTHS = (13, 16, 19)
_SHORTEST_SECRET = 4
_MOST_SECRETS = 100


def _no_paths(_: str) -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """The rules of one dashboard.

    Attributes:
        keys: More names of keys whose values are hidden, without case and punctuation.
        rule: Called with the name of a job, the path of a value and the value; True hides it.
        paths: Returns the paths to hide in the data of a task, such as "card.number".
        open: Hide nothing, for a user who asked for it and may.
    """

    keys: Collection[str] = ()
    rule: Rule | None = None
    paths: Callable[[str], Collection[str]] = _no_paths
    open: bool = False

    def hides(self, name: str, path: Path, value: object) -> bool:
        """Return whether the value at this path of a job's data is secret."""
        if self.open:
            return False
        if self._names(name, path, value):
            return True
        if isinstance(value, str):
            return is_secret(value)
        # Of numbers, only those that begin as payment cards do: others are counters and ids.
        return _is_number(value) and str(value)[:1] in "23456" and is_card(str(value))

    def _names(self, name: str, path: Path, value: object) -> bool:
        """Return whether a value is secret for where it is, whatever it looks like."""
        if path and self.hides_key(path[-1]):
            return True
        if self.rule is not None and self.rule(name, path, value):
            return True
        return any(_matches(wanted, path) for wanted in self.paths(name))

    def hides_key(self, key: str) -> bool:
        """Return whether values under a key of this name are secret."""
        return is_secret_name(key) or (bool(self.keys) and _plain(key) in map(_plain, self.keys))

    def may_hide(self, name: str, text: str) -> bool:
        """Return whether something in this JSON text may be secret for where it is."""
        if self.open:
            return False
        if self.rule is not None or self.paths(name):
            return True
        return any(self.hides_key(key) for key in {*_KEY.findall(text)})

    def secrets(self, name: str, value: object) -> list[str]:
        """Return the texts and numbers that are secret for where they are, the longest first."""
        found: dict[str, None] = {}
        stack: list[tuple[Path, object, bool]] = [((), value, False)]
        while stack and len(found) < _MOST_SECRETS:
            path, each, hidden = stack.pop()
            hidden = hidden or self._names(name, path, each)
            fields, items = fields_of(each), items_of(each)
            if fields is not None:
                stack.extend(((*path, key), one, hidden) for key, one in fields.items())
            elif items is not None:
                stack.extend(((*path, str(at)), one, hidden) for at, one in enumerate(items))
            elif (
                hidden and not isinstance(each, bool | None) and len(str(each)) >= _SHORTEST_SECRET
            ):
                found[str(each)] = None
        # A longer secret may contain a shorter one.
        return sorted(found, key=len, reverse=True)


def fields_of(value: object) -> dict[str, Any] | None:
    """Return a JSON object as such; None: it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def items_of(value: object) -> list[object] | None:
    """Return a JSON list as such; None: it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else None


@lru_cache(maxsize=4_096)
def is_secret_name(key: str) -> bool:
    """Return whether the name of a key says that its value is secret."""
    plain = _plain(key)
    if any(part in plain for part in PARTS):
        return True
    return any(word.lower() in WORDS for word in _WORD.findall(key))


def hide_in(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without what looks like a secret, and without these secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN_TEXT)
    lower = text.lower()
    # Looking for words is many times faster than for patterns, and most texts have none.
    for marks, pattern in _PATTERNS:
        if any(mark in lower for mark in marks):
            text = pattern.sub(_keep_key, text)
    return _DIGITS.sub(lambda found: HIDDEN_TEXT if is_card(found[0]) else found[0], text)


def _keep_key(found: re.Match[str]) -> str:
    return (found.groupdict().get("key") or "") + HIDDEN_TEXT


def is_secret(text: str) -> bool:
    """Return whether a whole text looks like a secret."""
    found = _SHAPES.search(text[:200])
    return (found is not None and found.start() == 0) or is_card(text)


def is_card(text: str) -> bool:
    """Return whether a text is a number that a payment card could have."""
    digits = text.replace(" ", "").replace("-", "")
    if not (13 <= len(digits) <= 19 and digits.isascii() and digits.isdigit()):
        return False
    if digits[0] == "1" and len(digits) in _CLOCK_LENGTHS and digits == text:
        return False
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + at % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(key: str) -> str:
    return "".join(each for each in key.lower() if each.isalnum())


def _matches(wanted: str, path: Path) -> bool:
    """Compare "card.number" or "cards.*.number" with a path and what is below it."""
    parts = wanted.split(".")
    return len(path) >= len(parts) and all(
        part in ("*", step) for part, step in zip(parts, path, strict=False)
    )
