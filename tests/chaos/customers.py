"""Clients of the API as they are: they lose connections, ask again with the same key, change their minds.

What they were told is kept as it happened; the checker holds the tables against it.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from chaos.bill import read_bills
from chaos.plan import HOUSES, LONGEST_FREEZE_S, SCENES, Order, Pause
from support.builders.factories import scene_png

GIVE_UP_S: Final = 90.0
POLL_S: Final = 0.7
GOOD_KEY: Final = "sk-good-for-chaos-0001"
BAD_KEY: Final = "sk-bad-for-chaos-0002"
IN_FLIGHT: Final = "request_in_flight"
UNDECIDED: Final = "provider_calls_unresolved"
RIGHT_REFUSALS: Final = frozenset({"budget_exceeded", "run_not_repeatable", UNDECIDED})
OPEN: Final = (
    ("runs", "runs", ("queued", "running", "canceling")),
    ("provider-calls", "provider_calls", ("intent", "sent", "unknown")),
)
"""Lists, what they name their rows, and the statuses that have no place after an experiment."""
LEFT_ALONE: Final = timedelta(seconds=2 * LONGEST_FREEZE_S)
DECIDE_EVERY_S: Final = 6.0
FOLLOW_TRIES: Final = 15


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that the API took on."""

    key: str
    run_id: str
    """What this answer named; every answer to one key must name the same."""
    kind: str
    """``trigger``, ``retry`` or ``rerun``."""
    house: int


class Canceled(msgspec.Struct, frozen=True, kw_only=True):
    """A cancel request that was answered."""

    run_id: str
    asked_at: datetime
    answered_at: datetime
    status: str
    """The run's, in the answer."""


class Told(msgspec.Struct, kw_only=True):
    """Everything the customers were told."""

    accepted: list[Accepted] = []
    canceled: list[Canceled] = []
    turned_away: dict[str, int] = {}
    """Refusals that are right, by code."""
    wrong: dict[str, int] = {}
    """Answers that no client should ever get, and how often they came."""
    failures: dict[str, int] = {}
    """Lost connections and answers from 500 on, after which a client asks again."""
    replayed: int = 0

    def complain(self, text: str) -> None:
        """Keep a wrong answer."""
        self.wrong[text] = self.wrong.get(text, 0) + 1


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was asked for, or why there is none."""

    run_id: str | None = None
    refusal: str | None = None


class HouseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A project as the API knows it."""

    path: str
    project_id: str
    root: Path


