"""The HTTP client for addresses that users choose."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx
import msgspec

from kroma.outbound.errors import CallTimedOutError, ConnectionFailedError, ReplyTooLargeError
from kroma.outbound.guard import GuardedUrl, UrlGuard

MAX_REPLY_BYTES: Final = 1024**2


class OutboundReply(msgspec.Struct, frozen=True):
    """What came back; a redirect is a reply like any other and is not followed."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    """Names in lower case."""

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)


class OutboundClient:
    """Connects only where its guard says.

    It stands on the transport, not on ``httpx.AsyncClient``: no proxy from the environment, which
    would resolve the name once more, no cookies, no redirects. A connection carries one request,
    because a second host behind the same address has a certificate of its own.
    """

    def __init__(self, guard: UrlGuard, *, tls: ssl.SSLContext | None = None) -> None:
        """Without ``tls``, the usual certificate authorities are trusted."""
        self._guard = guard
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or True,
            trust_env=False,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=0),
        )

    async def post_json(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        limit: timedelta,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> OutboundReply:
        """Post JSON and read the whole reply.

        Args:
            url: Where to; checked here, each time.
            body: The encoded JSON.
            headers: Further headers.
            limit: For everything, from the name's resolution to the last byte.
            max_bytes: How large the reply may be.

        Raises:
            UrlRefusedError: The guard forbids the address.
            OutboundError: No complete reply came.
        """
        headers = {**headers, "Content-Type": "application/json"}
        return await self._call("POST", url, body, headers, limit=limit, max_bytes=max_bytes)

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str],
        files: Mapping[str, tuple[str, bytes, str]],
        *,
        headers: Mapping[str, str],
        limit: timedelta,
        max_bytes: int,
    ) -> OutboundReply:
        """Post a multipart form and read the whole reply, of any type.

        Args:
            url: As with ``post_json``, like the other arguments.
            fields: Texts by name.
            files: File name, bytes and MIME type by name.
            headers: Further headers.
            limit: For everything.
            max_bytes: How large the reply may be.

        Raises:
            UrlRefusedError: The guard forbids the address.
            OutboundError: No complete reply came.
        """
        form = httpx.Request("POST", url, data=dict(fields), files=dict(files))
        headers = {"Accept": "*/*", **headers, "Content-Type": form.headers["content-type"]}
        return await self._call("POST", url, form.read(), headers, limit=limit, max_bytes=max_bytes)

    async def get(
        self, url: str, *, headers: Mapping[str, str], limit: timedelta, max_bytes: int = MAX_REPLY_BYTES
    ) -> OutboundReply:
        """Get JSON and read the whole reply; arguments and errors as with ``post_json``.

        Raises:
            UrlRefusedError: The guard forbids the address.
            OutboundError: No complete reply came.
        """
        return await self._call("GET", url, b"", headers, limit=limit, max_bytes=max_bytes)

    async def close(self) -> None:
        await self._transport.aclose()

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        limit: timedelta,
        max_bytes: int,
    ) -> OutboundReply:
        try:
            async with asyncio.timeout(limit.total_seconds()):
                target = await self._guard.check(url)
                return await self._send(method, target, body, headers, max_bytes=max_bytes)
        except TimeoutError as exc:
            raise CallTimedOutError(limit.total_seconds()) from exc

    async def _send(
        self, method: str, target: GuardedUrl, body: bytes, headers: Mapping[str, str], *, max_bytes: int
    ) -> OutboundReply:
        for address in target.addresses:
            request = _request(method, target, address, body, headers)
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.ConnectError:
                continue  # nothing was sent: the next address of the name
            except httpx.TransportError as exc:
                raise ConnectionFailedError(has_left=True) from exc
            try:
                body = await _read(response, max_bytes=max_bytes)
                return OutboundReply(response.status_code, body, dict(response.headers))
            except httpx.TransportError as exc:
                raise ConnectionFailedError(has_left=True) from exc
            finally:
                await response.aclose()
        raise ConnectionFailedError


def _request(
    method: str, target: GuardedUrl, address: str, body: bytes, headers: Mapping[str, str]
) -> httpx.Request:
    return httpx.Request(
        method,
        target.url.copy_with(host=address),
        headers={
            "Accept": "application/json",
            **headers,
            "Host": target.url.netloc.decode("ascii"),
            "Accept-Encoding": "identity",  # a small compressed reply may be a huge one
            "User-Agent": "kroma",
        },
        content=body,
        extensions={"sni_hostname": target.host},
    )


async def _read(response: httpx.Response, *, max_bytes: int) -> bytes:
    read = bytearray()
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) > max_bytes:
            raise ReplyTooLargeError(max_bytes)
    return bytes(read)
