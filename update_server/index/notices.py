"""Notices about faulty releases and inactive plugins, from a reviewed file.

A yank breaks installations that pin the release; a notice only informs. The file is a YAML list::

    - name: some-plugin
      specifier: "==1.2.0"
      severity: warning
      text: 1.2.0 measures areas in wrong units. 1.2.1 is right.
      link: https://github.com/example/some-plugin/issues/12
      until: 2027-06-01
    - name: old-plugin
      inactive: true
"""

import re
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from msgspec import Struct
from napari_update_hook.table import MAX_NOTICE, MAX_NOTICES, Notice
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name


class NoticesError(Exception):
    """An invalid file of notices; the message names the entry and the reason."""


class PackageNotices(Struct, frozen=True):
    """The notices about a package. ``inactive``: no longer maintained."""

    notices: tuple[Notice, ...] = ()
    inactive: bool = False


class _Entry(Struct, forbid_unknown_fields=True):
    name: str
    specifier: str = ""
    severity: Literal["info", "warning"] = "warning"
    text: str = ""
    link: str = ""
    until: date | None = None
    inactive: bool = False


def read_notices(path: Path, names: Collection[str], today: date) -> tuple[Mapping[str, PackageNotices], list[str]]:
    """Return current notices by normalized name, and the names that the index does not list.

    Such a name is not an error: a removed package must not suppress all notices. Raises NoticesError.
    """
    try:
        entries = msgspec.convert(yaml.safe_load(path.read_text("utf-8")) or [], list[_Entry])
    except OSError as error:
        raise NoticesError(f"{path.name} can't be read: {error.strerror or error}") from error
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise NoticesError(f"{path.name} is not a list of notices: {error}") from error
    found: dict[str, PackageNotices] = {}
    unlisted = []
    for number, entry in enumerate(entries, 1):
        if reason := _find_error(entry):
            raise NoticesError(f"{path.name}, entry {number} ({entry.name[:64]}): {reason}")
        key = str(canonicalize_name(entry.name))
        if entry.until is not None and entry.until < today:
            continue
        if key not in names:
            unlisted.append(entry.name[:64])
            continue
        mine = found.get(key, PackageNotices())
        notice = Notice(entry.text.strip(), entry.specifier, entry.severity, entry.link, str(entry.until or ""))
        notices = (*mine.notices, notice) if entry.text else mine.notices
        found[key] = PackageNotices(notices, mine.inactive or entry.inactive)
        if len(notices) > MAX_NOTICES:
            raise NoticesError(f"{path.name}: {entry.name[:64]} has more than {MAX_NOTICES} notices")
    return found, unlisted


def _find_error(entry: _Entry) -> str | None:
    if bool(entry.text.strip()) == entry.inactive:
        return "give a text or `inactive: true`"
    if entry.text and entry.severity == "warning" and not entry.specifier:
        return "a warning needs a specifier, or it would be shown for every version"
    if len(entry.text) > MAX_NOTICE or not entry.text.isprintable():
        return f"the text must be one line of at most {MAX_NOTICE} characters"
    if len(entry.link) > MAX_NOTICE or not re.fullmatch(r"(https://[A-Za-z0-9.-]+(:[0-9]+)?(/[!-~]*)?)?", entry.link):
        return f"the link must begin with https:// and have at most {MAX_NOTICE} characters"
    try:
        SpecifierSet(entry.specifier)
    except InvalidSpecifier:
        return f"{entry.specifier!r} is not a specifier such as '==1.2.0'"
    return None
