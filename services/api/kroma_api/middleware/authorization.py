"""What a caller may do: the scopes of their token against those that open a route.

It stands behind ``Authentication`` and ``PathRules``, so that it sees what the router will see, and before
everything that reads a body or keeps a record. What only a body or a plan can tell, such as whether a run
costs money, is asked of the caller where it is known.
"""

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from kroma.auth import scopes
from kroma.auth.caller import Caller
from kroma.auth.errors import InsufficientScopeError
from kroma_api.http.errors import send_error
from kroma_api.http.reviewer_view import ReviewerView
from kroma_api.route_facts import RouteTable


class Authorization:
    """Answers 403 itself where none of the caller's scopes opens the route."""

    def __init__(self, app: ASGIApp, routes: RouteTable) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                send = self._admitted(scope, send)
            except InsufficientScopeError as exc:
                await send_error(exc, send)
                return
        await self._app(scope, receive, send)

    def _admitted(self, scope: HTTPScope, send: Send) -> Send:
        """How to answer a caller who may do this.

        Raises:
            InsufficientScopeError: They may not.
        """
        facts = self._routes.find(scope["method"], scope["path"])
        caller: Caller = scope["user"]
        if facts is None or not facts.scope:
            return send
        caller.require(*facts.scope)
        if scopes.Scope.REVIEW in facts.scope and not caller.may(scopes.Scope.READ):
            return ReviewerView(send)
        return send
