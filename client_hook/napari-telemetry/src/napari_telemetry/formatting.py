"""JSON for people: what goes over the wire, laid out so that it can be read."""

from __future__ import annotations

import json
from typing import Any


def pretty_json(body: bytes | str) -> str:
    """Return a JSON text with one field a line. Raises ValueError for what is no JSON."""
    return pretty(json.loads(body))


def pretty(value: Any) -> str:
    """Return a JSON value (dicts, lists, texts, numbers) as text, with one field a line."""
    return json.dumps(value, indent=2, ensure_ascii=False)
