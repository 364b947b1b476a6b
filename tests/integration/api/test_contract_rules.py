"""Rules of contract section 3 that no other test holds, in its order."""

import re
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import select, text, update

from kroma.assets.models import Asset
from kroma.costs.models import CostEvent
from kroma.db.engine import Database
from kroma.projects.models import AppUser, Project
from kroma.projects.queries import get_project
from kroma.quality.models import QualityReport
from kroma.runs.models import Run, RunCandidate, RunJob
from support.harness.documented_api import ClientFactory

STYLE = {"name": "Ink", "instructions": "lines"}


@pytest.fixture
def base(slug: str) -> str:
    return f"/api/projects/{slug}"


async def imported(client: AsyncClient, base: str, settings: object, **more: object) -> dict[str, Any]:
    response = await client.post(f"{base}/bootstrap-import", json={"settings": settings, **more})
    assert response.status_code == 200, response.text
    return response.json()["bootstrap_import"]


async def test_3_1_health_does_not_ask_the_database(client_with: ClientFactory) -> None:
    unreachable = Database.connect("postgresql://kroma:x@127.0.0.1:9/kroma")
    first = (await client_with(unreachable).get("/health")).json()

    assert first["ok"] is True
    assert isinstance(first["started_unix_ms"], int)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", first["version"])
    await unreachable.close()


async def test_3_2_a_token_shows_its_keys_and_never_its_secret_again(client: AsyncClient, base: str) -> None:
    slug = base.rpartition("/")[2]
    made = (await client.post("/auth/token", json={"project_slug": f" {slug.upper()} "})).json()["auth_token"]
    (listed,) = (await client.get("/auth/tokens")).json()["auth_tokens"]

    assert made.keys() == {
        "id", "token", "token_prefix", "label", "project_id", "created_at", "expires_at",
    }  # fmt: skip
    assert listed.keys() == {
        "id", "user_id", "project_id", "token_prefix", "label", "expires_at", "revoked_at", "last_used_at",
        "created_at", "active",
    }  # fmt: skip
    project = (await client.get(base)).json()["project"]
    assert made["project_id"] == listed["project_id"] == project["id"]
    assert (made["label"], listed["revoked_at"], listed["last_used_at"]) == ("", None, None)


async def test_3_2_making_a_token_resets_the_local_users_name(client: AsyncClient, db: Database) -> None:
    await client.post("/api/projects", json={"name": "Comic", "user_display_name": "Ann"})

    await client.post("/auth/token", json={})

    async with db.transaction() as session:
        assert (await session.scalars(select(AppUser.display_name))).all() == ["Local User"]


async def test_3_3_every_status_is_listed_and_posting_again_makes_it_active(
    client: AsyncClient, base: str, db: Database
) -> None:
    async with db.transaction() as session:
        await session.execute(update(Project).values(status="archived"))

    (listed,) = (await client.get("/api/projects")).json()["projects"]
    assert listed["status"] == (await client.get(base)).json()["project"]["status"] == "archived"
    assert listed.keys() == {
        "id", "slug", "name", "description", "status", "username", "created_at", "updated_at",
    }  # fmt: skip
    await client.post("/api/projects", json={"name": "Comic"})
    assert (await client.get(base)).json()["project"]["status"] == "active"


async def test_3_4_s3_takes_what_does_not_fit_together(client: AsyncClient, base: str) -> None:
    body = {"enabled": True, "bucket": " ", "endpoint_url": "no url", "region": " nowhere "}
    reply = (await client.put(f"{base}/storage/s3", json=body)).json()

    assert reply["storage"]["s3"] == {
        "enabled": True,
        "bucket": "",
        "prefix": "iat-projects",
        "region": "nowhere",
        "profile": "",
        "endpoint_url": "no url",
    }
    assert reply.keys() == {"ok", "project", "storage", "updated", "audit_id"}


async def test_3_5_settings_are_exported_in_the_order_of_their_lists(client: AsyncClient, base: str) -> None:
    for name in ("Two", "One"):
        await client.post(f"{base}/style-guides", json=STYLE | {"name": name})
        await client.post(f"{base}/reference-sets", json={"name": name})
        await client.post(f"{base}/provider-accounts", json={"provider_code": name})
    last = (await client.get(f"{base}/style-guides")).json()["style_guides"][1]
    await client.put(f"{base}/style-guides/{last['id']}", json={"notes": "n"})

    settings = (await client.get(f"{base}/bootstrap-prompt")).json()["bootstrap"]["settings"]

    assert [row["name"] for row in settings["style_guides"]] == ["Two", "One"]
    assert [row["name"] for row in settings["reference_sets"]] == ["One", "Two"]
    assert [row["provider_code"] for row in settings["provider_accounts"]] == ["one", "two"]
    for section in ("style_guides", "provider_accounts"):
        listed = (await client.get(f"{base}/{section.replace('_', '-')}")).json()[section]
        assert settings[section] == listed


