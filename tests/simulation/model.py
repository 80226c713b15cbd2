"""A model of consent, collection, sending and deletion, written from the design without the client's code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.world import COMMANDS, LAYERS, Acts

RANK = {"none": 0, "basic": 1, "middle": 2, "full": 3}
DAY, WEEK = timedelta(days=1), timedelta(days=7)

Key = tuple[int, int, str, int]
"""Source of a report: account, number of its earlier secrets, environment, number of its earlier secrets."""


def week_of(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year:04}-W{week:02}"


def monday_of(week: str) -> datetime:
    return datetime.strptime(f"{week}-1 +0000", "%G-W%V-%u %z")


def is_accepted(week: str, at: datetime) -> bool:
    """Return whether a report is accepted: from a day before its week until 14 days after it."""
    return monday_of(week) - DAY <= at < monday_of(week) + 3 * WEEK


def rounded(count: int) -> int:
    """Round a count as reports do."""
    return next(step for step in (1000, 100, 10, 1) if count >= step)


@dataclass
class Draft:
    """Collected data of a week. ``is_unsent``: the server does not have the current version."""

    level: str
    facts: dict[str, Any]
    commands: Counter[str] = field(default_factory=Counter)
    layers: Counter[int] = field(default_factory=Counter)
    is_unsent: bool = True
    was_refused: bool = False


@dataclass
class AccountModel:
    number: int
    secrets: int = 0
    consenting: set[str] = field(default_factory=set)
    first_week: str | None = None
    begun: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    environments: dict[str, EnvironmentModel] = field(default_factory=dict)

    def leave(self, name: str) -> None:
        """End an environment's consent; the account's secret is deleted with the last consent."""
        if name in self.consenting:
            self.consenting.discard(name)
            self.secrets += not self.consenting


@dataclass
class Consent:
    level: str
    until: datetime | None
    schema: int


@dataclass
class EnvironmentModel:
    name: str
    account: AccountModel
    secrets: int = 0
    consent: Consent | None = None
    drafts: dict[str, Draft] = field(default_factory=dict)

    def has_ended(self, at: datetime) -> bool:
        one = self.consent
        return one is None or one.level == "none" or (one.until is not None and at >= one.until)

    def level(self, at: datetime, schema: int) -> str | None:
        """Return the effective level of a client, or None without valid consent."""
        if self.consent is None or self.has_ended(at) or self.consent.schema < schema:
            return None
        return self.consent.level

    def answer(self, level: str, until: datetime | None, schema: int, at: datetime) -> None:
        before, ended = self.consent, self.has_ended(at)
        continues = before is not None and not ended and level != "none" and before.schema == schema
        if level != "none":
            self.account.consenting.add(self.name)
        if continues:
            self._downgrade_drafts(level)
        else:
            self.drafts.clear()
            self.secrets += 1
        self.consent = Consent(level, until, schema)
        if level == "none":
            self.account.leave(self.name)

    def _downgrade_drafts(self, level: str) -> None:
        for draft in self.drafts.values():
            if RANK[draft.level] > RANK[level]:
                draft.level, draft.is_unsent = level, True
            if RANK[level] < RANK["middle"]:
                draft.facts = draft.facts | {"plugins": {}}
            if RANK[level] < RANK["full"]:
                draft.commands, draft.layers = Counter(), Counter()

    def forget(self, at: datetime) -> set[str]:
        """Delete all drafts; return the weeks whose reports must be deleted."""
        account = self.account
        weeks = set(account.begun) | {week_of(at)}
        for one in account.environments.values():
            weeks |= set(one.drafts)
        account.forgotten |= weeks
        for one in account.environments.values():
            one.drafts.clear()
        return weeks

    def note(self, week: str, level: str, facts: dict[str, Any]) -> None:
        """Record the environment's data, if it changed."""
        mine = facts if RANK[level] >= RANK["middle"] else facts | {"plugins": {}}
        draft = self.drafts.get(week)
        if draft is None:
            self.drafts[week] = Draft(level, mine)
        elif (draft.level, draft.facts) != (level, mine):
            draft.level, draft.facts, draft.is_unsent, draft.was_refused = level, mine, True, False

    def purge_expired(self, at: datetime) -> None:
        if self.has_ended(at):
            if self.drafts or self.name in self.account.consenting:
                self.drafts.clear()
                self.secrets += 1
            self.account.leave(self.name)
        for week in [week for week in self.drafts if at >= monday_of(week) + 3 * WEEK]:
            del self.drafts[week]
        self.account.begun = {week for week in self.account.begun if monday_of(week) + 60 * DAY > at}

    def next_week(self, at: datetime) -> str | None:
        ready = [
            (draft.was_refused, week)
            for week, draft in self.drafts.items()
            if draft.is_unsent and week <= week_of(at) and is_accepted(week, at) and week not in self.account.forgotten
        ]
        return min(ready)[1] if ready else None


