"""Contract 3.6: importing settings."""

import asyncio
import json
from typing import Any

import pytest
from httpx import AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from kroma.db.engine import Database
from kroma.tables import metadata
from support.harness.documented_api import ClientFactory

ITEMS_TEXT = "Field 'reference_sets[].items' is required (use [] to provide an empty set)"
SECTIONS = (
    "provider_accounts",
    "style_guides",
    "characters",
    "reference_sets",
    "secrets",
    "prompt_templates",
)
STYLE = {"name": "Ink", "instructions": "lines"}
FULL: dict[str, Any] = {
    "project": {"name": " New name ", "description": " About "},
    "provider_accounts": [{"provider_code": " OpenAI "}],
    "style_guides": [{"name": " Ink ", "instructions": " lines ", "notes": " n "}],
    "characters": [{"name": "Mira", "description": "d"}],
    "reference_sets": [{"name": "Faces", "items": [{"label": " Front ", "content_text": " red "}]}],
    "secrets": [{"provider_code": "OpenAI", "secret_name": "api_key", "secret_value": "leaked"}],
    "prompt_templates": [{"name": "Wide", "template_text": "{place}"}],
}


@pytest.fixture
def url(slug: str) -> str:
    return f"/api/projects/{slug}/bootstrap-import"


async def send(client: AsyncClient, url: str, given: object, **more: object) -> dict[str, Any]:
    response = await client.post(url, json={"settings": given, **more})
    assert response.status_code == 200, response.text
    return response.json()


async def report(client: AsyncClient, url: str, given: object, **more: object) -> dict[str, Any]:
    return (await send(client, url, given, **more))["bootstrap_import"]


def refusal(response: Response) -> tuple[int, str]:
    assert response.json()["error_code"] in {"validation_error", "not_found"}
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    ("element", "status"),
    [pytest.param({"name": 1}, 422, id="wrong types"), pytest.param({}, 400, id="broken rules")],
)
@pytest.mark.parametrize("is_text", [False, True])
async def test_an_answer_tells_10_000_problems_and_no_more(
    client: AsyncClient, url: str, element: dict[str, Any], status: int, *, is_text: bool
) -> None:
    given = {"style_guides": [element] * 12_000}
    body = {"ai_response_text": json.dumps(given)} if is_text else {"settings": given}
    response = await client.post(url, json=body | {"dry_run": True})

    assert response.status_code == (400 if is_text else status)
    problems = response.json()["errors"]
    assert len(problems) == 10_000
    assert response.json()["error"] == problems[0]["message"]


async def test_a_report_warns_of_10_000_duplicates_and_no_more(client: AsyncClient, url: str) -> None:
    found = await report(client, url, {"style_guides": [STYLE] * 12_000}, dry_run=True)

    assert len(found["warnings"]) == 10_000
    assert found["applied"]["style_guides"] == 1


async def listed(client: AsyncClient, url: str, section: str) -> list[dict[str, Any]]:
    path = url.replace("bootstrap-import", section.replace("_", "-"))
    return (await client.get(path)).json()[section]


async def exported(client: AsyncClient, url: str) -> dict[str, Any]:
    path = url.replace("bootstrap-import", "bootstrap-prompt")
    return (await client.get(path)).json()["bootstrap"]


async def contents(db: Database) -> dict[str, list[str]]:
    """Every row of every table."""
    async with db.transaction() as session:
        return {
            table: list(
                await session.scalars(text(f'SELECT t::text FROM "{table}" t ORDER BY 1'))  # noqa: S608 - our own tables
            )
            for table in metadata.tables
        }


def counts(changes: dict[str, Any], *names: str) -> list[int]:
    return [changes[name] for name in names]


@pytest.mark.parametrize("body", [{}, {"settings": None}, {"mode": "merge", "ai_response_text": None}])
async def test_a_source_of_settings_is_needed_first(client: AsyncClient, body: dict[str, Any]) -> None:
    response = await client.post("/api/projects/missing/bootstrap-import", json=body)
    assert refusal(response) == (400, "Provide either 'settings' or 'ai_response_text'")


