"""``kroma token`` on a running stack."""

import json
import re
from uuid import uuid4

import httpx
import pytest

from support.servers.kroma_stack import Up, kroma

pytestmark = pytest.mark.timeout(180)


def run(up: Up, *arguments: str) -> tuple[int, str, str]:
    done = kroma("token", *arguments, "--data-dir", str(up.data_dir))
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def status(up: Up, secret: str, path: str = "/api/projects") -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.get(f"{up.address}{path}", headers=headers, timeout=30).status_code


def rows(up: Up) -> list[dict[str, object]]:
    return json.loads(run(up, "list", "--json")[1])["tokens"]


def test_a_made_token_opens_the_api_until_it_is_revoked(shared_stack: Up) -> None:
    code, secret, complaint = run(shared_stack, "create", "--label", "of the [bold]studio[/]")
    assert (code, complaint) == (0, "")
    assert re.fullmatch("kroma_[0-9a-f]{64}", secret)
    assert status(shared_stack, secret) == 200

    row = next(row for row in rows(shared_stack) if row["token_prefix"] == secret[:12])
    assert (row["label"], row["active"], row["project_slug"]) == ("of the [bold]studio[/]", True, None)
    for _ in range(2):
        assert run(shared_stack, "revoke", str(row["id"]))[0] == 0
    assert status(shared_stack, secret) == 401
    assert next(other for other in rows(shared_stack) if other["id"] == row["id"])["active"] is False


def test_a_token_for_one_project_touches_that_one_only(shared_stack: Up) -> None:
    headers = {"Authorization": f"Bearer {shared_stack.token()}"}
    own, other = (f"p{uuid4().hex[:8]}" for _ in range(2))
    for name in (own, other):
        body = {"name": name}
        httpx.post(f"{shared_stack.address}/api/projects", json=body, headers=headers, timeout=30)
    made = json.loads(
        run(shared_stack, "create", "--project", own, "--expires-at", "2099-12-31", "--json")[1]
    )

    assert made["expires_at"] == "2099-12-31T23:59:59Z"
    assert status(shared_stack, made["token"], f"/api/projects/{own}") == 200
    assert status(shared_stack, made["token"], f"/api/projects/{other}") == 403
    assert next(row for row in rows(shared_stack) if row["id"] == made["id"])["project_slug"] == own
    trail = httpx.get(
        f"{shared_stack.address}/api/projects/{own}/audit-events?event_code=token.create",
        headers=headers,
        timeout=30,
    ).json()["audit_events"]
    assert [event["payload_json"] for event in trail] == [{"token_id": made["id"]}]


def test_a_token_with_scopes_may_do_no_more(shared_stack: Up) -> None:
    arguments = ("create", "--scope", "review", "--scope", "read", "--label", "reviewer")
    made = json.loads(run(shared_stack, *arguments, "--json")[1])

    assert made["scopes"] == ["read", "review"]
    assert status(shared_stack, made["token"]) == 200
    assert status(shared_stack, made["token"], "/auth/tokens") == 403
    assert next(row for row in rows(shared_stack) if row["id"] == made["id"])["scopes"] == ["read", "review"]
    listed = " ".join(run(shared_stack, "list")[1].split())
    assert "read, review" in listed


def test_the_list_names_tokens_and_shows_no_secret(shared_stack: Up) -> None:
    code, listed, _ = run(shared_stack, "list")

    assert code == 0
    assert "kroma up" in listed
    assert shared_stack.token()[:12] in listed
    assert shared_stack.token() not in listed


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("create", "--project", "nope"), 3, "kroma: Project not found", id="unknown project"),
        pytest.param(("create", "--expires-at", "soon"), 2, "kroma: Field 'expires_at' must be", id="expiry"),
        pytest.param(
            ("create", "--scope", "read", "--scope", "write"),
            2,
            "kroma: Field 'scopes' must only name: read, review, create,",
            id="unknown scope",
        ),
        pytest.param(("create", "--scope", ""), 2, "kroma: Field 'scopes' must only name:", id="no scope"),
        pytest.param(("revoke", "nope"), 3, "kroma: Auth token not found", id="unknown token"),
        pytest.param(("revoke",), 2, "Usage:", id="no token"),
    ],
)
def test_a_wrong_use_says_why(shared_stack: Up, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, output, complaint = run(shared_stack, *arguments)

    assert (ended, output) == (code, "")
    assert complaint.startswith(said)
