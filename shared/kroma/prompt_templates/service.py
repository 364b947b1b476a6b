"""Making, changing and deleting prompt templates (contract 3.12)."""

from msgspec import UnsetType

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.projects.queries import get_project
from kroma.prompt_templates.errors import PromptTemplateNameTakenError
from kroma.prompt_templates.models import PromptTemplate
from kroma.prompt_templates.queries import get_prompt_template
from kroma.texts import require_any, required_name, required_text


async def create_prompt_template(
    db: Database, *, slug: str, name: str | UnsetType, template_text: str | UnsetType
) -> PromptTemplate:
    """Add a template; placeholders in its text stay as they are.

    Raises:
        FieldRequiredError: A text is missing or blank.
        ProjectNotFoundError: No project has this slug.
        PromptTemplateNameTakenError: The project has a template of this name.
    """
    template = PromptTemplate(
        name=required_name(name), template_text=required_text("template_text", template_text)
    )
    async with db.transaction() as session:
        template.project_id = (await get_project(session, slug)).id
        session.add(template)
        await flush_unique(session, taken=PromptTemplateNameTakenError())
    return template


async def change_prompt_template(
    db: Database,
    *,
    slug: str,
    template_id: str,
    name: str | None = None,
    template_text: str | None = None,
) -> PromptTemplate:
    """Set the given fields; None keeps one.

    Raises:
        NothingGivenError: No field is given.
        PromptTemplateNotFoundError: The project or the template is unknown.
        FieldRequiredError: A given text is blank.
        PromptTemplateNameTakenError: Another template has this name.
    """
    require_any(name=name, template_text=template_text)
    async with db.transaction() as session:
        template = await get_prompt_template(session, slug=slug, template_id=template_id, lock=True)
        if name is not None:
            template.name = required_name(name)
        if template_text is not None:
            template.template_text = required_text("template_text", template_text)
        template.updated_at = utc_now()
        await flush_unique(session, taken=PromptTemplateNameTakenError())
    return template


async def delete_prompt_template(db: Database, *, slug: str, template_id: str) -> None:
    """Remove a template for good.

    Raises:
        PromptTemplateNotFoundError: The project or the template is unknown.
    """
    async with db.transaction() as session:
        template = await get_prompt_template(session, slug=slug, template_id=template_id, lock=True)
        await session.delete(template)
