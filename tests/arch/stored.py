"""Rules on how stored text is read: by the readers of `_model/stored.py`, which nothing overturns."""

import ast
from collections.abc import Iterator

from tests.arch.source import Function, Module

# Functions that make a number of what no store holds, and why that is sound.
NOT_STORED = {
    "toril._store.threads._thread_id": "a thread's number, from the interpreter",
    "toril._store.redis.session.server_now": "a clock",
    "toril._store.redis.net.cluster._map": "16,384 slots, as the server says of its own nodes",
    "toril._store.redis.core.server_checks._kind_and_version": "the server's version, matched by a pattern",
    "toril._store.redis.net.address._timeout": "a URL that a person wrote, checked before",
    "toril._store.redis.verbs.cron_text._values": "numbers within their field, checked before",
    "toril._store.sqlite.connection.processes._address": "digits, matched by a pattern",
    "toril._store.sqlite.connection.processes.process_of": "digits, matched by a pattern",
    "toril._store.sqlite.verbs.dead_letter.dead_letter": "a clock",
    "toril._store.sqlite.diagnose._version": "the version of SQLite itself",
}
NUMBERS = {"int", "float", "complex", "Decimal", "Fraction"}
EXPANDS = {"range", "timedelta", "fromtimestamp", "utcfromtimestamp"}
JSON = {"json", "msgspec.json"}


def stored_text_is_read_by_its_readers(modules: list[Module]) -> list[str]:
    """No bare number, range, time or JSON is made of a text in `_store`."""
    return [
        module.at(call, f"{name}() on what a store may hold: use toril._model.stored")
        for module in modules
        if module.inside("toril._store")
        for place, call in _calls(module)
        if (name := _raw(call)) and place not in NOT_STORED
    ]


def _calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call, and the function in which it stands."""

    def walk(node: ast.AST, place: str) -> Iterator[tuple[str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield place, child
            inner = f"{module.name}.{child.name}" if isinstance(child, Function) else place
            yield from walk(child, inner)

    yield from walk(module.tree, module.name)


def _raw(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in NUMBERS:
        return name
    given = [*call.args, *(each.value for each in call.keywords)]
    if last in EXPANDS and not all(map(_is_own, given)):
        return name
    above, _, verb = name.rpartition(".")
    if (above in JSON and verb in {"decode", "loads", "Decoder"}) or name == "literal_eval":
        return name
    return None


def _is_own(node: ast.expr) -> bool:
    """Tell whether a bound is this program's own: constants, lengths, and what is made of them."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name.isupper() or name in OWN
        case ast.Attribute(attr=name):
            return name.isupper()
        case ast.Call(func=ast.Name(id="len")):
            return True
        case ast.BinOp(left=one, right=other) | ast.IfExp(body=one, orelse=other):
            return _is_own(one) and _is_own(other)
        case _:
            return False


# Names that stand for a size of this program's own in a range.
OWN = {"size", "count"}
RULES = [stored_text_is_read_by_its_readers]