async def test_a_blank_text_is_refused(client: AsyncClient, url: str) -> None:
    response = await client.post(url, json={"ai_response_text": " \n "})
    assert refusal(response) == (400, "Field 'ai_response_text' must not be empty")


async def test_a_text_without_json_is_refused(client: AsyncClient, url: str) -> None:
    assert (await client.post(url, json={"ai_response_text": "sorry {}{", "mode": "no"})).status_code == 400


async def test_settings_win_over_the_text(client: AsyncClient, url: str) -> None:
    answer = await report(client, url, {"characters": []}, ai_response_text="no JSON")
    assert answer["changes"]["characters"]["provided"]


@pytest.mark.parametrize("mode", ["", " ", "overwrite", "merge,replace"])
async def test_another_mode_is_refused_before_the_sections(client: AsyncClient, url: str, mode: str) -> None:
    response = await client.post(url, json={"mode": mode, "settings": {"style_guides": [{}]}})
    assert refusal(response) == (400, "Field 'mode' must be one of: merge, replace")


async def test_a_mode_is_trimmed_and_of_any_case(client: AsyncClient, url: str) -> None:
    assert (await report(client, url, {"characters": []}, mode=" RePlace "))["mode"] == "replace"


async def test_a_fenced_answer_brings_its_mode(client: AsyncClient, url: str) -> None:
    answer = f"```json\n{json.dumps({'mode': 'replace', 'settings': {'style_guides': [STYLE]}})}\n```"
    own = (await client.post(url, json={"ai_response_text": answer})).json()["bootstrap_import"]
    body = (await client.post(url, json={"ai_response_text": answer, "mode": "merge"})).json()
    assert (own["mode"], own["applied"]["style_guides"]) == ("replace", 1)
    assert body["bootstrap_import"]["mode"] == "merge"


async def test_a_mode_beside_bare_sections_is_ignored(client: AsyncClient, url: str) -> None:
    answer = json.dumps({"mode": "replace", "characters": [{"name": "Mira"}]})
    response = await client.post(url, json={"ai_response_text": answer})
    assert response.json()["bootstrap_import"]["mode"] == "merge"


@pytest.mark.parametrize(
    ("answer", "section", "index", "field"),
    [
        pytest.param({"settings": [1]}, "", None, "settings", id="settings"),
        pytest.param({"mode": 3, "settings": {"characters": []}}, "", None, "mode", id="mode"),
        pytest.param({"settings": {"characters": {}}}, "characters", None, "", id="section"),
        pytest.param({"settings": {"characters": [{"name": "a"}, 5]}}, "characters", 1, "", id="element"),
        pytest.param({"settings": {"style_guides": [{"name": 1}]}}, "style_guides", 0, "name", id="field"),
        pytest.param({"style_guides": [{"name": None}]}, "style_guides", 0, "name", id="bare"),
        pytest.param(
            {"settings": {"reference_sets": [{"name": "s", "items": [{"label": "a"}, {"sort_order": "1"}]}]}},
            "reference_sets",
            0,
            "items[1].sort_order",
            id="item",
        ),
    ],
)
async def test_a_wrong_type_in_an_answer_is_named(
    *, client: AsyncClient, url: str, answer: object, section: str, index: int | None, field: str
) -> None:
    response = await client.post(url, json={"ai_response_text": json.dumps(answer)})
    first = response.json()["errors"][0]
    assert response.status_code == 400
    assert (first["section"], first["index"], first["field"]) == (section, index, field)
    assert response.json()["error"] == first["message"]


async def test_a_wrong_wrapper_with_bare_sections_counts_as_bare(client: AsyncClient, url: str) -> None:
    answer = json.dumps({"settings": "see below", "characters": [{"name": "Mira"}]})
    response = await client.post(url, json={"ai_response_text": answer})
    assert response.json()["bootstrap_import"]["applied"]["characters"] == 1


