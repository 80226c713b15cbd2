"""All public output: counts of people are at least ten and multiples of five, and hidden counts leave no trace.

A second population lacks the values that fewer than ten people have; its public output must be identical.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from napari_telemetry.weeks import next_week, publishable_from

from aggregation.catalogue import CATALOGUE, topics
from aggregation.certificates.issue import prepare
from aggregation.certificates.keys import new_key
from aggregation.export import Format, export
from aggregation.publish import publish_week
from aggregation.stores.aggregate_tables import SigningKey
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.reports import Report
from tests.support.reports import WEEK, report
from tests.update_server.conftest import NOW, Client, running_client, services_of

SECOND = next_week(WEEK)
PEOPLE = {WEEK: 47, SECOND: 58}
HIDDEN = ("napari-harpy", "3.14", "0.7.9", "freebsd", "riscv64", "FreeBSD 15", "rare.command", "tracks", "float16", "0.4.0")
Seen = dict[str, str | bytes]


def population(*, with_hidden: bool) -> Iterator[Report]:
    """Yield reports. ``with_hidden``: up to nine people have a second environment with only rare values."""
    layer = {"layer": "tracks", "size_category": "HUGE", "ndim": 5, "class": "Odd", "dtype": "float16", "count": 1000}
    rare: dict[str, Any] = {
        "napari_version": "0.7.9",
        "python_version": "3.14",
        "platform": "freebsd",
        "cpu_architecture": "riscv64",
        "sys_name": "FreeBSD 15",
        "plugins": [{"name": "napari-harpy", "version": "0.1.2"}, {"name": "affinder", "version": "0.4.0"}],
        "command_usage": {"rare.command": 1000},
        "data_size_info": [layer],
        "first_report": True,
    }
    if with_hidden:  # a week with so few people that it must stay hidden
        yield from (report(person, week=next_week(SECOND)) for person in range(9))
    for week, people in PEOPLE.items():
        for person in range(people):
            python = "3.11" if person % 3 else "3.12"
            yield report(person, week=week, python_version=python, level="full" if person % 2 else "middle")
            if with_hidden and person < (9 if week == WEEK else 4):
                # a higher level would raise the number of people at that level
                mine = {
                    name: value for name, value in rare.items() if person % 2 or name not in ("command_usage", "data_size_info")
                }
                yield report(person, 1, week=week, level="full" if person % 2 else "middle", **mine)


async def everything(folder: Path, key_folder: Path, key: SigningKey, *, with_hidden: bool) -> Seen:
    """Publish a population and return its public output, by path, certificate or exported file."""
    seen: Seen = {}
    async with running_client(folder / "data") as client:
        services = services_of(client)
        assert services.raw is not None
        await services.raw.put(list(population(with_hidden=with_hidden)))
        for week in (*PEOPLE, next_week(SECOND)):
            await publish_week(services.raw, services.aggregate, week, publishable_from(week))
        await CertificateStore(services.aggregate.engine).add_key(SigningKey(**key.model_dump()))
        for first in PEOPLE:
            certificate, _ = await prepare(
                services.aggregate, site="https://x.org", key_folder=key_folder, plugin="affinder", first=first,
                last=next_week(SECOND), now=NOW,
            )  # fmt: skip
            await CertificateStore(services.aggregate.engine).add(certificate)
            seen[f"certificate {first}"] = certificate.token
            for path in ("", "/certificate.jws"):
                seen[f"/certificates/{certificate.id}{path}"] = (
                    await client.get(f"/certificates/{certificate.id}{path}")
                ).content
        for path in await _paths(client):
            seen[path] = (await client.get(path)).text
        await export(services.aggregate, folder / "export", list(Format))
        for file in sorted((folder / "export").rglob("*")):
            if file.is_file():
                seen[f"export {file.relative_to(folder / 'export')}"] = file.read_bytes()
    return seen


async def _paths(client: Client) -> list[str]:
    """Return all paths that may show numbers."""
    names = sorted((await client.get("/api/plugins")).json())
    paths = ["/", "/dashboard", "/plugins", "/pythons", "/privacy", "/api/stats", "/api/retractions", "/api/telemetry/levels"]
    paths += ["/.well-known/jwks.json", *(f"/plugins/{name}" for name in names)]
    for topic, entries in topics().items():
        for entry in entries:
            query = "?" + urlencode({"by": ",".join(entry.by)}) if entry.by else ""
            subjects = [f"/{name}" for name in names] if entry.fixed else [""]
            paths += [f"/api/stats/{topic}{subject}{query}" for subject in subjects]
            separator = "&" if query else "?"
            paths += [f"/api/stats/{topic}{subject}{query}{separator}format=csv" for subject in subjects]
        if any(entry.fixed for entry in entries):
            paths += [f"/api/stats/{topic}/{name}/badge" for name in names]
        paths.append(f"/api/stats/{topic}")
    return [*paths, *(f"/api/shields/{name}" for name in names)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """The output of both populations, which share the key and certificate numbers."""
    found = []
    key_folder = tmp_path_factory.mktemp("keys")
    key = new_key(key_folder, NOW)
    for with_hidden in (True, False):
        numbers = (uuid.UUID(int=number) for number in range(1, 100))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uuid, "uuid4", lambda numbers=numbers: next(numbers))
            folder = tmp_path_factory.mktemp(f"hidden-{with_hidden}")
            found.append(asyncio.run(everything(folder, key_folder, key, with_hidden=with_hidden)))
    return found[0], found[1]


@pytest.mark.promise("hidden-leaves-no-trace")
def test_hidden_people_leave_no_trace_in_public_output(both: tuple[Seen, Seen]) -> None:
    first, second = both
    assert first.keys() == second.keys()
    assert [place for place in first if first[place] != second[place]] == []
    assert len(first) > 100


@pytest.mark.promise("ten-people-multiples-of-five")
def test_public_counts_are_at_least_ten_and_multiples_of_five(both: tuple[Seen, Seen]) -> None:
    counts = {place: list(_counts(place, content)) for place, content in both[0].items()}
    for place, numbers in counts.items():
        assert all(number >= 10 and number % 5 == 0 for number in numbers), (place, numbers)
    pages = ("/dashboard", "/plugins", "/plugins/affinder", "/pythons")
    answers = ("/api/stats/napari", "/api/stats/plugins/affinder/badge")
    files = ("export csv", "export json", "certificate", "/certificates/")
    kinds = (*pages, *answers, *files)
    for kind in kinds:  # the check above would also pass on empty output
        assert any(place.startswith(kind) and numbers for place, numbers in counts.items()), kind


def test_hidden_names_are_only_in_the_index_and_allow_lists(both: tuple[Seen, Seen]) -> None:
    """Check statistics, exports and certificates; the index and allow-lists always contain these names."""
    for place, content in both[0].items():
        text = content if isinstance(content, str) else content.decode("latin-1")
        if "/stats/" in place and place.endswith("format=csv"):
            assert not any(name in text for name in HIDDEN), place
        elif "/stats/" in place and not place.endswith("/badge"):
            assert not any(name in json.dumps(json.loads(text)["rows"]) for name in HIDDEN), place
        elif place.startswith(("export", "certificate")):
            assert not any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text) for name in HIDDEN), place


def test_the_number_of_reports_is_not_public(both: tuple[Seen, Seen]) -> None:
    """Check that run records, which are only for the operator, are not public."""
    for place, content in both[0].items():
        text = content if isinstance(content, str) else content.decode("latin-1")
        for word in ("left_out", "duration_s", "catalogue_hash", "code_version", "reports_read"):
            assert word not in text, (place, word)
        if "/stats" in place and not place.endswith(("/badge", "format=csv")):
            _only_known_numbers(json.loads(text), place)


def _only_known_numbers(value: Any, place: str, name: str = "") -> None:
    """Fail on a JSON number that is neither a threshold nor a count of people."""
    if isinstance(value, dict):
        for key, item in value.items():
            _only_known_numbers(item, place, key)
    elif isinstance(value, list):
        for item in value:
            _only_known_numbers(item, place, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        assert name in ("people", "listed_from", "rounded_down_to"), (place, name, value)


class _Figures(HTMLParser):
    """Collects the numbers of cells and figures that contain nothing else."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[int] = []
        self._stack: list[str] = []
        self._is_count: list[bool] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "link", "input", "path", "br"):
            return
        self._stack.append(tag)
        self._is_count.append((dict(attrs).get("class") or "") in ("number", "figure"))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._stack:
            while self._stack.pop() != tag:
                self._is_count.pop()
            self._is_count.pop()

    def handle_data(self, data: str) -> None:
        if any(self._is_count) and data.strip().replace(",", "").isdigit():
            self.found.append(int(data.strip().replace(",", "")))


