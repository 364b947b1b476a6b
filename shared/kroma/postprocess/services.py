"""Paid background removal services over HTTP: PhotoRoom and remove.bg (pipeline.md 5.2).

A service is a ``Provider`` for requests of one picture, so that the ledger handles its calls like others. It
sends each call once; the error's class says whether it was charged
(docs/decisions/0014-what-may-be-sent-again.md).
"""

import asyncio
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from kroma.allow_list import AllowList
from kroma.config import ToolOptions
from kroma.imaging.errors import PictureError
from kroma.imaging.header import MAX_BYTES, inspect
from kroma.outbound.errors import (
    ConnectionFailedError,
    HostNotFoundError,
    OutboundError,
    ReplyTooLargeError,
    UrlRefusedError,
)
from kroma.postprocess.specs import CutoutSpec
from kroma.providers.answers import TRANSIENT, retry_after, usable_key
from kroma.providers.base import (
    AnswerLostError,
    AnswerUnusableError,
    Capabilities,
    EditRequest,
    EditResult,
    FoundCall,
    ModelOffer,
    ProviderAccess,
    ProviderFailedError,
    ProviderHealth,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)

if TYPE_CHECKING:
    from kroma.outbound.client import OutboundClient, OutboundReply

_TYPES: Final = ("image/png", "image/jpeg", "image/webp")


class ServiceKind(NamedTuple):
    """A service's address and authentication."""

    code: str
    url: str
    key_header: str


KINDS: Final = (
    ServiceKind("photoroom", "https://sdk.photoroom.com/v1/segment", "x-api-key"),
    ServiceKind("removebg", "https://api.remove.bg/v1.0/removebg", "X-Api-Key"),
)


class ServiceLine:
    """The services' shared HTTP client, created on the first call."""

    def __init__(self, options: ToolOptions, url_allow: AllowList) -> None:
        self.options = options
        self._url_allow = url_allow
        self._client: OutboundClient | None = None
        self._loading = asyncio.Lock()

    async def client(self) -> "OutboundClient":
        """The HTTP client with the URL guard."""
        async with self._loading:
            if self._client is None:
                # In a thread, since the import is slow.
                await asyncio.to_thread(__import__, "kroma.outbound.client")
                from kroma.outbound.client import OutboundClient  # noqa: PLC0415 - loaded just now
                from kroma.outbound.guard import UrlGuard  # noqa: PLC0415 - as above

                self._client = OutboundClient(UrlGuard(self._url_allow))
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class CutoutService:
    """One service for one spec; implements ``Provider``."""

    def __init__(self, kind: ServiceKind, line: ServiceLine, spec: CutoutSpec | None = None) -> None:
        self.code = kind.code
        self._kind = kind
        self._line = line
        self._spec = spec or CutoutSpec(backends=(kind.code,))

    def of_spec(self, spec: CutoutSpec) -> "CutoutService":
        """The same service with the spec's size, crop and price."""
        return CutoutService(self._kind, self._line, spec)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            models=(ModelOffer(name="", max_inputs=1),),
            mime_types=_TYPES,
            deterministic=False,
            free=False,
            takes_key=True,
            official_url=self._kind.url,
        )

    def estimate(self, request: EditRequest) -> Decimal | None:  # noqa: ARG002 - each picture costs the same
        """The price from the postprocess config; None if unknown."""
        price = self._spec.prices_usd.get(self.code)
        return None if price is None else Decimal(price)

    async def edit(self, request: EditRequest) -> EditResult:
        """Send the scene once.

        Raises:
            ProviderRefusedError: The call was refused and not charged.
            AnswerLostError: The call may have been charged.
            AnswerUnusableError: The call was charged but returned no picture.
        """
        reply = await self._reply(request)
        if reply.status != HTTPStatus.OK:
            raise self._failure(reply)
        try:
            header = inspect(reply.body, name="answer")
        except PictureError as exc:
            reason = f"its response is not a usable picture ({exc.code})"
            raise AnswerUnusableError(self.code, reason) from exc
        return EditResult(
            data=reply.body,
            mime_type=header.mime_type,
            provider_code=self.code,
            model=self.code,
            cost_usd=None,
            request_id=None,
        )

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - not supported
        """Always None: the services cannot look up a call."""
        return None

    async def health(self, access: ProviderAccess) -> ProviderHealth:
        """Whether there is a key; the services have no free request to check it."""
        try:
            usable_key(self.code, access)
        except ProviderKeyRefusedError as exc:
            return ProviderHealth(ok=False, code="key_missing", message=exc.message)
        return ProviderHealth(
            ok=True, message="An API key is set; the first picture will show if it is valid"
        )

    async def close(self) -> None:
        """Does nothing: the client belongs to the toolbox."""

    async def _reply(self, request: EditRequest) -> "OutboundReply":
        key = usable_key(self.code, request.access)
        client = await self._line.client()
        scene = request.scene
        try:
            return await client.post_form(
                request.access.base_url or self._kind.url,
                self._fields(),
                {"image_file": (scene.name, scene.data, scene.mime_type)},
                headers={self._kind.key_header: key},
                limit=self._line.options.service_timeout,
                max_bytes=MAX_BYTES,
            )
        except UrlRefusedError as exc:
            raise ProviderRefusedError(self.code, exc.message) from exc
        except ReplyTooLargeError as exc:
            raise AnswerUnusableError(self.code, exc.message) from exc
        except OutboundError as exc:
            is_unsent = isinstance(exc, HostNotFoundError) or (
                isinstance(exc, ConnectionFailedError) and not exc.has_left
            )
            if is_unsent:
                raise ProviderRefusedError(self.code, exc.message, retryable=True, is_down=True) from exc
            raise AnswerLostError(self.code, exc.message) from exc

    def _fields(self) -> dict[str, str]:
        fields = {"format": "png"}  # converted to the spec's format later
        size = self._spec.size.strip()
        if size and size != "auto":
            fields["size"] = size
        if self._spec.crop:
            fields["crop"] = "true"
        return fields

    def _failure(self, reply: "OutboundReply") -> ProviderFailedError:
        """The error for a status other than 200, without the body, which may contain the key."""
        status, code = reply.status, self.code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return ProviderKeyRefusedError(code, f"the service refused the API key ({status})")
        if status == HTTPStatus.PAYMENT_REQUIRED:
            return ProviderRefusedError(code, f"the account has no credit left ({status})")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            reason, wait = f"it received too many calls ({status})", retry_after(reply.headers)
            return ProviderRefusedError(code, reason, retryable=True, retry_after=wait)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            reason = f"it responded with a redirect ({status}), which is not followed"
            return ProviderRefusedError(code, reason)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = f"it refused the picture ({status})"
            return ProviderRefusedError(code, reason, retryable=status in TRANSIENT)
        return AnswerLostError(code, f"it or a gateway responded with {status}, perhaps after doing the work")
