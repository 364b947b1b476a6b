"""Background services over HTTP, which cost money: PhotoRoom and remove.bg (pipeline.md 5.2).

A service is a ``Provider`` whose request is one picture, so that the ledger makes its calls like any
other: entered before they leave, held against the budget, never sent twice when an answer was lost.
Each sends a call once; what a failure means for the money is in the error's class, as
docs/decisions/0014-what-may-be-sent-again.md says.
"""

import asyncio
from collections.abc import Mapping
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
    ProviderPicture,
    ProviderRefusedError,
)

if TYPE_CHECKING:
    from kroma.outbound.client import OutboundClient, OutboundReply

OPERATION: Final = "background_removal"
"""What the ledger calls such a call."""
_NO_CREDIT: Final = HTTPStatus.PAYMENT_REQUIRED
_TYPES: Final = ("image/png", "image/jpeg", "image/webp")


class ServiceKind(NamedTuple):
    """What tells one service from another."""

    code: str
    url: str
    key_header: str


KINDS: Final = (
    ServiceKind("photoroom", "https://sdk.photoroom.com/v1/segment", "x-api-key"),
    ServiceKind("removebg", "https://api.remove.bg/v1.0/removebg", "X-Api-Key"),
)
SERVICE_URLS: Final[Mapping[str, str]] = {kind.code: kind.url for kind in KINDS}


class ServiceLine:
    """The connections that the services share; made by the first call."""

    def __init__(self, options: ToolOptions, url_allow: AllowList) -> None:
        self.options = options
        self._url_allow = url_allow
        self._client: OutboundClient | None = None
        self._loading = asyncio.Lock()

    async def client(self) -> "OutboundClient":
        async with self._loading:
            if self._client is None:
                # In a thread, so that other jobs go on meanwhile: it is much to load.
                await asyncio.to_thread(__import__, "kroma.outbound.client")
                from kroma.outbound.client import OutboundClient  # noqa: PLC0415 - loaded just now
                from kroma.outbound.guard import UrlGuard  # noqa: PLC0415 - as above

                self._client = OutboundClient(UrlGuard(self._url_allow))
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class CutoutService:
    """One service, asked for one order; implements ``Provider``."""

    def __init__(self, kind: ServiceKind, line: ServiceLine, spec: CutoutSpec | None = None) -> None:
        self._kind = kind
        self._line = line
        self._order = spec or CutoutSpec(backends=(kind.code,))

    def of_spec(self, spec: CutoutSpec) -> "CutoutService":
        """The same service with an order's size, crop and price."""
        return CutoutService(self._kind, self._line, spec)

    @property
    def code(self) -> str:
        return self._kind.code

    @property
    def capabilities(self) -> Capabilities:
        """Pictures in, for money; it keeps no list of prices."""
        return Capabilities(
            models=(ModelOffer(name="", max_inputs=1),),
            mime_types=_TYPES,
            deterministic=False,
            free=False,
            takes_key=True,
            official_url=self._kind.url,
        )

    def estimate(self, request: EditRequest) -> Decimal | None:  # noqa: ARG002 - each picture costs the same
        """What the postprocess config says that a call costs; None is unknown."""
        price = self._order.prices_usd.get(self.code)
        return None if price is None else Decimal(price)

    async def edit(self, request: EditRequest) -> EditResult:
        """Send the scene, once.

        Raises:
            ProviderRefusedError: It was not done and cost nothing.
            AnswerLostError: It may have been done and charged.
            AnswerUnusableError: It was charged, and brought no picture.
        """
        reply = await self._reply(request)
        if reply.status != HTTPStatus.OK:
            raise self._failure(reply)
        try:
            header = inspect(reply.body, name="answer")
        except PictureError as exc:
            raise AnswerUnusableError(self.code, f"its answer is no usable picture ({exc.code})") from exc
        return EditResult(
            data=reply.body,
            mime_type=header.mime_type,
            provider_code=self.code,
            model=self.code,
            cost_usd=None,
            request_id=None,
        )

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - cannot be asked
        """Nothing: neither service can be asked what became of a call."""
        return None

    async def health(self, access: ProviderAccess) -> ProviderHealth:
        """Whether there is a key; neither service answers anything that is free of charge."""
        try:
            usable_key(self.code, access)
        except ProviderKeyRefusedError as exc:
            return ProviderHealth(ok=False, code="key_missing", message=exc.message)
        return ProviderHealth(
            ok=True, message="A key is set; whether it is good, the first picture will show"
        )

    async def close(self) -> None:
        """Nothing: the line belongs to the toolbox."""

    async def _reply(self, request: EditRequest) -> "OutboundReply":
        key = usable_key(self.code, request.access)
        client = await self._line.client()
        try:
            return await client.post_form(
                request.access.base_url or self._kind.url,
                self._fields(),
                {"image_file": _file(request.scene)},
                headers={self._kind.key_header: key},
                limit=self._line.options.service_timeout,
                max_bytes=MAX_BYTES,
            )
        except UrlRefusedError as exc:
            raise ProviderRefusedError(self.code, exc.message) from exc
        except ReplyTooLargeError as exc:
            raise AnswerUnusableError(self.code, exc.message) from exc
        except OutboundError as exc:
            raise self._no_reply(exc) from exc

    def _no_reply(self, error: OutboundError) -> ProviderFailedError:
        never_left = isinstance(error, HostNotFoundError) or (
            isinstance(error, ConnectionFailedError) and not error.has_left
        )
        if never_left:
            return ProviderRefusedError(self.code, error.message, retryable=True, is_down=True)
        return AnswerLostError(self.code, error.message)

    def _fields(self) -> dict[str, str]:
        fields = {"format": "png"}  # what an order wants otherwise is made of it
        size = self._order.size.strip()
        if size and size != "auto":
            fields["size"] = size
        if self._order.crop:
            fields["crop"] = "true"
        return fields

    def _failure(self, reply: "OutboundReply") -> ProviderFailedError:
        """What a status other than 200 means; its body is never shown, since it may repeat the key."""
        status, code = reply.status, self.code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return ProviderKeyRefusedError(code, f"it refused the API key ({status})")
        if status == _NO_CREDIT:
            return ProviderRefusedError(code, f"the account has no credit left ({status})")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = retry_after(reply.headers)
            return ProviderRefusedError(code, f"too many calls ({status})", retryable=True, retry_after=wait)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return ProviderRefusedError(
                code, f"it answered with a redirect ({status}), which is not followed"
            )
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ProviderRefusedError(
                code, f"it refused the picture ({status})", retryable=status in TRANSIENT
            )
        return AnswerLostError(code, f"it or a gateway answered with {status}, which may come after the work")


def _file(picture: ProviderPicture) -> tuple[str, bytes, str]:
    return picture.name, picture.data, picture.mime_type
