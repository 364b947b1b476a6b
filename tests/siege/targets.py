"""Three projects with one of everything, and callers with tokens of every kind."""

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import httpx
import msgspec

from siege.evidence import Answer, Caller, Evidence
from siege.plan import FULL, Size
from siege.planted import Planted
from siege.stack import Prober, Stack, Watch
from style_references import style_reference
from support.builders.factories import scene_png

SCOPES: Final = ("read", "review", "create", "spend", "storage", "secrets", "admin")
RUN: Final = {
    "mode": "run",
    "confirm_spend": True,
    "input": "scenes",
    "style_refs": ["styles/ink.png"],
    "candidates": 1,
    "provider": "local",
}
_NOT_OF_THE_PROJECT: Final = frozenset({"api_tokens"})
"""Whose rows change when somebody looks in: they know when they were last used."""


CHECKSUM: Final = "SELECT count(*) || ' rows ' || md5(coalesce(string_agg(t::text, '' ORDER BY t::text), ''))"


class Target(msgspec.Struct, kw_only=True):
    """A project, an id for every parameter of its paths, and the mark in each of its texts."""

    slug: str
    project_id: str
    root: Path
    mark: str
    known: dict[str, str]
    pictures: frozenset[bytes] = frozenset()
    """SHA-256 of its own pictures, which no other project has."""

    @property
    def path(self) -> str:
        return f"/api/projects/{quote(self.slug)}"

    def tree(self) -> dict[str, str]:
        """The SHA-256 of every file in its folder."""
        return hashes(self.root)


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, links as what they say."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Field(msgspec.Struct, kw_only=True):
    """Where the siege takes place."""

    stack: Stack
    evidence: Evidence
    client: httpx.AsyncClient
    planted: Planted
    chance: random.Random
    owner: Caller
    attacker: Target
    neighbor: Target
    victim: Target
    scoped: dict[str, Caller]
    """Of the attacker's project, by scope."""
    wide: dict[str, Caller]
    """Of the installation, by scope."""
    whole: Caller
    """The attacker's token without scopes: all of its project."""
    neighbor_whole: Caller
    gone: dict[str, Caller]
    """Tokens that no longer count, and headers that are none, by what is wrong with them."""
    answered_scopes: dict[str, Any]
    """What the API said of each scoped token's scopes when it made it."""
    size: Size = FULL
    watch: Watch | None = None
    prober: Prober | None = None
    say: Callable[[str], None] = print

    def begin(self, phase: str) -> None:
        """What is timed and weighed from here on belongs to this phase; an empty one is not timed."""
        if self.watch is not None and phase:
            self.watch.phase = phase
        if self.prober is not None:
            self.prober.begin(phase)

    def caller(self, token: str | None) -> Caller:
        return Caller(self.client, self.evidence, token)


async def build(stack: Stack, evidence: Evidence, client: httpx.AsyncClient, seed: int) -> Field:
    """Make the projects and the tokens."""
    owner = Caller(client, evidence, stack.up.token())
    planted = stack.planted
    attacker, neighbor, victim = await asyncio.gather(
        *(_target(owner, stack, f"{name} {seed}") for name in ("Attacker", "Neighbor", "Victim"))
    )
    field = Field(
        stack=stack,
        evidence=evidence,
        client=client,
        planted=planted,
        chance=random.Random(seed),  # noqa: S311 - an order of attacks, no secret
        owner=owner,
        attacker=attacker,
        neighbor=neighbor,
        victim=victim,
        scoped={},
        wide={},
        whole=await _token(owner, planted, "project token", project_slug=attacker.slug),
        neighbor_whole=await _token(owner, planted, "neighbor's token", project_slug=neighbor.slug),
        gone={},
        answered_scopes={},
    )
    for scope in SCOPES:
        made = await made_token(owner, project_slug=attacker.slug, scopes=[scope])
        planted.add("scoped token", made["token"])
        field.scoped[scope] = field.caller(made["token"])
        field.answered_scopes[scope] = made.get("scopes")
        wide = await made_token(owner, scopes=[scope])
        field.wide[scope] = field.caller(planted.add("scoped token", wide["token"]))
    await _make_gone(field)
    return field


