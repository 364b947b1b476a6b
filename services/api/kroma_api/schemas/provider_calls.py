"""Bodies of ``/api/projects/{slug}/provider-calls``."""

from decimal import Decimal
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta

from kroma.ledger.models import ProviderCall
from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    Reply,
    RequiredText,
    RowView,
    Stamp,
    shown_json,
)

Amount = Annotated[float | None, Meta(description="US dollars; null is unknown, which is not nothing")]


class ProviderCallView(RowView, frozen=True, kw_only=True):
    """A call to a provider that costs money."""

    id: Id
    """Its idempotency key at the provider."""
    project_id: Id
    run_id: OptionalId
    job_id: OptionalId
    job_key: str
    candidate_index: int
    number: int
    """The number of the call for this candidate, from 1."""
    provider_code: str
    model_name: str
    operation: str
    status: str
    """`intent`, `sent`, `settled`, `refused` or `unknown`."""
    price_usd: Amount
    """Estimated before it was sent."""
    cost_usd: Amount
    """What it cost, once it is settled."""
    request_id: str
    """The provider's own id of the call, or empty."""
    usage: Any
    """Units as the provider counted them."""
    error: str
    error_code: str
    resolution: str
    """`charged` or `not_charged`, of a call whose answer was lost; or empty."""
    resolved_at: Stamp
    created_at: Stamp
    sent_at: Stamp
    ended_at: Stamp

    @classmethod
    def of(cls, call: ProviderCall) -> Self:
        return cls.from_row(
            call,
            price_usd=_shown(call.price_usd),
            cost_usd=_shown(call.cost_usd),
            usage=shown_json(call.usage_json),
        )


def _shown(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


class ListProviderCallsResponse(ListReply, frozen=True, kw_only=True):
    """Provider calls, newest first."""

    provider_calls: list[ProviderCallView]


class ResolveProviderCallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/provider-calls/{call_id}/resolve``."""

    resolution: RequiredText = UNSET
    """`charged` or `not_charged`."""
    cost_usd: str | float | None = None
    """What it cost; its estimated price unless given."""


class ResolveProviderCallResponse(Reply, frozen=True, kw_only=True):
    """The call as it is now."""

    provider_call: ProviderCallView
    audit_id: OptionalId
    """Empty when the same had been said before."""
