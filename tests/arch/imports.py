"""Rules on who may import whom: no cycles, only downwards, each driver in its own house."""

import ast
import graphlib
from collections.abc import Iterable

from tests.arch.source import Import, Module, within

# The floors, from the lowest: a module imports only from its own floor and those below. A test holds
# the drawings of docs/design.md and CONTRIBUTING.md against this table.
FLOORS: list[tuple[tuple[str, ...], str]] = [
    (("errors", "events"), "every error, and every event"),
    (("_model",), "pure values and rules: no clock, no I/O"),
    (("_store",), "the Store protocol; the SQLite store and the Redis store"),
    (("_transfer",), "moves queues from one store to another"),
    (("_jobs",), "a job as its producer sees it: handle, payload, events, result"),
    (("_handlers",), "what users declare: tasks, processors, schedules, dependencies"),
    (("_isolation",), "runs a handler: on the loop, in a thread, in a child process"),
    (("_worker",), "claims jobs, runs them, keeps their locks, reports"),
    (("_app",), "the app: queues, flows, diagnostics"),
    (("_serve",), "worker processes: load, serve, supervise, stop"),
    (("sync", "types", "hooks", "testing"), "what a person imports beside toril itself"),
    (("dashboard",), "the dashboard's server: its HTTP API and pages"),
    (("cli", "demo"), "what a person types"),
    (("integrations", "pytest_plugin"), "what other programs load: web frameworks, pytest"),
]
# Inside a package the order binds too: its modules by levels, from the lowest.
ORDER: dict[str, list[str]] = {
    "toril._model": [
        "bounds checks crashes diagnosis printable suggest",
        "other_systems search stored times urls",
        "alert faults",
        "backoff dead_letter dedup headers notes on_full schedule states",
        "options",
        "series stored_options",
        "record",
        "decide flow report",
        "transfer",
    ],
    "toril._store": [
        "clock forks values",
        "protocol threads",
        "loop_local",
        "refusals sqlite redis",
        "connect",
        "pending",
    ],
    "toril._store.redis.net": [
        "address idempotency resp",
        "connection driver faults sizes",
        "dial",
        "client",
        "blocker cluster",
        "renewer waiter",
    ],
    "toril._store.redis.core": [
        "keys scripts server_checks",
        "registry wire",
        "server",
        "presence selection split_groups",
    ],
    "toril._store.redis.verbs": [
        "add_rows children cron_text expire notes renew series strays stream",
        "consume read",
        "configure diagnose edit errors schedule search",
        "transfer",
        "remove",
        "large_group",
        "add",
        "durable",
    ],
    "toril._store.redis": [
        "net",
        "core",
        "verbs",
        "session",
        "sessions",
        "store",
    ],
    "toril._store.sqlite.connection": [
        "call_queue path_checks sql statements",
        "processes schema transaction",
        "mend runner",
        "file_locks",
        "shared_file",
    ],
    "toril._store.sqlite.verbs": [
        "positions read room",
        "configure errors family independent notes search series",
        "remove",
        "add retention",
        "dead_letter schedule",
        "finish transfer",
        "claim expire",
        "edit",
    ],
    "toril._store.sqlite": [
        "connection",
        "verbs",
        "wakeups",
        "engine",
        "backup diagnose renewer",
        "store",
    ],
    "toril._jobs": [
        "background_loop batching clock environment expire guard json_roundtrip paging process_role redis_settings thread_updates turns",
        "chunks event_reader listeners payload reasons",
        "children limits results",
        "session",
        "cancel events room unserved",
        "bulk job",
        "dead_letters node",
        "drafts",
        "enqueue",
    ],
    "toril._handlers": [
        "annotations callables convert depends isolation_options user_code",
        "definitions models retry_rule",
        "dependencies signature",
        "handlers returns",
        "app_hooks processors scopes soft_timeout task",
        "schedules",
        "declared",
        "bindings",
    ],
    "toril._isolation": [
        "forks memory outcome protocol",
        "os_process output pipe threads",
        "program verbs",
        "child_handle",
        "pool",
        "executor",
    ],
    "toril._worker": [
        "bell claims health hooks idle interrupts keeper last_crash phase vitals",
        "loop_lag options reporting running_job",
        "heartbeat host maintenance",
        "running",
        "exchange",
        "watchdog",
        "loops",
        "worker",
    ],
    "toril._app": [
        "alert_checks alerts closing discover flow hooked monitor options overview prometheus queue where",
        "blueprint",
        "diagnostics",
        "app",
        "harness",
    ],
    "toril._serve": [
        "channel console http load messages reload shutdown side_effects",
        "probes process",
        "serve",
        "supervisor worker_process",
    ],
    "toril.dashboard.pages": [
        "overview",
        "attention job queues schedules series system workers",
        "errors flow jobs tasks",
        "act",
        "add",
        "control",
    ],
    "toril.dashboard": [
        "access kept redact",
        "values",
        "problems rows",
        "actions operations sampler search",
        "hub",
        "board",
        "pages stream",
        "routes",
        "openapi",
        "guard",
        "files",
        "server",
        "serve",
    ],
    "toril.cli": [
        "commands init move render streams target torture",
        "backup dashboard doctor metrics monitor render_job",
        "enqueue inspect worker",
        "change schedules",
        "root",
        "main",
    ],
}
TOP = ("toril", "toril._public", "toril.__main__")  # the front door may name anything
# Applications that ship with us use us as everybody does.
GUESTS = ("toril.demo", "toril.dashboard")
PUBLIC = ("toril", "toril.types", "toril.errors", "toril.events", "toril.hooks", "toril.sync")

