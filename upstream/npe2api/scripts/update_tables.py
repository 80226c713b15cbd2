"""Write public/updates/pypi.json and conda-forge.json, which list the newest release by Python and napari.

All clients get the same files. A client takes a package's first row whose `requires_python` and `requires_napari` allow its
versions. Run this script after reindex.py; it reads only files in public/ and needs only `packaging`.
"""

import json
import re
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

OLDEST, NEWEST = 8, 19  # minor versions of CPython 3
PLATFORMS = [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]


@cache
def allows(specifier, version):
    try:
        return SpecifierSet(specifier or "").contains(version, prereleases=True)
    except InvalidSpecifier:  # pip also ignores it
        return True


@cache
def is_installable(filename, minor):
    if not filename.endswith(".whl"):
        return True
    mine = {*cpython_tags((3, minor), platforms=["any"]), *compatible_tags((3, minor), f"cp3{minor}", ["any"])}
    pairs = {(tag.interpreter, tag.abi) for tag in mine}
    return any((tag.interpreter, tag.abi) in pairs for tag in parse_wheel_filename(filename)[3])


def python_points(texts):
    """Return the sorted (minor, patch) versions of Python at which the result of a specifier may change."""
    found = {(minor, 0) for minor in range(OLDEST, NEWEST + 1)}
    for minor, patch in (
        match for text in texts for match in re.findall(r"(?<![\w.])3\.(\d{1,2})(?:\.(\d{1,4}))?", text or "")
    ):
        if OLDEST <= int(minor) <= NEWEST:
            found |= {(int(minor), int(patch or 0)), (int(minor), int(patch or 0) + 1)}
    return sorted(found)


def specifiers(chosen, points):
    """Return (points, specifier) for each run of adjacent points in ``chosen``."""

    def short(point):
        return f"3.{point[0]}" + (f".{point[1]}" if point[1] else "")

    runs_, start = [], None
    for number, point in enumerate([*points, None]):
        if point in chosen and start is None:
            start = number
        elif point not in chosen and start is not None:
            lower, upper = points[start], point and f"<{short(point)}"
            runs_.append((set(points[start:number]), ",".join(filter(None, (start and f">={short(lower)}", upper)))))
            start = None
    return runs_


def requirements_on(requires_dist, point, names):
    """Return the distinct napari specifiers on a Python version, and the other requirements that all platforms share."""
    on_platforms = []
    for sys_platform, system in PLATFORMS:
        environment = {
            "python_version": f"3.{point[0]}",
            "python_full_version": f"3.{point[0]}.{point[1]}",
            "extra": "",
            "sys_platform": sys_platform,
            "platform_system": system,
        }
        found = {}
        for requirement in requires_dist:
            name = canonicalize_name(requirement.name)
            if (
                name in names
                and str(requirement.specifier)
                and (not requirement.marker or requirement.marker.evaluate(environment))
            ):
                found[name] = ",".join(filter(None, (found.get(name), str(requirement.specifier))))
        on_platforms.append(found)
    naparis = dict.fromkeys(found.pop("napari", "") for found in on_platforms)
    shared = {name: text for name, text in on_platforms[0].items() if all(found.get(name) == text for found in on_platforms)}
    return ("",) if "" in naparis else tuple(naparis), tuple(sorted(shared.items()))


def table_rows(releases, points, naparis, all_finals=False):
    """Return the rows of a package: only releases that are the answer for some Python and napari version.

    `releases`: (version, is_prerelease, {(napari, requires): points}, {points: published specifier}).
    """
    unanswered = {napari: set(points) for napari in (None, *naparis)}
    finals = {point for _, is_pre, needs, _ in releases if not is_pre for supported in needs.values() for point in supported}
    rows = []
    for version, is_pre, needs, texts in sorted(releases, key=lambda one: (not one[1], one[0]), reverse=True):
        for (napari_text, requires), supported in needs.items():
            supported = supported - finals if is_pre else supported
            known = texts.get(frozenset(supported))
            for part, text in [(supported, known)] if known is not None else specifiers(supported, points):
                open_ = [one for one in unanswered if unanswered[one] & part and (one is None or allows(napari_text, one))]
                for one in open_:
                    unanswered[one] -= part
                if open_ or (all_finals and part and not is_pre):
                    row = {
                        "version": str(version),
                        "requires_python": text,
                        "requires_napari": napari_text,
                        "requires": dict(requires),
                    }
                    rows.append({name: value for name, value in row.items() if value})
    return rows


def group_points(supported, needs):
    found = {}
    for point in supported:
        naparis, requires = needs(point)
        for napari in naparis:
            found.setdefault((napari, requires), set()).add(point)
    return found


