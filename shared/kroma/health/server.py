"""Metrics and health on a port of their own, served by threads: a busy event loop is seen, not slowed."""

import asyncio
import errno
import io
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from kroma.browsers import SECURITY_HEADERS, AnsweredHosts, BadHostError, MisdirectedRequestError
from kroma.config import Bind, MetricsOptions, SettingsError
from kroma.errors import NotOneOfError
from kroma.health.probe import ANSWER_WITHIN_S, Check, Readiness

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

log = structlog.get_logger(__name__)

_SLOTS: Final = 16
"""Answers at a time; more askers than that are turned away."""
_MOST_BYTES: Final = 16 * 1024
"""Of a request."""
_STOPS_WITHIN_S: Final = 0.1
_JSON: Final = "application/json"


class _Silence:
    """Stands for an answer that the event loop did not give."""


_SILENT: Final = _Silence()


class HealthServer:
    """``/metrics``, ``/health/live`` and ``/health/ready`` of one process."""

    def __init__(
        self,
        options: MetricsOptions,
        *,
        registry: CollectorRegistry,
        readiness: Readiness,
        refresh: Callable[[], Awaitable[None]] | None = None,
        client_within_s: float = 5.0,
        loop_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        """Listen.

        Args:
            options: Where.
            registry: What ``/metrics`` shows.
            readiness: What ``/health/ready`` asks, on the event loop that is running now.
            refresh: Brings what the registry shows up to date before each answer, within ``loop_within_s``.
            client_within_s: From the connection to the last byte of the request, however many pieces it comes
                in; then as much again for the answer to leave.
            loop_within_s: How long an event loop may take that is alive; with checks of parts, a second more.

        Raises:
            SettingsError: The address that was asked for cannot be had.
        """
        self.hosts = AnsweredHosts(on_loopback=options.bind.is_loopback)
        self._registry = registry
        self._readiness = readiness
        self._refresh = refresh
        self.client_within_s = client_within_s
        self._loop_within_s = loop_within_s
        self._loop = asyncio.get_running_loop()
        self._server = _listening(options, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOPS_WITHIN_S,), name="health", daemon=True
        )
        self._thread.start()

    @property
    def bind(self) -> Bind:
        host, port, *_ = self._server.server_address
        return Bind(str(host), int(port))

    async def close(self) -> None:
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    def answer(self, path: str, query: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body; called in a thread."""
        match path:
            case "/metrics":
                if self._refresh is not None:
                    self._on_loop(self._refresh(), within_s=self._loop_within_s)
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case "/health/live":
                alive = self._on_loop(_nothing(), within_s=self._loop_within_s) is not _SILENT
                return _json({"status": "live"} if alive else _NOT_LIVE)
            case "/health/ready":
                return _json(self._ready(query))
            case _:
                return _json(_NO_SUCH_PATH, HTTPStatus.NOT_FOUND)

    def _ready(self, query: str) -> dict[str, Any]:
        without = ",".join(parse_qs(query).get("without", ()))
        try:
            found = self._on_loop(self._readiness.checks(without=without), within_s=self._loop_within_s + 1)
        except NotOneOfError as exc:
            return _failure(exc.message, exc.kind, exc.code)
        if isinstance(found, _Silence):
            return _NOT_LIVE | {"status": "not_ready", "checks": []}
        return _report(found)

    def _on_loop(self, work: Awaitable[T], *, within_s: float) -> T | _Silence:
        async def carry() -> T:
            return await work

        future = asyncio.run_coroutine_threadsafe(carry(), self._loop)
        try:
            return future.result(within_s)
        except TimeoutError:
            future.cancel()
            return _SILENT


async def _nothing() -> None:
    """What a loop that goes round has done at once."""


def _failure(text: str, kind: str, code: str) -> dict[str, Any]:
    return {"ok": False, "error": text, "error_kind": kind, "error_code": code}


_NOT_LIVE: Final = _failure("The event loop does not answer", "infra", "not_live")
_NO_SUCH_METHOD: Final = _failure(
    "This path does not take this method; see the Allow header", "validation", "method_not_allowed"
)
_NO_SUCH_PATH: Final = _failure(
    "There are /metrics, /health/live and /health/ready", "validation", "not_found"
)


def _report(checks: Sequence[Check]) -> dict[str, Any]:
    failed = [check.name for check in checks if not check.ok]
    if not failed:
        return {"ok": True, "status": "ready", "checks": checks}
    failure = _failure(f"Not ready: {', '.join(failed)}", "infra", "not_ready")
    return failure | {"status": "not_ready", "checks": checks}


def _json(body: dict[str, Any], status: HTTPStatus | None = None) -> tuple[HTTPStatus, str, bytes]:
    if status is None:
        kinds = {"infra": HTTPStatus.SERVICE_UNAVAILABLE, "validation": HTTPStatus.BAD_REQUEST}
        status = kinds.get(body.get("error_kind", ""), HTTPStatus.OK)
    return status, _JSON, msgspec.json.encode({"ok": True} | body)


class _Server(ThreadingTCPServer):
    # Not http.server's own: that one asks the name service who it is.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = _SLOTS

    def __init__(self, bind: Bind, health: HealthServer) -> None:
        self.address_family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        self.health = health
        self._slots = threading.BoundedSemaphore(_SLOTS)
        super().__init__((bind.host, bind.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        error = sys.exception()
        if not isinstance(error, OSError):  # that is an asker who went away
            log.error("health.answer_failed", error=repr(error))


class _Incoming(io.RawIOBase):
    """What a client sends, as long as all of it is here in time and not too much."""

    def __init__(self, connection: socket.socket, *, within_s: float) -> None:
        self._connection = connection
        self._until = monotonic() + within_s
        self._left = _MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Take what is there.

        Raises:
            TimeoutError: The time is over.
            ConnectionAbortedError: It is too much.
        """
        left_s = self._until - monotonic()
        if left_s <= 0:
            raise TimeoutError
        if self._left <= 0:
            raise ConnectionAbortedError
        self._connection.settimeout(left_s)
        taken = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= taken
        return taken


class _Handler(BaseHTTPRequestHandler):
    server_version = "kroma"
    sys_version = ""

    def setup(self) -> None:
        """Begin the time that a request may take."""
        super().setup()
        self.rfile.close()
        within_s = cast("_Server", self.server).health.client_within_s
        self.rfile = io.BufferedReader(_Incoming(self.connection, within_s=within_s))

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        health = cast("_Server", self.server).health
        try:
            health.hosts.check(self.headers.get_all("Host", []))
        except (BadHostError, MisdirectedRequestError) as exc:
            is_bad = isinstance(exc, BadHostError)
            status = HTTPStatus.BAD_REQUEST if is_bad else HTTPStatus.MISDIRECTED_REQUEST
            answer = _json(_failure(exc.message, exc.kind, exc.code), status)
        else:
            asked = urlsplit(self.path)
            answer = health.answer(asked.path, asked.query)
        self._send(*answer, with_body=with_body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - http.server's
        """Refuse what is no request, in the shape of all answers."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            refusal, headers = _json(_NO_SUCH_METHOD, HTTPStatus.METHOD_NOT_ALLOWED), {"Allow": "GET, HEAD"}
        else:
            body = _failure(message or HTTPStatus(code).phrase, "validation", "bad_request")
            refusal, headers = _json(body, HTTPStatus(code)), {}
        self.close_connection = True
        # Before one was read it is taken for a version without headers.
        self.request_version = self.protocol_version
        self._send(*refusal, with_body=True, headers=headers)

    def _send(
        self,
        status: HTTPStatus,
        kind: str,
        body: bytes,
        *,
        with_body: bool,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.connection.settimeout(cast("_Server", self.server).health.client_within_s)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: probes would drown what matters."""


def _listening(options: MetricsOptions, health: HealthServer) -> _Server:
    bind = options.bind
    try:
        return _Server(bind, health)
    except OSError as exc:
        if options.is_given or exc.errno != errno.EADDRINUSE:
            reason = exc.strerror or exc
            raise SettingsError(f"{options.variable} cannot be {bind.address}: {reason}") from exc
    return _Server(msgspec.structs.replace(bind, port=0), health)
