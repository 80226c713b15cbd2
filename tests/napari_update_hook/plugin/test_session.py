"""Sessions without napari: snapshots and the job queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from napari_update_hook.plan import Verdict
from napari_update_hook.plugin import session as sessions
from napari_update_hook.plugin import worker
from napari_update_hook.plugin.session import Session, Snapshot
from napari_update_hook.plugin.view import (
    can_update,
    checked_text,
    details_html,
    groups_of,
    indicator_of,
    notice_text,
    summary_text,
    verdict_lines,
    versions_text,
)
from napari_update_hook.state import Snooze
from napari_update_hook.updates import Status

from tests.support.hook import PYPI, Machine, environment, table
from tests.support.raw_server import RecordingServer
from tests.support.waiting import wait_until


@pytest.fixture
def session(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(worker, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(sessions, "_state_and_time", lambda: (machine.state, machine.clock()))
    made = Session(lambda: machine.client, first_check_after=3600)
    yield made
    made.stop()


def statuses(session: Session) -> dict[str, Status]:
    result = session.snapshot.result
    return {row.name: row.status for row in result.rows} if result is not None else {}


def test_start_shows_the_cached_result_offline(session: Session, machine: Machine, server: RecordingServer) -> None:
    machine.client.check()
    session.start()
    wait_until(lambda: session.snapshot.result is not None)
    assert statuses(session)["affinder"] is Status.UPDATE
    assert len(server.requests) == 1


def test_the_first_check_is_automatic_and_updates_are_announced_once(machine: Machine, server: RecordingServer) -> None:
    told: list[Any] = []
    session = Session(lambda: machine.client, first_check_after=0)
    session.on_updates(told.append)
    session.start()
    wait_until(lambda: told)
    session.check()
    wait_until(lambda: len(server.requests) == 2 and not session.snapshot.is_checking)
    session.stop()
    assert [[row.name for row in rows] for rows in told] == [["affinder"]]


def test_snoozes_and_settings_apply_before_the_next_check(session: Session, machine: Machine) -> None:
    told: list[Any] = []
    session.on_updates(told.append)
    session.start()
    session.snooze("affinder", "0.5.0", None)
    session.set_notifications(False)
    session.check()
    wait_until(lambda: statuses(session).get("affinder") is Status.SNOOZED)
    wait_until(lambda: not session.snapshot.notifies)
    session.unsnooze("affinder")
    wait_until(lambda: statuses(session)["affinder"] is Status.UPDATE)
    assert told == []


def test_snoozes_of_another_process_are_noticed(session: Session, machine: Machine) -> None:
    machine.client.check()
    session.start()
    wait_until(lambda: session.snapshot.result is not None)
    machine.state.snooze(Snooze("affinder", "*"))
    wait_until(lambda: statuses(session)["affinder"] is Status.SNOOZED)
    machine.state.unsnooze("affinder")
    wait_until(lambda: statuses(session)["affinder"] is Status.UPDATE)


def test_the_reason_for_a_stale_result_stays_until_a_newer_result(
    session: Session, machine: Machine, server: RecordingServer
) -> None:
    session.start()
    session.check()
    wait_until(lambda: session.snapshot.result is not None)
    server.answer(PYPI, b"", 500)
    session.check()
    wait_until(lambda: "status 500" in summary_text(session.snapshot))
    session.refresh()
    drained(session)
    assert "status 500" in summary_text(session.snapshot)


def drained(session: Session) -> None:
    done = threading.Event()
    session._jobs.put(done.set)
    assert done.wait(60)


def test_a_failure_is_reported_and_the_next_job_runs(session: Session, machine: Machine, server: RecordingServer) -> None:
    server.answer(PYPI, b"", 500)
    session.start()
    session.check()
    wait_until(lambda: session.snapshot.failure is not None)
    assert "status 500" in summary_text(session.snapshot)
    assert machine.state.folder is not None
    (machine.state.folder / "said").write_text("in the way")
    session.snooze("affinder", "*", None)
    wait_until(lambda: "cannot be written" in str(session.snapshot.failure))


def test_a_disabled_check_says_why_and_sends_no_request(machine: Machine, server: RecordingServer) -> None:
    machine.disabled_by = "NAPARI_UPDATE_CHECK=0 is set"
    session = Session(lambda: machine.client, first_check_after=0)
    session.start()
    wait_until(lambda: session.snapshot.problem is not None)
    drained(session)
    session.stop()
    assert summary_text(session.snapshot) == "The update check is off: NAPARI_UPDATE_CHECK=0 is set."
    assert not server.requests


def test_listeners_get_the_newest_snapshot_last_and_none_after_stop(session: Session) -> None:
    heard: list[Snapshot] = []
    session.subscribe(heard.append)
    session.subscribe(raising)
    session.start()
    session.check()
    wait_until(lambda: session.snapshot.result is not None and not session.snapshot.is_checking)
    assert heard[-1] == session.snapshot
    session.stop()
    count = len(heard)
    session.check()
    assert len(heard) == count


def raising(_: Snapshot) -> None:
    raise RuntimeError("a window that is about to close")


def snapshot_of(machine: Machine) -> Snapshot:
    return Snapshot(result=machine.client.check(keep_napari=True))


def test_panel_and_indicator_texts_match_the_snapshot(machine: Machine, server: RecordingServer) -> None:
    assert indicator_of(Snapshot()) is None
    assert summary_text(Snapshot()) == "No check yet. Press Check now."
    assert summary_text(Snapshot(is_checking=True)) == "Asking for updates…"
    shown = snapshot_of(machine)
    indicator = indicator_of(shown)
    assert indicator is not None
    assert (indicator.text, indicator.is_alert) == ("1 update", False)
    assert summary_text(shown) == "There is 1 update. 1 plugin is not in the index."
    assert checked_text(shown).startswith("Checked 2026-11-18 12:00 UTC at http")
    (update, (row,)), (held, (other,)) = groups_of(shown)
    assert (update, versions_text(row)) == ("Update", "0.4.0 → 0.5.0")
    assert held == "Held back"
    assert "0.1.3 needs Python &gt;=3.12" in details_html(shown, other)
    assert "https://pypi.org/project/affinder/0.5.0/" in details_html(shown, row)
    assert groups_of(shown, "AFF") == [("Update", [row])]
    server.answer(PYPI, table({"affinder": "0.4.0"}))
    indicator = indicator_of(snapshot_of(machine))
    assert indicator is not None
    assert indicator.text == "Plugins up to date"


def test_the_bundle_points_to_the_plugin_manager(machine: Machine) -> None:
    machine.install = replace(machine.client.install, markers=frozenset({"bundle"}))
    shown = snapshot_of(machine)
    assert "This is the bundled napari. Update plugins in Plugins > Install/Uninstall Plugins" in summary_text(shown)
    assert not can_update(shown)
    assert not can_update(shown, groups_of(shown)[0][1][0])


def test_the_impact_of_a_napari_update_is_summarized() -> None:
    verdicts = [
        Verdict("affinder", "0.4.0", "update to 0.5.0", "0.4.0 needs napari <0.9"), Verdict("napari-svg", "0.2.1", "fine"),
        Verdict("empanada", "1.2.4", "no release yet", "1.2.4 needs napari <=0.6.6"),
    ]  # fmt: skip
    assert verdict_lines(verdicts) == [
        "No release for it yet: empanada (1.2.4 needs napari <=0.6.6)",
        "Need an update: affinder (0.4.0 needs napari <0.9)",
        "Work without an update: 1 of 3 plugins",
    ]


def test_withdrawn_releases_come_first_and_alert_only_if_installed(machine: Machine, server: RecordingServer) -> None:
    machine.environment = environment(affinder="0.4.0", zebra="1.0")
    server.answer(PYPI, table({"affinder": "0.5.0", "zebra": {"releases": [{"version": "0.9"}], "yanked": {"1.0": "broken"}}}))
    shown = snapshot_of(machine)
    assert [(name, versions_text(row)) for name, (row,) in groups_of(shown)] == [
        ("Should not be used", "\N{WARNING SIGN} 1.0"), ("Update", "0.4.0 → 0.5.0")
    ]  # fmt: skip
    indicator = indicator_of(shown)
    assert indicator is not None
    assert indicator.is_alert
    assert "1.0 was withdrawn by its authors: broken" in indicator.tooltip
    server.answer(PYPI, table({"affinder": {"releases": [{"version": "0.5.0"}], "yanked": {"0.3.0": "broken"}}}))
    indicator = indicator_of(snapshot_of(machine))
    assert indicator is not None
    assert not indicator.is_alert


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "There is 1 update: p0 1"), (6, "There are 6 updates: p0 1, p1 1, p2 1, p3 1 and 2 more")],
)
def test_a_notification_names_at_most_four_updates(machine: Machine, number: int, text: str) -> None:
    row = snapshot_of(machine).result.rows[0]  # type: ignore[union-attr]
    assert notice_text([replace(row, name=f"p{place}", target="1") for place in range(number)]) == text
