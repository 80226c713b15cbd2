"""The documentation site: `make site` builds it into docs/_build/html, with every warning an error."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from aggregation import __version__

ROOT = Path(__file__).parents[1]

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
suppress_warnings = ["myst.xref_missing"]  # files of the repository beside this folder: `mark_repository_files` turns them to text


def write_openapi(app: Sphinx) -> None:
    """Write the description of the HTTP interface, as the program gives it, where a page shows it."""
    from update_server.openapi import description

    document = description()
    target = Path(app.srcdir) / "_build" / "openapi.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document), "utf-8")


def mark_repository_files(app: Sphinx, tree: nodes.document, name: str) -> None:
    """Links to files of the repository that are no page of the site lose their link here, and keep their text.

    Fails for those that do not exist.
    """
    from sphinx.addnodes import download_reference, pending_xref

    for node in list(tree.findall(lambda one: isinstance(one, (pending_xref, download_reference, nodes.reference)))):
        target = node.get("reftarget") or node.get("refuri") or ""
        if not re.match(r"(\.\./|[a-z_]+/)", target) or "://" in target:
            continue
        path = (Path(app.srcdir) / name).parent / target.partition("#")[0]
        is_page = path.suffix == ".md" and Path(app.srcdir) in path.resolve().parents
        if is_page:
            continue
        if not path.exists():
            raise ValueError(f"docs/{name}.md links to {target}, which does not exist")
        node.replace_self(node.children)


def setup(app: Sphinx) -> None:
    """Register what is made at each build."""
    app.connect("builder-inited", write_openapi)
    app.connect("doctree-resolved", mark_repository_files)
