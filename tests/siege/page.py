"""What a web page in the owner's browser can do: foreign origins, rebound names, forms, the first token."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Final

import httpx

from kroma.embedded.server_process import free_port
from siege import wire
from siege.evidence import Answer
from siege.rules import Verdict, none_of
from siege.targets import Field
from support.servers.kroma_stack import Up, eventually

FOREIGN: Final = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
)
FORM: Final = "application/x-www-form-urlencoded"


def rebound(port: str) -> list[str]:
    """Names that a page could have bound to this machine's address."""
    return [
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"169.254.169.254:{port}",
        f"0.0.0.0:{port}",
        f"192.168.0.10:{port}",
        "evil.example.",
        "xn--localhost-9za.example",
    ]


def not_status(answers: Iterable[tuple[str, Answer]], status: int) -> list[str]:
    """Answers with another status."""
    return [f"{name} was answered {it.status} {it.code}" for name, it in answers if it.status != status]


async def attack(field: Field) -> list[Verdict]:
    address = field.stack.up.address
    crossed = await _foreign(field, address)
    named = await _named(field, address, dict(field.owner.headers))
    metrics = await _named(field, f"http://127.0.0.1:{field.stack.metrics_port}", {}, path="/metrics")
    headers = await _headers(field)
    own = await _of_the_own_page(field, address)
    first = await _first_token(field)
    return [
        none_of(
            "a foreign page changes nothing", not_status(crossed, 403), tried=len(crossed), what="requests"
        ),
        none_of(
            "a rebound name is misdirected",
            not_status([*named, *metrics], 421),
            tried=len(named),
            what="names",
        ),
        none_of("curl and the own page are let in", own[0], tried=own[1], what="requests"),
        none_of("answers tell browsers what they may do", headers[0], tried=headers[1], what="answers"),
        *first,
    ]


async def _foreign(field: Field, address: str) -> list[tuple[str, Answer]]:
    at, host = field.attacker.path, address.removeprefix("http://")
    run = field.attacker.known["run_id"]
    boundary = "multipart/form-data; boundary=b"
    requests: list[tuple[str, str, str, bytes]] = [
        ("POST", "/auth/token", "text/plain", b"{}"),
        ("POST", "/api/projects", "application/json", b'{"name": "Rebound"}'),
        ("POST", f"{at}/resume", FORM, b""),
        ("POST", f"{at}/runs/{run}/cancel", FORM, b"a=b"),
        ("POST", f"{at}/assets", boundary, b"--b--\r\n"),
        ("POST", "/api/tools/inspect", boundary, b"--b--\r\n"),
        ("PUT", f"{at}/budget", "application/json", b'{"limit_usd": 1e6, "period": "total"}'),
        ("DELETE", f"{at}/budget", "application/json", b""),
        ("POST", "/nowhere", FORM, b""),
    ]
    found: list[tuple[str, Answer]] = []
    for method, path, kind, body in requests:
        for foreign in FOREIGN:
            given = {
                "Host": host,
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "Connection": "close",
            }
            data = wire.request_bytes(method, path, {**given, **field.owner.headers, **foreign}.items(), body)
            found.append(
                (f"{method} {path} with {foreign}", await wire.ask(address, data, evidence=field.evidence))
            )
    return found


async def _named(
    field: Field, address: str, headers: dict[str, str], *, path: str = "/api/projects"
) -> list[tuple[str, Answer]]:
    found: list[tuple[str, Answer]] = []
    for name in rebound(address.rpartition(":")[2]):
        for method in ("GET", "POST") if path != "/metrics" else ("GET",):
            given = {"Host": name, "Connection": "close", **headers}
            if method == "POST":
                given |= {"Content-Type": "application/json", "Content-Length": "2"}
            data = wire.request_bytes(method, path, given.items(), b"{}" if method == "POST" else b"")
            found.append(
                (f"{method} {path} as {name}", await wire.ask(address, data, evidence=field.evidence))
            )
    return found


async def _of_the_own_page(field: Field, address: str) -> tuple[list[str], int]:
    """Those who belong here: no header at all, the own origin, every name of loopback."""
    host = address.removeprefix("http://")
    port = host.rpartition(":")[2]
    given: list[dict[str, str]] = [
        {"Host": host},
        {"Host": f"localhost:{port}"},
        {"Host": f"[::1]:{port}"},
        {"Host": host, "Origin": address, "Sec-Fetch-Site": "same-origin"},
        {"Host": host, "Sec-Fetch-Site": "none"},
    ]
    wrong: list[str] = []
    for headers in given:
        sent = {**headers, **field.owner.headers, "Connection": "close", "Content-Length": "0"}
        data = wire.request_bytes("POST", f"{field.attacker.path}/resume", sent.items())
        answer = await wire.ask(address, data, evidence=field.evidence)
        if answer.status != 200:
            wrong.append(f"{headers} was answered {answer.status} {answer.code}")
    return wrong, len(given)


