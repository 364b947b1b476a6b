"""``/schema``: the OpenAPI document, open to everyone; for browsers a page that needs no network."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Annotated, Final, NamedTuple

from litestar import MediaType, Response, Router, get
from litestar.params import HeaderParameter

from kroma.errors import InfraError
from kroma_api.openapi.reference_page import PAGE_POLICY
from kroma_api.route_facts import NO_TOKEN, Idempotency, route

Accept = Annotated[str | None, HeaderParameter(name="Accept")]

_WITHIN_S: Final = 60.0


class DocumentNotMadeError(InfraError):
    """The process that makes the document failed."""

    code = "schema_not_made"
    text = "The OpenAPI document could not be built; the API's log has the reason"


class _Document(NamedTuple):
    json: bytes
    page: bytes


class _Documents:
    """Has the document made by the first who asks, and keeps it.

    In a process of its own: a second of work and 150,000 objects would stall every other caller, in a thread
    too. One at a time, since whoever asks needs no token.
    """

    def __init__(self) -> None:
        self._made: _Document | None = None
        self._making = asyncio.Lock()

    async def get(self) -> _Document:
        """The document as JSON and as a page.

        Raises:
            DocumentNotMadeError: It could not be made; the next caller has it tried again.
        """
        async with self._making:
            if self._made is None:
                self._made = await _make()
        return self._made


async def _make() -> _Document:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kroma_api.export_openapi", "--served", stdin=DEVNULL, stdout=PIPE
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise DocumentNotMadeError from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DocumentNotMadeError
    json, _, page = output.partition(b"\n")
    return _Document(json, page)


def router() -> Router:
    """Serves the document of all routes."""
    documents = _Documents()

    @get(
        "/schema/openapi.json",
        opt=route(scope=NO_TOKEN, idempotency=Idempotency.READ, contract=None),
        include_in_schema=False,
    )
    async def get_schema() -> Response[bytes]:
        """The OpenAPI document."""
        return Response((await documents.get()).json, media_type=MediaType.JSON)

    @get(
        "/schema",
        opt=route(scope=NO_TOKEN, idempotency=Idempotency.READ, contract=None),
        include_in_schema=False,
    )
    async def get_page(accept: Accept = None) -> Response[bytes]:
        """The document as a page where a browser asks, else as it is."""
        document = await documents.get()
        if accept is not None and MediaType.HTML in accept:
            headers = {"Content-Security-Policy": PAGE_POLICY}
            return Response(document.page, media_type=MediaType.HTML, headers=headers)
        return Response(document.json, media_type=MediaType.JSON)

    return Router("/", route_handlers=[get_schema, get_page])
