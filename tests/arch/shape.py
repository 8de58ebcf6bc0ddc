"""Rules on how code looks inside a module: sizes, words, and what may be caught where."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch

from tests.arch.source import Function, Module, called, functions, without_docstring

FILE_LINES = 500
BODY_LINES = 60
USUAL_BODY_LINES = 25
USUAL_SHARE = 0.95
PARAMETERS = 6
# Three of them are no verbs of the model: what to await of dead processes, diagnosis, backup.
VERBS = 40

# Where `except Exception` may stand, and why. `*` also matches what is inside a folder.
CATCHES_ALL = {
    "toril._worker.maintenance": "one schedule, or the job before it, must not stop the others",
    "toril._store.sqlite.wakeups": "a thread that takes back jobs of dead processes must not end",
    "toril._model.checks": "a refused value's own repr may raise anything",
    "toril._isolation*": "user code may raise anything; it becomes an outcome",
    "toril._jobs.background_loop": "what a coroutine raises is raised in the thread that waits",
    "toril._store.threads": "what a call raises in its thread is raised where it is awaited",
    "toril._handlers.scopes": "what a dependency raises is passed to the others, or logged",
    "toril._handlers.soft_timeout": "it hands a coroutine what it awaited, whatever that raised",
    "toril._worker.loops": "the loop guard: one bad round must not end the worker",
    "toril._worker.heartbeat": "whatever a store answers, the thread that renews locks goes on",
    "toril._jobs.listeners": "a listener's fault is reported, never the job's",
    "toril._jobs.drafts": "a hook's fault is reported, and the job is added without it",
    "toril._app.alerts": "whoever is told may raise anything; it is logged, and tried again",
    "toril._jobs.guard": "listeners, hooks and logging may raise anything; it is reported",
    "toril._handlers.annotations": "evaluating an annotation runs user code; it is not checked then",
    "toril._handlers.models": "a model's own serializer may raise anything; the value is refused",
    "toril._jobs.payload": "a value's own methods may raise anything; the value is refused",
    "toril._jobs.reasons": "an error's own text may raise anything; its type is named instead",
    "toril._jobs.json_roundtrip": "a value's own comparison may raise; it then says nothing",
    "toril._serve.load": "importing a user's module may raise anything; it becomes one line",
    "toril._serve.supervisor": "watching files goes on, whatever one look raised; it is reported",
    "toril._serve.probes": "whatever finding out raises, a probe is answered",
    "toril.cli.commands": "an error about what was typed loses its passwords, and is raised again",
    "toril._serve.process": "whatever a process says, the supervisor listens on; it is reported",
    "toril.integrations.logs": "a log handler reports what it cannot write, as those of logging do",
    "toril.integrations.sentry": "the error of an attempt is reported, and raised",
    "toril.integrations.django.execute": "the error of an attempt is kept for its result, and raised",
    "toril.integrations.opentelemetry": "the error of an attempt is noted in its span, and raised",
    "toril._store.sqlite.connection.runner": "the writer hands every fault to its caller",
}
RUNS_CODE = {"eval", "exec", "__import__"}
CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4"}

_SQL = re.compile(
    r"""\s*(--[^\n]*\n\s*)*(
        SELECT\s.+\bFROM\s | SELECT\s+\w+\( | WITH\s+\w+.*\bAS\s*\( |
        (INSERT|REPLACE)\s+(OR\s+\w+\s+)?INTO\s | UPDATE\s+(OR\s+\w+\s+)?\S+\s+SET\s |
        DELETE\s+FROM\s | (CREATE|DROP|ALTER)\s+(\w+\s+){0,3}(TABLE|INDEX|VIEW|TRIGGER)\s |
        PRAGMA\s+\w+ | BEGIN\s+(IMMEDIATE|EXCLUSIVE|DEFERRED|TRANSACTION)\b | SAVEPOINT\s+\S |
        RELEASE\s+SAVEPOINT\s | ROLLBACK\s+TO\s | ATTACH\s+DATABASE\s |
        (?-i:BEGIN|COMMIT|ROLLBACK|VACUUM|ANALYZE)\s*;?\s*$  # in small letters it is a word
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def files_are_short(modules: list[Module]) -> list[str]:
    """No file is longer than one sitting."""
    return [
        module.at(lines, f"{lines} lines in one file, {FILE_LINES} are allowed")
        for module in modules
        if (lines := len(module.text.splitlines())) > FILE_LINES
    ]


def _body_lines(function: Function) -> int:
    body = without_docstring(function.body)
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def _is_stub(function: Function) -> bool:
    """A verb of a protocol or an overload: it has nothing to be long."""
    body = without_docstring(function.body)
    return not body or (
        len(body) == 1
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and body[0].value.value is Ellipsis
    )


def bodies_fit_a_screen(modules: list[Module]) -> list[str]:
    """No function body, docstring aside, is longer than a screen."""
    return [
        module.at(function, f"{function.name} has a body of {lines} lines, {BODY_LINES} allowed")
        for module in modules
        for function, _ in functions(module)
        if (lines := _body_lines(function)) > BODY_LINES
    ]


def most_bodies_are_short(modules: list[Module]) -> list[str]:
    """All but a few bodies are read at a glance; the longest are named when they are too many."""
    bodies = [
        (_body_lines(function), module, function)
        for module in modules
        for function, _ in functions(module)
        if not _is_stub(function)
    ]
    long = [body for body in bodies if body[0] > USUAL_BODY_LINES]
    if len(bodies) - len(long) >= USUAL_SHARE * len(bodies):
        return []
    return [
        module.at(
            function,
            f"{function.name} has a body of {lines} lines, and more than "
            f"{1 - USUAL_SHARE:.0%} of all bodies are above {USUAL_BODY_LINES}",
        )
        for lines, module, function in sorted(long, key=lambda body: -body[0])
    ]


def few_parameters(modules: list[Module]) -> list[str]:
    """Options travel as one value, not as a row of parameters."""
    return [
        module.at(function, f"{function.name} takes {count} parameters, {PARAMETERS} are allowed")
        for module in modules
        for function, is_method in functions(module)
        if (count := _parameters(function.args) - is_method) > PARAMETERS
    ]


def _parameters(args: ast.arguments) -> int:
    named = len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs)
    return named + (args.vararg is not None) + (args.kwarg is not None)


def few_verbs(modules: list[Module]) -> list[str]:
    """The Store protocol stays small: a capability is a field or a row before it is a verb."""
    protocol = next((each for each in modules if each.name == "toril._store.protocol"), None)
    if protocol is None:
        return ["src/toril/_store/protocol.py:1: the Store protocol is missing"]
    for node in protocol.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Store":
            verbs = [
                child
                for child in node.body
                if isinstance(child, Function)
                and not child.name.startswith("_")
                and not child.decorator_list
            ]
            too_many = len(verbs) > VERBS
            rule = f"Store has {len(verbs)} verbs, {VERBS} are allowed"
            return [protocol.at(node, rule)] if too_many else []
    return [protocol.at(1, "there is no class Store")]


def _texts(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Every text that is not a docstring; an f-string is one text with holes."""
    skip = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr):
            skip.update(id(part) for part in node.values)
            yield node, "".join(_part(part) for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in skip:
            value = node.value
            if isinstance(value, str | bytes):
                yield node, value if isinstance(value, str) else value.decode("latin-1")


def _part(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "x"


def no_sql_in_python(modules: list[Module]) -> list[str]:
    """SQL lives in .sql files, where it has a name, a purpose and a colour."""
    return [
        module.at(node, f"SQL text in Python: {' '.join(text.split())[:40]!r}; use a .sql file")
        for module in modules
        for node, text in _texts(module)
        if _SQL.match(text)
    ]


def no_type_checking_blocks(modules: list[Module]) -> list[str]:
    """An import that only the type checker may see is an arrow that points the wrong way."""
    return [
        module.at(node, "TYPE_CHECKING: if you need it, the arrow is wrong")
        for module in modules
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
        or (isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")
        or (isinstance(node, ast.alias) and node.name == "TYPE_CHECKING")
    ]


def no_text_becomes_code(modules: list[Module]) -> list[str]:
    """Nothing evaluates text."""
    return [
        module.at(node, f"{node.id} runs text as code")
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id in RUNS_CODE
    ]


def model_reads_no_clock(modules: list[Module]) -> list[str]:
    """``_model`` is told the time and the chance; it asks for neither, and opens nothing."""
    return [
        module.at(node, f"{called(node)}() in _model; take it as an argument")
        for module in modules
        if module.inside("toril._model")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and called(node) in CLOCKS)
            or (isinstance(node.func, ast.Name) and called(node) in {"open", "uuid1", "uuid4"})
        )
    ]


def few_catch_everything(modules: list[Module]) -> list[str]:
    """``except Exception`` stands at the guards only; elsewhere a handler names what it expects."""
    return [
        module.at(node, "catches everything; name the exception, or add the module and a reason")
        for module in modules
        if not any(fnmatch(module.name, pattern) for pattern in CATCHES_ALL)
        for node in ast.walk(module.tree)
        if _catches_everything(node)
    ]


def _catches_everything(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or _names_everything(node.type)
    if isinstance(node, ast.Call) and called(node) == "suppress":
        return any(_names_everything(argument) for argument in node.args)
    return False


def _names_everything(node: ast.expr) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id in {"Exception", "BaseException"}
        for each in ast.walk(node)
    )


def errors_explain_themselves(modules: list[Module]) -> list[str]:
    """Every class in errors.py says in its docstring when it is raised."""
    return [
        module.at(node, f"{node.name} has no docstring")
        for module in modules
        if module.name == "toril.errors"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
    ]


RULES = [
    files_are_short,
    bodies_fit_a_screen,
    most_bodies_are_short,
    few_parameters,
    few_verbs,
    no_sql_in_python,
    no_type_checking_blocks,
    no_text_becomes_code,
    model_reads_no_clock,
    few_catch_everything,
    errors_explain_themselves,
]
