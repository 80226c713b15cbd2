"""The OpenAPI description. It includes the request bodies that the intake decodes itself, described from their structs."""

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar
from napari_telemetry.wire import REPORT_TYPES, TELEMETRY_LEVELS, Batch, IdentifierQuery

from update_server.pages.example import example_batch

_TABLES: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}, "example": "week,plugin,people\n2026-W40,affinder,45\n"},
}
REFERENCE = "#/components/schemas/{name}"


@cache
def description(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document as JSON values."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    generic: Any = Batch
    batches = [generic[REPORT_TYPES[level]] for level in TELEMETRY_LEVELS]
    references, components = msgspec.json.schema_components([*batches, IdentifierQuery], ref_template=REFERENCE)
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    *of_batches, of_identifier = references
    paths = document["paths"]
    for path, operations in paths.items():
        operations.pop("options", None)  # CORS preflight is not part of the API
        operations.pop("head", None)
        if path.startswith("/api/stats/") and any(one["name"] == "format" for one in operations["get"]["parameters"]):
            operations["get"]["responses"]["200"]["content"] |= _TABLES
    examples = {str(level): {"value": msgspec.json.decode(example_batch(level))} for level in TELEMETRY_LEVELS}
    send = paths["/api/updates/{level}"]["post"]
    send["requestBody"] = _json_body({"oneOf": list(of_batches)}, examples)
    identifier = {"identifier": {"value": {"identifier": "9754d8f20e8124a25bb6d86c393f257a"}}}
    for path in ("/api/reports/find", "/api/reports/delete"):
        paths[path]["post"]["requestBody"] = _json_body(of_identifier, identifier)
    plain: dict[str, Any] = msgspec.to_builtins(document)  # the examples contain structs
    return plain


def _json_body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
