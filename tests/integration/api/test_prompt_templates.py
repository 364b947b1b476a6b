"""Contract 3.12, beside what test_named_resources.py covers."""

from httpx import AsyncClient


async def test_placeholders_are_plain_text(client: AsyncClient, slug: str) -> None:
    text = "Draw {title} in {{style}}: %s ${x}"
    body = {"name": "Scene {n}", "template_text": text}
    response = await client.post(f"/api/projects/{slug}/prompt-templates", json=body)

    template = response.json()["prompt_template"]
    assert (template["name"], template["template_text"]) == ("Scene {n}", text)


async def test_creating_and_changing_one_is_not_audited(client: AsyncClient, slug: str) -> None:
    path = f"/api/projects/{slug}/prompt-templates"
    created = (await client.post(path, json={"name": "n", "template_text": "t"})).json()
    changed = (await client.put(f"{path}/{created['prompt_template']['id']}", json={"name": "m"})).json()

    assert "audit_id" not in created
    assert "audit_id" not in changed
