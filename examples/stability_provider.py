"""An example of a third-party provider (docs/providers.md): Stability AI's style transfer.

A provider consists of a module like this and one entry in ``kroma.providers.PROVIDERS``. Like ``local`` and
``openai``, it must pass the conformance suite (``tests/integration/providers/test_conformance.py``).
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID

import msgspec

from kroma.allow_list import AllowList
from kroma.config import Settings
from kroma.cpu import CpuPool, remote
from kroma.imaging.errors import PictureError
from kroma.imaging.header import MAX_BYTES
from kroma.outbound.errors import (
    ConnectionFailedError,
    HostNotFoundError,
    OutboundError,
    ReplyTooLargeError,
    UrlRefusedError,
)
from kroma.providers.answers import LEAST_ANSWER_PX, retry_after
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
from kroma.providers.inputs import InputLimits

if TYPE_CHECKING:
    from kroma.imaging.codec import verify
    from kroma.outbound.client import OutboundClient, OutboundReply
    from kroma.providers.fitting import fitted
else:  # names for picture processes, which import the functions
    verify = remote("kroma.imaging.codec").verify
    fitted = remote("kroma.providers.fitting").fitted

CODE: Final = "stability"
OFFICIAL_URL: Final = "https://api.stability.ai"
MODEL: Final = "style-transfer"
PRICE_USD: Final = Decimal("0.08")
"""Eight credits of one cent each; Kroma's own providers keep prices in dated data files."""
_LIMIT: Final = timedelta(seconds=120)
_SEEDS: Final = 4_294_967_295
_KEY: Final = re.compile(r"[!-~]+")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TYPES: Final = ("image/png", "image/jpeg", "image/webp")
_LIMITS: Final = InputLimits(mime_types=_TYPES, max_bytes=10_000_000, max_pixels=9_437_184)


class _Balance(msgspec.Struct, frozen=True):
    credits: float


