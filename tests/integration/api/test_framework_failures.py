"""Contract 1.5: what fails before a handler is an envelope too, with the contract's status."""

import pytest
from httpx import AsyncClient, Response

from kroma.errors import InfraError
from support.doubles.memory_queue import MemoryTaskQueue

JSON = {"content-type": "application/json"}


def assert_refused(response: Response, status: int) -> None:
    body = response.json()
    assert response.status_code == status
    assert (body["ok"], body["error_kind"], body["error_code"]) == (False, "validation", "validation_error")
    assert body["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nope", 404, id="unknown path"),
        pytest.param("POST", "/nope", 404, id="unknown path of a post"),
        pytest.param("GET", "/health/", 404, id="trailing slash"),
        pytest.param("GET", "/api/projects/", 404, id="trailing slash of a list"),
        pytest.param("GET", "//health", 404, id="double slash"),
        pytest.param("GET", "/api//projects", 404, id="empty segment"),
        pytest.param("DELETE", "/health", 405, id="wrong method"),
        pytest.param("PATCH", "/api/projects", 405, id="method of no route"),
        pytest.param("OPTIONS", "/api/projects", 405, id="options"),
        pytest.param("TRACE", "/api/projects", 405, id="trace"),
        pytest.param("GET", "/api/projects/a%00b", 400, id="nul in a path"),
        pytest.param("GET", "/api/projects?username=%00", 400, id="nul in a query"),
        pytest.param("GET", "/api/projects/comic/assets?limit=abc", 400, id="limit is no number"),
        pytest.param("GET", "/api/projects/comic/assets?limit=", 400, id="limit is empty"),
        pytest.param("GET", "/api/projects/comic/runs?limit=1.5", 400, id="limit is no whole number"),
    ],
)
async def test_a_request_no_route_takes_is_refused_in_the_envelope(
    client: AsyncClient, method: str, path: str, status: int
) -> None:
    assert_refused(await client.request(method, f"http://127.0.0.1{path}"), status)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"", JSON, 400, id="empty where a field is required"),
        pytest.param(b"", {}, 400, id="absent where a field is required"),
        pytest.param(b"{", JSON, 400, id="cut off"),
        pytest.param(b"name=x", JSON, 400, id="not json"),
        pytest.param(b'{"name": NaN}', JSON, 400, id="nan"),
        pytest.param(b'{"name":"\xff"}', JSON, 400, id="not utf-8"),
        pytest.param(rb'{"name":"\ud800"}', JSON, 400, id="lone surrogate"),
        pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400, id="too deep"),
        pytest.param(rb'{"name":"a\u0000b"}', JSON, 400, id="nul"),
        pytest.param(rb'{"name":"x","other":{"k":["\u0000"]}}', JSON, 400, id="nul in an unknown field"),
        pytest.param(rb'{"name":"x","a\u0000":1}', JSON, 400, id="nul in a key"),
        pytest.param(b'{"name":"x"}', {}, 415, id="no content type"),
        pytest.param(b'{"name":"x"}', {"content-type": "text/plain"}, 415, id="another content type"),
        pytest.param(b'{"name":"x"}', {"content-type": "text/x+json"}, 415, id="json of another tree"),
        pytest.param(b'{"name":null}', JSON, 422, id="null for a required text"),
        pytest.param(b'{"name":2}', JSON, 422, id="number for a text"),
        pytest.param(b'{"name":"x","slug":[]}', JSON, 422, id="list for a text"),
        pytest.param(b"[]", JSON, 422, id="list for the body"),
        pytest.param(b"null", JSON, 422, id="null for the body"),
        pytest.param(b'{"name":"' + b"x" * 2_200_000 + b'"}', JSON, 413, id="too large"),
    ],
)
async def test_a_body_that_is_no_json_of_the_shape_is_refused(
    client: AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert_refused(await client.post("/api/projects", content=body, headers=headers), status)


async def test_a_wrong_shape_names_its_field(client: AsyncClient) -> None:
    response = await client.post("/api/projects", json={"name": "x", "slug": 3})

    assert response.json()["error"] == "Field 'slug': Expected str | null, got int"


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"]
)
async def test_any_json_content_type_is_taken(client: AsyncClient, media_type: str) -> None:
    response = await client.post(
        "/api/projects", content=b'{"name":"x"}', headers={"content-type": media_type}
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "description"),
    [
        pytest.param(b'{"name":"x","nope":1}', "", id="unknown keys are ignored"),
        pytest.param(b'{"name":"x","description":"a","description":"b"}', "b", id="the last duplicate wins"),
        pytest.param(b'{"name":"x","description":null}', "", id="an optional null is absent"),
        pytest.param(rb'{"name":"x","description":"\\u0000"}', "\\u0000", id="escaped backslash is no nul"),
        pytest.param('{"name":"x","description":"\u202e🎨"}'.encode(), "\u202e🎨", id="any other character"),
    ],
)
async def test_a_lenient_body_is_taken(client: AsyncClient, body: bytes, description: str) -> None:
    created = await client.post("/api/projects", content=body, headers=JSON)
    read = await client.get(f"/api/projects/{created.json()['project']['slug']}")

    assert read.json()["project"]["description"] == description


async def test_a_wrong_method_says_which_are_right(client: AsyncClient) -> None:
    response = await client.patch("/api/projects")

    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_head_is_answered_wherever_get_is(client: AsyncClient, slug: str) -> None:
    for path in ("/health", "/api/projects", f"/api/projects/{slug}", f"/api/projects/{slug}/runs"):
        head, get = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(get.content))
    assert (await client.head("/api/projects/missing")).status_code == 404


async def test_every_reply_carries_a_request_id_of_its_own(client: AsyncClient) -> None:
    ids = {(await client.get(path)).headers["x-request-id"] for path in ("/health", "/health", "/nope")}

    assert len(ids) == 3


class BrokenQueue(MemoryTaskQueue):
    """A bell that fails in a way nobody foresaw."""

    async def enqueue_many(self, *_: object, **__: object) -> None:
        raise InfraError("secret address")


@pytest.fixture
def broken_queue() -> BrokenQueue:
    return BrokenQueue()


class TestOfAnInternalError:
    @pytest.fixture
    def queue(self, broken_queue: BrokenQueue) -> BrokenQueue:
        return broken_queue

    @pytest.mark.usefixtures("root")
    async def test_it_shows_nothing_of_its_cause(self, client: AsyncClient, slug: str) -> None:
        response = await client.post(f"/api/projects/{slug}/runs/trigger", json={"input": "scenes"})

        assert response.status_code == 500
        assert response.json() == {
            "ok": False,
            "error": "Internal server error",
            "error_kind": "infra",
            "error_code": "internal_error",
        }
