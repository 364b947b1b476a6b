"""Contract 1.8 and 3.2, and the scope rules of design section 6."""

import asyncio
import re
from datetime import timedelta

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import select, update

from documented import ClientFactory
from kroma.audit.models import AuditEvent
from kroma.auth.models import ApiToken
from kroma.auth.service import create_token
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_unauthorized(response: Response, text: str = "Missing Authorization: Bearer token") -> None:
    assert response.status_code == 401
    assert response.json() == {
        "ok": False,
        "error": text,
        "error_kind": "validation",
        "error_code": "unauthorized",
    }


def assert_forbidden(response: Response) -> None:
    assert response.status_code == 403
    assert response.json()["error"] == "Token is not authorized for this project"
    assert response.json()["error_code"] == "forbidden"


@pytest.fixture
async def token(auth_client: AsyncClient) -> str:
    response = await auth_client.post("/auth/token", json={"label": "first"})
    return response.json()["auth_token"]["token"]


@pytest.fixture
async def own_slug(auth_client: AsyncClient, token: str) -> str:
    response = await auth_client.post("/api/projects", json={"name": "Own"}, headers=bearer(token))
    return response.json()["project"]["slug"]


async def test_the_first_token_needs_no_token(auth_client: AsyncClient, db: Database) -> None:
    response = await auth_client.post("/auth/token", json={"label": f"  {'x' * 300} "})

    view = response.json()["auth_token"]
    assert response.status_code == 200
    assert re.fullmatch("kroma_[0-9a-f]{64}", view["token"])
    assert view["token_prefix"] == view["token"][:12]
    assert view["label"] == "x" * 200
    assert (view["project_id"], view["expires_at"]) == (None, None)
    async with db.transaction() as session:
        row = (await session.scalars(select(ApiToken))).one()
    assert view["token"] not in (row.token_hash, row.label)


async def test_after_the_first_token_a_token_is_needed(auth_client: AsyncClient, token: str) -> None:
    assert_unauthorized(await auth_client.post("/auth/token", json={}))
    second = await auth_client.post("/auth/token", json={}, headers=bearer(token))
    assert second.status_code == 200


async def test_no_bootstrap_where_it_is_switched_off(client_with: ClientFactory) -> None:
    client = client_with(KROMA_API_AUTH_BOOTSTRAP_FIRST_TOKEN="no")
    assert_unauthorized(await client.post("/auth/token", json={}))


async def test_no_bootstrap_beyond_loopback(client_with: ClientFactory) -> None:
    client = client_with(KROMA_BACKEND_BIND="0.0.0.0:8788")
    assert_unauthorized(await client.post("/auth/token", json={}))


async def test_a_wrong_bearer_is_never_a_bootstrap(auth_client: AsyncClient) -> None:
    response = await auth_client.post("/auth/token", json={}, headers=bearer("nope"))
    assert_unauthorized(response, "Invalid or expired token")


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
async def test_bootstrap_opens_again_when_no_token_is_active(
    auth_client: AsyncClient, token: str, db: Database, end: str
) -> None:
    async with db.transaction() as session:
        await session.execute(update(ApiToken).values({end: utc_now() - timedelta(seconds=1)}))

    assert (await auth_client.post("/auth/token", json={})).status_code == 200
    assert_unauthorized(
        await auth_client.get("/api/projects", headers=bearer(token)), "Invalid or expired token"
    )


