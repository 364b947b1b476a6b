"""Contract 3.19, with what issue 3 adds."""

import asyncio
import stat
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from httpx import AsyncClient, Response
from sqlalchemy import select, update

from kroma.audit.models import AuditEvent
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.secrets.cipher import SecretLocation, seal
from kroma.secrets.errors import SecretUnreadableError
from kroma.secrets.keyring import Keyring
from kroma.secrets.models import ProjectSecret
from kroma.secrets.service import read_secret
from support.harness.documented_api import ClientFactory

OLD, NEW, LOST = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
BODY = {"provider_code": "OpenAI", "secret_name": "api_key", "secret_value": "sk-1"}
COUNTS = (
    "scanned",
    "rotated",
    "skipped_empty",
    "skipped_current_key_ref",
    "plaintext_reencrypted",
    "unreadable",
)


def with_key(client_with: ClientFactory, key: str, *previous: str, ref: str = "local-master") -> AsyncClient:
    return client_with(
        KROMA_API_AUTH_DEV_BYPASS="1",
        KROMA_MASTER_KEY=key,
        KROMA_MASTER_KEY_PREVIOUS=",".join(previous),
        KROMA_MASTER_KEY_REF=ref,
    )


def keyring(data_dir: Path, **variables: str) -> Keyring:
    return Keyring(Settings.from_environment(variables, data_dir=data_dir).master_key)


def of_the_original(key: str, value: str) -> str:
    nonce = b"n" * 12
    sealed = AESGCM(bytes([{OLD: 1, NEW: 2, LOST: 3}[key]]) * 32).encrypt(nonce, value.encode(), None)
    return "enc:v1:" + urlsafe_b64encode(nonce + sealed).decode()


async def put_row(
    db: Database, slug: str, name: str, stored: str, *, code: str = "openai", key_ref: str = "local-master"
) -> None:
    async with db.transaction() as session:
        project = await get_project(session, slug)
        session.add(
            ProjectSecret(
                project_id=project.id,
                provider_code=code,
                secret_name=name,
                secret_value=stored,
                key_ref=key_ref,
            )
        )


async def stored_row(db: Database, name: str = "api_key") -> ProjectSecret:
    async with db.transaction() as session:
        return (await session.scalars(select(ProjectSecret).where(ProjectSecret.secret_name == name))).one()


async def value_of(db: Database, slug: str, keys: Keyring, name: str = "api_key") -> str | None:
    async with db.transaction() as session:
        project = await get_project(session, slug)
        return await read_secret(
            session, keys, project_id=project.id, provider_code="openai", secret_name=name
        )


async def audits(db: Database, code: str) -> list[dict[str, object]]:
    async with db.transaction() as session:
        events = await session.scalars(select(AuditEvent).where(AuditEvent.event_code == code))
        return [event.payload_json for event in events]


def assert_error(response: Response, status: int, text: str) -> None:
    assert (response.status_code, response.json()["error"]) == (status, text)
    assert response.json()["error_code"] == ("not_found" if status == 404 else "validation_error")


