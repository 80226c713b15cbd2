"""The public pages in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import PHONE, WIDE, PageVisit
from tests.support.waiting import wait_until

PAGES = {
    "home": "/",
    "dashboard": "/dashboard",
    "plugins": "/plugins",
    "plugin": "/plugins/affinder",
    "pythons": "/pythons",
    "privacy": "/privacy",
    "verify": "/verify",
    "api": "/api/docs",
    "missing": "/plugins/afinder",
}
WITH_CHARTS = ("home", "dashboard", "plugin", "pythons")
Open = Callable[..., PageVisit]
Save = Callable[[Any, str], None]
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


pytestmark = pytest.mark.browser


def wait_for(page: Any, expression: str) -> None:
    """Wait for a JavaScript expression; Playwright's own wait uses ``eval``, which the page's CSP forbids."""
    wait_until(lambda: page.evaluate(expression), expression)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page_loads_without_errors_and_is_accessible(visit: Open, save: Save, name: str, width: int, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    person = visit(width, dark=dark)
    page = person.go(PAGES[name])
    person.scroll_through()
    if name in WITH_CHARTS:
        page.wait_for_selector(".plot.drawn canvas")
    save(page, f"site-{name}-{'phone' if width == PHONE else 'wide'}-{'dark' if dark else 'light'}")
    expected = ["404"] if name == "missing" else []  # the browser logs it
    assert [text for text in person.said if not any(code in text for code in expected)] == []
    assert {urlsplit(url).netloc for url in person.asked if not url.startswith("data:")} == {urlsplit(person.site).netloc}
    assert person.context.cookies() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
    found = Axe().run(page, options=RULES).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found] == []


def test_percentages_are_of_all_participants(visit: Open) -> None:
    page = visit().go("/dashboard")
    page.wait_for_selector("#people-by-python .plot.drawn")
    page.click("#people-by-python button:has-text('In percent')")
    drawn = page.evaluate(
        "echarts.getInstanceByDom(document.querySelector('#people-by-python .plot')).getOption().series.map((one) => one.data)"
    )
    totals, rows = page.evaluate(
        """() => {
            const table = document.getElementById('people-by-python-table');
            const numbers = (row) => [...row.cells].slice(1).map((cell) => Number(cell.textContent));
            const rows = [...table.tBodies[0].rows].map(numbers);
            return [table.dataset.totals.split(',').map(Number), rows];
        }"""
    )
    compared = [
        (share, min(100, int(100 * people / total + 0.5)))
        for column, shares in enumerate(drawn)
        for share, people, total in zip(shares, (row[column] for row in rows), totals, strict=True)
        if share is not None
    ]
    assert compared
    assert all(share == right for share, right in compared)


def test_chart_shows_the_numbers_of_the_table(visit: Open) -> None:
    page = visit().go("/dashboard")
    page.wait_for_selector("#people-by-python .plot.drawn")
    drawn = page.evaluate(
        """() => {
            const plot = document.querySelector('#people-by-python .plot');
            const option = echarts.getInstanceByDom(plot).getOption();
            return Object.fromEntries(option.series.map((one) => [one.name, one.data]));
        }"""
    )
    table = page.evaluate(
        """() => {
            const table = document.getElementById('people-by-python-table');
            const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
            const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1).map((cell) => cell.textContent));
            return Object.fromEntries(names.map((name, number) => [name, rows.map((row) => row[number])]));
        }"""
    )
    assert {name: [None if text == "<10" else int(text) for text in texts] for name, texts in table.items()} == drawn


def test_dashboard_can_be_used_with_the_keyboard(visit: Open) -> None:
    page = visit().go("/dashboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    switch = page.locator("#people .switch")
    switch.focus()
    assert not page.locator("#people-table").is_visible()
    page.keyboard.press("Enter")
    assert page.locator("#people-table").is_visible()
    assert switch.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region", "tables must be scrollable by keyboard"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


@pytest.mark.parametrize("name", WITH_CHARTS)
def test_tables_are_visible_without_javascript(visit: Open, save: Save, name: str) -> None:
    page = visit(javascript=False).go(PAGES[name])
    tables = page.locator("main table")
    assert tables.count() > 0
    assert all(tables.nth(number).is_visible() for number in range(tables.count()))
    assert page.locator(".plot").first.is_hidden()
    save(page, f"site-{name}-without-javascript")


def test_vendored_library_matches_its_published_digest(visit: Open) -> None:
    import hashlib

    from update_server.pages.rendering import STATIC, VENDORED

    for name, digest in VENDORED.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    page = visit().go("/dashboard")
    assert page.evaluate("echarts.version") in next(iter(VENDORED))


@pytest.mark.parametrize(
    ("name", "path", "width", "dark", "what"),
    [
        ("dashboard", "/dashboard", WIDE, False, ".charts"),
        ("dashboard-dark", "/dashboard", WIDE, True, ".charts"),
        ("pythons", "/pythons", WIDE, False, "h1"),
        ("plugin-phone", "/plugins/affinder", PHONE, True, "#plugins-by-version"),
    ],
)
def test_take_readme_screenshots(visit: Open, save: Save, name: str, path: str, width: int, dark: bool, what: str) -> None:
    """Take the screenshots that `make pictures` saves to docs/pictures."""
    person = visit(width, dark=dark)
    page = person.go(path)
    person.scroll_through()
    page.wait_for_selector(".plot.drawn canvas")
    page.evaluate(f"document.querySelector({what!r}).scrollIntoView()")
    page.wait_for_timeout(200)
    assert page.locator(what).first.is_visible()
    save(page, f"site-{name}")
