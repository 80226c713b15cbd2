"""Notices about releases that should not be used and plugins that are no longer maintained, from a reviewed file.

A yank breaks installations that name the release; a notice only informs those who have it. The file is YAML, a list::

    - name: some-plugin
      specifier: "==1.2.0"
      severity: warning
      text: 1.2.0 measures areas in wrong units. 1.2.1 is right.
      link: https://github.com/example/some-plugin/issues/12
      until: 2027-06-01
    - name: old-plugin
      inactive: true
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct
from napari_update_hook.table import Notice
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

MAX_TEXT = 200
"""Characters of a text."""
MAX_PER_PACKAGE = 10


class NoticesError(Exception):
    """A file of notices that can't be used; the message says which entry and why."""


class PackageNotices(Struct, frozen=True):
    """What is said of a package. ``inactive``: whether it is no longer maintained."""

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


def read_notices(path: Path, names: Collection[str], today: date) -> Mapping[str, PackageNotices]:
    """Return the notices of a file by normalized name, without those whose time is over. ``names``: of the index.

    Raises NoticesError.
    """
    try:
        entries = msgspec.convert(yaml.safe_load(path.read_text("utf-8")) or [], list[_Entry])
    except OSError as error:
        raise NoticesError(f"{path} can't be read: {error.strerror or error}") from error
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise NoticesError(f"{path} is no list of notices: {error}") from error
    found: dict[str, PackageNotices] = {}
    for number, entry in enumerate(entries, 1):
        key = str(canonicalize_name(entry.name))
        if reason := _wrong(entry, key, names):
            raise NoticesError(f"{path}, entry {number} ({entry.name[:64]}): {reason}")
        if entry.until is not None and entry.until < today:
            continue
        mine = found.get(key, PackageNotices())
        notice = Notice(entry.text, entry.specifier, entry.severity, entry.link, str(entry.until or ""))
        notices = (*mine.notices, notice) if entry.text else mine.notices
        found[key] = PackageNotices(notices, mine.inactive or entry.inactive)
        if len(notices) > MAX_PER_PACKAGE:
            raise NoticesError(f"{path}: {entry.name[:64]} has more than {MAX_PER_PACKAGE} notices")
    return found


def _wrong(entry: _Entry, key: str, names: Collection[str]) -> str | None:
    """What is wrong with an entry, if anything."""
    if key not in names:
        return "the index lists no such package"
    if bool(entry.text) == entry.inactive:
        return "give a text, or `inactive: true`"
    if len(entry.text) > MAX_TEXT or not entry.text.isprintable():
        return f"the text must be one line of at most {MAX_TEXT} characters"
    try:
        SpecifierSet(entry.specifier)
        link = urlsplit(entry.link)
    except (InvalidSpecifier, ValueError):
        return f"{entry.specifier!r} is no specifier such as '==1.2.0', or the link is no address"
    return None if not entry.link or (link.scheme == "https" and link.hostname) else "the link must begin with https://"
