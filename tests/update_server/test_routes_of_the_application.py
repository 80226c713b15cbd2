"""All routes of the application, including any that the framework adds by default."""

from __future__ import annotations

from tests.update_server.conftest import Client, services_of

ROUTES = """
/ /dashboard /plugins /plugins/{name:str} /privacy /pythons /verify /static/{path:path}
/certificates/{number:str} /certificates/{number:str}/certificate.jws /.well-known/jwks.json
/classifiers.json /conda.json /errors.json /extended_summary.json /index.json /readers.json
/api/conda /api/conda-map /api/conda/{name:str} /api/extended_summary /api/manifest/{name:str} /api/plugins /api/pypi/{name:str}
/api/readers /api/shields/{name:str} /shields/{name:str} /feeds/all.atom /feeds/{name:str}
/api/docs /api/openapi.json /api/pythons /api/retractions
/api/reports/delete /api/reports/find /api/telemetry/allowed/{level:str} /api/telemetry/levels
/api/updates /api/updates/{level:str} /api/updates/pypi.json /api/updates/conda-forge.json
/api/stats /api/stats/commands /api/stats/layers /api/stats/napari /api/stats/new /api/stats/plugins
/api/stats/plugins/{name:str} /api/stats/plugins/{name:str}/badge
/health/live /health/ready
"""


async def test_the_application_has_exactly_these_routes(client: Client) -> None:
    assert {route.path for route in client.app.routes} == set(ROUTES.split())
    for path in ("/schema", "/schema/swagger", "/schema/redoc", "/schema/openapi.json"):
        assert (await client.get(path)).status_code == 404


async def test_every_file_of_the_index_is_served(client: Client) -> None:
    files = services_of(client).loaded().files
    assert len(files) > 50
    for path in files:
        response = await client.get(path)
        assert response.status_code == 200, path
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert "public" in response.headers["cache-control"], path
        assert (await client.get(path, headers={"if-none-match": response.headers["etag"]})).status_code == 304, path
        assert (await client.post(path)).status_code in (404, 405), path
