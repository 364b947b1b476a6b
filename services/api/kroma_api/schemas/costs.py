"""Bodies of ``/api/projects/{slug}/cost-events``."""

from typing import Any, Self

import msgspec

from kroma.costs.models import CostEvent
from kroma_api.schemas.reply import Id, ListReply, OptionalId, Stamp, shown_id, shown_json, shown_stamp


class CostEventView(msgspec.Struct, frozen=True, kw_only=True):
    """What a call cost."""

    id: Id
    project_id: Id
    run_id: OptionalId
    job_id: str
    """The job's key in its run log, or empty."""
    provider_code: str
    model_name: str
    event_type: str
    """What was paid for."""
    units: float
    """How many of it."""
    unit_cost_usd: float
    total_cost_usd: float
    currency: str
    meta_json: Any
    """Free."""
    created_at: Stamp

    @classmethod
    def of(cls, event: CostEvent) -> Self:
        """Show a cost event."""
        return cls(
            id=str(event.id),
            project_id=str(event.project_id),
            run_id=shown_id(event.run_id),
            job_id=event.job_id or "",
            provider_code=event.provider_code,
            model_name=event.model_name or "",
            event_type=event.event_type,
            units=float(event.units),
            unit_cost_usd=float(event.unit_cost_usd),
            total_cost_usd=float(event.total_cost_usd),
            currency=event.currency,
            meta_json=shown_json(event.meta_json),
            created_at=shown_stamp(event.created_at),
        )


class ListCostEventsResponse(ListReply, frozen=True, kw_only=True):
    """Cost events, newest first."""

    cost_events: list[CostEventView]
