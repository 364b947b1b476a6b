"""Bodies of ``/api/projects/{slug}/cost-events``."""

from typing import Any

from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    RowView,
    Stamp,
)


class CostEventView(RowView, frozen=True, kw_only=True):
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


class ListCostEventsResponse(ListReply, frozen=True, kw_only=True):
    """Cost events, newest first."""

    cost_events: list[CostEventView]