class Customers:
    """All clients of the experiment, on one connection pool."""

    def __init__(self, api_url: str, token: str) -> None:
        self.told = Told()
        self.houses: list[HouseAddress] = []
        self._client = httpx.AsyncClient(
            base_url=api_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(8, connect=2),
            limits=httpx.Limits(max_connections=40),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def build(self, provider_url: str) -> None:
        """The projects: pictures, key, address of the double, budget."""
        for house in HOUSES:
            made = await self._asked("POST", "/api/projects", {"name": house.name})
            path = f"/api/projects/{quote(made['project']['slug'])}"
            root = Path(made["storage"]["local"]["project_root"])
            self.houses.append(HouseAddress(path=path, project_id=made["project"]["id"], root=root))
            for seed, scene in enumerate((*SCENES, "styles/noir.png")):
                (root / scene).parent.mkdir(parents=True, exist_ok=True)
                (root / scene).write_bytes(scene_png(96, 64, seed=seed))
            if house.provider == "openai":
                account = {"provider_code": "openai", "base_url": provider_url}
                await self._asked("POST", f"{path}/provider-accounts", account)
                await self._store_key(path, GOOD_KEY)
            if house.budget_usd is not None:
                budget = {"limit_usd": float(house.budget_usd), "period": "total"}
                await self._asked("PUT", f"{path}/budget", budget)

    async def location(self, order: Order) -> None:
        """Order a run; then cancel, retry or rerun it as the plan says."""
        requests = [self._trigger(order) for _ in range(2 if order.sent_twice else 1)]
        answers = await asyncio.gather(*requests)
        run_id = answers[0]
        if run_id is None:
            return
        run_path = f"{self.houses[order.house].path}/runs/{run_id}"
        if order.cancel_after_s is not None:
            await asyncio.sleep(order.cancel_after_s)
            await self._cancel(run_path, run_id)
        if not order.retries and not order.reruns:
            return
        run = await self._ended(run_path)
        if run is None:
            return
        if order.retries and run["status"] == "failed":
            await self._follow(order, run_path, "retry")
        if order.reruns and not order.dry:
            await self._follow(order, run_path, "rerun")

    async def interrupt(self, pause: Pause) -> None:
        """Stop a project for a while: paused by hand, or by a key that the provider refuses."""
        path = self.houses[pause.house].path
        if pause.bad_key:
            await self._store_key(path, BAD_KEY)
        else:
            await self._asked("POST", f"{path}/pause", {})
        await asyncio.sleep(pause.for_s)
        if pause.bad_key:
            await self._store_key(path, GOOD_KEY)
        else:
            await self._asked("POST", f"{path}/resume", {})

    async def decide_lost_answers(self, bills: Path, *, older_than: timedelta) -> None:
        """What a person does with calls whose answer was lost: look at the bill and say what it says.

        Args:
            bills: The provider's.
            older_than: How long to leave a call alone: a worker that was frozen may still send it.
        """
        for house in self.houses:
            listed = await self._asked("GET", f"{house.path}/provider-calls?status=unknown&limit=500", None)
            billed = set(read_bills(bills))
            for call in listed["provider_calls"]:
                if datetime.fromisoformat(call["ended_at"]) > datetime.now(UTC) - older_than:
                    continue
                resolution = "charged" if call["id"] in billed else "not_charged"
                path = f"{house.path}/provider-calls/{call['id']}/resolve"
                await self._send("POST", path, {"resolution": resolution})

    async def keep_deciding(self, bills: Path) -> None:
        """Decide every few seconds until canceled."""
        while True:
            await self.decide_lost_answers(bills, older_than=LEFT_ALONE)
            await asyncio.sleep(DECIDE_EVERY_S)

    async def open_work(self) -> int:
        """How many runs have not ended, and how many calls' ends are not known, by the API's own lists."""
        count = 0
        for house in self.houses:
            for kind, name, statuses in OPEN:
                for status in statuses:
                    path = f"{house.path}/{kind}?status={status}&limit=500"
                    count += len((await self._asked("GET", path, None))[name])
        return count

    async def _store_key(self, path: str, key: str) -> None:
        body = {"provider_code": "openai", "secret_name": "api_key", "secret_value": key}
        await self._asked("POST", f"{path}/secrets", body)

    async def _trigger(self, order: Order) -> str | None:
        house = HOUSES[order.house]
        body = {
            "mode": "dry" if order.dry else "run",
            "confirm_spend": True,
            "provider": house.provider,
            "scene_refs": list(order.scenes),
            "style_refs": ["styles/noir.png"],
            "candidates": order.candidates,
        }
        if house.provider == "openai":
            body |= {"quality": "low", "size": "1024x1024"}
        if order.night:
            body |= {"stage": "time", "time": "night"}
        path = f"{self.houses[order.house].path}/runs/trigger"
        return (await self._make(path, body, key=order.key, kind="trigger", house=order.house)).run_id

    async def _follow(self, order: Order, run_path: str, kind: str) -> None:
        """Repeat a run; where lost answers stand in the way, once a person has decided them."""
        for number in range(FOLLOW_TRIES):
            key = f"{order.key}-{kind}-{number}"
            body = {"confirm_spend": True}
            made = await self._make(f"{run_path}/{kind}", body, key=key, kind=kind, house=order.house)
            if made.refusal != UNDECIDED:
                return
            await asyncio.sleep(DECIDE_EVERY_S)

    async def _make(self, path: str, body: dict[str, Any], *, key: str, kind: str, house: int) -> Made:
        reply = await self._send("POST", path, body, headers={"Idempotency-Key": key})
        if reply is None:
            return Made()
        if reply.status_code not in {HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CREATED}:
            return Made(refusal=self._turned_away(reply, path))
        self.told.replayed += reply.headers.get("Idempotent-Replayed") == "true"
        run_id = reply.json()["run"]["id"]
        self.told.accepted.append(Accepted(key=key, run_id=run_id, kind=kind, house=house))
        return Made(run_id=run_id)

    async def _cancel(self, run_path: str, run_id: str) -> None:
        asked_at = datetime.now(UTC)
        reply = await self._send("POST", f"{run_path}/cancel", {})
        if reply is None:
            return
        if reply.status_code not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
            self.told.complain(f"cancel was answered {reply.status_code}: {reply.text[:200]}")
            return
        status = reply.json()["run"]["status"]
        answered_at = datetime.now(UTC)
        self.told.canceled.append(
            Canceled(run_id=run_id, asked_at=asked_at, answered_at=answered_at, status=status)
        )

    async def _ended(self, run_path: str) -> dict[str, Any] | None:
        """Poll with an ETag, as a page does."""
        etag = ""
        deadline = time.monotonic() + 2 * GIVE_UP_S
        while time.monotonic() < deadline:
            reply = await self._send("GET", run_path, None, headers={"If-None-Match": etag} if etag else {})
            if reply is None:
                return None
            etag = reply.headers.get("ETag", "")
            if reply.status_code == HTTPStatus.OK and (run := reply.json()["run"])["done"]:
                return run
            await asyncio.sleep(POLL_S)
        return None  # the checker finds it open

    def _turned_away(self, reply: httpx.Response, path: str) -> str:
        code = reply.json().get("error_code", "")
        if code in RIGHT_REFUSALS:
            self.told.turned_away[code] = self.told.turned_away.get(code, 0) + 1
        else:
            self.told.complain(f"POST {path} was answered {reply.status_code}: {reply.text[:200]}")
        return code

    async def _asked(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """An answer that has to be good."""
        reply = await self._send(method, path, body)
        if reply is None or reply.status_code >= HTTPStatus.BAD_REQUEST:
            text = "nothing" if reply is None else f"{reply.status_code}: {reply.text[:200]}"
            self.told.complain(f"{method} {path} was answered {text}")
            return {"provider_calls": [], "runs": []}
        return reply.json()

    async def _send(
        self, method: str, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response | None:
        """Ask until there is an answer that is final; None when none came for long."""
        deadline = time.monotonic() + GIVE_UP_S
        last = ""
        while time.monotonic() < deadline:
            try:
                reply = await self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError as exc:
                last = type(exc).__name__
            else:
                if not _is_passing(reply):
                    return reply
                last = f"{reply.status_code} {reply.json().get('error_code', '')}".strip()
            self.told.failures[last] = self.told.failures.get(last, 0) + 1
            await asyncio.sleep(0.5)
        self.told.complain(f"{method} {path} got no answer for {GIVE_UP_S:g} s; last {last}")
        return None


def _is_passing(reply: httpx.Response) -> bool:
    if reply.status_code == HTTPStatus.CONFLICT:
        return reply.json().get("error_code") == IN_FLIGHT
    # The contract answers 401 also when the token could not be looked up; ours is good.
    return (
        reply.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status_code == HTTPStatus.UNAUTHORIZED
    )
