"""Counts every request in exactly one limit while it is in flight: docs/decisions/0032."""

from typing import Any, Final, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from kroma.shares import current_share
from kroma_api.http.request_slot import REQUEST_SLOT, RequestLimits, RequestSlot
from kroma_api.middleware.request_log import HEALTH_PATHS

_BODIES: Final = frozenset({"POST", "PUT", "PATCH"})


class RequestSlots:
    """Takes a place for each request."""

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count an HTTP request while it is in flight; anything else passes.

        Raises:
            ServerBusyError: There is no room for it, or none any more now that its body has come.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        slot = RequestSlot(self._limits, current_share.get())
        cast("dict[str, Any]", scope)[REQUEST_SLOT] = slot

        async def receive_and_move() -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
            message: Any = await receive()
            if method in _BODIES and message["type"] == "http.request" and not message["more_body"]:
                slot.work()
            return message

        try:
            if path in HEALTH_PATHS:
                slot.move(self._limits.probes)
            else:
                slot.move(self._limits.received if method in _BODIES else self._limits.at_work)
            await self._app(scope, receive_and_move, send)
        finally:
            slot.leave()
