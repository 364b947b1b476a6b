"""Contract 1.8 and 3.2, and the scope rules of design section 6."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import select, update

from kroma.audit.models import AuditEvent
from kroma.auth.models import ApiToken
from kroma.auth.service import create_token
from kroma.config import Settings, SettingsError
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from support.builders.factories import make_user
from support.harness.documented_api import ClientFactory


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


@pytest.mark.parametrize("idempotency", [{}, {"Idempotency-Key": "once"}])
async def test_what_holds_or_describes_a_secret_is_stored_by_no_cache(
    auth_client: AsyncClient, token: str, own_slug: str, idempotency: dict[str, str]
) -> None:
    headers = bearer(token) | idempotency
    secrets = f"/api/projects/{own_slug}/secrets"
    stored = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "sk-1"}
    made = await auth_client.post("/auth/token", json={"label": "second"}, headers=headers)
    answers = [
        made,
        await auth_client.get("/auth/tokens", headers=headers),
        await auth_client.post(secrets, json=stored, headers=headers),
        await auth_client.post(secrets, json=stored, headers=headers),
        await auth_client.get(secrets, headers=headers),
        await auth_client.delete(f"/auth/tokens/{made.json()['auth_token']['id']}", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert [answer.headers.get("Cache-Control") for answer in answers] == ["no-store"] * len(answers)


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


@pytest.mark.parametrize("switch", ["0", "false", "no", "off", "2", "enabled", "tru"])
async def test_any_other_word_switches_the_bootstrap_off(client_with: ClientFactory, switch: str) -> None:
    client = client_with(KROMA_API_AUTH_BOOTSTRAP_FIRST_TOKEN=switch)
    assert_unauthorized(await client.post("/auth/token", json={}))


@pytest.mark.parametrize("switch", ["1", "TRUE", " yes ", "On", ""])
async def test_the_bootstrap_is_on_by_default_and_by_four_words(
    client_with: ClientFactory, switch: str
) -> None:
    client = client_with(KROMA_API_AUTH_BOOTSTRAP_FIRST_TOKEN=switch)
    assert (await client.post("/auth/token", json={})).status_code == 200


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "127.9.9.9:8788", "[::1]:8788"])
async def test_the_bootstrap_is_open_on_any_loopback_address(client_with: ClientFactory, bind: str) -> None:
    client = client_with(KROMA_BACKEND_BIND=bind)
    assert (await client.post("/auth/token", json={})).status_code == 200


@pytest.mark.parametrize("bind", ["[::]:8788", "10.0.0.1:8788", "[2001:db8::1]:8788"])
async def test_the_bootstrap_is_closed_on_any_other_address(client_with: ClientFactory, bind: str) -> None:
    client = client_with(KROMA_BACKEND_BIND=bind)
    assert_unauthorized(await client.post("/auth/token", json={}))


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer  ", "nonsense"])
async def test_an_unusable_header_does_not_close_the_bootstrap(auth_client: AsyncClient, header: str) -> None:
    response = await auth_client.post("/auth/token", json={}, headers={"Authorization": header})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/tokens"),
        ("DELETE", "/auth/tokens/x"),
        ("POST", "/api/projects"),
        ("GET", "/api/projects"),
        ("PUT", "/auth/token"),
    ],
)
async def test_the_bootstrap_opens_one_route_only(auth_client: AsyncClient, method: str, path: str) -> None:
    assert_unauthorized(await auth_client.request(method, path))


async def test_a_token_that_is_born_expired_leaves_the_bootstrap_open(auth_client: AsyncClient) -> None:
    first = await auth_client.post("/auth/token", json={"expires_at": "2001-01-01"})
    secret = first.json()["auth_token"]["token"]
    assert_unauthorized(
        await auth_client.get("/auth/tokens", headers=bearer(secret)), "Invalid or expired token"
    )
    assert (await auth_client.post("/auth/token", json={})).status_code == 200


async def test_a_refused_bootstrap_body_makes_no_token(auth_client: AsyncClient, db: Database) -> None:
    for body, status in (({"label": 1}, 422), ({"expires_at": " "}, 400), ({"project_slug": "x"}, 404)):
        assert (await auth_client.post("/auth/token", json=body)).status_code == status
    async with db.transaction() as session:
        assert (await session.scalars(select(ApiToken))).all() == []
    assert (await auth_client.post("/auth/token", json={})).status_code == 200


class TestOfTheDevelopmentBypass:
    @pytest.mark.parametrize("switch", ["1", "true", "YES", " on "])
    async def test_nothing_is_checked(self, client_with: ClientFactory, switch: str) -> None:
        client = client_with(KROMA_API_AUTH_DEV_BYPASS=switch)
        for headers in ({}, bearer("nonsense"), {"Authorization": "Basic x"}):
            assert (await client.get("/api/projects", headers=headers)).status_code == 200

    @pytest.mark.parametrize("switch", ["", "0", "off", "y", "2"])
    async def test_any_other_word_is_no_bypass(self, client_with: ClientFactory, switch: str) -> None:
        client = client_with(KROMA_API_AUTH_DEV_BYPASS=switch)
        assert_unauthorized(await client.get("/api/projects"))

    async def test_an_unknown_project_is_404(self, client: AsyncClient) -> None:
        assert (await client.get("/api/projects/missing")).status_code == 404

    async def test_a_token_does_not_narrow_it(self, client: AsyncClient) -> None:
        for name in ("Own", "Other"):
            await client.post("/api/projects", json={"name": name})
        made = await client.post("/auth/token", json={"project_slug": "own"})
        headers = bearer(made.json()["auth_token"]["token"])
        assert (await client.get("/api/projects", headers=headers)).json()["count"] == 2
        assert (await client.get("/api/projects/other", headers=headers)).status_code == 200

    async def test_its_audits_have_no_actor(self, client: AsyncClient, db: Database) -> None:
        await client.post("/api/projects", json={"name": "Own"})
        async with db.transaction() as session:
            assert (await session.scalars(select(AuditEvent.actor_user_id))).all() == [None]

    @pytest.mark.parametrize("bind", ["0.0.0.0:8788", "[::]:8788", "10.0.0.1:8788"])
    def test_it_is_refused_off_loopback(self, data_dir: Path, bind: str) -> None:
        variables = {"KROMA_API_AUTH_DEV_BYPASS": "1", "KROMA_BACKEND_BIND": bind}
        with pytest.raises(SettingsError) as raised:
            Settings.from_environment(variables, data_dir=data_dir)
        assert raised.value.message == (
            "KROMA_API_AUTH_DEV_BYPASS disables authentication, so KROMA_BACKEND_BIND must be a "
            f"loopback address, not {bind}"
        )


async def test_with_a_token_the_framework_answers_as_without_authentication(
    auth_client: AsyncClient, token: str
) -> None:
    found = [
        (await auth_client.request(method, path, headers=bearer(token))).status_code
        for method, path in (("POST", "/nope"), ("GET", "/auth/nope"), ("PATCH", "/auth/tokens"))
    ]
    assert found == [404, 404, 405]


async def test_a_missing_database_is_401_and_shows_nothing(
    client_with: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    unreachable = Database.connect("postgresql://kroma:secret-word@127.0.0.1:9/kroma")
    client = client_with(unreachable)
    assert_unauthorized(await client.post("/auth/token", json={}))
    assert_unauthorized(
        await client.get("/api/projects", headers=bearer("kroma_MARKED")), "Invalid or expired token"
    )
    logged = capsys.readouterr().out
    assert "the token check failed" in logged
    assert "MARKED" not in logged
    assert "secret-word" not in logged
    await unreachable.close()


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
        statement = select(AuditEvent).where(AuditEvent.event_code == "project.upsert")
        event = (await session.scalars(statement)).one()
        owner = await session.scalar(select(ApiToken.user_id))
    assert event.actor_user_id == owner


async def token_audits(db: Database) -> list[AuditEvent]:
    async with db.transaction() as session:
        statement = (
            select(AuditEvent)
            .where(AuditEvent.event_code.startswith("token."))
            .order_by(AuditEvent.created_at)
        )
        return list(await session.scalars(statement))


async def test_making_and_revoking_tokens_is_in_the_trail_once(
    auth_client: AsyncClient, token: str, own_slug: str, db: Database
) -> None:
    body = {"project_slug": own_slug, "label": "ci"}
    made = await auth_client.post("/auth/token", json=body, headers=bearer(token))
    view = made.json()["auth_token"]
    for _ in range(2):
        revoked = await auth_client.delete(f"/auth/tokens/{view['id']}", headers=bearer(token))
        assert revoked.json() == {"ok": True, "deleted": True, "token_id": view["id"]}

    assert set(made.json()) == {"ok", "auth_token"}
    first, create, revoke = await token_audits(db)
    async with db.transaction() as session:
        owner = await session.scalar(select(ApiToken.user_id).limit(1))
    assert (first.event_code, first.project_id, first.actor_user_id) == ("token.create", None, None)
    assert (create.event_code, revoke.event_code) == ("token.create", "token.revoke")
    for event in (create, revoke):
        assert str(event.project_id) == view["project_id"]
        assert event.actor_user_id == owner
        assert event.payload_json == {"token_id": view["id"]}


async def test_a_token_that_is_not_made_leaves_no_audit(client: AsyncClient, db: Database) -> None:
    await client.post("/auth/token", json={"project_slug": "missing"})
    await client.post("/auth/token", json={"expires_at": "soon"})
    await client.delete("/auth/tokens/missing")

    assert await token_audits(db) == []


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

    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("Own", id="upper case"),
            pytest.param("%6Fwn", id="percent-encoded"),
            pytest.param("%20own%20", id="spaces around it"),
            pytest.param("__own__", id="underscores around it"),
            pytest.param("%21own", id="another character before it"),
        ],
    )
    async def test_another_spelling_of_its_slug_is_its_project(
        self, auth_client: AsyncClient, scoped: str, path: str
    ) -> None:
        response = await auth_client.get(f"/api/projects/{path}", headers=bearer(scoped))
        assert (response.status_code, response.json()["project"]["slug"]) == (200, "own")

    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("Other", id="upper case"),
            pytest.param("%6Fther", id="percent-encoded"),
            pytest.param("%20other", id="a space before it"),
            pytest.param("own/../other", id="up and down again"),
            pytest.param("own%2F..%2Fother", id="the same, percent-encoded"),
            pytest.param("own/%2e%2e/other", id="dots percent-encoded"),
            pytest.param("/other", id="two slashes"),
            pytest.param("./other", id="a dot before it"),
            pytest.param("own%2Fother", id="a slash percent-encoded"),
            pytest.param("own;/../other", id="a parameter"),
            pytest.param("other%00", id="a nul behind it"),
            pytest.param("%256Fther", id="percent-encoded twice"),
        ],
    )
    async def test_no_spelling_of_a_path_reaches_another_project(
        self, auth_client: AsyncClient, scoped: str, path: str
    ) -> None:
        # A raw path: the client library would tidy it up.
        url = auth_client.base_url.copy_with(raw_path=f"/api/projects/{path}".encode())
        for suffix in (b"", b"/storage"):
            target = url.copy_with(raw_path=url.raw_path + suffix)
            response = await auth_client.get(target, headers=bearer(scoped))
            assert response.status_code in {400, 403, 404}, response.text
            assert "other" not in response.text

    async def test_it_is_only_for_projects_of_its_user(
        self, auth_client: AsyncClient, token: str, scoped: str, db: Database
    ) -> None:
        async with db.transaction() as session:
            await session.execute(
                update(Project)
                .where(Project.slug == "own")
                .values(owner_user_id=(await make_user(session, username="ann")).id)
            )

        for secret in (token, scoped):
            assert_forbidden(await auth_client.get("/api/projects/own", headers=bearer(secret)))

    async def test_it_ends_like_any_other(self, auth_client: AsyncClient, token: str, scoped: str) -> None:
        rows = (await auth_client.get("/auth/tokens", headers=bearer(token))).json()["auth_tokens"]
        token_id = next(row["id"] for row in rows if row["project_id"])
        await auth_client.delete(f"/auth/tokens/{token_id}", headers=bearer(token))

        assert_unauthorized(
            await auth_client.get("/api/projects/own", headers=bearer(scoped)), "Invalid or expired token"
        )


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
        pytest.param("2027-01-31t12:00:00z", "2027-01-31T12:00:00+00:00", id="lower case"),
        pytest.param("2027-12-31T23:30:00-02:00", "2028-01-01T01:30:00+00:00", id="over the year's end"),
        pytest.param("2028-02-29", "2028-02-29T23:59:59+00:00", id="leap day"),
    ],
)
async def test_an_expiry_is_kept_in_utc(client: AsyncClient, given: str | None, shown: str | None) -> None:
    response = await client.post("/auth/token", json={"expires_at": given})

    assert response.json()["auth_token"]["expires_at"] == shown


@pytest.mark.parametrize(
    "given",
    [
        " ",
        " 2027-01-31",
        "2027-02-30",
        "20270131",
        "2027-W01-1",
        "soon",
        "2027-01-31T12:00:00",
        "0",
        "9" * 400,
        "\n",
        "2027-01-31T25:00:00Z",
        "2027-01-31T12:00:00+99:00",
        "0000-01-01",
        "2027-01-31 ",
    ],
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


@pytest.mark.timeout(60)
async def test_parallel_revocations_keep_the_first_moment_and_audit_once(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    token_id = (await client.post("/auth/token", json={})).json()["auth_token"]["id"]
    replies = await asyncio.gather(*(client.delete(f"/auth/tokens/{token_id}") for _ in range(20)))

    assert {reply.status_code for reply in replies} == {200}
    assert [event.event_code for event in await token_audits(fresh_db)] == ["token.create", "token.revoke"]
