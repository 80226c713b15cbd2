"""The query of an update check, read once and remembered: there are few that differ."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qsl

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from update_server.index.bodies import CHANNELS
from update_server.index.pythons import PythonVersion, UnknownPythonError
from update_server.problems import Problem, bad_query

LONGEST_QUERY = 256
"""Characters: what callers write becomes a key of caches, so it is bounded."""


class UpdatesQuery(Struct, frozen=True):
    """Who asks: a Python, a channel, perhaps a napari. ``known``: the ETag of the body that the client holds, in a ``POST``."""

    python: PythonVersion
    channel: str = "pypi"
    napari: str | None = None
    known: str | None = None


def parsed_query(query_string: bytes) -> UpdatesQuery:
    """Return what a query string asks. Raises Problem 400, which names the parameter."""
    if len(query_string) > LONGEST_QUERY:
        raise Problem(400, f"The query is longer than {LONGEST_QUERY} characters: use python=3.11&channel=pypi.")
    return _parsed(query_string)


@lru_cache(maxsize=1024)
def _parsed(query_string: bytes) -> UpdatesQuery:
    try:
        fields = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise Problem(400, "The query can't be read: use python=3.11&channel=pypi.") from error
    values = dict(fields)
    if len(values) < len(fields):
        raise Problem(400, "Each query parameter may be given once.")
    if "python" not in values:
        raise bad_query("python", "Say which Python you have: python=3.11 or python=3.11.4.")
    python = parsed_python(values["python"])
    channel = values.get("channel", "pypi")
    if channel not in CHANNELS:
        raise bad_query("channel", f"{channel[:32]!r} is no channel: choose {' or '.join(CHANNELS)}.")
    return UpdatesQuery(python, channel, _napari(values.get("napari")), values.get("known"))


def parsed_python(text: str) -> PythonVersion:
    """Return the Python that a query parameter names. Raises Problem 400."""
    try:
        return PythonVersion.parse(text)
    except UnknownPythonError as error:
        raise bad_query("python", f"{error}.") from error


def _napari(text: str | None) -> str | None:
    """A napari version in its normal form, without what a local build adds."""
    if text is None:
        return None
    try:
        return Version(text[:64]).public
    except InvalidVersion as error:
        raise bad_query("napari", f"{text[:32]!r} is no napari version: write it like 0.6.1.") from error
