"""Metrics and health on a port of their own."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress

import httpx
import pytest

from kroma.config import Bind, MetricsOptions, SettingsError
from kroma.db.engine import Database
from kroma.health.probe import Check, Probe, Readiness
from kroma.health.server import HealthServer
from kroma.health.telemetry import serve_telemetry
from kroma.metrics import REGISTRY

pytestmark = pytest.mark.timeout(30)

Call = Callable[..., "asyncio.Future[httpx.Response]"]


class Part:
    """One check, well or not."""

    def __init__(self) -> None:
        self.is_well = True
        self.probe = Probe(("part",), self.ask, stands_for_s=0)

    async def ask(self) -> AsyncIterator[Check]:
        yield Check(name="part", ok=self.is_well, detail="looked at", ms=0.1)


def options(bind: Bind, **given: bool) -> MetricsOptions:
    return MetricsOptions(variable="KROMA_METRICS_BIND", bind=bind, **given)


@pytest.fixture
def part() -> Part:
    return Part()


@asynccontextmanager
async def serving(part: Part, **limits: float) -> AsyncGenerator[HealthServer]:
    served = HealthServer(
        options(Bind("127.0.0.1", 0)), registry=REGISTRY, readiness=Readiness([part.probe]), **limits
    )
    yield served
    await served.close()


@pytest.fixture
async def server(part: Part) -> AsyncIterator[HealthServer]:
    async with serving(part) as served:
        yield served


@pytest.fixture
async def client(server: HealthServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.bind.url, timeout=20) as opened:
        yield opened


async def test_a_process_that_is_well_says_so(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert (live.status_code, live.json()) == (200, {"ok": True, "status": "live"})
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "ok": True,
            "status": "ready",
            "checks": [{"name": "part", "ok": True, "detail": "looked at", "ms": 0.1}],
        },
    )
    assert live.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready"])
async def test_on_loopback_no_foreign_host_is_answered(client: httpx.AsyncClient, path: str) -> None:
    for host in ("localhost:1", "[::1]", "127.8.8.8"):
        assert (await client.get(path, headers={"Host": host})).status_code == 200
    for host in ("evil.test", "127.1", "localhost.evil.test"):
        refused = await client.get(path, headers={"Host": host})
        assert (refused.status_code, refused.json()["error_code"]) == (421, "misdirected_request")
    refused = await client.get(path, headers={"Host": ""})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "validation_error")
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_elsewhere_any_host_is_answered(part: Part) -> None:
    everywhere = options(Bind("0.0.0.0", 0))  # noqa: S104 - as containers do
    server = HealthServer(everywhere, registry=REGISTRY, readiness=Readiness([part.probe]))
    try:
        async with httpx.AsyncClient(timeout=20) as client:
            url = f"http://127.0.0.1:{server.bind.port}/health/live"
            assert (await client.get(url, headers={"Host": "pod-7"})).status_code == 200
    finally:
        await server.close()


async def test_a_part_that_is_not_well_is_named(client: httpx.AsyncClient, part: Part) -> None:
    part.is_well = False

    ready = await client.get("/health/ready")
    without = await client.get("/health/ready?without=part")
    unknown = await client.get("/health/ready?without=everything")

    assert (ready.status_code, ready.json()["error"]) == (503, "Not ready: part")
    assert (ready.json()["ok"], ready.json()["error_code"]) == (False, "not_ready")
    assert without.status_code == 200
    assert (unknown.status_code, unknown.json()["error"]) == (400, "Field 'without' must be one of: part")


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE kroma_http_requests_total counter" in response.text
    assert "process_resident_memory_bytes" in response.text


async def test_nothing_else_is_there(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/projects")

    assert (response.status_code, response.json()["error_code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_another_method_is_refused_in_the_shape_of_all_answers(
    client: httpx.AsyncClient, method: str
) -> None:
    response = await client.request(method, "/metrics")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.headers["content-type"] == "application/json"
    assert (response.json()["ok"], response.json()["error_code"]) == (False, "method_not_allowed")


async def test_what_is_no_request_is_refused_in_the_shape_of_all_answers(server: HealthServer) -> None:
    answer = await asyncio.to_thread(talked, server.bind, b"GET /metrics HTTP/9.9\r\n\r\n")

    assert b"\r\nContent-Type: application/json\r\n" in answer
    assert b'"ok":false' in answer


async def test_clients_that_send_a_line_now_and_then_lose_their_places(part: Part) -> None:
    async with serving(part, client_within_s=0.5) as server:
        with ExitStack() as opened:
            slow = [
                opened.enter_context(socket.create_connection((server.bind.host, server.bind.port)))
                for _ in range(16)
            ]
            for _ in range(8):
                for one in slow:
                    with suppress(OSError):  # it was turned away
                        one.sendall(b"GET /metrics HTTP/1.1\r\n")
                await asyncio.sleep(0.1)

            async with httpx.AsyncClient(base_url=server.bind.url, timeout=20) as client:
                assert (await client.get("/health/live")).status_code == 200


async def test_headers_without_an_end_are_not_read_to_it(server: HealthServer) -> None:
    line = b"X: " + b"x" * 1000 + b"\r\n"
    answer = await asyncio.to_thread(talked, server.bind, b"GET /metrics HTTP/1.1\r\n" + 30 * line + b"\r\n")

    assert answer == b""


def talked(bind: Bind, sent: bytes) -> bytes:
    """All that is answered to some bytes."""
    answer = b""
    with socket.create_connection((bind.host, bind.port), 10) as connection, suppress(ConnectionResetError):
        connection.sendall(sent)
        while data := connection.recv(65536):
            answer += data
    return answer


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready"])
async def test_head_is_an_answer_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    response = await client.head(path)

    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


async def test_a_loop_that_does_not_go_round_is_not_live(part: Part) -> None:
    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        paths = ("/health/live", "/health/ready", "/metrics")
        answers.extend(httpx.get(f"{url}{path}", timeout=20) for path in paths)

    async with serving(part, loop_within_s=0.05) as server:
        asking = threading.Thread(target=ask, args=(server.bind.url,))
        asking.start()
        asking.join()  # on the loop's own thread, which does nothing else meanwhile

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert {answer.json()["error"] for answer in answers[:2]} == {"The event loop does not answer"}


async def test_an_address_that_was_asked_for_must_be_had(part: Part) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = Bind("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(SettingsError, match=f"KROMA_METRICS_BIND cannot be {bind.address}: "):
            HealthServer(options(bind, is_given=True), registry=REGISTRY, readiness=Readiness([part.probe]))


async def test_a_default_address_that_is_taken_is_another_one(part: Part) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = Bind("127.0.0.1", taken.getsockname()[1])
        served = HealthServer(options(bind), registry=REGISTRY, readiness=Readiness([part.probe]))

        assert served.bind != bind
        assert served.bind.is_loopback
        await served.close()


async def test_switched_off_nothing_listens(
    part: Part, db: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    off = options(Bind("127.0.0.1", 0), is_off=True)
    async with serve_telemetry(off, service="api", readiness=Readiness([part.probe]), db=db):
        pass

    assert "metrics.serving" not in capfd.readouterr().out