@pytest.mark.parametrize("given", [{"style_guides": {}}, {"style_guides": [{"name": 1}]}, [], "text"])
async def test_a_wrong_type_in_structured_settings_is_a_wrong_shape(
    client: AsyncClient, url: str, given: object
) -> None:
    response = await client.post(url, json={"settings": given})
    assert response.status_code == 422
    assert response.json()["error"] == response.json()["errors"][0]["message"]


async def test_every_wrong_type_in_a_body_is_named(client: AsyncClient, url: str) -> None:
    settings = {
        "characters": [{"name": None}, "Mira", {"name": "ok"}],
        "reference_sets": [{"name": "s", "items": [{"label": 1}, {"label": "x", "sort_order": 2**40}]}],
        "prompt_templates": {},
    }
    response = await client.post(url, json={"dry_run": "yes", "settings": settings})
    assert response.status_code == 422
    assert response.json()["error"] == "Field 'dry_run': Expected bool | null, got str"
    assert [(p["section"], p["index"], p["field"]) for p in response.json()["errors"]] == [
        ("", None, "dry_run"),
        ("characters", 0, "name"),
        ("characters", 1, ""),
        ("reference_sets", 0, "items[0].label"),
        ("reference_sets", 0, "items[1].sort_order"),
        ("prompt_templates", None, ""),
    ]


async def test_a_body_that_is_no_object_has_no_list_of_problems(client: AsyncClient, url: str) -> None:
    response = await client.post(url, json=[])
    assert response.status_code == 422
    assert "errors" not in response.json()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"project": {"name": " "}}, "Field 'project.name' is required"),
        ({"provider_accounts": [{}]}, "Field 'provider_code' is required"),
        ({"provider_accounts": [{"provider_code": "___"}]}, "Field 'provider_code' is required"),
        ({"style_guides": [{"instructions": "x"}]}, "Field 'style_guides[].name' is required"),
        ({"style_guides": [{"name": "x"}]}, "Field 'style_guides[].instructions' is required"),
        ({"characters": [{"name": ""}]}, "Field 'characters[].name' is required"),
        ({"reference_sets": [{"items": []}]}, "Field 'reference_sets[].name' is required"),
        ({"reference_sets": [{"name": "s"}]}, ITEMS_TEXT),
        ({"reference_sets": [{"name": "s", "items": None}]}, ITEMS_TEXT),
        (
            {"reference_sets": [{"name": "s", "items": [{"content_text": "x"}]}]},
            "Field 'reference_sets[].items[].label' is required",
        ),
        (
            {"reference_sets": [{"name": "s", "items": [{"label": "x", "content_uri": " "}]}]},
            "Provide at least one of: content_uri, content_text",
        ),
        ({"secrets": [{"secret_name": "x"}]}, "Field 'provider_code' is required"),
        ({"secrets": [{"provider_code": "x"}]}, "Field 'secrets[].secret_name' is required"),
        ({"prompt_templates": [{"template_text": "x"}]}, "Field 'prompt_templates[].name' is required"),
        ({"prompt_templates": [{"name": "x"}]}, "Field 'prompt_templates[].template_text' is required"),
        (
            {"characters": [{"name": "x" * 201}]},
            "Field 'characters[].name' must be at most 200 characters",
        ),
    ],
)
@pytest.mark.parametrize("pasted", [False, True])
async def test_a_rule_of_a_section_holds_before_the_project_is_looked_up(
    *, client: AsyncClient, given: dict[str, Any], error: str, pasted: bool
) -> None:
    body = {"ai_response_text": json.dumps(given)} if pasted else {"settings": given}
    response = await client.post("/api/projects/missing/bootstrap-import", json=body)
    assert refusal(response) == (400, error)
    assert response.json()["errors"][0]["message"] == error


async def test_all_problems_are_listed_in_the_order_of_the_checks(client: AsyncClient, url: str) -> None:
    given = {
        "prompt_templates": [{"name": "ok", "template_text": "x"}, {}],
        "style_guides": [STYLE, {"name": ""}],
        "reference_sets": [{"name": "s", "items": [{"label": "a", "content_text": "b"}, {"label": "x"}]}],
    }
    response = await client.post(url, json={"settings": given})
    found = [(p["section"], p["index"], p["field"]) for p in response.json()["errors"]]
    assert found == [
        ("style_guides", 1, "name"),
        ("style_guides", 1, "instructions"),
        ("reference_sets", 0, "items[1]"),
        ("prompt_templates", 1, "name"),
        ("prompt_templates", 1, "template_text"),
    ]


