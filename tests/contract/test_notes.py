"""Notes of the whole store: marks, what people did, and work on many jobs."""

from tests.support.kit import SECOND, T0, Kit
from toril._model.notes import KEPT, NoteKind


async def bodies(kit: Kit, kind: NoteKind = "audit", **given: object) -> list[str]:
    return [note.body for note in await kit.store.notes(kind, **given)]  # type: ignore[arg-type]


async def test_notes_are_listed_the_newest_first_page_by_page(kit: Kit) -> None:
    for number in range(5):
        await kit.store.note("audit", f"[{number}]", now=kit.now)
        kit.tick(SECOND)

    assert await bodies(kit) == ["[4]", "[3]", "[2]", "[1]", "[0]"]
    page = await kit.store.notes("audit", limit=2)
    assert [note.at_ms for note in page] == [T0 + 4 * SECOND, T0 + 3 * SECOND]
    assert await bodies(kit, before=page[-1].id, limit=2) == ["[2]", "[1]"]


async def test_kinds_are_apart(kit: Kit) -> None:
    await kit.store.note("marks", "1", now=kit.now)

    assert await bodies(kit, "audit") == []
    assert await bodies(kit, "marks") == ["1"]


async def test_a_note_with_an_id_is_replaced_in_its_place(kit: Kit) -> None:
    for id in ("a", "b"):
        assert await kit.store.note("operations", "1", id=id, now=kit.now) == id
        kit.tick(SECOND)
    await kit.store.note("operations", "2", id="a", now=kit.now)

    notes = await kit.store.notes("operations")

    assert [(note.id, note.body) for note in notes] == [("b", "1"), ("a", "2")]
    assert notes[1].at_ms == T0


async def test_the_oldest_go(kit: Kit) -> None:
    for number in range(KEPT["operations"] + 3):
        await kit.store.note("operations", "1", id=f"n{number}", now=kit.now)
        kit.tick(1)

    notes = await kit.store.notes("operations", limit=1_000)

    assert len(notes) == KEPT["operations"]
    assert notes[-1].id == "n3"


async def test_a_note_is_replaced_only_by_who_knows_what_it_says(kit: Kit) -> None:
    async def note(body: str, instead_of: str, id: str = "a") -> str:
        return await kit.store.note("alerts", body, id=id, instead_of=instead_of, now=kit.now)

    assert await note("1", "0") == ""
    assert await note("1", "") == "a"
    assert await note("2", "") == ""
    assert await note("2", "0") == ""
    assert await bodies(kit, kind="alerts") == ["1"]
    assert await note("2 {}", "1") == "a"
    assert await note("3", "2 {}") == "a"
    assert await note("4", "3", id="b") == ""
    assert [(note.id, note.body) for note in await kit.store.notes("alerts")] == [("a", "3")]
