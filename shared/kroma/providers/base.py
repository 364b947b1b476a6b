"""The provider protocol: pictures and a prompt in, one picture and its cost out."""

from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

import msgspec

from kroma.errors import ProviderError


class ProviderPicture(msgspec.Struct, frozen=True, kw_only=True):
    """One input picture, as stored."""

    name: str
    data: bytes
    mime_type: str


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate to make."""

    prompt: str
    scene: ProviderPicture
    styles: tuple[ProviderPicture, ...]
    stage: str
    time_of_day: str
    weather: str
    candidate_index: int
    """From 1; the same seed with another index is another variation."""
    seed: int
    """0 to 2**63 - 1, of the run; with the same inputs it gives the same picture where the provider can."""
    size: str | None = None
    """``<width>x<height>`` in pixels; None keeps the scene's."""
    quality: str | None = None


class EditResult(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, made."""

    data: bytes
    """The encoded picture."""
    mime_type: str
    provider_code: str
    model: str
    cost_usd: Decimal | None
    """What the call cost; None when the provider did not say and no price is known."""
    request_id: str | None = None
    """The provider's own id of the call."""
    parameters: dict[str, Any] = {}
    """What this variation is made of, named, so that a person can ask for it again."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do."""

    models: tuple[str, ...]
    sizes: tuple[str, ...]
    """Empty: any size."""
    mime_types: tuple[str, ...]
    """Input types it takes as they are."""
    deterministic: bool
    """Whether a seed gives the same picture again."""
    free: bool


class ProviderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a provider could be called now, and if not, what to do."""

    ok: bool
    message: str


@runtime_checkable
class Provider(Protocol):
    """Makes pictures."""

    @property
    def code(self) -> str:
        """The name it is chosen by."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def estimate(self, request: EditRequest) -> Decimal | None:
        """The price of one call in USD before it is made; None when unknown."""
        ...

    async def edit(self, request: EditRequest) -> EditResult:
        """Make one candidate.

        Raises:
            ProviderError: It refused, failed, or answered something that is no picture.
        """
        ...

    async def health(self) -> ProviderHealth:
        """Whether it can be called, at no cost."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class ProviderFailedError(ProviderError):
    """A provider call failed; the text is ours, never the provider's whole answer."""

    code = "provider_failed"

    def __init__(self, provider: str, reason: str, *, retryable: bool = False) -> None:
        super().__init__(f"Provider '{provider}' failed: {reason}")
        self.retryable = retryable
