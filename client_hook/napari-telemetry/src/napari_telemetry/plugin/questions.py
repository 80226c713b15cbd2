"""Which public questions each level helps to answer: the service's catalogue, as the client ships it.

``questions.json`` is made by ``python -m aggregation catalogue --questions``; a test compares it with the catalogue.
"""

from __future__ import annotations

import json
from importlib.resources import files


def questions_of(level: str) -> list[str]:
    """Return the questions that reports of ``level`` answer and those of the level below do not; none for ``none``."""
    text = files("napari_telemetry").joinpath("questions.json").read_text("utf-8")
    questions: dict[str, list[str]] = json.loads(text)
    return questions.get(level, [])