async def test_3_6_null_settings_leave_the_text_to_be_read(client: AsyncClient, base: str) -> None:
    body = {"settings": None, "ai_response_text": '{"characters": [{"name": "Mira"}]}'}
    reply = await client.post(f"{base}/bootstrap-import", json=body)

    assert reply.json()["bootstrap_import"]["applied"]["characters"] == 1


async def test_3_6_whether_it_is_dry_is_the_bodys_word_alone(client: AsyncClient, base: str) -> None:
    answer = '{"dry_run": true, "settings": {"characters": [{"name": "Mira"}]}}'
    reply = await client.post(f"{base}/bootstrap-import", json={"ai_response_text": answer})

    assert reply.json()["bootstrap_import"]["dry_run"] is False
    assert (await client.get(f"{base}/characters")).json()["count"] == 1


async def test_3_6_an_empty_list_empties_nothing_in_a_merge(client: AsyncClient, base: str) -> None:
    await imported(client, base, {"style_guides": [STYLE], "provider_accounts": [{"provider_code": "x"}]})

    done = await imported(client, base, {"style_guides": [], "provider_accounts": []})

    for section in ("style_guides", "provider_accounts"):
        changes = done["changes"][section]
        assert (changes["provided"], changes["unchanged"], changes["deleted"]) == (True, 1, 0)
        assert done["applied"][section] == 0


@pytest.mark.parametrize("mode", ["merge", "replace"])
async def test_3_6_the_items_of_a_set_are_what_was_given(client: AsyncClient, base: str, mode: str) -> None:
    full = {"name": "Faces", "description": "d", "items": [{"label": "a", "content_text": "b"}]}
    await imported(client, base, {"reference_sets": [full]})

    done = await imported(client, base, {"reference_sets": [{"name": "Faces", "items": []}]}, mode=mode)

    (shown,) = done["settings"]["reference_sets"]
    assert (shown["items"], shown["description"]) == ([], "")
    assert done["changes"]["reference_sets"]["updated"] == 1


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        pytest.param({"description": " About "}, (False, True), id="description alone"),
        pytest.param({"name": "Comic"}, (False, False), id="the same name"),
        pytest.param({"name": " New ", "description": ""}, (True, False), id="nothing to clear"),
        pytest.param({}, (False, False), id="nothing"),
    ],
)
async def test_3_6_a_project_is_set_as_far_as_it_differs(
    client: AsyncClient, base: str, given: dict[str, str], changed: tuple[bool, bool]
) -> None:
    done = await imported(client, base, {"project": given})

    assert done["changes"]["project"] == {
        "provided": True,
        "updated": any(changed),
        "name_changed": changed[0],
        "description_changed": changed[1],
    }
    assert done["project_updated"] is any(changed)


async def test_3_6_a_merged_account_falls_back_to_defaults(client: AsyncClient, base: str) -> None:
    account = {"provider_code": "x", "account_ref": "org", "enabled": False, "config_json": {"a": 1}}
    await client.post(f"{base}/provider-accounts", json=account | {"base_url": "https://x.example"})
    before = (await client.get(f"{base}/provider-accounts/x")).json()["provider_account"]

    await imported(client, base, {"provider_accounts": [{"provider_code": "X"}]})

    after = (await client.get(f"{base}/provider-accounts/x")).json()["provider_account"]
    empty = {"account_ref": "", "base_url": "", "enabled": True, "config_json": {}, "display_name": "x"}
    assert after == before | empty | {"updated_at": after["updated_at"]}


async def test_3_6_a_known_secret_keeps_its_value_and_is_marked_as_changed(
    client: AsyncClient, base: str, db: Database
) -> None:
    secret = {"provider_code": "openai", "secret_name": "api_key"}
    await client.post(f"{base}/secrets", json=secret | {"secret_value": "sk-1"})

    async def stored() -> tuple[str, object]:
        async with db.transaction() as session:
            row = (await session.execute(text("SELECT secret_value, updated_at FROM project_secrets"))).one()
            return row.secret_value, row.updated_at

    before = await stored()
    await imported(client, base, {"secrets": [secret | {"secret_value": "other"}]})
    after = await stored()

    assert after[0] == before[0]
    assert after[1] > before[1]


async def test_3_7_statuses_and_keys_are_shown_as_they_are(
    client: AsyncClient, base: str, db: Database
) -> None:
    async with db.transaction() as session:
        project = await get_project(session, base.rpartition("/")[2])
        run = Run(project_id=project.id, run_mode="run", status="ok")
        session.add(run)
        await session.flush()
        job = RunJob(run_id=run.id, ordinal=0, job_key="style_1_a", status="completed")
        session.add(job)
        await session.flush()
        session.add(RunCandidate(job_id=job.id, candidate_index=1, status="accepted"))

    (shown,) = (await client.get(f"{base}/runs/{run.id}/jobs")).json()["jobs"]

    assert (shown["status"], shown["candidates"][0]["status"]) == ("completed", "accepted")
    assert shown.keys() >= {
        "id", "run_id", "job_key", "status", "prompt_text", "selected_candidate_index", "final_asset_id",
        "final_output", "meta_json", "created_at", "candidates",
    }  # fmt: skip
    assert shown["candidates"][0].keys() >= {
        "id", "job_id", "candidate_index", "status", "output_asset_id", "final_asset_id", "output_path",
        "final_output_path", "rank_hard_failures", "rank_soft_warnings", "rank_avg_chroma_exceed",
        "meta_json", "created_at",
    }  # fmt: skip


