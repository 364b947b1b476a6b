"""Every operation x every scope, against expectations that are written down here and nowhere else."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import func, select

from kroma.auth.scopes import Scope
from kroma.auth.service import create_token
from kroma.db.engine import Database
from kroma.idempotency.models import IdempotencyKey
from kroma_api.app import routes
from kroma_api.route_facts import documented_routes
from support.builders.populated_project import Filled
from support.harness.documented_api import ClientFactory, api_document
from support.servers.databases import rolled_back

pytestmark = pytest.mark.timeout(120)

P: Final = "/api/projects/{slug}"
EXPECTED: Final[Mapping[str, str]] = {
    # Open to everyone, whatever the token.
    "GET /health": "open",
    "GET /health/live": "open",
    "GET /health/ready": "open",
    "POST /agent/callback/{instruction_id}": "open",
    # Tokens.
    "POST /auth/token": "admin",
    "GET /auth/tokens": "admin",
    "DELETE /auth/tokens/{token_id}": "admin",
    # Projects and where they are kept.
    "GET /api/projects": "read review create spend",
    "POST /api/projects": "create spend",
    f"GET {P}": "read review create spend",
    f"GET {P}/storage": "read create spend storage",
    f"PUT {P}/storage/local": "storage",
    f"PUT {P}/storage/s3": "storage",
    f"POST {P}/storage/sync": "storage",
    f"GET {P}/storage/syncs": "read create spend storage",
    f"GET {P}/storage/syncs/{{sync_id}}": "read create spend storage",
    f"POST {P}/storage/syncs/{{sync_id}}/cancel": "storage",
    f"POST {P}/storage/syncs/{{sync_id}}/retry": "storage",
    # Settings as a whole; an undo deletes what the import added, so that no scope is enough alone.
    f"GET {P}/bootstrap-prompt": "read create spend",
    f"POST {P}/bootstrap-import": "create spend",
    f"POST {P}/bootstrap-import/{{import_id}}/undo": "",
    # Runs.
    f"GET {P}/runs": "read review create spend",
    f"POST {P}/runs/trigger": "create spend",
    f"POST {P}/runs/validate-config": "read create spend",
    f"POST {P}/runs/quote": "read create spend",
    f"GET {P}/runs/{{run_id}}": "read review create spend",
    f"GET {P}/runs/{{run_id}}/jobs": "read review create spend",
    f"GET {P}/runs/{{run_id}}/events": "read review create spend",
    f"GET {P}/runs/{{run_id}}/log": "read create spend",
    f"POST {P}/runs/{{run_id}}/cancel": "create spend",
    f"POST {P}/runs/{{run_id}}/retry": "create spend",
    f"POST {P}/runs/{{run_id}}/rerun": "create spend",
    f"POST {P}/runs/{{run_id}}/jobs/{{job_id}}/select": "review",
    f"POST {P}/runs/{{run_id}}/lock-baseline": "create spend",
    f"GET {P}/baselines": "read review create spend",
    # Money.
    f"POST {P}/pause": "spend",
    f"POST {P}/resume": "spend",
    f"GET {P}/budget": "read create spend admin",
    f"PUT {P}/budget": "admin",
    f"DELETE {P}/budget": "admin",
    f"GET {P}/cost-events": "read create spend",
    f"GET {P}/provider-calls": "read create spend",
    f"POST {P}/provider-calls/{{call_id}}/resolve": "spend",
    # Pictures.
    f"GET {P}/assets": "read review create spend",
    f"POST {P}/assets": "create spend",
    f"GET {P}/assets/{{asset_id}}": "read review create spend",
    f"DELETE {P}/assets/{{asset_id}}": "admin",
    f"GET {P}/assets/{{asset_id}}/content": "read review create spend",
    f"GET {P}/assets/{{asset_id}}/thumbnail": "read review create spend",
    f"GET {P}/assets/{{asset_id}}/lineage": "read review create spend",
    f"GET {P}/quality-reports": "read review create spend",
    f"GET {P}/asset-links": "read review create spend",
    f"POST {P}/asset-links": "create spend",
    f"GET {P}/asset-links/{{link_id}}": "read review create spend",
    f"PUT {P}/asset-links/{{link_id}}": "create spend",
    f"DELETE {P}/asset-links/{{link_id}}": "admin",
    f"GET {P}/exports": "read create spend",
    f"GET {P}/exports/{{export_id}}": "read create spend",
    # Named texts and references.
    **{
        f"{method} {P}/{collection}{item}": scopes
        for collection, key in (
            ("prompt-templates", "template_id"),
            ("style-guides", "style_guide_id"),
            ("characters", "character_id"),
            ("reference-sets", "reference_set_id"),
            ("reference-sets/{reference_set_id}/items", "item_id"),
        )
        for method, item, scopes in (
            ("GET", "", "read review create spend"),
            ("POST", "", "create spend"),
            ("GET", f"/{{{key}}}", "read review create spend"),
            ("PUT", f"/{{{key}}}", "create spend"),
            ("DELETE", f"/{{{key}}}", "admin"),
        )
    },
    # Conversations, with people and with agents; what an agent takes for its work, nobody knows.
    f"GET {P}/chat/sessions": "read create spend",
    f"POST {P}/chat/sessions": "create spend",
    f"GET {P}/chat/sessions/{{session_id}}": "read create spend",
    f"GET {P}/chat/sessions/{{session_id}}/messages": "read create spend",
    f"POST {P}/chat/sessions/{{session_id}}/messages": "create spend",
    f"GET {P}/agent/instructions": "read create spend",
    f"POST {P}/agent/instructions": "create spend",
    f"GET {P}/agent/instructions/{{instruction_id}}": "read create spend",
    f"GET {P}/agent/instructions/{{instruction_id}}/events": "read create spend",
    f"POST {P}/agent/instructions/{{instruction_id}}/confirm": "spend",
    f"POST {P}/agent/instructions/{{instruction_id}}/cancel": "create spend",
    # Keys, and where they are sent.
    f"GET {P}/provider-accounts": "read create spend secrets",
    f"POST {P}/provider-accounts": "secrets",
    f"GET {P}/provider-accounts/{{provider_code}}": "read create spend secrets",
    f"PUT {P}/provider-accounts/{{provider_code}}": "secrets",
    f"DELETE {P}/provider-accounts/{{provider_code}}": "admin",
    f"POST {P}/provider-accounts/{{provider_code}}/check": "spend secrets",
    f"GET {P}/secrets": "read create spend secrets",
    f"POST {P}/secrets": "secrets",
    f"GET {P}/secrets/rotation-status": "read create spend secrets",
    f"POST {P}/secrets/rotate": "secrets",
    f"DELETE {P}/secrets/{{provider_code}}/{{secret_name}}": "secrets",
    # The rest.
    f"GET {P}/audit-events": "read create spend",
    "POST /api/tools/{tool}": "create spend",
}
"""Which scopes open an operation, each alone."""

CHALLENGE: Final = re.compile(r'Bearer error="insufficient_scope", scope="(\w+)"')
BODIES: Final[Mapping[str, Any]] = {"POST /auth/token": {"scopes": ["admin"]}}
"""What is needed to ask for no more than the operation itself."""
CELLS = [pytest.param(operation, id=operation) for operation in EXPECTED]


@pytest.fixture
async def db(filled: Filled) -> AsyncIterator[Database]:
    async with rolled_back(filled.engine) as database:
        yield database


@pytest.fixture
async def callers(db: Database) -> dict[str, dict[str, str]]:
    """The header of a token of the installation by its scope; ``all`` of one that has none."""
    async with db.transaction() as session:
        made = {str(scope): (await create_token(session, scopes=[scope])).secret for scope in Scope}
        made["all"] = (await create_token(session)).secret
    return {name: {"Authorization": f"Bearer {secret}"} for name, secret in made.items()}


async def sent(client: httpx.AsyncClient, operation: str, filled: Filled, **options: str) -> httpx.Response:
    method, path = operation.split(" ")
    # The filled project's token may do everything, so that none with a scope may revoke it.
    address = path.format(**filled.known | {"token_id": "unknown"})
    content = {} if method in {"GET", "HEAD", "DELETE"} else {"json": BODIES.get(operation, {})}
    return await client.request(method, address, headers=options, **content)


def is_refused(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.json()["error_code"] == "insufficient_scope"


def test_every_operation_has_an_expectation_and_no_other_has_one() -> None:
    assert {f"{method} {path}" for method, path in documented_routes(routes())} == set(EXPECTED)


@pytest.mark.parametrize("operation", CELLS)
async def test_a_scope_opens_what_it_should_and_nothing_else(
    filled: Filled, client_with: ClientFactory, callers: dict[str, dict[str, str]], operation: str
) -> None:
    client = client_with()
    expected = set(Scope) if EXPECTED[operation] == "open" else set(EXPECTED[operation].split())

    opened: set[str] = set()
    for scope in Scope:
        response = await sent(client, operation, filled, **callers[scope])
        assert response.status_code != 401, scope
        if is_refused(response):
            challenge = CHALLENGE.fullmatch(response.headers["www-authenticate"])
            assert challenge is not None, scope
            assert f"'{challenge[1]}'" in response.json()["error"]
        else:
            opened.add(scope)

    assert opened == expected
    assert not is_refused(await sent(client, operation, filled, **callers["all"]))


@pytest.mark.parametrize("operation", [cell for cell in EXPECTED if cell.startswith("GET ")])
async def test_head_needs_what_get_needs(
    filled: Filled, client_with: ClientFactory, callers: dict[str, dict[str, str]], operation: str
) -> None:
    client = client_with()
    for scope in Scope:
        response = await sent(client, operation.replace("GET", "HEAD"), filled, **callers[scope])
        is_open = EXPECTED[operation] == "open" or scope in EXPECTED[operation].split()
        assert (response.status_code == 403) is not is_open, scope


def test_the_document_names_the_scopes() -> None:
    paths = api_document()["paths"]
    included = {"create": {"create", "spend"}, "read": {"read", "create", "spend"}}
    for operation, expected in EXPECTED.items():
        method, path = operation.split(" ")
        described = paths[path][method.lower()]
        named = {scope for way in described.get("security", []) for scope in way["bearer"]}
        opened = set[str]().union(*(included.get(scope, {scope}) for scope in named))
        if expected == "open":
            assert "security" not in described, operation
        elif expected:
            assert opened == set(expected.split()), operation
            assert all(f"`{scope}`" in described["description"] for scope in named), operation


@pytest.mark.parametrize(
    "operation", [cell for cell in EXPECTED if cell.startswith("POST /") and EXPECTED[cell] != "open"]
)
async def test_a_refused_request_leaves_no_idempotency_record(
    *,
    filled: Filled,
    db: Database,
    client_with: ClientFactory,
    callers: dict[str, dict[str, str]],
    operation: str,
) -> None:
    client = client_with()
    refused = [scope for scope in Scope if scope not in EXPECTED[operation].split()]
    if not EXPECTED[operation]:
        refused.remove(Scope.CREATE)  # these get as far as the handler
        refused.remove(Scope.SPEND)
    for scope in refused:
        response = await sent(client, operation, filled, **callers[scope], **{"Idempotency-Key": scope})
        assert is_refused(response), scope

    async with db.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0
