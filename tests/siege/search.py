"""What must be as it was before, and where no secret may be found."""

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import psutil

from siege.planted import (
    LEAST_KINDS,
    Secret,
    command_lines,
    environments,
    file_contents,
    found_in,
    open_modes,
    printed,
    redis_values,
    table_rows,
)
from siege.rules import Verdict, none_of
from siege.targets import Field, changes, rows_of
from support.servers.kroma_stack import kroma

KEPT: Final = (
    "token",
    "callback.key",
    "var/backend/master.key",
    "run/stack.json",
    "postgres/password",
    "postgres/app_password",
    "valkey/valkey.conf",
)
"""Kroma's own files that nothing but a start changes."""


async def untouchable(field: Field) -> dict[str, Mapping[str, str]]:
    """The victim's files and rows, and Kroma's own files."""
    field.planted.add("master key", _master_key(field), lies_in=("var/backend/master.key",))
    return await _reading(field)


def _master_key(field: Field) -> str:
    return field.stack.master_key_file.read_text().strip()


async def _reading(field: Field) -> dict[str, Mapping[str, str]]:
    data = field.stack.data_dir
    own = {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest()
        for name in KEPT
        if (data / name).is_file()
    }
    return {
        "the victim's files": field.victim.tree(),
        "the victim's rows": await rows_of(field.stack.state["database_url"], field.victim.project_id),
        "Kroma's files": own,
    }


async def verdicts(field: Field, before: Mapping[str, Mapping[str, str]]) -> list[Verdict]:
    after = await _reading(field)
    changed = [line for of in before for line in changes(before[of], after[of], of=of)]
    told = await plant(field)
    secrets = _with_shorter(field.planted.secrets)
    found, sources = await _found(field, secrets)
    found += told
    kinds = len(field.planted.kinds)
    if kinds < LEAST_KINDS:
        found.append(f"only {kinds} kinds of secrets were planted, at least {LEAST_KINDS} are wanted")
    passed = _passed_through(field.stack.data_dir)
    modes = list(open_modes(field.stack.data_dir, passed_through=passed))
    files = sum(1 for _ in field.stack.data_dir.rglob("*"))
    return [
        none_of("nothing of the victim or of Kroma changed", changed, tried=len(before), what="readings"),
        none_of(
            "no answer was an error of ours",
            field.evidence.errors,
            tried=field.evidence.count,
            what="answers",
        ),
        none_of("no log holds a traceback", _tracebacks(field.stack.data_dir / "logs"), tried=1, what="logs"),
        none_of(
            f"no secret of {kinds} kinds is found where it does not belong",
            found,
            tried=len(secrets),
            what=f"secrets in {sources} places",
        ),
        none_of("no other account can read what Kroma keeps", modes, tried=files, what="files and folders"),
    ]


def _with_shorter(secrets: Iterable[Secret]) -> list[Secret]:
    """Each secret once."""
    return list({secret.value: secret for secret in secrets}.values())


def _tracebacks(logs: Path) -> list[str]:
    found: list[str] = []
    for file in sorted(logs.iterdir()):
        lines = file.read_text(errors="replace").splitlines()
        found += [f"{file.name}: {line[:160]}" for line in lines if "Traceback" in line]
    return found


def _passed_through(data_dir: Path) -> list[str]:
    """The folders on the way to the database's files, which another account owns when we are root."""
    owned = (data_dir / "postgres" / "cluster").exists() and (
        data_dir / "postgres" / "cluster"
    ).owner() != "root"
    return [".", "postgres"] if owned and data_dir.owner() == "root" else []


