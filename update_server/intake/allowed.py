"""Allow-lists of the strings that reports of each level may contain.

Clients and server both check every string against a public list. Otherwise ten forged reports could publish any text.
"""

from collections.abc import Mapping

import msgspec
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, AllowList, Level

from update_server.index.model import Facts
from update_server.intake import vocabulary
from update_server.representations import Body


class AllowLists:
    """The allow-lists of an index, as response bodies and as sets."""

    def __init__(self, facts: Facts) -> None:
        packages = facts.by_key()
        napari = packages["napari"].published_finals if "napari" in packages else ()
        plugins = {
            key: package.published_finals for key, package in packages.items() if key != "napari" and package.published_finals
        }
        commands = {key: packages[key].commands for key in plugins if packages[key].commands}
        declared = packages["napari"].commands if "napari" in packages else ()
        commands["napari"] = tuple(sorted({*vocabulary.napari_commands(), *declared}))
        self.napari_versions = frozenset((*napari, vocabulary.DEVELOPMENT))
        self.plugins = {key: frozenset(versions) for key, versions in plugins.items()}
        self.commands = frozenset(command for ids in commands.values() for command in ids)
        lists = {level: _list(level, napari, plugins, commands) for level in TELEMETRY_LEVELS}
        self.bodies = {level: Body(msgspec.json.encode(allowed)) for level, allowed in lists.items()}
        for body in self.bodies.values():
            body.encode(("gzip",))  # gzip takes milliseconds, the other encodings a second


def _list(
    level: Level, napari: tuple[str, ...], plugins: Mapping[str, tuple[str, ...]], commands: Mapping[str, tuple[str, ...]]
) -> AllowList:
    middle, full = level.includes(Level.MIDDLE), level.includes(Level.FULL)
    return AllowList(
        schema_version=SCHEMA_VERSION,
        napari_versions=list(napari),
        python_versions=list(vocabulary.PYTHON_VERSIONS),
        platforms=list(vocabulary.PLATFORMS),
        cpu_architectures=list(vocabulary.CPU_ARCHITECTURES),
        sys_names=list(vocabulary.SYS_NAMES),
        plugins={name: list(versions) for name, versions in plugins.items()} if middle else None,
        commands={name: list(ids) for name, ids in commands.items()} if full else None,
        layers=list(vocabulary.LAYERS) if full else None,
        classes=list(vocabulary.CLASSES) if full else None,
        dtypes=list(vocabulary.DTYPES) if full else None,
    )
