"""Reading quality reports."""

from uuid import UUID

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.projects.contents import newest_first
from kroma.quality.models import QualityReport

_LISTED = newest_first(QualityReport)


async def list_quality_reports(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[QualityReport]:
    """The quality reports of a project, newest first."""
    return await _LISTED.page(reader, window, of=project_id)