class StabilityProvider:
    """Applies the style of one reference to the scene; implements ``kroma.providers.base.Provider``."""

    def __init__(self, cpu: CpuPool, *, url_allow: AllowList | None = None) -> None:
        """Connect to nothing yet; ``url_allow`` lists the hosts and ranges that need not be public."""
        self._cpu = cpu
        self._url_allow = url_allow or AllowList()
        self._client: OutboundClient | None = None
        self._loading = asyncio.Lock()

    @classmethod
    def opened(cls, cpu: CpuPool, settings: Settings) -> Self:
        return cls(cpu, url_allow=settings.url_allow)

    @staticmethod
    def models() -> tuple[ModelOffer, ...]:
        """The only model, which takes the scene and one style reference."""
        return (ModelOffer(name=MODEL, max_inputs=2),)

    @property
    def code(self) -> str:
        return CODE

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            models=self.models(),
            mime_types=_TYPES,
            max_input_pixels=_LIMITS.max_pixels,
            max_input_bytes=_LIMITS.max_bytes,
            deterministic=False,  # the service accepts a seed, but does not promise equal pictures
            free=False,
            takes_key=True,
            official_url=OFFICIAL_URL,
            prices_as_of=date(2026, 11, 23),
        )

    def estimate(self, request: EditRequest) -> Decimal | None:  # noqa: ARG002 - each call costs the same
        return PRICE_USD

    async def edit(self, request: EditRequest) -> EditResult:
        """Make one candidate with one call.

        Raises:
            ProviderRefusedError: The call was not carried out and cost nothing.
            AnswerLostError: The call may have been carried out and charged.
            AnswerUnusableError: The call was charged, but the response is not a usable picture.
            PictureError: An input does not decode.
        """
        key, url = _checked(request.access)
        if len(request.pictures) != 2:  # noqa: PLR2004 - what the service takes
            raise ProviderRefusedError(CODE, "a call must have a scene and exactly one style reference")
        if request.size is not None:
            raise ProviderRefusedError(CODE, "the service draws in the scene's size; leave out 'size'")
        scene, style = [await self._fitted(picture) for picture in request.pictures]
        seed = (request.seed + request.candidate_index - 1) % _SEEDS
        reply = await self._reply(
            f"{url}/v2beta/stable-image/control/style-transfer",
            {"prompt": request.prompt.strip(), "seed": str(seed), "output_format": "png"},
            {"init_image": scene, "style_image": style},
            key=key,
        )
        return await self._result(reply, seed)

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - cannot be asked
        return None

    async def health(self, access: ProviderAccess) -> ProviderHealth:
        """Request the balance, which is free."""
        try:
            key, url = _checked(access)
            client = await self._loaded()
            reply = await client.get(f"{url}/v1/user/balance", headers=_bearer(key), limit=_LIMIT)
        except ProviderKeyRefusedError as exc:
            return ProviderHealth(ok=False, code="key_missing", message=exc.message)
        except UrlRefusedError as exc:
            return ProviderHealth(ok=False, code="address_refused", message=exc.message)
        except OutboundError as exc:
            return ProviderHealth(ok=False, code="unreachable", message=exc.message)
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return ProviderHealth(ok=False, code="key_refused", message="The service rejected the API key")
        try:
            balance = msgspec.json.decode(reply.body, type=_Balance)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ProviderHealth(
                ok=False, code="failing", message=f"The service returned status {reply.status}"
            )
        return ProviderHealth(ok=True, message=f"Key and address work; {balance.credits:g} credits are left")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _loaded(self) -> "OutboundClient":
        """The client with the URL guard, imported only in processes that make calls."""
        async with self._loading:
            if self._client is None:
                await asyncio.to_thread(__import__, "kroma.outbound.client")
                from kroma.outbound.client import OutboundClient  # noqa: PLC0415 - loaded just now
                from kroma.outbound.guard import UrlGuard  # noqa: PLC0415 - as above

                self._client = OutboundClient(UrlGuard(self._url_allow))
        return self._client

    async def _fitted(self, picture: ProviderPicture) -> tuple[str, bytes, str]:
        """The picture in a form that the service accepts, as name, bytes and MIME type."""
        changed = await self._cpu.run(fitted, picture.data, picture.name, _LIMITS)
        if changed is None:
            return "picture", picture.data, picture.mime_type
        return "picture.png", changed.data, changed.mime_type

    async def _reply(
        self,
        url: str,
        fields: Mapping[str, str],
        files: Mapping[str, tuple[str, bytes, str]],
        *,
        key: str,
    ) -> "OutboundReply":
        """Send once, and translate each failure into an error that says whether money was spent."""
        client = await self._loaded()
        try:
            return await client.post_form(
                url,
                fields,
                files,
                headers={**_bearer(key), "Accept": "image/*"},
                limit=_LIMIT,
                max_bytes=MAX_BYTES,
            )
        except UrlRefusedError as exc:
            raise ProviderRefusedError(CODE, exc.message) from exc
        except ReplyTooLargeError as exc:
            raise AnswerUnusableError(CODE, exc.message, model=MODEL, cost_usd=PRICE_USD) from exc
        except OutboundError as exc:
            if isinstance(exc, HostNotFoundError) or (
                isinstance(exc, ConnectionFailedError) and not exc.has_left
            ):
                raise ProviderRefusedError(CODE, exc.message, retryable=True, is_down=True) from exc
            raise AnswerLostError(CODE, exc.message) from exc

    async def _result(self, reply: "OutboundReply", seed: int) -> EditResult:
        if reply.status != HTTPStatus.OK:
            raise _failure(reply)
        request_id = reply.headers.get("x-request-id", "")
        known_id = request_id if _REQUEST_ID.fullmatch(request_id) else None
        unusable = AnswerUnusableError(
            CODE,
            "the response is not a usable picture",
            model=MODEL,
            request_id=known_id,
            cost_usd=PRICE_USD,
        )
        try:
            header = await self._cpu.run(verify, reply.body, name="answer")
        except PictureError:
            raise unusable from None
        if min(header.width, header.height) < LEAST_ANSWER_PX:
            raise unusable
        return EditResult(
            data=reply.body,
            mime_type=header.mime_type,
            provider_code=CODE,
            model=MODEL,
            cost_usd=PRICE_USD,
            request_id=known_id,
            usage={"credits": 8},
            parameters={"seed": seed},
        )


def _checked(access: ProviderAccess) -> tuple[str, str]:
    if not access.api_key or _KEY.fullmatch(access.api_key) is None:
        raise ProviderKeyRefusedError(CODE, "the API key is missing or contains more than visible ASCII")
    return access.api_key, (access.base_url or OFFICIAL_URL).rstrip("/")


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _failure(reply: "OutboundReply") -> ProviderFailedError:
    """The error for a status other than 200 (docs/decisions/0014), without quoting the service."""
    status = reply.status
    if status == HTTPStatus.UNAUTHORIZED:
        return ProviderKeyRefusedError(CODE, "the service rejected the API key")
    if status == HTTPStatus.FORBIDDEN:
        return ProviderRefusedError(CODE, "the service's moderation rejected the prompt or the pictures")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = retry_after(reply.headers)
        return ProviderRefusedError(
            CODE, "the service received too many calls", retryable=True, retry_after=wait
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderRefusedError(CODE, f"the service rejected the request with status {status}")
    return AnswerLostError(
        CODE, f"the service or a gateway returned status {status}, perhaps after it drew and charged"
    )
