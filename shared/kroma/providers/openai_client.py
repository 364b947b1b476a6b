"""One call through the official SDK, connected only where the URL guard says.

Importing this costs 30 MB and more than a second, so only a worker's first paid call does.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import httpx
import httpx2
import msgspec
import openai

from kroma.config import OpenAIOptions
from kroma.outbound.errors import OutboundError, UrlRefusedError
from kroma.outbound.guard import UrlGuard
from kroma.providers.base import AnswerLostError, AnswerUnusableError, ProviderRefusedError
from kroma.providers.openai_answers import CODE, RawAnswer

MAX_ANSWER_BYTES: Final = 96 * 1024**2
"""A picture of 64 MiB is 86 MiB in base64."""
_LEAVING: Final = "http11.send_request_headers.started"


class EditForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an image edit (pipeline.md 5.1)."""

    model: str
    size: str
    quality: str
    prompt: str
    input_fidelity: str | None
    background: str | None = None
    """``transparent``, ``opaque`` or ``auto``; None is not sent."""
    pictures: Sequence[tuple[str, bytes, str]]
    """File name, bytes and type, the scene first."""


class OpenAICalls:
    """Makes calls; one connection each, for a call takes seconds and its address is looked at each time."""

    def __init__(self, guard: UrlGuard, options: OpenAIOptions) -> None:
        self._guard = guard
        self._options = options
        # httpx's context trusts the certificate authorities that come with Kroma, as for other addresses.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=0),
        )

    async def edit(self, form: EditForm, *, api_key: str, base_url: str, call_id: str | None) -> RawAnswer:
        """Send an image edit once and read the whole answer, whatever its status.

        Raises:
            ProviderRefusedError: Nothing was sent.
            AnswerLostError: It was sent, at least in part, and no whole answer came.
            AnswerUnusableError: The answer is larger than any picture.
        """
        route = _Route(self._transport, self._guard)
        limit_s = self._options.timeout.total_seconds()
        try:
            async with asyncio.timeout(limit_s):
                return await self._send(route, form, api_key=api_key, base_url=base_url, call_id=call_id)
        except Exception as exc:
            if route.is_too_large:
                raise AnswerUnusableError(CODE, "its answer is larger than any picture") from exc
            if route.has_left:
                raise AnswerLostError(CODE, _lost(exc, limit_s)) from exc
            raise _unsent(exc) from exc

    async def close(self) -> None:
        await self._transport.aclose()

    async def _send(
        self, route: "_Route", form: EditForm, *, api_key: str, base_url: str, call_id: str | None
    ) -> RawAnswer:
        limit_s = self._options.timeout.total_seconds()
        connect_s = self._options.connect_timeout.total_seconds()
        timeout = httpx2.Timeout(connect=connect_s, read=limit_s, write=limit_s, pool=connect_s)
        client = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=httpx2.AsyncClient(
                transport=route, trust_env=False, follow_redirects=False, timeout=timeout
            ),
        )
        # Those of the environment belong to the environment's key, which this one need not be.
        client.organization = client.project = None
        headers = {"Accept-Encoding": "identity"}  # a small compressed answer may be a huge one
        if call_id is not None:
            headers["Idempotency-Key"] = call_id
        try:
            raw = await client.images.with_raw_response.edit(
                image=list(form.pictures),
                prompt=form.prompt,
                model=form.model,
                size=form.size,
                # The price list knows words that the SDK's types do not.
                quality=cast("Any", form.quality),
                input_fidelity=cast("Any", form.input_fidelity) or openai.omit,
                background=cast("Any", form.background) or openai.omit,
                output_format="png",
                extra_headers=headers,
            )
            response = raw.http_response
        except openai.APIStatusError as exc:
            response = exc.response
        lower = {name.lower(): value for name, value in response.headers.items()}
        return RawAnswer(response.status_code, lower, response.content)


class _Route(httpx2.AsyncBaseTransport):
    """Takes one request to an address that the guard judged, and knows whether any of it left."""

    def __init__(self, transport: httpx2.AsyncHTTPTransport, guard: UrlGuard) -> None:
        self._transport = transport
        self._guard = guard
        self.has_left = False
        self.is_too_large = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Resolve, judge, connect to what was judged, send.

        Raises:
            UrlRefusedError: The guard forbids the address.
            HostNotFoundError: Its name has no address.
            httpx2.TransportError: No answer came.
        """
        target = await self._guard.check(str(request.url))
        failed: httpx2.TransportError = httpx2.ConnectError("no address")
        for address in target.addresses:
            onward = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": target.host, "trace": self._trace},
            )
            try:
                response = await self._transport.handle_async_request(onward)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
                failed = exc  # nothing was sent: the next address of the name
                continue
            headers = httpx2.Headers(response.headers)
            # We asked for none, and the client would unpack it whole: a small answer may be a huge one.
            headers.pop("content-encoding", None)
            return httpx2.Response(
                response.status_code,
                headers=headers,
                stream=_Limited(response.stream, self),
                extensions=response.extensions,
            )
        raise failed

    async def _trace(self, event: str, _: dict[str, Any]) -> None:
        if event == _LEAVING:
            self.has_left = True


class _Limited(httpx2.AsyncByteStream):
    """A body that ends with an error when it grows past what a picture can be."""

    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, route: _Route) -> None:
        self._stream: Any = stream
        self._route = route

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > MAX_ANSWER_BYTES:
                self._route.is_too_large = True
                raise httpx2.RemoteProtocolError("larger than any picture")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _lost(exc: Exception, limit_s: float) -> str:
    if isinstance(exc, TimeoutError | openai.APITimeoutError):
        return f"no whole answer within {limit_s:g} s"
    return "the connection broke before the answer was whole"


def _unsent(exc: Exception) -> Exception:
    """The refusal that a failure before the first byte is; a bug stays what it is."""
    if isinstance(exc, UrlRefusedError):
        return ProviderRefusedError(CODE, exc.message)
    if isinstance(exc, OutboundError):
        return ProviderRefusedError(CODE, exc.message, retryable=True, is_down=True)
    if isinstance(exc, TimeoutError | openai.APIConnectionError | httpx2.TransportError):
        return ProviderRefusedError(CODE, "no connection could be made", retryable=True, is_down=True)
    return exc
