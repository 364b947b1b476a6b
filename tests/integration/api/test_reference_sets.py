"""Contract 3.16: items. What sets share with other names is in test_named_resources.py."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select

from kroma.db.engine import Database
from kroma.project_texts.models import ReferenceSet, ReferenceSetItem
from support.harness.documented_api import ClientFactory

UNKNOWN_ID = "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"
NO_CONTENT = "Provide at least one of: content_uri, content_text"
NO_FIELD = "Provide at least one of: label, content_uri, content_text, sort_order, metadata_json"
BODY = {"label": "Mira, front", "content_text": "red scarf"}


@pytest.fixture
def sets(slug: str) -> str:
    """The path of the project's sets."""
    return f"/api/projects/{slug}/reference-sets"


@pytest.fixture
async def items(client: AsyncClient, sets: str) -> str:
    """The path of the items of a set."""
    return await new_set(client, sets)


async def new_set(client: AsyncClient, sets: str, name: str = "Faces") -> str:
    response = await client.post(sets, json={"name": name})
    return f"{sets}/{response.json()['reference_set']['id']}/items"


async def create(client: AsyncClient, items: str, **fields: object) -> dict[str, Any]:
    response = await client.post(items, json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.json()["item"]


async def test_a_new_set_has_no_items(client: AsyncClient, items: str) -> None:
    set_id = items.split("/")[-2]

    assert (await client.get(items)).json() == {
        "ok": True,
        "count": 0,
        "next": None,
        "reference_set_id": set_id,
        "items": [],
    }


async def test_an_item_has_defaults_and_is_shown_in_detail_and_list(client: AsyncClient, items: str) -> None:
    response = await client.post(items, json={"label": " Mira ", "content_uri": " s3://b/m.png "})
    item = response.json()["item"]

    assert response.json().keys() == {"ok", "item"}
    assert item | {"id": "", "project_id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "project_id": "",
        "reference_set_id": items.split("/")[-2],
        "label": "Mira",
        "content_uri": "s3://b/m.png",
        "content_text": "",
        "sort_order": 0,
        "metadata_json": {},
        "created_at": "",
        "updated_at": "",
    }
    assert (await client.get(f"{items}/{item['id']}")).json() == {"ok": True, "item": item}
    assert (await client.get(items)).json()["items"] == [item]


@pytest.mark.parametrize("label", [{}, {"label": ""}, {"label": " "}])
async def test_a_label_is_required_first(client: AsyncClient, label: dict[str, str]) -> None:
    response = await client.post("/api/projects/missing/reference-sets/x/items", json=label)

    assert (response.status_code, response.json()["error"]) == (400, "Field 'label' is required")


@pytest.mark.parametrize("content", [{}, {"content_uri": None}, {"content_uri": " ", "content_text": ""}])
async def test_one_content_is_needed_before_the_set_is_looked_up(
    client: AsyncClient, content: dict[str, str]
) -> None:
    body = {"label": "Mira", **content}
    response = await client.post("/api/projects/missing/reference-sets/x/items", json=body)

    assert (response.status_code, response.json()["error"]) == (400, NO_CONTENT)


@pytest.mark.parametrize(
    ("project", "set_id"),
    [("comic", "x"), ("comic", UNKNOWN_ID), ("missing", "x"), ("other", "own"), ("missing", "own")],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_items_of_an_unknown_set_are_not_found(
    *, client: AsyncClient, items: str, project: str, set_id: str, method: str
) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    named = items.split("/")[-2] if set_id == "own" else set_id
    body = BODY if method == "POST" else None
    response = await client.request(
        method, f"/api/projects/{project}/reference-sets/{named}/items", json=body
    )

    assert (response.status_code, response.json()["error"]) == (404, "Reference set not found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("where", ["item", "set", "another set", "other project", "no project"])
async def test_an_item_is_found_through_its_set_and_project_only(
    *, client: AsyncClient, sets: str, items: str, method: str, where: str
) -> None:
    item = await create(client, items)
    await client.post("/api/projects", json={"name": "Other"})
    another = await new_set(client, sets, "Places")
    url = {
        "item": f"{items}/x",
        "set": f"{sets}/x/items/{item['id']}",
        "another set": f"{another}/{item['id']}",
        "other project": f"{items}/{item['id']}".replace("/comic/", "/other/"),
        "no project": f"{items}/{item['id']}".replace("/comic/", "/missing/"),
    }[where]
    response = await client.request(method, url, json={"label": ""} if method == "PUT" else None)

    assert (response.status_code, response.json()["error"]) == (404, "Reference set item not found")
    assert (await client.get(f"{items}/{item['id']}")).json()["item"] == item


async def test_items_are_listed_by_order_then_by_last_change(client: AsyncClient, items: str) -> None:
    orders = {"b": 5, "first": -7, "a": 5, "c": 5, "last": 2**31 - 1, "zero": 0}
    ids = {
        label: (await create(client, items, label=label, sort_order=n))["id"] for label, n in orders.items()
    }
    await client.put(f"{items}/{ids['b']}", json={"label": "b"})
    listed = (await client.get(items)).json()["items"]

    assert [item["label"] for item in listed] == ["first", "zero", "b", "c", "a", "last"]


@pytest.mark.parametrize("sort_order", [2**31, -(2**31) - 1, 10**30, 1.0, "1", True])
async def test_a_sort_order_is_an_integer_of_the_database(
    client: AsyncClient, items: str, sort_order: object
) -> None:
    item = await create(client, items, sort_order=-(2**31))
    created = await client.post(items, json=BODY | {"sort_order": sort_order})
    changed = await client.put(f"{items}/{item['id']}", json={"sort_order": sort_order})

    assert created.status_code == changed.status_code == 422
    assert "sort_order" in created.json()["error"]


@pytest.mark.parametrize(
    "value", [{"a": [1, None]}, [], ["x"], "text", "", 0, 1.5, False, True, 10**30, {"": {"ключ": "🦊"}}]
)
async def test_metadata_may_be_any_json(client: AsyncClient, items: str, value: object) -> None:
    item = await create(client, items, metadata_json=value)
    other = await create(client, items)
    changed = await client.put(f"{items}/{other['id']}", json={"metadata_json": value})

    assert item["metadata_json"] == changed.json()["item"]["metadata_json"] == value
    assert all(row["metadata_json"] == value for row in (await client.get(items)).json()["items"])


async def test_null_metadata_counts_as_absent(client: AsyncClient, items: str) -> None:
    assert (await create(client, items, metadata_json=None))["metadata_json"] == {}
    item = await create(client, items, metadata_json=[1])
    changed = await client.put(f"{items}/{item['id']}", json={"metadata_json": None, "label": "new"})

    assert changed.json()["item"]["metadata_json"] == [1]


@pytest.mark.parametrize("body", [{}, {"metadata_json": None, "label": None}, {"unknown": 1}])
async def test_a_change_needs_a_field_before_anything_is_looked_up(
    client: AsyncClient, body: dict[str, object]
) -> None:
    response = await client.put("/api/projects/missing/reference-sets/x/items/y", json=body)

    assert (response.status_code, response.json()["error"]) == (400, NO_FIELD)


@pytest.mark.parametrize(
    "change",
    [
        {"label": "new"},
        {"content_uri": "file:///x.png"},
        {"content_text": "new"},
        {"sort_order": 0},
        {"metadata_json": {"k": 1}},
    ],
)
async def test_a_change_sets_the_given_field_and_keeps_the_rest(
    client: AsyncClient, items: str, change: dict[str, object]
) -> None:
    item = await create(client, items, content_uri="u", sort_order=3, metadata_json={"old": 1})
    response = await client.put(f"{items}/{item['id']}", json=change)
    changed = response.json()["item"]

    assert changed == item | change | {"updated_at": changed["updated_at"]}
    assert (await client.get(f"{items}/{item['id']}")).json()["item"] == changed


async def test_a_label_cannot_be_cleared(client: AsyncClient, items: str) -> None:
    item = await create(client, items)
    response = await client.put(f"{items}/{item['id']}", json={"label": " ", "content_text": ""})

    assert (response.status_code, response.json()["error"]) == (400, "Field 'label' is required")


async def test_the_last_content_cannot_be_cleared(client: AsyncClient, items: str) -> None:
    item = await create(client, items, content_uri="u")
    url = f"{items}/{item['id']}"
    both = await client.put(url, json={"content_uri": "", "content_text": " "})
    one = await client.put(url, json={"content_uri": ""})
    last = await client.put(url, json={"content_text": "", "label": "lost"})
    swap = await client.put(url, json={"content_text": "", "content_uri": "new"})

    assert (one.status_code, one.json()["item"]["content_uri"]) == (200, "")
    for refused in (both, last):
        assert (refused.status_code, refused.json()["error"]) == (400, NO_CONTENT)
    assert (swap.json()["item"]["label"], swap.json()["item"]["content_uri"]) == (item["label"], "new")


async def test_labels_may_repeat(client: AsyncClient, items: str) -> None:
    await create(client, items)
    await create(client, items)

    assert (await client.get(items)).json()["count"] == 2


async def test_a_deleted_item_is_gone(client: AsyncClient, items: str) -> None:
    item = await create(client, items)
    url = f"{items}/{item['id']}"
    response = await client.delete(url)

    assert response.json() == {"ok": True, "deleted": True, "id": item["id"]}
    assert (await client.get(url)).status_code == (await client.delete(url)).status_code == 404


async def test_changes_of_items_leave_the_stamp_of_their_set(
    client: AsyncClient, items: str, db: Database
) -> None:
    async def stamp() -> object:
        async with db.transaction() as session:
            return await session.scalar(select(ReferenceSet.updated_at))

    before = await stamp()
    item = await create(client, items)
    await client.put(f"{items}/{item['id']}", json={"label": "new"})
    await client.delete(f"{items}/{item['id']}")

    assert await stamp() == before


async def test_deleting_a_set_deletes_its_items(
    client: AsyncClient, sets: str, items: str, db: Database
) -> None:
    item = await create(client, items)
    kept = await new_set(client, sets, "Places")
    await create(client, kept)
    await client.delete(items.removesuffix("/items"))

    gone = await client.get(items)
    assert (gone.status_code, gone.json()["error"]) == (404, "Reference set not found")
    assert (await client.get(f"{items}/{item['id']}")).status_code == 404
    async with db.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(ReferenceSetItem)) == 1


@pytest.mark.timeout(120)
async def test_items_added_while_their_set_is_deleted_are_added_or_not_found(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    items = await new_set(client, "/api/projects/comic/reference-sets")
    additions = [client.post(items, json=BODY) for _ in range(20)]
    responses = await asyncio.gather(*additions, client.delete(items.removesuffix("/items")))

    assert {response.status_code for response in responses[:-1]} <= {200, 404}
    assert responses[-1].status_code == 200
    async with fresh_db.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(ReferenceSetItem)) == 0


@pytest.mark.timeout(120)
async def test_two_changes_cannot_clear_one_content_each(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    items = await new_set(client, "/api/projects/comic/reference-sets")
    for _ in range(10):
        item = await create(client, items, content_uri="u")
        url = f"{items}/{item['id']}"
        responses = await asyncio.gather(
            client.put(url, json={"content_uri": ""}), client.put(url, json={"content_text": ""})
        )
        assert sorted(response.status_code for response in responses) == [200, 400]
