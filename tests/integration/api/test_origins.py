"""Web pages that drive an installation, and requests that name another host: point 3 of issue 12."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from httpx import AsyncClient

from support.harness.documented_api import ClientFactory
from support.harness.raw_http import asked, head
from support.servers.api_process import served

pytestmark = pytest.mark.timeout(60)

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}
HERE = "http://127.0.0.1"
FOREIGN = "https://evil.test"
STUDIO = "https://studio.test:8443"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8788", "127.8.8.8:1", "localhost", "LocalHost:80", "localhost.",
        "localhost.:1", "[::1]", "[::1]:8788", "[0:0:0:0:0:0:0:1]", "kroma.localhost:3000", "kroma.example",
        "KROMA.example:443",
    ],
)  # fmt: skip
async def test_on_loopback_these_hosts_are_answered(client_with: ClientFactory, host: str) -> None:
    client = client_with(**BYPASS, KROMA_PUBLIC_URL="https://kroma.example/api")

    assert (await client.get("/health", headers={"Host": host})).status_code == 200
    assert (await client.get("/api/projects", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test", "evil.test:8788", "127.0.0.1.evil.test", "localhost.evil.test", "evil-localhost",
        "xlocalhost", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "127.0.0.01", "0.0.0.0:1",
        "[::]", "10.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "128.0.0.1", "kroma.example",
    ],
)  # fmt: skip
async def test_on_loopback_no_other_host_is_answered(client_with: ClientFactory, host: str) -> None:
    client = client_with(**BYPASS)
    for path in ("/health", "/api/projects", "/schema", "/nope"):
        refused = await client.get(path, headers={"Host": host})
        assert (refused.status_code, refused.json()["error_code"]) == (421, "misdirected_request"), path
    created = await client.post("/auth/token", headers={"Host": host}, json={})
    assert created.status_code == 421


@pytest.mark.parametrize(
    "host", ["", "a@127.0.0.1", "127.0.0.1@evil.test", "a b", "127.0.0.1/x", "[::1", "localhost:x", "a:1:2"]
)
@pytest.mark.parametrize("bind", ["127.0.0.1:8788", "0.0.0.0:8788"])
async def test_what_is_no_host_is_refused(client_with: ClientFactory, bind: str, host: str) -> None:
    client = client_with(KROMA_BACKEND_BIND=bind)
    refused = await client.get("/health", headers={"Host": host})

    assert (refused.status_code, refused.json()["error_code"]) == (400, "validation_error")
    assert "Host" in refused.json()["error"]


async def test_elsewhere_any_host_is_answered(client_with: ClientFactory) -> None:
    client = client_with(KROMA_BACKEND_BIND="0.0.0.0:8788")
    for host in ("evil.test", "api_1:8788", "10.0.0.1", "kroma"):
        assert (await client.get("/health", headers={"Host": host})).status_code == 200


def unsafe(client: AsyncClient, headers: dict[str, str]) -> list[httpx.Request]:
    """Requests that a page can send without asking, and others that change something."""
    paths = ("/api/projects", "/auth/token", "/agent/callback/x", "/nope", "/health", "/api/tools/inspect")
    return [
        client.build_request(method, path, headers=headers, content=b"")
        for method in ("POST", "PUT", "DELETE", "PATCH")
        for path in paths
    ]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": FOREIGN}, id="foreign"),
        pytest.param({"Origin": "null"}, id="null"),
        pytest.param({"Origin": ""}, id="empty"),
        pytest.param({"Origin": "http://127.0.0.1:3000"}, id="another port"),
        pytest.param({"Origin": "http://localhost"}, id="another name"),
        pytest.param({"Origin": f"{HERE}.evil.test"}, id="beginning alike"),
        pytest.param({"Origin": f"{FOREIGN} {HERE}"}, id="two in one"),
        pytest.param({"Origin": "http://user@127.0.0.1"}, id="with a user"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site"),
        pytest.param({"Sec-Fetch-Site": "anything"}, id="a word to come"),
        pytest.param({"Origin": HERE, "Sec-Fetch-Site": "cross-site"}, id="contradiction"),
        pytest.param({"Origin": FOREIGN, "Sec-Fetch-Site": "same-origin"}, id="other contradiction"),
    ],
)
async def test_a_foreign_page_changes_nothing(client_with: ClientFactory, headers: dict[str, str]) -> None:
    for client in (client_with(**BYPASS), client_with()):
        for request in unsafe(client, headers):
            refused = await client.send(request)
            found = (refused.status_code, refused.json()["error_code"])
            assert found == (403, "cross_site_request"), f"{request.method} {request.url.path}"
            assert "access-control-allow-origin" not in refused.headers
        # It made no token: the first one is still to be had.
    created = await client_with().post("/auth/token", json={})
    assert created.status_code == 200


async def test_two_origins_are_foreign(client_with: ClientFactory) -> None:
    headers = [("Origin", HERE), ("Origin", FOREIGN)]
    refused = await client_with(**BYPASS).post("/api/projects", json={"name": "x"}, headers=headers)

    assert refused.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="neither"),
        pytest.param({"Origin": HERE}, id="own"),
        pytest.param({"Origin": f"{HERE}:80"}, id="with the port of its scheme"),
        pytest.param({"Origin": "https://127.0.0.1:8788", "Host": "127.0.0.1:8788"}, id="behind TLS"),
        pytest.param({"Origin": "https://kroma.example"}, id="public url"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, id="same-origin"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="a person"),
        pytest.param({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, id="own page"),
    ],
)
async def test_the_own_page_and_programs_pass(client_with: ClientFactory, headers: dict[str, str]) -> None:
    client = client_with(**BYPASS, KROMA_PUBLIC_URL="https://kroma.example/api")

    assert (await client.post("/api/projects", json={"name": "x"}, headers=headers)).status_code == 200


async def test_a_foreign_page_may_look_but_not_read(client_with: ClientFactory) -> None:
    headers = {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
    seen = await client_with(**BYPASS).get("/api/projects", headers=headers)

    assert seen.status_code == 200
    assert not [name for name in seen.headers if name.startswith("access-control")]
    assert seen.headers["cross-origin-resource-policy"] == "same-origin"


class TestAllowedOrigins:
    @pytest.fixture
    def client(self, client_with: ClientFactory) -> AsyncClient:
        return client_with(KROMA_CORS_ORIGINS=f"{STUDIO}, http://localhost:3000")

    async def test_their_preflight_needs_no_token(self, client: AsyncClient) -> None:
        headers = {
            "Origin": STUDIO,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization, content-type",
            "Sec-Fetch-Site": "cross-site",
        }
        for path in ("/api/projects/comic/budget", "/auth/token", "/nope"):
            answer = await client.options(path, headers=headers)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == STUDIO
            assert "PUT" in answer.headers["access-control-allow-methods"]
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert {"authorization", "content-type", "idempotency-key"} <= set(allowed.split(", "))
            assert "access-control-allow-credentials" not in answer.headers
            assert "origin" in answer.headers["vary"].lower()

    async def test_their_requests_pass_and_can_read_errors_too(self, client: AsyncClient) -> None:
        headers = {"Origin": STUDIO, "Sec-Fetch-Site": "cross-site"}
        unknown = await client.post("/api/projects", json={"name": "x"}, headers=headers)
        first = await client.post("/auth/token", json={}, headers=headers)

        assert (unknown.status_code, first.status_code) == (401, 200)
        for answer in (unknown, first):
            assert answer.headers["access-control-allow-origin"] == STUDIO
            assert "etag" in answer.headers["access-control-expose-headers"].lower()
            assert "origin" in answer.headers["vary"].lower()

    @pytest.mark.parametrize("origin", [FOREIGN, "null", "https://studio.test", f"{STUDIO}.evil.test"])
    async def test_others_stay_outside(self, client: AsyncClient, origin: str) -> None:
        asked_first = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/api/projects", headers=asked_first)
        changed = await client.post("/auth/token", json={}, headers={"Origin": origin})

        assert (preflight.status_code, changed.status_code) == (401, 403)
        for answer in (preflight, changed):
            assert "access-control-allow-origin" not in answer.headers
            assert "origin" in answer.headers["vary"].lower()  # no cache mixes the answers up


@pytest.fixture
def open_client(data_dir: Path, fresh_database_url: str) -> Iterator[httpx.Client]:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url, **BYPASS) as (_, client):
        client.get("/health")  # now it listens
        yield client


def test_requests_that_no_client_sends(open_client: httpx.Client) -> None:
    for data, status in (
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.test\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET http://evil.test/health HTTP/1.1\r\n\r\n", 421),
        (b"GET http://evil.test/health HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421),
        (head("GET /health", host="evil.test"), 421),
        (head("GET /health", host="\xa0127.0.0.1"), 400),
        (head("POST /api/projects", "Content-Length: 9", host="evil.test") + b"{", 421),
        (head("POST /api/projects", "Origin: https://evil.test", "Content-Length: 9") + b"{", 403),
        (head(f"GET /{'a' * 20_000}"), 414),
        (head(f"GET /health?{'a' * 20_000}"), 414),
    ):
        answer = asked(open_client, data, timeout=10)
        assert answer.status == status, (data[:80], answer)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
