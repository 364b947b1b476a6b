"""Contract 3.14, beside what test_named_resources.py covers."""

from httpx import AsyncClient


async def test_an_empty_change_of_an_unknown_guide_is_a_400(client: AsyncClient, slug: str) -> None:
    response = await client.put(f"/api/projects/{slug}/style-guides/missing", json={})

    assert response.status_code == 400
    assert response.json()["error"] == "Provide at least one of: name, instructions, notes"


async def test_there_is_no_default_rules_or_version(client: AsyncClient, slug: str) -> None:
    body = {"name": "Ink", "instructions": "thick lines", "is_default": True, "version": 2}
    guide = (await client.post(f"/api/projects/{slug}/style-guides", json=body)).json()["style_guide"]

    assert not guide.keys() & {"is_default", "version", "rules"}


async def test_clearing_the_notes_keeps_name_and_instructions(client: AsyncClient, slug: str) -> None:
    path = f"/api/projects/{slug}/style-guides"
    body = {"name": "Ink", "instructions": "thick lines", "notes": "for nights"}
    guide = (await client.post(path, json=body)).json()["style_guide"]
    response = await client.put(f"{path}/{guide['id']}", json={"notes": ""})

    changed = response.json()["style_guide"]
    assert (changed["name"], changed["instructions"], changed["notes"]) == ("Ink", "thick lines", "")