async def _make_gone(field: Field) -> None:
    revoked = await made_token(field.owner, project_slug=field.attacker.slug)
    await field.owner.made("DELETE", f"/auth/tokens/{revoked['id']}")
    expired = await made_token(field.owner, project_slug=field.attacker.slug, expires_at="2020-01-31")
    planted = field.planted
    field.gone = {
        "none": field.caller(None),
        "wrong": field.caller(planted.make("mistyped token", like="kroma_{}00112233445566778899aabb")),
        "revoked": field.caller(planted.add("revoked token", revoked["token"])),
        "expired": field.caller(planted.add("expired token", expired["token"])),
        "malformed": HeaderCaller(
            field.client, field.evidence, "Basic " + planted.make("Basic credentials", like="dXNlcjp{}")
        ),
        "two words": HeaderCaller(field.client, field.evidence, f"Bearer {field.owner.token} {'x' * 8}"),
    }


class HeaderCaller(Caller):
    """One who sends a header of a form of its own."""

    def __init__(self, client: httpx.AsyncClient, evidence: Evidence, authorization: str) -> None:
        super().__init__(client, evidence, None)
        self._authorization = authorization

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization}


async def made_token(owner: Caller, **body: Any) -> dict[str, Any]:
    return (await owner.made("POST", "/auth/token", json=body, shows_token=True))["auth_token"]


async def _token(owner: Caller, planted: Planted, kind: str, **body: Any) -> Caller:
    made = await made_token(owner, **body)
    return Caller(owner._client, owner._evidence, planted.add(kind, made["token"]))  # noqa: SLF001


async def _target(owner: Caller, stack: Stack, name: str) -> Target:
    """A project over HTTP, and over the database what HTTP does not make."""
    mark = f"mark-of-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    made = await owner.made("POST", "/api/projects", json={"name": name, "description": mark})
    slug, project_id = made["project"]["slug"], made["project"]["id"]
    root = Path(made["storage"]["local"]["project_root"])
    for number, scene in enumerate(("scenes/harbor.png", "scenes/tower.png")):
        _put(root / scene, scene_png(seed=int(mark[-6:], 16) + number))
    _put(root / "styles/ink.png", style_reference("noir ink", size=(160, 200)))
    _put(root / "notes.json", json.dumps({"mark": mark}).encode())
    at = f"/api/projects/{quote(slug)}"
    ran = await owner.made("POST", f"{at}/runs/trigger", json=RUN, headers={"Prefer": "wait=60"}, timeout=90)
    detail = await owner.made("GET", f"{at}/runs/{ran['run']['id']}")
    known = await _resources(owner, at, mark)
    assets = (await owner.made("GET", f"{at}/assets?kind=input"))["assets"]
    pair = {"parent_asset_id": assets[0]["id"], "child_asset_id": assets[1]["id"]}
    link = await owner.made("POST", f"{at}/asset-links", json={**pair, "link_type": "variant_of"})
    known |= {
        "slug": slug,
        "run_id": ran["run"]["id"],
        "job_id": detail["jobs"][0]["id"],
        "asset_id": assets[0]["id"],
        "link_id": link["asset_link"]["id"],
        **await _rows(stack.state["database_url"], project_id, ran["run"]["id"], detail["jobs"][0], mark),
    }
    own = frozenset(
        bytes.fromhex(digest)
        for name, digest in hashes(root).items()
        if not name.startswith("styles/") and "link" not in digest
    )
    return Target(slug=slug, project_id=project_id, root=root, mark=mark, known=known, pictures=own)