async def _headers(field: Field) -> tuple[list[str], int]:
    """What keeps a browser from guessing, framing and keeping."""
    wrong: list[str] = []
    nobody = field.gone["none"]
    answers = {
        "JSON": await field.owner.ask("GET", "/api/projects"),
        "an error": await nobody.ask("GET", "/api/projects"),
        "the page": await nobody.ask("GET", "/schema", headers={"Accept": "text/html"}),
        "a picture": await field.whole.ask(
            "GET", f"{field.attacker.path}/assets/{field.attacker.known['asset_id']}/content"
        ),
    }
    for name, answer in answers.items():
        if answer.headers.get("x-content-type-options") != "nosniff":
            wrong.append(f"{name} has no X-Content-Type-Options: nosniff")
        if "frame-ancestors" not in answer.headers.get("content-security-policy", ""):
            wrong.append(f"{name} has no Content-Security-Policy with frame-ancestors")
    if not answers["an error"].headers.get("www-authenticate", "").startswith("Bearer"):
        wrong.append("401 does not say WWW-Authenticate: Bearer")
    token = await field.owner.ask("POST", "/auth/token", json={"expires_at": "2020-01-31"}, shows_token=True)
    if "no-store" not in token.headers.get("cache-control", ""):
        wrong.append("an answer that shows a token may be stored")
    for method in ("GET", "OPTIONS"):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await nobody.ask(method, "/api/projects", headers=asked)
        if "access-control-allow-origin" in answer.headers:
            wrong.append(f"{method} from a foreign origin is allowed to read")
    return wrong, len(answers) + 4


async def _first_token(field: Field) -> list[Verdict]:
    """A stack without a token: a foreign page must not get the first, and only one caller may."""
    up = Up(
        field.stack.folder / "first", "--no-token", KROMA_METRICS_BIND="off", KROMA_WORKER_METRICS_BIND="off"
    )
    try:
        await asyncio.to_thread(up.ready)
        host = up.address.removeprefix("http://")
        given = [{"Host": host} | foreign for foreign in FOREIGN]
        given += [{"Host": name} for name in rebound(host.rpartition(":")[2])]
        pages = [(f"/auth/token with {headers}", await _first(up.address, headers)) for headers in given]
        got = [name for name, answer in pages if answer.status not in {403, 421}]
        answers = await asyncio.gather(*(_first(up.address, {"Host": host}) for _ in range(20)))
        winners = sum(answer.status == 200 for answer in answers)
        bypassed = await _bypass(field, up)
    finally:
        await asyncio.to_thread(up.stop)
    race = [] if winners == 1 else [f"{winners} of 20 callers got a first token"]
    return [
        none_of("a foreign page gets no first token", got, tried=len(pages), what="requests"),
        none_of("exactly one caller gets the first token", race, tried=1, what="races"),
        none_of("a page gets nothing where no token is asked for", bypassed, tried=1, what="servers"),
    ]


async def _first(address: str, headers: dict[str, str]) -> Answer:
    sent = {**headers, "Content-Type": "application/json", "Content-Length": "2", "Connection": "close"}
    return await wire.ask(address, wire.request_bytes("POST", "/auth/token", sent.items(), b"{}"))


async def _bypass(field: Field, up: Up) -> list[str]:
    """An API without authentication on the same database, as in the middle of development."""
    state, port = up.state, free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KROMA_", "IAT_"))},
        "KROMA_DATA_DIR": str(up.data_dir),
        "KROMA_DATABASE_URL": state["database_url"],
        "KROMA_REDIS_URL": state["redis_url"],
        "KROMA_BACKEND_BIND": f"127.0.0.1:{port}",
        "KROMA_METRICS_BIND": "off",
        "KROMA_API_AUTH_DEV_BYPASS": "1",
    }
    address = f"http://127.0.0.1:{port}"
    with (field.stack.folder / "bypass.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - starts at once
            [sys.executable, "-m", "kroma_api"], env=environment, stdout=log, stderr=log
        )
    try:
        await asyncio.to_thread(eventually, lambda: _answers(address))
        named = await _named(field, address, {})
        wrong = not_status(named, 421)
        body: dict[str, Any] = {"Content-Type": "text/plain", "Content-Length": "2", "Connection": "close"}
        for foreign in FOREIGN:
            sent = {"Host": f"127.0.0.1:{port}", **body, **foreign}
            data = wire.request_bytes("POST", "/api/projects", sent.items(), b"{}")
            answer = await wire.ask(address, data, evidence=field.evidence)
            wrong += not_status([(f"POST with {foreign}", answer)], 403)
        return wrong
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 10)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