@pytest.mark.timeout(60)
async def test_parallel_bootstraps_give_one_token(client_with: ClientFactory, fresh_db: Database) -> None:
    client = client_with(fresh_db)
    responses = await asyncio.gather(*(client.post("/auth/token", json={}) for _ in range(10)))

    assert [response.status_code for response in responses].count(200) == 1
    late = {response.json()["error"] for response in responses if response.status_code != 200}
    assert late <= {"Bootstrap token already initialized", "Missing Authorization: Bearer token"}
    async with fresh_db.transaction() as session:
        assert len((await session.scalars(select(ApiToken))).all()) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/api/projects", id="list"),
        pytest.param("HEAD", "/api/projects", id="head"),
        pytest.param("OPTIONS", "/api/projects", id="options"),
        pytest.param("POST", "/api/projects", id="create"),
        pytest.param("GET", "/api/projects/x", id="project"),
        pytest.param("GET", "/api/projects/x/nope", id="unknown path of a project"),
        pytest.param("GET", "/auth/tokens", id="tokens"),
        pytest.param("GET", "/auth/token", id="wrong method of the bootstrap path"),
        pytest.param("POST", "/nope", id="post to an unknown path"),
        pytest.param("DELETE", "/health", id="wrong method of an open path"),
        pytest.param("POST", "/auth/token/", id="another path than the bootstrap's"),
    ],
)
async def test_without_a_token_everything_but_open_reads_is_401(
    auth_client: AsyncClient, method: str, path: str
) -> None:
    response = await auth_client.request(method, path)

    assert response.status_code == 401


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/nope", 404), ("/", 404), ("/auth", 404)])
async def test_reads_outside_auth_and_projects_are_open(
    auth_client: AsyncClient, path: str, status: int
) -> None:
    assert (await auth_client.get(path)).status_code == status


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer   ", id="blank token"),
        pytest.param("Basic abc", id="another scheme"),
        pytest.param("{token}", id="no scheme"),
        pytest.param("Bearer{token}", id="no space"),
    ],
)
async def test_an_unusable_header_counts_as_no_token(
    auth_client: AsyncClient, token: str, header: str
) -> None:
    response = await auth_client.get("/api/projects", headers={"Authorization": header.format(token=token)})
    assert_unauthorized(response)


@pytest.mark.parametrize("header", ["bearer {token}", "BEARER {token}", "Bearer   {token}  "])
async def test_the_scheme_has_any_case_and_the_token_is_trimmed(
    auth_client: AsyncClient, token: str, header: str
) -> None:
    response = await auth_client.get("/api/projects", headers={"Authorization": header.format(token=token)})
    assert response.status_code == 200


async def test_an_unknown_token_is_401(auth_client: AsyncClient, token: str) -> None:
    response = await auth_client.get("/api/projects", headers=bearer(f"{token[:-1]}x"))
    assert_unauthorized(response, "Invalid or expired token")


async def test_use_is_noted_once_and_not_again_within_seconds(auth_client: AsyncClient, token: str) -> None:
    async def last_used() -> str:
        body = (await auth_client.get("/auth/tokens", headers=bearer(token))).json()
        return body["auth_tokens"][0]["last_used_at"]

    first = await last_used()
    assert first
    assert await last_used() == first


async def test_an_own_project_answers_and_an_unknown_one_is_403(
    auth_client: AsyncClient, token: str, own_slug: str
) -> None:
    assert (await auth_client.get(f"/api/projects/{own_slug}", headers=bearer(token))).status_code == 200
    for path in ("missing", "___", "missing/runs/x", "missing/nope"):
        assert_forbidden(await auth_client.get(f"/api/projects/{path}", headers=bearer(token)))


async def test_another_owners_project_is_403(auth_client: AsyncClient, token: str) -> None:
    body = {"name": "Theirs", "username": "ann"}
    await auth_client.post("/api/projects", json=body, headers=bearer(token))

    assert_forbidden(await auth_client.get("/api/projects/theirs", headers=bearer(token)))
    response = await auth_client.post("/auth/token", json={"project_slug": "theirs"}, headers=bearer(token))
    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.usefixtures("own_slug")
async def test_the_actor_of_an_audit_is_the_tokens_user(db: Database) -> None:
    async with db.transaction() as session:
        event = (await session.scalars(select(AuditEvent))).one()
        owner = await session.scalar(select(ApiToken.user_id))
    assert event.actor_user_id == owner


class TestOfATokenForOneProject:
    @pytest.fixture
    async def scoped(self, auth_client: AsyncClient, token: str, own_slug: str) -> str:
        await auth_client.post("/api/projects", json={"name": "Other"}, headers=bearer(token))
        response = await auth_client.post(
            "/auth/token", json={"project_slug": own_slug}, headers=bearer(token)
        )
        view = response.json()["auth_token"]
        assert view["project_id"]
        return view["token"]

    async def test_it_touches_its_project(self, auth_client: AsyncClient, scoped: str) -> None:
        assert (await auth_client.get("/api/projects/own", headers=bearer(scoped))).status_code == 200

    async def test_it_touches_no_other(self, auth_client: AsyncClient, scoped: str) -> None:
        assert_forbidden(await auth_client.get("/api/projects/other", headers=bearer(scoped)))

    async def test_it_lists_its_project_only(self, auth_client: AsyncClient, scoped: str) -> None:
        body = (await auth_client.get("/api/projects", headers=bearer(scoped))).json()
        assert [row["slug"] for row in body["projects"]] == ["own"]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "/api/projects"), ("POST", "/auth/token"), ("GET", "/auth/tokens"), ("GET", "/auth/x")],
    )
    async def test_it_makes_neither_projects_nor_tokens(
        self, auth_client: AsyncClient, scoped: str, method: str, path: str
    ) -> None:
        assert_forbidden(await auth_client.request(method, path, json={}, headers=bearer(scoped)))


