"""The documentation site builds without warnings, and no page has a broken link."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for pattern in ("*.md", "docs/*.md", "deploy/**/*.md", "client_hook/*.md") for page in ROOT.glob(pattern))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site like `make site`; return its folder."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html", "docs", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class LinkParser(HTMLParser):
    """A parser that collects the resources and hyperlinks of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag in ("script", "img", "iframe") and named.get("src"):
            self.loaded.add(str(named["src"]))
        if tag == "link" and named.get("rel") in ("stylesheet", "icon", "preload") and named.get("href"):
            self.loaded.add(str(named["href"]))
        if tag == "a" and named.get("href"):
            self.linked.add(str(named["href"]))


def test_site_is_complete_and_loads_nothing_from_other_hosts(site: Path) -> None:
    for name in (
        "tutorials/users",
        "tutorials/maintainers",
        "operations",
        "privacy",
        "releasing",
    ):
        assert (site / f"{name}.html").is_file()
    commands = (site / "reference" / "commands.html").read_text("utf-8")
    assert all(command in commands for command in ("server-copy", "backup", "retract"))
    assert "/api/updates/{level}" in (site / "reference" / "http.html").read_text("utf-8")
    assert "only_if_due" in (site / "reference" / "client.html").read_text("utf-8")
    for page in site.rglob("*.html"):
        found = LinkParser()
        found.feed(page.read_text("utf-8"))
        assert not [one for one in found.loaded if urlsplit(one).netloc], page
        for target in found.linked:
            parts = urlsplit(target)
            if parts.scheme or not parts.path:
                continue
            assert (page.parent / unquote(parts.path)).resolve().exists(), f"{page.name} leads to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_are_not_broken(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not urlsplit(target).scheme:
            assert (page.parent / target).exists(), f"{page.name} leads to {target}"
