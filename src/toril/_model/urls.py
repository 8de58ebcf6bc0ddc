"""URLs as they may be shown: what may be a password is omitted, however the URL is misspelt.

Never here: what a URL means.
"""

import re
from collections.abc import Iterable

from .checks import shown

# What is shown of a URL that may hold a password, where not even its scheme can be told.
HIDDEN = "…"
LONGEST = 200
# Shorter parts of what was typed are in many words of an error.
LEAST_SECRET = 4
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}")
_SERVER = re.compile(
    r"\W*(redis|valkey|unix|postgres|mysql|mongodb|amqp|http)\w*(:|//)", re.IGNORECASE
)
# A user before the first slash, or in one part of a path; `C:\users\me@work` is neither.
_USER = re.compile(r"(?![A-Za-z]:[/\\])[^/\\]*:.*@|.*:[^/\\]*@", re.DOTALL)


def scheme_of(url: str) -> str | None:
    """Return what stands before `://`; None: nothing that can be a scheme does."""
    head, found, _ = url.partition("://")
    return head.lower() if found and _SCHEME.fullmatch(head) else None


def is_like_server(text: str) -> bool:
    """Return whether a text looks like the URL of a server with a user, well spelt or not."""
    if "@" not in text:
        return False
    return "//" in text or bool(_SERVER.match(text) or _USER.match(text))


def hide(url: str) -> str:
    """Return a URL that names no store as it may be shown: at most its scheme, if it may hide a
    password, else all of it but its query.
    """
    scheme = scheme_of(url)
    place, query, _ = url.partition("?")
    harmless = scheme == "sqlite" or (scheme is None and ":" not in url)
    if harmless and "@" not in url and url.isprintable():
        place = place if len(place) <= LONGEST else f"{place[:LONGEST]}{HIDDEN}"
        return f"{place}?{HIDDEN}" if query else place
    return f"{scheme}://{HIDDEN}" if scheme else HIDDEN


def hide_line(source: str) -> str:
    """Return a line of code as it may be shown: not if a URL with a password may be in it."""
    return HIDDEN if is_like_server(source) else source


def hide_words(text: str, words: Iterable[str]) -> str:
    """Return an error without the URLs that are among these words, which it may repeat."""
    for word in words:
        for piece in (word, word.partition("=")[2]):
            if "@" in piece and ("//" in piece or _SERVER.match(piece)):
                # As it is, quoted, on one line, and shortened.
                forms = {piece, repr(piece)[1:-1], " ".join(piece.split()), shown(piece)[1:-1]}
                # And cut, as a list of names is.
                forms |= {part for part in _cut(piece) if _may_be_secret(part)}
                for form in sorted(forms, key=len, reverse=True):
                    text = text.replace(form, hide(piece))
    return text


def _cut(piece: str) -> list[str]:
    """Return the parts of a URL up to its host."""
    user, _, host = piece.rpartition("@")
    end = re.split(r"[,:=/]", host)[0]
    return re.split(r"[,:=/]", f"{user}@{end}")


def _may_be_secret(part: str) -> bool:
    return len(part) >= LEAST_SECRET and _SERVER.match(f"{part}:") is None