@pytest.mark.parametrize("value", ["a\0b", {"k": ["\0"]}, {"\0": 1}])
async def test_a_nul_in_an_answer_is_refused(client: AsyncClient, url: str, value: object) -> None:
    account = {"provider_code": "x", "config_json": value}
    response = await client.post(url, json={"ai_response_text": json.dumps({"provider_accounts": [account]})})
    assert refusal(response)[0] == 400
    assert "config_json" in response.json()["error"]


@pytest.mark.parametrize("given", [{}, {"unknown": []}, {"characters": None}])
async def test_a_section_is_needed(client: AsyncClient, given: dict[str, Any]) -> None:
    response = await client.post("/api/projects/missing/bootstrap-import", json={"settings": given})
    assert refusal(response)[0] == 400


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_unknown_project_is_not_found(*, client: AsyncClient, dry_run: bool) -> None:
    body = {"settings": {"characters": []}, "dry_run": dry_run}
    response = await client.post("/api/projects/missing/bootstrap-import", json=body)
    assert refusal(response) == (404, "Project not found")


async def test_an_import_fills_an_empty_project(client: AsyncClient, url: str) -> None:
    answer = await send(client, url, FULL)
    done = answer["bootstrap_import"]
    assert answer.keys() == {"ok", "bootstrap_import", "import_id", "audit_id"}
    assert (done["schema_version"], done["mode"], done["dry_run"]) == ("kroma.bootstrap.v1", "merge", False)
    assert done["applied"] == dict.fromkeys(SECTIONS, 1)
    assert done["changes"]["project"] == {
        "provided": True,
        "updated": True,
        "name_changed": True,
        "description_changed": True,
    }
    assert all(
        done["changes"][name]
        == {
            "provided": True,
            "replaced": False,
            "before_count": 0,
            "after_count": 1,
            "created": 1,
            "updated": 0,
            "deleted": 0,
            "unchanged": 0,
        }
        for name in SECTIONS
    )
    assert (done["project"]["name"], done["project"]["description"]) == ("New name", "About")
    assert done["settings"]["secrets"] == [
        {"provider_code": "openai", "secret_name": "api_key", "has_value": False}
    ]
    assert done["settings"]["provider_accounts"][0]["display_name"] == "openai"
    for section in ("provider_accounts", "style_guides", "characters", "prompt_templates"):
        assert await listed(client, url, section) == done["settings"][section]
    again = await report(client, url, FULL)
    assert [again["changes"][name]["unchanged"] for name in SECTIONS] == [1] * 6
    assert again["project_updated"] is False


async def test_a_merge_overwrites_whole_rows_and_keeps_others(client: AsyncClient, url: str) -> None:
    await send(client, url, {"style_guides": [STYLE | {"notes": "n"}, STYLE | {"name": "Other"}]})
    before = {row["name"]: row for row in await listed(client, url, "style_guides")}
    done = await report(client, url, {"style_guides": [STYLE]})
    after = {row["name"]: row for row in done["settings"]["style_guides"]}
    assert counts(done["changes"]["style_guides"], "updated", "unchanged", "deleted") == [1, 1, 0]
    assert (after["Ink"]["id"], after["Ink"]["notes"]) == (before["Ink"]["id"], "")
    assert after["Other"] == before["Other"]


@pytest.mark.parametrize("section", ["style_guides", "characters", "reference_sets", "prompt_templates"])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_name_in_another_case_means_the_single_stored_one(
    *, client: AsyncClient, url: str, section: str, dry_run: bool
) -> None:
    element = FULL[section][0]
    await send(client, url, {section: [element | {"name": "hero"}]})
    done = await report(client, url, {section: [element | {"name": "HERO"}]}, dry_run=dry_run)
    assert counts(done["changes"][section], "created", "updated", "after_count") == [0, 1, 1]
    assert [row["name"] for row in done["settings"][section]] == ["HERO"]