@dataclass
class Outcome:
    """The week that was stored or rejected; neither is set if nothing was due."""

    stored: str | None = None
    refused: str | None = None


class Model:
    """A model of all accounts and the server. ``stored``: expected reports with their levels, by week and source."""

    def __init__(self) -> None:
        self.accounts: dict[int, AccountModel] = {}
        self.stored: dict[str, dict[Key, tuple[str, dict[str, Any]]]] = {}

    def environment(self, person: int, name: str) -> EnvironmentModel:
        account = self.accounts.setdefault(person, AccountModel(person))
        return account.environments.setdefault(name, EnvironmentModel(name, account))

    def act(self, one: EnvironmentModel, acts: Acts, at: datetime, schema: int) -> None:
        """Apply a consent change and a deletion request. ``at``: by the person's clock."""
        if acts.consent is not None:
            level, days = acts.consent
            one.answer(level, at + timedelta(days=days) if days else None, schema, at)
        if acts.forget:
            for week in one.forget(at):
                reports = self.stored.get(week, {})
                for key in [key for key in reports if key[0] == one.account.number]:
                    del reports[key]

    def check(
        self,
        one: EnvironmentModel,
        facts: dict[str, Any],
        at: datetime,
        server_at: datetime,
        schema: int,
        listed: Mapping[str, frozenset[str]],
        *,
        reached: bool,
    ) -> Outcome:
        """Simulate an update check with sending. ``at``, ``server_at``: client and server clock.

        ``reached``: the server sent a complete response.
        """
        one.purge_expired(at)
        level = one.level(at, schema)
        if level is None:
            return Outcome()
        account = one.account
        if week_of(at) not in account.forgotten:
            one.note(week_of(at), level, facts)
        week = one.next_week(at)
        if week is None:
            return Outcome()
        draft = one.drafts[week]
        sent = min(draft.level, level, key=RANK.__getitem__)
        if not reached:
            return Outcome()
        account.begun.add(week)
        if not is_accepted(week, server_at):
            draft.was_refused = True
            return Outcome(refused=week)
        is_first = account.first_week in (None, week)
        account.first_week = account.first_week or week
        draft.is_unsent, draft.was_refused = False, False
        key = (account.number, account.secrets, one.name, one.secrets)
        self.stored.setdefault(week, {})[key] = (sent, report_of(sent, draft, is_first, listed, schema))
        return Outcome(stored=week)

    def use(self, one: EnvironmentModel, acts: Acts, facts: dict[str, Any], at: datetime, schema: int) -> None:
        if one.level(at, schema) != "full" or week_of(at) in one.account.forgotten or not (acts.commands or acts.layers):
            return
        one.note(week_of(at), "full", facts)
        draft = one.drafts[week_of(at)]
        draft.is_unsent = True
        draft.commands.update(acts.commands)
        draft.layers.update(acts.layers)


def report_of(level: str, draft: Draft, is_first: bool, listed: Mapping[str, frozenset[str]], schema: int) -> dict[str, Any]:
    facts = draft.facts
    napari = facts["napari"] if facts["napari"] in listed["napari"] else "development"
    platform, architecture, system = facts["system"]
    report = {"napari": napari, "python": facts["python"], "platform": platform, "architecture": architecture,
              "system": system, "first": is_first}  # fmt: skip
    if schema >= 2:
        report["channel"] = facts["channel"]
    if RANK[level] >= RANK["middle"]:
        report["plugins"] = {name: version for name, version in facts["plugins"].items() if version in listed.get(name, ())}
    if level == "full":
        report["commands"] = {name: rounded(count) for name, count in draft.commands.items() if name in COMMANDS}
        report["layers"] = {LAYERS[place]: rounded(count) for place, count in draft.layers.items()}
    return report


def document_of(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report as the raw store should contain it."""
    names = {"napari": "napari_version", "python": "python_version", "platform": "platform", "architecture": "cpu_architecture",
             "system": "sys_name", "first": "first_report", "channel": "channel"}  # fmt: skip
    document: dict[str, Any] = {stored: report[name] for name, stored in names.items() if name in report}
    if "plugins" in report:
        document["plugins"] = [{"name": name, "version": version} for name, version in report["plugins"].items()]
    if "commands" in report:
        document["command_usage"] = report["commands"]
        document["data_size_info"] = [
            {"layer": kind, "size_category": size, "ndim": shape[-1] if kind == "points" else len(shape), "class": "ndarray",
             "dtype": dtype, "count": count}
            for (kind, dtype, shape, size), count in report["layers"].items()
        ]  # fmt: skip
    return document


def ordered(document: dict[str, Any]) -> str:
    """Return JSON that does not depend on the order of keys or list items."""
    plain = {
        name: sorted(value, key=lambda one: json.dumps(one, sort_keys=True)) if isinstance(value, list) else value
        for name, value in document.items()
    }
    return json.dumps(plain, sort_keys=True)
