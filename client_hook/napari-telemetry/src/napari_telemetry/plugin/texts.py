"""Texts for people, through napari's translator where it has one (0.7 has, 0.9 no longer)."""

from __future__ import annotations

import sys


def tr(text: str, **values: object) -> str:
    """Return ``text`` in the language of napari, with ``values`` in place of ``{names}``.

    napari 0.7 translates and fills in; 0.9 hands back what it is given.
    """
    translations = sys.modules.get("napari.utils.translations")
    if translations is not None and (translated := str(translations.trans._(text, **values))) != text:
        return translated
    return text.format(**values) if values else text


def counted(number: int, one: str, many: str) -> str:
    """Return ``one`` or ``many``, with ``{n}`` filled in."""
    return tr(one if number == 1 else many, n=number)
