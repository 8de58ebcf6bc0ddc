"""From what was typed to an app, or to one line that says what to do."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.desk import Desk
from toril import ConfigError, Toril
from toril._serve.load import load_app

TWO_APPS = """
from toril import Toril
first, second = Toril(":memory:"), Toril(":memory:")
"""


@pytest.fixture(autouse=True)
def at_the_desk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in the folder, and forget the modules that were imported from it."""
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # Another test of this process may have left one, and a name is imported once.
    monkeypatch.delitem(sys.modules, "app", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(desk.folder):
            del sys.modules[name]


def refusal(target: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_app(target)
    return str(caught.value)


@pytest.mark.parametrize("target", ["app.py", "app.py:app", "app", "app:app", "./app.py:app"])
def test_a_file_or_a_module_with_or_without_a_name_is_found(target: str, app: Path) -> None:
    assert isinstance(load_app(target), Toril)


def test_a_file_in_a_package_is_imported_as_part_of_it(desk: Desk) -> None:
    desk.write("shop/__init__.py", "")
    desk.write("shop/base.py", "from toril import Toril\napp = Toril(':memory:')\n")
    desk.write("shop/tasks.py", "from .base import app\n")

    assert isinstance(load_app("shop/tasks.py"), Toril)
    assert load_app("shop.tasks") is load_app("shop/base.py:app")


def test_an_app_that_another_module_also_has_counts_once(desk: Desk, app: Path) -> None:
    desk.write("both.py", "from app import app\nagain = app\n")

    assert isinstance(load_app("both.py"), Toril)


def test_a_name_may_lead_into_an_object(desk: Desk, app: Path) -> None:
    desk.write("holder.py", "import app\n")

    assert isinstance(load_app("holder:app.app"), Toril)


def test_a_missing_file_names_the_nearest(app: Path) -> None:
    assert refusal("apq.py") == "apq.py: there is no such file (did you mean 'app.py'?)"


def test_a_missing_folder_is_named(desk: Desk) -> None:
    where = desk.folder / "nowhere"

    assert refusal("nowhere/app.py") == (
        f"nowhere/app.py: there is no such folder (looked for {where})"
    )


def test_a_folder_is_no_app(desk: Desk) -> None:
    assert refusal(".") == ".: it is a folder (name the file that makes the app, such as app.py)"


def test_a_missing_module_names_the_nearest(app: Path) -> None:
    assert refusal("apq") == "apq: there is no module 'apq' (did you mean 'app'?)"


def test_a_missing_module_in_a_package_names_the_nearest(desk: Desk) -> None:
    desk.write("shop/__init__.py", "")
    desk.write("shop/tasks.py", "")

    assert refusal("shop.task:app") == (
        "shop.task: there is no module 'shop.task' (did you mean 'tasks'?)"
    )


@contextmanager
def somebody_else() -> Iterator[None]:
    """A user who may not read everything: root can be one for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_a_file_that_may_not_be_read_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "app.py")
        file.write_text("")
        file.chmod(0)
        Path(folder).chmod(0o755)

        with somebody_else():
            said = refusal(str(file))

    assert said == f"{file}: it cannot be read (this user has no right to read it)"


def test_an_error_in_the_users_module_shows_the_users_last_line(desk: Desk) -> None:
    desk.write("helper.py", "def settings():\n    return {}['missing']\n\n\nvalue = settings()\n")
    desk.write("broken.py", "import helper\n")

    assert refusal("broken.py") == (
        "broken.py: importing it failed: KeyError: 'missing' at helper.py:2: "
        "return {}['missing'] (the error is in that file, not in toril)"
    )


def test_a_package_that_the_module_needs_is_named(desk: Desk) -> None:
    desk.write("needy.py", "import a_package_that_nobody_has\n")

    assert refusal("needy.py") == (
        "needy.py: importing it failed: ModuleNotFoundError: No module named "
        "'a_package_that_nobody_has' at needy.py:1: import a_package_that_nobody_has "
        f"(is 'a_package_that_nobody_has' installed in {sys.prefix}?)"
    )


def test_a_file_that_is_no_python_says_where(desk: Desk) -> None:
    desk.write("torn.py", "x = 1\ndef f(:\n")

    assert refusal("torn.py").startswith("torn.py: it is not valid Python: invalid syntax at ")
    assert "torn.py:2" in refusal("torn.py")


def test_a_script_that_ends_the_process_is_told_of_main(desk: Desk) -> None:
    desk.write("script.py", "import sys\nsys.exit(3)\n")

    assert refusal("script.py") == (
        "script.py: importing it ended the process at script.py:2: sys.exit(3) "
        '(put what the script does under: if __name__ == "__main__":)'
    )


def test_a_wrong_url_is_explained_with_its_line(desk: Desk) -> None:
    desk.write("wrong.py", "from toril import Toril\napp = Toril('sqlit:///x.db')\n")

    message = refusal("wrong.py")

    assert "no store is called 'sqlit' (did you mean 'sqlite'?" in message
    assert message.endswith(" at wrong.py:2: app = Toril('sqlit:///x.db')")


def test_a_module_without_an_app_says_how_to_make_one(desk: Desk) -> None:
    desk.write("empty.py", "x = 1\n")

    assert refusal("empty.py") == (
        "empty.py: there is no Toril app in it (write app = Toril() at its top level)"
    )


def test_several_apps_are_listed(desk: Desk) -> None:
    desk.write("two.py", TWO_APPS)

    assert refusal("two.py") == (
        "two.py: there are several apps in it (say which one: two.py:first or two.py:second)"
    )


def test_a_name_that_is_not_there_lists_the_apps(desk: Desk) -> None:
    desk.write("two.py", TWO_APPS)

    assert (
        refusal("two.py:third") == "two.py: there is no 'third' in it (its apps: 'first', 'second')"
    )


def test_a_name_of_something_else_says_what_it_is(app: Path) -> None:
    assert (
        refusal("app:hello") == "app: 'hello' is a BlockingTask, not a Toril app (its apps: 'app')"
    )


def test_a_file_with_the_name_of_another_module_is_noticed(desk: Desk) -> None:
    desk.write("queue.py", "from toril import Toril\napp = Toril(':memory:')\n")

    assert refusal("queue.py") == (
        "queue.py: its name is that of another module, 'queue' (rename the file)"
    )
