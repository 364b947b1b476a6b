"""Hostile services: an agent, a provider and a bucket that redirect, drip, flood, lie and never end."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from siege.hostile import MODES, Hostile, served
from siege.rules import Verdict, none_of
from siege.targets import Field
from style_references import style_reference
from support.builders.factories import scene_png

LONGEST_CHECK_S: Final = 25.0
"""A check has 15 s; the rest is for a busy machine."""
LONGEST_WORK_S: Final = 45.0
MOST_USD: Final = 5.0
"""More than one picture can cost by any list of prices."""
OPEN: Final = ("queued", "running", "canceling", "confirmed", "pending")


class Outcome(msgspec.Struct, kw_only=True):
    """What came of one kind of hostile answer."""

    mode: str
    check_s: float = 0.0
    check_status: int = 0
    states: dict[str, str] = {}
    """How the run, the instruction and the sync ended."""
    spent_usd: float = 0.0
    held_usd: float = 0.0
    unknown_price_calls: int = 0


def unsettled(outcomes: Sequence[Outcome]) -> list[str]:
    """Work that a hostile service kept open, and checks that it held."""
    found = [
        f"{it.mode}: the {part} is {state} after {LONGEST_WORK_S:.0f} s"
        for it in outcomes
        for part, state in it.states.items()
        if state in OPEN
    ]
    found += [
        f"{it.mode}: the check of the provider was answered {it.check_status} after {it.check_s:.1f} s"
        for it in outcomes
        if it.check_s > LONGEST_CHECK_S or it.check_status in {0, 500}
    ]
    return found


def absurd(outcomes: Sequence[Outcome]) -> list[str]:
    """Money that nobody can have spent on a picture."""
    return [
        f"{it.mode}: {it.spent_usd} USD spent and {it.held_usd} USD held"
        for it in outcomes
        if not 0 <= it.spent_usd + it.held_usd <= MOST_USD
    ]


async def attack(field: Field) -> list[Verdict]:
    modes = sorted(MODES)
    if len(modes) > field.size.remote_modes:
        # What the figures name is always tried; the seed chooses among the others.
        fixed = ["redirect", "usage", "endless", "mirror"]
        rest = [mode for mode in modes if mode not in fixed]
        modes = [*fixed, *field.chance.sample(rest, field.size.remote_modes)]
    async with served() as hostile:
        targets = [await _project(field, hostile, mode) for mode in modes]
        outcomes = list(await asyncio.gather(*(_tried(field, mode, at) for mode, at in targets)))
        sent = [seen for seen in hostile.seen if _holds_operators(field, seen.head.encode() + seen.body)]
        leaked = [f"an operator's secret was sent to {seen.path.partition('?')[0]}" for seen in sent]
        _note_signatures(field, hostile)
        trapped = [f"{line!r} reached an address that is not allowed" for line in hostile.trapped]
    for it in outcomes:
        field.say(
            f"  {it.mode}: check {it.check_status} in {it.check_s:.1f} s, {it.states}, {it.spent_usd} USD"
        )
    tried = len(outcomes)
    return [
        none_of("a hostile service holds nothing open", unsettled(outcomes), tried=tried, what="services"),
        none_of("a hostile service names no absurd price", absurd(outcomes), tried=tried, what="services"),
        none_of("no redirect leads to an address of ours", trapped, tried=tried, what="services"),
        none_of("no operator's secret goes to a project's service", leaked, tried=tried, what="services"),
    ]


async def _project(field: Field, hostile: Hostile, mode: str) -> tuple[str, str]:
    """A project whose agent, provider and bucket are all hostile in one way; its path."""
    owner, planted = field.owner, field.planted
    made = await owner.made("POST", "/api/projects", json={"name": f"Hostile {mode}"})
    at = f"/api/projects/{made['project']['slug']}"
    for kind, name, data in (
        ("input", "harbor.png", scene_png(seed=5)),
        ("reference", "ink.png", style_reference("noir ink", size=(160, 200))),
    ):
        files = {"file": (name, data, "image/png")}
        await owner.made("POST", f"{at}/assets", files=files, data={"kind": kind})
    base = f"{hostile.url}/{mode}"
    account = {"provider_code": "openai", "base_url": f"{base}/v1"}
    await owner.made("POST", f"{at}/provider-accounts", json=account)
    secrets = {
        ("openai", "api_key"): planted.make("key of a hostile provider"),
        ("agent_api", "url"): f"{base}/agent?key={planted.make('key in an agent address', like='hook{}')}",
        ("agent_api", "token"): planted.make("project's agent token", like="agent-{}"),
        ("s3", "access_key_id"): planted.make("project's S3 key id", like="AKIB{}"),
        ("s3", "secret_access_key"): planted.make("project's S3 key", like="s3/{}"),
    }
    for (code, name), value in secrets.items():
        body = {"provider_code": code, "secret_name": name, "secret_value": value}
        await owner.made("POST", f"{at}/secrets", json=body)
    await owner.made("PUT", f"{at}/budget", json={"limit_usd": 1000.0, "period": "total"})
    return mode, at


async def _tried(field: Field, mode: str, at: str) -> Outcome:
    """Check the provider, then have a picture made, an instruction sent and the project copied."""
    outcome = Outcome(mode=mode)
    owner = field.owner
    began = time.monotonic()
    checked = await owner.ask("POST", f"{at}/provider-accounts/openai/check", json={})
    outcome.check_s, outcome.check_status = time.monotonic() - began, checked.status
    outcome.states = dict(
        zip(
            ("run", "instruction", "sync"),
            await asyncio.gather(_run(field, at), _instruction(field, at), _sync(field, at, mode)),
            strict=True,
        )
    )
    spend = (await owner.made("GET", at))["spend"]
    outcome.spent_usd, outcome.held_usd = spend["spent_usd"], spend["held_usd"]
    outcome.unknown_price_calls = spend["unknown_price_calls"]
    return outcome


async def _run(field: Field, at: str) -> str:
    references = (await field.owner.made("GET", f"{at}/assets?kind=reference"))["assets"]
    order = {
        "mode": "run",
        "confirm_spend": True,
        "input": "scenes",
        "style_refs": [references[0]["id"]],
        "candidates": 1,
        "provider": "openai",
    }
    made = await field.owner.ask("POST", f"{at}/runs/trigger", json=order)
    if made.status != 202:
        return f"refused ({made.status} {made.code})"
    path = f"{at}/runs/{made.json['run']['id']}"
    return await _ended(field, path, "run")


async def _instruction(field: Field, at: str) -> str:
    body = {"instruction_text": "Plan page 3"}
    made = await field.owner.made("POST", f"{at}/agent/instructions", json=body)
    path = f"{at}/agent/instructions/{made['instruction']['id']}"
    await field.owner.made("POST", f"{path}/confirm", json={})
    return await _ended(field, path, "instruction")


async def _sync(field: Field, at: str, mode: str) -> str:
    """A bucket at the hostile address, by the operator's profile and by a profile of no one."""
    hostile_url = (await field.owner.made("GET", f"{at}/provider-accounts/openai"))["provider_account"][
        "base_url"
    ]
    change = {"enabled": True, "bucket": f"bucket-{mode}", "endpoint_url": hostile_url.removesuffix("/v1")}
    set_up = await field.owner.ask("PUT", f"{at}/storage/s3", json=change)
    if set_up.status != 200:
        return f"refused ({set_up.status} {set_up.code})"
    started = await field.owner.ask("POST", f"{at}/storage/sync", json={})
    if started.status != 202:
        return f"refused ({started.status} {started.code})"
    path = f"{at}/storage/syncs/{started.json['sync']['id']}"
    ended = await _ended(field, path, "sync", within_s=field.size.max_wait_s)
    if ended in OPEN:
        # A bucket that says nothing is asked again for longer than a siege lasts: a cancel must end that.
        await field.owner.ask("POST", f"{path}/cancel")
        ended = await _ended(field, path, "sync", within_s=20)
    return ended


async def _ended(field: Field, path: str, key: str, *, within_s: float = LONGEST_WORK_S / 2) -> str:
    """The status of something once it is no more open, or as it is when time is up."""
    deadline = time.monotonic() + within_s
    while True:
        shown: dict[str, Any] = await field.owner.made("GET", path)
        status = str(shown[key]["status"])
        if status not in OPEN:
            return status
        if time.monotonic() > deadline:
            reason = shown[key].get("reason_code")
            return f"waiting ({reason})" if reason else status
        if status == "confirmed" and shown[key]["attempts"] > 0:
            return "waiting for its next attempt"
        await asyncio.sleep(0.3)


def _holds_operators(field: Field, data: bytes) -> bool:
    return any(
        secret.kind.startswith("operator") and secret.value.encode() in data
        for secret in field.planted.secrets
    )


def _note_signatures(field: Field, hostile: Hostile) -> None:
    """Addresses that let an agent report are secrets, too."""
    for seen in hostile.seen:
        for piece in seen.body.decode("utf-8", "replace").split("sig=")[1:]:
            signature = piece.partition('"')[0].partition("&")[0]
            if len(signature) > 16:
                field.planted.add("callback signature", signature)