async def test_a_replacement_deletes_what_is_not_listed(client: AsyncClient, url: str) -> None:
    await send(client, url, FULL)
    before = (await listed(client, url, "style_guides"))[0]
    done = await report(
        client, url, {"style_guides": [FULL["style_guides"][0]], "characters": []}, mode="replace"
    )
    assert counts(done["changes"]["style_guides"], "replaced", "unchanged", "deleted") == [True, 1, 0]
    assert done["settings"]["style_guides"][0]["id"] != before["id"]
    assert counts(done["changes"]["characters"], "deleted", "after_count") == [1, 0]
    assert await listed(client, url, "characters") == []
    untouched = done["changes"]["prompt_templates"]
    assert counts(untouched, "provided", "replaced", "unchanged", "deleted") == [False, False, 1, 0]


async def test_replacing_one_provider_with_itself_updates_it(client: AsyncClient, url: str) -> None:
    await send(client, url, {"provider_accounts": [{"provider_code": "openai"}]})
    given = {"provider_accounts": [{"provider_code": "openai", "display_name": "New"}]}
    changes = (await report(client, url, given, mode="replace"))["changes"]["provider_accounts"]
    assert counts(changes, "updated", "deleted") == [1, 0]


async def test_replacing_one_set_with_another_creates_and_deletes(client: AsyncClient, url: str) -> None:
    await send(client, url, {"reference_sets": [{"name": "Legacy References", "items": []}]})
    given = {"reference_sets": [{"name": "Hero Faces", "items": []}]}
    changes = (await report(client, url, given, mode="replace"))["changes"]["reference_sets"]
    assert counts(changes, "created", "deleted") == [1, 1]


async def test_secrets_are_merged_in_both_modes(client: AsyncClient, url: str) -> None:
    secret = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "sk-123"}
    await client.post(url.replace("bootstrap-import", "secrets"), json=secret)
    given = {"secrets": [{"provider_code": "anthropic", "secret_name": "api_key"}]}
    answer = await client.post(url, json={"settings": given, "mode": "replace"})
    changes = answer.json()["bootstrap_import"]["changes"]["secrets"]
    assert counts(changes, "created", "deleted", "replaced") == [1, 0, False]
    stored = [(row["provider_code"], row["has_value"]) for row in await listed(client, url, "secrets")]
    assert stored == [("anthropic", False), ("openai", True)]
    assert "sk-123" not in answer.text


async def test_a_dry_run_previews_and_changes_nothing(client: AsyncClient, url: str, db: Database) -> None:
    await send(client, url, {"style_guides": [STYLE | {"name": "Existing Style"}]})
    before = await contents(db)
    answer = await send(
        client,
        url,
        FULL | {"style_guides": [STYLE | {"name": "b"}, STYLE | {"name": "A"}]},
        mode="replace",
        dry_run=True,
    )
    done = answer["bootstrap_import"]
    assert answer.keys() == {"ok", "bootstrap_import"}
    assert await contents(db) == before
    assert counts(done["changes"]["style_guides"], "created", "deleted", "replaced") == [2, 1, True]
    assert [row["name"] for row in done["settings"]["style_guides"]] == ["A", "b"]
    assert done["settings"]["style_guides"][0]["id"].startswith("preview_style_")
    assert done["settings"]["characters"][0]["id"].startswith("preview_character_")
    assert done["settings"]["prompt_templates"][0]["id"].startswith("preview_prompt_")
    assert done["settings"]["reference_sets"][0]["items"][0].keys() == {
        "label",
        "content_uri",
        "content_text",
        "sort_order",
        "metadata_json",
    }
    assert done["project"]["name"] == "New name"


async def test_a_preview_of_a_replacement_keeps_the_ids_of_matches(client: AsyncClient, url: str) -> None:
    await send(client, url, FULL)
    before = (await listed(client, url, "characters"))[0]
    done = await report(client, url, {"characters": [{"name": "MIRA"}]}, mode="replace", dry_run=True)
    shown = done["settings"]["characters"][0]
    assert (shown["id"], shown["created_at"], shown["name"]) == (before["id"], before["created_at"], "MIRA")