@pytest.mark.parametrize("slug", ["", "missing", "___"])
async def test_a_token_for_an_unknown_project_is_not_made(client: AsyncClient, slug: str) -> None:
    response = await client.post("/auth/token", json={"project_slug": slug})

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")
    assert (await client.get("/auth/tokens")).json()["count"] == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param(None, None, id="null is never"),
        pytest.param("", None, id="empty is never"),
        pytest.param("2027-01-31", "2027-01-31T23:59:59+00:00", id="a date is its last second"),
        pytest.param("2027-01-31T12:00:00Z", "2027-01-31T12:00:00+00:00", id="utc"),
        pytest.param("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00+00:00", id="offset"),
        pytest.param("2001-01-01", "2001-01-01T23:59:59+00:00", id="the past"),
    ],
)
async def test_an_expiry_is_kept_in_utc(client: AsyncClient, given: str | None, shown: str | None) -> None:
    response = await client.post("/auth/token", json={"expires_at": given})

    assert response.json()["auth_token"]["expires_at"] == shown


@pytest.mark.parametrize(
    "given", [" ", " 2027-01-31", "2027-02-30", "20270131", "2027-W01-1", "soon", "2027-01-31T12:00:00", "0"]
)
async def test_any_other_expiry_is_refused(client: AsyncClient, given: str) -> None:
    response = await client.post("/auth/token", json={"expires_at": given})

    assert (response.status_code, response.json()["error_code"]) == (400, "validation_error")


async def test_tokens_are_listed_newest_first_without_secrets(client: AsyncClient) -> None:
    await client.post("/auth/token", json={"label": "old", "expires_at": "2001-01-01"})
    secret = (await client.post("/auth/token", json={"label": "new"})).json()["auth_token"]["token"]
    response = await client.get("/auth/tokens")

    rows = response.json()["auth_tokens"]
    assert [(row["label"], row["active"]) for row in rows] == [("new", True), ("old", False)]
    assert secret not in response.text


async def test_revoking_is_final_and_keeps_the_first_moment(client: AsyncClient, db: Database) -> None:
    token_id = (await client.post("/auth/token", json={})).json()["auth_token"]["id"]
    stamps: list[object] = []
    for _ in range(2):
        response = await client.delete(f"/auth/tokens/{token_id}")
        assert response.json() == {"ok": True, "deleted": True, "token_id": token_id}
        async with db.transaction() as session:
            stamps.append(await session.scalar(select(ApiToken.revoked_at)))

    assert stamps[0] is not None
    assert stamps[0] == stamps[1]
    assert (await client.get("/auth/tokens")).json()["auth_tokens"][0]["active"] is False


@pytest.mark.parametrize(
    "token_id",
    ["x", "missing", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f", "0F2D5C9E-4A7B-4C1D-8E3F-5A6B7C8D9E0F"],
)
async def test_an_unknown_token_is_not_found(client: AsyncClient, token_id: str) -> None:
    response = await client.delete(f"/auth/tokens/{token_id}")

    assert (response.status_code, response.json()["error"]) == (404, "Auth token not found")


async def test_a_body_is_not_needed_to_make_a_token(client: AsyncClient) -> None:
    assert (await client.post("/auth/token")).status_code == 200


async def test_a_token_made_by_the_service_opens_the_api(auth_client: AsyncClient, db: Database) -> None:
    async with db.transaction() as session:
        created = await create_token(session, label="first")

    assert (await auth_client.get("/api/projects", headers=bearer(created.secret))).status_code == 200


async def test_the_service_can_scope_a_token(auth_client: AsyncClient, own_slug: str, db: Database) -> None:
    async with db.transaction() as session:
        project = await get_project(session, own_slug)
        created = await create_token(session, project=project)

    headers = bearer(created.secret)
    assert (await auth_client.get(f"/api/projects/{own_slug}", headers=headers)).status_code == 200
    assert_forbidden(await auth_client.get("/auth/tokens", headers=headers))
