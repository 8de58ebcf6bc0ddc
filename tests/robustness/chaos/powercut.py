"""A disk that remembers what was written and what was synced, to cut the power afterwards.

Every write, truncation and sync that SQLite makes is recorded in order. A cut at any point keeps
what was synced by then and any part of what was not: that is all that a disk promises.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
VFS = "toril-power-cut"


class Disk:
    """The files of one folder: as they were, and everything done to them since `begin`."""

    def __init__(self) -> None:
        self.ops: list[tuple[str, str, int, bytes]] = []
        self._base: dict[str, bytes] = {}
        self._recording = False

    def begin(self, *paths: Path) -> None:
        """Take the files as they are for safe, and record from here on."""
        self._base = {path.name: path.read_bytes() for path in paths if path.exists()}
        self._recording = True

    def note(self, path: str, what: str, at: int = 0, data: bytes = b"") -> None:
        if self._recording:
            self.ops.append((Path(path).name, what, at, data))

    def cut(self, at: int, rng: random.Random, folder: Path) -> None:
        """Write the files as they may be after a power cut before the operation number `at`."""
        for name in {name for name, *_ in self.ops} | set(self._base):
            mine = [op for op in self.ops[:at] if op[0] == name]
            synced = max((n for n, op in enumerate(mine, 1) if op[1] == "sync"), default=0)
            image = bytearray(self._base.get(name, b""))
            for op in mine[:synced]:
                _apply(image, op)
            for op in mine[synced:]:
                if rng.random() < 0.5:
                    _apply(image, _torn(op, rng))
            (folder / name).write_bytes(image)


def _torn(op: tuple[str, str, int, bytes], rng: random.Random) -> tuple[str, str, int, bytes]:
    """Cut a write short at a sector, now and then."""
    name, what, at, data = op
    if what == "write" and len(data) > SECTOR and rng.random() < 0.3:
        data = data[: SECTOR * rng.randrange(1, len(data) // SECTOR + 1)]
    return name, what, at, data


def _apply(image: bytearray, op: tuple[str, str, int, bytes]) -> None:
    _, what, at, data = op
    if what == "write":
        image.extend(bytes(max(at - len(image), 0)))
        image[at : at + len(data)] = data
    elif what == "truncate":
        del image[at:]


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.note(self._name, "write", offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._disk.note(self._name, "truncate", newsize)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.note(self._name, "sync")


class _VFS(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(VFS, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)


@contextmanager
def recorded(disk: Disk) -> Iterator[str]:
    """Give the name of a VFS that records on this disk."""
    vfs = _VFS(disk)
    try:
        yield VFS
    finally:
        vfs.unregister()
