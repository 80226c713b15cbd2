"""The OpenAPI description: what the framework sees of the handlers, and what it can't.

It does not see the bare ASGI handler of update checks, nor the bodies that the intake decodes by itself. Both are added here,
the bodies from the structs that decode them, so that the description can't differ from what is taken.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar
from napari_update_hook.wire import REPORT_TYPES, TELEMETRY_LEVELS, Batch, IdentifierQuery, Updates

from update_server.index.bodies import CHANNELS
from update_server.pages.example import example_batch

_TABLES: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}, "example": "week,plugin,people\n2026-W40,affinder,45\n"},
    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
}
REFERENCE = "#/components/schemas/{name}"


@cache
def description(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document of an application as plain JSON values."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    generic: Any = Batch
    batches = [generic[REPORT_TYPES[level]] for level in TELEMETRY_LEVELS]
    references, components = msgspec.json.schema_components([*batches, IdentifierQuery, Updates], ref_template=REFERENCE)
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    *of_batches, of_identifier, of_updates = references
    paths = document["paths"]
    for path, operations in paths.items():
        operations.pop("options", None)  # a preflight is between a browser and the service
        operations.pop("head", None)
        if path.startswith("/api/stats/") and any(one["name"] == "format" for one in operations["get"]["parameters"]):
            operations["get"]["responses"]["200"]["content"] |= _TABLES
    paths["/api/updates"] = {"get": _update_check(of_updates)}
    examples = {str(level): {"value": msgspec.json.decode(example_batch(level))} for level in TELEMETRY_LEVELS}
    send = paths["/api/updates/{level}"]["post"]
    send["requestBody"] = _json_body({"oneOf": list(of_batches)}, examples)
    send["parameters"] = [
        *send.get("parameters", []),
        *_query(),
        _parameter("known", "ETag of the answer that the client holds"),
    ]
    identifier = {"identifier": {"value": {"identifier": "9754d8f20e8124a25bb6d86c393f257a"}}}
    for path in ("/api/reports/find", "/api/reports/delete"):
        paths[path]["post"]["requestBody"] = _json_body(of_identifier, identifier)
    plain: dict[str, Any] = msgspec.to_builtins(document)  # examples are structs
    return plain


def _update_check(answer: dict[str, Any]) -> dict[str, Any]:
    problem = {"description": "what is wrong, as problem+json", "content": {"application/problem+json": {}}}
    return {
        "operationId": "Updates",
        "summary": "What your Python can install",
        "description": "Return, for every package, the newest version that the given Python can install from the channel, and "
        "where a newer one exists, why it does not fit. The answer is the same for everybody: the client compares by itself.",
        "parameters": _query(),
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}},
            "304": {"description": "the body that If-None-Match names is still true"},
            "400": problem,
            "503": problem,
        },
    }


def _query() -> list[dict[str, Any]]:
    return [
        _parameter("python", "version of CPython 3, such as 3.11 or 3.11.4", required=True),
        _parameter("channel", "where packages come from", values=CHANNELS),
        _parameter("napari", "version of napari; a release that is known to exclude it is left out"),
    ]


def _parameter(name: str, meaning: str, *, required: bool = False, values: tuple[str, ...] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} | ({"enum": list(values)} if values else {})
    return {"name": name, "in": "query", "required": required, "description": meaning, "schema": schema}


def _json_body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
