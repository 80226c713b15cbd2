"""The one-time message about usage reports."""

from __future__ import annotations

from typing import Any

import napari_update_hook
import pytest
from napari.utils.notifications import notification_manager
from napari_telemetry.client import current_client
from napari_telemetry.plugin.qt.consent_dialog import ConsentDialog
from napari_update_hook import offer
from napari_update_hook.errors import InstallError
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.offer_dialog import OfferDialog
from qtpy.QtWidgets import QLabel

from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record commands instead of running them, and hide the installed package."""
    commands: list[Any] = []
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", True)
    monkeypatch.setattr(offer, "is_installed", lambda: False)
    monkeypatch.setattr(offer, "run", commands.append)
    notification_manager.records.clear()
    return commands


def messages() -> list[Any]:
    return [one for one in notification_manager.records if str(one.message) == offer.MESSAGE]


def said(widget: Any) -> str:
    return " ".join(label.text() for label in widget.findChildren(QLabel))


def test_the_offer_comes_once_and_declining_is_final(viewer: Any, qtbot: Any) -> None:
    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: len(messages()) == 1, timeout=PATIENCE_MS)
    (what, no) = messages()[0].actions
    assert (what[0], no[0]) == (offer.WHAT_IS_THIS, offer.NO_THANKS)
    no[1]()
    qtbot.waitUntil(lambda: get_instance().session._make_client().state.was_offered(), timeout=PATIENCE_MS)
    get_instance().session.check()
    qtbot.wait(1000)
    assert len(messages()) == 1
    assert shown(OfferDialog) == []


def test_no_offer_if_the_server_accepts_no_reports(viewer: Any, qtbot: Any, server: FakeServer) -> None:
    server.takes_reports = False
    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    qtbot.wait(500)
    assert messages() == []


def test_the_dialog_explains_installs_and_then_asks_for_consent(viewer: Any, qtbot: Any, ran: list[Any]) -> None:
    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: len(messages()) == 1, timeout=PATIENCE_MS)
    messages()[0].actions[0][1]()
    (dialog,) = shown(OfferDialog)
    for paragraph in (*offer.EXPLANATION, offer.DOWNLOAD_NOTICE):
        assert paragraph in said(dialog)
    assert dialog.width() <= 800
    assert dialog.height() <= 600
    assert ran == []
    dialog.install.click()
    qtbot.waitUntil(lambda: len(ran) == 1, timeout=PATIENCE_MS)
    assert f"napari-telemetry=={offer.VERSION}" in str(ran[0].commands[0])
    qtbot.waitUntil(lambda: len(shown(ConsentDialog)) == 1, timeout=PATIENCE_MS)
    assert shown(OfferDialog) == []
    assert current_client().status().view.history == [], "installing is not consent"


def test_a_failed_installation_says_why(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise InstallError("pip could not reach its package index.")

    monkeypatch.setattr(offer, "run", fails)
    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: len(messages()) == 1, timeout=PATIENCE_MS)
    messages()[0].actions[0][1]()
    (dialog,) = shown(OfferDialog)
    dialog.install.click()
    qtbot.waitUntil(lambda: "could not reach" in dialog.progress.text(), timeout=PATIENCE_MS)
    assert dialog.install.isEnabled()
    assert shown(ConsentDialog) == []


def test_no_install_button_before_the_name_is_owned(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", False)
    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    qtbot.wait(500)
    assert messages() == []
    get_instance().gui().explain_telemetry()
    (dialog,) = shown(OfferDialog)
    assert not dialog.install.isVisible()
    assert offer.NOT_YET in said(dialog)
