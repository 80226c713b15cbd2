from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry.weeks import publishable_from

from aggregation.catalogue import PLATFORM, PLUGIN, topics
from aggregation.certificates.issue import prepare
from aggregation.certificates.keys import new_key, parse_key_set
from aggregation.certificates.signing import verify
from aggregation.publish import publish_week
from aggregation.stores.aggregate_tables import Certificate
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.records import Records
from tests.support.certificates import altered
from tests.support.reports import WEEK, report
from tests.update_server.conftest import NOW, Client, MakeClient, services_of
from update_server.certificates import routes
from update_server.intake import decoding

REASON = "The <machine> that held it was stolen"


@pytest.fixture
async def issued(make_client: MakeClient, tmp_path: Path) -> AsyncIterator[tuple[Client, Certificate]]:
    async with make_client() as client:
        services = services_of(client)
        assert services.raw is not None
        await services.raw.put([report(person) for person in range(27)])
        await publish_week(services.raw, services.aggregate, WEEK, publishable_from(WEEK))
        key = new_key(tmp_path / "keys", NOW)
        await CertificateStore(services.aggregate.engine).add_key(key)
        certificate, _ = await prepare(
            services.aggregate,
            site="https://updates.example.org",
            key_folder=tmp_path / "keys",
            plugin="affinder",
            first=WEEK,
            last=WEEK,
            now=NOW,
        )
        await CertificateStore(services.aggregate.engine).add(certificate)
        yield client, certificate


