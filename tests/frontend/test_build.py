"""The pages of the dashboard as they are built: pure parts, size, licences, nothing inline."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.frontend import FRONTEND, node

# What a browser loads to show any page, in bytes as a server sends them.
SCRIPTS, FIRST_PAGE = 75_000, 100 * 1024
PLURALS = {"one", "other"}
SHARED = re.compile(r'from"\./([\w-]+\.js)"|import"\./([\w-]+\.js)"')


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("static")
    run = subprocess.run(
        [node(), "build.mjs", str(target)], cwd=FRONTEND, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return target


def test_the_pure_parts_pass_their_tests(built: Path) -> None:
    run = subprocess.run(
        [node(), "test.mjs"], cwd=FRONTEND, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    passed = re.search(r"^\S+ pass (\d+)$", run.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 15


def _loaded(built: Path, first: set[str]) -> set[str]:
    """Return these scripts, and those that they load at once."""
    found, left = set(), set(first)
    while left:
        name = left.pop()
        found.add(name)
        text = (built / "assets" / name).read_text("utf-8")
        left |= {a or b for a, b in SHARED.findall(text)} - found
    return found


def _packed(built: Path, names: set[str]) -> int:
    return sum(len(gzip.compress((built / "assets" / name).read_bytes(), 9)) for name in names)


def _named(built: Path, *starts: str) -> set[str]:
    assets = [path.name for path in (built / "assets").iterdir() if path.suffix == ".js"]
    return {name for name in assets if name.rpartition("-")[0] in starts}


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_page_loads_at_most_75_kb_of_script(built: Path, language: str) -> None:
    frame = _named(built, "app", "theme", language)
    assert len(frame) >= 3
    pages = {path.stem for path in (FRONTEND / "src" / "pages").glob("*.tsx")} - {"limits"}
    for page in pages:
        names = _loaded(built, frame | _named(built, page))
        assert _named(built, page), page
        assert _packed(built, names) <= SCRIPTS, page


def test_the_first_page_is_at_most_100_kib(built: Path) -> None:
    names = _loaded(built, _named(built, "app", "theme", "en", "overview"))
    styles = {path.name for path in (built / "assets").glob("*.css")}
    # Fonts are packed already; others than this one are loaded when a letter of theirs is shown.
    font = next((built / "assets").glob("geist-latin-wght*.woff2")).stat().st_size
    assert _packed(built, names | styles) + font + 1_000 <= FIRST_PAGE


def test_the_page_has_nothing_inline_and_loads_nothing_from_elsewhere(built: Path) -> None:
    page = (built / "index.html").read_text("utf-8")
    assert '<base href="__BASE__">' in page
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page) == []
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address == "__BASE__" or address.startswith(("assets/", "data:image/svg")), address
    for path in (built / "assets").iterdir():
        if path.suffix in (".js", ".css"):
            text = path.read_text("utf-8")
            assert "eval(" not in text
            assert "new Function" not in text
            assert not re.search(r"(?:url\(|fetch\(|import\()\s*[\"'`]?https?:", text)


def test_every_package_in_the_bundle_has_its_licence(built: Path) -> None:
    text = (built / "LICENSES.txt").read_text("utf-8")
    packages = json.loads((FRONTEND / "package.json").read_text("utf-8"))["dependencies"]
    for name in {*packages, "@preact/signals-core"} - {"esbuild"}:
        assert f"{name} " in text
    assert text.count("MIT") >= 4
    assert "OFL" in text


def test_nothing_else_is_in_the_bundle() -> None:
    packages = json.loads((FRONTEND / "package.json").read_text("utf-8"))
    assert set(packages["dependencies"]) == {
        "preact", "@preact/signals", "uplot", "esbuild",
        "@fontsource-variable/geist", "@fontsource-variable/geist-mono",
    }  # fmt: skip


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = json.loads((FRONTEND / "package-lock.json").read_text("utf-8"))
    for name, package in lock["packages"].items():
        assert "resolved" not in package
        assert name == "" or package["integrity"].startswith("sha512-")


def test_both_languages_have_every_text() -> None:
    """What TypeScript cannot see: texts that were left in the other language, or empty."""
    texts = ((FRONTEND / "src" / "i18n" / f"{name}.ts").read_text("utf-8") for name in ("en", "vi"))
    english, vietnamese = (
        [(key, words) for key, words in re.findall(r'(\w+): "([^"]*)"', text) if key not in PLURALS]
        for text in texts
    )
    assert [key for key, _ in english] == [key for key, _ in vietnamese]
    same = {a for (_, a), (_, b) in zip(english, vietnamese, strict=True) if a == b}
    assert same <= {"Worker", "Python"}, same
    assert not [key for key, text in english + vietnamese if not text.strip()]


def test_files_are_small() -> None:
    for path in (FRONTEND / "src").rglob("*.ts*"):
        if path.name != "types.ts":
            assert len(path.read_text("utf-8").splitlines()) <= 250, path
