"""Reading the ledger of provider calls."""

from uuid import UUID

from sqlalchemy import bindparam

from kroma.db.ids import optional_row_id
from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader, equals
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.projects.contents import newest_first

_LISTED = newest_first(
    ProviderCall,
    filters={
        "run_id": equals(ProviderCall.run_id),
        "status": ProviderCall.status == bindparam("status"),
    },
)


async def list_provider_calls(
    reader: Reader,
    project_id: UUID,
    *,
    status: CallStatus | None = None,
    run_id: str | None = None,
    window: Window = EVERYTHING,
) -> Page[ProviderCall]:
    """The paid calls of a project, with a status or of a run if given, newest first."""
    return await _LISTED.page(reader, window, of=project_id, status=status, run_id=optional_row_id(run_id))
