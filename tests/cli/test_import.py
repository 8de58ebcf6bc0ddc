"""`toril worker --import`: modules whose tasks the app does not import itself."""

from tests.support.crew import crew
from tests.support.desk import Desk
from toril import Toril

JOBS = """
from toril import Blueprint
mail = Blueprint("mail")

@mail.task(queue="mail")
async def welcome(to: str) -> None:
    print(f"sent to {to}", flush=True)
"""


async def test_a_worker_imports_modules_and_includes_their_blueprints(desk: Desk) -> None:
    url = f"sqlite:///{desk.folder / 'jobs.db'}"
    desk.write("app.py", f"from toril import Toril\napp = Toril({url!r})\n")
    desk.write("shop/__init__.py", "")
    desk.write("shop/jobs.py", JOBS)
    async with Toril(url) as app:
        await app.queue("mail").add("welcome", {"to": "ada"})
        with crew(desk, "worker", "app.py", "--import", "shop.*", "--processes", "1") as fleet:
            fleet.until("sent to ada")


def test_a_module_that_is_missing_is_named(desk: Desk) -> None:
    desk.write("app.py", "from toril import Toril\napp = Toril(':memory:')\n")
    ended = desk.run("worker", "app.py", "--import", "nowhere.*")

    assert ended.code == 2
    assert "there is no module 'nowhere'" in ended.err
