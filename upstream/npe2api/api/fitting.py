"""Answer /api/plugins and /api/extended_summary for one Python and one napari (a Vercel function).

Both come from the query (?python=3.11.4&napari=0.6.1), else from the User-Agent that every napari sends:
napari/0.6.1 runtime/python CPython/3.11.4. Without them the answer is the file as it is.
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
def admits(specifier, version):
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def pick(channel, name, python, napari):
    """The newest version that fits, or None."""
    package = load(f"updates/{channel}.json")["packages"].get(canonicalize_name(name), {})
    for row in package.get("releases", ()):
        wanted = ((row.get("requires_python", ""), python), (row.get("requires_napari", ""), napari))
        if all(not version or admits(specifier, version) for specifier, version in wanted):
            return row["version"]
    return None


def up_to(versions, newest):
    """The versions that are not newer than the one that fits; versions that cannot be read stay."""

    def is_newer(text):
        try:
            return Version(text) > Version(newest)
        except InvalidVersion:
            return False

    return [text for text in versions or () if newest and not is_newer(text)]


def fitting(kind, python, napari):
    """One of the lists, for a Python and a napari (None: any)."""
    python = python and ".".join(map(str, (*Version(python).release, 0)[:3]))
    napari = napari and Version(napari).base_version
    if kind == "plugins":
        found = {name: pick("pypi", name, python, napari) for name in load(FILES[kind])}
        return {name: version for name, version in found.items() if version}
    answer = []
    for summary in load(FILES[kind]):
        if version := pick("pypi", summary["name"], python, napari):
            on_conda = pick("conda-forge", summary["name"], python, napari)
            versions = {
                "pypi_versions": up_to(summary["pypi_versions"], version),
                "conda_versions": up_to(summary["conda_versions"], on_conda),
            }
            answer.append(summary | {"version": version} | versions)
    return answer


class handler(BaseHTTPRequestHandler):  # noqa: N801 - the name that Vercel looks for
    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        kind = query.get("list") or url.path.rstrip("/").rpartition("/")[2]
        named = USER_AGENT.search(self.headers.get("User-Agent", "")[:512])
        python, napari = query.get("python"), query.get("napari")
        if python is None and napari is None and named:
            napari, python = named.groups()
        try:
            status, answer = (200, fitting(kind, python, napari)) if python or napari else (200, load(FILES[kind]))
        except InvalidVersion:
            status, answer = 400, {"error": "python and napari are versions: ?python=3.11.4&napari=0.6.1"}
        except KeyError:
            status, answer = 404, {"error": "unknown list"}
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
