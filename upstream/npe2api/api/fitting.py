"""Vercel function: filter /api/plugins and /api/extended_summary for a Python and a napari version.

Both versions come from the query (?python=3.11.4&napari=0.6.1), or else from the User-Agent that all napari versions send:
napari/0.6.1 runtime/python CPython/3.11.4. Without any version, the file is returned unchanged.
"""

import json
import re
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PUBLIC = Path(__file__).parent.parent / "public"
FILES = {"plugins": "index.json", "extended_summary": "extended_summary.json"}
USER_AGENT = re.compile(r"\bnapari/([0-9][0-9A-Za-z.!]*)\S*.*?\bCPython/(3\.[0-9.]+(?:(?:a|b|rc)[0-9]+)?)")


@cache
def load(name):
    return json.loads((PUBLIC / name).read_text())


@cache
def allows(specifier, version):
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def newest_compatible(channel, name, python, napari):
    """Return the newest version of a package that is compatible with the Python and napari versions, or None."""
    package = load(f"updates/{channel}.json")["packages"].get(canonicalize_name(name), {})
    for row in package.get("releases", ()):
        constraints = ((row.get("requires_python", ""), python), (row.get("requires_napari", ""), napari))
        if all(not version or allows(specifier, version) for specifier, version in constraints):
            return row["version"]
    return None


def not_newer_than(versions, newest):
    """Return the versions that are not newer than ``newest``, the newest compatible one.

    Invalid versions are kept. If ``newest`` is None, the result is empty.
    """

    def is_newer(text):
        try:
            return Version(text) > Version(newest)
        except InvalidVersion:
            return False

    return [text for text in versions or () if newest and not is_newer(text)]


def filtered_list(kind, python, napari):
    """Return the list ``kind``, filtered for a Python and a napari version. None means any version."""
    python = python and ".".join(map(str, (*Version(python).release, 0)[:3]))
    napari = napari and Version(napari).base_version
    if kind == "plugins":
        found = {name: newest_compatible("pypi", name, python, napari) for name in load(FILES[kind])}
        return {name: version for name, version in found.items() if version}
    answer = []
    for summary in load(FILES[kind]):
        if version := newest_compatible("pypi", summary["name"], python, napari):
            on_conda = newest_compatible("conda-forge", summary["name"], python, napari)
            versions = {
                "pypi_versions": not_newer_than(summary["pypi_versions"], version),
                "conda_versions": not_newer_than(summary["conda_versions"], on_conda),
            }
            answer.append(summary | {"version": version} | versions)
    return answer


class handler(BaseHTTPRequestHandler):  # noqa: N801 - Vercel requires this name
    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        kind = query.get("list") or url.path.rstrip("/").rpartition("/")[2]
        user_agent = USER_AGENT.search(self.headers.get("User-Agent", "")[:512])
        python, napari = query.get("python"), query.get("napari")
        if python is None and napari is None and user_agent:
            napari, python = user_agent.groups()
        try:
            status, answer = (200, filtered_list(kind, python, napari)) if python or napari else (200, load(FILES[kind]))
        except InvalidVersion:
            status, answer = 400, {"error": "python and napari must be valid versions, for example ?python=3.11.4&napari=0.6.1"}
        except KeyError:
            status, answer = 404, {"error": "unknown list: use plugins or extended_summary"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Vary", "User-Agent"),
            ("Cache-Control", "public, max-age=300"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
