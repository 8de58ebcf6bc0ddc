"""Guess which known word was meant by one that is not known: for the hints of errors."""

from collections.abc import Iterable

CUTOFF = 0.6


def nearest(word: object, known: Iterable[str], *, cutoff: float = CUTOFF) -> str | None:
    """Return the known word that is most like this one, or None when none is like it.

    `cutoff` is how alike they must be, from 0 to 1.
    """
    # Slow to import, and only needed when something is wrong.
    import difflib

    return next(iter(difflib.get_close_matches(str(word), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(
    word: object,
    known: Iterable[str],
    *,
    before: str = "",
    after: str = "",
    cutoff: float = CUTOFF,
) -> str:
    """Return a question that names the nearest known word, or "" when none is near."""
    guess = nearest(word, known, cutoff=cutoff)
    return "" if guess is None else f"{before}did you mean {guess!r}?{after}"
