"""Index facts and services, built from the sample upstream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from aggregation.clock import Clock
from aggregation.status import ServiceStatus
from tests.support.sample_upstream import PLUGINS, FakeUpstream, SampleProject
from update_server.index.model import CondaFile, CondaPackage, Facts, File, Package, Release, sort_newest_first
from update_server.index.snapshot import Document, Index, Origin
from update_server.index.store import IndexStore
from update_server.operations.metrics import Metrics

AS_OF = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def facts_of(projects: Sequence[SampleProject] = PLUGINS, as_of: datetime = AS_OF) -> Facts:
    return Facts(as_of, True, tuple(package_of(project) for project in projects))


def package_of(project: SampleProject) -> Package:
    releases = []
    for version, files in project.releases.items():
        made = []
        for file in files:
            yanked = None if file.yanked is False else ("" if file.yanked is True else str(file.yanked))
            tags = None if file.tag is None else ("-".join(file.tag.split("-")[:2]).replace("py2.py3", "py3"),)
            made.append(File(file.requires_python, yanked, tags))
        releases.append(Release(version, tuple(made), uploaded=project.uploaded.get(version)))
    conda = None
    if project.conda:
        conda = CondaPackage(
            project.conda_name or canonicalize_name(project.name),
            tuple(
                CondaFile(
                    file.version,
                    tuple(text for text in file.depends if text != "napari"),
                    tuple(file.constrains),
                    "broken" in file.labels,
                )
                for file in project.conda
            ),
        )
    key = canonicalize_name(project.name)
    return Package(key, project.name, project.newest, sort_newest_first(releases), tuple(project.commands), conda)


def index_of(projects: Sequence[SampleProject] = PLUGINS, as_of: datetime = AS_OF) -> Index:
    upstream = FakeUpstream(projects)
    paths = ["/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json"]
    for project in projects:
        key = canonicalize_name(project.name)
        paths += [f"/api/pypi/{key}", f"/api/manifest/{key}", f"/api/conda/{key}"]
    documents = {path: Document.of(text) for path in paths if (text := upstream.answer(path)) is not None}
    return Index(facts_of(projects, as_of), Origin.REFRESH, documents)


def write_snapshot(folder: Path, projects: Sequence[SampleProject] = PLUGINS) -> None:
    from update_server.index import snapshot

    snapshot.write(index_of(projects), folder / "index.snapshot")


def empty_metrics() -> Metrics:
    metrics = Metrics(IndexStore(Path("nowhere"), None, 86400), Clock(), lambda: 0)
    metrics.status = ServiceStatus([], [], [], [], [], [], [])
    return metrics
