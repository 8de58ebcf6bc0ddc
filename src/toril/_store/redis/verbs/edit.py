"""The verbs update, log, retry and promote. Never here: jobs that go away (remove)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from toril._model.record import Ref, cancel_reason
from toril._model.report import JobPatch, Selected, Selection, Unset
from toril._model.states import FINISHED, State
from toril._model.stored import flag
from toril._model.times import Millis
from toril._store.redis.core.scripts import row_of
from toril._store.redis.core.selection import Choice, RefusedJobs, act, calls
from toril._store.redis.core.server import Server
from toril._store.redis.core.split_groups import apart, group_error
from toril._store.refusals import lock_lost, missing, owned, wrong_state
from toril._store.values import LogLine
from toril.errors import TorilError

from . import read
from .expire import end_overdue


async def update(
    server: Server, patches: Sequence[JobPatch], now: Millis | None
) -> list[TorilError | None]:
    """Carry out the verb update."""
    wishes = [patch for patch in patches if not isinstance(patch.cancel, Unset)]
    if not wishes:
        return await _change(server, patches, now)
    others = [patch for patch in patches if isinstance(patch.cancel, Unset)]
    answers = iter(await _change(server, others, now))
    ends = iter(await _cancel(server, wishes, now))
    return [next(answers if isinstance(patch.cancel, Unset) else ends) for patch in patches]


async def _change(
    server: Server, patches: Sequence[JobPatch], now: Millis | None
) -> list[TorilError | None]:
    late = [Ref(patch.queue, patch.id) for patch in patches if patch.overdue]
    if late:
        records = await read.get(server, late)
        await end_overdue(server, [record for record in records if record is not None], now)

    async def send(places: Mapping[str, int], numbers: Sequence[int]) -> Sequence[str]:
        rows = [_patch_row(places, patches[number]) for number in numbers]
        words: list[str] = await server.run("update", list(places), {"patch": rows}, now=now)
        return words

    return await _each(server, patches, send)


async def _cancel(
    server: Server, patches: Sequence[JobPatch], now: Millis | None
) -> list[TorilError | None]:
    async def send(places: Mapping[str, int], numbers: Sequence[int]) -> Sequence[str]:
        rows = [_wish_row(places, patches[number]) for number in numbers]
        words: list[str] = await server.run("cancel", list(places), {"wish": rows}, now=now)
        return words

    return await _each(server, patches, send)


async def _each(
    server: Server,
    patches: Sequence[JobPatch],
    send: Callable[[Mapping[str, int], Sequence[int]], Awaitable[Sequence[str]]],
) -> list[TorilError | None]:
    """Send patches, in as many calls as it takes, and read their words."""
    answers: list[TorilError | None] = [None] * len(patches)
    for call in calls(server, [patch.queue for patch in patches]):
        places, left = call.places, call.numbers
        while left:
            words = await apart(left, lambda some: send(places, some))  # noqa: B023
            for number, word in zip(left, words, strict=False):
                answers[number] = _update_answer(server, patches[number], word)
            left = left[len(words) :]
    return answers


def _update_answer(server: Server, patch: JobPatch, word: str | TorilError) -> TorilError | None:
    if isinstance(word, TorilError):
        return word
    verb = "update" if isinstance(patch.cancel, Unset) else "cancel"
    return group_error(server, verb, patch.queue, word) or _why_not(patch, word)


def _wish_row(places: Mapping[str, int], patch: JobPatch) -> tuple[Any, ...]:
    why = "" if isinstance(patch.cancel, Unset) else patch.cancel
    return row_of("cancel", "wish")(
        queue=places[patch.queue], id=patch.id, token=patch.token, reason=cancel_reason(why)
    )


def _patch_row(places: Mapping[str, int], patch: JobPatch) -> tuple[Any, ...]:
    return row_of("update", "patch")(
        queue=places[patch.queue],
        id=patch.id,
        token=patch.token,
        data=_given(patch.data),
        progress=_given(patch.progress),
        delay=_given(patch.delay_ms),
        priority=_given(patch.priority),
        lifo=flag(patch.lifo),
        parent=flag(not isinstance(patch.parent, Unset)),
        dedup=flag(not isinstance(patch.dedup, Unset)),
        alone=None if isinstance(patch.alone, Unset) else flag(patch.alone),
    )


def _given(value: str | int | Unset) -> str | int | None:
    return None if isinstance(value, Unset) else value


def _why_not(patch: JobPatch, word: str) -> TorilError | None:
    match word:
        case "done":
            return None
        case "missing":
            return missing(patch.queue, patch.id)
        case "lost":
            return lock_lost(patch.queue, patch.id)
        case "owned":
            return owned(patch.queue, patch.id, "cancel")
        case state if not isinstance(patch.cancel, Unset):
            return wrong_state("cancel", patch.queue, patch.id, state, "waiting or running")
        case state:
            wanted = State.DELAYED
            return wrong_state("change the delay of", patch.queue, patch.id, state, wanted)


async def log(
    server: Server, lines: Sequence[LogLine], now: Millis | None
) -> list[int | TorilError]:
    """Carry out the verb log."""
    answers: list[int | TorilError] = [0] * len(lines)
    for call in calls(server, [line.queue for line in lines]):
        places = call.places

        async def send(numbers: Sequence[int]) -> Sequence[int | str]:
            some = [lines[number] for number in numbers]
            row = row_of("log", "line")
            rows = [
                row(queue=places[o.queue], id=o.id, text=o.text, keep=o.keep, token=o.token)  # noqa: B023
                for o in some
            ]
            found: list[int | str] = await server.run(
                "log",
                list(places),  # noqa: B023
                {"line": rows},
                now=now,
            )
            return found

        found = await apart(call.numbers, send)
        for number, count in zip(call.numbers, found, strict=True):
            answers[number] = _log_answer(server, lines[number], count)
    return answers


def _log_answer(server: Server, line: LogLine, word: int | str | TorilError) -> int | TorilError:
    if not isinstance(word, str):
        return word
    fault = group_error(server, "log", line.queue, word)
    if fault is not None:
        return fault
    make = missing if word == "missing" else lock_lost
    return make(line.queue, line.id)


async def retry(server: Server, selection: Selection, now: Millis | None) -> Selected:
    """Carry out the verb retry."""
    args = {"reset": flag(selection.reset_attempts)}
    return await _move(server, selection, FINISHED, ("retry", args), now)


async def promote(server: Server, selection: Selection, now: Millis | None) -> Selected:
    """Carry out the verb promote."""
    return await _move(server, selection, (State.DELAYED,), ("promote", {}), now)


async def _move(
    server: Server,
    selection: Selection,
    states: tuple[State, ...],
    script: tuple[str, dict[str, Any]],
    now: Millis | None,
) -> Selected:
    """Move jobs by a script, which is named after its verb; those of other states are refused."""
    verb, args = script

    def refusal(refused: RefusedJobs) -> Exception:
        if refused.word == "missing":
            return missing(selection.queue, refused.id)
        wanted = " or ".join(states)
        return wrong_state(verb, selection.queue, refused.id, refused.word, wanted)

    chosen = [state for state in selection.states if state in states]
    return await act(server, selection, chosen, Choice(verb, args, refusal), now)
