"""Fixtures: the service with sample weeks, and a local Chromium driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.facts import write_snapshot
from tests.support.processes import run, running_server
from update_server.index import snapshot
from update_server.index.folder import previous

WEEKS, PEOPLE = 30, 250
WIDE, PHONE = 1280, 390
NOW = "2026-11-18T12:00:00Z"


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return os.environ.get("TEST_BROWSER") or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve sample data, or the index in the folder that TEST_INDEX names; yield the URL."""
    folder = tmp_path_factory.mktemp("site")
    now, weeks, people = NOW, WEEKS, PEOPLE
    place = os.environ.get("TEST_INDEX")
    if place and (real := previous(place)):
        snapshot.write(real, folder / "index.snapshot")
        now, weeks, people = f"{real.facts.as_of:%Y-%m-%dT%H:%M:%SZ}", 60, 900
    else:
        write_snapshot(folder)
    own = {"UPDATE_SERVER_DATA": str(folder), "UPDATE_SERVER_NOW": now, "UPDATE_SERVER_JOBS": "false"}
    made = run("update_server", "demo", "--weeks", str(weeks), "--people", str(people), **own)
    assert made.returncode == 0, made.stdout + made.stderr
    with running_server(folder, **own) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Open a browser for a module only: meanwhile this thread cannot run another event loop."""
    path = find_chromium()
    if path is None:
        pytest.skip("needs a browser: run `apt-get install chromium`, or set TEST_BROWSER to the path of one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class PageVisit:
    def __init__(self, context: Any, site: str) -> None:
        self.context = context
        self.site = site
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def go(self, path: str) -> Any:
        self.page.goto(self.site + path)
        self.page.wait_for_load_state("networkidle")
        return self.page

    def scroll_through(self) -> None:
        """Scroll to the end and back, so that everything is drawn."""
        height = self.page.evaluate("document.documentElement.scrollHeight")
        for top in range(0, int(height), 500):
            self.page.evaluate(f"scrollTo(0, {top})")
            self.page.wait_for_timeout(30)
        self.page.evaluate("scrollTo(0, 0)")


@pytest.fixture
def visit(browser: Any, site: str) -> Iterator[Callable[..., PageVisit]]:
    contexts = []

    def opened(width: int = WIDE, *, dark: bool = False, javascript: bool = True) -> PageVisit:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", java_script_enabled=javascript
        )
        context.set_default_timeout(120_000)  # slow machines
        contexts.append(context)
        return PageVisit(context, site)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def save() -> Callable[[Any, str], None]:
    """Save screenshots to the folder that TEST_PICTURES names, if it is set."""

    def keep(page: Any, name: str) -> None:
        if folder := os.environ.get("TEST_PICTURES"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder) / f"{name}.png"))

    return keep
