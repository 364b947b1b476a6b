"""What is mounted is exactly what the contract has of this slice, and a named list of our own."""

from typing import Any

import pytest

from kroma_api.app import routes
from kroma_api.route_facts import documented_routes
from support.harness.documented_api import api_document

P = "/api/projects/{slug}"
OPEN = {"/health", "/health/live", "/health/ready", "/agent/callback/{instruction_id}"}
CONTRACT_ROUTES = {
    ("GET", "/health"),
    ("POST", "/auth/token"),
    ("GET", "/auth/tokens"),
    ("DELETE", "/auth/tokens/{token_id}"),
    ("GET", "/api/projects"),
    ("POST", "/api/projects"),
    ("GET", P),
    ("GET", f"{P}/bootstrap-prompt"),
    ("POST", f"{P}/bootstrap-import"),
    ("GET", f"{P}/storage"),
    ("PUT", f"{P}/storage/local"),
    ("PUT", f"{P}/storage/s3"),
    ("GET", f"{P}/runs"),
    ("POST", f"{P}/runs/trigger"),
    ("POST", f"{P}/runs/validate-config"),
    ("GET", f"{P}/runs/{{run_id}}"),
    ("GET", f"{P}/runs/{{run_id}}/jobs"),
    ("GET", f"{P}/assets"),
    ("GET", f"{P}/assets/{{asset_id}}"),
    ("GET", f"{P}/quality-reports"),
    ("GET", f"{P}/cost-events"),
    ("GET", f"{P}/asset-links"),
    ("POST", f"{P}/asset-links"),
    ("GET", f"{P}/asset-links/{{link_id}}"),
    ("PUT", f"{P}/asset-links/{{link_id}}"),
    ("DELETE", f"{P}/asset-links/{{link_id}}"),
    ("GET", f"{P}/exports"),
    ("GET", f"{P}/exports/{{export_id}}"),
    ("GET", f"{P}/prompt-templates"),
    ("POST", f"{P}/prompt-templates"),
    ("GET", f"{P}/prompt-templates/{{template_id}}"),
    ("PUT", f"{P}/prompt-templates/{{template_id}}"),
    ("DELETE", f"{P}/prompt-templates/{{template_id}}"),
    ("GET", f"{P}/provider-accounts"),
    ("POST", f"{P}/provider-accounts"),
    ("GET", f"{P}/provider-accounts/{{provider_code}}"),
    ("PUT", f"{P}/provider-accounts/{{provider_code}}"),
    ("DELETE", f"{P}/provider-accounts/{{provider_code}}"),
    ("GET", f"{P}/style-guides"),
    ("POST", f"{P}/style-guides"),
    ("GET", f"{P}/style-guides/{{style_guide_id}}"),
    ("PUT", f"{P}/style-guides/{{style_guide_id}}"),
    ("DELETE", f"{P}/style-guides/{{style_guide_id}}"),
    ("GET", f"{P}/characters"),
    ("POST", f"{P}/characters"),
    ("GET", f"{P}/characters/{{character_id}}"),
    ("PUT", f"{P}/characters/{{character_id}}"),
    ("DELETE", f"{P}/characters/{{character_id}}"),
    ("GET", f"{P}/reference-sets"),
    ("POST", f"{P}/reference-sets"),
    ("GET", f"{P}/reference-sets/{{reference_set_id}}"),
    ("PUT", f"{P}/reference-sets/{{reference_set_id}}"),
    ("DELETE", f"{P}/reference-sets/{{reference_set_id}}"),
    ("GET", f"{P}/reference-sets/{{reference_set_id}}/items"),
    ("POST", f"{P}/reference-sets/{{reference_set_id}}/items"),
    ("GET", f"{P}/reference-sets/{{reference_set_id}}/items/{{item_id}}"),
    ("PUT", f"{P}/reference-sets/{{reference_set_id}}/items/{{item_id}}"),
    ("DELETE", f"{P}/reference-sets/{{reference_set_id}}/items/{{item_id}}"),
    ("GET", f"{P}/chat/sessions"),
    ("POST", f"{P}/chat/sessions"),
    ("GET", f"{P}/chat/sessions/{{session_id}}"),
    ("GET", f"{P}/chat/sessions/{{session_id}}/messages"),
    ("POST", f"{P}/chat/sessions/{{session_id}}/messages"),
    ("GET", f"{P}/agent/instructions"),
    ("POST", f"{P}/agent/instructions"),
    ("GET", f"{P}/agent/instructions/{{instruction_id}}"),
    ("GET", f"{P}/agent/instructions/{{instruction_id}}/events"),
    ("POST", f"{P}/agent/instructions/{{instruction_id}}/confirm"),
    ("POST", f"{P}/agent/instructions/{{instruction_id}}/cancel"),
    ("GET", f"{P}/secrets"),
    ("GET", f"{P}/secrets/rotation-status"),
    ("POST", f"{P}/secrets"),
    ("POST", f"{P}/secrets/rotate"),
    ("DELETE", f"{P}/secrets/{{provider_code}}/{{secret_name}}"),
}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return api_document()


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }


def test_the_mounted_routes_are_the_contracts_and_ours(described: dict[str, Any]) -> None:
    assert len(CONTRACT_ROUTES) == 74
    facts = documented_routes(routes())
    assert set(operations(described)) == set(facts)
    assert {found for found, fact in facts.items() if fact.contract is not None} == CONTRACT_ROUTES


def test_every_operation_has_a_name_of_its_own_and_a_description(described: dict[str, Any]) -> None:
    found = operations(described)

    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    assert all(operation["description"] for operation in found.values())


def test_every_operation_documents_its_failures(described: dict[str, Any]) -> None:
    for (method, path), operation in operations(described).items():
        statuses = set(operation["responses"])
        assert {"400", "500"} <= statuses
        assert {"401", "403"} <= statuses or path in OPEN
        assert "404" in statuses or "{" not in path
        body = operation.get("requestBody", {}).get("content", {})
        assert {"413", "415"} <= statuses or not body, method
        assert "422" in statuses or "application/json" not in body, method


def test_required_texts_are_documented_as_required(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]

    assert schemas["CreateProjectRequest"]["required"] == ["name"]
    assert schemas["TriggerRunRequest"]["required"] == []
    assert "ok" in schemas["ProjectResponse"]["required"]
