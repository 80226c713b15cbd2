from __future__ import annotations

import pytest

from tests.update_server.conftest import Client, MakeClient
from update_server.index.fitting import python_named_by
from update_server.index.pythons import PythonVersion

NAPARI = "napari/0.6.1 runtime/python CPython/3.10.4 Linux/6.1"


@pytest.mark.parametrize(
    ("user_agent", "python"),
    [
        (NAPARI, PythonVersion(10, 4)),
        ("napari/0.5.0a2.dev489+g8a9df482c runtime/ipython CPython/3.14.0rc1 Darwin/23.5.0", PythonVersion(14, 0)),
        ("napari/0.6.1 runtime/constructor CPython/3.11.9+ Windows/10", PythonVersion(11, 9)),
        ("napari/0.6.1 runtime/python PyPy/3.10.4 Linux/6.1", None),
        ("Mozilla/5.0 CPython/3.10.4", None),
        ("napari/0.6.1 runtime/python CPython/2.7.18 Linux/6.1", None),
        ("napari/0.6.1 CPython/3.999999999999.1", None),
        ("", None),
    ],
)
def test_a_napari_names_its_python(user_agent: str, python: PythonVersion | None) -> None:
    assert python_named_by(user_agent) == python


async def test_plugins_for_a_python_are_those_that_it_can_install(client: Client) -> None:
    for path in ("/api/plugins", "/index.json"):
        assert (await client.get(path, params={"python": "3.10"})).json() == {
            "napari": "0.7.1",
            "affinder": "0.5.0",
            "micro_sam": "1.5.0",
            "Some.Plugin": "1.2.0",
        }
    assert (await client.get("/api/plugins?python=3.9")).json()["compiled-plugin"] == "2.0"
    assert (await client.get("/api/plugins?python=2.7")).status_code == 400
    assert len((await client.get("/api/plugins")).json()) == 6


async def test_the_summary_for_a_python_names_only_versions_that_fit(client: Client) -> None:
    whole = {item["name"]: item for item in (await client.get("/api/extended_summary")).json()}
    cut = {item["name"]: item for item in (await client.get("/api/extended_summary?python=3.9")).json()}
    assert "napari-harpy" in whole
    assert "napari-harpy" not in cut, "no version of it fits"
    assert cut["napari"]["version"] == "0.6.1"
    assert cut["napari"]["pypi_versions"] == ["0.6.1", "0.5.6"]
    assert cut["affinder"]["pypi_versions"] == ["0.5.0", "0.5.0rc1", "0.4.0"]
    assert cut["affinder"]["conda_versions"] == ["0.4.0"]
    assert cut["Some.Plugin"]["pypi_versions"] == ["1.2.0"], "a yanked version is none that can be installed"
    for name, item in cut.items():
        same = ("normalized_name", "display_name", "summary", "author", "license", "home_page", "project_url")
        assert {key: item[key] for key in same} == {key: whole[name][key] for key in same}
        assert list(item) == list(whole[name]), "keys, types and order are today's"


async def test_an_unmodified_napari_gets_what_its_python_can_install(client: Client) -> None:
    asked = await client.get("/api/extended_summary?python=3.10.4")
    unasked = await client.get("/api/extended_summary", headers={"user-agent": NAPARI})
    assert unasked.json() == asked.json()
    assert "user-agent" in unasked.headers["vary"]
    other = await client.get("/api/extended_summary", headers={"user-agent": "curl/8.0"})
    assert len(other.json()) == 6
    assert "user-agent" in other.headers["vary"], "a cache must keep them apart"
    file = await client.get("/extended_summary.json", headers={"user-agent": NAPARI})
    assert len(file.json()) == 6, "the file stays what it is for everybody"
    plugins = await client.get("/api/plugins", headers={"user-agent": NAPARI})
    assert len(plugins.json()) == 6


async def test_that_can_be_switched_off(make_client: MakeClient) -> None:
    async with make_client(python_from_user_agent=False) as client:
        response = await client.get("/api/extended_summary", headers={"user-agent": NAPARI})
        assert len(response.json()) == 6
        assert response.headers["vary"] == "accept-encoding"