def _counts(place: str, content: str | bytes) -> Iterator[int]:
    text = content if isinstance(content, str) else content.decode("latin-1")
    if place.endswith("/badge"):
        yield from (int(number) for number in re.findall(r'"message":"([0-9]+)\+"', text))
    elif place.endswith(("csv",)):
        yield from (int(row["people"]) for row in csv.DictReader(io.StringIO(text)) if "people" in row)
    elif (place.startswith("certificate ") and place.endswith(tuple(PEOPLE))) or place.endswith(".jws"):
        yield from _people_in(_payload(text.strip()))
    elif text.lstrip().startswith(("{", "[")):
        yield from _people_in(json.loads(text))
    elif place in ("/", "/dashboard", "/pythons") or place.startswith("/plugins"):
        yield from _Figures(text).found
    elif place.startswith(("certificate ", "/certificates/")):
        weekly = text[text.index("Weekly installs") :].split("</section>")[0]
        yield from _Figures(weekly).found


def _people_in(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("people", "median", "peak") and isinstance(item, int):
                yield item
            else:
                yield from _people_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _people_in(item)


def _payload(token: str) -> Any:
    import base64

    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_the_population_has_hidden_cells_for_every_entry() -> None:
    """Without hidden cells, the comparison would prove little."""
    from tests.support.reports import count_people

    reports = [one for one in population(with_hidden=True) if one.week == WEEK]
    for entry in CATALOGUE:
        if entry.dimensions and "level" not in {dimension.name for dimension in entry.dimensions}:
            assert any(people < 10 for people in count_people(entry, reports).values()), entry.id