async def _resources(owner: Caller, at: str, mark: str) -> dict[str, str]:
    async def post(path: str, key: str, **body: Any) -> Any:
        return (await owner.made("POST", f"{at}/{path}", json=body))[key]

    reference_set = await post("reference-sets", "reference_set", name=f"Set {mark}")
    set_path = f"reference-sets/{reference_set['id']}/items"
    session = await post("chat/sessions", "session", title=mark)
    await post(f"chat/sessions/{session['id']}/messages", "message", role="user", content=mark)
    account = {"provider_code": "openai", "account_ref": mark, "enabled": False}
    await post("provider-accounts", "provider_account", **account)
    await post("secrets", "secret", provider_code="other", secret_name="key", secret_value=f"value-{mark}")
    await owner.made("PUT", f"{at}/budget", json={"limit_usd": 20.0, "period": "total"})
    imported = await post("bootstrap-import", "import_id", settings={"characters": [{"name": f"I {mark}"}]})
    return {
        "token_id": "00000000-0000-4000-8000-000000000000",
        "template_id": (await post("prompt-templates", "prompt_template", name=mark, template_text=mark))[
            "id"
        ],
        "style_guide_id": (await post("style-guides", "style_guide", name=mark, instructions=mark))["id"],
        "character_id": (await post("characters", "character", name=f"C {mark}"))["id"],
        "reference_set_id": reference_set["id"],
        "item_id": (await post(set_path, "item", label=mark, content_text=mark))["id"],
        "session_id": session["id"],
        "instruction_id": (await post("agent/instructions", "instruction", instruction_text=mark))["id"],
        "import_id": str(imported),
        "provider_code": "openai",
        "secret_name": "key",
        "tool": "inspect",
    }


async def _rows(
    database_url: str, project_id: str, run_id: str, job: Mapping[str, Any], mark: str
) -> dict[str, str]:
    """An export, a call whose answer was lost, and a sync, which no request makes at once."""
    connection = await asyncpg.connect(database_url)
    try:
        call = await connection.fetchval(
            "INSERT INTO provider_calls (id, project_id, run_id, job_id, job_key, candidate_index, number,"
            " fence, provider_code, model_name, operation, status)"
            " VALUES (gen_random_uuid(), $1, $2, $3, $4, 1, 1, 1, 'openai', $5, 'image_edit', 'unknown')"
            " RETURNING id",
            project_id,
            run_id,
            job["id"],
            job["job_key"],
            mark,
        )
        export = await connection.fetchval(
            "INSERT INTO project_exports (id, project_id, status, export_format, rel_path, manifest_json)"
            " VALUES (gen_random_uuid(), $1, 'completed', 'zip', $2, '{}') RETURNING id",
            project_id,
            mark,
        )
        sync = await connection.fetchval(
            "INSERT INTO sync_jobs (id, project_id, status, project_root, destination)"
            " VALUES (gen_random_uuid(), $1, 'done', '/p', $2) RETURNING id",
            project_id,
            f"s3://{mark}/p/",
        )
    finally:
        await connection.close()
    return {"call_id": str(call), "export_id": str(export), "sync_id": str(sync)}


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


async def rows_of(database_url: str, project_id: str) -> dict[str, str]:
    """A checksum of a project's rows in every table that has some."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'project_id'"
        )
        found: dict[str, str] = {}
        for (table,) in tables:
            if table not in _NOT_OF_THE_PROJECT:
                query = f'{CHECKSUM} FROM "{table}" t WHERE project_id = $1'
                found[table] = await connection.fetchval(query, project_id)
        found["projects"] = await connection.fetchval(
            "SELECT md5(t::text) FROM projects t WHERE id = $1", project_id
        )
        return found
    finally:
        await connection.close()


def changes(before: Mapping[str, str], after: Mapping[str, str], *, of: str) -> list[str]:
    """What differs between two readings."""
    return [
        f"{of}: {name} was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def shows(answer: Answer, target: Target) -> bool:
    """Whether an answer holds anything of a project."""
    return (
        target.mark in answer.text
        or target.project_id in answer.text
        or hashlib.sha256(answer.body).digest() in target.pictures
    )
