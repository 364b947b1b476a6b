"""Reading style guides."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.projects.contents import get_in_project, list_last_changed
from kroma.style_guides.errors import StyleGuideNotFoundError
from kroma.style_guides.models import StyleGuide


async def list_style_guides(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[StyleGuide]:
    """The style guides of a project, last changed first."""
    return await list_last_changed(session, StyleGuide, project_id, window=window)


async def get_style_guide(
    session: AsyncSession, *, slug: str, style_guide_id: str, lock: bool = False
) -> StyleGuide:
    """A project's style guide.

    Raises:
        StyleGuideNotFoundError: The project or the guide is unknown.
    """
    return await get_in_project(
        session,
        StyleGuide,
        slug=slug,
        identifier=style_guide_id,
        missing=StyleGuideNotFoundError(),
        lock=lock,
    )
