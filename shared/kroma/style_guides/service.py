"""Making, changing and deleting style guides (contract 3.14)."""

from msgspec import UnsetType

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.projects.queries import get_project
from kroma.style_guides.errors import StyleGuideNameTakenError
from kroma.style_guides.models import StyleGuide
from kroma.style_guides.queries import get_style_guide
from kroma.texts import optional_text, require_any, required_name, required_text


async def create_style_guide(
    db: Database,
    *,
    slug: str,
    name: str | UnsetType,
    instructions: str | UnsetType,
    notes: str | None = None,
) -> StyleGuide:
    """Add a style guide.

    Raises:
        FieldRequiredError: ``name`` or ``instructions`` is missing or blank.
        ProjectNotFoundError: No project has this slug.
        StyleGuideNameTakenError: The project has a guide of this name.
    """
    guide = StyleGuide(
        name=required_name(name),
        instructions=required_text("instructions", instructions),
        notes=optional_text(notes),
    )
    async with db.transaction() as session:
        guide.project_id = (await get_project(session, slug)).id
        session.add(guide)
        await flush_unique(session, taken=StyleGuideNameTakenError())
    return guide


async def change_style_guide(
    db: Database,
    *,
    slug: str,
    style_guide_id: str,
    name: str | None = None,
    instructions: str | None = None,
    notes: str | None = None,
) -> StyleGuide:
    """Set the given fields; None keeps one, blank clears the notes.

    Raises:
        NothingGivenError: No field is given.
        StyleGuideNotFoundError: The project or the guide is unknown.
        FieldRequiredError: A given ``name`` or ``instructions`` is blank.
        StyleGuideNameTakenError: Another guide has this name.
    """
    require_any(name=name, instructions=instructions, notes=notes)
    async with db.transaction() as session:
        guide = await get_style_guide(session, slug=slug, style_guide_id=style_guide_id, lock=True)
        if name is not None:
            guide.name = required_name(name)
        if instructions is not None:
            guide.instructions = required_text("instructions", instructions)
        if notes is not None:
            guide.notes = optional_text(notes)
        guide.updated_at = utc_now()
        await flush_unique(session, taken=StyleGuideNameTakenError())
    return guide


async def delete_style_guide(db: Database, *, slug: str, style_guide_id: str) -> None:
    """Remove a style guide for good.

    Raises:
        StyleGuideNotFoundError: The project or the guide is unknown.
    """
    async with db.transaction() as session:
        guide = await get_style_guide(session, slug=slug, style_guide_id=style_guide_id, lock=True)
        await session.delete(guide)
