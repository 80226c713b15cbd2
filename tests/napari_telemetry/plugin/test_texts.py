"""Texts go through napari's translator."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from napari_telemetry.plugin.texts import counted, tr


@pytest.mark.parametrize("fills_in", [True, False], ids=["napari 0.7", "napari 0.9"])
def test_texts_go_through_napari_s_translator(monkeypatch: pytest.MonkeyPatch, fills_in: bool) -> None:
    def translate(text: str, n: int | None = None, **values: object) -> str:
        return text.replace("Nothing", "Nichts").format(n=n, **values) if fills_in else text

    translations = SimpleNamespace(trans=SimpleNamespace(_=translate))
    monkeypatch.setitem(sys.modules, "napari.utils.translations", translations)
    nothing = "Nichts" if fills_in else "Nothing"
    assert tr("Nothing at {place}", place="home {here}") == f"{nothing} at home {{here}}"
    assert tr("Nothing.") == f"{nothing}."
    assert counted(1, "{n} update", "{n} updates") == "1 update"
    assert counted(2, "{n} update", "{n} updates") == "2 updates"
