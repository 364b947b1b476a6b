"""Reading prompt templates."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.projects.contents import get_in_project, last_changed_first
from kroma.prompt_templates.errors import PromptTemplateNotFoundError
from kroma.prompt_templates.models import PromptTemplate

_LISTED = last_changed_first(PromptTemplate)


async def list_prompt_templates(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[PromptTemplate]:
    """The prompt templates of a project, last changed first."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_prompt_template(
    source: AsyncSession | Reader, *, slug: str, template_id: str, lock: bool = False
) -> PromptTemplate:
    """A project's prompt template.

    Raises:
        PromptTemplateNotFoundError: The project or the template is unknown.
    """
    return await get_in_project(
        source,
        PromptTemplate,
        slug=slug,
        identifier=template_id,
        missing=PromptTemplateNotFoundError(),
        lock=lock,
    )
