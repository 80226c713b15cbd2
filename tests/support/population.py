"""Made-up users of napari: which Python, which plugins, which consent, and what must come of it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.wire import Level

MINORS = (9, 10, 11, 12, 13)
SYSTEMS = (("linux", "x86_64", "Ubuntu 22.04"), ("darwin", "arm64", "macOS 14"), ("win32", "x86_64", "Windows 11"))


@dataclass(frozen=True)
class MadeEnvironment:
    """A Python environment of a user: the Python's minor, what is installed (by name, with version), what is private."""

    minor: int
    system: tuple[str, str, str]
    installed: Mapping[str, str]
    private: Sequence[str] = ()

    def as_client_sees_it(self) -> Environment:
        """Return it as the client reads one."""
        platform, architecture, name = self.system
        distributions = {key: Distribution(key, version, False, "pip") for key, version in self.installed.items()}
        distributions |= {key: Distribution(key, "1.0", True) for key in self.private}
        return Environment(f"3.{self.minor}.4", platform, architecture, name, "pypi", distributions)


@dataclass(frozen=True)
class MadeUser:
    """A person: what they agreed to, and their environments."""

    number: int
    level: Level
    environments: Sequence[MadeEnvironment]


def made_users(count: int, versions: Mapping[str, Sequence[str]], seed: int = 7) -> list[MadeUser]:
    """Return made-up users. ``versions``: which versions of each package some have."""
    dice = random.Random(seed)
    users = []
    for number in range(count):
        level = dice.choices([Level.NONE, Level.BASIC, Level.MIDDLE, Level.FULL], [2, 2, 4, 2])[0]
        environments = []
        for _ in range(dice.choices([1, 2], [5, 1])[0]):
            names = [name for name in versions if name == "napari" or dice.random() < 0.55]
            environments.append(
                MadeEnvironment(
                    dice.choice(MINORS),
                    dice.choice(SYSTEMS),
                    {name: dice.choice(versions[name]) for name in names},
                    ["my-secret-plugin"] if dice.random() < 0.3 else [],
                )
            )
        users.append(MadeUser(number, level, environments))
    return users


def public(people: Mapping[tuple[str, ...], set[int]]) -> dict[tuple[str, ...], int]:
    """Return the numbers that may be seen: from ten people on, rounded down to a multiple of five."""
    return {values: len(who) // 5 * 5 for values, who in people.items() if len(who) >= 10}


def installs_by_python(users: Iterable[MadeUser], plugin: str) -> dict[tuple[str, ...], int]:
    """Return the public installs of a plugin by Python version."""
    people: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for user in users:
        if user.level.includes(Level.MIDDLE):
            for environment in user.environments:
                if plugin in environment.installed:
                    people[f"3.{environment.minor}",].add(user.number)
    return public(people)


def installs_by_version(users: Iterable[MadeUser], plugin: str, finals: Iterable[str]) -> dict[tuple[str, ...], int]:
    """Return the public installs of a plugin by version; pre-releases are never named."""
    people: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for user in users:
        if user.level.includes(Level.MIDDLE):
            for environment in user.environments:
                if environment.installed.get(plugin) in set(finals):
                    people[environment.installed[plugin],].add(user.number)
    return public(people)


def people_by(users: Iterable[MadeUser], kind: str) -> dict[tuple[str, ...], int]:
    """Return the public numbers of people by ``"python"``, ``"platform"``, ``"level"`` or nothing (``""``)."""
    people: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for user in users:
        if user.level is not Level.NONE:
            for environment in user.environments:
                values = {
                    "": (),
                    "python": (f"3.{environment.minor}",),
                    "platform,architecture": environment.system[:2],
                    "level": (user.level.value,),
                }
                people[values[kind]].add(user.number)
    return public(people)
