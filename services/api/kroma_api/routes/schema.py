"""``/schema``: the OpenAPI document, open to everyone; for browsers a page that needs no network."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import msgspec
from litestar import MediaType, Response, Router, get
from litestar.params import HeaderParameter

from kroma_api.openapi import document
from kroma_api.reference_page import PAGE_POLICY, reference_page
from kroma_api.route_facts import NO_TOKEN, route

Accept = Annotated[str | None, HeaderParameter(name="Accept")]


def router(described: Sequence[Router]) -> Router:
    """Serves the document of these routers."""

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document(described))

    @cache
    def page() -> str:
        return reference_page(document(described))

    @get("/schema/openapi.json", opt=route(scope=NO_TOKEN), include_in_schema=False)
    async def get_schema() -> Response[bytes]:
        """The OpenAPI document."""
        return Response(await asyncio.to_thread(encoded), media_type=MediaType.JSON)

    @get("/schema", opt=route(scope=NO_TOKEN), include_in_schema=False)
    async def get_page(accept: Accept = None) -> Response[str] | Response[bytes]:
        """The document as a page where a browser asks, else as it is."""
        if accept is not None and MediaType.HTML in accept:
            headers = {"Content-Security-Policy": PAGE_POLICY}
            return Response(await asyncio.to_thread(page), media_type=MediaType.HTML, headers=headers)
        return Response(await asyncio.to_thread(encoded), media_type=MediaType.JSON)

    return Router("/", route_handlers=[get_schema, get_page])