async def test_a_secret_is_stored_sealed_and_shown_without_its_value(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    body = {"provider_code": " OpenAI ", "secret_name": "  Api_Key ", "secret_value": "  sk-1 "}
    response = await client.post(f"/api/projects/{slug}/secrets", json=body)

    assert response.status_code == 200
    view = response.json()["secret"]
    assert (view["provider_code"], view["secret_name"], view["has_value"]) == ("openai", "Api_Key", True)
    assert set(view) == {"project_id", "provider_code", "secret_name", "has_value", "updated_at"}
    row = await stored_row(db, "Api_Key")
    assert row.secret_value.startswith("enc:v2:")
    assert row.key_ref == "local-master"
    assert await value_of(db, slug, keyring(data_dir), "Api_Key") == "sk-1"
    assert await audits(db, "secret.upsert") == [{"provider_code": "openai", "secret_name": "Api_Key"}]


async def test_the_audit_id_is_that_of_the_event(client: AsyncClient, slug: str, db: Database) -> None:
    audit_id = (await client.post(f"/api/projects/{slug}/secrets", json=BODY)).json()["audit_id"]

    async with db.transaction() as session:
        event = await session.get_one(AuditEvent, UUID(audit_id))
    assert event.event_code == "secret.upsert"


async def test_a_stored_secret_is_overwritten(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    for value in ("first", "second"):
        await client.post(f"/api/projects/{slug}/secrets", json={**BODY, "secret_value": value})

    assert (await client.get(f"/api/projects/{slug}/secrets")).json()["count"] == 1
    assert await value_of(db, slug, keyring(data_dir)) == "second"


async def test_names_keep_their_case_and_codes_do_not(client: AsyncClient, slug: str) -> None:
    for code, name in (("A", "key"), ("a", "Key"), (" a", "key")):
        body = {"provider_code": code, "secret_name": name, "secret_value": "x"}
        await client.post(f"/api/projects/{slug}/secrets", json=body)

    rows = (await client.get(f"/api/projects/{slug}/secrets")).json()["secrets"]
    assert [(row["provider_code"], row["secret_name"]) for row in rows] == [("a", "Key"), ("a", "key")]


async def test_secrets_are_listed_by_code_then_name(client: AsyncClient, slug: str) -> None:
    for code, name in (("b", "a"), ("a", "z"), ("a_b", "a"), ("a", "B"), ("a-b", "a")):
        body = {"provider_code": code, "secret_name": name, "secret_value": "x"}
        await client.post(f"/api/projects/{slug}/secrets", json=body)

    response = await client.get(f"/api/projects/{slug}/secrets")
    pairs = [(row["provider_code"], row["secret_name"]) for row in response.json()["secrets"]]
    assert pairs == [("a", "B"), ("a", "z"), ("a-b", "a"), ("a_b", "a"), ("b", "a")]
    assert response.json()["count"] == 5


async def test_a_new_project_has_no_secrets(client: AsyncClient, slug: str) -> None:
    assert (await client.get(f"/api/projects/{slug}/secrets")).json() == {
        "ok": True,
        "count": 0,
        "next": None,
        "secrets": [],
    }


async def test_a_name_without_a_value_has_none(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    await put_row(db, slug, "api_key", "")

    rows = (await client.get(f"/api/projects/{slug}/secrets")).json()["secrets"]
    assert [row["has_value"] for row in rows] == [False]
    assert await value_of(db, slug, keyring(data_dir)) is None
    assert not (data_dir / "var" / "backend").exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "provider_code", id="nothing"),
        pytest.param({"secret_name": "n", "secret_value": "v"}, "provider_code", id="no code"),
        pytest.param(
            {"provider_code": " ", "secret_name": "", "secret_value": ""}, "provider_code", id="all blank"
        ),
        pytest.param({"provider_code": "___", "secret_name": "n"}, "provider_code", id="no code is left"),
        pytest.param({"provider_code": "a"}, "secret_name", id="no name"),
        pytest.param({"provider_code": "a", "secret_name": " \t"}, "secret_name", id="blank name"),
        pytest.param({"provider_code": "a", "secret_name": "n"}, "secret_value", id="no value"),
        pytest.param(
            {"provider_code": "a", "secret_name": "n", "secret_value": " \n "},
            "secret_value",
            id="blank value",
        ),
    ],
)
@pytest.mark.parametrize("project", ["comic", "missing"])
async def test_fields_are_required_in_order_before_the_project(
    client: AsyncClient, slug: str, body: dict[str, str], field: str, project: str
) -> None:
    assert slug == "comic"
    response = await client.post(f"/api/projects/{project}/secrets", json=body)

    assert_error(response, 400, f"Field '{field}' is required")


@pytest.mark.parametrize("field", ["provider_code", "secret_name", "secret_value"])
@pytest.mark.parametrize("value", [None, 1, ["x"]])
async def test_a_value_of_another_type_is_422(
    client: AsyncClient, slug: str, field: str, value: object
) -> None:
    response = await client.post(f"/api/projects/{slug}/secrets", json={**BODY, field: value})

    assert response.status_code == 422