async def plant(field: Field) -> list[str]:
    """Put secrets where people put them by mistake; what was told at once."""
    planted, at = field.planted, field.attacker.path
    token = planted.make("token in a path", like="kroma_{}0011223344556677889900aa")
    nobody, whole = field.gone["none"], field.whole
    for path in (f"/api/projects/{token}", f"/{token}", f"/auth/tokens/{token}", f"{at}/runs/{token}"):
        for caller in (nobody, whole, field.owner):
            await caller.ask("GET", path)
    await whole.ask("DELETE", f"/auth/tokens/{token}")
    await whole.ask("POST", f"{at}/{token}", json={})
    in_query = planted.make("token in a query", like="kroma_{}ffeeddccbbaa99887766554433221100")
    for path in (f"{at}/assets?token={in_query}", f"{at}/runs?limit={in_query}", f"/health?key={in_query}"):
        await whole.ask("GET", path)
    headers = {
        "X-Api-Key": planted.make("key in a header of its own"),
        "Cookie": f"session={planted.make('session in a cookie', like='cookie-{}')}",
        "Referer": f"https://example.org/?t={planted.make('token in a referrer', like='ref-{}')}",
        "User-Agent": planted.make("key in a user agent", like="agent/{}"),
        "Proxy-Authorization": f"Basic {planted.make('proxy credentials', like='cHJveHk{}')}",
        "X-Request-Id": planted.make("key as a request id", like="no id {}"),
    }
    await whole.ask("GET", f"{at}/runs", headers=headers)
    await _wrong_fields(field)
    await _right_fields(field)
    return await _userinfo(field)


async def _wrong_fields(field: Field) -> None:
    planted, at, whole = field.planted, field.attacker.path, field.whole
    key = planted.make("provider key in a wrong field")
    secret = {"provider_code": "openai", "secret_name": "api_key", "secret_value": key}
    bodies: list[tuple[str, Any]] = [
        ("secrets", {**secret, "secret_name": 1}),
        ("secrets", {**secret, "secret_value": [key]}),
        ("secrets", {**secret, "secret_value": {"key": key}}),
        ("secrets", {**secret, "secret_value": f"{key}\0"}),
        ("secrets", {**secret, "provider_code": ""}),
        ("secrets/rotate", {"force": key}),
        ("characters", {"name": [key]}),
        ("runs/trigger", {"mode": key}),
        ("provider-accounts", {"provider_code": "openai", "enabled": key}),
    ]
    for path, body in bodies:
        await whole.ask("POST", f"{at}/{path}", json=body)
    for kind in ("application/json", "text/plain"):
        broken = f'{{"secret_value": "{key}'.encode()
        await whole.ask("POST", f"{at}/secrets", content=broken, headers={"Content-Type": kind})
    await whole.ask("PUT", f"{at}/budget", json={"limit_usd": key})
    await field.owner.ask("POST", "/auth/token", json={"expires_at": key})


async def _userinfo(field: Field) -> list[str]:
    """A password in an address that a project stores: it is given back, but nothing else tells it."""
    password = field.planted.make("password in an address", like="pw{}", is_given_back=True)
    made = await field.owner.made("POST", "/api/projects", json={"name": "Addresses"})
    at = f"/api/projects/{made['project']['slug']}"
    address = f"http://user:{password}@127.0.0.1:9/v1"
    body = {"provider_code": "openai", "base_url": address}
    await field.owner.ask("POST", f"{at}/provider-accounts", json=body)
    key = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "sk-x"}
    await field.owner.ask("POST", f"{at}/secrets", json=key)
    answer = await field.owner.ask("POST", f"{at}/provider-accounts/openai/check", json={})
    return (
        [f"password in an address in the answer {answer.status} of a check"]
        if password in answer.text
        else []
    )


async def _right_fields(field: Field) -> None:
    """Where secrets belong: sealed, given back to nobody, used once."""
    planted, at, whole = field.planted, field.attacker.path, field.whole
    names = {
        ("openai", "api_key"): "project's provider key",
        ("photoroom", "api_key"): "project's Photoroom key",
        ("removebg", "api_key"): "project's remove.bg key",
        ("s3", "session_token"): "project's S3 session token",
    }
    for (code, name), kind in names.items():
        value = planted.make(kind)
        body = {"provider_code": code, "secret_name": name, "secret_value": value}
        headers = {"Idempotency-Key": f"secret-{code}-{name}"}
        for _ in range(2):
            await whole.ask("POST", f"{at}/secrets", json=body, headers=headers)
    account = {"provider_code": "openai", "base_url": field.stack.provider_url, "enabled": True}
    await whole.ask("POST", f"{at}/provider-accounts", json=account)
    # A key that the double refuses, repeating it in its answer.
    bad = {"provider_code": "openai", "secret_name": "api_key"}
    refused = planted.make("key that the provider repeats", like="sk-bad-{}")
    await whole.ask("POST", f"{at}/secrets", json={**bad, "secret_value": refused})
    await whole.ask("POST", f"{at}/provider-accounts/openai/check", json={})
    await whole.ask("GET", f"{at}/secrets")
    await whole.ask("POST", f"{at}/secrets/rotate", json={"force": True})
    for path in (
        "secrets/rotation-status",
        "audit-events",
        "bootstrap-prompt",
        "provider-calls",
        "cost-events",
    ):
        await whole.ask("GET", f"{at}/{path}")
    body = {"label": "kept answer", "expires_at": "2031-01-31"}
    for _ in range(2):
        made = await field.owner.ask(
            "POST", "/auth/token", json=body, headers={"Idempotency-Key": "token"}, shows_token=True
        )
        if made.status == 200:
            planted.add("token of a kept answer", made.json["auth_token"]["token"])
    for run in (await field.owner.made("GET", f"{at}/runs?limit=5"))["runs"]:
        for part in ("", "/log", "/events", "/jobs"):
            await whole.ask("GET", f"{at}/runs/{run['id']}{part}")
    await asyncio.sleep(1)