async def test_the_last_of_duplicates_counts_with_a_warning(client: AsyncClient, url: str) -> None:
    given = [STYLE, STYLE | {"name": "Other"}, STYLE | {"name": "INK", "instructions": "last"}]
    done = await report(client, url, {"style_guides": given})
    assert done["applied"]["style_guides"] == 2
    assert [(warning["section"], warning["index"]) for warning in done["warnings"]] == [("style_guides", 0)]
    assert {row["name"]: row["instructions"] for row in done["settings"]["style_guides"]} == {
        "Other": "lines",
        "INK": "last",
    }


def items(*labels: str, **more: object) -> list[dict[str, Any]]:
    return [{"label": label, "content_text": label, **more} for label in labels]


async def test_items_of_equal_order_stay_in_place(client: AsyncClient, url: str) -> None:
    given = {
        "reference_sets": [{"name": "s", "items": [*items("c", "a", "b"), *items("first", sort_order=-1)]}]
    }
    done = await report(client, url, given)
    assert [item["label"] for item in done["settings"]["reference_sets"][0]["items"]] == [
        "first",
        "c",
        "a",
        "b",
    ]
    assert (await exported(client, url))["settings"] == done["settings"]
    for mode in ("merge", "replace"):
        again = await report(client, url, given, mode=mode)
        assert again["changes"]["reference_sets"]["unchanged"] == 1


@pytest.mark.parametrize("mode", ["merge", "replace"])
async def test_an_item_keeps_its_row_when_its_id_is_given(client: AsyncClient, url: str, mode: str) -> None:
    first = await report(client, url, {"reference_sets": [{"name": "s", "items": items("a", "b", "gone")}]})
    a, b, _ = [item["id"] for item in first["settings"]["reference_sets"][0]["items"]]
    given = [
        *items("b2", id=b),
        *items("again", id=b),
        *items("unknown", id="x"),
        *items("n", id=7),
        *items("a"),
    ]
    done = await report(client, url, {"reference_sets": [{"name": "S", "items": given}]}, mode=mode)
    stored = done["settings"]["reference_sets"][0]["items"]
    ids = [item["id"] for item in stored]
    assert [item["label"] for item in stored] == ["b2", "again", "unknown", "n", "a"]
    assert ids[0] == b
    assert len({*ids}) == 5
    assert a not in ids
    assert (await exported(client, url))["settings"] == done["settings"]


async def test_an_item_id_of_another_set_counts_as_absent(client: AsyncClient, url: str) -> None:
    first = await report(client, url, {"reference_sets": [{"name": "s", "items": items("a")}]})
    taken = first["settings"]["reference_sets"][0]["items"][0]["id"]
    await send(client, url, {"reference_sets": [{"name": "t", "items": items("b", id=taken)}]})
    sets = {row["name"]: row["items"] for row in (await exported(client, url))["settings"]["reference_sets"]}
    assert sets["s"][0]["id"] == taken
    assert sets["t"][0]["id"] != taken


async def test_an_import_moves_the_project_and_is_audited(
    client: AsyncClient, url: str, db: Database
) -> None:
    before = await contents(db)
    answer = await send(client, url, {"characters": []}, mode="replace")
    assert (await contents(db))["projects"] != before["projects"]
    events = await listed(client, url, "audit_events")
    assert events[0]["id"] == answer["audit_id"]
    assert (events[0]["event_code"], events[0]["payload_json"]) == (
        "bootstrap.import",
        {"import_id": answer["import_id"], "mode": "replace", "sections": ["characters"]},
    )


