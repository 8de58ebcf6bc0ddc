"""The description of the HTTP API, made from the table of routes and its dataclasses."""

import json
import re
from importlib.metadata import version
from inspect import getdoc
from typing import Any

import msgspec

from .problems import Problem
from .redact import fields_of, items_of
from .routes import HEALTH, ROUTES, Route

_REF = "#/components/schemas/{name}"
_NAME = re.compile(r"#/components/schemas/(\w+)")
_PAGE = re.compile(r"RowPage_(\w+?)_")
_SECTION = re.compile(r"\n\s*(Attributes|Raises|Args|Example):.*", re.DOTALL)


def document() -> dict[str, Any]:
    """Return the API as an OpenAPI 3.1 document."""
    every = (*ROUTES, HEALTH)
    kinds = [kind for route in every for kind in (route.asks, route.answers) if kind is not str]
    schemas, components = msgspec.json.schema_components(
        [*dict.fromkeys(kinds), Problem], ref_template=_REF
    )
    found = dict(zip([*dict.fromkeys(kinds), Problem], schemas, strict=True))
    asked = _asked(found, components)
    paths: dict[str, Any] = {}
    for route in every:
        paths.setdefault(f"/{route.path}", {})[route.method.lower()] = _operation(
            route, found, components
        )
    paths["/api/v1/stream"] = {"get": _STREAM}
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "toril dashboard",
            "version": version("toril"),
            "description": "Times are milliseconds since 1970, durations milliseconds. Requests "
            "that change something need `Content-Type: application/json`, `X-Toril: 1` and the "
            "same origin, or a bearer token.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                name: _plain(each, sent=name not in asked) for name, each in components.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }
    renamed: dict[str, Any] = _renamed(whole)
    return renamed


def _operation(route: Route, found: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    doc = _SECTION.sub("", getdoc(route.run) or "")
    operation: dict[str, Any] = {
        "operationId": route.path.removeprefix("api/v1/").replace("/", "_")
        + ("" if route.method == "GET" else "_post"),
        "summary": doc.split("\n")[0],
        "responses": {
            "200": {"description": "The answer.", "content": _content(route.answers, found)},
            "default": {
                "description": "Why it was refused.",
                "content": {"application/json": {"schema": found[Problem]}},
            },
        },
    }
    if route.method == "POST":
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": found[route.asks]}},
        }
    else:
        schema = components[route.asks.__name__]
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": {key: each for key, each in given.items() if key != "description"},
            }
            for name, given in schema.get("properties", {}).items()
        ]
    return operation


def _content(kind: Any, found: dict[Any, Any]) -> dict[str, Any]:
    if kind is str:
        return {"text/plain": {"schema": {"type": "string"}}}
    return {"application/json": {"schema": found[kind]}}


def _asked(found: dict[Any, Any], components: dict[str, Any]) -> set[str]:
    """Return the names of what clients send, and of what is in it."""
    names: set[str] = set()
    left = [json.dumps(found[route.asks]) for route in (*ROUTES, HEALTH)]
    while left:
        for name in _NAME.findall(left.pop()):
            if name not in names:
                names.add(name)
                left.append(json.dumps(components[name]))
    return names


def _plain(schema: dict[str, Any], *, sent: bool) -> dict[str, Any]:
    """Leave only the first sentences of a description; an answer has all of its fields."""
    if sent and "properties" in schema:
        schema = {**schema, "required": list(schema["properties"])}
    if "description" in schema:
        schema = {**schema, "description": _SECTION.sub("", schema["description"]).strip()}
    return schema


def _renamed(value: Any) -> Any:
    """Name pages by what they list: `RowPage[JobRow]` becomes `JobRowPage`."""
    fields, items = fields_of(value), items_of(value)
    if fields is not None:
        return {_rename(key): _renamed(each) for key, each in fields.items()}
    if items is not None:
        return [_renamed(each) for each in items]
    return _rename(value) if isinstance(value, str) and "RowPage" in value else value


def _rename(text: str) -> str:
    return _PAGE.sub(r"\1Page", text)


_STREAM: dict[str, Any] = {
    "operationId": "stream",
    "summary": "Follow what changes, as server-sent events.",
    "parameters": [
        {
            "name": "topics",
            "in": "query",
            "required": True,
            "description": "Separated by commas: overview, queue:NAME, workers, operations, "
            "job:QUEUE|ID; names and ids percent-encoded.",
            "schema": {"type": "string"},
        }
    ],
    "responses": {"200": {"description": "Events.", "content": {"text/event-stream": {}}}},
}