@pytest.mark.usefixtures("root")
async def test_3_8_a_trigger_is_not_audited(client: AsyncClient, base: str) -> None:
    assert (await client.post(f"{base}/runs/trigger", json={"input": "scenes"})).status_code == 202

    events = (await client.get(f"{base}/audit-events")).json()["audit_events"]
    assert [event["event_code"] for event in events] == ["project.upsert"]


async def test_3_10_and_3_11_rows_show_their_keys(client: AsyncClient, base: str, db: Database) -> None:
    async with db.transaction() as session:
        project = await get_project(session, base.rpartition("/")[2])
        session.add_all(
            [
                Asset(project_id=project.id, kind="input", storage_uri="file:///a.png", rel_path="a.png"),
                QualityReport(project_id=project.id, report_type="human_review"),
                CostEvent(project_id=project.id, provider_code="x", event_type="run_total", job_id="nothing"),
            ]
        )

    (asset,) = (await client.get(f"{base}/assets")).json()["assets"]
    (report,) = (await client.get(f"{base}/quality-reports")).json()["quality_reports"]
    (event,) = (await client.get(f"{base}/cost-events")).json()["cost_events"]

    assert asset.keys() >= {
        "id", "project_id", "kind", "asset_kind", "storage_uri", "rel_path", "storage_backend", "mime_type",
        "width", "height", "sha256", "run_id", "job_id", "candidate_id", "metadata_json", "created_at",
    }  # fmt: skip
    assert report.keys() >= {
        "id", "project_id", "run_id", "asset_id", "report_type", "grade", "hard_failures", "soft_warnings",
        "avg_chroma_exceed", "summary_json", "created_at",
    }  # fmt: skip
    assert event.keys() >= {
        "id", "project_id", "run_id", "job_id", "provider_code", "model_name", "event_type", "units",
        "unit_cost_usd", "total_cost_usd", "currency", "meta_json", "created_at",
    }  # fmt: skip
    assert (report["report_type"], event["event_type"], event["job_id"]) == (
        "human_review",
        "run_total",
        "nothing",
    )


async def test_3_13_an_address_is_stored_whatever_it_is(client: AsyncClient, base: str) -> None:
    for address in ("no address", "http://127.0.0.1:1", "ftp://x"):
        body = {"provider_code": "Free Text", "base_url": f" {address} "}
        account = (await client.post(f"{base}/provider-accounts", json=body)).json()["provider_account"]
        assert (account["provider_code"], account["base_url"]) == ("free_text", address)
    changed = await client.put(
        f"{base}/provider-accounts/Free%20Text", json={"base_url": "?", "enabled": False}
    )
    assert changed.json()["provider_account"]["base_url"] == "?"


async def test_3_16_a_content_is_never_followed_and_an_item_may_change_to_the_other_kind(
    client: AsyncClient, base: str
) -> None:
    made = (await client.post(f"{base}/reference-sets", json={"name": "Faces"})).json()["reference_set"]
    items = f"{base}/reference-sets/{made['id']}/items"
    uri = {"label": "a", "content_uri": "file:///etc/passwd"}
    item = (await client.post(items, json=uri)).json()["item"]

    changed = await client.put(f"{items}/{item['id']}", json={"content_uri": "", "content_text": "red hair"})

    assert (item["content_uri"], item["content_text"]) == ("file:///etc/passwd", "")
    shown = changed.json()["item"]
    assert (shown["content_uri"], shown["content_text"]) == ("", "red hair")


async def test_3_17_a_blank_content_is_judged_before_the_session_is_looked_up(
    client: AsyncClient, base: str
) -> None:
    reply = await client.post(f"{base}/chat/sessions/x/messages", json={"role": "user", "content": " \n"})

    assert (reply.status_code, reply.json()["error"]) == (400, "Field 'content' is required")


async def test_3_18_confirming_again_after_it_ran_clears_when_it_was_canceled(
    client: AsyncClient, base: str, db: Database
) -> None:
    instructions = f"{base}/agent/instructions"
    made = (await client.post(instructions, json={"instruction_text": "x"})).json()["instruction"]
    async with db.transaction() as session:
        await session.execute(text("UPDATE agent_instructions SET status = 'failed', canceled_at = now()"))

    reply = (await client.post(f"{instructions}/{made['id']}/confirm", json={})).json()["instruction"]

    assert (reply["status"], reply["canceled_at"]) == ("confirmed", "")
    assert reply["confirmed_at"] != ""
