"""The photographs that the demo works on: the user's, or some that a package brings.

Never here: looking into them.
"""

import importlib.util
from pathlib import Path

from toril import ConfigError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST = 100
"""More would keep the user waiting; it is a demo."""

# In the package's folder there are drawings, pages of text and test patterns too.
_NO_PHOTOGRAPHS = ("color.png", "logo.png", "page.png", "text.png")
_SMALLEST = 20_000


def find_photos(folder: Path | None = None) -> list[Path]:
    """Find the pictures in a folder, else those that scikit-image brings, by name.

    Only its files are read: neither it nor what it depends on is imported.

    Raises   ConfigError: there is no such folder, or no picture in it.
    """
    return _packaged() if folder is None else _given(folder)


def _given(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(
            f"images={str(folder)!r} {what}",
            field="images",
            value=folder,
            hint="give a folder with pictures in it",
        )
    found = _pictures(folder)
    if not found:
        raise ConfigError(
            f"images={str(folder)!r} has no pictures in it",
            field="images",
            value=folder,
            hint=f"their names end in {', '.join(SUFFIXES)}",
        )
    return found[:MOST]


def _packaged() -> list[Path]:
    package = importlib.util.find_spec("skimage")
    places = (package.submodule_search_locations or ()) if package else ()
    found = [path for place in places for path in _pictures(Path(place, "data"))]
    photographs = [
        path
        for path in found
        if path.name not in _NO_PHOTOGRAPHS and path.stat().st_size > _SMALLEST
    ]
    if not photographs:
        raise ConfigError(
            "there are no pictures to work on",
            field="images",
            hint="give a folder: toril demo --images ~/Pictures, or run: "
            "pip install --no-deps scikit-image",
        )
    return photographs


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path.resolve()
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
