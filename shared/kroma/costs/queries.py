"""Reading cost events."""

from uuid import UUID

from sqlalchemy import bindparam

from kroma.costs.models import CostEvent
from kroma.db.ids import optional_row_id
from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader, equals
from kroma.projects.contents import newest_first

_LISTED = newest_first(
    CostEvent,
    filters={
        "run_id": equals(CostEvent.run_id),
        "provider": CostEvent.provider_code == bindparam("provider"),
    },
)


async def list_cost_events(
    reader: Reader,
    project_id: UUID,
    *,
    run_id: str | None = None,
    provider: str | None = None,
    window: Window = EVERYTHING,
) -> Page[CostEvent]:
    """The cost events of a project, of a run or a provider's code if given, newest first."""
    return await _LISTED.page(
        reader, window, of=project_id, run_id=optional_row_id(run_id), provider=provider
    )
