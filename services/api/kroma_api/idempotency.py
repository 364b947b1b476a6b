"""``Idempotency-Key``: a POST that is sent again answers again, and does nothing again.

It stands before the routing, so that it sees a request and its answer as they are. A request
without the header, and one that only reads, pays nothing.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from enum import Enum, auto
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from kroma.auth.caller import Caller
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.idempotency import service
from kroma.idempotency.errors import MAX_KEY_CHARACTERS, InvalidKeyError
from kroma.idempotency.service import Answer, KeyedRequest
from kroma_api.authentication import bearer_secret
from kroma_api.errors import MAX_BODY_BYTES, MAX_UPLOAD_BYTES, send_error

log: structlog.stdlib.BoundLogger = structlog.get_logger()

REPLAYED: Final = "Idempotent-Replayed"
STATE_KEY: Final = "idempotency_id"
"""Where the request's state has the id of its record."""
KEY_PATTERN: Final = f"^[!-~]{{1,{MAX_KEY_CHARACTERS}}}$"
_KEY: Final = re.compile(KEY_PATTERN.encode())
_UPLOADS: Final = "/api/tools/"
_LARGEST_KEPT: Final = 8 * 1024**2
"""Of an answer; of a larger one only that there was one is kept, as of a secret."""
_LONGEST_PATH: Final = 500
"""A longer one is stored as its digest: an entry of an index has an end."""


class Treatment(Enum):
    """What becomes of a request whose process died between the change and the answer."""

    REPLAYED = auto()
    """Nobody knows its answer: the next request is told so."""
    REBUILT = auto()
    """The route is carried out again and finds what it made by the record's id."""
    SECRET = auto()
    """As REPLAYED; and the answer of a success is a secret, which is kept nowhere."""


_P: Final = "/api/projects/{slug}"

CHANGES: Final[Mapping[str, Treatment]] = {
    "/auth/token": Treatment.SECRET,
    "/api/projects": Treatment.REPLAYED,
    f"{_P}/agent/instructions": Treatment.REPLAYED,
    f"{_P}/agent/instructions/{{instruction_id}}/cancel": Treatment.REPLAYED,
    f"{_P}/agent/instructions/{{instruction_id}}/confirm": Treatment.REPLAYED,
    f"{_P}/asset-links": Treatment.REPLAYED,
    f"{_P}/bootstrap-import": Treatment.REPLAYED,
    f"{_P}/bootstrap-import/{{import_id}}/undo": Treatment.REPLAYED,
    f"{_P}/characters": Treatment.REPLAYED,
    f"{_P}/chat/sessions": Treatment.REPLAYED,
    f"{_P}/chat/sessions/{{session_id}}/messages": Treatment.REPLAYED,
    f"{_P}/pause": Treatment.REPLAYED,
    f"{_P}/prompt-templates": Treatment.REPLAYED,
    f"{_P}/provider-accounts": Treatment.REPLAYED,
    f"{_P}/provider-calls/{{call_id}}/resolve": Treatment.REPLAYED,
    f"{_P}/reference-sets": Treatment.REPLAYED,
    f"{_P}/reference-sets/{{reference_set_id}}/items": Treatment.REPLAYED,
    f"{_P}/resume": Treatment.REPLAYED,
    f"{_P}/runs/trigger": Treatment.REBUILT,
    f"{_P}/runs/{{run_id}}/cancel": Treatment.REPLAYED,
    f"{_P}/runs/{{run_id}}/jobs/{{job_id}}/select": Treatment.REPLAYED,
    f"{_P}/runs/{{run_id}}/lock-baseline": Treatment.REPLAYED,
    f"{_P}/runs/{{run_id}}/rerun": Treatment.REBUILT,
    f"{_P}/runs/{{run_id}}/retry": Treatment.REBUILT,
    f"{_P}/secrets": Treatment.REPLAYED,
    f"{_P}/secrets/rotate": Treatment.REPLAYED,
    f"{_P}/storage/sync": Treatment.REPLAYED,
    f"{_P}/storage/syncs/{{sync_id}}/cancel": Treatment.REPLAYED,
    f"{_P}/storage/syncs/{{sync_id}}/retry": Treatment.REPLAYED,
    f"{_P}/style-guides": Treatment.REPLAYED,
    "/api/tools/{tool}": Treatment.REPLAYED,
}
"""Every POST that creates, changes or spends."""

READS: Final = frozenset(
    {
        f"{_P}/runs/validate-config",
        f"{_P}/runs/quote",
        f"{_P}/provider-accounts/{{provider_code}}/check",
        # An agent has no token to tell its keys from another's; a report says by itself what it repeats.
        "/agent/callback/{instruction_id}",
    }
)
"""Every other POST: the header means nothing there."""

REPEATABLE: Final = frozenset({f"{_P}/assets"})
"""As READS, of POSTs that change something: the same bytes again are the same asset and item of a set.

Their bodies are too large to be kept until they have come whole, as an answer by key would want it.
"""

_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), treatment) for path, treatment in CHANGES.items()
)


