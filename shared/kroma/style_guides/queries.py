"""Reading style guides."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.projects.contents import get_in_project, last_changed_first
from kroma.style_guides.errors import StyleGuideNotFoundError
from kroma.style_guides.models import StyleGuide

_LISTED = last_changed_first(StyleGuide)


async def list_style_guides(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[StyleGuide]:
    """The style guides of a project, last changed first."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_style_guide(
    source: AsyncSession | Reader, *, slug: str, style_guide_id: str, lock: bool = False
) -> StyleGuide:
    """A project's style guide.

    Raises:
        StyleGuideNotFoundError: The project or the guide is unknown.
    """
    return await get_in_project(
        source,
        StyleGuide,
        slug=slug,
        identifier=style_guide_id,
        missing=StyleGuideNotFoundError(),
        lock=lock,
    )
