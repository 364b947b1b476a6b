"""Doors held shut: thousands of sockets and streams of one caller, while somebody else is timed."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from siege import wire
from siege.prober import Samples
from siege.rules import Verdict, none_of
from siege.targets import RUN, Field, made_token

LEAST_BOUND_S: Final = 0.05
TIMES_UNLADEN: Final = 5
DRIP_S: Final = 5.0
"""Often enough that nobody who waits for the next byte gives up."""
COMES_BACK_S: Final = 10.0
"""A caller that is turned away and asks again at once floods with requests, which is another attack."""
OPENED_A_SECOND: Final = 400
ENOUGH: Final = 20
"""Samples without which a p99 means nothing."""
HELD: Final = ("half-open sockets and streams", "claims of waiting")
"""Phases in which nothing but patience is asked of the stack, so that the bound on p99 holds."""


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile, by rank."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(len(ordered) * 0.99) - 1)]


def too_slow(samples: Samples, phase: str, *, unladen: str = "unladen") -> tuple[list[str], float, float]:
    """What a phase did to `/health` and to reads beyond their bounds; the worst p99 and its bound."""
    wrong: list[str] = []
    worst, of_worst = 0.0, LEAST_BOUND_S
    before, during = _by_kind(samples.get(unladen, [])), _by_kind(samples.get(phase, []))
    for path, seconds in before.items():
        bound = max(LEAST_BOUND_S, TIMES_UNLADEN * p99(seconds))
        laden = during.get(path, [])
        if len(laden) < ENOUGH:
            wrong.append(f"{path}: {len(laden)} answers in all of '{phase}'")
            continue
        took = p99(laden)
        if took / bound > worst / of_worst:
            worst, of_worst = took, bound
        if took > bound:
            wrong.append(f"{path}: p99 {took * 1000:.1f} ms of {len(laden)}, at most {bound * 1000:.1f} ms")
    if not before:
        wrong.append("nothing was timed unladen")
    return wrong, worst, of_worst


def unanswered(samples: Samples) -> list[str]:
    """Requests of somebody else that were not answered well, in whatever phase."""
    lost = Counter(
        (phase, path, status) for phase, rows in samples.items() for path, _, status in rows if status != 200
    )
    return [
        f"{path} in '{phase}': {times} times {status or 'no answer'}"
        for (phase, path, status), times in sorted(lost.items())
    ]


def judged(samples: Samples, *, only: Sequence[str] = ()) -> list[Verdict]:
    """What the timed requests say; of the held doors only where they were held."""
    verdicts: list[Verdict] = []
    for phase in HELD if not only or "doors" in only else ():
        wrong, worst, bound = too_slow(samples, phase)
        verdicts.append(
            Verdict(
                rule=f"somebody else is quick beside {phase}",
                measured=f"p99 {worst * 1000:.1f} ms",
                allowed=f"{bound * 1000:.1f} ms",
                wrong=tuple(wrong),
            )
        )
    count = sum(len(rows) for rows in samples.values())
    verdicts.append(
        none_of("somebody else is answered throughout", unanswered(samples), tried=count, what="requests")
    )
    return verdicts


def slowest(samples: Samples) -> list[str]:
    """For the eyes: p99 and longest by phase."""
    return [
        f"{phase}: {len(rows)} requests, p99 {p99([row[1] for row in rows]) * 1000:.1f} ms, "
        f"longest {max(row[1] for row in rows) * 1000:.0f} ms"
        for phase, rows in samples.items()
    ]


def _by_kind(rows: Iterable[Sequence[Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for path, seconds, _ in rows:
        found.setdefault("/health" if path == "/health" else "reads", []).append(seconds)
    return found


class Siege:
    """Sockets that are opened, fed a byte now and then, and opened again when they are closed."""

    def __init__(self, address: str, chance: random.Random) -> None:
        self._address = address
        self._chance = chance
        self._tasks: list[asyncio.Task[None]] = []
        self._pace = asyncio.Semaphore(64)
        self._is_over = False
        self.open: Counter[str] = Counter()
        self.answered: Counter[tuple[str, str]] = Counter()
        """By kind and status line."""

    def add(self, kind: str, make: Callable[[], bytes], drip: bytes, count: int) -> None:
        self._tasks += [asyncio.create_task(self._hold(kind, make, drip)) for _ in range(count)]

    async def settle(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def lift(self) -> None:
        # A cancellation that meets the end of what is awaited can be lost.
        self._is_over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, kind: str, make: Callable[[], bytes], drip: bytes) -> None:
        while not self._is_over:
            with suppress(OSError, TimeoutError):
                async with self._pace, asyncio.timeout(5):
                    reader, writer = await wire.opened(self._address)
                self.open[kind] += 1
                try:
                    writer.write(make())
                    await self._feed(kind, reader, writer, drip)
                finally:
                    self.open[kind] -= 1
                    writer.transport.abort()
            # Not all at once: thousands that come back together are a flood of connections.
            await asyncio.sleep(COMES_BACK_S * self._chance.uniform(0.5, 1.5))

    async def _feed(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes
    ) -> None:
        is_first = True
        while not self._is_over:
            try:
                async with asyncio.timeout(DRIP_S * self._chance.uniform(0.5, 1.5)):
                    got = await reader.read(65536)
            except TimeoutError:
                writer.write(drip)
                continue
            if is_first:
                self.answered[kind, got.split(b"\r\n", 1)[0].decode("latin-1") or "closed"] += 1
                is_first = False
            if not got:
                return


def _half(method: str, path: str, headers: Mapping[str, str], *, sent: bytes, length: int = 4096) -> bytes:
    given = {"Content-Type": "application/json", "Content-Length": str(length), **headers}
    return wire.request_bytes(method, path, given.items(), sent)


async def attack(field: Field) -> list[Verdict]:
    field.begin("doors are being opened")
    address = field.stack.up.address
    host = {"Host": address.removeprefix("http://")}
    token = {**host, **field.whole.headers}
    run = await _open_run(field)
    at = field.attacker.path
    form = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "50000000"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n\x89PNG\r\n'
    callback = f"/agent/callback/{field.attacker.known['instruction_id']}?sig=no"
    chunked = {**token, "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    kinds: dict[str, tuple[bytes, bytes]] = {
        "idle": (b"", b""),
        "slow head": (b"GET /health HTTP/1.1\r\nX-Slow: ", b"x"),
        "callback": (_half("POST", callback, host, sent=b"{"), b" "),
        "no token": (_half("POST", "/auth/token", host, sent=b"{"), b" "),
        "JSON": (_half("POST", f"{at}/characters", token, sent=b"{"), b" "),
        "chunked": (
            wire.request_bytes("POST", f"{at}/characters", chunked.items(), b"1\r\n{\r\n"),
            b"1\r\n \r\n",
        ),
        "import": (_half("POST", f"{at}/bootstrap-import", token, sent=b'{"', length=2_000_000), b" "),
        "upload": (_half("POST", f"{at}/assets", {**token, **form}, sent=part), b"x"),
        "tool": (_half("POST", "/api/tools/color", {**token, **form}, sent=part), b"x"),
        "keyed": (
            _half("POST", f"{at}/assets", {**token, **form, "Idempotency-Key": "held"}, sent=part),
            b"x",
        ),
    }
    siege = Siege(address, field.chance)
    share = field.size.half_open // len(kinds)
    for kind, (data, drip) in kinds.items():
        siege.add(kind, lambda data=data: data, drip, share)
    stream = wire.request_bytes(
        "GET", f"{at}/runs/{run}/events", {**token, "Accept": "text/event-stream"}.items()
    )
    siege.add("stream", lambda: stream, b"", field.size.streams)
    began = time.monotonic()
    ended = asyncio.create_task(_revoked_stream(field, run))
    await siege.settle(2 + (share * len(kinds) + field.size.streams) / OPENED_A_SECOND)
    field.begin(HELD[0])
    beside = await _neighbors_stream(field)
    await siege.settle(field.size.held_s)
    held = sum(siege.open.values())
    answers = ", ".join(f"{kind} {line!r} {n}" for (kind, line), n in siege.answered.most_common(14))
    field.say(f"  {held} sockets held after {time.monotonic() - began:.0f} s; {answers}")
    field.begin("doors are being opened")
    await siege.lift()
    await _claims(field, token)
    # Once more at rest: what else a machine does must not count as the attack's.
    field.begin("unladen")
    await siege.settle(field.size.unladen_s)
    field.begin("")
    revoked = await ended
    await field.owner.ask("POST", f"{at}/runs/{run}/cancel")
    await field.owner.ask("POST", f"{at}/resume")
    return [
        none_of(
            "another caller gets an event stream beside 1,000 of one", beside, tried=1, what="streams refused"
        ),
        revoked,
    ]


async def _claims(field: Field, token: Mapping[str, str]) -> None:
    """Requests that say by a header that they wait: halves of them, and whole ones at a steady pace."""
    at, number = field.attacker.path, field.size.waiting
    siege = Siege(field.stack.up.address, field.chance)
    for name, claim in (("Prefer", "wait=60"), ("Accept", "text/event-stream")):
        half = _half("POST", f"{at}/characters", {**token, name: claim}, sent=b"{")
        bare = _half("POST", "/auth/token", {"Host": token["Host"], name: claim}, sent=b"{")
        siege.add(f"{name} with a token", lambda half=half: half, b" ", number)
        siege.add(f"{name} without one", lambda bare=bare: bare, b" ", number)
        whole = wire.request_bytes("GET", f"{at}/runs", {**token, name: claim, "Connection": "close"}.items())
        siege.add(f"{name} on a read", lambda whole=whole: whole, b"", 20)
    await siege.settle(2 + 4 * number / OPENED_A_SECOND)
    field.begin(HELD[1])
    await siege.settle(field.size.held_s)
    field.begin("doors are being opened")
    await siege.lift()


async def _open_run(field: Field) -> str:
    """A run that waits for as long as its project is paused."""
    at = field.attacker.path
    await field.owner.made("POST", f"{at}/pause", json={"reason": "siege"})
    made = await field.owner.made("POST", f"{at}/runs/trigger", json=RUN)
    return made["run"]["id"]


async def _neighbors_stream(field: Field) -> list[str]:
    """What is wrong with a stream that another project asks for meanwhile."""
    path = f"{field.neighbor.path}/runs/{field.neighbor.known['run_id']}/events"
    headers = {"Accept": "text/event-stream"}
    answer = await field.neighbor_whole.ask("GET", path, headers=headers, timeout=10)
    return (
        []
        if answer.status == 200
        else [f"the neighbor's stream was answered {answer.status} {answer.text[:80]}"]
    )


async def _revoked_stream(field: Field, run: str) -> Verdict:
    """A stream whose token is revoked ends soon after: it looks again at each heartbeat."""
    made = await made_token(field.owner, project_slug=field.attacker.slug)
    field.planted.add("token of a stream", made["token"])
    address = field.stack.up.address
    headers = {
        "Host": address.removeprefix("http://"),
        "Authorization": f"Bearer {made['token']}",
        "Accept": "text/event-stream",
    }
    rule, allowed = "a revoked token's stream ends", f"{REVOKED_ENDS_S:.0f} s"
    try:
        async with asyncio.timeout(10):
            reader, writer = await wire.opened(address)
            path = f"{field.attacker.path}/runs/{run}/events"
            writer.write(wire.request_bytes("GET", path, headers.items()))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as exc:
        return Verdict(rule=rule, measured="no stream", allowed=allowed, wrong=(f"no stream: {exc!r}",))
    if " 200 " not in head.split("\r\n")[0] + " ":
        writer.close()
        return Verdict(rule=rule, measured="no stream", allowed=allowed, wrong=(head.split("\r\n")[0],))
    await field.owner.made("DELETE", f"/auth/tokens/{made['id']}")
    began = time.monotonic()
    wrong: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(REVOKED_ENDS_S):
            # The connection may stay for another request; the stream ends with its last chunk.
            got = b"-"
            while got and not got.endswith(LAST_CHUNK):
                got = await reader.read(65536)
    except TimeoutError:
        wrong = (f"it was still open after {REVOKED_ENDS_S:.0f} s",)
    except OSError:
        pass
    writer.close()
    return Verdict(rule=rule, measured=f"{time.monotonic() - began:.1f} s", allowed=allowed, wrong=wrong)


LAST_CHUNK: Final = b"0\r\n\r\n"
REVOKED_ENDS_S: Final = 22.0
"""Two heartbeats of 10 s, and what a busy machine adds."""
