"""Contract 3.10, links."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from support.harness.documented_api import ClientFactory

UNKNOWN_ID = "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"
TYPES = "Field 'link_type' must be one of: derived_from, variant_of, mask_for, reference_of"
DIFFER = "parent_asset_id and child_asset_id must differ"
NOT_FOUND = (404, "Asset link not found")


async def add_assets(db: Database, slug: str, count: int = 3) -> list[str]:
    async with db.transaction() as session:
        project = await get_project(session, slug)
        assets = [
            Asset(
                project_id=project.id,
                kind="candidate_output",
                storage_uri=f"file:///{n}.png",
                rel_path=f"{n}.png",
            )
            for n in range(count)
        ]
        session.add_all(assets)
        await session.flush()
        return [str(asset.id) for asset in assets]


@pytest.fixture
async def assets(db: Database, slug: str) -> list[str]:
    """Ids of three assets of the project."""
    return await add_assets(db, slug)


@pytest.fixture
def path(slug: str) -> str:
    return f"/api/projects/{slug}/asset-links"


async def create(client: AsyncClient, path: str, parent: str, child: str, **fields: object) -> dict[str, Any]:
    body = {"parent_asset_id": parent, "child_asset_id": child, **fields}
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()["asset_link"]


async def test_a_new_project_has_none(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).json() == {"ok": True, "count": 0, "next": None, "asset_links": []}


async def test_a_link_is_derived_from_by_default_and_shown_in_detail_and_list(
    client: AsyncClient, path: str, assets: list[str]
) -> None:
    body = {"parent_asset_id": f" {assets[0]} ", "child_asset_id": assets[1], "link_type": None}
    response = await client.post(path, json=body)
    link = response.json()["asset_link"]
    project = (await client.get("/api/projects/comic")).json()["project"]

    assert response.json().keys() == {"ok", "asset_link"}
    assert link | dict.fromkeys(("id", "created_at", "updated_at")) == {
        "id": None,
        "project_id": project["id"],
        "parent_asset_id": assets[0],
        "child_asset_id": assets[1],
        "link_type": "derived_from",
        "created_at": None,
        "updated_at": None,
    }
    assert (await client.get(f"{path}/{link['id']}")).json() == {"ok": True, "asset_link": link}
    assert (await client.get(path)).json() == {"ok": True, "count": 1, "next": None, "asset_links": [link]}


@pytest.mark.parametrize(
    "link_type", ["derived_from", "variant_of", "mask_for", "reference_of", " Mask_For "]
)
async def test_a_type_is_trimmed_and_lower_cased(
    client: AsyncClient, path: str, assets: list[str], link_type: str
) -> None:
    link = await create(client, path, assets[0], assets[1], link_type=link_type)

    assert link["link_type"] == link_type.strip().lower()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({"child_asset_id": " "}, "Field 'parent_asset_id' is required", id="parent"),
        pytest.param({"parent_asset_id": "a"}, "Field 'child_asset_id' is required", id="child"),
        pytest.param(
            {"parent_asset_id": "a", "child_asset_id": " a ", "link_type": "no"}, DIFFER, id="must differ"
        ),
        pytest.param(
            {"parent_asset_id": "a", "child_asset_id": "b", "link_type": " "},
            "Field 'link_type' is required",
            id="blank type",
        ),
        pytest.param(
            {"parent_asset_id": "a", "child_asset_id": "b", "link_type": "copy_of"}, TYPES, id="unknown type"
        ),
    ],
)
async def test_a_creations_fields_are_judged_in_order_before_any_lookup(
    client: AsyncClient, body: dict[str, str], text: str
) -> None:
    response = await client.post("/api/projects/missing/asset-links", json=body)

    assert (response.status_code, response.json()["error"]) == (400, text)
    assert response.json()["error_code"] == "validation_error"


async def test_a_creation_looks_for_the_project_before_the_assets(client: AsyncClient) -> None:
    body = {"parent_asset_id": "a", "child_asset_id": "b"}
    response = await client.post("/api/projects/missing/asset-links", json=body)

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize(
    ("parent", "child", "named"),
    [("x", "y", "x"), (UNKNOWN_ID, "y", UNKNOWN_ID), ("own", "y", "y"), ("own", "foreign", "foreign")],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_both_assets_must_be_the_projects(
    *,
    client: AsyncClient,
    db: Database,
    path: str,
    assets: list[str],
    method: str,
    parent: str,
    child: str,
    named: str,
) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    known = {"own": assets[0], "foreign": (await add_assets(db, "other", 1))[0]}
    link = await create(client, path, assets[1], assets[2])
    body = {"parent_asset_id": known.get(parent, parent), "child_asset_id": known.get(child, child)}
    url = f"{path}/{link['id']}" if method == "PUT" else path
    response = await client.request(method, url, json=body)

    assert response.status_code == 400
    assert response.json()["error"] == f"Asset '{known.get(named, named)}' was not found in this project"


async def test_a_link_exists_once_per_type_and_direction(
    client: AsyncClient, path: str, assets: list[str]
) -> None:
    await create(client, path, assets[0], assets[1])
    body = {"parent_asset_id": assets[0], "child_asset_id": assets[1]}
    again = await client.post(path, json=body)
    await create(client, path, assets[0], assets[1], link_type="mask_for")
    await create(client, path, assets[1], assets[0])

    assert (again.status_code, again.json()["error"]) == (400, "Asset link already exists")


@pytest.mark.timeout(120)
async def test_of_50_parallel_creations_of_one_link_one_succeeds(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    parent, child = await add_assets(fresh_db, "comic", 2)
    path = "/api/projects/comic/asset-links"
    body = {"parent_asset_id": parent, "child_asset_id": child}
    responses = await asyncio.gather(*(client.post(path, json=body) for _ in range(50)))

    assert sorted(response.status_code for response in responses) == [200] + [400] * 49
    texts = {response.json()["error"] for response in responses if response.status_code == 400}
    assert texts == {"Asset link already exists"}
    assert (await client.get(path)).json()["count"] == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, {"0-1", "1-2", "0-1 mask"}, id="none"),
        pytest.param({"asset_id": "0"}, {"0-1", "0-1 mask"}, id="as parent"),
        pytest.param({"asset_id": " 1 "}, {"0-1", "1-2", "0-1 mask"}, id="as parent or child, trimmed"),
        pytest.param({"asset_id": "2"}, {"1-2"}, id="as child"),
        pytest.param({"asset_id": " "}, {"0-1", "1-2", "0-1 mask"}, id="a blank asset is ignored"),
        pytest.param({"asset_id": "x"}, set(), id="no id"),
        pytest.param({"asset_id": UNKNOWN_ID}, set(), id="unknown asset"),
        pytest.param({"link_type": " MASK_for "}, {"0-1 mask"}, id="type"),
        pytest.param({"link_type": "variant_of"}, set(), id="a type none has"),
        pytest.param({"asset_id": "2", "link_type": "mask_for"}, set(), id="both"),
    ],
)
async def test_the_list_can_be_one_assets_or_types(
    *, client: AsyncClient, path: str, assets: list[str], query: dict[str, str], expected: set[str]
) -> None:
    links = {
        "0-1": await create(client, path, assets[0], assets[1]),
        "1-2": await create(client, path, assets[1], assets[2]),
        "0-1 mask": await create(client, path, assets[0], assets[1], link_type="mask_for"),
    }
    if query.get("asset_id", "").strip().isdigit():
        number = query["asset_id"].strip()
        query = query | {"asset_id": query["asset_id"].replace(number, assets[int(number)])}
    body = (await client.get(path, params=query)).json()

    ids = {link["id"] for link in body["asset_links"]}
    assert {name for name, link in links.items() if link["id"] in ids} == expected
    assert body["count"] == len(expected)


@pytest.mark.parametrize(
    ("link_type", "text"),
    [("", "Field 'link_type' is required"), (" ", "Field 'link_type' is required"), ("x", TYPES)],
)
async def test_the_lists_type_must_be_known_once_the_project_is(
    client: AsyncClient, path: str, link_type: str, text: str
) -> None:
    response = await client.get(path, params={"link_type": link_type, "asset_id": "x"})
    unknown = await client.get("/api/projects/missing/asset-links", params={"link_type": link_type})

    assert (response.status_code, response.json()["error"]) == (400, text)
    assert (unknown.status_code, unknown.json()["error"]) == (404, "Project not found")


async def test_links_are_listed_by_their_last_change(
    client: AsyncClient, path: str, assets: list[str]
) -> None:
    first = await create(client, path, assets[0], assets[1])
    second = await create(client, path, assets[1], assets[2])
    await client.put(f"{path}/{first['id']}", json={"link_type": "mask_for"})
    listed = (await client.get(path)).json()["asset_links"]

    assert [link["id"] for link in listed] == [first["id"], second["id"]]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("where", ["x", UNKNOWN_ID, "other project", "no project"])
async def test_an_unknown_link_is_not_found_before_fields_are_judged(
    *, client: AsyncClient, path: str, assets: list[str], method: str, where: str
) -> None:
    link = await create(client, path, assets[0], assets[1])
    await client.post("/api/projects", json={"name": "Other"})
    url = {
        "other project": f"/api/projects/other/asset-links/{link['id']}",
        "no project": f"/api/projects/missing/asset-links/{link['id']}",
    }.get(where, f"{path}/{where}")
    response = await client.request(method, url, json={"link_type": ""} if method == "PUT" else None)

    assert (response.status_code, response.json()["error"]) == NOT_FOUND


@pytest.mark.parametrize("body", [{}, {"link_type": None}, {"unknown": 1}])
async def test_a_change_needs_a_field_before_anything_is_looked_up(
    client: AsyncClient, body: dict[str, object]
) -> None:
    response = await client.put("/api/projects/missing/asset-links/x", json=body)

    assert response.status_code == 400
    assert response.json()["error"] == "Provide at least one of: parent_asset_id, child_asset_id, link_type"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(
            {"parent_asset_id": "", "child_asset_id": "", "link_type": ""},
            "Field 'parent_asset_id' is required",
            id="parent blank",
        ),
        pytest.param(
            {"child_asset_id": " ", "link_type": ""}, "Field 'child_asset_id' is required", id="child blank"
        ),
        pytest.param({"parent_asset_id": "1", "link_type": ""}, DIFFER, id="parent is the stored child"),
        pytest.param({"child_asset_id": "0", "link_type": ""}, DIFFER, id="child is the stored parent"),
        pytest.param({"parent_asset_id": "x", "child_asset_id": "x"}, DIFFER, id="both the same"),
        pytest.param(
            {"parent_asset_id": "x", "link_type": ""}, "Field 'link_type' is required", id="no type"
        ),
        pytest.param({"parent_asset_id": "x", "link_type": "copy_of"}, TYPES, id="unknown type"),
    ],
)
async def test_a_changes_fields_are_judged_in_order_after_merging(
    *, client: AsyncClient, path: str, assets: list[str], change: dict[str, str], text: str
) -> None:
    link = await create(client, path, assets[0], assets[1])
    body = {key: assets[int(value)] if value.isdigit() else value for key, value in change.items()}
    response = await client.put(f"{path}/{link['id']}", json=body)

    assert (response.status_code, response.json()["error"]) == (400, text)
    assert (await client.get(f"{path}/{link['id']}")).json()["asset_link"] == link


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"parent_asset_id": "2"}, id="parent"),
        pytest.param({"child_asset_id": "2"}, id="child"),
        pytest.param({"link_type": "variant_of"}, id="type"),
        pytest.param({"parent_asset_id": "1", "child_asset_id": "0"}, id="turned round"),
        pytest.param({"link_type": "derived_from"}, id="nothing new"),
    ],
)
async def test_a_change_sets_the_given_fields_and_keeps_the_rest(
    *, client: AsyncClient, path: str, assets: list[str], change: dict[str, str]
) -> None:
    link = await create(client, path, assets[0], assets[1])
    body = {key: assets[int(value)] if value.isdigit() else value for key, value in change.items()}
    response = await client.put(f"{path}/{link['id']}", json=body)
    changed = response.json()["asset_link"]

    assert response.status_code == 200
    assert changed == link | body | {"updated_at": changed["updated_at"]}
    assert (await client.get(f"{path}/{link['id']}")).json()["asset_link"] == changed


async def test_a_change_cannot_repeat_another_link(client: AsyncClient, path: str, assets: list[str]) -> None:
    await create(client, path, assets[0], assets[1])
    link = await create(client, path, assets[0], assets[2])
    response = await client.put(f"{path}/{link['id']}", json={"child_asset_id": assets[1]})

    assert (response.status_code, response.json()["error"]) == (400, "Asset link already exists")
    assert (await client.get(f"{path}/{link['id']}")).json()["asset_link"] == link


async def test_a_deleted_link_is_gone_and_its_assets_stay(
    client: AsyncClient, path: str, assets: list[str]
) -> None:
    link = await create(client, path, assets[0], assets[1])
    response = await client.delete(f"{path}/{link['id']}")

    assert response.json() == {"ok": True, "deleted": True, "id": link["id"]}
    again = await client.delete(f"{path}/{link['id']}")
    assert (again.status_code, again.json()["error"]) == NOT_FOUND
    assert (await client.get("/api/projects/comic/assets")).json()["count"] == 3
