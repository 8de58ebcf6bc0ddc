"""Just enough of the Redis protocol to see where a command or a reply ends, and what it says."""

_LINE = b"+-:_#,("
_BULK = b"$=!"
_LISTS = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}


class Frames:
    """Cut a stream of bytes into whole commands, or whole replies."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and give every frame that is whole now."""
        self._rest += data
        frames: list[bytes] = []
        start = 0
        while (end := _end(self._rest, start)) is not None:
            frames.append(bytes(self._rest[start:end]))
            start = end
        del self._rest[:start]
        return frames


def _end(data: bytearray, start: int) -> int | None:
    """Say where the frame ends that begins here; None: not all of it is there."""
    pending, at = 1, start
    while pending:
        stop = data.find(b"\r\n", at)
        if stop < 0:
            return None
        kind, pending = data[at : at + 1], pending - 1
        text = bytes(data[at + 1 : stop])
        at = stop + 2
        if kind in _BULK and text != b"-1":
            at += int(text) + 2
            if at > len(data):
                return None
        elif bytes(kind) in _LISTS and text != b"-1":
            # An attribute is followed by what it belongs to.
            pending += int(text) * _LISTS[bytes(kind)] + (kind == b"|")
    return at


def words_of(frame: bytes, most: int = 4) -> tuple[str, ...]:
    """Read the first words of a command."""
    if frame[:1] != b"*":
        return tuple(frame.decode("utf-8", "replace").split()[:most])
    words: list[str] = []
    at = frame.index(b"\r\n") + 2
    while at < len(frame) and len(words) < most:
        stop = frame.index(b"\r\n", at)
        size = int(frame[at + 1 : stop])
        words.append(frame[stop + 2 : stop + 2 + size].decode("utf-8", "replace"))
        at = stop + 2 + size + 2
    return tuple(words)