async def test_anyone_can_see_a_certificate_and_its_validity(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    page = await client.get(f"/certificates/{certificate.id}")
    assert page.status_code == 200
    for words in (
        "Valid.",
        "affinder",
        "Median of the weeks",
        "25",
        f"https://updates.example.org/certificates/{certificate.id}",
        "/certificate.jws",
    ):
        assert words in page.text
    assert "style=" not in page.text  # forbidden by the content security policy
    signed = await client.get(f"/certificates/{certificate.id}/certificate.jws")
    assert signed.text.strip() == certificate.token
    assert signed.headers["content-type"].startswith("application/jose")
    assert f"affinder-{WEEK}-{WEEK}.jws" in signed.headers["content-disposition"]


async def test_the_page_shows_everything_and_escapes_reasons(issued: tuple[Client, Certificate], tmp_path: Path) -> None:
    client, _ = issued
    aggregate = services_of(client).aggregate
    (by_platform,) = [entry for entry in topics()["plugins"] if entry.dimensions == (PLUGIN, PLATFORM)]
    await Records(aggregate.engine).retract(
        [(by_platform, {"plugin": "affinder"}, WEEK, WEEK)], "<script>alert(1)</script>", NOW
    )
    certificate, statement = await prepare(
        aggregate, site="https://x.org", key_folder=tmp_path / "keys", plugin="affinder", first=WEEK, last=WEEK, now=NOW
    )
    await CertificateStore(aggregate.engine).add(certificate)
    page = (await client.get(f"/certificates/{certificate.id}")).text
    pythons = [row.value for breakdown in statement.breakdowns for row in breakdown.rows]
    assert pythons
    for words in (WEEK, *statement.how_counted, *pythons, "Some of these numbers were retracted; see below.", certificate.kid):
        assert words in unescape(page)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_public_keys_are_served_as_a_jwk_set(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    answer = await client.get("/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert '"d"' not in answer.text
    assert verify(certificate.token, parse_key_set(answer.json()), None).outcome == "valid"


async def test_a_certificate_can_be_pasted_or_uploaded(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    assert "Check a certificate" in (await client.get("/verify")).text
    pasted = await client.post("/verify", data={"certificate": certificate.token})
    assert "Valid." in pasted.text
    assert "Median of the weeks" in pasted.text
    brought = await client.post("/verify", files={"file": ("a.jws", certificate.token.encode())}, data={"certificate": ""})
    assert "Valid." in brought.text
    nothing = await client.post("/verify", data={})
    assert (nothing.status_code, "Unreadable." in nothing.text) == (200, True)


async def test_the_content_of_an_altered_certificate_is_not_shown(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    forged = altered(certificate.token, 1, sub="<b>a forged name</b>")
    page = await client.post("/verify", data={"certificate": forged})
    assert "Altered." in page.text
    assert "forged name" not in page.text


async def test_a_later_retraction_is_shown_with_its_reason(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    (plain,) = [entry for entry in topics()["plugins"] if entry.dimensions == (PLUGIN,)]
    records = Records(services_of(client).aggregate.engine)
    await records.retract([(plain, {"plugin": "affinder"}, WEEK, WEEK)], "Forged reports", NOW + timedelta(days=1))
    page = await client.get(f"/certificates/{certificate.id}")
    assert "Retracted." in page.text
    assert "Forged reports." in page.text
    assert "bad" in page.text
    assert (await client.get("/api/retractions")).json() == [
        {
            "entry": plain.id,
            "of": {"plugin": "affinder"},
            "from": WEEK,
            "to": WEEK,
            "reason": "Forged reports",
            "retracted_at": "2026-11-19T12:00:00Z",
        }
    ]
    numbers = (await client.get("/api/stats/plugins/affinder")).json()
    assert (numbers["rows"], numbers["retractions"][0]["reason"]) == ([], "Forged reports")
    assert (await client.get("/api/stats/plugins/napari-harpy")).json()["retractions"] == []
    assert "Forged reports" in (await client.get("/dashboard")).text


async def test_revoking_a_key_invalidates_its_certificates(issued: tuple[Client, Certificate]) -> None:
    client, certificate = issued
    await CertificateStore(services_of(client).aggregate.engine).revoke(certificate.kid, REASON, NOW)
    page = await client.get(f"/certificates/{certificate.id}")
    assert "Revoked key." in page.text
    assert "&lt;machine&gt;" in page.text
    assert "Median" not in page.text
    assert (await client.get("/.well-known/jwks.json")).json()["keys"][0]["revoked"]["reason"] == REASON


@pytest.mark.parametrize("number", ["0" * 32, "nonsense", "..%2f..", "A" * 500])
async def test_an_unknown_certificate_number_is_a_404(client: Client, number: str) -> None:
    for path in ("", "/certificate.jws"):
        assert (await client.get(f"/certificates/{number}{path}")).status_code == 404


async def test_an_oversized_certificate_is_rejected(client: Client) -> None:
    assert (await client.post("/verify", data={"certificate": "A" * 1_000_000})).status_code == 413


async def test_inspections_are_shown_on_the_privacy_page(client: Client) -> None:
    assert "No one has done so yet" in (await client.get("/privacy")).text
    await Records(services_of(client).aggregate.engine).record_inspection(WEEK, 10, "A <forged> name was reported", NOW)
    services_of(client).page_cache._checked_at = 0  # skip the one-second cache
    page = (await client.get("/privacy")).text
    assert "A &lt;forged&gt; name was reported" in page
    assert "2026-11-18 12:00 UTC" in page
    assert f"at most 10 reports of {WEEK}" in page


async def test_an_unknown_charset_is_not_a_server_error(client: Client) -> None:
    as_form = {"content-type": "application/x-www-form-urlencoded; charset=nonsense"}
    assert (await client.post("/verify", content=b"certificate=%FF", headers=as_form)).status_code in (200, 400)
    multipart = {"content-type": "multipart/form-data; boundary=x; charset=nonsense"}
    part = 'Content-Disposition: form-data; name="certificate"\r\nContent-Type: text/plain; charset=nonsense'
    body = f"--x\r\n{part}\r\n\r\nabc\r\n--x--\r\n"
    assert (await client.post("/verify", content=body.encode(), headers=multipart)).status_code in (200, 400)


@pytest.mark.parametrize("path", ["/verify", "/api/reports/find"])
async def test_a_body_that_never_ends_times_out(client: Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    for module in (decoding, routes):
        monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.2)
    never = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield b'{"certificate": "'
        await never.wait()

    content_type = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    sent: list[dict[str, Any]] = []
    parts = dripping()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(parts), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"x"), (b"content-type", content_type.encode())], "scheme": "http", "server": ("x", 80),
        "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {"version": "3.0"}, "state": {},
    }  # fmt: skip
    await client.app(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_a_file_name_with_a_null_byte_is_a_404(client: Client) -> None:
    assert (await client.get("/static/%00")).status_code == 404
