"""The results of a task: written so that its return annotation reads them back as they were.

Never here: its parameters (`signature`).
"""

from typing import Any

import msgspec

from toril._jobs.json_roundtrip import difference
from toril._jobs.payload import encode, refuse_no_numbers, write
from toril.errors import ConfigError, TaskError

from .convert import UnreadableType, convert, loosened
from .models import Adapter, ModelRefusal, adapter_of
from .signature import Signature, describe

_SAYS_NOTHING = (Any, object, None)
_PLAIN = (str, int, float, bool, type(None))


class Returns:
    """Writes and reads what one task returns."""

    def __init__(self, signature: Signature, *, title: str) -> None:
        self._signature = signature
        self._title = title
        self._adapter: Adapter | None = None
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._known = False

    def write(self, value: object) -> str:
        """Return a result as JSON text that `read` makes the same value of.

        A result of another type than the annotation is written as if there were none.

        Raises   ConfigError: the path of what cannot be stored.
        """
        self._prepare()
        where = f"result of {self._title}"
        if type(value) in _PLAIN or (self._adapter is None and self._decoder is None):
            return encode(value, where=where)
        try:
            text = self._written(value, where)
            back = self._read(text)
        except (ModelRefusal, UnreadableType, msgspec.ValidationError):
            return encode(value, where=where)
        changed = difference(value, back, where, loose=True)
        if changed is not None:
            raise ConfigError(f"{changed.path}: {describe(changed)}", field=changed.path)
        return text

    def _written(self, value: object, where: str) -> str:
        if self._adapter is None:
            return write(value, where=where)
        text = self._adapter.dump(value)
        if b"null" in text:
            refuse_no_numbers(value, where)
        return text.decode()

    def read(self, text: str) -> Any:
        """Return a result as its annotation says; JSON where nothing can convert it to that.

        Raises   TaskError: the result is not of that type.
        """
        self._prepare()
        try:
            return self._read(text)
        except UnreadableType:
            return msgspec.json.decode(text)
        # ValueError: what is stored is no JSON at all.
        except (ValueError, RecursionError, ModelRefusal) as error:
            raise TaskError(
                f"{self._title} did not return what it is annotated with: {error}"
            ) from error

    def _read(self, text: str) -> Any:
        if self._adapter is not None:
            return self._adapter.load(text.encode())
        return msgspec.json.decode(text) if self._decoder is None else self._decoder.decode(text)

    def _prepare(self) -> None:
        """Learn the annotation when it is first needed: its names may be defined after the task."""
        if self._known:
            return
        self._signature.settle()
        self._known = True
        kind = self._signature.result
        if any(kind is each for each in _SAYS_NOTHING):
            return
        self._adapter = adapter_of(kind)
        if self._adapter is None:
            try:
                self._decoder = msgspec.json.Decoder(loosened(kind), dec_hook=convert)
            except (TypeError, NameError, AttributeError):
                # A type that nothing can make of JSON says nothing about the result.
                self._decoder = None
