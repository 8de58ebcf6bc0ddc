"""Cron texts that BullMQ reads as toril does: with both at work, either may make the next run.

What differs by more than words was found by reading thousands of texts both ways. Never here: when
a text runs (`_model.schedule`).
"""

import re
from typing import Final

from toril._model.schedule import MAX_TEXT, plain
from toril._model.stored import whole
from toril.errors import ConfigError

_NAMES: Final = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_FIRST: Final = (0, 0, 0, 1, 1, 0)
_LAST: Final = (59, 59, 23, 31, 12, 7)
_WORDS: Final = {
    4: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    5: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}
_TERM: Final = re.compile(r"(?:\*|([0-9]+)(?:-([0-9]+))?)(?:/([0-9]+))?")


def shared(cron: str) -> str:
    """Return a cron text as BullMQ takes it, with the same runs.

    Raises   ConfigError: BullMQ would refuse it, or run it on other days.
    """
    text = plain(cron)
    problem = _problem(text.split())
    if problem is not None:
        reason, hint = problem
        raise ConfigError(f"cron={cron!r}: {reason}", field="cron", value=cron, hint=hint)
    return text if cron.lstrip().startswith("@") else cron


def followed(pattern: str) -> str:
    """Write a pattern of BullMQ's so that toril has the same runs.

    One that is no pattern comes back as it is: `Rule` refuses it. Nothing is expanded before its
    length and its numbers are checked.
    """
    if len(pattern) > MAX_TEXT:
        return pattern
    fields = pattern.upper().split()
    if len(fields) not in (5, 6) or not _is_either(fields):
        return pattern
    for at in (3, 5):
        # What begins with `*` must match here as well; BullMQ takes what matches either day.
        place = at - 6
        if fields[place].startswith("*"):
            terms = {term: _values(term, at) for term in fields[place].split(",")}
            days = sorted(set[int]().union(*terms.values()))
            # What stands for no numbers stays, for `Rule` to judge.
            others = [term for term, values in terms.items() if not values]
            fields[place] = ",".join([*map(str, days), *others])
    return " ".join(fields)


def _is_either(fields: list[str]) -> bool:
    """Return whether BullMQ takes what matches either day where toril wants both to match."""
    days = (fields[-3], fields[-1])
    return any(day.startswith("*") for day in days) and not any(day in ("*", "?") for day in days)


def _problem(fields: list[str]) -> tuple[str, str] | None:
    """Return what keeps BullMQ from the same runs, and what to do about it."""
    if _is_either(fields):
        return (
            "the day of the month and the day of the week must both match here, and BullMQ would "
            "run it when either does",
            "leave one of the two open, and look at the other one in the job",
        )
    if "W" in fields[-3]:
        return "BullMQ knows no W", "name the days"
    if "#" in fields[-1] and "," in fields[-1]:
        return "BullMQ takes no list with #", "make a schedule for each of these days"
    for at, field in enumerate(fields, 6 - len(fields)):
        twice = _twice(field, at)
        if twice is not None:
            return f"{field!r} names a {_NAMES[at]} twice, which BullMQ refuses", f"write {twice}"
    return None


def _twice(field: str, at: int) -> str | None:
    """Write a list in which two terms overlap so that none do; None for any other."""
    sets = [_values(term, at) for term in field.split(",")]
    union = set[int]().union(*sets)
    if sum(map(len, sets)) == len(union):
        return None
    return ",".join(str(value) for value in sorted(union))


def _values(term: str, at: int) -> set[int]:
    """Return the numbers that a term represents; none where it has none, or one beyond its field."""
    for number, word in enumerate(_WORDS.get(at, ()), _FIRST[at]):
        term = term.replace(word, str(number))
    match = _TERM.fullmatch(term)
    if match is None:
        return set()
    first, last, step = match.groups()
    low = whole(first, _FIRST[at])
    # A single number with a step goes on to the end of the field.
    high = whole(last, low if first and not step else _LAST[at])
    width = whole(step, 1)
    if not _FIRST[at] <= low <= high <= _LAST[at] or not width:
        return set()
    values = range(low, high + 1, width)
    return {value % 7 for value in values} if at == 5 else set(values)
