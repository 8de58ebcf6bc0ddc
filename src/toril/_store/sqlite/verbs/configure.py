"""The verb configure: what holds for a whole queue."""

from toril._model.notes import Pause
from toril._model.report import QueueSettings, SettingsPatch, Unset
from toril._model.stored import flag
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit, keep_to_text

from .read import settings_of


def configure(unit: Unit, name: str, patch: SettingsPatch, now: Millis) -> QueueSettings:
    """Carry out the verb configure."""
    queue = unit.queue(name)
    if not isinstance(patch.paused, Unset):
        _pause(queue, patch.paused, patch.pause, now)
    if not isinstance(patch.concurrency, Unset):
        queue.concurrency = patch.concurrency
    _limit(queue, patch, now)
    if not isinstance(patch.keep_completed, Unset):
        queue.keep_completed = keep_to_text(patch.keep_completed)
    if not isinstance(patch.keep_failed, Unset):
        queue.keep_failed = keep_to_text(patch.keep_failed)
    if not isinstance(patch.dead_letter, Unset):
        queue.dead_letter = patch.dead_letter
        if patch.dead_letter is not None:
            unit.queue(patch.dead_letter)  # its name is checked now, not when a job fails
    if not isinstance(patch.events_limit, Unset):
        queue.events_limit = patch.events_limit
    if not isinstance(patch.max_waiting, Unset):
        queue.max_waiting = patch.max_waiting
    if patch.declared:
        queue.declared = 1
    unit.look.add(name)
    return settings_of(queue, now)


def _pause(queue: QueueRow, paused: bool, note: Pause | None, now: Millis) -> None:
    if bool(queue.paused) != paused:
        queue.paused = flag(paused)
        queue.emit(now, {"kind": "paused" if paused else "resumed"})
    queue.pause = queue.pause_since = queue.pause_until = None
    if paused and note is not None:
        queue.pause, queue.pause_until = note.text, note.until_ms
        queue.pause_since = now if note.since_ms is None else note.since_ms


def end_pause(queue: QueueRow, now: Millis) -> bool:
    """Resume a queue whose pause is over; return whether it is paused still."""
    if queue.paused and queue.pause_until is not None and queue.pause_until <= now:
        _pause(queue, False, None, now)
    return bool(queue.paused)


def _limit(queue: QueueRow, patch: SettingsPatch, now: Millis) -> None:
    if not isinstance(patch.rate, Unset):
        queue.rate_max, queue.rate_ms = patch.rate or (None, None)
        queue.window_used = queue.window_max = queue.window_end = 0
    if not isinstance(patch.limit_for_ms, Unset):
        queue.limited_until = now + patch.limit_for_ms if patch.limit_for_ms else 0
