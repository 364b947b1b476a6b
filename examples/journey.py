"""The first four steps of a studio's journey, J00 to J03, with plain HTTP.

    python examples/journey.py [ADDRESS] [TOKEN]

Address and token default to ``KROMA`` and ``TOKEN``. Running it again keeps what exists.
Start Kroma with ``kroma up``; ``kroma token show`` prints the token.
"""

import json
import os
import struct
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

SLUG = "journey"
AT = f"/api/projects/{SLUG}"


class Api:
    """Sends requests and prints what was done."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address.rstrip("/")
        self._token = token

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """The status and the response, which is JSON even when it is an error."""
        request = urllib.request.Request(  # noqa: S310 - the address is the caller's own
            self._address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
                return response.status, json.load(response)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def get(self, path: str) -> dict[str, Any]:
        return self._expect_ok("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._expect_ok("POST", path, body)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._expect_ok("PUT", path, body)

    def named(self, section: str, body: dict[str, Any]) -> dict[str, Any]:
        """The row with this name, created unless it exists."""
        plural = section.replace("-", "_")
        for row in self.get(f"{AT}/{section}")[plural]:
            if row["name"] == body["name"]:
                print(f"       {section}: {body['name']!r} exists")
                return row
        return self.post(f"{AT}/{section}", body)[plural.removesuffix("s")]

    def _expect_ok(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        status, reply = self.send(method, path, body)
        print(f"  {status}  {method:4} {path}")
        if not reply["ok"]:
            sys.exit(f"{method} {path}: {reply['error_code']}: {reply['error']}")
        return reply


def onboarding(api: Api) -> None:
    """J00: check that Kroma responds, and create a token."""
    print("J00 onboarding")
    health = api.get("/health")
    print(f"       {health['service']} {health['version']}, {health['route_count']} routes")
    label = "examples/journey.py"
    if not any(row["label"] == label and row["active"] for row in api.get("/auth/tokens")["auth_tokens"]):
        made = api.post("/auth/token", {"label": label})["auth_token"]
        print(f"       created a token, {made['token_prefix']}..., shown only once")


def project(api: Api) -> Path:
    """J01: create a project with a provider account and a key."""
    print("J01 project")
    api.post("/api/projects", {"name": "Journey", "description": "A walk through Kroma"})
    api.post(
        f"{AT}/provider-accounts",
        {"provider_code": "openai", "display_name": "OpenAI", "config_json": {"region": "eu"}},
    )
    secret = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "not-a-real-key"}
    api.post(f"{AT}/secrets", secret)
    root = Path(api.get(f"{AT}/storage")["storage"]["local"]["project_root"])
    print(f"       files are in {root}")
    return root


def references(api: Api, root: Path) -> None:
    """J02: add pictures, a reference set, a style guide, a character and a prompt template."""
    print("J02 references")
    pictures = {"scenes/harbor.png": (90, 140, 190), "styles/ink.png": (40, 40, 40)}
    for name, color in pictures.items():
        write_picture(root / name, color)
        print(f"       wrote {name}")
    harbor = api.named("reference-sets", {"name": "Harbor", "description": "Where it begins"})
    items = f"{AT}/reference-sets/{harbor['id']}/items"
    if not api.get(items)["items"]:
        api.post(items, {"label": "The quay", "content_uri": "scenes/harbor.png"})
        api.post(items, {"label": "Light", "content_text": "Early, from the east", "sort_order": 1})
    guide = {"name": "Ink", "instructions": "Heavy outlines, two grays", "notes": "No color"}
    api.named("style-guides", guide)
    api.named("characters", {"name": "Mara", "description": "The captain", "prompt_text": "a gray braid"})
    api.named("prompt-templates", {"name": "Page", "template_text": "{character} at {place}"})


def bootstrap(api: Api) -> None:
    """J03: export a prompt for any chat model, preview its answer, then import it."""
    print("J03 bootstrap")
    prompt = api.get(f"{AT}/bootstrap-prompt")["bootstrap"]["prompt"]
    print(f"       a prompt of {len(prompt)} characters, to paste into a chat")
    answer = "Here you are:\n```json\n" + json.dumps(ANSWER) + "\n```\nAnything else?"
    for dry_run in (True, False):
        body = {"mode": "merge", "ai_response_text": answer, "dry_run": dry_run}
        done = api.post(f"{AT}/bootstrap-import", body)["bootstrap_import"]
        changes = done["changes"]["characters"]
        print(
            f"       {'would create' if dry_run else 'created'} {changes['created']} characters,"
            f" {'change' if dry_run else 'changed'} {changes['updated']}"
        )


ANSWER = {
    "mode": "merge",
    "settings": {"characters": [{"name": "Tomas", "description": "The pilot", "prompt_text": "a red coat"}]},
}
"""A possible answer of a chat model."""


def plan(api: Api) -> None:
    """Plan a run and generate nothing."""
    print("dry run")
    spec = {"mode": "dry", "input": "scenes", "style_refs": ["styles/ink.png"], "candidates": 2}
    run = api.post(f"{AT}/runs/trigger", spec)["run"]
    jobs = api.get(f"{AT}/runs/{run['id']}/jobs")
    print(f"       planned {jobs['count']} job(s); the first is {jobs['jobs'][0]['job_key']}")


def write_picture(path: Path, color: tuple[int, int, int], size: int = 64) -> None:
    """Write a PNG of one color, directly into the project's folder."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = (b"\0" + bytes(color) * size) * size
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    """Run all steps."""
    given = dict(zip(("KROMA", "TOKEN"), sys.argv[1:], strict=False))
    address = given.get("KROMA") or os.environ.get("KROMA", "http://127.0.0.1:8788")
    token = given.get("TOKEN") or os.environ.get("TOKEN")
    if not token:
        sys.exit("Give a token: export TOKEN=$(kroma token show)")
    api = Api(address, token)
    onboarding(api)
    root = project(api)
    references(api, root)
    bootstrap(api)
    plan(api)


if __name__ == "__main__":
    main()