@pytest.mark.parametrize("field", ["provider_code", "secret_name"])
async def test_codes_and_names_have_200_characters_at_most(
    client: AsyncClient, slug: str, field: str
) -> None:
    path = f"/api/projects/{slug}/secrets"
    assert (await client.post(path, json={**BODY, field: "x" * 200})).status_code == 200
    response = await client.post(path, json={**BODY, field: "x" * 201})
    assert_error(response, 400, f"Field '{field}' must be at most 200 characters")


async def test_a_nul_in_a_value_is_refused_by_its_field(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/secrets", json={**BODY, "secret_value": "a\0b"})

    assert_error(response, 400, "Field 'secret_value' must not contain the character U+0000")


async def test_a_value_of_a_megabyte_comes_back_whole(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    value = "\N{PILE OF POO}x" * 200_000
    await client.post(f"/api/projects/{slug}/secrets", json={**BODY, "secret_value": value})

    assert await value_of(db, slug, keyring(data_dir)) == value


@pytest.mark.parametrize(
    ("method", "path", "thing"),
    [
        ("GET", "secrets", "Project"),
        ("GET", "secrets/rotation-status", "Project"),
        ("POST", "secrets", "Project"),
        ("POST", "secrets/rotate", "Project"),
        ("DELETE", "secrets/openai/api_key", "Secret"),
    ],
)
@pytest.mark.parametrize("project", ["missing", "___"])
async def test_an_unknown_project_is_not_found(
    client: AsyncClient, method: str, path: str, thing: str, project: str
) -> None:
    response = await client.request(
        method, f"/api/projects/{project}/{path}", json=BODY if method == "POST" else None
    )

    assert_error(response, 404, f"{thing} not found")


async def test_a_deleted_secret_is_gone_and_named_as_given(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    response = await client.delete(f"/api/projects/{slug}/secrets/OpenAI/api_key")

    assert set(response.json()) == {"ok", "deleted", "audit_id"}
    assert response.json()["deleted"] is True
    assert await audits(db, "secret.delete") == [{"provider_code": "OpenAI", "secret_name": "api_key"}]
    assert_error(await client.delete(f"/api/projects/{slug}/secrets/openai/api_key"), 404, "Secret not found")


async def test_the_name_in_a_path_keeps_its_case_and_is_trimmed(client: AsyncClient, slug: str) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)

    assert_error(await client.delete(f"/api/projects/{slug}/secrets/openai/API_KEY"), 404, "Secret not found")
    assert (await client.delete(f"/api/projects/{slug}/secrets/openai/%20api_key")).status_code == 200


async def test_an_empty_name_in_the_path_is_no_route(client: AsyncClient, slug: str) -> None:
    for path in ("openai/", "openai//", "openai//a", "openai/a/", "/openai/a", "openai%2F/a", "openai/a%2F/"):
        assert (await client.delete(f"/api/projects/{slug}/secrets/{path}")).status_code == 404, path


@pytest.mark.parametrize(
    "name",
    [
        *("a/b", "a b", "a%b", "a?b#c", "schlüssel", "..", "a/../b", "rotation-status"),
        *("/a", "a/", "a//b", "/", "//", "%2F", "/%2f/"),
    ],
)
async def test_a_name_of_any_characters_can_be_deleted(client: AsyncClient, slug: str, name: str) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json={**BODY, "secret_name": name})
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())
    response = await client.delete(f"/api/projects/{slug}/secrets/openai/{encoded}")

    assert response.status_code == 200, response.text
    assert (await client.get(f"/api/projects/{slug}/secrets")).json()["count"] == 0


@pytest.mark.parametrize(("path", "field"), [("___/api_key", "provider_code"), ("openai/%20", "secret_name")])
async def test_the_path_of_a_deletion_is_checked_before_the_project(
    client: AsyncClient, path: str, field: str
) -> None:
    response = await client.delete(f"/api/projects/missing/secrets/{path}")

    assert_error(response, 400, f"Field '{field}' is required")


