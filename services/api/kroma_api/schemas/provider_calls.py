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
    Stamp,
    shown_id,
    shown_json,
    shown_stamp,
)

Amount = Annotated[float | None, Meta(description="US dollars; null is unknown, which is not nothing")]


class ProviderCallView(msgspec.Struct, frozen=True, kw_only=True):
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
        """Show a call."""
        return cls(
            id=str(call.id),
            project_id=str(call.project_id),
            run_id=shown_id(call.run_id),
            job_id=shown_id(call.job_id),
            job_key=call.job_key,
            candidate_index=call.candidate_index,
            number=call.number,
            provider_code=call.provider_code,
            model_name=call.model_name,
            operation=call.operation,
            status=call.status,
            price_usd=_shown(call.price_usd),
            cost_usd=_shown(call.cost_usd),
            request_id=call.request_id or "",
            usage=shown_json(call.usage_json),
            error=call.error or "",
            error_code=call.error_code or "",
            resolution=call.resolution or "",
            resolved_at=shown_stamp(call.resolved_at),
            created_at=shown_stamp(call.created_at),
            sent_at=shown_stamp(call.sent_at),
            ended_at=shown_stamp(call.ended_at),
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
