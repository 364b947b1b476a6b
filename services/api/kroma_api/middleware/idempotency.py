"""``Idempotency-Key``: a POST that is sent again answers again, and does nothing again.

It stands before the routing, so that it sees a request and its answer as they are. A request
without the header, and one that only reads, pays nothing.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self
from uuid import UUID

import msgspec
import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from kroma.auth.caller import Caller
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.idempotency import service
from kroma.idempotency.answers import new_name
from kroma.idempotency.errors import MAX_KEY_CHARACTERS, AnswerNotKeptError, InvalidKeyError
from kroma.idempotency.service import Answer, AnswerFile, KeyedRequest
from kroma.library.spool import Spool, Spooled
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, StoreError
from kroma_api.http.buffered_body import IN_MEMORY_BYTES, WholeBody
from kroma_api.http.errors import send_error
from kroma_api.http.file_response import send_part
from kroma_api.middleware.authentication import bearer_secret
from kroma_api.route_facts import Idempotency, RouteFacts, RouteTable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

REPLAYED: Final = "Idempotent-Replayed"
STATE_KEY: Final = "idempotency_id"
"""Where the request's state has the id of its record."""
KEY_PATTERN: Final = f"^[!-~]{{1,{MAX_KEY_CHARACTERS}}}$"
_KEY: Final = re.compile(KEY_PATTERN.encode())
_LARGEST_IN_TABLE: Final = 64 * 1024
"""Of an answer; a larger one is kept as a file."""
_LARGEST_KEPT: Final = 128 * 1024**2
"""Of an answer; of a larger one only that there was one is kept, as of a secret."""
_LONGEST_PATH: Final = 500
"""A longer one is stored as its digest: an entry of an index has an end."""


class _HeldAnswer:
    """Takes an answer and sends nothing; a large one waits on disk."""

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder)
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._small = bytearray()
        self._large: list[Spooled] = []
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._spool.close()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple((name.decode(), value.decode()) for name, value in message["headers"])
        elif message["type"] == "http.response.body":
            self.size_bytes += len(message["body"])
            self._small += message["body"]
            if len(self._small) > _LARGEST_IN_TABLE:
                self._large.append(await self._spool.keep("answer", bytes(self._small), limit_bytes=None))
                self._small.clear()

    @property
    def is_large(self) -> bool:
        return bool(self._large)

    def answer(self) -> Answer:
        """The whole of it, of a large one without its body."""
        body = b"" if self._large else bytes(self._small)
        return Answer(status_code=self._status, headers=self._headers, body=body)

    async def pieces(self) -> AsyncGenerator[bytes]:
        for file in self._large:
            async for piece in self._spool.chunks(file):
                yield piece
        yield bytes(self._small)