async def test_another_projects_secret_is_not_found(client: AsyncClient, slug: str) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    await client.post("/api/projects", json={"name": "Other"})

    assert_error(await client.delete("/api/projects/other/secrets/openai/api_key"), 404, "Secret not found")
    assert (await client.get("/api/projects/other/secrets")).json()["count"] == 0
    assert (await client.get(f"/api/projects/{slug}/secrets")).json()["count"] == 1


async def test_the_status_counts_how_values_are_stored_and_which_open(
    client_with: ClientFactory, slug: str, db: Database
) -> None:
    client = with_key(client_with, OLD, ref="b-key")
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    await put_row(db, slug, "original", of_the_original(OLD, "x"))
    await put_row(db, slug, "lost", of_the_original(LOST, "x"), key_ref="a-key")
    await put_row(db, slug, "broken", "enc:v2:not base64!", key_ref="a-key")
    await put_row(db, slug, "clear", "x")
    await put_row(db, slug, "empty", "")
    await put_row(db, slug, "blank", "  ")

    response = await client.get(f"/api/projects/{slug}/secrets/rotation-status")
    assert response.json() == {
        "ok": True,
        "status": {
            "total": 7,
            "encrypted": 4,
            "plaintext": 1,
            "empty": 2,
            "openable": 2,
            "unreadable": 2,
            "key_refs": [
                {"key_ref": "a-key", "count": 2},
                {"key_ref": "b-key", "count": 1},
                {"key_ref": "local-master", "count": 4},
            ],
        },
    }


async def rotated(client: AsyncClient, slug: str, **body: object) -> dict[str, int]:
    response = await client.post(f"/api/projects/{slug}/secrets/rotate", json=body)
    assert response.status_code == 200, response.text
    assert set(response.json()) == {"ok", "rotation", "audit_id"}
    return response.json()["rotation"]


def counts(*numbers: int) -> dict[str, int]:
    return dict(zip(COUNTS, numbers, strict=True))


async def test_a_forced_rotation_seals_anew(client: AsyncClient, slug: str, db: Database) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    before = (await stored_row(db)).secret_value

    assert await rotated(client, slug, force=True) == counts(1, 1, 0, 0, 0, 0)
    assert (await stored_row(db)).secret_value != before
    assert await audits(db, "secret.rotate") == [{"from_key_ref": None, "force": True, "rotated": 1}]


async def test_rows_on_the_current_key_are_skipped(client: AsyncClient, slug: str, db: Database) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    before = (await stored_row(db)).secret_value

    assert await rotated(client, slug) == counts(1, 0, 0, 1, 0, 0)
    assert (await stored_row(db)).secret_value == before


@pytest.mark.parametrize("nothing", [b"", b"{}"])
async def test_a_rotation_needs_no_body_and_nothing_to_do_needs_no_key(
    client: AsyncClient, slug: str, nothing: bytes, data_dir: Path
) -> None:
    headers = {"Content-Type": "application/json"} if nothing else {}
    response = await client.post(f"/api/projects/{slug}/secrets/rotate", content=nothing, headers=headers)

    assert response.json()["rotation"] == counts(0, 0, 0, 0, 0, 0)
    assert not (data_dir / "var" / "backend").exists()


async def test_a_new_key_takes_over_what_a_previous_one_sealed(
    client_with: ClientFactory, slug: str, db: Database, data_dir: Path
) -> None:
    await with_key(client_with, OLD).post(f"/api/projects/{slug}/secrets", json=BODY)
    client = with_key(client_with, NEW, LOST, OLD, ref="k2")

    assert await rotated(client, slug) == counts(1, 1, 0, 0, 0, 0)
    assert (await stored_row(db)).key_ref == "k2"
    assert await value_of(db, slug, keyring(data_dir, KROMA_MASTER_KEY=NEW)) == "sk-1"
    with pytest.raises(SecretUnreadableError):
        await value_of(db, slug, keyring(data_dir, KROMA_MASTER_KEY=OLD))


