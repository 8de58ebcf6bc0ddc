"""Read src/toril as syntax trees: modules, and who imports whom. Nothing here imports toril."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One name brought in: ``from a.b import c`` has ``target="a.b"`` and ``name="c"``."""

    target: str
    name: str | None
    line: int


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    def inside(self, *packages: str) -> bool:
        return any(within(self.name, package) for package in packages)

    def at(self, node: ast.AST | int, rule: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {rule}"

    @cached_property
    def imports(self) -> list[Import]:
        """Every import wherever it stands: in a function, under ``if``, by ``import_module``."""
        return [found for node in ast.walk(self.tree) for found in self._imports_of(node)]

    def _imports_of(self, node: ast.AST) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(self._absolute(node), alias.name, node.lineno)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            match node.args:
                case [ast.Constant(value=str(target)), *_]:
                    yield Import(target, None, node.lineno)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - (node.level - 1)]
        return ".".join([*base, *([node.module] if node.module else [])])


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def called(node: ast.Call) -> str:
    """The last name of what is called: ``b`` of ``a.b()``."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def sample(**files: str) -> list[Module]:
    """Modules made of text: ``sample(_app__queue="import apsw")`` is ``toril._app.queue``.

    ``__`` is a slash; a name that ends in ``init`` is that package's ``__init__``.
    """
    return [_module(_file(name), text) for name, text in files.items()]


def _file(name: str) -> Path:
    parts = ["__main__"] if name == "__main__" else name.split("__")
    if parts[-1] == "init":
        parts[-1] = "__init__"
    return Path("toril", *parts).with_suffix(".py")


def modules() -> list[Module]:
    """All of src/toril."""
    found = [_read(path) for path in sorted((SRC / "toril").rglob("*.py"))]
    assert found, "src/toril: there is no module to check"
    return found


def _read(path: Path) -> Module:
    return _module(path.relative_to(SRC), path.read_text("utf-8"), prefix="src/")


def _module(path: Path, text: str, prefix: str = "") -> Module:
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return Module(".".join(parts), prefix + path.as_posix(), text)


def functions(module: Module) -> Iterator[tuple[Function, bool]]:
    """Every function and method, and whether it takes ``self`` or ``cls`` first."""
    methods = {
        id(child)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, Function) and not _is_static(child)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node, id(node) in methods


def _is_static(function: Function) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == "staticmethod" for node in function.decorator_list
    )


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body
