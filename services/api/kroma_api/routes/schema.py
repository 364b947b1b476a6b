"""``/schema``: the OpenAPI document, open to everyone."""

import asyncio
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

    @get(["/schema", "/schema/openapi.json"], include_in_schema=False)
    async def get_schema() -> Response[bytes]:
        """The OpenAPI document."""
        return Response(await asyncio.to_thread(encoded), media_type=MediaType.JSON)

    return Router("/", route_handlers=[get_schema])
