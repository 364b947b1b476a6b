"""Headers by which a browser leaves answers alone, on every one of them."""

import pytest
from httpx import AsyncClient

from kroma.auth.service import SECRET_PREFIX
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/schema", 200),
        ("GET", "/schema/openapi.json", 200),
        ("GET", "/nope", 404),
        ("POST", "/health", 405),
        ("GET", "/api/projects?limit=x", 400),
        ("GET", "/api/projects/x", 404),
    ],
)
async def test_every_answer_is_taken_for_what_it_says_and_framed_by_nobody(
    client: AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    assert "frame-ancestors 'none'" in policy[0]


async def test_the_page_of_the_schema_keeps_its_style_and_no_script(client: AsyncClient) -> None:
    page = await client.get("/schema", headers={"Accept": "text/html"})
    policy = page.headers["content-security-policy"]

    assert "style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "<style>" in page.text
    assert "style=" not in page.text.replace("<style>", "")


async def test_a_401_names_how_to_authenticate(client_with: ClientFactory) -> None:
    client = client_with()
    missing = await client.get("/api/projects")
    wrong = await client.get("/api/projects", headers={"Authorization": "Bearer x"})
    malformed = await client.get("/api/projects", headers={"Authorization": "Basic eDp5"})

    assert (missing.status_code, wrong.status_code, malformed.status_code) == (401, 401, 401)
    assert missing.headers["www-authenticate"] == "Bearer"
    assert malformed.headers["www-authenticate"] == "Bearer"
    assert wrong.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_token_for_an_id_is_not_echoed(client: AsyncClient) -> None:
    pasted = f"{SECRET_PREFIX}{'0123456789abcdef' * 3}"
    answer = await client.get("/health", headers={"X-Request-Id": pasted})

    assert answer.headers["x-request-id"] != pasted
