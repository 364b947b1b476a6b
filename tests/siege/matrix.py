"""Every operation times every kind of caller, and every way to name another project's things."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from siege import wire
from siege.evidence import Answer, Caller
from siege.expectations import EXPECTED, Access, opened_by
from siege.rules import Verdict, none_of
from siege.targets import SCOPES, Field, Target, shows
from support.builders.factories import png

AT_ONCE: Final = 12
CODES: Final = {
    "unauthorized": (401, "unauthorized"),
    "forbidden": (403, "forbidden"),
    "insufficient_scope": (403, "insufficient_scope"),
}
OPEN: Final = "open"
NOT_IDS: Final = frozenset({"slug", "provider_code", "secret_name", "tool", "token_id"})
"""Parameters that name the same thing in every project."""
BODIES: Final[Mapping[str, Any]] = {"POST /auth/token": {"label": "siege", "scopes": ["admin"]}}
"""Where the document's example asks for more than every caller who is let in may have."""
MONEY_OR_SETTINGS: Final = re.compile(
    r"\w*_usd|spend|cost|cost_events|provider_calls?|settings_snapshot_json|project_root|base_dir|bucket|endpoint_url"
)
PAID: Final = {
    "mode": "run",
    "confirm_spend": True,
    "input": "scenes",
    "style_refs": ["styles/ink.png"],
    "provider": "openai",
}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the OpenAPI document."""

    method: str
    path: str
    body: Any = None
    """The document's own example, where it takes JSON."""
    is_form: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def at(self, known: Mapping[str, str]) -> str:
        """The path with these values."""
        path = self.path
        for name in self.parameters:
            path = path.replace(f"{{{name}}}", quote(known[name], safe=""))
        return path


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller was answered, and what it should have been."""

    operation: str
    caller: str
    expected: str
    answer: Answer
    shows_foreign: bool = False
    """Whether it holds something of a project that is not the caller's."""


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All of a document."""
    found: list[Operation] = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("example")
            found.append(
                Operation(
                    method=method.upper(), path=path, body=body, is_form="multipart/form-data" in content
                )
            )
    return found


def unexpected(names: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Routes without an expectation, and expectations without a route."""
    routes, known = set(names), set(expected)
    return [
        *(
            f"{name} has no expectation: say in tests/siege/expectations.py who may do it"
            for name in sorted(routes - known)
        ),
        *(f"{name} is expected and no route has it" for name in sorted(known - routes)),
    ]


def misjudged(asked: Iterable[Asked]) -> list[str]:
    """Answers that let in who should not come in, keep out who should, or refuse with a wrong code."""
    found: list[str] = []
    for it in asked:
        got = f"{it.answer.status} {it.answer.code}".strip() if it.answer.status else it.answer.text
        if it.expected == OPEN:
            if not it.answer.is_open:
                found.append(f"{it.operation} by {it.caller}: should be let in, was answered {got}")
        elif (it.answer.status, it.answer.code) != CODES[it.expected]:
            wanted = " ".join(map(str, CODES[it.expected]))
            found.append(f"{it.operation} by {it.caller}: should be {wanted}, was answered {got}")
    return found


def leaks(asked: Iterable[Asked]) -> list[str]:
    """Answers that hold something of a project that is not the caller's."""
    return [f"{it.operation} by {it.caller} shows another project" for it in asked if it.shows_foreign]


