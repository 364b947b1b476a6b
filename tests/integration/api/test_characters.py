"""Contract 3.15, beside what test_named_resources.py covers."""

from httpx import AsyncClient


async def test_a_character_needs_only_a_name(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/characters", json={"name": "Mira"})

    character = response.json()["character"]
    assert (character["name"], character["description"], character["prompt_text"]) == ("Mira", "", "")


async def test_a_name_may_be_any_script(client: AsyncClient, slug: str) -> None:
    for name in ("漫画の主人公", "שלום", "🦊", "e\u0301"):
        response = await client.post(f"/api/projects/{slug}/characters", json={"name": name})
        assert response.json()["character"]["name"] == name
