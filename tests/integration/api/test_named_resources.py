"""Contract 3.12, 3.14, 3.15 and the sets of 3.16: what the four resources with a name have in common."""

import asyncio
import re
from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient

from kroma.db.engine import Database
from support.harness.documented_api import ClientFactory

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UNKNOWN_ID = "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"


class Kind(NamedTuple):
    """A resource: its path, key and word, its required texts and its optional ones."""

    path: str
    key: str
    thing: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def list_key(self) -> str:
        return f"{self.key}s"

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.required, *self.optional)

    def url(self, slug: str, identifier: str | None = None) -> str:
        base = f"/api/projects/{slug}/{self.path}"
        return base if identifier is None else f"{base}/{identifier}"

    def body(self, **fields: object) -> dict[str, object]:
        return {field: f"a {field}" for field in self.required} | fields

    async def create(self, client: AsyncClient, slug: str, **fields: object) -> dict[str, Any]:
        response = await client.post(self.url(slug), json=self.body(**fields))
        assert response.status_code == 200, response.text
        return response.json()[self.key]


KINDS = [
    Kind("prompt-templates", "prompt_template", "Prompt template", ("name", "template_text"), ()),
    Kind("style-guides", "style_guide", "Style guide", ("name", "instructions"), ("notes",)),
    Kind("characters", "character", "Character", ("name",), ("description", "prompt_text")),
    Kind("reference-sets", "reference_set", "Reference set", ("name",), ("description",)),
]
FIELDS = [(kind, field) for kind in KINDS for field in kind.required]
OPTIONAL_FIELDS = [(kind, field) for kind in KINDS for field in kind.optional]

each_kind = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.path) for kind in KINDS])
each_required_field = pytest.mark.parametrize(
    ("kind", "field"), [pytest.param(kind, field, id=f"{kind.path} {field}") for kind, field in FIELDS]
)
each_optional_field = pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(kind, field, id=f"{kind.path} {field}") for kind, field in OPTIONAL_FIELDS],
)


@each_kind
async def test_a_new_project_has_none(client: AsyncClient, slug: str, kind: Kind) -> None:
    response = await client.get(kind.url(slug))

    assert response.json() == {"ok": True, "count": 0, "next": None, kind.list_key: []}


@each_kind
@pytest.mark.parametrize("unknown", ["missing", "___"])
async def test_the_list_of_an_unknown_project_is_not_found(
    client: AsyncClient, kind: Kind, unknown: str
) -> None:
    response = await client.get(kind.url(unknown))

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@each_kind
async def test_a_created_one_is_trimmed_and_shown_in_detail_and_list(
    client: AsyncClient, slug: str, kind: Kind
) -> None:
    body = {field: f" some {field}\n" for field in kind.fields}
    response = await client.post(kind.url(slug), json={**body, "unknown": 1})
    created = response.json()[kind.key]
    project = (await client.get(f"/api/projects/{slug}")).json()["project"]

    assert response.json().keys() == {"ok", kind.key}
    assert created.keys() == {"id", "project_id", "created_at", "updated_at", *kind.fields}
    assert {field: created[field] for field in kind.fields} == {f: f"some {f}" for f in kind.fields}
    assert created["project_id"] == project["id"]
    assert STAMP.fullmatch(created["created_at"])
    assert STAMP.fullmatch(created["updated_at"])
    detail = (await client.get(kind.url(slug, created["id"]))).json()
    assert detail == {"ok": True, kind.key: created}
    listed = (await client.get(kind.url(slug))).json()
    assert listed == {"ok": True, "count": 1, "next": None, kind.list_key: [created]}


@each_required_field
@pytest.mark.parametrize("value", [None, "", " \t"], ids=["absent", "empty", "blank"])
async def test_a_required_text_is_required_before_the_project_is_looked_up(
    client: AsyncClient, kind: Kind, field: str, value: str | None
) -> None:
    body = kind.body(**{field: value})
    given = {key: text for key, text in body.items() if text is not None}
    response = await client.post(kind.url("missing"), json=given)

    assert (response.status_code, response.json()["error"]) == (400, f"Field '{field}' is required")
    assert response.json()["error_code"] == "validation_error"


@each_kind
async def test_required_texts_are_judged_in_the_contracts_order(client: AsyncClient, kind: Kind) -> None:
    response = await client.post(kind.url("missing"), json={})

    assert (response.status_code, response.json()["error"]) == (400, "Field 'name' is required")


