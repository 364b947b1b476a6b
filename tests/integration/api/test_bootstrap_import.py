"""Contract 3.6."""

from httpx import AsyncClient


async def test_smoke(client: AsyncClient, slug: str) -> None:
    url = f"/api/projects/{slug}/bootstrap-import"
    settings = {
        "project": {"name": "New"},
        "provider_accounts": [{"provider_code": "OpenAI"}],
        "style_guides": [{"name": "A", "instructions": "x"}],
        "characters": [{"name": "A"}],
        "reference_sets": [
            {
                "name": "S",
                "items": [
                    {"label": "i", "content_text": "t", "metadata_json": {"a": 1}},
                    {"label": "j", "content_text": "t"},
                ],
            }
        ],
        "secrets": [{"provider_code": "openai", "secret_name": "api_key"}],
        "prompt_templates": [{"name": "T", "template_text": "x"}],
    }
    r = await client.post(url, json={"settings": settings})
    print(r.json())
    assert r.status_code == 200
    r2 = await client.post(url, json={"settings": settings, "mode": "replace"})
    print(r2.json())
    assert r2.status_code == 200
    d = await client.post(url, json={"settings": settings, "mode": "replace", "dry_run": True})
    assert d.status_code == 200
    p = await client.get(f"/api/projects/{slug}/bootstrap-prompt")
    assert p.json()["bootstrap"]["settings"] == r2.json()["bootstrap_import"]["settings"]
    u = await client.post(f"{url}/{r2.json()['import_id']}/undo")
    assert u.status_code == 200, u.text
    assert u.json()["bootstrap_undo"]["settings"] == r.json()["bootstrap_import"]["settings"]
    u = await client.post(f"{url}/{r.json()['import_id']}/undo")
    assert u.status_code == 200, u.text
    bad = await client.post(url, json={"settings": {"style_guides": [{}]}})
    print(bad.json())