async def test_an_undone_import_leaves_everything_as_it_was(client: AsyncClient, url: str) -> None:
    await send(client, url, FULL)
    before = await exported(client, url)
    given = FULL | {
        "project": {"name": "Other"},
        "style_guides": [STYLE | {"name": "New"}],
        "secrets": [{"provider_code": "x", "secret_name": "y"}],
        "reference_sets": [{"name": "Faces", "items": items("new")}],
    }
    answer = await send(client, url, given, mode="replace")
    undone = await client.post(f"{url}/{answer['import_id']}/undo")
    after = await exported(client, url)
    assert undone.status_code == 200, undone.text
    assert undone.json()["bootstrap_undo"]["settings"] == after["settings"] == before["settings"]
    assert after["project"] == before["project"]
    assert (await listed(client, url, "audit_events"))[0]["event_code"] == "bootstrap.undo"
    second = await client.post(f"{url}/{answer['import_id']}/undo")
    assert refusal(second) == (400, "Bootstrap import is already undone")


async def test_imports_are_undone_one_after_the_other(client: AsyncClient, url: str) -> None:
    first = await send(client, url, FULL)
    second = await send(client, url, FULL, mode="replace")
    early = await client.post(f"{url}/{first['import_id']}/undo")
    assert early.status_code == 400
    assert (await client.post(f"{url}/{second['import_id']}/undo")).status_code == 200
    assert (await client.post(f"{url}/{first['import_id']}/undo")).status_code == 200
    assert not any((await exported(client, url))["settings"].values())


@pytest.mark.parametrize("section", ["project", "style_guides", "items", "provider_accounts"])
async def test_a_touched_section_that_changed_since_cannot_be_undone(
    client: AsyncClient, url: str, section: str
) -> None:
    answer = await send(client, url, FULL)
    base = url.removesuffix("/bootstrap-import")
    match section:
        case "project":
            await client.post("/api/projects", json={"name": "Renamed", "slug": "comic"})
        case "style_guides":
            row = (await listed(client, url, section))[0]
            await client.put(f"{base}/style-guides/{row['id']}", json={"name": row["name"]})
        case "items":
            row = (await listed(client, url, "reference_sets"))[0]
            await client.post(f"{base}/reference-sets/{row['id']}/items", json=items("x")[0])
        case _:
            await client.delete(f"{base}/provider-accounts/openai")
    response = await client.post(f"{url}/{answer['import_id']}/undo")
    named = {"items": "reference_sets"}.get(section, section)
    assert refusal(response) == (400, f"Bootstrap import cannot be undone; changed since: {named}")


async def test_a_change_of_an_untouched_section_stays(client: AsyncClient, url: str) -> None:
    answer = await send(client, url, {"characters": [{"name": "Mira"}]})
    await client.post(url.replace("bootstrap-import", "style-guides"), json=STYLE)
    assert (await client.post(f"{url}/{answer['import_id']}/undo")).status_code == 200
    assert len(await listed(client, url, "style_guides")) == 1
    assert await listed(client, url, "characters") == []


async def test_a_secret_that_got_its_value_stays(client: AsyncClient, url: str) -> None:
    names = [{"provider_code": "a", "secret_name": "k"}, {"provider_code": "b", "secret_name": "k"}]
    answer = await send(client, url, {"secrets": names})
    await client.post(url.replace("bootstrap-import", "secrets"), json=names[0] | {"secret_value": "v"})
    assert (await client.post(f"{url}/{answer['import_id']}/undo")).status_code == 200
    assert [(row["provider_code"], row["has_value"]) for row in await listed(client, url, "secrets")] == [
        ("a", True)
    ]


@pytest.mark.parametrize("location", ["import", "unknown import", "project", "other project"])
async def test_an_unknown_import_is_not_found(client: AsyncClient, url: str, location: str) -> None:
    answer = await send(client, url, FULL)
    await client.post("/api/projects", json={"name": "Other"})
    path = f"{url}/{answer['import_id']}/undo"
    path = {
        "import": f"{url}/x/undo",
        "unknown import": f"{url}/0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f/undo",
        "project": path.replace("comic", "missing"),
        "other project": path.replace("comic", "other"),
    }[location]
    assert refusal(await client.post(path)) == (404, "Bootstrap import not found")


