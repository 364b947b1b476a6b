"""Making, changing and deleting the named texts (contract 3.12, 3.14 to 3.16)."""

from collections.abc import Mapping

from msgspec import UnsetType

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.errors import NameTakenError
from kroma.project_texts.models import NamedRow
from kroma.project_texts.queries import Text, get_text
from kroma.projects.queries import get_project
from kroma.texts import optional_text, require_any, required_name, required_text

Fields = Mapping[str, str | UnsetType | None]
"""Columns by name, in the order in which they are checked."""


async def create_text(db: Database, model: type[Text], *, slug: str, fields: Fields) -> Text:
    """Add a row.

    Raises:
        FieldRequiredError: The name or a required text is missing or blank.
        ProjectNotFoundError: No project has this slug.
        NameTakenError: The project has a row of this name.
    """
    row = model(**{field: _checked(model, field, text) for field, text in fields.items()})
    async with db.transaction() as session:
        row.project_id = (await get_project(session, slug)).id
        session.add(row)
        await flush_unique(session, taken=NameTakenError(f"{model.label} name already exists"))
    return row


async def change_text(db: Database, model: type[Text], *, slug: str, identifier: str, fields: Fields) -> Text:
    """Set the given fields; None keeps one, blank clears one that is not required.

    Raises:
        NothingGivenError: No field is given.
        NotFoundError: The project or the row is unknown.
        FieldRequiredError: A given name or required text is blank.
        NameTakenError: Another row has this name.
    """
    require_any(**fields)
    async with db.transaction() as session:
        row = await get_text(session, model, slug=slug, identifier=identifier, lock=True)
        for field, text in fields.items():
            if text is not None:
                setattr(row, field, _checked(model, field, text))
        row.updated_at = utc_now()
        await flush_unique(session, taken=NameTakenError(f"{model.label} name already exists"))
    return row


async def delete_text(db: Database, model: type[NamedRow], *, slug: str, identifier: str) -> None:
    """Remove a row for good, a reference set with its items.

    Raises:
        NotFoundError: The project or the row is unknown.
    """
    async with db.transaction() as session:
        await session.delete(await get_text(session, model, slug=slug, identifier=identifier, lock=True))


def _checked(model: type[NamedRow], field: str, text: str | UnsetType | None) -> str | None:
    if field == "name":
        return required_name(text)
    if field in model.required:
        return required_text(field, text)
    return optional_text(text if isinstance(text, str) else None)