async def test_a_rotation_binds_values_of_the_original_to_their_place(
    client_with: ClientFactory, slug: str, db: Database, data_dir: Path
) -> None:
    await put_row(db, slug, "api_key", of_the_original(OLD, "sk-old"), key_ref="k1")

    assert await rotated(with_key(client_with, OLD), slug) == counts(1, 1, 0, 0, 0, 0)
    assert (await stored_row(db)).secret_value.startswith("enc:v2:")
    assert await value_of(db, slug, keyring(data_dir, KROMA_MASTER_KEY=OLD)) == "sk-old"


@pytest.mark.parametrize("key_ref", ["local-master", "k1"])
async def test_values_in_the_clear_are_sealed_whatever_key_they_name(
    client: AsyncClient, slug: str, db: Database, data_dir: Path, key_ref: str
) -> None:
    await put_row(db, slug, "api_key", "sk-clear", key_ref=key_ref)

    assert await rotated(client, slug) == counts(1, 1, 0, 0, 1, 0)
    assert (await stored_row(db)).secret_value.startswith("enc:v2:")
    assert await value_of(db, slug, keyring(data_dir)) == "sk-clear"


async def test_blank_values_are_skipped_even_by_force(client: AsyncClient, slug: str, db: Database) -> None:
    await put_row(db, slug, "a", "", key_ref="k1")
    await put_row(db, slug, "b", "  ")

    assert await rotated(client, slug, force=True) == counts(2, 0, 2, 0, 0, 0)
    assert (await stored_row(db, "a")).key_ref == "k1"


async def test_a_rotation_from_one_key_looks_at_its_rows_only(
    client_with: ClientFactory, slug: str, db: Database
) -> None:
    await put_row(db, slug, "a", of_the_original(OLD, "x"), key_ref="k1")
    await put_row(db, slug, "b", of_the_original(OLD, "x"), key_ref="k2")
    client = with_key(client_with, OLD)

    assert await rotated(client, slug, from_key_ref=" k1 ") == counts(1, 1, 0, 0, 0, 0)
    assert (await stored_row(db, "b")).key_ref == "k2"
    assert await audits(db, "secret.rotate") == [{"from_key_ref": "k1", "force": False, "rotated": 1}]


@pytest.mark.parametrize("blank", [None, "", "  "])
async def test_a_blank_key_reference_is_none(
    client_with: ClientFactory, slug: str, db: Database, blank: str | None
) -> None:
    await put_row(db, slug, "a", of_the_original(OLD, "x"), key_ref="k1")

    assert (await rotated(with_key(client_with, OLD), slug, from_key_ref=blank, force=None))["rotated"] == 1
    assert (await audits(db, "secret.rotate"))[0]["from_key_ref"] is None


async def test_rows_that_do_not_open_are_counted_and_left_as_they_are(
    client_with: ClientFactory, slug: str, db: Database, data_dir: Path
) -> None:
    lost = of_the_original(LOST, "x")
    await put_row(db, slug, "lost", lost, key_ref="k1")
    await put_row(db, slug, "good", of_the_original(OLD, "sk-good"), key_ref="k1")

    assert await rotated(with_key(client_with, NEW, OLD), slug) == counts(2, 1, 0, 0, 0, 1)
    row = await stored_row(db, "lost")
    assert (row.secret_value, row.key_ref) == (lost, "k1")
    assert await value_of(db, slug, keyring(data_dir, KROMA_MASTER_KEY=NEW), "good") == "sk-good"