@each_required_field
async def test_null_for_a_required_text_has_the_wrong_shape(
    client: AsyncClient, slug: str, kind: Kind, field: str
) -> None:
    response = await client.post(kind.url(slug), json=kind.body(**{field: None}))

    assert response.status_code == 422


@each_kind
async def test_nothing_is_created_in_an_unknown_project(client: AsyncClient, kind: Kind) -> None:
    response = await client.post(kind.url("missing"), json=kind.body())

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@each_optional_field
@pytest.mark.parametrize("value", [None, "", "  "], ids=["null", "empty", "blank"])
async def test_an_optional_text_may_be_null_or_blank_on_creation(
    *, client: AsyncClient, slug: str, kind: Kind, field: str, value: str | None
) -> None:
    assert (await kind.create(client, slug, **{field: value}))[field] == ""


@each_kind
async def test_a_name_may_have_200_characters_and_no_more(client: AsyncClient, slug: str, kind: Kind) -> None:
    longest = "n" * 200
    created = await kind.create(client, slug, name=longest)
    refused = await client.post(kind.url(slug), json=kind.body(name=f"{longest}n"))
    changed = await client.put(kind.url(slug, created["id"]), json={"name": f"{longest}n"})

    assert created["name"] == longest
    for response in (refused, changed):
        assert response.status_code == 400
        assert response.json()["error"] == "Field 'name' must be at most 200 characters"


@each_kind
async def test_a_nul_is_refused_by_name(client: AsyncClient, slug: str, kind: Kind) -> None:
    response = await client.post(kind.url(slug), json=kind.body(name="a\0b"))

    assert response.status_code == 400
    assert "'name'" in response.json()["error"]


@each_kind
async def test_a_name_is_taken_once_per_project_and_case_sensitive(
    client: AsyncClient, slug: str, kind: Kind
) -> None:
    await kind.create(client, slug, name="Hero")
    again = await client.post(kind.url(slug), json=kind.body(name=" Hero "))
    await kind.create(client, slug, name="hero")
    await client.post("/api/projects", json={"name": "Other"})
    await kind.create(client, "other", name="Hero")

    assert (again.status_code, again.json()["error"]) == (400, f"{kind.thing} name already exists")
    assert again.json()["error_code"] == "validation_error"
    assert (await client.get(kind.url(slug))).json()["count"] == 2


@each_kind
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("identifier", ["x", "missing", UNKNOWN_ID])
async def test_an_unknown_id_is_not_found(
    *, client: AsyncClient, slug: str, kind: Kind, method: str, identifier: str
) -> None:
    body = {"name": "n"} if method == "PUT" else None
    response = await client.request(method, kind.url(slug, identifier), json=body)

    assert (response.status_code, response.json()["error"]) == (404, f"{kind.thing} not found")
    assert response.json()["error_code"] == "not_found"


@each_kind
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("other", ["other", "missing", "___"])
async def test_one_of_another_or_no_project_is_not_found_by_its_own_word(
    *, client: AsyncClient, slug: str, kind: Kind, method: str, other: str
) -> None:
    created = await kind.create(client, slug)
    await client.post("/api/projects", json={"name": "Other"})
    body = {"name": "n"} if method == "PUT" else None
    response = await client.request(method, kind.url(other, created["id"]), json=body)

    assert (response.status_code, response.json()["error"]) == (404, f"{kind.thing} not found")
    assert (await client.get(kind.url(slug, created["id"]))).json()[kind.key] == created


@each_kind
@pytest.mark.parametrize("body", [{}, {"name": None}, {"unknown": 1}], ids=["empty", "null", "unknown key"])
async def test_a_change_needs_a_field_before_anything_is_looked_up(
    client: AsyncClient, kind: Kind, body: dict[str, object]
) -> None:
    response = await client.put(kind.url("missing", "missing"), json=body)

    assert response.status_code == 400
    assert response.json()["error"] == f"Provide at least one of: {', '.join(kind.fields)}"


@each_kind
async def test_a_change_is_looked_up_before_its_fields_are_judged(
    client: AsyncClient, slug: str, kind: Kind
) -> None:
    response = await client.put(kind.url(slug, "missing"), json={"name": ""})

    assert (response.status_code, response.json()["error"]) == (404, f"{kind.thing} not found")


