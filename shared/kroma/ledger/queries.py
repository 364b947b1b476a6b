"""Reading the ledger of provider calls."""

from uuid import UUID

from sqlalchemy import bindparam

from kroma.db.ids import optional_row_id
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.reader import Reader, equals
from kroma.ledger.models import CallStatus, ProviderCall

_LISTED = Listing(
    ProviderCall,
    descending(ProviderCall.created_at),
    descending(ProviderCall.id),
    of=ProviderCall.project_id,
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