async def attack(field: Field) -> list[Verdict]:
    document = await field.owner.made("GET", "/schema/openapi.json")
    every = operations(document)
    verdicts = [
        none_of(
            "every operation has an expectation",
            unexpected((it.name for it in every), EXPECTED),
            tried=len(every),
            what="operations",
        )
    ]
    known = [it for it in every if it.name in EXPECTED]
    field.chance.shuffle(known)
    refused = [cell for it in known for cell in cells(field, it) if cell[2] != OPEN]
    let_in = [cell for it in known for cell in cells(field, it) if cell[2] == OPEN]
    # Those that are refused first: who is let in changes and deletes.
    asked = [*await ask_all(field, refused), *await ask_all(field, let_in)]
    await field.owner.ask("POST", f"{field.attacker.path}/resume")
    paid = [*await _paid(field), *await _raised(field)]
    crossed = [*await _crossed(field, known), *await _named_in_bodies(field), *await _paths(field)]
    everything = [*asked, *paid, *crossed]
    return [
        *verdicts,
        none_of("the matrix lets in and keeps out", misjudged(asked), tried=len(asked), what="requests"),
        none_of(
            "no body does more than its token's scopes", misjudged(paid), tried=len(paid), what="requests"
        ),
        none_of(
            "a reviewer sees neither money nor settings",
            shown_to_reviewers(asked),
            tried=sum(it.caller.endswith("scope review") and it.answer.status < 300 for it in asked),
            what="answers",
        ),
        none_of("nobody uses another project's things", used(crossed), tried=len(crossed), what="requests"),
        none_of("no answer shows another project", leaks(everything), tried=len(everything), what="answers"),
        none_of(
            "a token says which scopes it has",
            unsaid(field.answered_scopes),
            tried=len(SCOPES),
            what="tokens",
        ),
    ]


def unsaid(answered: Mapping[str, Any]) -> list[str]:
    """Tokens that were asked for with one scope and answered with another, or with none."""
    return [
        f"a token made with scope {scope} was answered with {said!r}"
        for scope, said in answered.items()
        if said != [scope]
    ]


def shown_to_reviewers(asked: Iterable[Asked]) -> list[str]:
    """Money and settings in what a reviewer was answered, at whatever depth."""
    return [
        f"{it.operation} shows a reviewer {name}"
        for it in asked
        if it.caller.endswith("scope review") and it.answer.status < 300
        for name in _held(it.answer.json)
    ]


def _held(value: Any) -> list[str]:
    """The names of fields with money or settings in them."""
    if isinstance(value, list):
        return [name for one in value for name in _held(one)]
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for name, held in value.items():
        if MONEY_OR_SETTINGS.fullmatch(name) and _says_something(held):
            found.append(name)
        else:
            found += _held(held)
    return found


def _says_something(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_says_something(held) for held in value.values())
    return value not in (None, "", [], False)


def used(asked: Iterable[Asked]) -> list[str]:
    """Requests that named a thing of another project and were not refused."""
    return [
        f"{it.operation} by {it.caller} was answered {it.answer.status}"
        for it in asked
        if not 400 <= it.answer.status < 500
    ]


Cell = tuple[Operation, Caller, str, str]
"""An operation, who asks, what should come of it, and what the caller is called."""


def cells(field: Field, operation: Operation) -> list[Cell]:
    accesses = EXPECTED[operation.name]
    is_public, is_signed = Access.PUBLIC in accesses, Access.SIGNED in accesses
    cells: list[Cell] = []

    def add(caller: Caller, name: str, expected: str) -> None:
        cells.append((operation, caller, OPEN if is_public else "forbidden" if is_signed else expected, name))

    for name, caller in field.gone.items():
        add(caller, name, "unauthorized")
    in_project = "slug" in operation.parameters
    needs_installation = Access.INSTALLATION in accesses
    add(field.owner, "the installation", OPEN)
    add(field.whole, "the project", "forbidden" if needs_installation else OPEN)
    add(
        field.neighbor_whole,
        "another project",
        "forbidden" if needs_installation or in_project else OPEN,
    )
    opening = opened_by(accesses)
    for scope in SCOPES:
        expected = OPEN if scope in opening else "insufficient_scope"
        add(field.wide[scope], f"the installation's scope {scope}", expected)
        add(field.scoped[scope], f"scope {scope}", "forbidden" if needs_installation else expected)
    return cells


async def ask_all(field: Field, cells: Sequence[Cell]) -> list[Asked]:
    locations = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Cell) -> Asked:
        operation, caller, expected, name = cell
        async with locations:
            answer = await _ask(caller, operation, field.attacker.known)
        is_own = caller is field.owner or caller is field.neighbor_whole or caller in field.wide.values()
        return Asked(
            operation=operation.name,
            caller=name,
            expected=expected,
            answer=answer,
            shows_foreign=not is_own and (shows(answer, field.victim) or shows(answer, field.neighbor)),
        )

    return list(await asyncio.gather(*(one(cell) for cell in cells)))


