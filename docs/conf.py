"""Sphinx configuration: `make site` builds docs/_build/html and fails on warnings."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import napari_telemetry.cli
import napari_update_hook.cli
from sphinx.application import Sphinx

from aggregation import __version__

for command in (napari_telemetry.cli.app, napari_update_hook.cli.app):
    command.rich_markup_mode = "rich"  # sphinxcontrib-typer reads only help that rich has formatted

ROOT = Path(__file__).parents[1]

GROUPS = {
    "/api/updates": "Updates, and reports with them",
    "/api/telemetry": "Telemetry",
    "/api/reports": "Telemetry",
    "/api/stats": "Public numbers",
    "/api/shields": "Public numbers",
    "/api/pythons": "Public numbers",
    "/certificates": "Certificates",
    "/.well-known": "Certificates",
    "/verify": "Certificates",
    "/health": "Health",
    "/": "The plugin index",
}
"""Tags by path prefix."""

project = "napari update service"
author = "the napari community"
copyright = f"2026, {author}"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinxcontrib.openapi",
    "sphinxcontrib.typer",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
add_module_names = False
pygments_dark_style = "github-dark"


def write_openapi(app: Sphinx) -> None:
    """Write the OpenAPI document for the HTTP page."""
    from update_server.app import create_app
    from update_server.openapi import description
    from update_server.settings import Settings

    document = description(create_app(Settings(jobs=False)))
    logging.disable(logging.INFO)  # create_app() set up logging to the terminal
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["tags"] = [next(tag for prefix, tag in GROUPS.items() if path.startswith(prefix))]
            for parameter in operation.get("parameters", []):
                kinds = [one for one in parameter["schema"].get("oneOf", []) if one.get("type") != "null"]
                parameter["schema"] = kinds[0] if len(kinds) == 1 else parameter["schema"]  # the renderer can't show a union
    target = Path(app.srcdir) / "_build" / "openapi.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document), "utf-8")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_openapi)