def treatment_of(path: str) -> Treatment | None:
    """How a POST to this path is treated; None where the header means nothing."""
    return next((treatment for pattern, treatment in _PATTERNS if pattern.fullmatch(path)), None)


class IdempotencyKeys:
    """Answers again what was answered before."""

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self._app = app
        self._db = db

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at a POST that carries a key; anything else passes."""
        if scope["type"] == "http" and scope["method"] == "POST":
            keys = [value for name, value in scope["headers"] if name.lower() == b"idempotency-key"]
            treatment = treatment_of(scope["path"]) if keys else None
            if treatment is not None:
                await self._answer(scope, receive, send, keys=keys, treatment=treatment)
                return
        await self._app(scope, receive, send)

    async def _answer(
        self, scope: HTTPScope, receive: Receive, send: Send, *, keys: list[bytes], treatment: Treatment
    ) -> None:
        is_upload = scope["path"].startswith(_UPLOADS)
        whole = _WholeBody(receive, at_most=MAX_UPLOAD_BYTES if is_upload else MAX_BODY_BYTES)
        body = await whole.read()
        if body is None:
            await self._app(scope, whole.again, send)  # too large, or its sender is gone: refused there
            return
        try:
            request = _keyed(scope, keys, body)
            begun = await service.begin(self._db, request, is_rebuilt=treatment is Treatment.REBUILT)
        except KromaError as exc:
            await send_error(exc, send)
            return
        if isinstance(begun, Answer):
            await _send_answer(begun, send, (REPLAYED, "true"))
            return
        scope["state"][STATE_KEY] = begun
        answer = await self._carried_out(begun, scope, whole.again)
        await self._keep(begun, answer, treatment)
        await _send_answer(answer, send)

    async def _carried_out(self, identifier: UUID, scope: Scope, receive: Receive) -> Answer:
        held = _HeldAnswer()
        try:
            async with self._renewed(identifier), service.marking(identifier):
                await self._app(scope, receive, held.send)
            return held.answer()
        except Exception:
            await self._release(identifier)
            raise

    async def _keep(self, identifier: UUID, answer: Answer, treatment: Treatment) -> None:
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            await self._release(identifier)
            return
        is_secret = treatment is Treatment.SECRET and answer.status_code < HTTPStatus.BAD_REQUEST
        is_secret = is_secret or len(answer.body) > _LARGEST_KEPT
        try:
            await service.keep(self._db, identifier, answer, is_secret=is_secret)
        except Exception:
            # What was done is done: the caller learns it now, and the next one that it was done.
            log.exception("an answer was not kept")

    async def _release(self, identifier: UUID) -> None:
        try:
            await service.release(self._db, identifier)
        except Exception:
            log.exception("an idempotency key was not freed")  # its lease ends by itself

    @asynccontextmanager
    async def _renewed(self, identifier: UUID) -> AsyncGenerator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(service.RENEW_EVERY.total_seconds())
                try:
                    await service.renew(self._db, identifier)
                except Exception:
                    log.exception("an idempotency key was not renewed")

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


def _keyed(scope: HTTPScope, keys: list[bytes], body: bytes) -> KeyedRequest:
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise InvalidKeyError
    path = scope["path"]
    if len(path) > _LONGEST_PATH:
        path = f"sha256:{sha256(path.encode()).hexdigest()}"
    # A body may hold a guessable secret, so its digest needs a key: the bearer, which is stored nowhere.
    request = msgspec.msgpack.encode((scope["method"], scope["query_string"], body))
    bearer = bearer_secret(scope["headers"]) or ""
    return KeyedRequest(
        scope=_scope_name(scope["user"]),
        path=path,
        key=keys[0].decode("ascii"),
        request_hash=hmac.new(bearer.encode(), request, "sha256").hexdigest(),
    )


def _scope_name(caller: Caller) -> str:
    if caller.token_id is not None:
        return str(caller.token_id)
    return "bootstrap" if caller.is_bootstrap else "open"


class _WholeBody:
    """Reads a body to its end, and gives its messages once more."""

    def __init__(self, receive: Receive, *, at_most: int) -> None:
        self._receive = receive
        self._at_most = at_most
        self._messages: list[Any] = []

    async def read(self) -> bytes | None:
        """The body; None when it is too large, or its sender is gone."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            self._messages.append(message)
            if message["type"] != "http.request":
                return None
            parts.append(message["body"])
            size += len(parts[-1])
            if size > self._at_most:
                return None
            if not message["more_body"]:
                return b"".join(parts)

    async def again(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """What was read, then what comes."""
        return self._messages.pop(0) if self._messages else await self._receive()


class _HeldAnswer:
    """Takes an answer and sends nothing."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        """Hold a part."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple((name.decode(), value.decode()) for name, value in message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message["body"]

    def answer(self) -> Answer:
        """The whole of it."""
        return Answer(status_code=self._status, headers=self._headers, body=bytes(self._body))


async def _send_answer(answer: Answer, send: Send, *more: tuple[str, str]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in (*answer.headers, *more)]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