async def test_rows_that_do_not_open_make_no_new_key(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    await put_row(db, slug, "lost", of_the_original(LOST, "x"))

    assert await rotated(client, slug, force=True) == counts(1, 0, 0, 0, 0, 1)
    assert not (data_dir / "var" / "backend").exists()


@pytest.mark.parametrize("body", [{"force": "true"}, {"force": 1}, {"from_key_ref": 1}, []])
async def test_a_rotation_of_the_wrong_shape_is_422(client: AsyncClient, slug: str, body: object) -> None:
    assert (await client.post(f"/api/projects/{slug}/secrets/rotate", json=body)).status_code == 422


async def test_a_value_moved_to_another_place_does_not_open(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    async with db.transaction() as session:
        await session.execute(update(ProjectSecret).values(secret_name="other"))

    with pytest.raises(SecretUnreadableError):
        await value_of(db, slug, keyring(data_dir), "other")


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        pytest.param("sk-clear", "sk-clear", id="in the clear"),
        pytest.param(of_the_original(OLD, "sk-old"), "sk-old", id="of the original"),
        pytest.param(of_the_original(NEW, "sk-new"), "sk-new", id="by the current key"),
        pytest.param(of_the_original(OLD, "  "), None, id="blank when opened"),
        pytest.param("  ", None, id="blank"),
        pytest.param(None, None, id="unknown"),
    ],
)
async def test_a_worker_reads_with_the_current_key_then_the_previous_ones(
    slug: str, db: Database, data_dir: Path, stored: str | None, read: str | None
) -> None:
    if stored is not None:
        await put_row(db, slug, "api_key", stored)
    keys = keyring(data_dir, KROMA_MASTER_KEY=NEW, KROMA_MASTER_KEY_PREVIOUS=f"{LOST}, {OLD}")

    assert await value_of(db, slug, keys) == read


async def test_the_keys_file_is_made_by_the_first_write_and_by_no_read(
    client: AsyncClient, slug: str, data_dir: Path, db: Database
) -> None:
    file = data_dir / "var" / "backend" / "master.key"
    await client.get(f"/api/projects/{slug}/secrets")
    await client.get(f"/api/projects/{slug}/secrets/rotation-status")
    await value_of(db, slug, keyring(data_dir))
    await client.post("/api/projects/missing/secrets", json=BODY)
    assert not file.exists()

    await client.post(f"/api/projects/{slug}/secrets", json=BODY)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) == 44
    assert [path.name for path in file.parent.iterdir()] == ["master.key"]


async def test_a_broken_key_file_is_500_and_changes_nothing(
    client: AsyncClient, slug: str, data_dir: Path, db: Database
) -> None:
    file = data_dir / "var" / "backend" / "master.key"
    file.parent.mkdir(parents=True)
    file.write_text("not a key")
    response = await client.post(f"/api/projects/{slug}/secrets", json=BODY)

    assert (response.status_code, response.json()["error"]) == (500, "Internal server error")
    assert (await client.get(f"/api/projects/{slug}/secrets")).json()["count"] == 0
    assert await audits(db, "secret.upsert") == []


@pytest.mark.timeout(60)
async def test_parallel_upserts_leave_one_row_that_opens(
    client_with: ClientFactory, fresh_db: Database, data_dir: Path
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    responses = await asyncio.gather(
        *(
            client.post("/api/projects/comic/secrets", json={**BODY, "secret_value": f"sk-{number}"})
            for number in range(50)
        )
    )

    assert {response.status_code for response in responses} == {200}
    assert (await client.get("/api/projects/comic/secrets")).json()["count"] == 1
    value = await value_of(fresh_db, "comic", keyring(data_dir))
    assert value in {f"sk-{number}" for number in range(50)}


@pytest.mark.timeout(60)
async def test_a_rotation_loses_no_value_that_is_stored_meanwhile(
    client_with: ClientFactory, fresh_db: Database, data_dir: Path
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    path = "/api/projects/comic/secrets"
    await client.post(path, json=BODY)
    for number in range(10):
        await asyncio.gather(
            client.post(f"{path}/rotate", json={"force": True}),
            client.post(path, json={**BODY, "secret_value": f"sk-{number}"}),
        )
        assert await value_of(fresh_db, "comic", keyring(data_dir)) == f"sk-{number}"


async def test_a_secret_sealed_for_one_project_does_not_open_in_another(
    client: AsyncClient, slug: str, db: Database, data_dir: Path
) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    async with db.transaction() as session:
        other = await get_project(session, "other")
        stored = seal(bytes([1]) * 32, "theirs", SecretLocation(other.id, "openai", "api_key"))
    await put_row(db, slug, "api_key", stored)

    with pytest.raises(SecretUnreadableError):
        await value_of(db, slug, keyring(data_dir, KROMA_MASTER_KEY=OLD))