@each_required_field
async def test_a_required_text_cannot_be_cleared(
    client: AsyncClient, slug: str, kind: Kind, field: str
) -> None:
    created = await kind.create(client, slug)
    response = await client.put(kind.url(slug, created["id"]), json={field: "  "})

    assert (response.status_code, response.json()["error"]) == (400, f"Field '{field}' is required")
    assert (await client.get(kind.url(slug, created["id"]))).json()[kind.key] == created


@each_kind
async def test_a_change_sets_the_given_field_and_keeps_the_rest(
    client: AsyncClient, slug: str, kind: Kind
) -> None:
    created = await kind.create(client, slug, **dict.fromkeys(kind.optional, "kept"))
    for field in kind.fields:
        nulls = dict.fromkeys((other for other in kind.fields if other != field), None)
        response = await client.put(kind.url(slug, created["id"]), json={**nulls, field: f" new {field} "})
        created[field] = f"new {field}"
        changed = response.json()[kind.key]

        assert response.status_code == 200
        assert changed | {"updated_at": created["updated_at"]} == created
        assert (await client.get(kind.url(slug, created["id"]))).json()[kind.key] == changed


@each_optional_field
async def test_blank_clears_an_optional_text(client: AsyncClient, slug: str, kind: Kind, field: str) -> None:
    created = await kind.create(client, slug, **{field: "something"})
    response = await client.put(kind.url(slug, created["id"]), json={field: ""})

    assert response.json()[kind.key][field] == ""


@each_kind
async def test_a_change_cannot_take_anothers_name_but_keep_its_own(
    client: AsyncClient, slug: str, kind: Kind
) -> None:
    await kind.create(client, slug, name="one")
    second = await kind.create(client, slug, name="two")
    taken = await client.put(kind.url(slug, second["id"]), json={"name": "one"})
    own = await client.put(kind.url(slug, second["id"]), json={"name": "two"})

    assert (taken.status_code, taken.json()["error"]) == (400, f"{kind.thing} name already exists")
    assert own.status_code == 200
    names = {row["name"] for row in (await client.get(kind.url(slug))).json()[kind.list_key]}
    assert names == {"one", "two"}


@each_kind
async def test_they_are_listed_by_their_last_change(client: AsyncClient, slug: str, kind: Kind) -> None:
    ids = {name: (await kind.create(client, slug, name=name))["id"] for name in ("one", "two", "three")}
    await client.put(kind.url(slug, ids["one"]), json={"name": "one"})
    listed = (await client.get(kind.url(slug))).json()

    assert [row["name"] for row in listed[kind.list_key]] == ["one", "three", "two"]
    assert listed["count"] == 3


@each_kind
async def test_a_deleted_one_is_gone(client: AsyncClient, slug: str, kind: Kind) -> None:
    created = await kind.create(client, slug)
    url = kind.url(slug, created["id"])
    response = await client.delete(url)

    assert response.status_code == 200
    assert response.json() == {"ok": True, "deleted": True, "id": created["id"]}
    assert (await client.get(url)).status_code == (await client.delete(url)).status_code == 404
    assert (await client.get(kind.url(slug))).json()["count"] == 0
    await kind.create(client, slug)


@each_kind
@pytest.mark.timeout(120)
async def test_of_50_parallel_creations_of_one_name_one_succeeds(
    client_with: ClientFactory, fresh_db: Database, kind: Kind
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    responses = await asyncio.gather(
        *(client.post(kind.url("comic"), json=kind.body(name="Hero")) for _ in range(50))
    )

    assert sorted(response.status_code for response in responses) == [200] + [400] * 49
    texts = {response.json()["error"] for response in responses if response.status_code == 400}
    assert texts == {f"{kind.thing} name already exists"}
    assert (await client.get(kind.url("comic"))).json()["count"] == 1


@each_kind
@pytest.mark.timeout(120)
async def test_parallel_changes_and_deletions_of_one_end_cleanly(
    client_with: ClientFactory, fresh_db: Database, kind: Kind
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    url = kind.url("comic", (await kind.create(client, "comic"))["id"])
    changes = [client.put(url, json={"name": f"name {n}"}) for n in range(10)]
    deletions = [client.delete(url) for _ in range(10)]
    responses = await asyncio.gather(*changes, *deletions)

    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {200, 404}
    assert statuses[10:].count(200) == 1
