"""What users give as a reason, made into text that every store takes.

Never here: what a reason means for a job.
"""

from .guard import text_of

MAX_REASON = 8_192


def reason_text(given: object) -> str:
    """Return a reason as bounded text: of an error its message or its type; None has no text."""
    if given is None:
        return ""
    if isinstance(given, bytes | bytearray):
        return bounded(bytes(given).decode(errors="replace"))
    if isinstance(given, BaseException):
        return bounded(text_of(given)) or type(given).__name__
    return bounded(text_of(given))


def bounded(text: str) -> str:
    """Return the beginning of a text, as plain `str`."""
    if len(text) > MAX_REASON:
        text = f"{text[:MAX_REASON]}… ({len(text)} characters)"
    return sound(text)


def sound(text: str) -> str:
    """Return a text as plain `str` that can be stored as UTF-8.

    Lone surrogates come from file names; an instance of a subclass may be written as anything.
    """
    text = str.__str__(text)
    return text if text.isascii() else text.encode(errors="replace").decode()