async def _ask(caller: Caller, operation: Operation, known: Mapping[str, str]) -> Answer:
    options: dict[str, Any] = {}
    if operation.is_form:
        options["files"] = {"file": ("dot.png", png(8, 8), "image/png")}
    elif operation.method in {"POST", "PUT"}:
        body = BODIES.get(operation.name, operation.body)
        options["json"] = {} if body is None else body
    if operation.path.endswith("/events"):
        options["headers"] = {"Accept": "application/json"}
    return await caller.ask(
        operation.method, operation.at(known), shows_token=operation.path == "/auth/token", **options
    )


async def _paid(field: Field) -> list[Asked]:
    """What costs money by what is in the body: only ``spend`` opens it."""
    at, known = field.attacker.path, field.attacker.known
    bodies = {
        f"POST {at}/runs/trigger": PAID,
        f"POST {at}/runs/{known['run_id']}/rerun": {"confirm_spend": True, "provider": "openai"},
    }
    imported = {
        "settings": {"provider_accounts": [{"provider_code": "openai", "base_url": "http://127.0.0.1:9/v1"}]}
    }
    asked: list[Asked] = []
    for scope in ("create", "review", "read", "spend"):
        for request, body in bodies.items():
            method, _, path = request.partition(" ")
            answer = await field.scoped[scope].ask(method, path, json=body)
            asked.append(
                Asked(
                    operation=f"{request.replace(known['run_id'], '{run_id}')} for money",
                    caller=f"scope {scope}",
                    expected=OPEN if scope == "spend" else "insufficient_scope",
                    answer=answer,
                )
            )
    # Whoever says where a key is sent can read it.
    answer = await field.scoped["create"].ask("POST", f"{at}/bootstrap-import", json=imported)
    asked.append(
        Asked(
            operation=f"POST {P_IMPORT} of provider accounts",
            caller="scope create",
            expected="insufficient_scope",
            answer=answer,
        )
    )
    return asked


P_IMPORT: Final = "/api/projects/{slug}/bootstrap-import"


async def _raised(field: Field) -> list[Asked]:
    """Tokens that try to make or revoke one that may do more than they."""
    listed = (await field.owner.made("GET", "/auth/tokens"))["auth_tokens"]
    owners = next(it["id"] for it in listed if field.owner.token.startswith(it["token_prefix"]))
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/auth/token", {}),
        ("POST", "/auth/token", {"scopes": None}),
        ("POST", "/auth/token", {"scopes": ["admin", "read"]}),
        ("POST", "/auth/token", {"scopes": ["secrets"], "project_slug": field.victim.slug}),
        ("DELETE", f"/auth/tokens/{owners}", {}),
    ]
    asked: list[Asked] = []
    for method, path, body in requests:
        options: dict[str, Any] = {"json": body} if method == "POST" else {}
        answer = await field.wide["admin"].ask(method, path, shows_token=True, **options)
        asked.append(
            Asked(
                operation=f"{method} {path.replace(owners, '{token_id}')} with {body}",
                caller="the installation's scope admin",
                expected="insufficient_scope",
                answer=answer,
            )
        )
    return asked


async def _crossed(field: Field, known: Sequence[Operation]) -> list[Asked]:
    """The attacker's own path with the ids of the victim."""
    asked: list[Asked] = []
    for operation in known:
        ids = [name for name in operation.parameters if name not in NOT_IDS]
        if not ids or "slug" not in operation.parameters:
            continue
        for mixed in _mixtures(ids, field.attacker, field.victim):
            answer = await _ask(field.whole, operation, mixed)
            asked.append(
                Asked(
                    operation=f"{operation.name} with ids of another",
                    caller="the project",
                    expected=OPEN,
                    answer=answer,
                    shows_foreign=shows(answer, field.victim),
                )
            )
    return asked


def _mixtures(ids: Sequence[str], own: Target, other: Target) -> list[dict[str, str]]:
    """Each id by itself taken from the other project, and all of them."""
    single = [{**own.known, name: other.known[name]} for name in ids]
    return single if len(ids) == 1 else [*single, {**own.known, **{name: other.known[name] for name in ids}}]


