"""The provider protocol: pictures and a prompt in, one picture and its cost out."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import msgspec

from kroma.errors import ProviderError
from kroma.imaging.header import MAX_BYTES, MAX_PIXELS


class ProviderPicture(msgspec.Struct, frozen=True, kw_only=True):
    """One input picture, as stored."""

    name: str
    data: bytes
    mime_type: str


class ProviderAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How a project reaches a provider; its representation shows no key."""

    api_key: str | None = None
    base_url: str | None = None
    """None is the provider's own address."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url)]


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate to make."""

    prompt: str
    scene: ProviderPicture
    styles: tuple[ProviderPicture, ...]
    references: tuple[ProviderPicture, ...] = ()
    """Whom the picture shows: character references, sent after the styles."""
    stage: str
    time_of_day: str
    weather: str
    candidate_index: int
    """From 1; the same seed with another index is another variation."""
    seed: int
    """0 to 2**63 - 1, of the run; with the same inputs it gives the same picture where the provider can."""
    model: str | None = None
    """None takes the provider's default."""
    size: str | None = None
    """``<width>x<height>`` in pixels; None keeps the scene's."""
    quality: str | None = None
    background: str | None = None
    """``transparent``, ``opaque`` or ``auto``; None leaves it to the provider."""
    call_id: UUID | None = None
    """The ledger's key of this call, for providers that take an idempotency key."""
    access: ProviderAccess = ProviderAccess()

    @property
    def pictures(self) -> tuple[ProviderPicture, ...]:
        """All that goes in, in the order it is sent: scene, styles, references."""
        return (self.scene, *self.styles, *self.references)


class EditResult(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, made."""

    data: bytes
    """The encoded picture."""
    mime_type: str
    provider_code: str
    model: str
    cost_usd: Decimal | None
    """What the call cost; None when the provider did not say and no price is known."""
    cost_doubt: str | None = None
    """Why a cost that the provider stated is not believed; what it cost is then unknown."""
    request_id: str | None = None
    """The provider's own id of the call."""
    usage: dict[str, Any] = {}
    """Units as the provider counted them, like ``{"output_tokens": 4160}``."""
    parameters: dict[str, Any] = {}
    """What this variation is made of, named, so that a person can ask for it again."""


class ModelOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of one model."""

    name: str
    sizes: tuple[str, ...] = ()
    """Empty: any size."""
    qualities: tuple[str, ...] = ()
    """Empty: it takes none."""
    max_inputs: int | None = None
    """How many pictures one call takes, scene, styles and references together; None is any number."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do."""

    models: tuple[ModelOffer, ...]
    """The first is the default when nothing else names one."""
    mime_types: tuple[str, ...]
    """Input types it takes as they are; other pictures that Kroma reads go in as PNG."""
    max_input_pixels: int = MAX_PIXELS
    """Of one picture, as it is; a larger one that Kroma reads goes in scaled."""
    max_input_bytes: int = MAX_BYTES
    """Of one picture, as it is."""
    output_mime_types: tuple[str, ...] = ("image/png",)
    """What comes out."""
    deterministic: bool
    """Whether a seed gives the same picture again."""
    free: bool
    """Whether no call ever costs anything; then none is entered in the ledger."""
    takes_key: bool = False
    """Whether it is reached with a project's key and address."""
    official_url: str | None = None
    """Its own address: where a key of the environment may go without being told to."""
    finds_calls: bool = False
    """Whether ``find_call`` can say what became of a call whose answer was lost."""
    prices_as_of: date | None = None
    """The day its prices are of; None where no list of prices is kept."""


class FoundCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the provider remembers."""

    was_charged: bool
    cost_usd: Decimal | None = None
    request_id: str | None = None


class ProviderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a provider could be called now, and if not, what to do."""

    ok: bool
    message: str
    code: str = "well"
    """``well``, ``key_missing``, ``key_refused``, ``address_refused``, ``unreachable`` or ``failing``."""


@runtime_checkable
class Provider(Protocol):
    """Makes pictures."""

    @property
    def code(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def estimate(self, request: EditRequest) -> Decimal | None:
        """The price of one call in USD before it is made; None when unknown."""
        ...

    async def edit(self, request: EditRequest) -> EditResult:
        """Make one candidate.

        Raises:
            ProviderError: It refused, failed, or answered something that is no picture.
        """
        ...

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:
        """What became of a call whose answer was lost; None when the provider does not know either.

        Raises:
            ProviderError: It could not be asked.
        """
        ...

    async def health(self, access: ProviderAccess) -> ProviderHealth:
        """Whether it can be called with this key at this address, at no cost."""
        ...

    async def close(self) -> None: ...


class ProviderFailedError(ProviderError):
    """A provider call failed; the text is ours, never the provider's whole answer."""

    code = "provider_failed"
    request_id: str | None = None
    """The provider's own id of the call, where it answered with one."""

    def __init__(self, provider: str, reason: str, *, retryable: bool = False) -> None:
        super().__init__(f"Provider '{provider}' failed: {reason}")
        self.retryable = retryable


class ProviderRefusedError(ProviderFailedError):
    """A clean refusal: the provider certainly did not do it, so nothing was charged."""

    code = "provider_refused"

    def __init__(
        self,
        provider: str,
        reason: str,
        *,
        retryable: bool = False,
        retry_after: timedelta | None = None,
        is_down: bool = False,
    ) -> None:
        super().__init__(provider, reason, retryable=retryable)
        self.retry_after = retry_after
        """How long the provider asked to be left alone."""
        self.is_down = is_down
        """Whether it looks dead rather than unwilling: what the circuit breaker counts."""


class ProviderKeyRefusedError(ProviderRefusedError):
    """The key was refused: no call can be made until there is another."""

    code = "provider_key_refused"


class AnswerLostError(ProviderFailedError):
    """The request left and no answer came: it may have been done and charged."""

    code = "provider_answer_lost"


class AnswerUnusableError(ProviderFailedError):
    """The provider answered, and charged, but not with a picture."""

    code = "provider_answer_unusable"

    def __init__(
        self,
        provider: str,
        reason: str,
        *,
        model: str = "",
        request_id: str | None = None,
        cost_usd: Decimal | None = None,
        cost_doubt: str | None = None,
    ) -> None:
        super().__init__(provider, reason)
        self.model = model
        self.request_id = request_id
        self.cost_usd = cost_usd
        self.cost_doubt = cost_doubt
        """As in `EditResult`."""
        self.call_id: UUID | None = None
        """In the ledger, which sets it."""
