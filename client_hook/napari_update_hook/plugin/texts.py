"""Texts for people, through napari's translator where it has one (0.7 has, 0.9 no longer)."""

from __future__ import annotations

import sys


def tr(text: str, **values: object) -> str:
    """Return ``text`` in the language of napari, with ``values`` in place of ``{names}``."""
    translations = sys.modules.get("napari.utils.translations")
    if translations is not None:
        text = str(translations.trans._(text))
    return text.format(**values) if values else text


def counted(number: int, one: str, many: str) -> str:
    """Return ``one`` or ``many``, with ``{n}`` filled in."""
    return tr(one if number == 1 else many, n=number)