async def _named_in_bodies(field: Field) -> list[Asked]:
    """Bodies that name things of the victim by their ids."""
    at, theirs = field.attacker.path, field.victim.known
    dry = {"mode": "dry", "input": "scenes", "style_refs": ["styles/ink.png"]}
    scene = {"mode": "dry", "style_refs": ["styles/ink.png"], "scene_refs": [theirs["asset_id"]]}
    orders = {
        "scene": scene,
        "style": {**dry, "style_refs": [theirs["asset_id"]]},
        "style guide": {**dry, "style_guide_id": theirs["style_guide_id"]},
        "template": {**dry, "prompt_template_id": theirs["template_id"]},
        "reference set": {**dry, "reference_set_ids": [theirs["reference_set_id"]]},
        "character": {**dry, "character_ids": [theirs["character_id"]]},
        "baseline": {
            "mode": "dry",
            "baseline_run_id": theirs["run_id"],
            "stage": "time",
            "time": "night",
            "style_refs": ["styles/ink.png"],
        },
    }
    own = field.attacker.known["asset_id"]
    requests: list[tuple[str, str, dict[str, Any]]] = [
        (f"{at}/runs/{route}", name, {"json": body})
        for route in ("trigger", "quote")
        for name, body in orders.items()
    ]
    for parent, child in ((theirs["asset_id"], own), (own, theirs["asset_id"])):
        body = {"parent_asset_id": parent, "child_asset_id": child, "link_type": "mask_for"}
        requests.append((f"{at}/asset-links", "asset", {"json": body}))
    form = {
        "files": {"file": ("dot.png", png(9, 9), "image/png")},
        "data": {"reference_set_id": theirs["reference_set_id"]},
    }
    requests.append((f"{at}/assets", "reference set", form))
    item = {"label": "x", "content_uri": theirs["asset_id"]}
    items = f"{at}/reference-sets/{field.attacker.known['reference_set_id']}/items"
    asked: list[Asked] = []
    for path, name, options in requests:
        answer = await field.whole.ask("POST", path, **options)
        asked.append(_foreign(field, f"POST {path} naming a {name} of another", answer))
    # An item may hold any text as its address, so it may be taken; it must show nothing.
    answer = await field.whole.ask("POST", items, json=item)
    shown = await field.whole.ask("GET", items)
    if shows(answer, field.victim) or shows(shown, field.victim):
        asked.append(_foreign(field, f"POST {items}", answer))
    return asked


def _foreign(field: Field, operation: str, answer: Answer) -> Asked:
    return Asked(
        operation=operation,
        caller="the project",
        expected=OPEN,
        answer=answer,
        shows_foreign=shows(answer, field.victim),
    )


async def _paths(field: Field) -> list[Asked]:
    """Ways to write the victim's path so that one part of the API reads it as the attacker's."""
    own, other = field.attacker.slug, field.victim.slug
    written = (
        f"/api/projects/{own}/../{other}",
        f"/api/projects/{own}/%2e%2e/{other}",
        f"/api/projects/{own}%2f..%2f{other}",
        f"/api/projects//{other}",
        f"//api/projects/{other}",
        f"/API/projects/{other}",
        f"/api/projects/{other.upper()}",
        f"/api/projects/{other}%00",
        f"/api/projects/{other}%20",
        f"/api/projects/{other};{own}",
        f"/api/projects/{other}/",
        f"/./api/projects/{other}",
        f"/api/./projects/{other}",
        f"/api%2fprojects/{other}",
        f"/health/../api/projects/{other}",
        f"http://{own}/api/projects/{other}",
    )
    asked: list[Asked] = []
    for path in written:
        for method in ("GET", "HEAD", "OPTIONS"):
            for caller, name in ((field.whole, "the project"), (field.gone["none"], "nobody")):
                answer = await _raw(field, caller, method, path)
                asked.append(
                    Asked(
                        operation=f"{method} {path}",
                        caller=name,
                        expected=OPEN,
                        answer=answer,
                        shows_foreign=shows(answer, field.victim),
                    )
                )
    return asked


async def _raw(field: Field, caller: Caller, method: str, path: str) -> Answer:
    address = field.stack.up.address
    headers = [("Host", address.removeprefix("http://")), ("Connection", "close"), *caller.headers.items()]
    data = wire.request_bytes(method, path, headers)
    return await wire.ask(address, data, evidence=field.evidence)