IMPURE = {
    "apsw", "asyncio", "io", "logging", "os", "pathlib", "random", "redis", "secrets", "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
UNSAFE = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
HOMES = {"apsw": "toril._store.sqlite", "redis": "toril._store.redis"}
SURFACES = (
    "toril.cli", "toril.dashboard", "toril.integrations", "toril.testing", "toril.demo",
)  # fmt: skip


def drawing() -> str:
    """The floors as they are drawn in the documents, the highest first."""
    rows = [("  ".join(parts), what) for parts, what in reversed(FLOORS)]
    width = max(len(parts) for parts, _ in rows)
    lines = (
        f"{len(rows) - row:2}  {parts:{width}}   {what}" for row, (parts, what) in enumerate(rows)
    )
    return "```\n" + "\n".join(lines) + "\n```"


# Attributes of the app that only the runtime and the processes of workers use.
PARTS = {"context", "registry", "container", "processors", "declared"}
REACHES_INSIDE = {"toril.cli.torture": "it forgets the workers that it has killed"}
NAMED_FOR_WHAT_HAPPENS = {"toril.events", "toril._worker.hooks"}


def _floor(name: str) -> int | None:
    part = name.split(".")[1] if "." in name else ""
    return next((floor for floor, (parts, _) in enumerate(FLOORS) if part in parts), None)


def _place(name: str, package: str) -> int | None:
    """The level of a module or of the folder it is in; ``__init__`` is on top."""
    if name == package:
        return len(ORDER[package])
    part = name[len(package) + 1 :].split(".")[0]
    return next(
        (level for level, names in enumerate(ORDER[package]) if part in names.split()), None
    )


def _packages_of(name: str) -> list[str]:
    """The ordered packages that a module is in, itself included, the widest first."""
    return [package for package in ORDER if within(name, package)]


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
    """No import of a higher floor or level; every module stands on one."""
    homeless = [
        module.at(1, f"{module.name} stands on no floor; give it one in tests/arch/imports.py")
        for module in modules
        if module.name not in TOP and (_floor(module.name) is None or _unordered(module.name))
    ]
    return homeless + [
        module.at(found.line, f"import up a floor: {module.name} may not know {target}")
        for module, found, target in _edges(modules)
        if module.name not in TOP and _is_up(module.name, target)
    ]


def _unordered(name: str) -> bool:
    return any(_place(name, package) is None for package in _packages_of(name))


def _is_up(name: str, target: str) -> bool:
    mine, theirs = _floor(name), _floor(target)
    if mine is None or target in TOP:
        return False
    if theirs is None:
        return True
    if mine != theirs:
        return theirs > mine
    for package in _packages_of(name):
        if within(target, package):
            here, there = _place(name, package), _place(target, package)
            if here is not None and there is not None and there > here:
                return True
    return False


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
        module.at(
            found.line, f"{module.name} imports {target}; import it from toril or a public module"
        )
        for module, found, target in _edges(modules)
        if module.inside(*GUESTS)
        and target not in PUBLIC
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


def surfaces_use_public_names(modules: list[Module]) -> list[str]:
    """What stands in front of Toril and Queue does not reach into their parts either."""
    return [
        module.at(node, f".{node.attr} is a part of the app; use what Toril and Queue offer")
        for module in modules
        if module.inside(*SURFACES) and module.name not in REACHES_INSIDE
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in PARTS
    ]


def class_names_are_used_once(modules: list[Module]) -> list[str]:
    """No two classes have one name, but events and records of hooks, which tell of what others are."""
    first: dict[str, Module] = {}
    found: list[str] = []
    for module in modules:
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef) or module.name in NAMED_FOR_WHAT_HAPPENS:
                continue
            other = first.setdefault(node.name, module)
            if other is not module:
                found.append(
                    module.at(node, f"the class {node.name} has a namesake in {other.path}")
                )
    return found


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
    surfaces_use_public_names,
    class_names_are_used_once,
    model_is_pure,
    no_logging_below,
    no_unsafe_decoding,
]
