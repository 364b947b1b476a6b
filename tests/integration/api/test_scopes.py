"""What scopes mean beyond single routes: giving them out, and what only a plan or a body can tell."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from kroma.auth.models import ApiToken
from kroma.auth.scopes import Scope, with_included
from kroma.auth.service import create_token
from kroma.bootstrap.models import BootstrapImport
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.providers.fake import FakeProvider, FakeScript
from kroma.quality.models import QualityReport
from kroma.runs.models import Run
from kroma.sync.models import SyncJob
from support.builders.ended_runs import ended_run
from support.builders.factories import scene_png
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)

AT = "/api/projects/comic"
RUN = {"mode": "run", "confirm_spend": True, "scene_refs": ["scenes/a.png"], "candidates": 1}

Token = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
def token(db: Database) -> Token:
    """Makes the header of a token with these scopes; without any, of one that may do everything."""

    async def make(*scopes: str, project: str | None = None) -> dict[str, str]:
        async with db.transaction() as session:
            only = None if project is None else await get_project(session, project)
            given = [Scope(scope) for scope in scopes] or None
            made = await create_token(session, project=only, scopes=given)
        return {"Authorization": f"Bearer {made.secret}"}

    return make


async def count(db: Database, model: Any) -> int:
    async with db.transaction() as session:
        return (await session.execute(select(func.count()).select_from(model))).scalar_one()


def assert_lacks(response: Response, *scopes: str) -> None:
    assert response.status_code == 403, response.text
    body = response.json()
    assert (body["error_kind"], body["error_code"]) == ("validation", "insufficient_scope")
    assert all(f"'{scope}'" in body["error"] for scope in scopes)
    named = " ".join(scopes)
    assert response.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{named}"'


class TestOfGivingScopes:
    async def test_they_are_shown_sorted_where_a_token_is_made_and_listed(
        self, auth_client: AsyncClient, token: Token
    ) -> None:
        owner = await token()
        body = {"scopes": ["spend", " review ", "spend"], "label": "two"}
        made = (await auth_client.post("/auth/token", json=body, headers=owner)).json()["auth_token"]
        plain = (await auth_client.post("/auth/token", json={}, headers=owner)).json()["auth_token"]
        null = (await auth_client.post("/auth/token", json={"scopes": None}, headers=owner)).json()
        listed = (await auth_client.get("/auth/tokens", headers=owner)).json()["auth_tokens"]

        assert made["scopes"] == ["review", "spend"]
        # As the contract has it: a token that may do everything shows no other keys than before.
        assert "scopes" not in plain.keys() | null["auth_token"].keys()
        by_id = {row["id"]: row for row in listed}
        assert by_id[made["id"]]["scopes"] == ["review", "spend"]
        assert "scopes" not in by_id[plain["id"]]

    @pytest.mark.parametrize(
        ("scopes", "status", "error"),
        [
            pytest.param([], 400, "Field 'scopes' must name at least one of: read, review, ", id="none"),
            pytest.param(["read", "write"], 400, "unknown: 'write'", id="unknown"),
            pytest.param(["Read"], 400, "unknown: 'Read'", id="another case"),
            pytest.param([""], 400, "unknown: ''", id="empty word"),
            pytest.param(["read review"], 400, "unknown: 'read review'", id="two in one"),
            pytest.param("read", 422, "Field 'scopes'", id="a text"),
            pytest.param([1], 422, "Field 'scopes[0]'", id="a number"),
            pytest.param([None], 422, "Field 'scopes[0]'", id="null inside"),
        ],
    )
    async def test_a_wrong_list_makes_no_token(
        self, *, auth_client: AsyncClient, db: Database, token: Token, scopes: Any, status: int, error: str
    ) -> None:
        owner = await token()
        response = await auth_client.post("/auth/token", json={"scopes": scopes}, headers=owner)

        assert response.status_code == status
        assert error in response.json()["error"]
        assert await count(db, ApiToken) == 1

    @pytest.mark.parametrize("words", ["{}", "{read,write}", "{NULL}", "{read,NULL}", "{READ}"])
    async def test_the_database_takes_known_words_only(self, db: Database, token: Token, words: str) -> None:
        await token("read")
        with pytest.raises(IntegrityError, match="ck_api_tokens_scopes"):
            async with db.transaction() as session:
                await session.execute(text(f"UPDATE api_tokens SET scopes = '{words}'"))  # noqa: S608 - our own

    @pytest.mark.parametrize(
        ("own", "asked", "lacking"),
        [
            pytest.param(["admin"], ["admin"], [], id="the same"),
            pytest.param(["admin", "spend"], ["create", "read"], [], id="what is included"),
            pytest.param(["admin"], ["read"], ["read"], id="another"),
            pytest.param(["admin", "create"], ["admin", "spend", "read"], ["spend"], id="one more"),
            pytest.param([*Scope], None, [], id="everything, by name"),
            pytest.param(
                ["admin"], None, ["read", "review", "create", "spend", "storage", "secrets"], id="everything"
            ),
        ],
    )
    async def test_a_token_makes_none_that_may_do_more(
        self,
        *,
        auth_client: AsyncClient,
        db: Database,
        token: Token,
        own: list[str],
        asked: list[str] | None,
        lacking: list[str],
    ) -> None:
        caller = await token(*own)
        response = await auth_client.post("/auth/token", json={"scopes": asked}, headers=caller)

        if lacking:
            assert_lacks(response, *lacking)
        else:
            assert response.status_code == 200
        assert await count(db, ApiToken) == (1 if lacking else 2)

    async def test_a_token_revokes_none_that_may_do_more(
        self, auth_client: AsyncClient, db: Database, token: Token
    ) -> None:
        owner, _, admin = await token(), await token("admin"), await token("admin", "spend")
        async with db.transaction() as session:
            rows = list(await session.scalars(select(ApiToken).order_by(ApiToken.created_at)))
        owners, weaker, own = (str(row.id) for row in rows)

        refused = await auth_client.delete(f"/auth/tokens/{owners}", headers=admin)
        assert_lacks(refused, "review", "storage", "secrets")
        for token_id in (weaker, own):
            assert (await auth_client.delete(f"/auth/tokens/{token_id}", headers=admin)).status_code == 200
        assert (await auth_client.get("/auth/tokens", headers=owner)).status_code == 200
        assert (await auth_client.get("/auth/tokens", headers=admin)).status_code == 401

    async def test_a_token_cannot_open_the_bootstrap_to_get_every_scope(
        self, auth_client: AsyncClient, db: Database, token: Token
    ) -> None:
        admin = await token("admin")
        soon = {"scopes": ["admin"], "expires_at": (utc_now() + timedelta(seconds=30)).isoformat()}
        await auth_client.post("/auth/token", json=soon, headers=admin)
        async with db.transaction() as session:
            own = await session.scalar(select(ApiToken.id).where(ApiToken.expires_at.is_(None)))

        response = await auth_client.delete(f"/auth/tokens/{own}", headers=admin)

        assert (response.status_code, response.json()["error_code"]) == (403, "forbidden")
        assert "no token that never expires" in response.json()["error"]
        assert (await auth_client.post("/auth/token", json={})).status_code == 401
        async with db.transaction() as session:
            await session.execute(update(ApiToken).values(scopes=None))
        assert (await auth_client.delete(f"/auth/tokens/{own}", headers=admin)).status_code == 200

    async def test_two_tokens_that_revoke_each_other_leave_one(
        self, client_with: ClientFactory, fresh_db: Database
    ) -> None:
        client = client_with(fresh_db)
        async with fresh_db.transaction() as session:
            made = [await create_token(session, scopes=[Scope.ADMIN]) for _ in range(2)]
        first, second = made

        await asyncio.gather(
            *(
                client.delete(
                    f"/auth/tokens/{other.row.id}", headers={"Authorization": f"Bearer {one.secret}"}
                )
                for one, other in ((first, second), (second, first))
            )
        )

        async with fresh_db.transaction() as session:
            active = await session.scalars(select(ApiToken.id).where(ApiToken.revoked_at.is_(None)))
            assert len(list(active)) == 1

    async def test_the_first_token_may_do_everything(self, auth_client: AsyncClient) -> None:
        made = await auth_client.post("/auth/token", json={})
        secret = made.json()["auth_token"]["token"]
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await auth_client.post("/auth/token", json={}, headers=headers)).status_code == 200

    async def test_a_projects_token_with_admin_reaches_no_tokens(
        self, auth_client: AsyncClient, client: AsyncClient, slug: str, token: Token
    ) -> None:
        del client
        caller = await token("admin", project=slug)
        response = await auth_client.get("/auth/tokens", headers=caller)
        assert (response.status_code, response.json()["error_code"]) == (403, "forbidden")

    def test_what_scopes_include(self) -> None:
        assert with_included([Scope.SPEND]) == {Scope.SPEND, Scope.CREATE, Scope.READ}
        assert with_included([Scope.CREATE, Scope.ADMIN]) == {Scope.CREATE, Scope.READ, Scope.ADMIN}
        for alone in (Scope.READ, Scope.REVIEW, Scope.STORAGE, Scope.SECRETS, Scope.ADMIN):
            assert with_included([alone]) == {alone}


@pytest.mark.usefixtures("slug")
class TestOfTheOrder:
    async def test_authentication_then_the_project_then_the_scope(
        self, auth_client: AsyncClient, client: AsyncClient, token: Token
    ) -> None:
        await client.post("/api/projects", json={"name": "Other"})
        caller = await token("read", project="comic")
        for path, code in (("comic", "insufficient_scope"), ("other", "forbidden"), ("nope", "forbidden")):
            response = await auth_client.delete(f"/api/projects/{path}/budget", headers=caller)
            assert (response.status_code, response.json()["error_code"]) == (403, code)
        assert (await auth_client.delete(f"{AT}/budget")).status_code == 401

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", f"{AT}/nope", 404),
            ("GET", f"{AT}/runs/trigger", 405),
            ("OPTIONS", f"{AT}/budget", 405),
            ("PATCH", f"{AT}/budget", 405),
            ("DELETE", f"{AT}/budget/", 404),
            ("DELETE", f"{AT}//budget", 404),
        ],
    )
    async def test_what_no_route_takes_stays_404_or_405(
        self, auth_client: AsyncClient, token: Token, method: str, path: str, status: int
    ) -> None:
        caller = await token("review")

        assert (await auth_client.request(method, path, headers=caller)).status_code == status

    @pytest.mark.parametrize(
        "path",
        ["a", "a%2Fb", "a/b", "%2F", "%2Fa", "a%2F", "%2f%2f", "%2e%2e", "a%2F%2Fb", "%E2%82%AC", "a b"],
    )
    async def test_no_spelling_of_a_secrets_name_gets_past(
        self, auth_client: AsyncClient, token: Token, path: str
    ) -> None:
        everything, caller = await token(), await token("create", "admin", "storage", "review")
        address = f"{AT}/secrets/openai/{path}"
        refused = await auth_client.delete(address, headers=caller)
        answered = await auth_client.delete(address, headers=everything)

        if answered.status_code == 404 and answered.json()["error"] == "No route has this path":
            assert refused.status_code == 404
        else:
            assert_lacks(refused, "secrets")

    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            pytest.param(f"{AT}/characters", {"Content-Type": "application/json"}, id="JSON"),
            pytest.param(f"{AT}/characters", {"Idempotency-Key": "k"}, id="with a key"),
            pytest.param(f"{AT}/assets", {"Content-Type": "multipart/form-data; boundary=x"}, id="upload"),
            pytest.param("/api/tools/qa", {"Content-Type": "multipart/form-data; boundary=x"}, id="tool"),
        ],
    )
    async def test_a_refused_body_is_not_read(
        self, auth_client: AsyncClient, token: Token, path: str, headers: dict[str, str]
    ) -> None:
        is_read = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal is_read
            is_read = True
            yield b"{}"

        caller = await token("read")
        assert_lacks(await auth_client.post(path, content=body(), headers=caller | headers), "create")
        assert not is_read
        await auth_client.post(path, content=body(), headers=await token("create") | headers)
        assert is_read

    async def test_the_bypass_may_do_everything_whatever_the_token(
        self, client: AsyncClient, token: Token
    ) -> None:
        caller = await token("review")
        body = {"limit_usd": 5, "period": "total"}
        assert (await client.put(f"{AT}/budget", json=body, headers=caller)).status_code == 200

    async def test_a_projects_token_may_have_scopes(self, auth_client: AsyncClient, token: Token) -> None:
        caller = await token("create", project="comic")

        assert (await auth_client.get(f"{AT}/runs", headers=caller)).status_code == 200
        made = await auth_client.post(f"{AT}/characters", json={"name": "Mara"}, headers=caller)
        assert made.status_code == 200
        gone = await auth_client.delete(f"{AT}/characters/{made.json()['character']['id']}", headers=caller)
        assert_lacks(gone, "admin")
        assert_lacks(await auth_client.put(f"{AT}/budget", json={}, headers=caller), "admin")


@pytest.mark.usefixtures("root", "slug")
class TestOfMoney:
    @pytest.fixture
    def paid(self, client_with: ClientFactory) -> AsyncClient:
        fake = FakeProvider(FakeScript(cost_usd=Decimal("0.04")))
        return client_with(providers={"fake": fake}, KROMA_PROVIDER="fake")

    async def test_create_starts_free_runs_only(
        self, auth_client: AsyncClient, paid: AsyncClient, db: Database, token: Token
    ) -> None:
        create, spend = await token("create"), await token("spend")

        assert_lacks(await paid.post(f"{AT}/runs/trigger", json=RUN, headers=create), "spend")
        assert await count(db, Run) == 0
        for client, headers, body in (
            (paid, create, RUN | {"mode": "dry"}),
            (auth_client, create, RUN),
            (paid, spend, RUN),
        ):
            response = await client.post(f"{AT}/runs/trigger", json=body, headers=headers)
            assert response.status_code == 202, response.text

    async def test_the_same_key_with_another_token_gives_no_run_of_anothers(
        self, paid: AsyncClient, db: Database, token: Token
    ) -> None:
        create, spend = await token("create"), await token("spend")
        key = {"Idempotency-Key": "k"}
        made = await paid.post(f"{AT}/runs/trigger", json=RUN, headers=spend | key)
        assert made.status_code == 202

        for _ in range(2):
            assert_lacks(await paid.post(f"{AT}/runs/trigger", json=RUN, headers=create | key), "spend")
        assert await count(db, Run) == 1

    async def test_a_repeat_that_costs_money_needs_spend(
        self, *, client: AsyncClient, paid: AsyncClient, db: Database, root: Path, token: Token
    ) -> None:
        made = await ended_run(client, db, "comic", root)
        create, spend = await token("create"), await token("spend")
        again = f"{AT}/runs/{made.run_id}/rerun"
        async with db.transaction() as session:
            run = await session.get_one(Run, made.run_id)
            run.plan_json = run.plan_json | {"provider": "fake", "model": "fake-1"}
        body = {"confirm_spend": True}
        before = await count(db, Run)

        assert_lacks(await paid.post(again, json=body, headers=create), "spend")
        assert await count(db, Run) == before
        assert (await paid.post(again, json=body, headers=spend)).status_code == 202

    async def test_review_chooses_and_paid_post_processing_needs_spend(
        self, *, client: AsyncClient, auth_client: AsyncClient, db: Database, root: Path, token: Token
    ) -> None:
        made = await ended_run(client, db, "comic", root, postprocess={"color": True})
        review, both = await token("review"), await token("review", "spend")
        at = f"{AT}/runs/{made.run_id}/jobs/{made.job_id}/select"
        body = {"candidate_index": 2, "note": "better hands", "confirm_spend": True}
        async with db.transaction() as session:
            run = await session.get_one(Run, made.run_id)
            free = run.plan_json
            cutout = {"backends": ["photoroom"], "prices_usd": {}, "timeout_s": 5.0}
            run.plan_json = free | {"tools": free["tools"] | {"cutout": cutout}}
        before = await count(db, Run)

        assert_lacks(await auth_client.post(at, json=body, headers=review), "spend")
        assert await count(db, Run) == before
        assert await count(db, QualityReport) == 0
        detail = await auth_client.get(f"{AT}/runs/{made.run_id}", headers=review)
        assert detail.json()["jobs"][0]["selected_candidate_index"] == 1

        async with db.transaction() as session:
            (await session.get_one(Run, made.run_id)).plan_json = free
        assert (await auth_client.post(at, json=body, headers=review)).status_code == 202
        assert (await auth_client.post(at, json=body, headers=both)).status_code == 202

    async def test_copying_a_run_to_the_bucket_needs_storage(
        self, auth_client: AsyncClient, db: Database, token: Token
    ) -> None:
        body = RUN | {"storage_sync_s3": True}
        create, both = await token("create"), await token("create", "storage")

        assert_lacks(await auth_client.post(f"{AT}/runs/trigger", json=body, headers=create), "storage")
        assert await count(db, Run) == 0
        assert (await auth_client.post(f"{AT}/runs/trigger", json=body, headers=both)).status_code == 202

    async def test_a_tool_that_costs_money_needs_spend(
        self, client_with: ClientFactory, fresh_db: Database
    ) -> None:
        fake = FakeProvider(FakeScript(cost_usd=Decimal("0.04")))
        client = client_with(fresh_db, providers={"fake": fake}, KROMA_PROVIDER="fake")
        async with fresh_db.transaction() as session:
            create, spend = [
                {"Authorization": f"Bearer {(await create_token(session, scopes=[scope])).secret}"}
                for scope in (Scope.CREATE, Scope.SPEND)
            ]
        files = [("file", ("a.png", scene_png(48, 32)))]
        fields = {"confirm_spend": "true"}

        refused = await client.post("/api/tools/generate", files=files, data=fields, headers=create)
        made = await client.post("/api/tools/generate", files=files, data=fields, headers=spend)
        free = await client.post("/api/tools/color", files=files, headers=create)

        assert_lacks(refused, "spend")
        assert (made.status_code, free.status_code) == (200, 200)


@pytest.mark.usefixtures("slug")
class TestOfImports:
    at = f"{AT}/bootstrap-import"

    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param(
                {"provider_accounts": [{"provider_code": "openai", "base_url": "https://evil.example"}]},
                id="an address that keys are sent to",
            ),
            pytest.param(
                {"secrets": [{"provider_code": "openai", "secret_name": "k"}]}, id="a secret's name"
            ),
            pytest.param({"provider_accounts": []}, id="no account"),
        ],
    )
    async def test_keys_and_their_addresses_need_secrets(
        self, auth_client: AsyncClient, db: Database, token: Token, settings: Any
    ) -> None:
        create, both = await token("create", "admin"), await token("create", "secrets")

        assert_lacks(await auth_client.post(self.at, json={"settings": settings}, headers=create), "secrets")
        assert await count(db, BootstrapImport) == 0
        preview = {"settings": settings, "dry_run": True}
        assert (await auth_client.post(self.at, json=preview, headers=create)).status_code == 200
        made = await auth_client.post(self.at, json={"settings": settings}, headers=both)
        assert made.status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(
                {"settings": {"characters": [{"name": "New"}]}, "mode": "replace"}, id="asked for as such"
            ),
            pytest.param(
                {"ai_response_text": '{"mode": "replace", "settings": {"characters": [{"name": "New"}]}}'},
                id="asked for by the text",
            ),
        ],
    )
    async def test_what_deletes_rows_needs_admin(
        self, auth_client: AsyncClient, db: Database, token: Token, body: Any
    ) -> None:
        create, both = await token("create"), await token("create", "admin")
        await auth_client.post(f"{AT}/characters", json={"name": "Kept"}, headers=create)

        assert_lacks(await auth_client.post(self.at, json=body, headers=create), "admin")
        assert await count(db, BootstrapImport) == 0
        names = (await auth_client.get(f"{AT}/characters", headers=create)).json()["characters"]
        assert [row["name"] for row in names] == ["Kept"]
        assert (await auth_client.post(self.at, json=body, headers=both)).status_code == 200

    async def test_a_merge_that_empties_a_set_needs_admin(
        self, auth_client: AsyncClient, token: Token
    ) -> None:
        create, both = await token("create"), await token("create", "admin")
        filled = {
            "reference_sets": [{"name": "Quay", "items": [{"label": "L", "content_text": "wet stone"}]}]
        }
        emptied = {"reference_sets": [{"name": "Quay", "items": []}]}
        more = {"reference_sets": [{"name": "Pier", "items": [{"label": "L", "content_text": "wood"}]}]}

        async def imported(settings: Any, headers: dict[str, str]) -> Response:
            return await auth_client.post(self.at, json={"settings": settings}, headers=headers)

        assert (await imported(filled, create)).status_code == 200
        assert (await imported(more, create)).status_code == 200
        assert_lacks(await imported(emptied, create), "admin")
        assert (await imported(emptied, both)).status_code == 200

    async def test_an_undo_needs_what_it_takes_back(self, auth_client: AsyncClient, token: Token) -> None:
        everything = await token()
        settings = {"provider_accounts": [{"provider_code": "openai"}]}
        made = await auth_client.post(self.at, json={"settings": settings}, headers=everything)
        undo = f"{self.at}/{made.json()['import_id']}/undo"

        for scopes, lacking in ((("create",), "admin"), (("create", "admin"), "secrets")):
            assert_lacks(await auth_client.post(undo, headers=await token(*scopes)), lacking)
        allowed = await token("create", "admin", "secrets")
        assert (await auth_client.post(undo, headers=allowed)).status_code == 200


@pytest.mark.usefixtures("root", "slug")
async def test_a_sync_that_deletes_needs_admin(auth_client: AsyncClient, db: Database, token: Token) -> None:
    storage, both = await token("storage"), await token("storage", "admin")
    at = f"{AT}/storage"
    await auth_client.put(f"{at}/s3", json={"enabled": True, "bucket": "studio"}, headers=storage)

    assert_lacks(await auth_client.post(f"{at}/sync", json={"delete": True}, headers=storage), "admin")
    assert await count(db, SyncJob) == 0
    tried = await auth_client.post(f"{at}/sync", json={"delete": True, "dry_run": True}, headers=storage)
    assert tried.status_code == 202
    begun = await auth_client.post(f"{at}/sync", json={"delete": True}, headers=both)
    sync = f"{at}/syncs/{begun.json()['sync']['id']}"
    assert (await auth_client.post(f"{sync}/cancel", headers=storage)).status_code == 200
    assert_lacks(await auth_client.post(f"{sync}/retry", headers=storage), "admin")
    assert (await auth_client.post(f"{sync}/retry", headers=both)).status_code == 202