def from_pypi(project, names, naparis):
    """Return the table entry of a package on PyPI."""
    info, releases, yanked = project["info"], [], {}
    try:
        requires = [Requirement(text) for text in info["requires_dist"] or ()]
    except InvalidRequirement:  # pip ignores the release
        requires = None
    texts = [file["requires_python"] for files in project["releases"].values() for file in files]
    points = python_points([*texts, *(str(one.marker or "") for one in requires or ())])
    for files in project["releases"].values():
        by_version = {}
        for file in files:
            try:
                wheel = file["filename"].endswith(".whl")
                version = (parse_wheel_filename if wheel else parse_sdist_filename)(file["filename"])[1]
            except (InvalidWheelFilename, InvalidSdistFilename):
                continue
            by_version.setdefault(version, []).append(file)
        for version, found in by_version.items():
            sound = [file for file in found if not file["yanked"]]
            if not sound:
                yanked[str(version)] = next((file["yanked_reason"] for file in found if file["yanked_reason"]), "")
            elif str(version) == info["version"] and requires is None:
                continue
            supported, published = set(), {}
            for file in sound:
                admitted = {point for point in points if allows(file["requires_python"], f"3.{point[0]}.{point[1]}")}
                published.setdefault(frozenset(admitted), (file["requires_python"] or "").strip())
                supported |= {point for point in admitted if is_installable(file["filename"], point[0])}
            mine = requires if str(version) == info["version"] else []  # only the newest release's are known
            others = names - {canonicalize_name(info["name"])}
            needs = group_points(supported, lambda point, mine=mine, others=others: requirements_on(mine, point, others))
            releases.append((version, version.is_prerelease, needs, published))
    rows = table_rows(releases, points, naparis, all_finals=info["name"] == "napari")
    return {"releases": rows} | ({"yanked": yanked} if yanked else {})


def conda_specifier(text):
    """Return the name and PEP 440 specifier of a conda match specification, "" if PEP 440 has none.

    `napari 0.7.*` becomes `==0.7.*`.
    """
    name, rest = re.match(r"([^\s<>=!~\[]+)\s*(.*)", text.strip()).groups()
    version, _, build = re.sub(r"([<>=!~,])\s+", r"\1", rest).partition(" ")
    if name == "python_abi" and (minor := re.search(r"_cp3(\d+)$", build)):
        return name, f"==3.{minor[1]}.*"
    clauses = [clause for clause in version.split(",") if clause not in ("", "*")]
    clauses = [re.sub(r"^=(?!=)(.*?)(\.?\*)?$", r"==\1.*", one) if one[0] in "<>=!~" else f"=={one}" for one in clauses]
    try:
        return name, str(SpecifierSet(",".join(clauses)))
    except InvalidSpecifier:
        return name, ""


def from_conda(project, key, by_conda_name, naparis):
    """Return the table entry of a package on conda-forge, from anaconda.org's data."""
    by_version, broken = {}, {}
    for file in project["files"]:
        if {"main", "broken"} & set(file["labels"]):
            by_version.setdefault(file["version"], []).append(file)
    texts = [text for files in by_version.values() for file in files for text in file["attrs"].get("depends") or ()]
    points, releases = python_points([text for text in texts if text.startswith(("python", "cpython"))]), []
    for text, files in by_version.items():
        sound = [file for file in files if "broken" not in file["labels"]]
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        if not sound:
            broken[text] = "marked as broken on conda-forge"
            continue
        found = {point: {} for point in points}
        for file in sound:
            depends = [conda_specifier(one) for one in file["attrs"].get("depends") or ()]
            constrains = [conda_specifier(one) for one in file["attrs"].get("constrains") or ()]
            needs = {by_conda_name[name]: one for name, one in depends if name in by_conda_name and one and name != "napari"}
            napari = ",".join(dict.fromkeys(one for name, one in (*depends, *constrains) if name == "napari" and one))
            of_python = [one for name, one in (*depends, *constrains) if name in ("python", "python_abi", "cpython")]
            for point in points:
                if all(allows(one, f"3.{point[0]}.{point[1]}") for one in of_python):
                    mine = set(needs.items())
                    found[point][napari] = found[point].get(napari, mine) & mine
        needs = {}
        for point, by_napari in found.items():
            for napari in ("",) if "" in by_napari else by_napari:
                needs.setdefault((napari, tuple(sorted(by_napari[napari]))), set()).add(point)
        releases.append((version, False, needs, {}))
    entry = {"releases": table_rows(releases, points, naparis, all_finals=key == "napari")}
    return entry | ({"yanked": broken} if broken else {}) | ({"conda_name": project["name"]} if project["name"] != key else {})


def main(public):
    listed = sorted(json.loads((public / "index.json").read_text()))
    projects = {name: json.loads((public / "pypi" / f"{name}.json").read_text()) for name in map(canonicalize_name, listed)}
    versions = projects.get("napari", {"releases": {}})["releases"]
    naparis = [version for version, files in versions.items() if files and not Version(version).is_prerelease]
    names = {*projects, "napari"}
    write(public, "pypi", {name: from_pypi(project, names, naparis) for name, project in sorted(projects.items())})
    on_conda = {
        path.stem: json.loads(path.read_text()) for path in sorted((public / "conda").glob("*.json")) if path.stem in names
    }
    keys = {project["name"]: key for key, project in on_conda.items()}
    write(public, "conda-forge", {key: from_conda(project, key, keys, naparis) for key, project in on_conda.items()})


def write(public, channel, packages):
    """Write a table. If its packages have not changed, keep its `index_version`, so that its bytes stay the same."""
    target = public / "updates" / f"{channel}.json"
    target.parent.mkdir(exist_ok=True)
    earlier = json.loads(target.read_text()) if target.exists() else {}
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    since = earlier["index_version"] if earlier.get("packages") == packages else since
    table = {"schema_version": 2, "channel": channel, "index_version": since, "check_again_s": 86400, "packages": packages}
    target.write_text(json.dumps(table, separators=(",", ":")))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "public")
