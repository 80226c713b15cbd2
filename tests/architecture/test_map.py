"""The import map in docs/how-it-works.md matches the source, and there are no circular imports."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture.test_imports import PACKAGES, ROOT, modules_of

DOMAINS = {f"update_server.{path.parent.name}" for path in (ROOT / "update_server").glob("*/__init__.py")}


def name_of(package: str, path: Path) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


MODULES = {name_of(package, path): path for package in PACKAGES for path in modules_of(package)}


def imports_of(path: Path, *, nested: bool) -> set[str]:
    """Return the imported modules of this project. ``nested``: include imports inside functions."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set()
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {one if (one := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names}
    return found & set(MODULES)


def group_of(module: str) -> str:
    domain = ".".join(module.split(".")[:2])
    return domain if domain in DOMAINS else module.split(".")[0]


def test_the_import_map_matches_the_source() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
    lines = page.split("```text\n")[1].split("```")[0].splitlines()
    shown = {line.split(" -> ")[0]: set(line.split(" -> ")[1].split(", ")) for line in lines}
    real: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        real.setdefault(group_of(module), set()).update(map(group_of, imports_of(path, nested=True)))
    top = real.pop("update_server")  # services, settings and answers that all domains share
    assert top | set(shown) >= DOMAINS
    assert shown == {name: others - {name, "update_server"} for name, others in real.items()}


def test_there_are_no_circular_imports() -> None:
    graph = {module: imports_of(path, nested=False) - {module} for module, path in MODULES.items()}
    while free := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in free:
            del graph[module]
    assert not graph
