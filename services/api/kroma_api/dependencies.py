"""What a handler may ask for.

Nothing of it is bound to the routes: each request carries the resources it works on. So the routes,
which take a fifth of a second to build, are built once per process whatever runs on them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp, Receive, Scope, Send

from kroma.auth.caller import Caller
from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.health.probe import Readiness
from kroma.library.thumbnails import Thumbnails
from kroma.providers.base import Provider
from kroma.queue.base import TaskQueue
from kroma.resources import Resources
from kroma.runs.events import RunWatch
from kroma.secrets.keyring import Keyring
from kroma.shares import TurnQueue
from kroma.storage.base import ProjectStores
from kroma_api.http.errors import MAX_UPLOAD_BYTES
from kroma_api.http.request_slot import RequestSlot, slot_of
from kroma_api.middleware.idempotency import STATE_KEY

Db = NamedDependency[Database]
Queue = NamedDependency[TaskQueue]
Stores = NamedDependency[ProjectStores]
Keys = NamedDependency[Keyring]
Cpu = NamedDependency[CpuPool]
Providers = NamedDependency[Mapping[str, Provider]]
AppSettings = NamedDependency[Settings]
CurrentCaller = NamedDependency[Caller]
CurrentSlot = NamedDependency[RequestSlot]
IdempotencyId = NamedDependency[UUID | None]
"""The record of the request's ``Idempotency-Key``, for routes that find by it what they made."""

Watch = NamedDependency[RunWatch]
AppResources = NamedDependency[Resources]
Ready = NamedDependency[Readiness]
ThumbnailMaker = NamedDependency[Thumbnails]
ToolRoom = NamedDependency[TurnQueue]
"""Bytes of uploads that tools have in memory, which may take as long as a provider does; shared in turn."""

_STATE_KEY: Final = "kroma_resources"
_WATCH_KEY: Final = "kroma_watch"
_TOOL_ROOM_KEY: Final = "kroma_tool_room"
_THUMBNAILS_KEY: Final = "kroma_thumbnails"
_READY_KEY: Final = "kroma_readiness"
TOOL_ROOM_OF_ONE_BYTES: Final = MAX_UPLOAD_BYTES + 1024**2
"""What one caller's uploads in tools take, at most; all callers' take twice as much."""


class WithResources:
    """Gives each request the opened resources."""

    def __init__(self, app: ASGIApp, resources: Resources, readiness: Readiness) -> None:
        self._app = app
        self._resources = resources
        self._watch = RunWatch(resources.db)
        self._tool_room = TurnQueue(2 * TOOL_ROOM_OF_ONE_BYTES, most_per_key=TOOL_ROOM_OF_ONE_BYTES)
        self._thumbnails = Thumbnails(resources.cpu)
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {
            _STATE_KEY: self._resources,
            _WATCH_KEY: self._watch,
            _TOOL_ROOM_KEY: self._tool_room,
            _THUMBNAILS_KEY: self._thumbnails,
            _READY_KEY: self._readiness,
        }
        await self._app(scope, receive, send)


def resources_of(scope: Scope) -> Resources:
    """What a request works on."""
    return scope["state"][_STATE_KEY]


def _resource(pick: Callable[[Resources], object]) -> Provide:
    def provide(scope: Scope) -> object:
        return pick(resources_of(scope))

    return Provide(provide, sync_to_thread=False)


def _idempotency_id(scope: Scope) -> UUID | None:
    return scope["state"].get(STATE_KEY)


def _watch(scope: Scope) -> RunWatch:
    return scope["state"][_WATCH_KEY]


def _tool_room(scope: Scope) -> TurnQueue:
    return scope["state"][_TOOL_ROOM_KEY]


def _readiness(scope: Scope) -> Readiness:
    return scope["state"][_READY_KEY]


def _thumbnails(scope: Scope) -> Thumbnails:
    return scope["state"][_THUMBNAILS_KEY]


def _slot(scope: Scope) -> RequestSlot:
    return slot_of(scope)


def _current_caller(request: Request[Caller, Any, Any]) -> Caller:
    return request.user


DEPENDENCIES: Final = {
    "settings": _resource(lambda resources: resources.settings),
    "db": _resource(lambda resources: resources.db),
    "queue": _resource(lambda resources: resources.queue),
    "stores": _resource(lambda resources: resources.stores),
    "cpu": _resource(lambda resources: resources.cpu),
    "providers": _resource(lambda resources: resources.providers),
    "keyring": _resource(lambda resources: resources.keyring),
    "idempotency_id": Provide(_idempotency_id, sync_to_thread=False),
    "resources": _resource(lambda resources: resources),
    "readiness": Provide(_readiness, sync_to_thread=False),
    "thumbnails": Provide(_thumbnails, sync_to_thread=False),
    "tool_room": Provide(_tool_room, sync_to_thread=False),
    "watch": Provide(_watch, sync_to_thread=False),
    "caller": Provide(_current_caller, sync_to_thread=False),
    "slot": Provide(_slot, sync_to_thread=False),
}
"""The dependencies under the parameter names handlers use."""