async def _found(field: Field, secrets: list[Secret]) -> tuple[list[str], int]:
    """Every place that was searched, and what was found there."""
    stack = field.stack
    commands = await asyncio.to_thread(_commands, field)
    secrets = _with_shorter([*secrets, *field.planted.secrets])
    locations: list[tuple[str, bytes]] = [
        ("kroma up", stack.output.encode()),
        ("the metrics", (await field.client.get(f"http://127.0.0.1:{stack.metrics_port}/metrics")).content),
        *await table_rows(stack.state["database_url"]),
        *await asyncio.to_thread(lambda: list(redis_values(stack.state["redis_url"]))),
        *command_lines(stack.up.all_pids()),
        *environments(_foreign_programs(field)),
        *(line for command in commands for line in printed(command)),
    ]
    found: list[str] = []
    count = 0

    def search() -> None:
        nonlocal count
        for source, data in (*locations, *field.evidence.lines()):
            found.extend(found_in(secrets, source, data))
            count += 1
        for source, data in file_contents(stack.data_dir):
            found.extend(found_in(secrets, source, data))
            count += 1

    began = time.monotonic()
    await asyncio.to_thread(search)
    field.say(f"  {count} pieces searched for {len(secrets)} secrets in {time.monotonic() - began:.0f} s")
    return sorted(set(found)), count


def _foreign_programs(field: Field) -> dict[str, int]:
    pids = field.stack.state["pids"]
    return {name: pids[name] for name in ("postgresql", "valkey") if psutil.pid_exists(pids[name])}


def _commands(field: Field) -> list["subprocess.CompletedProcess[str]"]:
    """What the command line says, also of settings that are wrong."""
    data, planted = str(field.stack.data_dir), field.planted
    environment = field.stack.environment
    password = planted.make("password in a wrong setting", like="pw{}")
    wrong = {
        "KROMA_URL_ALLOW": f"http://user:{password}@127.0.0.1/",
        "KROMA_DATABASE_URL": f"postgresql://kroma:{password}@127.0.0.1:99999/kroma",
        "KROMA_REDIS_URL": f"redis://:{password}@127.0.0.1:x/0",
        "KROMA_AGENT_API_URL": f"ftp://user:{password}@host/",
        "KROMA_S3_ENDPOINT_URL": f"gopher://user:{password}@host",
        "KROMA_MASTER_KEY": password,
        "KROMA_CALLBACK_KEY": password[:20],
        "KROMA_PUBLIC_URL": f"http://user:{password}@host:99999999/",
    }
    slug = field.attacker.slug
    planted.add("password in a wrong setting", password[:20])
    elsewhere = str(field.stack.folder / "elsewhere")
    commands = [
        (("doctor", "--data-dir", data), environment),
        (("token", "list", "--data-dir", data), environment),
        (("secrets", "status", "--project", slug, "--data-dir", data), environment),
        (("secrets", "rotate", "--project", slug, "--data-dir", data), environment),
        (("sync", slug, "--data-dir", data), environment),
        *(
            (("doctor", "--data-dir", elsewhere), {**environment, "KROMA_STORE": "s3", name: value})
            for name, value in wrong.items()
        ),
    ]
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda command: kroma(*command[0], **command[1]), commands))
