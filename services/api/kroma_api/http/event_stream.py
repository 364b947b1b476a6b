"""Server-sent events: the table's rows, sent as they come, at the reader's pace."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

from kroma.db.engine import Database
from kroma.runs.events import RunWatch, TooManyWatchersError, Watcher, ends_run, list_events
from kroma.runs.models import RunEvent
from kroma_api.http.errors import send_error
from kroma_api.http.file_response import send_part
from kroma_api.http.request_slot import slot_of
from kroma_api.http.reviewer_view import for_reviewer
from kroma_api.http.scope import ON_STOP
from kroma_api.schemas.runs import RunEventView

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1000
AT_ONCE: Final = 200
"""Rows that are read together; what a slow reader holds in memory."""

_HEADERS: Final = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy would hold events back
)


class EventStream:
    """The events of one run behind a number, as an ASGI application."""

    def __init__(
        self,
        db: Database,
        watch: RunWatch,
        run_id: UUID,
        *,
        after: int,
        is_done: bool,
        heartbeat: timedelta,
        is_for_reviewer: bool = False,
    ) -> None:
        self._db = db
        self._watch = watch
        self._run_id = run_id
        self._after = after
        self._is_done = is_done
        self._heartbeat = heartbeat
        self._is_for_reviewer = is_for_reviewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the run has ended, the reader is gone or the server stops."""
        try:
            await self._answer(scope, receive, send)
        except TooManyWatchersError as exc:
            await send_error(exc, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._watch.watching(self._run_id) as watcher:
            slot_of(scope).leave()  # streams have a limit of their own
            on_stop: set[Callable[[], None]] = cast("dict[str, Any]", scope).get(ON_STOP, set())
            on_stop.add(watcher.end)
            gone = asyncio.create_task(_end_when_gone(receive, watcher))
            try:
                await self._send_all(watcher, send)
            except (TimeoutError, OSError):
                pass  # the reader is gone or stalled; its place is free
            except asyncio.CancelledError:
                if not watcher.is_over:
                    raise
                # The server stops, and this reader takes nothing: not even the end.
            finally:
                on_stop.discard(watcher.end)
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)

    async def _send_all(self, watcher: Watcher, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await send_part(send, f"retry: {RETRY_MS}\n\n".encode())
        while not watcher.is_over:
            watcher.woken.clear()
            events = await list_events(self._db, self._run_id, after=self._after, limit=AT_ONCE)
            if events:
                self._after = events[-1].seq
                await send_part(send, b"".join(map(self._shown, events)))
                self._is_done = self._is_done or any(ends_run(event) for event in events)
                continue
            if self._is_done:
                break
            await self._wait(watcher, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _wait(self, watcher: Watcher, send: Send) -> None:
        """Until something has happened; silence costs a few bytes and no look at the table."""
        while not watcher.woken.is_set():
            try:
                async with asyncio.timeout(self._heartbeat.total_seconds()):
                    await watcher.woken.wait()
            except TimeoutError:
                await send_part(send, b": still here\n\n")

    def _shown(self, event: RunEvent) -> bytes:
        data = msgspec.json.encode(RunEventView.of(event))
        if self._is_for_reviewer:
            data = msgspec.json.encode(for_reviewer(msgspec.json.decode(data)))
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.kind.encode(), data)


async def _end_when_gone(receive: Receive, watcher: Watcher) -> None:
    try:
        message: Any = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
    finally:  # its request may have a body, and that may break off
        watcher.end()


class EventStreamResponse(Response[Any]):
    """A handler's way to answer with a stream."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__(None, media_type=MEDIA_TYPE)
        self._stream = stream

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - Litestar's reply, or another
        return self._stream