class IdempotencyKeys:
    """Answers again what was answered before."""

    def __init__(
        self, app: ASGIApp, routes: RouteTable, db: Database, *, files: ObjectStore, spool_folder: Path
    ) -> None:
        """Before ``app``.

        Args:
            routes: Say which of them take a key.
            files: Where large answers lie.
            spool_folder: Where the body of a request waits until it has come whole.
        """
        self._app = app
        self._routes = routes
        self._db = db
        self._files = files
        self._spool_folder = spool_folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            keys = [value for name, value in scope["headers"] if name.lower() == b"idempotency-key"]
            facts = self._routes.find("POST", scope["path"]) if keys else None
            if facts is not None and facts.idempotency.takes_key:
                await self._answer(scope, receive, send, keys=keys, facts=facts)
                return
        await self._app(scope, receive, send)

    async def _answer(
        self, scope: HTTPScope, receive: Receive, send: Send, *, keys: list[bytes], facts: RouteFacts
    ) -> None:
        at_most = facts.payload.max_body_bytes
        async with WholeBody(receive, at_most=at_most, folder=self._spool_folder) as body:
            try:
                # One that is too large, or whose sender is gone, is refused by the application.
                request = await _read_key(scope, keys, body) if await body.read() else None
                begun = None
                if request is not None:
                    is_rebuilt = facts.idempotency is Idempotency.REBUILT
                    begun = await service.begin(self._db, request, is_rebuilt=is_rebuilt)
            except KromaError as exc:
                await send_error(exc, send)
                return
            if begun is None or request is None:
                await self._app(scope, body.again, send)
                return
            if isinstance(begun, Answer):
                await self._send_again(begun, send)
                return
            scope["state"][STATE_KEY] = begun
            async with _HeldAnswer(self._spool_folder) as held:
                await self._carry_out(begun, scope, body.again, held)
                body.close()
                await self._keep(begun, held, facts.idempotency, scope_name=request.scope)
                await self._send_held(held, send)

    async def _send_held(self, held: _HeldAnswer, send: Send) -> None:
        if not held.is_large:
            await _send_answer(held.answer(), send)
            return
        await _send_start(held.answer(), send)
        with suppress(TimeoutError):  # the reader has stalled; the server closes what is not whole
            async for piece in held.pieces():
                await send_part(send, piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_again(self, answer: Answer, send: Send) -> None:
        replayed = (REPLAYED, "true")
        if answer.file is None or answer.file.name is None:
            await _send_answer(answer, send, replayed)
            return
        async with AsyncExitStack() as opened:
            try:
                stream = await opened.enter_async_context(self._files.open_stream(answer.file.name))
            except ObjectNotFoundError:
                await send_error(AnswerNotKeptError(answer.file.size_bytes), send)
                return
            except KromaError as exc:
                await send_error(exc, send)
                return
            await _send_start(answer, send, replayed)
            with suppress(TimeoutError):  # the reader has stalled; the server closes what is not whole
                async for chunk in stream.chunks:
                    await send_part(send, chunk)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _carry_out(self, identifier: UUID, scope: Scope, receive: Receive, held: _HeldAnswer) -> None:
        try:
            async with self._renewing(identifier), service.marking(identifier):
                await self._app(scope, receive, held.send)
        except Exception:
            await self._release(identifier)
            raise

    async def _keep(
        self, identifier: UUID, held: _HeldAnswer, treatment: Idempotency, *, scope_name: str
    ) -> None:
        answer = held.answer()
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            await self._release(identifier)
            return
        is_secret = treatment is Idempotency.SECRET and answer.status_code < HTTPStatus.BAD_REQUEST
        try:
            if held.is_large and not is_secret:
                answer = msgspec.structs.replace(answer, file=await self._file_answer(identifier, held))
            await service.keep(self._db, identifier, answer, is_secret=is_secret)
            if answer.file is not None:
                await self._files.delete(await service.let_go(self._db, scope_name))
        except Exception:
            # What was done is done: the caller learns it now, and the next one that it was done.
            log.exception("an answer was not kept")

    async def _file_answer(self, identifier: UUID, held: _HeldAnswer) -> AnswerFile:
        if held.size_bytes > _LARGEST_KEPT:
            return AnswerFile(None, held.size_bytes)
        name = new_name(identifier)
        try:
            await self._files.put_stream(name, held.pieces(), limit_bytes=_LARGEST_KEPT)
        except StoreError as exc:
            log.warning("an answer was not kept", reason=exc.message)
            return AnswerFile(None, held.size_bytes)
        return AnswerFile(name, held.size_bytes)

    async def _release(self, identifier: UUID) -> None:
        try:
            await service.release(self._db, identifier)
        except Exception:
            log.exception("an idempotency key was not freed")  # its lease ends by itself

    @asynccontextmanager
    async def _renewing(self, identifier: UUID) -> AsyncGenerator[None]:
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


async def _read_key(scope: HTTPScope, keys: list[bytes], body: WholeBody) -> KeyedRequest:
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise InvalidKeyError
    path = scope["path"]
    if len(path) > _LONGEST_PATH:
        path = f"sha256:{sha256(path.encode()).hexdigest()}"
    return KeyedRequest(
        scope=_scope_name(scope["user"]),
        path=path,
        key=keys[0].decode("ascii"),
        request_hash=await _digest(scope, body),
    )


async def _digest(scope: HTTPScope, body: WholeBody) -> str:
    # A body may hold a guessable secret, so its digest needs a key: the bearer, which is stored nowhere.
    bearer = bearer_secret(scope["headers"]) or ""
    # The digest of ``(method, query, body)`` in MessagePack, without a second copy of the body.
    head = msgspec.msgpack.encode((scope["method"], scope["query_string"])).replace(b"\x92", b"\x93", 1)
    digest = hmac.new(bearer.encode(), head + _msgpack_head(body.size_bytes), "sha256")
    async for piece in body.pieces():
        if len(piece) > IN_MEMORY_BYTES:
            await asyncio.to_thread(digest.update, piece)
        else:
            digest.update(piece)
    return digest.hexdigest()


def _msgpack_head(size_bytes: int) -> bytes:
    """What stands before so many bytes in MessagePack."""
    for kind, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
        if size_bytes < 256**width:
            return bytes([kind]) + size_bytes.to_bytes(width, "big")
    msg = "no body is as large as that"
    raise ValueError(msg)


def _scope_name(caller: Caller) -> str:
    if caller.token_id is not None:
        return str(caller.token_id)
    return "bootstrap" if caller.is_bootstrap else "open"


async def _send_start(answer: Answer, send: Send, *more: tuple[str, str]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in (*answer.headers, *more)]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})


async def _send_answer(answer: Answer, send: Send, *more: tuple[str, str]) -> None:
    await _send_start(answer, send, *more)
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
