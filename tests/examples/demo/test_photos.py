"""Finding photographs: the user's, or those that a package brings."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from toril import ConfigError
from toril.demo import photos
from toril.demo.photos import find_photos


def refusal(folder: Path | None) -> str:
    with pytest.raises(ConfigError) as caught:
        find_photos(folder)
    return str(caught.value)


def test_the_pictures_of_a_folder_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.webp", "notes.txt", "d.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    assert [path.name for path in find_photos(tmp_path)] == ["a.png", "b.JPG", "c.webp", "d.jpeg"]


def test_a_large_folder_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MOST", 2)
    for name in "abc":
        (tmp_path / f"{name}.png").touch()

    assert [path.name for path in find_photos(tmp_path)] == ["a.png", "b.png"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    assert refusal(nowhere) == (
        f"images={str(nowhere)!r} does not exist (give a folder with pictures in it)"
    )


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.touch()

    assert refusal(file) == f"images={str(file)!r} is a file (give a folder with pictures in it)"


def test_a_folder_without_pictures_says_what_a_picture_is(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"images={str(tmp_path)!r} has no pictures in it "
        "(their names end in .jpg, .jpeg, .png, .webp)"
    )


def test_the_package_s_photographs_are_found_and_its_drawings_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleSpec("skimage", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: package)
    (tmp_path / "data").mkdir()
    for name in ("coffee.png", "logo.png", "page.png", "rocket.jpg"):
        (tmp_path / "data" / name).write_bytes(bytes(30_000))
    (tmp_path / "data" / "chessboard.png").write_bytes(bytes(1_000))

    assert [path.name for path in find_photos()] == ["coffee.png", "rocket.jpg"]


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert refusal(None) == (
        "there are no pictures to work on (give a folder: toril demo --images ~/Pictures, "
        "or run: pip install --no-deps scikit-image)"
    )


def test_the_installed_package_has_about_fifteen() -> None:
    assert 12 <= len(find_photos()) <= 20
