"""Rules on who may import whom: no cycles, only downwards, each driver in its own house."""

import graphlib
from collections.abc import Iterable

from tests.arch.source import Import, Module, within

Rank = tuple[int, int]

# The floors of docs/design.md §3. Inside a package named with its modules the order binds too;
# a module that is not listed has the package's floor and no place inside it.
FLOORS: dict[str, int] = {
    "toril.errors": 1,
    "toril.events": 1,
    "toril._model": 2,
    "toril._store": 3,
    "toril._run": 4,
    "toril.cli": 5,
    "toril.dashboard": 5,
    "toril.testing": 5,
    "toril.sync": 5,
    "toril.types": 5,
    "toril.hooks": 5,
    "toril.demo": 5,
    "toril.integrations": 6,
}
ORDER: dict[str, list[list[str]]] = {
    "toril._model": [
        ["times", "backoff"],
        ["options", "states"],
        ["record", "schedule"],
        ["decide", "flow", "report"],
    ],
    "toril._store": [["protocol"], ["sqlite", "redis"], ["connect"]],
    "toril._run": [
        ["job", "task", "events", "executors", "coalesce", "heartbeat", "hooks"],
        ["worker", "flow", "schedule", "queue"],
        ["app"],
    ],
}
TOP = ("toril", "toril.__main__")  # the front door may name anything
GUESTS = ("toril.demo",)  # an application that ships with us uses us as everybody does

IMPURE = {
    "apsw", "asyncio", "io", "logging", "os", "pathlib", "random", "redis", "secrets", "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
UNSAFE = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
HOMES = {"apsw": "toril._store.sqlite", "redis": "toril._store.redis"}
SURFACES = (
    "toril.cli", "toril.dashboard", "toril.integrations", "toril.testing", "toril.demo",
)  # fmt: skip


def _floor(name: str) -> int | None:
    return next((floor for package, floor in FLOORS.items() if within(name, package)), None)


def _place(name: str) -> tuple[str, int] | None:
    """The ordered package a module belongs to and its place there; ``__init__`` is on top."""
    for package, levels in ORDER.items():
        if name == package:
            return package, len(levels)
        for place, names in enumerate(levels):
            if any(within(name, f"{package}.{each}") for each in names):
                return package, place
    return None


def _resolve(found: Import, names: set[str]) -> str | None:
    """The module of ours that an import reaches, or None when it is somebody else's."""
    if found.name and f"{found.target}.{found.name}" in names:
        return f"{found.target}.{found.name}"
    return found.target if within(found.target, "toril") else None


def _edges(modules: Iterable[Module]) -> list[tuple[Module, Import, str]]:
    modules = list(modules)
    names = {module.name for module in modules}
    return [
        (module, found, target)
        for module in modules
        for found in module.imports
        if (target := _resolve(found, names)) is not None
    ]


def no_cycles(modules: list[Module]) -> list[str]:
    """No module reaches itself, counting imports in functions and for types only."""
    graph: dict[str, set[str]] = {module.name: set() for module in modules}
    for module, _, target in _edges(modules):
        if target == module.name:
            return [module.at(1, f"imports itself: {target}")]
        graph[module.name].add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        first = next(module for module in modules if module.name == circle[0])
        return [first.at(1, "import cycle: " + " ← ".join(circle))]
    return []


def only_downwards(modules: list[Module]) -> list[str]:
    """No import of a higher floor; every module stands on one."""
    homeless = [
        module.at(1, f"{module.name} stands on no floor; give it one in tests/arch/imports.py")
        for module in modules
        if module.name not in TOP and _floor(module.name) is None
    ]
    return homeless + [
        module.at(found.line, f"import up a floor: {module.name} may not know {target}")
        for module, found, target in _edges(modules)
        if module.name not in TOP and _is_up(module.name, target)
    ]


def _is_up(name: str, target: str) -> bool:
    mine, theirs = _floor(name), _floor(target)
    if mine is None or theirs is None:
        return False
    if mine != theirs:
        return theirs > mine
    here, there = _place(name), _place(target)
    return here is not None and there is not None and here[0] == there[0] and there[1] > here[1]


def front_door_stays_shut(modules: list[Module]) -> list[str]:
    """Nothing inside imports ``toril`` itself: the front door names everything below it."""
    return [
        module.at(found.line, "imports the bare package toril; name the module you mean")
        for module, found, target in _edges(modules)
        if target == "toril" and module.name not in TOP and not module.inside(*GUESTS)
    ]


def guests_use_the_front_door(modules: list[Module]) -> list[str]:
    """An application that ships with us shows what everybody can do: by public names alone."""
    return [
        module.at(found.line, f"{module.name} imports {target}; use `from toril import …`")
        for module, found, target in _edges(modules)
        if module.inside(*GUESTS)
        and target != "toril"
        and not any(within(target, guest) for guest in GUESTS)
    ]


def drivers_at_home(modules: list[Module]) -> list[str]:
    """``apsw`` and ``redis`` are imported by their own store only."""
    return [
        module.at(found.line, f"{driver} is imported outside {home}")
        for driver, home in HOMES.items()
        for module in modules
        for found in module.imports
        if within(found.target, driver) and not module.inside(home)
    ]


def only_connect_names_stores(modules: list[Module]) -> list[str]:
    """The two stores do not know each other, and only ``_store.connect`` knows either."""
    return [
        module.at(found.line, f"{target} is named outside toril._store.connect")
        for module, found, target in _edges(modules)
        for home in HOMES.values()
        if within(target, home) and not module.inside(home, "toril._store.connect")
    ]


def surfaces_leave_the_store_alone(modules: list[Module]) -> list[str]:
    """What stands in front of Queue and Toril reaches the store through them only."""
    return [
        module.at(found.line, f"{module.name} imports {target}; go through Queue or Toril")
        for module, found, target in _edges(modules)
        if module.inside(*SURFACES) and within(target, "toril._store")
    ]


def _imports_any(
    modules: list[Module], where: tuple[str, ...], banned: set[str], why: str
) -> list[str]:
    return [
        module.at(found.line, f"{found.target} is imported: {why}")
        for module in modules
        for found in module.imports
        if module.inside(*where) and found.target.partition(".")[0] in banned
    ]


def model_is_pure(modules: list[Module]) -> list[str]:
    """``_model`` has no clock, chance, I/O, loop or log; ``now`` and ``random`` are arguments."""
    return _imports_any(modules, ("toril._model",), IMPURE, "_model is pure")


def no_logging_below(modules: list[Module]) -> list[str]:
    """The model and the stores return and raise; only the runtime logs."""
    return _imports_any(
        modules, ("toril._model", "toril._store"), {"logging"}, "only the runtime logs"
    )


def no_unsafe_decoding(modules: list[Module]) -> list[str]:
    """Payloads are JSON: nothing that runs code when it reads data is imported."""
    return _imports_any(modules, ("toril",), UNSAFE, "reading data must never run code")


RULES = [
    no_cycles,
    only_downwards,
    front_door_stays_shut,
    guests_use_the_front_door,
    drivers_at_home,
    only_connect_names_stores,
    surfaces_leave_the_store_alone,
    model_is_pure,
    no_logging_below,
    no_unsafe_decoding,
]
