"""Write the TypeScript types of the dashboard's API from the server's dataclasses.

`python -m tools.api_types` writes frontend/src/lib/types.ts; tests/dashboard compares them.
"""

import re
from pathlib import Path
from typing import Any

TYPES = Path(__file__).parents[1] / "frontend" / "src" / "lib" / "types.ts"
HEAD = "// Written by `python -m tools.api_types` from the server's dataclasses. Do not edit.\n"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
_NAME = re.compile(r"[A-Za-z_]\w*")


def written() -> str:
    """Return the types of everything that the API answers."""
    from toril.dashboard.openapi import document

    schemas: dict[str, Any] = document()["components"]["schemas"]
    answers = _reachable(schemas)
    return HEAD + "".join(f"\n{_interface(name, schemas[name])}" for name in sorted(answers))


def _reachable(schemas: dict[str, Any]) -> set[str]:
    """Return what is not only asked for: words of an address need no type in the browser."""
    return {name for name in schemas if not name.endswith(("Query", "Body")) and name != "Nothing"}


def _interface(name: str, schema: dict[str, Any]) -> str:
    fields = schema.get("properties", {})
    lines = [f"  {_key(key)}: {_type(value)};" for key, value in fields.items()]
    return "\n".join([f"export interface {name} {{", *lines, "}", ""])


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else f'"{name}"'


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "null":
        return "null"
    if kind == "array":
        inner = _type(schema.get("items", {}))
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if kind == "object":
        return f"Record<string, {_type(schema.get('additionalProperties') or {})}>"
    return _PLAIN.get(str(kind), "unknown")


if __name__ == "__main__":
    TYPES.write_text(written(), encoding="utf-8")
