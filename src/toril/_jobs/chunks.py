"""Acting on many jobs of a queue: one bounded call after the other, until there are no more.

Never here: which verbs there are.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Literal

from toril._model.bounds import JOBS_A_CALL
from toril._model.checks import check_list
from toril._model.options import unknown_option
from toril._model.report import Selected, Selection
from toril._model.states import READY, State

from .turns import Pace

StateName = Literal[
    "waiting",
    "prioritized",
    "delayed",
    "active",
    "waiting-children",
    "completed",
    "failed",
    "ready",
]
States = State | StateName | Iterable[State | StateName] | None
_WORDS = {state.value: (state,) for state in State} | {"ready": READY}


def read_states(given: str | Iterable[str] | None) -> tuple[State, ...]:
    """Read states as a user writes them: one or several; "ready" is waiting and prioritized.

    Raises   ConfigError: there is no such state; it names the nearest.
    """
    if given is None:
        return ()
    if not isinstance(given, str):
        check_list(given, "state", hint='pass a state, such as "failed", or a list of them')
    words = [given] if isinstance(given, str) else list(given)
    found: dict[State, None] = {}
    for word in words:
        if type(word) not in (str, State) or word not in _WORDS:
            raise unknown_option(word, _WORDS, where="state", field="state")
        found.update(dict.fromkeys(_WORDS[word]))
    return tuple(found)


async def repeat(
    verb: Callable[[Selection], Awaitable[Selected]],
    selection: Selection,
    *,
    most: int | None = None,
) -> list[str]:
    """Act on up to `most` jobs of a selection, chunk by chunk; give the ids acted on."""
    ids: list[str] = []
    pace = Pace(JOBS_A_CALL)
    while most is None or len(ids) < most:
        limit = pace.limit if most is None else min(pace.limit, most - len(ids))
        selected = await pace.call(verb(replace(selection, limit=limit)))
        ids += selected.ids
        if not selected.more:
            break
    return ids
