import time

from httpx import AsyncClient

from kroma import __version__


async def test_health_needs_no_token_and_counts_the_contracts_routes(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/health")

    body = response.json()
    assert response.status_code == 200
    assert (body["ok"], body["status"], body["service"]) == (True, "ok", "kroma-backend-core")
    assert body["version"] == __version__
    assert 0 < body["started_unix_ms"] <= time.time() * 1000
    assert body["route_count"] == 74


async def test_the_document_is_open_to_everyone(auth_client: AsyncClient) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        response = await auth_client.get(path)
        assert response.status_code == 200
        assert response.json()["info"]["title"] == "Kroma"


async def test_browsers_get_the_document_as_a_page_that_loads_nothing(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/schema", headers={"Accept": "text/html,*/*;q=0.8"})

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/api/projects/{slug}/runs/trigger" in response.text
    assert "<script" not in response.text
    assert "://" not in response.text