async def test_a_failed_import_leaves_nothing(client: AsyncClient, url: str, db: Database) -> None:
    before = await contents(db)
    async with db.transaction() as session:
        await session.execute(text("ALTER TABLE prompt_templates ADD CHECK (name <> 'Wide')"))
    response = await client.post(url, json={"settings": FULL})
    assert response.status_code == 500
    assert await contents(db) == before


@pytest.mark.timeout(180)
async def test_parallel_imports_leave_one_of_their_states(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    url = "/api/projects/comic/bootstrap-import"
    bodies = [
        {
            "mode": "replace" if number % 2 else "merge",
            "settings": {
                "style_guides": [STYLE | {"notes": str(number)}],
                "reference_sets": [{"name": "s", "items": items(f"{number}a", f"{number}b")}],
            },
        }
        for number in range(50)
    ]
    responses = await asyncio.gather(*(client.post(url, json=body) for body in bodies))
    stored = (await exported(client, url))["settings"]
    assert [response.status_code for response in responses] == [200] * 50
    number = stored["style_guides"][0]["notes"]
    assert [item["label"] for item in stored["reference_sets"][0]["items"]] == [f"{number}a", f"{number}b"]
    assert stored == responses[int(number)].json()["bootstrap_import"]["settings"]


@pytest.mark.timeout(120)
async def test_imports_beside_creations_of_the_same_names_never_fail(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    url = "/api/projects/comic/bootstrap-import"
    names = [f"Style {number}" for number in range(15)]
    given = {"style_guides": [STYLE | {"name": name} for name in names]}
    creations = [
        client.post("/api/projects/comic/style-guides", json=STYLE | {"name": name}) for name in names
    ]
    imports = [client.post(url, json={"settings": given}) for _ in range(3)]
    responses = await asyncio.gather(*imports, *creations)
    assert [response.status_code for response in responses[:3]] == [200] * 3
    assert {response.status_code for response in responses[3:]} <= {200, 400}
    assert len(await listed(client, url, "style_guides")) == 15


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
OPTIONAL = st.just("") | WORDS
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)


def named(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({"name": WORDS, **fields}), max_size=4)


IMPORTS = st.fixed_dictionaries(
    {
        "provider_accounts": st.lists(
            st.fixed_dictionaries(
                {
                    "provider_code": st.from_regex("[a-z0-9-]{1,6}", fullmatch=True),
                    "display_name": OPTIONAL,
                    "enabled": st.booleans(),
                    "config_json": VALUES,
                }
            ),
            max_size=3,
        ),
        "style_guides": named(instructions=WORDS, notes=OPTIONAL),
        "characters": named(description=OPTIONAL, prompt_text=OPTIONAL),
        "prompt_templates": named(template_text=WORDS),
        "reference_sets": named(
            description=OPTIONAL,
            items=st.lists(
                st.fixed_dictionaries(
                    {
                        "label": WORDS,
                        "content_text": WORDS,
                        "sort_order": st.integers(-2, 2),
                        "metadata_json": VALUES,
                    }
                ),
                max_size=5,
            ),
        ),
        "secrets": st.just([{"provider_code": "openai", "secret_name": "api_key"}]),
    }
)


def without_identity(shown: dict[str, Any]) -> dict[str, Any]:
    """Settings without stamps, and without the ids that a replacement gives anew."""
    passing = {"id", "created_at", "updated_at"}
    return {
        section: [
            {key: value for key, value in row.items() if section == "reference_sets" or key not in passing}
            for row in rows
        ]
        for section, rows in shown.items()
    }


@pytest.mark.timeout(120)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=IMPORTS)
async def test_what_is_exported_and_imported_again_is_the_same(
    client: AsyncClient, url: str, drawn: dict[str, Any]
) -> None:
    await send(client, url, drawn, mode="replace")
    first = (await exported(client, url))["settings"]
    again = await report(client, url, first, mode="replace")
    second = (await exported(client, url))["settings"]
    assert without_identity(second) == without_identity(first)
    assert again["settings"] == second
    assert all(
        counts(again["changes"][name], "created", "updated", "deleted") == [0, 0, 0] for name in SECTIONS
    )
