"""``/schema``: the OpenAPI document, open to everyone."""

from collections.abc import Sequence
from functools import cache

import msgspec
from litestar import MediaType, Response, Router, get

from kroma_api.openapi import document


def router(described: Sequence[Router]) -> Router:
    """Serves the document of these routers."""

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document(described))

    @get(["/schema", "/schema/openapi.json"], sync_to_thread=True, include_in_schema=False)
    def get_schema() -> Response[bytes]:
        """The OpenAPI document."""
        return Response(encoded(), media_type=MediaType.JSON)

    return Router("/", route_handlers=[get_schema])
