"""Reading prompt templates."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.projects.contents import get_in_project, list_last_changed
from kroma.prompt_templates.errors import PromptTemplateNotFoundError
from kroma.prompt_templates.models import PromptTemplate


async def list_prompt_templates(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[PromptTemplate]:
    """The prompt templates of a project, last changed first."""
    return await list_last_changed(session, PromptTemplate, project_id, window=window)


async def get_prompt_template(
    session: AsyncSession, *, slug: str, template_id: str, lock: bool = False
) -> PromptTemplate:
    """A project's prompt template.

    Raises:
        PromptTemplateNotFoundError: The project or the template is unknown.
    """
    return await get_in_project(
        session,
        PromptTemplate,
        slug=slug,
        identifier=template_id,
        missing=PromptTemplateNotFoundError(),
        lock=lock,
    )
