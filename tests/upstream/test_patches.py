"""The patches for napari's plugin template and hub-lite."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

UPSTREAM = Path(__file__).parents[2] / "upstream"


def patched(name: str, folder: Path) -> Path:
    copies = os.environ.get("TEST_UPSTREAM_COPIES")
    if not copies or not (Path(copies) / name).is_dir():
        pytest.skip(f"needs {name}: clone it from https://github.com/napari and set TEST_UPSTREAM_COPIES to its parent folder")
    clone = folder / name
    subprocess.run(["git", "clone", "-q", Path(copies) / name, clone], check=True)
    subprocess.run(["git", "apply", UPSTREAM / name / f"{name}.patch"], cwd=clone, check=True)
    return clone


def test_the_template_checks_a_release_before_it_is_published(tmp_path: Path) -> None:
    clone = patched("napari-plugin-template", tmp_path)
    workflow = yaml.safe_load((clone / "template" / ".github" / "workflows" / "test_and_deploy.yml").read_text("utf-8"))
    steps = workflow["jobs"]["deploy"]["steps"]
    names = [step["name"] for step in steps]
    assert names.index("Check the release") == names.index("Publish to PyPI") - 1
    (downloaded,) = [step for step in steps if "download-artifact" in step.get("uses", "")]
    assert downloaded["with"]["path"] == "dist", "where the step looks"


def load_module(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module  # dataclasses look up the module there
    specification.loader.exec_module(module)
    return module


def test_the_hub_shows_python_versions_from_the_index(tmp_path: Path) -> None:
    hub: Any = load_module(patched("hub-lite", tmp_path) / "create_static_html_files.py")
    answer = tmp_path / "pythons.json"
    supports = [{"python": python, "newest": ["Napari_Harpy"], "older": []} for python in ("3.12", "3.14")]
    answer.write_text(json.dumps({"supports": supports}))
    hub.supported_pythons = functools.cache(functools.partial(hub.supported_pythons.__wrapped__, answer.as_uri()))
    plugin = SimpleNamespace(normalized_name="napari-harpy", package_metadata_requires_python=">=3.10")
    html = hub.generate_python_versions_html(plugin)
    assert [f">{python}<" in html for python in ("3.10", "3.12", "3.13", "3.14")] == [False, True, False, True]
    plugin.normalized_name = "unknown"
    assert ">3.10<" in hub.generate_python_versions_html(plugin), "unchanged for an unknown plugin"
    assert hub.supported_pythons.__wrapped__.func("file:///nowhere/pythons.json") == {}
